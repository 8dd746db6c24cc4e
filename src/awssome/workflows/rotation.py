"""Another password for a tenant's login, derived under the next version of its secret and the present secret key.

The server learns it first and ends the sessions that the old one opened, the registry a moment later. In between
whoever comes in is turned away, as in a cut-over, and asks the registry again. If the worker dies in that moment, its
job is run again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from awssome.database import Connection
from awssome.database.engine import Server
from awssome.database.registry import audit, placements, servers, tenants
from awssome.database.registry.audit import Actor
from awssome.database.tenant.keys import rewrap
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import Placement, TenantState
from awssome.workflows.queue import Queue
from awssome.workflows.services import WorkerServices

LATE = timedelta(seconds=75)
"""When the last session that was begun with the old password is there: PostgreSQL gives a client 60 s to prove itself
(https://www.postgresql.org/docs/current/runtime-config-connection.html, authentication_timeout)."""

_WITH_LOGIN = (TenantState.ACTIVE, TenantState.SUSPENDED)

BATCH = 500
"""Tenants that one call may ask for."""


def request(connection: Connection, queue: Queue, actor: Actor, ref: str) -> None:
    """Have the tenant's login get another password. That of a suspended tenant stays closed.

    :raises Refused: CONFLICT when the tenant is neither active nor suspended: its login is not used again.
    """
    tenant = tenants.by_ref(connection, ref, lock=True)
    if tenant.state not in _WITH_LOGIN or tenant.placement_id is None:
        raise Refused(
            Code.CONFLICT,
            f"This tenant is {tenant.state}. Only the secret of an active or suspended tenant is rotated. Nothing was "
            "changed.",
            "The login of any other tenant is not used again, or there is none.",
        )
    version = placements.secret_version(connection, tenant.placement_id) + 1
    audit.record(connection, actor, "secret.rotation_requested", tenant.id, version=version)
    queue.rotate(connection, tenant.placement_id, version)


def request_batch(connection: Connection, queue: Queue, actor: Actor, after: UUID | None) -> tuple[int, UUID | None]:
    """Have the next active tenants' logins get other passwords, one after the other behind all other work.

    :param after: the last tenant of the batch before.
    :returns: how many there are in this batch, and the last of them; None: there are no more.
    """
    rows = placements.to_rotate(connection, after, BATCH)
    if after is None:
        queue.reseal(connection)
    for row in rows:
        queue.rotate(connection, row.id, row.secret_version + 1, in_bulk=True)
    if rows:
        audit.record(connection, actor, "secret.rotation_requested", tenants=len(rows))
    return len(rows), rows[-1].tenant_id if len(rows) == BATCH else None


def rotate(services: WorkerServices, placement_id: UUID, version: int) -> None:
    """Give the login the password of this version, unless it has it already, and end the sessions before it.

    Nothing when the tenant has been moved or deleted meanwhile: its login is not used again.
    """
    before = _login(services, placement_id)
    if before is None:
        return
    if before.placement.secret_version < version:
        _give(services, services.open_server(before.server_id), before, version)
    with services.registry.begin() as connection:
        services.queue.end_sessions(connection, placement_id, LATE)


def end_sessions(services: WorkerServices, placement_id: UUID) -> None:
    """End the login's sessions once more: somebody may have been slow to prove the old password. The others come back.

    Which of them began before the rotation, PostgreSQL tells only who may read all statistics.
    """
    found = _login(services, placement_id)
    if found is not None:
        services.open_server(found.server_id).end_sessions(found.placement.schema)


def reseal(services: WorkerServices) -> None:
    """Have the present secret key named and used by whatever needs no login to be changed for that."""
    with services.registry.begin() as connection:
        servers.reseal(connection, services.keys)
        placements.name_key(connection, services.keys.key_id)


@dataclass(frozen=True)
class _Login:
    """The login of a tenant, as the registry has it.

    :ivar open: the tenant is active: its login lets in who has the password.
    """

    placement: Placement
    server_id: UUID
    server: str
    key_id: str
    open: bool


def _login(services: WorkerServices, placement_id: UUID) -> _Login | None:
    with services.registry.begin() as connection:
        placement = placements.find(connection, services.keys, placement_id)
        tenant = tenants.find(connection, placement.tenant_id)
        if tenant.placement_id != placement_id or tenant.state not in _WITH_LOGIN:
            return None
        return _Login(
            placement,
            placements.server_of(connection, placement_id),
            servers.of_placement(connection, placement_id).name,
            placements.key_of(connection, placement_id),
            tenant.state is TenantState.ACTIVE,
        )


def _give(services: WorkerServices, server: Server, before: _Login, version: int) -> None:
    keys, schema, tenant_id = services.keys, before.placement.schema, before.placement.tenant_id
    placement_id = before.placement.placement_id
    # Nobody can come in to wrap the data key of a suspended tenant anew: it goes on needing the secret key before.
    key_id = keys.key_id if before.open else before.key_id
    password = keys.login_password(tenant_id, before.server, schema, version, key_id)
    if before.key_id != key_id:
        _rewrap(services, before.placement, replace(before.placement, secret_version=version, password=password))
    while True:
        server.set_password(schema, password)
        with services.registry.begin() as connection:
            if placements.rotated(connection, placement_id, version, key_id):
                audit.record(connection, audit.SYSTEM, "secret.rotated", tenant_id, schema=schema, version=version)
            reached = placements.find(connection, keys, placement_id)
        if reached.password == password:
            return
        # This worker was asleep, and another one has gone further: what the registry says is what has to open.
        version, password = reached.secret_version, reached.password


def _rewrap(services: WorkerServices, before: Placement, after: Placement) -> None:
    """Have the tenant's data key wrapped under the present secret key, as long as the registry names the one before.

    A job that died here may have left the login with its new password, which the registry does not know yet.
    """
    try:
        with services.sessions.open(before) as connection:
            under = rewrap(connection, services.vault, before.tenant_id)
    except Refused as refused:
        if refused.code is not Code.FENCED:
            raise
        with services.sessions.open(after) as connection:
            under = rewrap(connection, services.vault, before.tenant_id)
    if under is not None:
        with services.registry.begin() as connection:
            tenants.change(connection, before.tenant_id, data_key_under=under)
