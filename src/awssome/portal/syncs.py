"""The page HubSpot: the syncs that bring deals in, and the connection that they use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from awssome.database import Connection
from awssome.database.tenant import hubspot
from awssome.database.tenant import syncs as queries
from awssome.database.tenant.hubspot import HubSpotConnection
from awssome.database.tenant.syncs import Sync, SyncIssue
from awssome.domain.errors import Code, Refused
from awssome.domain.syncs import ConnectionState
from awssome.portal.context import TenantContext
from awssome.portal.guard import ActingMember, Viewer, parts
from awssome.web.tables import Listing

router = APIRouter()

_RUNS = 10
_ISSUES = 100
_ISSUES_ON_FIRST_PAGE = 10

_USUAL = timedelta(seconds=90)


@router.get("/hubspot")
def show(request: Request, me: Viewer, after: str = "") -> Response:
    """The connection, the sync that runs or ran last, and those before."""
    return page(request, me, before=_moment(after))


@router.get("/hubspot/progress")
def progress(request: Request, me: Viewer, late: bool = False) -> Response:
    """The newest sync as a piece of the page. :param late: the page around it knows already that it is late."""
    shown = _progress(request, me.read(queries.latest))
    return parts(request).pages.render(
        request, "sync_progress.html", polled=True, turned_late=shown["late"] and not late, **shown
    )


@router.get("/hubspot/syncs/{sync_id}")
def report(request: Request, me: Viewer, sync_id: UUID, after: int = 0) -> Response:
    """What one sync did, and all that it had to tell."""
    start = max(after, 0)

    def read(connection: Connection) -> tuple[Sync, Sequence[SyncIssue], int]:
        sync = queries.find(connection, sync_id)
        if sync is None:
            raise Refused(
                Code.NOT_FOUND, "There is no such sync in your workspace.", "Look for it on the page HubSpot."
            )
        issues = queries.issues(connection, sync_id, limit=_ISSUES, offset=start)
        return sync, issues, queries.count_issues(connection, sync_id)

    sync, issues, total = me.read(read)
    following = str(start + _ISSUES) if start + _ISSUES < total else None
    previous = start - _ISSUES
    listing = Listing.of(request, [_issue(issue) for issue in issues], total=total, after=following)
    return parts(request).pages.render(
        request,
        "sync.html",
        listing=listing,
        back=f"?after={max(previous, 0)}" if start else "",
        **_progress(request, sync),
    )


@router.post("/hubspot/sync")
def sync_deals(request: Request, me: ActingMember) -> Response:
    """Start a sync; one that runs already is shown instead."""
    try:
        parts(request).control.start_sync(me.person.caller)
    except Refused as refused:
        if refused.code is not Code.CONFLICT:
            raise
        return page(request, me, refused=refused)
    return RedirectResponse("/hubspot", 303)


def is_late(sync: Sync | None, at: datetime) -> bool:
    """Whether an open sync may be started by its button again, which carries it on.

    A sync whose job was lost looks like one that takes long, and to one that only takes long the button does no harm.
    """
    return sync is not None and sync.open and at - (sync.started_at or sync.requested_at) > _USUAL


def page(
    request: Request, me: TenantContext, *, before: datetime | None = None, refused: Refused | None = None
) -> Response:
    """The page HubSpot. :param before: continues the list of runs. :param refused: what to tell on top of it."""

    def read(connection: Connection) -> _State:
        sync = queries.latest(connection)
        return _State(
            hubspot.connection(connection),
            sync,
            queries.history(connection, limit=_RUNS + 1, before=before),
            queries.issues(connection, sync.id, limit=_ISSUES_ON_FIRST_PAGE) if sync else [],
            queries.count_issues(connection, sync.id) if sync else 0,
        )

    state = me.read(read)
    runs = state.history[:_RUNS]
    older = runs[-1].requested_at.isoformat() if len(state.history) > _RUNS else None
    return parts(request).pages.render(
        request,
        "hubspot.html",
        refused.status if refused else 200,
        connection=state.connection,
        connected=state.connection is not None and state.connection.state is ConnectionState.CONNECTED,
        reconnect=state.connection is not None and state.connection.state is ConnectionState.RECONNECT,
        issues=[_issue(issue) for issue in state.issues],
        issue_count=state.issue_count,
        runs=Listing.of(request, [_run(run) for run in runs], after=older),
        refused=refused,
        **_progress(request, state.sync),
    )


@dataclass(frozen=True)
class _State:
    """Everything on the page, of one instant."""

    connection: HubSpotConnection | None
    sync: Sync | None
    history: Sequence[Sync]
    issues: Sequence[SyncIssue]
    issue_count: int


def _progress(request: Request, sync: Sync | None) -> dict[str, Any]:
    """What the templates of a sync show: how far it is, how fast, how long it took."""
    if sync is None:
        return {"sync": None, "late": False}
    at = parts(request).clock()
    seconds = ((sync.finished_at or at) - sync.started_at).total_seconds() if sync.started_at else None
    total = sync.available
    if total is not None and sync.deal_limit is not None:
        total = min(total, sync.deal_limit)
    rate = sync.seen / seconds if seconds and seconds >= 1 and sync.seen else None
    left = (total - sync.seen) / rate if rate and total is not None and total > sync.seen else None
    return {
        "sync": sync,
        "late": is_late(sync, at),
        "seconds": seconds,
        "total": total,
        "rate": rate,
        "left": left,
    }


def _run(sync: Sync) -> dict[str, Any]:
    ended = sync.finished_at is not None and sync.started_at is not None
    return {
        "id": str(sync.id),
        "url": f"/hubspot/syncs/{sync.id}",
        "at": sync.requested_at,
        "state": str(sync.state),
        "deals": f"{sync.imported:,} of {sync.available:,}" if sync.available is not None else None,
        "created": sync.created,
        "updated": sync.updated,
        "left_out": sync.left_out,
        "failed": sync.failed,
        "took": (sync.finished_at - sync.started_at).total_seconds()
        if ended and sync.finished_at and sync.started_at
        else None,
        "who": sync.requested_by,
    }


def _issue(issue: SyncIssue) -> dict[str, Any]:
    return {
        "title": issue.title or "Several deals",
        "url": f"/deals/{issue.registration_id}" if issue.registration_id else None,
        "kind": str(issue.kind),
        "reason": issue.reason,
        "advice": issue.advice,
    }


def _moment(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else None
