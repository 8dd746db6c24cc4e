"""Syncs of a tenant: one row each in `sync_history`, with what each had to tell in `sync_issues`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Row, case, func, select
from sqlalchemy.engine import Connection

from awssome.database.schema import sync_history, sync_issues
from awssome.domain.syncs import IssueKind, SyncState


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
    :ivar problem: why it failed, in words for the user; `advice` says what to do.
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

    @property
    def open(self) -> bool:
        """Whether it waits or runs."""
        return self.state in (SyncState.QUEUED, SyncState.RUNNING)


@dataclass(frozen=True)
class SyncIssue:
    """Something that a sync has to tell about a deal, or with an empty `deal_id` about several.

    :ivar field: the registration's field that it is about, or empty.
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


def latest(connection: Connection) -> Sync | None:
    """The newest sync, open or ended."""
    newest = history(connection, limit=1)
    return newest[0] if newest else None


def history(connection: Connection, *, limit: int = 20, before: datetime | None = None) -> list[Sync]:
    """Syncs, newest first. :param before: continues a page from the `requested_at` of its last sync."""
    query = select(*_SYNC).order_by(sync_history.c.requested_at.desc()).limit(limit)
    if before is not None:
        query = query.where(sync_history.c.requested_at < before)
    return [_sync(row) for row in connection.execute(query)]


def find(connection: Connection, sync_id: UUID) -> Sync | None:
    """A sync by its id."""
    row = connection.execute(select(*_SYNC).where(sync_history.c.id == sync_id)).first()
    return _sync(row) if row else None


def issues(connection: Connection, sync_id: UUID, *, limit: int = 100, offset: int = 0) -> list[SyncIssue]:
    """What a sync had to tell: first what concerns several deals, then deal by deal."""
    query = (
        select(*sync_issues.columns)
        .where(sync_issues.c.sync_id == sync_id)
        .order_by(case((sync_issues.c.deal_id == "", 0), else_=1), sync_issues.c.id)
        .limit(limit)
        .offset(offset)
    )
    return [SyncIssue(**{**row._mapping, "kind": IssueKind(row.kind)}) for row in connection.execute(query)]


def count_issues(connection: Connection, sync_id: UUID) -> int:
    """How many issues a sync has."""
    query = select(func.count()).select_from(sync_issues).where(sync_issues.c.sync_id == sync_id)
    return connection.execute(query).scalar_one()


_SYNC = [column for column in sync_history.columns if column.name != "open_slot"]


def _sync(row: Row[tuple[object, ...]]) -> Sync:
    return Sync(**{**row._mapping, "state": SyncState(row.state)})
