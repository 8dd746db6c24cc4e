"""Tenants that go: deleted by their owner or an operator, or dormant. Their data becomes an archive first.

At once the tenant's state says so, and its pages are closed. Then jobs carry it on: HubSpot is told, the login closed
and its sessions ended, writes stopped for good, everything exported and the archive compared with the tables. Only
then, in one transaction of the registry, the tenant lives nowhere; and only then its schemas and logins are dropped.
Before that it can come back as it is, after it from the archive (`workflows.returning`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from awssome.database import Connection
from awssome.database.engine import FenceBusy, MoverLost, Server
from awssome.database.handover import freeze
from awssome.database.registry import archives as registered
from awssome.database.registry import audit, departures, erasure, movers, placements, tenants
from awssome.database.registry import hubspot as registered_hubspot
from awssome.database.registry.archives import Archive
from awssome.database.registry.audit import Actor
from awssome.database.registry.tenants import Tenant
from awssome.database.servers import match_login
from awssome.domain.archives import ArchiveKind, ArchivePolicy, ArchiveState
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import AWAY, RETENTION_DAYS, TenantState
from awssome.domain.times import now
from awssome.workflows import archives, hubspot_connection, provisioning
from awssome.workflows.queue import Queue
from awssome.workflows.services import WorkerServices

AT_ONCE = 20
"""Tenants that one sweep archives, or erases; the next one goes on."""


def delete(connection: Connection, queue: Queue, actor: Actor, tenant_id: UUID) -> None:
    """Close the tenant at once, and have it archived and dropped; for 30 days it can be brought back.

    One that has no workspace yet is gone for good.

    :raises Refused: CONFLICT while it is moved or restored, and for one that is deleted already.
    """
    tenant = tenants.find(connection, tenant_id, lock=True)
    if tenant.state is TenantState.PENDING:
        audit.record(connection, actor, "tenant.deleted", tenant_id)
        erasure.forget_tenant(connection, tenant_id)
        if tenant.placement_id is not None:
            queue.discard(connection, tenant.placement_id)
        return
    movers.require_none(connection, tenant_id)
    until = now() + timedelta(days=RETENTION_DAYS)
    tenants.turn(
        connection,
        tenant_id,
        TenantState.RETAINED,
        retain_until=until,
        upgrade_requested_at=None,
        upgrade_requested_by=None,
        problem=None,
    )
    audit.record(connection, actor, "tenant.deleted", tenant_id, kept_until=until)
    queue.close_workspace(connection, tenant_id)


def close_workspace(services: WorkerServices, tenant_id: UUID) -> None:
    """End the connection to HubSpot of a deleted tenant, and close the login of one that goes; then it is emptied."""
    tenant = _away(services, tenant_id)
    if tenant is None:
        return
    if tenant.state is TenantState.RETAINED and tenant.hubspot_state != "none":
        _disconnect(services, tenant)
    match_login(services.registry, services.keys, services.open_server, tenant_id)
    with services.registry.begin() as connection:
        services.queue.empty_workspace(connection, tenant_id)


def empty_workspace(services: WorkerServices, tenant_id: UUID, step: Callable[[str], None] = lambda name: None) -> None:
    """Export, verify and drop the workspace of a tenant that goes; nothing when it has come back.

    What goes wrong is on the tenant, and nothing is dropped then.

    :param step: told the name of each step as it begins; tests kill the process there.
    :raises Refused: what keeps it from being done now.
    """
    tenant = _away(services, tenant_id)
    if tenant is None:
        return
    try:
        if tenant.placement_id is not None and not _export_and_detach(services, tenant, tenant.placement_id, step):
            return
        step("drop")
        with services.registry.begin() as connection:
            left = departures.left_behind(connection, tenant_id)
        for placement_id in left:
            provisioning.drop(services, placement_id)
    except MoverLost:
        return  # it has come back meanwhile
    except Exception as error:
        _tell(services, tenant, error.message if isinstance(error, Refused) else "This is a defect of ours.")
        raise
    if tenant.problem is not None:
        _tell(services, tenant, None)


def sweep(connection: Connection, queue: Queue, policy: ArchivePolicy, dormant_days: int) -> None:
    """Archive who is dormant, erase who was deleted long enough ago, and take up what nobody carries on.

    :param dormant_days: 0: nobody is dormant.
    """
    at = now()
    if dormant_days:
        for tenant_id in departures.dormant(connection, at - timedelta(days=dormant_days), AT_ONCE):
            tenants.turn(connection, tenant_id, TenantState.ARCHIVED, problem=None)
            audit.record(connection, audit.SYSTEM, "tenant.archived", tenant_id, unseen_days=dormant_days)
            queue.close_workspace(connection, tenant_id)
    for tenant_id in departures.past_retention(connection, at, AT_ONCE):
        registered.end_all(connection, tenant_id, at)
        erasure.forget_tenant(connection, tenant_id)
        audit.record(connection, audit.SYSTEM, "tenant.erased", tenant_id)
    for tenant_id in departures.unfinished(connection):
        queue.close_workspace(connection, tenant_id)
    registered.let_go(connection, policy.expiry(at))


def _away(services: WorkerServices, tenant_id: UUID) -> Tenant | None:
    with services.registry.begin() as connection:
        tenant = tenants.find(connection, tenant_id)
    return tenant if tenant.state in AWAY else None


def _tell(services: WorkerServices, tenant: Tenant, problem: str | None) -> None:
    with services.registry.begin() as connection:
        found = tenants.find(connection, tenant.id, lock=True)
        if found.state is tenant.state:
            so_far = "Nothing was dropped." if found.placement_id else "Its archive is made; its schema is still there."
            told = f"The workspace could not be emptied. {problem} {so_far}" if problem else None
            tenants.change(connection, tenant.id, problem=told)


def _disconnect(services: WorkerServices, tenant: Tenant) -> None:
    """Have the tokens revoked and forgotten, where the tenant's tables can still be reached."""
    told = False
    try:
        if tenant.placement_id is not None:
            told = hubspot_connection.disconnect(services, tenant.id).told
    except Refused as refused:
        if refused.code is not Code.FENCED:
            raise
        # Its login was closed before: it was suspended. The tokens stay in the archive, sealed, and end with it.
    with services.registry.begin() as connection:
        registered_hubspot.disconnect(connection, tenant.id)
        audit.record(connection, audit.SYSTEM, "hubspot.disconnected", tenant.id, told=told)


