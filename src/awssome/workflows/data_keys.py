"""Tenants' data keys, wrapped by what wraps now, or replaced.

The secret key can be another, or a key of KMS takes its place, or KMS is left again: every data key is then unwrapped
by what wrapped it and wrapped anew, in one transaction of its tenant's schema. A data key itself is replaced in the
transaction that seals anew what it has sealed. A job that dies leaves the one or the other, never half, and is run
again. The registry notes which key wraps, so that one query tells who is behind.
"""

from __future__ import annotations

from uuid import UUID

from awssome.database import Connection
from awssome.database.registry import audit, tenants
from awssome.database.registry.audit import Actor
from awssome.database.tenant import hubspot as stored
from awssome.database.tenant import keys
from awssome.domain.tenants import TenantState
from awssome.domain.vault import Vault
from awssome.workflows.hubspot_access import opened, sealed
from awssome.workflows.services import Services
from awssome.workflows.workspace import Workspace

BATCH = 500
"""Tenants that one call may ask for."""


def request_batch(
    services: Services, connection: Connection, actor: Actor, after: UUID | None, *, renew: bool
) -> tuple[int, UUID | None]:
    """Have the next tenants' data keys wrapped by what wraps now, behind all other work.

    :param after: the last tenant of the batch before.
    :param renew: every tenant gets another data key; else only those are asked for whose key something else wraps.
    :returns: how many there are in this batch, and the last of them; None: there are no more.
    """
    but = () if renew else services.vault.present
    found = tenants.with_data_key(connection, after, BATCH, but=but)
    for tenant_id in found:
        services.queue.rotate_data_key(connection, tenant_id, renew=renew)
    if found:
        audit.record(connection, actor, "data_key.rotation_requested", tenants=len(found), renew=renew)
    return len(found), found[-1] if len(found) == BATCH else None


def rotate(services: Services, tenant_id: UUID, *, renew: bool) -> None:
    """Wrap the tenant's data key by what wraps now. Nothing when its tables are closed: it is behind until they open.

    :param renew: give it another data key, and seal by it what the one before has sealed.
    :raises Unopenable: when nobody can open its data key, or what it has sealed.
    :raises Refused: UNAVAILABLE when KMS or the database does not answer.
    """
    with services.registry.begin() as connection:
        if tenants.find(connection, tenant_id).state is not TenantState.ACTIVE:
            return
    vault = services.vault
    workspace = Workspace(services, tenant_id)
    under = workspace.do(lambda connection: _rotate(connection, vault, tenant_id, renew=renew))
    if under is None:
        return
    with services.registry.begin() as connection:
        tenants.change(connection, tenant_id, data_key_under=under)
        audit.record(connection, audit.SYSTEM, "data_key.rotated", tenant_id, under=under, renewed=renew)


def _rotate(connection: Connection, vault: Vault, tenant_id: UUID, *, renew: bool) -> str | None:
    stored.lock(connection)
    under = keys.rewrap(connection, vault, tenant_id)
    if under is None or not renew:
        return under
    tokens = stored.tokens(connection, lost=True)
    fresh = keys.renew(connection, vault, tenant_id)
    if tokens is not None:
        sealing = keys.key_named(connection, vault, tenant_id, tokens.key_id)
        stored.reseal(connection, **sealed(fresh, *opened(sealing, tokens, tenant_id), tenant_id))
    return fresh.under
