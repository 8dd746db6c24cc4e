"""Making a tenant's workspace, and opening and closing it. Each function can be run twice, and after a kill -9."""

from __future__ import annotations

from uuid import UUID

from awssome.database.registry import audit, placements, servers, tenants
from awssome.database.servers import match_login
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import PlacementState, TenantState
from awssome.domain.times import now
from awssome.workflows import instances
from awssome.workflows.services import WorkerServices


def provision(services: WorkerServices, tenant_id: UUID) -> None:
    """Schema, login and tables on the emptiest open pool; then the tenant is active.

    The placement's row, with its name, is committed before any object is made. What went wrong is on the tenant.

    :raises Refused: UNAVAILABLE when no pool has room or the server does not answer.
    """
    try:
        _provision(services, tenant_id)
    except Exception as error:
        problem = error.message if isinstance(error, Refused) else "The workspace could not be made: a defect of ours."
        with services.registry.begin() as connection:
            if tenants.find(connection, tenant_id, lock=True).state is TenantState.PENDING:
                tenants.change(connection, tenant_id, problem=problem)
        raise


def set_login(services: WorkerServices, tenant_id: UUID) -> None:
    """Open or close the database login as the tenant's state says; closing ends its sessions."""
    match_login(services.registry, services.keys, services.open_server, tenant_id)


def discard(services: WorkerServices, placement_id: UUID) -> None:
    """Drop what a placement left on its server that was begun for nothing; its place is free then.

    Nothing happens to one where somebody lives, or may yet.
    """
    with services.registry.begin() as connection:
        if not placements.is_abandoned(connection, placement_id):
            return
    drop(services, placement_id)


def drop(services: WorkerServices, placement_id: UUID) -> None:
    """Drop what the server has of a placement, and let its place go.

    :raises Refused: CONFLICT when the tenant lives there.
    """
    with services.registry.begin() as connection:
        placement = placements.find(connection, services.keys, placement_id)
        if tenants.find(connection, placement.tenant_id).placement_id == placement_id:
            raise Refused(Code.CONFLICT, "The tenant lives on this placement; it is not dropped.")
        server_id = placements.server_of(connection, placement_id)
    server = services.open_server(server_id)
    fence = server.fence(placement.schema)
    server.drop(placement.schema, fence.mover if fence else 0)
    with services.registry.begin() as connection:
        placements.mark(connection, placement_id, PlacementState.DROPPED)
        servers.release(connection, placement_id)
        audit.record(connection, audit.SYSTEM, "placement.dropped", placement.tenant_id, schema=placement.schema)


def check_server(services: WorkerServices, server_id: UUID) -> None:
    """Look whether a new server can hold tenants, and open it; what is missing is written on it."""
    try:
        instances.renew(services, server_id)
        found = services.open_server(server_id).check()
    except Exception as error:
        problem = error.message if isinstance(error, Refused) else f"The check failed with {type(error).__name__}."
        with services.registry.begin() as connection:
            servers.change(connection, server_id, open=False, problem=problem)
            audit.record(connection, audit.SYSTEM, "server.refused", server=server_id, problem=problem)
        if isinstance(error, Refused) and error.code is not Code.UNAVAILABLE:
            return
        raise
    with services.registry.begin() as connection:
        servers.change(connection, server_id, open=True, problem=None)
        audit.record(connection, audit.SYSTEM, "server.opened", server=server_id, found=found)


def _provision(services: WorkerServices, tenant_id: UUID) -> None:
    with services.registry.begin() as connection:
        tenant = tenants.find(connection, tenant_id, lock=True)
        if tenant.state is not TenantState.PENDING:
            return
        placement_id = tenant.placement_id
        if placement_id is None:
            server_id = servers.emptiest_pool(connection)
            placement_id = placements.create(connection, tenant_id, server_id, services.keys.key_id)
            tenants.change(connection, tenant_id, placement_id=placement_id, epoch=1)
    with services.registry.begin() as connection:
        placement = placements.find(connection, services.keys, placement_id)
        server_id = placements.server_of(connection, placement_id)
    server = services.open_server(server_id)
    revision = server.provision(placement.schema, placement.password, epoch=placement.epoch, mode=FenceMode.RW)
    with services.registry.begin() as connection:
        tenant = tenants.find(connection, tenant_id, lock=True)
        if tenant.state is not TenantState.PENDING:
            if tenant.placement_id != placement_id:  # the sign-up has expired meanwhile
                services.queue.discard(connection, placement_id)
            return
        placements.mark(connection, placement_id, PlacementState.ACTIVE, revision=revision)
        tenants.turn(connection, tenant_id, TenantState.ACTIVE, activated_at=now(), problem=None)
        audit.record(connection, audit.SYSTEM, "tenant.activated", tenant_id, schema=placement.schema)
