"""Syncs of a tenant: one row each in `sync_history`, with what each had to tell in `sync_issues`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, and_, case, delete, func, insert, null, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DataError, IntegrityError

from awssome.database.functions import age
from awssome.database.schema import sync_history, sync_issues
from awssome.domain.errors import Code, Refused
from awssome.domain.syncs import IssueKind, Superseded, SyncKind, SyncMode, SyncState
from awssome.domain.times import new_id, now


class Meaningless(Exception):
    """What a tenant's tables hold cannot be read: somebody has written it past the product."""


@contextmanager
def reading() -> Iterator[None]:
    """Tells what cannot be read from all else that may go wrong. :raises Meaningless: see there."""
    try:
        yield
    except (ArithmeticError, DataError, RecursionError, TypeError, ValueError) as error:
        raise Meaningless from error


@dataclass(frozen=True)
class Sync:
    """One run that brings HubSpot deals in.

    :ivar attempt: how many workers have taken it up, one after the other; 0: none yet.
    :ivar deal_limit: how many deals the plan allowed when it was taken up; None: no limit.
    :ivar available: the deals that HubSpot has, the Y of "Imported X of Y deals"; None until HubSpot has answered.
    :ivar imported: the HubSpot deals that are here, the X; counted as the run goes.
    :ivar seen: the deals that this run has looked at.
    :ivar left_out: deals that the plan has no room for.
    :ivar failed: deals that could not be imported.
    :ivar calls: requests made to HubSpot.
    :ivar problem: why it failed, or waits, in words for the user; `advice` says what to do.
    :ivar mode: which deals it looks at; None until it has begun.
    :ivar position: how far it has come, for whoever takes it up next.
    :ivar window_from: of an incremental one: changes in HubSpot from here on.
    :ivar window_to: changes in HubSpot up to here.
    :ivar resume_at: when it goes on; None: it does not wait.
    :ivar stumbles: how many attempts a defect has ended.
    :ivar retried: requests to HubSpot that were worth a retry.
    :ivar rate_limited: requests to HubSpot that met its limit.
    :ivar archived: of those updated: put away, because their deals were deleted in HubSpot.
    :ivar restored: of those updated: brought back, because their deals are back in HubSpot.
    :ivar merged: of those updated: put away, because their deals became part of others.
    :ivar reference: under which its defect is in the log.
    :ivar mapping_hash: tells the mapping by which it imports.
    """

    id: UUID
    state: SyncState
    attempt: int
    requested_by: str
    deal_limit: int | None
    next_page: str | None
    available: int | None
    imported: int
    seen: int
    created: int
    updated: int
    unchanged: int
    left_out: int
    failed: int
    calls: int
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    problem: str | None
    advice: str | None
    kind: SyncKind
    mode: SyncMode | None
    portal_id: int | None
    position: dict[str, Any]
    window_from: datetime | None
    window_to: datetime | None
    resume_at: datetime | None
    stumbles: int
    retried: int
    rate_limited: int
    archived: int
    restored: int
    merged: int
    reference: str | None
    mapping_hash: bytes | None

    @property
    def open(self) -> bool:
        """Whether it waits or runs."""
        return self.state in (SyncState.QUEUED, SyncState.RUNNING)

    @property
    def worth_importing(self) -> bool:
        """Of a preview: whether a sync would do anything."""
        return any((self.created, self.updated, self.archived, self.restored, self.merged))


@dataclass(frozen=True)
class SyncIssue:
    """Something that a sync has to tell about a deal, or with an empty `deal_id` about several.

    :ivar field: the registration's field that it is about, or empty.
    :ivar code: names the reason for programs.
    :ivar value: what HubSpot has in place of something that could be taken.
    :ivar detail: of a preview: what would change.
    """

    id: UUID
    sync_id: UUID
    kind: IssueKind
    deal_id: str
    registration_id: UUID | None
    title: str
    field: str
    reason: str
    advice: str
    code: str | None
    value: str | None
    detail: Any


