"""Asking for moves, and sweeping up after them. Carrying a tenant is `database.mover`."""

from __future__ import annotations

from uuid import UUID

from awssome.database import Connection
from awssome.database.registry import audit, moves, placements, servers, tenants
from awssome.database.registry.audit import Actor
from awssome.domain.errors import Code, Refused
from awssome.domain.instances import Blueprint
from awssome.domain.moves import MoveKind, Phase
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
    return _start(connection, queue, actor, tenant, last.target_id, server_id, MoveKind.ROLLBACK)


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
