"""Asking for moves, and sweeping up after them. Carrying a tenant is `database.mover`."""

from __future__ import annotations

from uuid import UUID

from awssome.database import Connection
from awssome.database.registry import audit, hubspot, movers, moves, placements, servers, tenants
from awssome.database.registry.audit import Actor
from awssome.domain.errors import Code, Refused
from awssome.domain.instances import Blueprint
from awssome.domain.moves import OWNERS, MoveKind, Phase
from awssome.domain.tenants import EngineName, ServerKind, TenantState, Tier
from awssome.workflows import instances, retention
from awssome.workflows.queue import Queue


def grant(connection: Connection, actor: Actor, ref: str) -> bool:
    """Lift the limit: the paid tier, wherever the tenant is. False when it has it already. :raises Refused: CONFLICT"""
    tenant = _movable(connection, ref)
    if tenant.tier is Tier.PAID:
        return False
    tenants.change(connection, tenant.id, tier=Tier.PAID, upgrade_requested_at=None, upgrade_requested_by=None)
    audit.record(connection, actor, "tenant.upgraded", tenant.id)
    return True


def upgrade(
    connection: Connection,
    queue: Queue,
    actor: Actor,
    ref: str,
    server: str | None = None,
    blueprint: Blueprint | None = None,
) -> UUID:
    """Grant the paid tier, and move the tenant to a dedicated server.

    :param server: name of a dedicated server; None: a free one.
    :param blueprint: what AWS makes when none is free; None: nothing.
    :raises Refused: CONFLICT when it is on a dedicated server, UNAVAILABLE when none is free.
    """
    grant(connection, actor, ref)
    tenant = _movable(connection, ref)
    source = tenant.placement_id
    if source is None:
        raise _not_active()
    here = servers.by_id(connection, placements.server_of(connection, source))
    if here.kind == ServerKind.DEDICATED:
        raise Refused(Code.CONFLICT, f"{tenant.company} has a dedicated server already.")
    server_id = (
        servers.take_dedicated(connection, server, tenant.id)
        if server
        else _dedicated(connection, actor, tenant.id, EngineName(here.engine), blueprint)
    )
    return _start(connection, queue, actor, tenant, source, server_id, MoveKind.UPGRADE)


def roll_back_own(connection: Connection, queue: Queue, actor: Actor, ref: str) -> UUID:
    """As `rollback`, for a tenant's owner: of what follows from the plan, never of the operators' own moves.

    :raises Refused: CONFLICT, too, when the last move was one of these.
    """
    last = moves.last_retained(connection, _movable(connection, ref).id)
    if last is not None and last.kind not in OWNERS:
        raise Refused(
            Code.CONFLICT,
            "The operators have moved your workspace since. Nothing was changed.",
            "Ask them when you want it somewhere else.",
        )
    return rollback(connection, queue, actor, ref)


def rollback(connection: Connection, queue: Queue, actor: Actor, ref: str) -> UUID:
    """Move the tenant back to the server it came from, into a fresh schema; the tier stays, later writes come along.

    :raises Refused: CONFLICT when there is no move to take back, or its retention has ended.
    """
    tenant = _movable(connection, ref)
    last = moves.last_retained(connection, tenant.id)
    if last is None or tenant.placement_id != last.target_id:
        raise Refused(
            Code.CONFLICT,
            "There is no move that could be taken back.",
            "A rollback is possible until the retention of the last move ends.",
        )
    server_id = placements.server_of(connection, last.source_id)
    if tenant.tier is Tier.FREE and servers.by_id(connection, server_id).kind == ServerKind.DEDICATED:
        raise Refused(
            Code.CONFLICT,
            "The free tier has no server of its own to go back to. Nothing was changed.",
            "An upgrade leads there again, and everything comes along.",
        )
    return _start(connection, queue, actor, tenant, last.target_id, server_id, MoveKind.ROLLBACK)


def downgrade(connection: Connection, queue: Queue, actor: Actor, ref: str) -> UUID | None:
    """Give the paid tier up, and move the tenant to the emptiest pool of its engine.

    The tier changes with the placement, in one statement (`tenants.switch_placement`): who calls the move off has lost
    nothing. Where there is nothing to move, because the tenant lives on a pool, it changes at once.

    :returns: the move; None when the tenant stays where it is.
    :raises Refused: CONFLICT when it is free already, or another free tenant is connected to its HubSpot account;
        UNAVAILABLE when no pool has room.
    """
    tenant = _movable(connection, ref)
    source = tenant.placement_id
    if source is None:
        raise _not_active()
    if tenant.tier is Tier.FREE:
        raise Refused(Code.CONFLICT, f"{tenant.company} is on the free tier already.")
    hubspot.require_room(connection, tenant.id)
    here = servers.by_id(connection, placements.server_of(connection, source))
    if here.kind == ServerKind.DEDICATED:
        server_id = servers.emptiest_pool(connection, EngineName(here.engine))
        return _start(connection, queue, actor, tenant, source, server_id, MoveKind.DOWNGRADE)
    movers.require_none(connection, tenant.id)
    tenants.change(connection, tenant.id, tier=Tier.FREE)
    audit.record(connection, actor, "tenant.downgraded", tenant.id)
    queue.keep_to_plan(connection, tenant.id)
    return None