def latest(connection: Connection, *, imports: bool = False) -> Sync | None:
    """The newest run, open or ended. :param imports: previews and retries do not count."""
    newest = history(connection, limit=1, imports=imports)
    return newest[0] if newest else None


def history(
    connection: Connection, *, limit: int = 20, before: datetime | None = None, imports: bool = False
) -> list[Sync]:
    """Runs, newest first.

    :param before: continues a page from the `requested_at` of its last run.
    :param imports: previews and retries do not count.
    """
    query = select(*_SYNC).order_by(sync_history.c.requested_at.desc()).limit(limit)
    if imports:
        query = query.where(func.coalesce(sync_history.c.kind, SyncKind.IMPORT) == SyncKind.IMPORT)
    if before is not None:
        query = query.where(sync_history.c.requested_at < before)
    return [_sync(row) for row in connection.execute(query)]


def find(connection: Connection, sync_id: UUID) -> Sync | None:
    """A sync by its id."""
    row = connection.execute(select(*_SYNC).where(sync_history.c.id == sync_id)).first()
    return _sync(row) if row else None


def issues(
    connection: Connection, sync_id: UUID, *, kind: IssueKind | None = None, limit: int = 100, offset: int = 0
) -> list[SyncIssue]:
    """What a sync had to tell: first what concerns several deals, then deal by deal. :param kind: None: every kind."""
    query = (
        select(*_ISSUE)
        .where(sync_issues.c.sync_id == sync_id)
        .order_by(case((sync_issues.c.deal_id == "", 0), else_=1), age(sync_issues.c.id))
        .limit(limit)
        .offset(offset)
    )
    if kind is not None:
        query = query.where(sync_issues.c.kind == kind)
    return [SyncIssue(**{**row._mapping, "kind": IssueKind(row.kind)}) for row in connection.execute(query)]


def count_issues(connection: Connection, sync_id: UUID) -> int:
    """How many issues a sync has."""
    query = select(func.count()).select_from(sync_issues).where(sync_issues.c.sync_id == sync_id)
    return connection.execute(query).scalar_one()


def count_by_kind(connection: Connection, sync_id: UUID) -> dict[IssueKind, int]:
    """How many issues of each kind a sync has."""
    i = sync_issues.c
    query = select(i.kind, func.count()).where(i.sync_id == sync_id).group_by(i.kind)
    found = {IssueKind(kind): number for kind, number in connection.execute(query)}
    return {kind: found.get(kind, 0) for kind in IssueKind}


def create(connection: Connection, requested_by: str, kind: SyncKind = SyncKind.IMPORT) -> Sync:
    """A queued sync, or the one that is open already, whatever its kind: a tenant has one at a time."""
    while True:
        sync_id = new_id()
        try:
            with connection.begin_nested():
                connection.execute(insert(sync_history).values(**_new(sync_id, requested_by, kind)))
        except IntegrityError:
            row = connection.execute(select(*_SYNC).where(sync_history.c.open_slot == 1)).first()
            if row is not None:
                return _sync(row)
            continue  # the open one has just ended
        return _existing(connection, sync_id)


def claim(
    connection: Connection, sync_id: UUID, *, deal_limit: int | None, imported: int, portal_id: int | None
) -> Sync | None:
    """Take the sync up under the next attempt number: whoever had it before fails its next transaction.

    :param deal_limit: what the tier allows now. Under another limit than before, the sync begins anew.
    :param imported: how many deals are here now.
    :param portal_id: the HubSpot account that is connected. At another one than before, the sync begins anew.
    :returns: None when the sync has ended or never was.
    """
    s = sync_history.c
    same_limit = s.deal_limit.is_(None) if deal_limit is None else s.deal_limit == deal_limit
    changed = connection.execute(
        update(sync_history)
        .where(s.id == sync_id, s.state.in_((SyncState.QUEUED, SyncState.RUNNING)))
        .values(
            state=SyncState.RUNNING,
            attempt=s.attempt + 1,
            deal_limit=deal_limit,
            started_at=func.coalesce(s.started_at, now()),
            imported=imported,
            portal_id=portal_id,
            position=case((and_(s.portal_id == portal_id, same_limit), s.position), else_=null()),
            resume_at=None,
            problem=None,
            advice=None,
        )
    )
    return _existing(connection, sync_id) if changed.rowcount == 1 else None


