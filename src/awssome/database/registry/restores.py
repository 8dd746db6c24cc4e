"""Restores: requested, claimed under a mover number, carried on, with their evidence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Text, and_, cast, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.engine import Connection

from awssome.database.engine import MoverLost
from awssome.database.registry import movers
from awssome.database.registry.tables import archives, placements, restores, servers
from awssome.domain.archives import RESTORES_UNDER_WAY, RestoreState
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import PlacementState
from awssome.domain.times import new_id, now


@dataclass(frozen=True)
class Restore:
    """A row of `restores`.

    :ivar source_id: the placement that is replaced; None beside, or when the tenant had none.
    """

    id: UUID
    tenant_id: UUID
    archive_id: UUID
    source_id: UUID | None
    target_id: UUID
    beside: bool
    state: RestoreState
    mover: int
    requested_by: str
    requested_at: datetime
    finished_at: datetime | None
    evidence: dict[str, Any]
    problem: str | None


def create(
    connection: Connection,
    tenant_id: UUID,
    archive_id: UUID,
    *,
    source: UUID | None,
    target: UUID,
    beside: bool,
    requested_by: str,
) -> UUID:
    """A restore that is requested. :raises Refused: CONFLICT while the tenant is being moved or restored already."""
    restore_id = new_id()
    connection.execute(
        insert(restores).values(
            id=restore_id,
            tenant_id=tenant_id,
            archive_id=archive_id,
            source_id=source,
            target_id=target,
            beside=beside,
            state=RestoreState.REQUESTED,
            mover=movers.reserve(connection, tenant_id),
            requested_by=requested_by,
            requested_at=now(),
            evidence={"steps": {}, "tables": {}},
        )
    )
    return restore_id


def claim(connection: Connection, restore_id: UUID) -> Restore:
    """Take the restore with the next mover number: whoever had it before fails its next transaction."""
    row = connection.execute(
        update(restores).where(restores.c.id == restore_id).values(mover=restores.c.mover + 1).returning(restores)
    ).first()
    if row is None:
        raise _none()
    return _restore(row)


def find(connection: Connection, restore_id: UUID) -> Restore:
    """The restore as it stands. :raises Refused: NOT_FOUND."""
    row = connection.execute(select(restores).where(restores.c.id == restore_id)).first()
    if row is None:
        raise _none()
    return _restore(row)


def advance(connection: Connection, restore: Restore, state: RestoreState, **values: Any) -> None:
    """Write the state. :raises MoverLost: when somebody else has claimed the restore since."""
    _change(connection, restore, state=state, **values)


def note(connection: Connection, restore: Restore, part: str, name: str, value: Any) -> None:
    """Add to the evidence: `part` is steps or tables. :raises MoverLost: as `advance`."""
    added = func.jsonb_set(restores.c.evidence, cast([part, name], ARRAY(Text)), cast(value, JSONB))
    _change(connection, restore, evidence=added)


def of_tenant(connection: Connection, tenant_id: UUID) -> list[Any]:
    """The tenant's restores, newest first, with the target's server, state and retention and the archive's time."""
    return list(connection.execute(_rows().where(restores.c.tenant_id == tenant_id).order_by(restores.c.id.desc())))


def row(connection: Connection, restore_id: UUID) -> Any:
    """One row as in `of_tenant`. :raises Refused: NOT_FOUND."""
    found = connection.execute(_rows().where(restores.c.id == restore_id)).first()
    if found is None:
        raise _none()
    return found


def newest(connection: Connection, tenant_id: UUID) -> Restore | None:
    """The tenant's newest restore that is or was to take the place of where it was."""
    query = select(restores).where(restores.c.tenant_id == tenant_id, ~restores.c.beside)
    row = connection.execute(query.order_by(restores.c.id.desc()).limit(1)).first()
    return _restore(row) if row else None


def past_retention(connection: Connection, at: datetime) -> list[UUID]:
    """Restores that have left a placement which has been kept long enough."""
    left = _left_by().where(placements.c.state == PlacementState.RETAINED, placements.c.retain_until <= at)
    return list(connection.scalars(left.distinct()))


def left_by(connection: Connection, restore: Restore, at: datetime) -> list[UUID]:
    """The placements that the restore has left, kept long enough, and not dropped yet."""
    left = _left_by().where(
        restores.c.id == restore.id, placements.c.state == PlacementState.RETAINED, placements.c.retain_until <= at
    )
    return list(connection.scalars(left.with_only_columns(placements.c.id)))


def without_job(connection: Connection) -> list[UUID]:
    """Restores that are to be carried on but have no job that waits or runs."""
    no_job = text(
        "NOT EXISTS (SELECT FROM procrastinate_jobs j "
        "WHERE j.lock = 'restore:' || restores.id AND j.status IN ('todo', 'doing'))"
    )
    return list(connection.scalars(select(restores.c.id).where(restores.c.state.in_(RESTORES_UNDER_WAY), no_job)))


def _left_by() -> Any:
    """What a finished restore leaves: the placement that it replaced, or the one that it made beside."""
    mine = or_(
        placements.c.id == restores.c.source_id, and_(restores.c.beside, placements.c.id == restores.c.target_id)
    )
    return select(restores.c.id).join(placements, mine).where(restores.c.state == RestoreState.DONE)


def _rows() -> Any:
    return (
        select(
            restores,
            servers.c.name.label("server"),
            servers.c.engine.label("engine"),
            placements.c.schema_name,
            placements.c.state.label("placement_state"),
            placements.c.retain_until,
            archives.c.created_at.label("archived_at"),
        )
        .join(placements, placements.c.id == restores.c.target_id)
        .join(servers, servers.c.id == placements.c.server_id)
        .join(archives, archives.c.id == restores.c.archive_id)
    )


def _change(connection: Connection, restore: Restore, **values: Any) -> None:
    mine = update(restores).where(restores.c.id == restore.id, restores.c.mover == restore.mover)
    if connection.execute(mine.values(**values)).rowcount != 1:
        raise MoverLost


def _none() -> Refused:
    return Refused(Code.NOT_FOUND, "There is no such restore.")


def _restore(row: Any) -> Restore:
    return Restore(**{**row._mapping, "state": RestoreState(row.state)})
