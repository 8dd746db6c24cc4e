"""Drains: what operators want of a pool that is too full. Kept with the server until no more tenants live there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select, update
from sqlalchemy.engine import Connection

from awssome.database.registry.tables import moves, placements, servers, tenants
from awssome.domain.moves import UNDER_WAY, Phase
from awssome.domain.tenants import PlacementState, TenantState
from awssome.domain.times import now


@dataclass(frozen=True)
class Candidate:
    """A tenant that a drain may move. `last`: when somebody of it was seen, or else when it began."""

    tenant_id: UUID
    slug: str
    company: str
    last: datetime


def begin(connection: Connection, server_id: UUID, count: int, to: UUID | None, by: str) -> None:
    """Want at most `count` tenants on this server; the others go to `to`, or wherever there is most room."""
    _set(
        connection,
        server_id,
        drain_to_count=count,
        drain_server_id=to,
        drain_by=by[:254],
        drain_since=now(),
        drain_problem=None,
    )


def end(connection: Connection, server_id: UUID, problem: str | None = None) -> None:
    """Nothing is wanted any more. :param problem: why less was reached, kept for operators until the next drain."""
    _set(connection, server_id, drain_to_count=None, drain_server_id=None, drain_problem=problem)


def trouble(connection: Connection, server_id: UUID, problem: str | None) -> None:
    """Why the drain does not go on at present."""
    _set(connection, server_id, drain_problem=problem)


def under_way(connection: Connection) -> list[UUID]:
    """The servers that are being drained."""
    return list(connection.scalars(select(servers.c.id).where(servers.c.drain_to_count.is_not(None))))


def left_by(connection: Connection, move_id: UUID) -> UUID | None:
    """The server that a move leads away from, if it is being drained."""
    query = (
        select(servers.c.id)
        .join(placements, placements.c.server_id == servers.c.id)
        .join(moves, moves.c.source_id == placements.c.id)
        .where(moves.c.id == move_id, servers.c.drain_to_count.is_not(None))
    )
    found: UUID | None = connection.scalar(query)
    return found


def leaving(connection: Connection, server_id: UUID) -> tuple[int, int]:
    """(moves under way that lead away from the server, those among them whose tenant still lives there)."""
    row = connection.execute(
        select(func.count(), func.count().filter(placements.c.state == PlacementState.ACTIVE))
        .select_from(moves)
        .join(placements, placements.c.id == moves.c.source_id)
        .where(placements.c.server_id == server_id, moves.c.phase.in_(UNDER_WAY))
    ).one()
    return row[0], row[1]


def candidates(connection: Connection, server_id: UUID, since: datetime, limit: int) -> list[Candidate]:
    """Tenants that could be moved off the server, those first at which nobody has looked for longest.

    Who is not at work feels no pause of writes. Left out: who is being moved, and whom a move since `since` could not
    carry or was called off for.
    """
    last = func.coalesce(tenants.c.seen_at, tenants.c.activated_at, tenants.c.created_at)
    query: Select[Any] = (
        select(tenants.c.id.label("tenant_id"), tenants.c.slug, tenants.c.company, last.label("last"))
        .join(placements, placements.c.id == tenants.c.placement_id)
        .where(
            placements.c.server_id == server_id,
            tenants.c.state == TenantState.ACTIVE,
            ~_moved(moves.c.phase.in_(UNDER_WAY)),
            ~_moved(moves.c.phase.in_((Phase.FAILED, Phase.CANCELLED)), moves.c.requested_at >= since),
        )
    )
    return [Candidate(*row) for row in connection.execute(query.order_by(last, tenants.c.id).limit(limit))]


def _moved(*which: ColumnElement[bool]) -> ColumnElement[bool]:
    return select(moves.c.id).where(moves.c.tenant_id == tenants.c.id, *which).correlate(tenants).exists()


def _set(connection: Connection, server_id: UUID, **values: Any) -> None:
    connection.execute(update(servers).where(servers.c.id == server_id).values(**values))
