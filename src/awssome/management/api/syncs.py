"""Syncs: what brings a tenant's HubSpot deals in."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from awssome.control import messages as m
from awssome.database.registry import audit, placements
from awssome.database.tenant import syncs
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import Role
from awssome.management.api.guard import TenantCall, tenant_call

router = APIRouter(tags=["syncs"])

Member = Annotated[TenantCall, Depends(tenant_call(Role.MEMBER))]


@router.post("/syncs", status_code=202)
def start_sync(caller: Member) -> m.SyncOut:
    """Start a sync, or name the one that is open. :raises Refused: CONFLICT when HubSpot is not connected."""
    services, tenant = caller.services, caller.tenant
    if tenant.hubspot_state != "connected":
        raise Refused(Code.CONFLICT, "HubSpot is not connected.", "Connect HubSpot first.")
    with caller.registry.begin() as connection:
        placement = placements.current(connection, services.keys, tenant.id)
    with services.sessions.open(placement) as own:
        sync = syncs.create(own, caller.session.email)
    # The job is enqueued also for a sync that was open before: should its job be lost, this brings it back.
    with caller.registry.begin() as connection:
        services.queue.sync(connection, tenant.id, sync.id)
        audit.record(connection, caller.actor, "sync.requested", tenant.id, sync=sync.id)
    return m.SyncOut(sync_id=sync.id)
