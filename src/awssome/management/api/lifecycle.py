"""The life of tenants and the load of servers, for the command line."""

from __future__ import annotations

from fastapi import APIRouter

from awssome.control import messages as m
from awssome.management import lifecycle, operations
from awssome.management.api.guard import OperatorCall

router = APIRouter(tags=["operators"])


@router.delete("/tenants/{ref}", status_code=202)
def delete_tenant(call: OperatorCall, ref: str) -> m.TenantDetail:
    """Close the tenant at once, and have its data archived; for 30 days it can be brought back."""
    with call.registry.begin() as connection:
        return lifecycle.delete_tenant(call.services, connection, call.actor, ref)


@router.post("/tenants/{ref}/return", status_code=202)
def bring_back(call: OperatorCall, ref: str, body: m.StartMove) -> m.TenantDetail:
    """Bring an archived or deleted tenant back."""
    with call.registry.begin() as connection:
        return lifecycle.bring_back(call.services, connection, call.actor, ref, body.server)


@router.post("/tenants/{ref}/rotation", status_code=202)
def rotate(call: OperatorCall, ref: str) -> None:
    """Another password for the tenant's login; its old sessions end."""
    with call.registry.begin() as connection:
        lifecycle.rotate(call.services, connection, call.actor, ref)


@router.post("/rotations", status_code=202)
def rotate_batch(call: OperatorCall, body: m.StartRotation) -> m.RotationBatch:
    """Other passwords for the logins of all active tenants, batch by batch."""
    with call.registry.begin() as connection:
        return lifecycle.rotate_batch(call.services, connection, call.actor, body.after)


@router.get("/rotations")
def rotations(call: OperatorCall) -> m.RotationProgress:
    """How many rotations are still to be done."""
    with call.registry.begin() as connection:
        return lifecycle.progress(connection, "rotate")


@router.post("/data-key-rotations", status_code=202)
def rotate_data_keys(call: OperatorCall, body: m.StartKeyRotation) -> m.RotationBatch:
    """Data keys wrapped by what wraps now, or other data keys, batch by batch."""
    with call.registry.begin() as connection:
        return lifecycle.rotate_data_keys(call.services, connection, call.actor, body)


@router.get("/data-key-rotations")
def data_key_rotations(call: OperatorCall) -> m.RotationProgress:
    """How many rotations of data keys are still to be done."""
    with call.registry.begin() as connection:
        return lifecycle.progress(connection, "rotate_data_key")


@router.patch("/servers/{name}")
def change_server(call: OperatorCall, name: str, body: m.ChangeServer) -> m.ServerRow:
    """Another capacity."""
    with call.registry.begin() as connection:
        return lifecycle.change_server(connection, call.actor, name, body)


@router.post("/servers/{name}/open", status_code=202)
def open_server(call: OperatorCall, name: str) -> m.ServerRow:
    """Have a worker check the server and open it."""
    with call.registry.begin() as connection:
        return operations.open_server(call.services, connection, call.actor, name)


@router.post("/servers/{name}/drain", status_code=202)
def start_drain(call: OperatorCall, name: str, body: m.StartDrain) -> m.ServerRow | m.DrainPlan:
    """Move tenants off a pool; what that would do, when it is not to be done."""
    with call.registry.begin() as connection:
        if body.dry_run:
            return lifecycle.plan_drain(connection, name, body)
        return lifecycle.start_drain(call.services, connection, call.actor, name, body)


@router.delete("/servers/{name}/drain")
def stop_drain(call: OperatorCall, name: str) -> m.ServerRow:
    """Start no more moves off the server."""
    with call.registry.begin() as connection:
        return lifecycle.stop_drain(connection, call.actor, name)