def begin_anew(connection: Connection, sync: Sync, **values: Any) -> None:
    """Nothing counts that the run has counted and told before. :raises Superseded: see there."""
    counted = ("seen", "created", "updated", "unchanged", "left_out", "failed", "archived", "restored", "merged")
    _change(connection, sync, **dict.fromkeys(counted, 0), **values)
    connection.execute(delete(sync_issues).where(sync_issues.c.sync_id == sync.id))


def tell_again(connection: Connection, sync: Sync) -> None:
    """The run comes across all deals once more: what it told of those that it left out or failed at does not count.

    :raises Superseded: see there.
    """
    s, i = sync_history.c, sync_issues.c
    _change(connection, sync, seen=s.seen - s.left_out - s.failed, left_out=0, failed=0)
    told = i.kind.in_([IssueKind.SKIPPED, IssueKind.FAILED])
    connection.execute(delete(sync_issues).where(i.sync_id == sync.id, told))


def progress(connection: Connection, sync: Sync, **values: Any) -> None:
    """Set columns of the sync that runs; see `added`. :raises Superseded: see there."""
    _change(connection, sync, **values)


def added(**counts: int) -> dict[str, Any]:
    """Columns of `progress` that grow by something."""
    return {name: func.coalesce(sync_history.c[name], 0) + count for name, count in counts.items() if count}


def finish(connection: Connection, sync: Sync, **values: Any) -> None:
    """The sync is done. :raises Superseded: see there."""
    ended = {"state": SyncState.DONE, "finished_at": now(), "open_slot": None, "next_page": None, "position": None}
    _change(connection, sync, **values, **ended)


def fail(connection: Connection, sync: Sync, problem: str, advice: str, **values: Any) -> None:
    """The sync ends without being done; what came in stays. :raises Superseded: see there."""
    ended = {"state": SyncState.FAILED, "finished_at": now(), "open_slot": None, "position": None, "resume_at": None}
    _change(connection, sync, **values, **ended, problem=problem[:1000], advice=advice[:500])


def park(connection: Connection, sync: Sync, until: datetime, problem: str, advice: str, **values: Any) -> None:
    """The sync waits, and goes on by itself at a moment. :raises Superseded: see there."""
    _change(connection, sync, **values, resume_at=until, problem=problem[:1000], advice=advice[:500])


def interrupt(connection: Connection) -> bool:
    """Whoever is at the open sync fails its next transaction, and the sync is taken up again: what it hangs on is not
    as it was. False when none is being worked on."""
    s = sync_history.c
    running = (s.open_slot == 1, s.state == SyncState.RUNNING)
    return connection.execute(update(sync_history).where(*running).values(attempt=s.attempt + 1)).rowcount == 1


def abandon(connection: Connection, sync_id: UUID, problem: str, advice: str) -> None:
    """End an open sync as failed, whatever its row holds and whoever is at it: nothing of the row is read."""
    s = sync_history.c
    ended = {"state": SyncState.FAILED, "finished_at": now(), "open_slot": None, "position": None, "resume_at": None}
    told = {"problem": problem, "advice": advice}
    connection.execute(update(sync_history).where(s.id == sync_id, s.open_slot == 1).values(**ended, **told))


