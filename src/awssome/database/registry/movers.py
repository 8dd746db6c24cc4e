"""Mover numbers, which moves and restores of a tenant share: the fences remember the last one."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import func, select
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
    connection.execute(select(tenants.c.id).where(tenants.c.id == tenant_id).with_for_update())
    moving = select(moves.c.id).where(moves.c.tenant_id == tenant_id, moves.c.phase.in_(UNDER_WAY))
    if connection.scalar(select(moving.exists())):
        raise Refused(
            Code.CONFLICT, "This tenant is being moved already.", "Wait until that move has ended, or cancel it."
        )
    restoring = select(restores.c.id).where(restores.c.tenant_id == tenant_id, restores.c.state.in_(RESTORES_UNDER_WAY))
    if connection.scalar(select(restoring.exists())):
        raise Refused(Code.CONFLICT, "This tenant is being restored already.", "Wait until that restore has ended.")
    of_moves, of_restores = (
        select(func.coalesce(func.max(table.c.mover), 0)).where(table.c.tenant_id == tenant_id).scalar_subquery()
        for table in (moves, restores)
    )
    last: int = connection.execute(select(func.greatest(of_moves, of_restores))).scalar_one()
    return last
