"""A tenant's connection to HubSpot."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from awssome.control import messages as m
from awssome.database.registry import audit, tenants
from awssome.domain.tenants import Role
from awssome.management import views
from awssome.management.api.guard import ServiceCall, TenantCall, tenant_call
from awssome.workflows import hubspot_connection

router = APIRouter(tags=["hubspot"])

Admin = Annotated[TenantCall, Depends(tenant_call(Role.ADMIN))]


@router.post("/hubspot/authorizations", status_code=201)
def authorize_hubspot(caller: Admin) -> m.AuthorizeOut:
    """Where to send the browser for HubSpot's consent."""
    with caller.registry.begin() as connection:
        url = hubspot_connection.authorize(
            connection,
            caller.services.keys,
            caller.services.hubspot,
            session_id=caller.session.id,
            tenant_id=caller.tenant.id,
            host=caller.call.host,
        )
    return m.AuthorizeOut(url=url)


@router.post("/hubspot/callbacks")
def hubspot_callback(call: ServiceCall, body: m.CallbackIn) -> m.CallbackOut:
    """Check a state, once. :raises Refused: GONE or INVALID for a state that is forged, used or too old."""
    with call.registry.begin() as connection:
        return m.CallbackOut(host=hubspot_connection.callback(connection, call.services.keys, body.state))


@router.post("/hubspot/connection")
def connect_hubspot(caller: Admin, body: m.ConnectIn) -> m.HubSpotOut:
    """Exchange the code and keep the tokens, sealed, in the tenant's schema."""
    found = hubspot_connection.connect(
        caller.services,
        session_id=caller.session.id,
        tenant_id=caller.tenant.id,
        connected_by=caller.session.email,
        state=body.state,
        code=body.code,
    )
    with caller.registry.begin() as connection:
        audit.record(connection, caller.actor, "hubspot.connected", caller.tenant.id, portal=found.portal_id)
        return views.tenant(caller.services, connection, tenants.find(connection, caller.tenant.id)).hubspot


@router.delete("/hubspot/connection")
def disconnect_hubspot(caller: Admin) -> m.Accepted:
    """Revoke and forget the tokens; what HubSpot was told is in the answer."""
    ended = hubspot_connection.disconnect(caller.services, caller.tenant.id)
    with caller.registry.begin() as connection:
        audit.record(connection, caller.actor, "hubspot.disconnected", caller.tenant.id, told=ended.told)
    return m.Accepted(message=ended.message)
