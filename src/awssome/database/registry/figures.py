"""Figures of the whole platform, each one query."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import func, select, text
from sqlalchemy.engine import Connection

from awssome.database.registry import moves as registered
from awssome.database.registry.tables import moves, tenants
from awssome.database.registry.tenants import rows_query
from awssome.domain.moves import UNDER_WAY, Phase


def tenants_by_tier(connection: Connection) -> list[Any]:
    """tier, state, count."""
    return list(
        connection.execute(
            select(tenants.c.tier, tenants.c.state, func.count().label("count")).group_by(
                tenants.c.tier, tenants.c.state
            )
        )
    )


def sign_ups_by_day(connection: Connection, *, days: int) -> list[Any]:
    """day, count, for each of the last days, today last."""
    return list(
        connection.execute(
            text(
                "SELECT day::date AS day, (SELECT count(*) FROM tenants WHERE created_at >= day "
                "AND created_at < day + interval '1 day') AS count "
                "FROM generate_series(date_trunc('day', now() AT TIME ZONE 'UTC') - make_interval(days => :days - 1), "
                "date_trunc('day', now() AT TIME ZONE 'UTC'), interval '1 day') AS day ORDER BY day"
            ),
            {"days": days},
        )
    )


def moves_in(connection: Connection, what: Literal["under_way", "failed", "kept"]) -> list[Any]:
    """Moves under way, or failed ones whose tenant has not been moved since; rows of `moves.rows_query`.

    `kept`: those whose source is kept because it differed, or could not be archived or dropped.
    """
    later = moves.alias()
    again = select(later.c.id).where(later.c.tenant_id == moves.c.tenant_id, later.c.id > moves.c.id)
    unarchived = (moves.c.phase == Phase.DROPPING) & moves.c.problem.is_not(None)
    wanted = {
        "under_way": moves.c.phase.in_(UNDER_WAY),
        "failed": (moves.c.phase == Phase.FAILED) & ~again.exists(),
        "kept": unarchived | ((moves.c.phase == Phase.RETAINING) & registered.UNCONFIRMED),
    }
    query = registered.rows_query().where(wanted[what]).order_by(moves.c.id.desc())
    return list(connection.execute(query.limit(20)))


def upgrade_requests(connection: Connection) -> list[Any]:
    """Tenants whose owner has asked for the paid tier, oldest request first; rows as in `tenants.page`."""
    query = rows_query().where(tenants.c.upgrade_requested_at.is_not(None)).order_by(tenants.c.upgrade_requested_at)
    return list(connection.execute(query.limit(50)))


def troubled(connection: Connection) -> list[Any]:
    """Tenants whose workspace could not be made, emptied or brought back; rows as in `tenants.page`."""
    query = rows_query().where(tenants.c.problem.is_not(None), tenants.c.state.in_(("pending", "archived", "retained")))
    return list(connection.execute(query.order_by(tenants.c.created_at).limit(50)))
