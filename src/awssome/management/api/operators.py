"""What operators do from the command line; the pages do the same through `management.operations`."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter

from awssome.control import messages as m
from awssome.domain.moves import MoveKind, MoveState
from awssome.management import operations
from awssome.management.api.guard import OperatorCall
from awssome.workflows import moves as moves_of_tenants

router = APIRouter(tags=["operators"])


@router.get("/tenants")
def tenants(
    call: OperatorCall, search: str = "", sort: str = "-created", after: str = "", limit: int = 50
) -> m.TenantPage:
    """Tenants by page."""
    with call.registry.begin() as connection:
        return operations.tenants_page(connection, search=search, sort=sort, after=after, limit=limit)


@router.post("/tenants", status_code=201)
def create_tenant(call: OperatorCall, body: m.CreateTenant) -> m.TenantDetail:
    """A free tenant, an operator vouching; the workspace follows within seconds."""
    with call.registry.begin() as connection:
        made = operations.create_tenant(call.services, connection, call.actor, body.email, body.company)
        return operations.tenant_detail(connection, str(made))


@router.get("/tenants/{ref}")
def tenant(call: OperatorCall, ref: str) -> m.TenantDetail:
    """One tenant by id or slug."""
    with call.registry.begin() as connection:
        return operations.tenant_detail(connection, ref)


@router.get("/tenants/{ref}/credentials")
def credentials(call: OperatorCall, ref: str, placement: UUID | None = None) -> m.Credentials:
    """The tenant's database login, where it is or at another of its placements; audited."""
    with call.registry.begin() as connection:
        return operations.credentials(call.services, connection, call.actor, ref, placement)


@router.post("/tenants/{ref}/upgrade", status_code=202)
def upgrade(call: OperatorCall, ref: str, body: m.StartMove) -> m.MoveOut | m.Accepted:
    """Grant the paid tier and move to a dedicated server; only a message when no move can begin."""
    with call.registry.begin() as connection:
        return operations.start_upgrade(call.services, connection, call.actor, ref, body.server)


@router.post("/tenants/{ref}/rollback", status_code=202)
def rollback(call: OperatorCall, ref: str, body: m.StartMove) -> m.MoveOut:
    """Move back to where the last move came from."""
    with call.registry.begin() as connection:
        return operations.start_rollback(call.services, connection, call.actor, ref)


@router.post("/tenants/{ref}/downgrade", status_code=202)
def downgrade(call: OperatorCall, ref: str) -> m.MoveOut | m.Accepted:
    """Give the paid tier up and move to a pool; only a message when nothing has to move."""
    with call.registry.begin() as connection:
        return operations.start_downgrade(call.services, connection, call.actor, ref)


@router.delete("/tenants/{ref}/upgrade-request", status_code=204)
def decline_upgrade(call: OperatorCall, ref: str) -> None:
    """Decline what the tenant's owner asks for; the tier stays as it is."""
    with call.registry.begin() as connection:
        moves_of_tenants.withdraw(connection, call.actor, ref)


@router.post("/tenants/{ref}/move", status_code=202)
def move_tenant(call: OperatorCall, ref: str, body: m.StartMove) -> m.MoveOut:
    """Move to another server."""
    with call.registry.begin() as connection:
        return operations.start_move(call.services, connection, call.actor, ref, body.server)


@router.post("/tenants/{ref}/suspend", status_code=204)
def suspend(call: OperatorCall, ref: str) -> None:
    """Close the tenant's pages and login."""
    with call.registry.begin() as connection:
        operations.suspend(call.services, connection, call.actor, ref)


@router.post("/tenants/{ref}/resume", status_code=204)
def resume(call: OperatorCall, ref: str) -> None:
    """Open a suspended tenant."""
    with call.registry.begin() as connection:
        operations.resume(call.services, connection, call.actor, ref)


@router.get("/servers")
def servers(call: OperatorCall) -> list[m.ServerRow]:
    """Every server with its load."""
    with call.registry.begin() as connection:
        return operations.servers_with_load(connection)


@router.post("/servers", status_code=201)
def add_server(call: OperatorCall, body: m.AddServer) -> m.ServerRow:
    """Register a server; a worker checks and opens it."""
    with call.registry.begin() as connection:
        return operations.add_server(call.services, connection, call.actor, body)


@router.post("/servers/{name}/close")
def close_server(call: OperatorCall, name: str) -> m.ServerRow:
    """No new tenants on this server."""
    with call.registry.begin() as connection:
        return operations.close_server(call.services, connection, call.actor, name)


@router.get("/moves")
def moves(
    call: OperatorCall, after: str = "", kind: MoveKind | None = None, state: MoveState | None = None
) -> m.MovePage:
    """Moves, newest first; of one kind, or in one state."""
    with call.registry.begin() as connection:
        return operations.moves_page(connection, after, kind=kind, state=state)


@router.get("/moves/{move_id}")
def move(call: OperatorCall, move_id: UUID) -> m.MoveOut:
    """One move."""
    with call.registry.begin() as connection:
        return operations.move(connection, move_id)


@router.post("/moves/{move_id}/cancel", status_code=202)
def cancel(call: OperatorCall, move_id: UUID) -> m.MoveOut:
    """Call a move off before the switch."""
    with call.registry.begin() as connection:
        return operations.cancel_move(call.services, connection, call.actor, move_id)


@router.post("/moves/{move_id}/release", status_code=202)
def release(call: OperatorCall, move_id: UUID) -> m.MoveOut:
    """Have the source of a move archived and dropped that is kept because it differed."""
    with call.registry.begin() as connection:
        return operations.release_source(call.services, connection, call.actor, move_id)


@router.post("/moves/{move_id}/retry", status_code=202)
def retry(call: OperatorCall, move_id: UUID) -> m.MoveOut:
    """Try a failed move again."""
    with call.registry.begin() as connection:
        return operations.retry_move(call.services, connection, call.actor, move_id)


@router.post("/operators", status_code=201)
def create_operator(call: OperatorCall, body: m.CreateOperator) -> m.AccountOut:
    """An account for the management portal."""
    return operations.create_operator(call.services, call.actor, body)


@router.get("/audit")
def audit(call: OperatorCall, after: str = "") -> m.AuditPage:
    """The audit log, newest first."""
    with call.registry.begin() as connection:
        return operations.audit_page(connection, after=after)
