"""Connecting to HubSpot and disconnecting."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from awssome.control.messages import ConnectIn
from awssome.domain.errors import Refused
from awssome.domain.tenants import Role
from awssome.portal import syncs
from awssome.portal.context import TenantContext
from awssome.portal.guard import ActingAdmin, Looks, caller, parts
from awssome.portal.hosts import CALLBACK

router = APIRouter()

Admin = Annotated[TenantContext, Depends(Looks(Role.ADMIN))]


@router.post("/hubspot/connect")
def connect(request: Request, me: ActingAdmin) -> Response:
    """Off to HubSpot's consent page."""
    return RedirectResponse(parts(request).control.authorize_hubspot(me.person.caller).url, 303)


@router.get(CALLBACK)
def callback(request: Request, state: str = "", code: str = "", error: str = "") -> Response:
    """HubSpot sends everybody here, on the bare domain; on they go to the host where they started, once.

    Only the state is looked at; the code is for the session that started.
    """
    shared = parts(request)
    host = shared.control.hubspot_callback(caller(request), state).host
    answer = {"state": state, "error": error} if error or not code else {"state": state, "code": code}
    return RedirectResponse(shared.addresses.url(host, f"/hubspot/finish?{urlencode(answer)}"), 303)


@router.get("/hubspot/finish")
def finish(request: Request, me: Admin, state: str = "", code: str = "", error: str = "") -> Response:
    """Connect with the code, in the session that asked for it; or say calmly that it was declined."""
    shared = parts(request)
    if error or not code:
        return shared.pages.render(request, "hubspot_declined.html")
    try:
        connected = shared.control.connect_hubspot(me.person.caller, ConnectIn(state=state, code=code))
    except Refused as refused:
        me.forget()
        return syncs.page(request, me, refused=refused)
    me.forget()
    text = f"HubSpot is connected: {connected.hub_domain or 'portal'} {connected.portal_id}. Now sync your deals."
    return shared.pages.redirect(request, "/hubspot", "success", text)


@router.post("/hubspot/disconnect")
def disconnect(request: Request, me: ActingAdmin) -> Response:
    """Give the tokens back and forget them; the deals stay."""
    told = parts(request).control.disconnect_hubspot(me.person.caller)
    me.forget()
    return parts(request).pages.redirect(request, "/hubspot", "success", told.message)
