"""A tenant's connection to HubSpot."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from awssome.control import messages as m
from awssome.database.registry import audit
from awssome.domain.tenants import Role
from awssome.management.api.guard import ServiceCall, TenantCall, tenant_call
from awssome.workflows import hubspot_connection, hubspot_installs
from awssome.workflows.hubspot_connection import Connected

router = APIRouter(tags=["hubspot"])

Admin = Annotated[TenantCall, Depends(tenant_call(Role.ADMIN))]


@router.post("/hubspot/authorizations", status_code=201)
def authorize_hubspot(caller: Admin, body: m.AuthorizeIn) -> m.AuthorizeOut:
    """Where to send the browser: to HubSpot's consent page, or back to HubSpot for who began to install there.

    :raises Refused: INVALID for an address to return to that is not HubSpot's.
    """
    with caller.registry.begin() as connection:
        url = hubspot_connection.authorize(
            connection,
            caller.services.keys,
            caller.services.hubspot,
            session_id=caller.session.id,
            tenant_id=caller.tenant.id,
            host=caller.call.host,
            return_url=body.return_url,
        )
    return m.AuthorizeOut(url=url)


@router.post("/hubspot/callbacks")
def hubspot_callback(call: ServiceCall, body: m.CallbackIn) -> m.CallbackOut:
    """Check a state, once. :raises Refused: GONE or INVALID for a state that is forged, used or too old."""
    with call.registry.begin() as connection:
        return m.CallbackOut(host=hubspot_connection.callback(connection, call.services.keys, body.state))


@router.post("/hubspot/connection")
def connect_hubspot(caller: Admin, body: m.ConnectIn) -> m.ConnectedOut:
    """Exchange the code and keep the tokens, sealed, in the tenant's schema."""
    connected = hubspot_connection.connect(
        caller.services,
        session_id=caller.session.id,
        tenant_id=caller.tenant.id,
        connected_by=caller.session.email,
        state=body.state,
        code=body.code,
        return_url=body.return_url,
    )
    return _recorded(caller, connected)


@router.post("/hubspot/declines", status_code=204)
def decline_hubspot(caller: Admin, body: m.DeclineIn) -> None:
    """The user came back without a code: the state is used up."""
    hubspot_connection.decline(
        caller.services, session_id=caller.session.id, tenant_id=caller.tenant.id, state=body.state
    )
    with caller.registry.begin() as connection:
        audit.record(connection, caller.actor, "hubspot.declined", caller.tenant.id, error=body.error)


@router.post("/hubspot/installs", status_code=201)
def begin_install(call: ServiceCall, body: m.InstallIn) -> m.InstallRef:
    """Keep a code that came from HubSpot without a state. :raises Refused: INVALID for an address not HubSpot's."""
    with call.registry.begin() as connection:
        token = hubspot_installs.begin(
            connection, call.services.keys, call.services.hubspot, code=body.code, return_url=body.return_url
        )
    return m.InstallRef(install=token)


@router.post("/hubspot/installs/look")
def look_at_install(caller: Admin, body: m.InstallRef) -> m.InstallOut:
    """Whose installation it is; nothing is connected. :raises Refused: GONE when there is none (any more)."""
    found = hubspot_installs.look(caller.services, body.install)
    return m.InstallOut(portal_id=found.portal_id, hub_domain=found.hub_domain, return_url=found.return_url)


@router.post("/hubspot/installs/claim")
def claim_install(caller: Admin, body: m.InstallRef) -> m.ConnectedOut:
    """Connect its account to the workspace, once."""
    connected = hubspot_installs.claim(
        caller.services, body.install, tenant_id=caller.tenant.id, connected_by=caller.session.email
    )
    return _recorded(caller, connected)


@router.delete("/hubspot/connection")
def disconnect_hubspot(caller: Admin) -> m.Accepted:
    """Revoke and forget the tokens; what HubSpot was told is in the answer."""
    ended = hubspot_connection.disconnect(caller.services, caller.tenant.id)
    with caller.registry.begin() as connection:
        audit.record(connection, caller.actor, "hubspot.disconnected", caller.tenant.id, told=ended.told)
    return m.Accepted(message=ended.message)


def _recorded(caller: TenantCall, connected: Connected) -> m.ConnectedOut:
    with caller.registry.begin() as connection:
        audit.record(connection, caller.actor, "hubspot.connected", caller.tenant.id, portal=connected.portal_id)
    return m.ConnectedOut(
        portal_id=connected.portal_id, hub_domain=connected.hub_domain, return_url=connected.return_url
    )