def _export_and_detach(
    services: WorkerServices, tenant: Tenant, placement_id: UUID, step: Callable[[str], None]
) -> bool:
    """False when the tenant has come back meanwhile, or another worker has gone further."""
    with services.registry.begin() as connection:
        movers.require_none(connection, tenant.id)
        number = movers.take(connection, tenant.id)
        schema = placements.find(connection, services.keys, placement_id).schema
        server_id = placements.server_of(connection, placement_id)
    server = services.open_server(server_id)
    step("close")
    match_login(services.registry, services.keys, services.open_server, tenant.id)
    _stop_writes(server, schema, number, tenant.epoch)
    step("export")
    archive = _exported(services, tenant, placement_id, server, schema)
    step("detach")
    with services.registry.begin() as connection:
        movers.require_none(connection, tenant.id)
        detached = departures.detach(connection, tenant.id, placement_id, tenant.state, number)
        if detached:
            audit.record(connection, audit.SYSTEM, "workspace.archived", tenant.id, archive=archive.id, schema=schema)
    return detached


def _stop_writes(server: Server, schema: str, number: int, epoch: int) -> None:
    try:
        server.claim(schema, number)
    except FenceBusy:
        raise Refused(Code.UNAVAILABLE, "Long writes keep the fence.") from None
    freeze(server, schema, number, epoch, lambda: None)


def _exported(services: WorkerServices, tenant: Tenant, placement_id: UUID, server: Server, schema: str) -> Archive:
    """An archive that holds what the tables hold, which take no writes any more.

    :raises Refused: UNAVAILABLE when there is none.
    """
    found = _begun(services, tenant)
    if found is None or found.placement_id != placement_id or not archives.holds(services, found, server, schema):
        found = archives.export_now(services, tenant.id, _kind(tenant), audit.SYSTEM.name, tenant.retain_until)
        if not archives.holds(services, found, server, schema):
            with services.registry.begin() as connection:
                registered.end(connection, found.id, now())  # it is made anew with each try
            raise Refused(Code.UNAVAILABLE, "The archive does not hold what the workspace holds.")
    return found


def _begun(services: WorkerServices, tenant: Tenant) -> Archive | None:
    """The archive that an earlier try at this departure has made, or had begun to: then it is made now.

    One of an earlier departure is not kept for as long.
    """
    with services.registry.begin() as connection:
        found = registered.last_words(connection, tenant.id, ready=False)
    if found is None or (found.kind, found.expires_at) != (_kind(tenant), tenant.retain_until):
        return None
    if found.state is ArchiveState.REQUESTED:
        archives.export(services, found.id)
        with services.registry.begin() as connection:
            found = registered.find(connection, found.id)
    return found


def _kind(tenant: Tenant) -> ArchiveKind:
    return ArchiveKind.FINAL if tenant.state is TenantState.RETAINED else ArchiveKind.DORMANT
