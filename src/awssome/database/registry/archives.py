"""Archives: requested, made, found, expired. Their files lie elsewhere, under the name that the row has."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from awssome.database.keyset import Page, newest_first
from awssome.database.registry.tables import archives, restores, tenants
from awssome.domain.archives import RESTORES_UNDER_WAY, ArchiveKind, ArchiveState
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import TenantState
from awssome.domain.times import new_id, now

Bytes = bytes
"""The type, for a class that has a field of its name."""


@dataclass(frozen=True)
class Archive:
    """A row of `archives`.

    :ivar file: name of the file in the store.
    :ivar engine: of the server that it was made from; with `revision`, `rows`, `bytes` and `sha256` known once ready.
    :ivar expires_at: when the file is deleted; None: never.
    """

    id: UUID
    tenant_id: UUID
    placement_id: UUID | None
    kind: ArchiveKind
    state: ArchiveState
    file: str
    engine: str | None
    revision: str | None
    rows: int | None
    bytes: int | None
    sha256: Bytes | None
    requested_by: str
    created_at: datetime
    finished_at: datetime | None
    expires_at: datetime | None
    problem: str | None


def create(
    connection: Connection,
    tenant_id: UUID,
    kind: ArchiveKind,
    requested_by: str,
    expires_at: datetime | None,
    placement_id: UUID | None = None,
) -> Archive:
    """An archive that is requested. :param placement_id: of what is there; None: of wherever the tenant is by then."""
    archive_id = new_id()
    row = connection.execute(
        insert(archives)
        .values(
            id=archive_id,
            tenant_id=tenant_id,
            placement_id=placement_id,
            kind=kind,
            state=ArchiveState.REQUESTED,
            file=_file(tenant_id),
            requested_by=requested_by,
            created_at=now(),
            expires_at=expires_at,
        )
        .returning(archives)
    ).one()
    return _archive(row)


def find(connection: Connection, archive_id: UUID, tenant_id: UUID | None = None) -> Archive:
    """The archive. :param tenant_id: it has to be of this tenant. :raises Refused: NOT_FOUND."""
    row = connection.execute(select(archives).where(archives.c.id == archive_id)).first()
    if row is None or tenant_id not in (None, row.tenant_id):
        raise Refused(Code.NOT_FOUND, "There is no such archive.", "`awssome tenant archives` names a tenant's.")
    return _archive(row)


def begin(connection: Connection, archive_id: UUID) -> tuple[Archive, str]:
    """Make the archive, under a file name of this attempt's own: whoever makes it besides finishes in vain.

    :returns: the archive as it is now, and the name of the file that an earlier attempt may have left.
    """
    before = connection.execute(select(archives).where(archives.c.id == archive_id).with_for_update()).one()
    fresh = update(archives).where(archives.c.id == archive_id, archives.c.state == ArchiveState.REQUESTED)
    row = connection.execute(fresh.values(file=_file(before.tenant_id)).returning(archives)).first()
    return _archive(row or before), before.file


def finish(connection: Connection, archive: Archive, **values: Any) -> bool:
    """The file is whole. False when another attempt has begun since, or has finished: then that one counts."""
    changed = connection.execute(
        update(archives)
        .where(
            archives.c.id == archive.id,
            archives.c.file == archive.file,
            archives.c.state == ArchiveState.REQUESTED,
        )
        .values(state=ArchiveState.READY, finished_at=now(), problem=None, **values)
    )
    return changed.rowcount == 1


def trouble(connection: Connection, archive: Archive, problem: str, *, ended: bool) -> None:
    """Write down what went wrong. :param ended: it will not be tried again."""
    values = {"state": ArchiveState.FAILED, "finished_at": now()} if ended else {}
    connection.execute(
        update(archives)
        .where(
            archives.c.id == archive.id,
            archives.c.file == archive.file,
            archives.c.state == ArchiveState.REQUESTED,
        )
        .values(problem=problem[:500], **values)
    )


def of_tenant(
    connection: Connection, tenant_id: UUID, *, after: str = "", before: str = "", limit: int = 50
) -> Page[Any]:
    """The tenant's archives, newest first."""
    query = select(archives).where(archives.c.tenant_id == tenant_id)
    return newest_first(connection, query, archives.c.id, UUID, after=after, before=before, limit=limit)


def last_words(connection: Connection, tenant_id: UUID, *, ready: bool = True) -> Archive | None:
    """The newest archive that was made because the tenant went: dormant, or deleted.

    :param ready: only one that is whole; else also one that is still to be made.
    """
    states = (ArchiveState.READY,) if ready else (ArchiveState.READY, ArchiveState.REQUESTED)
    row = connection.execute(
        select(archives)
        .where(
            archives.c.tenant_id == tenant_id,
            archives.c.kind.in_((ArchiveKind.DORMANT, ArchiveKind.FINAL)),
            archives.c.state.in_(states),
        )
        .order_by(archives.c.created_at.desc())
        .limit(1)
    ).first()
    return _archive(row) if row else None


