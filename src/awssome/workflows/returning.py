"""Tenants that come back: archived ones when somebody of theirs is there, deleted ones when an operator says so."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from awssome.database import Connection
from awssome.database.engine import MoverLost
from awssome.database.handover import admit
from awssome.database.registry import archives as registered
from awssome.database.registry import audit, movers, placements, restores, tenants
from awssome.database.registry.audit import Actor
from awssome.database.servers import match_login
from awssome.domain.archives import RESTORES_UNDER_WAY, RestoreState
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import AWAY, TenantState
from awssome.domain.times import now
from awssome.workflows import archives
from awssome.workflows.queue import Queue
from awssome.workflows.services import WorkerServices

PAUSE = timedelta(minutes=10)
"""After a return that failed the next visitor waits so long until it is tried again; an operator does not."""


def bring_back(connection: Connection, queue: Queue, actor: Actor, tenant_id: UUID, server: str | None = None) -> None:
    """Have the tenant brought back: as it is, while its workspace is still there, else from its archive.

    Nothing more is asked for when it is coming already.

    :param server: name of the server that an archive is restored to; None: the emptiest pool.
    :raises Refused: CONFLICT for a tenant that is not away; GONE when there is no archive; UNAVAILABLE when no pool has
        room.
    """
    tenant = tenants.find(connection, tenant_id, lock=True)
    if tenant.state not in AWAY:
        raise Refused(
            Code.CONFLICT,
            f"This tenant is {tenant.state}: there is nothing to bring back.",
            "To have it as it was once, name an archive.",
        )
    if tenant.placement_id is not None:
        tenants.turn(connection, tenant_id, TenantState.ACTIVE, seen_at=now(), retain_until=None, problem=None)
        audit.record(connection, actor, "tenant.returned", tenant_id)
        queue.reopen_workspace(connection, tenant_id)
        return
    before = restores.newest(connection, tenant_id)
    if before is not None and before.state in RESTORES_UNDER_WAY:
        return
    archive = registered.last_words(connection, tenant_id)
    if archive is None:
        raise Refused(Code.GONE, "There is no archive of this tenant any more.")
    archives.request_restore(connection, queue, actor, str(tenant_id), archive.id, server=server)
    audit.record(connection, actor, "tenant.returning", tenant_id, archive=archive.id)


def wake(connection: Connection, queue: Queue, actor: Actor, tenant_id: UUID) -> None:
    """Somebody of an archived tenant is there. What keeps it from coming back is on the tenant."""
    if tenants.find(connection, tenant_id, lock=True).state is not TenantState.ARCHIVED:
        return  # it has come back while we waited for the lock
    failed = restores.newest(connection, tenant_id)
    if failed is not None and failed.state is RestoreState.FAILED and failed.requested_at > now() - PAUSE:
        _tell(connection, tenant_id, failed.problem)
        return
    try:
        with connection.begin_nested():
            bring_back(connection, queue, actor, tenant_id)
    except Refused as refused:
        _tell(connection, tenant_id, refused.message)


def reopen_workspace(services: WorkerServices, tenant_id: UUID) -> None:
    """Open login and fence of a tenant that came back before its workspace was dropped.

    :raises Refused: CONFLICT while it is being moved or restored: only the login is open then.
    """
    match_login(services.registry, services.keys, services.open_server, tenant_id)
    with services.registry.begin() as connection:
        tenant = tenants.find(connection, tenant_id, lock=True)
        if tenant.state is not TenantState.ACTIVE or tenant.placement_id is None:
            return
        movers.require_none(connection, tenant_id)
        number = movers.take(connection, tenant_id)
        schema = placements.find(connection, services.keys, tenant.placement_id).schema
        server_id = placements.server_of(connection, tenant.placement_id)
    server = services.open_server(server_id)
    with suppress(MoverLost):  # it is being moved since: the mover opens it
        server.claim(schema, number)
        admit(server, schema, number, tenant.epoch)


def _tell(connection: Connection, tenant_id: UUID, problem: str | None) -> None:
    if tenants.find(connection, tenant_id, lock=True).problem != problem:
        tenants.change(connection, tenant_id, problem=problem)