def after_move(connection: Connection, queue: Queue, move_id: UUID) -> None:
    """A downgrade has come to its end: syncs keep to the free tier from now on."""
    move = moves.find(connection, move_id)
    if move.kind is MoveKind.DOWNGRADE and move.phase is Phase.RETAINING:
        queue.keep_to_plan(connection, move.tenant_id)


def withdraw(connection: Connection, actor: Actor, ref: str) -> None:
    """The paid tier is no longer asked for. :raises Refused: CONFLICT when it was granted, or nobody asks for it."""
    tenant = tenants.by_ref(connection, ref, lock=True)
    if tenant.tier is Tier.PAID or tenant.upgrade_requested_at is None:
        raise Refused(
            Code.CONFLICT,
            "The paid tier was granted already." if tenant.tier is Tier.PAID else "Nobody asks for the paid tier.",
        )
    tenants.change(connection, tenant.id, upgrade_requested_at=None, upgrade_requested_by=None)
    audit.record(connection, actor, "upgrade.withdrawn", tenant.id)


def move_to(connection: Connection, queue: Queue, actor: Actor, ref: str, server: str | None) -> UUID:
    """Move the tenant to another server, of whatever engine; None: the emptiest pool of its own engine.

    :raises Refused: CONFLICT, NOT_FOUND.
    """
    tenant = _movable(connection, ref)
    source = tenant.placement_id
    if source is None:
        raise _not_active()
    here = placements.server_of(connection, source)
    if server is None:
        engine = EngineName(servers.by_id(connection, here).engine)
        server_id = servers.emptiest_pool(connection, engine, but=here)
    else:
        if servers.by_name(connection, server).id == here:
            raise Refused(Code.CONFLICT, "The tenant is on this server already.", "Name another server.")
        server_id = servers.take(connection, server, tenant.id)
    return _start(connection, queue, actor, tenant, source, server_id, MoveKind.REBALANCE)


def cancel(connection: Connection, queue: Queue, actor: Actor, move_id: UUID) -> None:
    """Call a move off, until the placement has switched. :raises Refused: CONFLICT afterwards."""
    move = moves.find(connection, move_id)
    moves.request_cancel(connection, move_id)
    audit.record(connection, actor, "move.cancel_requested", move.tenant_id, move=move_id)
    queue.move(connection, move_id)


def retry(connection: Connection, queue: Queue, actor: Actor, move_id: UUID) -> None:
    """Try a failed or waiting move again. :raises Refused: CONFLICT when it has ended."""
    move = moves.find(connection, move_id)
    if move.phase in (Phase.RETAINING, Phase.DROPPED, Phase.CANCELLED):
        raise Refused(Code.CONFLICT, "This move has ended.", "Start another one.")
    if move.phase is Phase.FAILED and _movable(connection, str(move.tenant_id)).placement_id != move.source_id:
        raise Refused(Code.CONFLICT, "The tenant has moved since.", "Cancel this move: that drops its copy.")
    moves.reopen(connection, move_id)
    instances.again(connection, placements.server_of(connection, move.target_id))
    audit.record(connection, actor, "move.retried", move.tenant_id, move=move_id)
    queue.move(connection, move_id)


def sweep(connection: Connection, queue: Queue) -> None:
    """Begin to drop what has been retained long enough, and put moves back into the queue that nobody carries on."""
    retention.sweep(connection)
    for move_id in moves.without_job(connection):
        queue.move(connection, move_id)


def _movable(connection: Connection, ref: str) -> tenants.Tenant:
    tenant = tenants.by_ref(connection, ref, lock=True)
    if tenant.state is not TenantState.ACTIVE:
        raise _not_active()
    return tenant


def _dedicated(
    connection: Connection, actor: Actor, tenant_id: UUID, engine: EngineName, blueprint: Blueprint | None
) -> UUID:
    """A dedicated server that is free, else one that AWS is to make. :raises Refused: UNAVAILABLE."""
    try:
        return servers.free_dedicated(connection, tenant_id, engine)
    except Refused:
        if blueprint is None or blueprint.runs is not engine:
            raise
    return instances.order(connection, blueprint, actor, tenant_id)


def _not_active() -> Refused:
    return Refused(Code.CONFLICT, "Only an active tenant can be moved.", "Wait until it is active, or resume it.")


def _start(
    connection: Connection,
    queue: Queue,
    actor: Actor,
    tenant: tenants.Tenant,
    source: UUID,
    server_id: UUID,
    kind: MoveKind,
) -> UUID:
    target = placements.create(connection, tenant.id, server_id)
    move_id = moves.create(connection, tenant.id, kind, source, target, actor.name)
    audit.record(connection, actor, "move.requested", tenant.id, move=move_id, kind=kind)
    queue.move(connection, move_id)
    return move_id