def keep_source(connection: Connection, placement_id: UUID, until: datetime) -> Archive | None:
    """The newest archive of the source of a move that is whole, or still to be made; it is kept until then from now on.

    None when there is none.
    """
    newest = (
        select(archives.c.id)
        .where(
            archives.c.placement_id == placement_id,
            archives.c.kind == ArchiveKind.RETIRED,
            archives.c.state.in_((ArchiveState.READY, ArchiveState.REQUESTED)),
        )
        .order_by(archives.c.created_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    kept = update(archives).where(archives.c.id == newest).values(expires_at=until).returning(archives)
    row = connection.execute(kept).first()
    return _archive(row) if row else None


def let_go(connection: Connection, until: datetime) -> None:
    """What was kept for the return of tenants that are back is kept until then only."""
    back = select(tenants.c.id).where(tenants.c.id == archives.c.tenant_id, tenants.c.state == TenantState.ACTIVE)
    connection.execute(
        update(archives)
        .where(
            archives.c.kind == ArchiveKind.DORMANT,
            archives.c.state == ArchiveState.READY,
            archives.c.expires_at.is_(None),
            back.exists(),
        )
        .values(expires_at=until)
    )


def end(connection: Connection, archive_id: UUID, at: datetime) -> None:
    """The archive is not kept any longer than that."""
    connection.execute(update(archives).where(archives.c.id == archive_id).values(expires_at=at))


def end_all(connection: Connection, tenant_id: UUID, at: datetime) -> None:
    """No archive of the tenant is kept any longer; none says any more who asked for it."""
    mine = update(archives).where(archives.c.tenant_id == tenant_id)
    connection.execute(mine.values(requested_by=""))
    connection.execute(mine.where(archives.c.state == ArchiveState.READY).values(expires_at=at))
    unmade = mine.where(archives.c.state == ArchiveState.REQUESTED)
    connection.execute(unmade.values(state=ArchiveState.FAILED, finished_at=at, problem="The tenant was deleted."))


def asked_for(connection: Connection, tenant_id: UUID, since: datetime) -> list[Archive]:
    """The archives of the tenant that somebody asked for since then, newest first."""
    rows = connection.execute(
        select(archives)
        .where(archives.c.tenant_id == tenant_id, archives.c.kind == ArchiveKind.MANUAL, archives.c.created_at >= since)
        .order_by(archives.c.created_at.desc())
    )
    return [_archive(row) for row in rows]


def due(connection: Connection, every: timedelta, limit: int) -> list[UUID]:
    """Active tenants without a scheduled archive of the last `every`, those that wait longest first."""
    newest = (
        select(func.max(archives.c.created_at))
        .where(archives.c.tenant_id == tenants.c.id, archives.c.kind == ArchiveKind.SCHEDULED)
        .correlate(tenants)
        .scalar_subquery()
    )
    waiting = select(archives.c.id).where(
        archives.c.tenant_id == tenants.c.id,
        archives.c.kind == ArchiveKind.SCHEDULED,
        archives.c.state == ArchiveState.REQUESTED,
    )
    since = func.coalesce(newest, tenants.c.created_at)
    query = select(tenants.c.id).where(
        tenants.c.state == TenantState.ACTIVE, since < now() - every, ~waiting.correlate(tenants).exists()
    )
    return list(connection.scalars(query.order_by(since).limit(limit)))


def past_retention(connection: Connection, at: datetime, limit: int) -> list[UUID]:
    """Archives whose file has been kept long enough and nobody is being restored from, and uploads that broke off."""
    query = select(archives.c.id).where(_over(at)).order_by(archives.c.expires_at)
    return list(connection.scalars(query.limit(limit)))


def expire(connection: Connection, archive_id: UUID, at: datetime) -> Archive | None:
    """Nobody is to use the archive any more: it is written down before the file is deleted. None when it is kept."""
    row = connection.execute(
        update(archives)
        .where(archives.c.id == archive_id, _over(at) | (archives.c.state == ArchiveState.EXPIRED))
        .values(state=ArchiveState.EXPIRED)
        .returning(archives)
    ).first()
    return _archive(row) if row else None


def forget(connection: Connection, before: datetime) -> None:
    """Delete the rows of archives that ended before then and have no file; those that a restore names stay."""
    named = select(restores.c.id).where(restores.c.archive_id == archives.c.id).correlate(archives).exists()
    ended = archives.c.state.in_((ArchiveState.EXPIRED, ArchiveState.FAILED))
    connection.execute(delete(archives).where(ended, archives.c.expires_at < before, ~named))


def without_job(connection: Connection, before: datetime) -> list[UUID]:
    """Archives requested before then that nobody makes; those of tenants that go are made by whoever empties them."""
    no_job = text(
        "NOT EXISTS (SELECT FROM procrastinate_jobs j "
        "WHERE j.lock = 'archive:' || archives.id AND j.status IN ('todo', 'doing'))"
    )
    waiting = select(archives.c.id).where(
        archives.c.state == ArchiveState.REQUESTED,
        archives.c.kind.in_((ArchiveKind.MANUAL, ArchiveKind.SCHEDULED)),
        archives.c.created_at < before,
    )
    return list(connection.scalars(waiting.where(no_job)))


def _over(at: datetime) -> ColumnElement[bool]:
    broken_off = and_(archives.c.state == ArchiveState.REQUESTED, archives.c.kind == ArchiveKind.UPLOADED)
    restoring = select(restores.c.id).where(
        restores.c.tenant_id == archives.c.tenant_id,
        restores.c.archive_id == archives.c.id,
        restores.c.state.in_(RESTORES_UNDER_WAY),
    )
    return and_(
        or_(archives.c.state == ArchiveState.READY, broken_off),
        archives.c.expires_at <= at,
        ~restoring.correlate(archives).exists(),
    )


def _file(tenant_id: UUID) -> str:
    return f"{tenant_id}/{new_id()}.zip"


def _archive(row: Any) -> Archive:
    return Archive(**{**row._mapping, "kind": ArchiveKind(row.kind), "state": ArchiveState(row.state)})