def cancel(connection: Connection, sync_id: UUID, by: str) -> Sync:
    """End a sync that waits or runs: whoever is at it fails its next transaction. What came in stays; how it ended.

    :param by: who wants it so.
    :raises Refused: NOT_FOUND when there is none; CONFLICT when it has ended already.
    """
    s = sync_history.c
    ended = {"state": SyncState.CANCELLED, "finished_at": now(), "open_slot": None, "position": None, "resume_at": None}
    open_ = s.state.in_((SyncState.QUEUED, SyncState.RUNNING))
    told = {"problem": f"{by} has ended this run.", "advice": None}
    changed = connection.execute(update(sync_history).where(s.id == sync_id, open_).values(**ended, **told)).rowcount
    found = find(connection, sync_id)
    if found is not None and changed:
        return found
    if found is None:
        raise Refused(Code.NOT_FOUND, "There is no such sync in your workspace.", "Look for it on the page HubSpot.")
    raise Refused(Code.CONFLICT, "The run has ended already. Nothing was changed.", "Look at its report.")


def forget_old(connection: Connection, *, before: datetime, keep: int) -> bool:
    """Delete some of what ended syncs have to tell, and syncs that have nothing to tell any more.

    :param before: syncs that were asked for earlier are old.
    :param keep: those beyond the newest so many are old, too.
    :returns: whether there is more to delete.
    """
    s, i = sync_history.c, sync_issues.c
    newest = select(s.requested_at).order_by(s.requested_at.desc()).limit(1).offset(keep)
    beyond = connection.execute(newest).scalar_one_or_none()
    edge = before if beyond is None else max(before, beyond)
    old = select(s.id).where(s.requested_at <= edge, s.open_slot.is_(None)).order_by(s.requested_at).limit(_FORGOTTEN)
    sync_ids = list(connection.scalars(old))
    if not sync_ids:
        return False
    told = list(connection.scalars(select(i.id).where(i.sync_id.in_(sync_ids)).limit(_FORGOTTEN)))
    if told:
        connection.execute(delete(sync_issues).where(i.id.in_(told)))
        return True
    connection.execute(delete(sync_history).where(s.id.in_(sync_ids)))
    return True


_FORGOTTEN = 500
"""Rows that are deleted in one transaction, at most."""

# By name: a column that a newer revision adds may not be there yet.
_SYNC = [sync_history.c[field.name] for field in fields(Sync)]
_ADDED_LATER = ("stumbles", "retried", "rate_limited", "archived", "restored", "merged")
_ISSUE = [sync_issues.c[field.name] for field in fields(SyncIssue)]


def _sync(row: Row[tuple[object, ...]]) -> Sync:
    counts = {name: row._mapping[name] or 0 for name in _ADDED_LATER}
    position = row.position if isinstance(row.position, dict) else {}
    states = {
        "state": SyncState(row.state),
        "kind": SyncKind(row.kind or SyncKind.IMPORT),
        "mode": SyncMode(row.mode) if row.mode else None,
    }
    return Sync(**{**row._mapping, **states, **counts, "position": position})


def _existing(connection: Connection, sync_id: UUID) -> Sync:
    return _sync(connection.execute(select(*_SYNC).where(sync_history.c.id == sync_id)).one())


def _change(connection: Connection, sync: Sync, **values: Any) -> None:
    """Every write of a run goes through here: only the attempt that holds the sync may change it."""
    s = sync_history.c
    mine = (s.id == sync.id, s.attempt == sync.attempt, s.state == SyncState.RUNNING)
    if connection.execute(update(sync_history).where(*mine).values(**values)).rowcount != 1:
        raise Superseded


def _new(sync_id: UUID, requested_by: str, kind: SyncKind) -> dict[str, Any]:
    zero = dict.fromkeys(("attempt", "imported", "seen", "created", "updated", "unchanged", "left_out", "failed"), 0)
    return {
        "id": sync_id,
        "state": SyncState.QUEUED,
        "requested_by": requested_by,
        "requested_at": now(),
        "calls": 0,
        "kind": kind,
        "open_slot": 1,
        **zero,
    }
