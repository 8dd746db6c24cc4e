"""Tenants that go: dormant and deleted ones, and what is left of their workspaces."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, text, update
from sqlalchemy.engine import Connection

from awssome.database.registry import placements as registered
from awssome.database.registry.moves import UNCONFIRMED
from awssome.database.registry.tables import moves, placements, restores, tenants
from awssome.domain.archives import RESTORES_UNDER_WAY
from awssome.domain.moves import UNDER_WAY, Phase
from awssome.domain.tenants import AWAY, PlacementState, TenantState, Tier
from awssome.domain.times import now


def dormant(connection: Connection, before: datetime, limit: int) -> list[UUID]:
    """Active free tenants at which nobody has looked since `before`, longest first; locked.

    Left out: who asks for the paid tier, who is being moved or restored, and of whom an operator has to look at the
    source of a move, which would be dropped with everything else.
    """
    last = func.coalesce(tenants.c.seen_at, tenants.c.activated_at, tenants.c.created_at)
    differed = select(moves.c.id).where(
        moves.c.tenant_id == tenants.c.id, moves.c.phase == Phase.RETAINING, UNCONFIRMED
    )
    return list(
        connection.scalars(
            select(tenants.c.id)
            .where(
                tenants.c.state == TenantState.ACTIVE,
                tenants.c.tier == Tier.FREE,
                tenants.c.upgrade_requested_at.is_(None),
                last < before,
                ~_carried(),
                ~differed.exists(),
            )
            .order_by(last)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    )


def past_retention(connection: Connection, at: datetime, limit: int) -> list[UUID]:
    """Deleted tenants whose archive has been kept long enough, and of whom nothing is left on a server; locked."""
    left = select(placements.c.id).where(
        placements.c.tenant_id == tenants.c.id, placements.c.state != PlacementState.DROPPED
    )
    return list(
        connection.scalars(
            select(tenants.c.id)
            .where(tenants.c.state == TenantState.RETAINED, tenants.c.retain_until <= at, ~left.exists(), ~_carried())
            .order_by(tenants.c.retain_until)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    )


def unfinished(connection: Connection) -> list[UUID]:
    """Tenants that are away and still have a workspace, or what is left of one, with no job that empties it."""
    left = select(placements.c.id).where(
        placements.c.tenant_id == tenants.c.id, placements.c.state != PlacementState.DROPPED
    )
    no_job = text(
        "NOT EXISTS (SELECT FROM procrastinate_jobs j "
        "WHERE j.lock = 'tenant:' || tenants.id AND j.status IN ('todo', 'doing'))"
    )
    query = select(tenants.c.id).where(tenants.c.state.in_(AWAY), left.exists(), ~_carried(), no_job)
    return list(connection.scalars(query))


def detach(connection: Connection, tenant_id: UUID, placement_id: UUID, state: TenantState, number: int) -> bool:
    """The commit point of leaving: the tenant lives nowhere any more. False when it has come back, or is elsewhere.

    :param number: of the mover that stopped the writes; False when another one was taken since: it may have been open
        again in between, although it is in the same state now.
    """
    changed = connection.execute(
        update(tenants)
        .where(
            tenants.c.id == tenant_id,
            tenants.c.placement_id == placement_id,
            tenants.c.state == state,
            tenants.c.mover == number,
        )
        .values(placement_id=None, problem=None)
    )
    if changed.rowcount == 1:
        registered.mark(connection, placement_id, PlacementState.RETAINED, retain_until=now())
    return changed.rowcount == 1


def left_behind(connection: Connection, tenant_id: UUID) -> list[UUID]:
    """Placements of the tenant that were not dropped, where it neither lives nor is being brought."""
    target = placements.c.id
    going = select(moves.c.id).where(moves.c.target_id == target, moves.c.phase.in_(UNDER_WAY)).exists()
    coming = select(restores.c.id).where(restores.c.target_id == target, restores.c.state.in_(RESTORES_UNDER_WAY))
    return list(
        connection.scalars(
            select(placements.c.id)
            .join(tenants, tenants.c.id == placements.c.tenant_id)
            .where(
                placements.c.tenant_id == tenant_id,
                placements.c.state != PlacementState.DROPPED,
                tenants.c.placement_id.is_distinct_from(placements.c.id),
                ~going,
                ~coming.exists(),
            )
        )
    )


def _carried() -> ColumnElement[bool]:
    """Whether a move or a restore works on the tenant of the outer query."""
    moving = select(moves.c.id).where(moves.c.tenant_id == tenants.c.id, moves.c.phase.in_(UNDER_WAY))
    restoring = select(restores.c.id).where(
        restores.c.tenant_id == tenants.c.id, restores.c.state.in_(RESTORES_UNDER_WAY)
    )
    return moving.correlate(tenants).exists() | restoring.correlate(tenants).exists()
