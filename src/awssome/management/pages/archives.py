"""A tenant's archives on its page, and a restore with its steps and its evidence."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from awssome.control.messages import ArchiveOut, RestoreOut
from awssome.database import Connection
from awssome.domain.archives import RESTORES_UNDER_WAY, ArchiveKind, ArchiveState, RestoreState
from awssome.domain.errors import Code, Refused
from awssome.management import archives, operations
from awssome.management.pages.guard import AtDesk
from awssome.management.pages.rows import server_address, tenant_address
from awssome.web.formats import duration, moment, plural
from awssome.web.pages import is_fragment

LISTED = 20
"""Archives on a tenant's page, newest first."""

KINDS = {
    ArchiveKind.MANUAL: "Asked for",
    ArchiveKind.SCHEDULED: "Scheduled",
    ArchiveKind.DORMANT: "Before it was archived",
    ArchiveKind.FINAL: "Before it was deleted",
    ArchiveKind.UPLOADED: "Sent from elsewhere",
    ArchiveKind.RETIRED: "Before the source of a move was dropped",
}

_STEP_STATES = {"done": "done", "now": "now", "todo": "waiting", "failed": "failed"}

router = APIRouter()


@router.get("/archives/{archive_id}/file")
def download(desk: AtDesk, archive_id: UUID) -> StreamingResponse:
    """The archive's file; audited."""
    found, pieces = archives.download(desk.services, desk.actor, archive_id)
    headers = {"Content-Length": str(found.bytes), "Content-Disposition": f'attachment; filename="{found.id}.zip"'}
    return StreamingResponse(pieces, media_type="application/zip", headers=headers)


@router.get("/restores/{restore_id}")
def show(request: Request, desk: AtDesk, restore_id: UUID) -> Response:
    """One restore."""
    with desk.registry.begin() as connection:
        found = archives.the_restore(connection, restore_id)
        company = operations.tenant_detail(connection, str(found.tenant_id)).company
    return desk.pages.render(
        request, "restore.html", restore=found, company=company, view=_restore_row(found), fragment=False
    )


@router.get("/restores/{restore_id}/progress")
def progress(request: Request, desk: AtDesk, restore_id: UUID) -> Response:
    """The steps of a restore, fetched each second while it is under way."""
    with desk.registry.begin() as connection:
        found = archives.the_restore(connection, restore_id)
    return desk.pages.render(request, "restore_progress.html", view=_restore_row(found), fragment=is_fragment(request))


def section(connection: Connection, ref: str) -> dict[str, Any]:
    """What a tenant's page shows of archives and restores."""
    listed = [_archive_row(found) for found in archives.page(connection, ref, limit=LISTED).archives]
    return {
        "archives": listed,
        "restores": [_restore_row(found) for found in archives.restores_of(connection, ref)],
        "restorable": [(row["id"], row["option"]) for row in listed if row["state"] is ArchiveState.READY],
    }


def chosen(archive: str) -> UUID:
    """The archive that a form names. :raises Refused: INVALID when it names none."""
    try:
        return UUID(archive)
    except ValueError:
        raise Refused(Code.INVALID, "No archive was chosen. Nothing was changed.", "Choose one of the list.") from None


def _archive_row(found: ArchiveOut) -> dict[str, Any]:
    ready = found.state is ArchiveState.READY
    return {
        **found.model_dump(),
        "state": found.state,
        "kind": KINDS[found.kind],
        "href": f"/archives/{found.id}/file" if ready else None,
        "option": f"{moment(found.created_at)}, {plural(found.rows or 0, 'row')} ({KINDS[found.kind]})",
    }


def _restore_row(found: RestoreOut) -> dict[str, Any]:
    return {
        **found.model_dump(),
        "href": f"/restores/{found.id}",
        "tenant_href": tenant_address(str(found.tenant_id)),
        "server_href": server_address(found.server),
        "how": "Beside" if found.beside else "Replacing",
        "under_way": found.state in RESTORES_UNDER_WAY,
        "failed": found.state is RestoreState.FAILED,
        "pause": None if found.write_pause_ms is None else found.write_pause_ms / 1000,
        "steps": [
            {
                "name": step["label"],
                "state": _STEP_STATES[step["state"]],
                "time": "" if step["seconds"] is None else duration(step["seconds"]),
            }
            for step in found.steps
        ],
    }
