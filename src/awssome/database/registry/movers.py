"""Mover numbers, which moves and restores of a tenant share: the fences remember the last one."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.engine import Connection

from awssome.database.registry.tables import moves, restores, tenants
from awssome.domain.archives import RESTORES_UNDER_WAY
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import UNDER_WAY


def reserve(connection: Connection, tenant_id: UUID) -> int:
    """Keep the tenant for one move or restore, which the caller writes down in this transaction.

    :returns: the last mover number of the tenant; the next one goes on from there.
    :raises Refused: CONFLICT while another one is under way.
    """
    require_none(connection, tenant_id)
    return int(connection.execute(select(_last(tenant_id))).scalar_one())


def take(connection: Connection, tenant_id: UUID) -> int:
    """The next mover number, for closing or opening where the tenant is; movers before it change nothing there.

    Only after `require_none`, in one transaction: whoever carries the tenant would take the same number next.
    """
    taken = update(tenants).where(tenants.c.id == tenant_id).values(mover=_last(tenant_id) + 1)
    return int(connection.execute(taken.returning(tenants.c.mover)).scalar_one())


def require_none(connection: Connection, tenant_id: UUID) -> None:
    """Lock the tenant, and make sure that it stays where it is. :raises Refused: CONFLICT while it does not."""
    connection.execute(select(tenants.c.id).where(tenants.c.id == tenant_id).with_for_update())
    moving = select(moves.c.id).where(moves.c.tenant_id == tenant_id, moves.c.phase.in_(UNDER_WAY))
    if connection.scalar(select(moving.exists())):
        raise Refused(
            Code.CONFLICT, "This tenant is being moved already.", "Wait until that move has ended, or cancel it."
        )
    restoring = select(restores.c.id).where(restores.c.tenant_id == tenant_id, restores.c.state.in_(RESTORES_UNDER_WAY))
    if connection.scalar(select(restoring.exists())):
        raise Refused(Code.CONFLICT, "This tenant is being restored already.", "Wait until that restore has ended.")


def _last(tenant_id: UUID) -> ColumnElement[int]:
    """The last number that anybody took; who only opened or closed took it from the tenant's own row."""
    of_moves, of_restores = (
        select(func.coalesce(func.max(table.c.mover), 0)).where(table.c.tenant_id == tenant_id).scalar_subquery()
        for table in (moves, restores)
    )
    own = select(tenants.c.mover).where(tenants.c.id == tenant_id).scalar_subquery()
    return func.greatest(of_moves, of_restores, own)
