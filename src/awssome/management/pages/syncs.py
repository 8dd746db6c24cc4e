"""The newest run of each tenant, as the workers have told the registry."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from awssome.domain.syncs import SyncKind, SyncState
from awssome.management import operations
from awssome.management.pages.guard import AtDesk
from awssome.management.pages.rows import tenant_address
from awssome.web.tables import Listing, picked

STATES = [
    ("", "All states"),
    (SyncState.RUNNING, "Running"),
    (SyncState.FAILED, "Failed"),
    (SyncState.DONE, "Done"),
    (SyncState.CANCELLED, "Cancelled"),
]

_KINDS = {SyncKind.IMPORT: "Sync", SyncKind.PREVIEW: "Preview", SyncKind.RETRY: "Retry"}

router = APIRouter()


@router.get("/syncs")
def syncs(request: Request, desk: AtDesk, state: str = "", after: str = "", before: str = "") -> Response:
    """The newest run of each tenant, newest first."""
    wanted = picked(SyncState, state)
    with desk.registry.begin() as connection:
        page = operations.last_syncs_page(connection, after, before, state=wanted)
    rows = [_row(row) for row in page.rows]
    listing = Listing.of(request, rows, after=page.after, before=page.before)
    return desk.pages.render(request, "syncs.html", listing=listing, states=STATES)


def _row(row: Any) -> dict[str, Any]:
    """A run's line; one that waits is shown as paused, with why. Of one whose worker died, the last that it told."""
    ended = row.finished_at or row.told_at
    waits = row.state == SyncState.RUNNING and row.resume_at is not None
    return {
        **row._mapping,
        "href": tenant_address(row.slug),
        "kind": _KINDS[SyncKind(row.kind)],
        "state": "paused" if waits else row.state,
        "seconds": (ended - row.started_at).total_seconds() if row.started_at else None,
    }
