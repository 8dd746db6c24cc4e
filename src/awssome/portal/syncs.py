"""The page HubSpot: the runs that bring deals in, show what would come in, or try again what could not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from awssome.control import messages as m
from awssome.database import Connection
from awssome.database.tenant import hubspot, imports, picks
from awssome.database.tenant import syncs as queries
from awssome.database.tenant.hubspot import HubSpotConnection
from awssome.database.tenant.syncs import Sync, SyncIssue
from awssome.domain.errors import Code, Refused
from awssome.domain.syncs import PREVIEW_TOLD, ConnectionState, IssueKind, SyncKind
from awssome.domain.tenants import imports_allowed
from awssome.portal import inbox
from awssome.portal.context import TenantContext
from awssome.portal.deals import in_words, label_of, short
from awssome.portal.guard import ActingMember, Viewer, parts
from awssome.web.tables import Listing

router = APIRouter()

_RUNS = 10
_ISSUES = 100
_FURTHEST = 1_000_000_000
_ISSUES_ON_FIRST_PAGE = 10

_USUAL = timedelta(seconds=90)

_KINDS = {
    IssueKind.WOULD_CREATE: "Would come in",
    IssueKind.WOULD_UPDATE: "Would change",
    IssueKind.FAILED: "Failed",
    IssueKind.INCOMPLETE: "Needs an answer",
    IssueKind.SKIPPED: "Left out by your mapping",
    IssueKind.LEFT_OUT: "Left out",
}
"""What a report is filtered by, in this order."""


@router.get("/hubspot")
def show(request: Request, me: Viewer, after: str = "") -> Response:
    """The connection, the run that is under way or was last, and those before."""
    return page(request, me, before=_moment(after))


@router.get("/hubspot/progress")
def progress(request: Request, me: Viewer, late: bool = False) -> Response:
    """The newest run as a piece of the page. :param late: the page around it knows already that it is late."""
    shown = _progress(request, me.read(queries.latest))
    return parts(request).pages.render(
        request, "sync_progress.html", polled=True, turned_late=shown["late"] and not late, **shown
    )


@router.get("/hubspot/syncs/{sync_id}")
def report(request: Request, me: Viewer, sync_id: UUID, after: int = 0) -> Response:
    """What one run did, and all that it had to tell; `?kind=` shows one kind of it."""
    start, kind = min(max(after, 0), _FURTHEST), _issue_kind(request.query_params.get("kind", ""))

    def read(connection: Connection) -> tuple[Sync, Sequence[SyncIssue], Mapping[IssueKind, int]]:
        sync = queries.find(connection, sync_id)
        if sync is None:
            raise Refused(
                Code.NOT_FOUND, "There is no such sync in your workspace.", "Look for it on the page HubSpot."
            )
        issues = queries.issues(connection, sync_id, kind=kind, limit=_ISSUES, offset=start)
        return sync, issues, queries.count_by_kind(connection, sync_id)

    sync, issues, counts = me.read(read)
    total = counts[kind] if kind else sum(counts.values())
    following = str(start + _ISSUES) if start + _ISSUES < total else None
    before = str(max(start - _ISSUES, 0)) if start else None
    told = [(str(each), f"{name} ({counts[each]:,})") for each, name in _KINDS.items() if counts[each]]
    return parts(request).pages.render(
        request,
        "sync.html",
        listing=Listing.of(request, [_issue(issue) for issue in issues], total=total, after=following),
        back=Listing.of(request, ()).address(after=before) if before is not None else "",
        kinds=told,
        kind=str(kind or ""),
        all_told=sum(counts.values()),
        told_most=PREVIEW_TOLD,
        **_progress(request, sync),
    )


@router.post("/hubspot/sync")
def sync_deals(request: Request, me: ActingMember) -> Response:
    """Start a sync; one that runs already is shown instead."""
    return _start(request, me, SyncKind.IMPORT)


@router.post("/hubspot/preview")
def preview_deals(request: Request, me: ActingMember) -> Response:
    """Find out what a sync would do; a run that is under way is shown instead."""
    return _start(request, me, SyncKind.PREVIEW)


@router.post("/hubspot/cancel")
def cancel(request: Request, me: ActingMember, sync_id: Annotated[UUID, Form()]) -> Response:
    """End the run that waits or is at work."""
    try:
        parts(request).control.cancel_sync(me.person.caller, sync_id)
    except Refused as refused:
        if refused.code is not Code.CONFLICT:
            raise
        return page(request, me, refused=refused)
    text = "The run has been ended. What came in until then is here and safe."
    return parts(request).pages.redirect(request, "/hubspot", "success", text)


def is_late(sync: Sync | None, at: datetime) -> bool:
    """Whether an open sync may be started by its button again, which carries it on.

    A sync whose job was lost looks like one that takes long, and to one that only takes long the button does no harm.
    One that waits on purpose is not late.
    """
    if sync is None or not sync.open or (sync.resume_at is not None and sync.resume_at > at):
        return False
    return at - (sync.resume_at or sync.started_at or sync.requested_at) > _USUAL


def page(
    request: Request, me: TenantContext, *, before: datetime | None = None, refused: Refused | None = None
) -> Response:
    """The page HubSpot. :param before: continues the list of runs. :param refused: what to tell on top of it."""

    def read(connection: Connection) -> _State:
        sync, known = queries.latest(connection), hubspot.connection(connection)
        return _State(
            known,
            sync,
            queries.history(connection, limit=_RUNS + 1, before=before),
            queries.issues(connection, sync.id, limit=_ISSUES_ON_FIRST_PAGE) if sync else [],
            queries.count_issues(connection, sync.id) if sync else 0,
            inbox.waiting(connection),
            [one.imported for one in picks.find(connection, known.portal_id)] if known else [],
            imports.count_unfollowed(connection),
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
        inbox=state.inbox,
        picked=state.picks.count(False),
        chosen=bool(state.picks),
        unfollowed=state.unfollowed,
        places=imports_allowed(me.tenant.tier),
        runs=Listing.of(request, [_run(run) for run in runs], after=older),
        refused=refused,
        **_progress(request, state.sync),
    )


@dataclass(frozen=True)
class _State:
    """Everything on the page, of one instant.

    :ivar picks: of each deal that was picked, whether it has come in.
    :ivar unfollowed: deals that the plan has no room for any more.
    """

    connection: HubSpotConnection | None
    sync: Sync | None
    history: Sequence[Sync]
    issues: Sequence[SyncIssue]
    issue_count: int
    inbox: int
    picks: Sequence[bool]
    unfollowed: int


def _start(request: Request, me: TenantContext, kind: SyncKind) -> Response:
    try:
        started = parts(request).control.start_sync(me.person.caller, m.StartSync(kind=kind))
    except Refused as refused:
        if refused.code is not Code.CONFLICT:
            raise
        return page(request, me, refused=refused)
    if started.kind is not kind:
        text = "Another run is under way, and one runs at a time. Ask again when it has ended."
        return parts(request).pages.redirect(request, "/hubspot", "warning", text)
    return RedirectResponse("/hubspot", 303)


def _progress(request: Request, sync: Sync | None) -> dict[str, Any]:
    """What the templates of a run show: how far it is, how fast, how long it took."""
    if sync is None:
        return {"sync": None, "late": False, "parked": False}
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
        "parked": sync.open and sync.resume_at is not None and sync.resume_at > at,
        "seconds": seconds,
        "total": total,
        "rate": rate,
        "left": left,
    }


def _run(sync: Sync) -> dict[str, Any]:
    took = None
    if sync.finished_at is not None and sync.started_at is not None:
        took = (sync.finished_at - sync.started_at).total_seconds()
    preview = sync.kind is SyncKind.PREVIEW
    imported = f"{sync.imported:,} of {sync.available:,}" if sync.available is not None else None
    return {
        "id": str(sync.id),
        "url": f"/hubspot/syncs/{sync.id}",
        "at": sync.requested_at,
        "kind": str(sync.kind),
        "state": "parked" if sync.open and sync.resume_at is not None else str(sync.state),
        "deals": "nothing" if preview else imported,
        "created": None if preview else sync.created,
        "updated": None if preview else sync.updated,
        "left_out": sync.left_out,
        "failed": sync.failed,
        "took": took,
        "who": sync.requested_by,
    }


def _issue(issue: SyncIssue) -> dict[str, Any]:
    return {
        "title": short(issue.title) if issue.title else "Several deals",
        "url": f"/deals/{issue.registration_id}" if issue.registration_id else None,
        "kind": str(issue.kind),
        "field": label_of(issue.field) if issue.field else None,
        "value": short(issue.value) if issue.value else None,
        "changes": _changes(issue),
        "reason": issue.reason,
        "advice": issue.advice,
    }


def _changes(issue: SyncIssue) -> list[tuple[str, str, str]]:
    """Of a preview: (field, as it is, as it would be)."""
    if issue.kind not in (IssueKind.WOULD_CREATE, IssueKind.WOULD_UPDATE) or not isinstance(issue.detail, dict):
        return []
    return in_words(issue.detail)


def _issue_kind(text: str) -> IssueKind | None:
    with suppress(ValueError):
        return IssueKind(text)
    return None


def _moment(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else None
