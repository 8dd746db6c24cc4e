"""The life of tenants and the load of servers, as operators settle them; the central API and the pages call these."""

from __future__ import annotations

from uuid import UUID

from awssome.control import messages as m
from awssome.database import Connection
from awssome.database.registry import audit, jobs, servers, tenants
from awssome.database.registry.audit import Actor
from awssome.management import operations
from awssome.workflows import data_keys, draining, leaving, returning, rotation
from awssome.workflows.services import Services


def delete_tenant(services: Services, connection: Connection, actor: Actor, ref: str) -> m.TenantDetail:
    """Close the tenant at once; its data is archived, kept for 30 days and erased. :raises Refused: CONFLICT."""
    tenant_id = tenants.by_ref(connection, ref).id
    leaving.delete(connection, services.queue, actor, tenant_id)
    return operations.tenant_detail(connection, str(tenant_id))


def bring_back(
    services: Services, connection: Connection, actor: Actor, ref: str, server: str | None = None
) -> m.TenantDetail:
    """Bring an archived or deleted tenant back. :raises Refused: CONFLICT, GONE, UNAVAILABLE."""
    tenant_id = tenants.by_ref(connection, ref).id
    returning.bring_back(connection, services.queue, actor, tenant_id, server)
    return operations.tenant_detail(connection, str(tenant_id))


def rotate(services: Services, connection: Connection, actor: Actor, ref: str) -> None:
    """Have the tenant's login get another password. :raises Refused: CONFLICT when it is not active."""
    rotation.request(connection, services.queue, actor, ref)


def rotate_batch(services: Services, connection: Connection, actor: Actor, after: UUID | None) -> m.RotationBatch:
    """Have the next active tenants' logins get other passwords."""
    asked, last = rotation.request_batch(connection, services.queue, actor, after)
    return m.RotationBatch(asked=asked, next=last)


def rotate_data_keys(
    services: Services, connection: Connection, actor: Actor, body: m.StartKeyRotation
) -> m.RotationBatch:
    """Have the next tenants' data keys wrapped by what wraps now, or replaced."""
    asked, last = data_keys.request_batch(services, connection, actor, body.after, renew=body.renew)
    return m.RotationBatch(asked=asked, next=last)


def progress(connection: Connection, task: str) -> m.RotationProgress:
    """How many rotations of this kind are still to be done, and how many were given up."""
    found = jobs.left(connection, task)
    return m.RotationProgress(left=found.get("todo", 0) + found.get("doing", 0), failed=found.get("failed", 0))


def plan_drain(connection: Connection, name: str, body: m.StartDrain) -> m.DrainPlan:
    """Who would be moved where."""
    plan = draining.plan(connection, name, body.keep, body.to)
    return m.DrainPlan(
        server=plan.server,
        keep=plan.keep,
        moves=[m.PlannedMove(slug=who.slug, company=who.company, last_seen=who.last, to=to) for who, to in plan.moves],
    )


def start_drain(services: Services, connection: Connection, actor: Actor, name: str, body: m.StartDrain) -> m.ServerRow:
    """Move tenants off a pool, a few at a time. :raises Refused: CONFLICT."""
    draining.start(connection, services.queue, actor, name, body.keep, body.to)
    return operations.server(connection, name)


def stop_drain(connection: Connection, actor: Actor, name: str) -> m.ServerRow:
    """Start no more moves off the server. :raises Refused: CONFLICT when it is not being drained."""
    draining.stop(connection, actor, name)
    return operations.server(connection, name)


def change_server(connection: Connection, actor: Actor, name: str, body: m.ChangeServer) -> m.ServerRow:
    """Another capacity. Below what is there it closes the server until there is room again."""
    row = servers.by_name(connection, name)
    servers.change(connection, row.id, capacity=body.capacity)
    audit.record(connection, actor, "server.changed", server=name, capacity=body.capacity, before=row.capacity)
    return operations.server(connection, name)
