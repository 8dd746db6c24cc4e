"""Connecting to HubSpot, from here or from HubSpot's side, and disconnecting."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from awssome.control.messages import ConnectedOut, ConnectIn, DeclineIn, InstallIn
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import Role, TenantState
from awssome.portal import syncs
from awssome.portal.context import TenantContext
from awssome.portal.guard import ActingAdmin, Looks, caller, parts
from awssome.portal.hosts import CALLBACK

router = APIRouter()

Admin = Annotated[TenantContext, Depends(Looks(Role.ADMIN))]
ReturnUrl = Annotated[str, Query(alias="returnUrl")]

_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_DECLINED = "access_denied"


@router.post("/hubspot/connect")
def connect(request: Request, me: ActingAdmin) -> Response:
    """Off to HubSpot's consent page."""
    return RedirectResponse(parts(request).control.authorize_hubspot(me.person.caller).url, 303)


@router.get(CALLBACK)
def callback(
    request: Request, state: str = "", code: str = "", error: str = "", step: str = "", return_url: ReturnUrl = ""
) -> Response:
    """HubSpot sends everybody here, on the bare domain; on they go to the host where they started, once.

    Of what began here only the state is looked at; the code is for the session that started. Who installs the app from
    HubSpot's side comes without a state, and goes on to a page that asks which workspace it is for.
    """
    shared = parts(request)
    host, path = shared.addresses.shared(), "/hubspot/install"
    if error and not state:
        path, told = "/hubspot/finish", {"error": error}
    elif state or not return_url:
        host, path = shared.control.hubspot_callback(caller(request), state).host, "/hubspot/finish"
        told = {"state": state, "error": error} if error or not code else {"state": state, "code": code}
        told |= {"returnUrl": return_url} if return_url else {}
    elif code:
        asked = InstallIn(code=code[:2_000], return_url=return_url)
        told = {"install": shared.control.begin_install(caller(request), asked).install}
    elif step == "authorize":
        told = {"returnUrl": return_url}
    else:
        raise Refused(
            Code.INVALID,
            "HubSpot sent you here without saying what for. Nothing was changed.",
            "Begin again, here with Connect HubSpot or in HubSpot's Marketplace.",
        )
    return RedirectResponse(shared.addresses.url(host, f"{path}?{urlencode(told)}"), 303)


@router.get("/hubspot/install")
def show_install(request: Request, me: Admin, install: str = "", return_url: ReturnUrl = "") -> Response:
    """Ask which workspace an installation is for that began at HubSpot. Nothing is connected by a link alone."""
    return _ask(request, me, install, return_url)


@router.post("/hubspot/install")
def install(
    request: Request,
    me: ActingAdmin,
    install: Annotated[str, Form()] = "",
    return_url: Annotated[str, Form()] = "",
) -> Response:
    """This workspace is meant: connect it, or go on at HubSpot with a state."""
    shared = parts(request)
    try:
        if not install:
            return RedirectResponse(shared.control.authorize_hubspot(me.person.caller, return_url).url, 303)
        connected = shared.control.claim_install(me.person.caller, install)
    except Refused as refused:
        if refused.code is Code.GONE or not install:
            raise
        return _ask(request, me, install, return_url, refused)
    return _connected(request, me, connected)


@router.get("/hubspot/finish")
def finish(
    request: Request, me: Admin, state: str = "", code: str = "", error: str = "", return_url: ReturnUrl = ""
) -> Response:
    """Connect with the code, in the session that asked for it; or say calmly that it was declined."""
    control = parts(request).control
    try:
        if error or not code:
            word = error if _WORD.fullmatch(error) else ""
            if state:
                control.decline_hubspot(me.person.caller, DeclineIn(state=state, error=word))
            return parts(request).pages.render(
                request, "hubspot_declined.html", declined=word in ("", _DECLINED), told=word
            )
        asked = ConnectIn(state=state, code=code, return_url=return_url or None)
        connected = control.connect_hubspot(me.person.caller, asked)
    except Refused as refused:
        me.forget()
        return syncs.page(request, me, refused=refused)
    return _connected(request, me, connected)


@router.post("/hubspot/disconnect")
def disconnect(request: Request, me: ActingAdmin) -> Response:
    """Give the tokens back and forget them; the deals stay."""
    told = parts(request).control.disconnect_hubspot(me.person.caller)
    me.forget()
    return parts(request).pages.redirect(request, "/hubspot", "success", told.message)


def _ask(
    request: Request, me: TenantContext, install: str, return_url: str, refused: Refused | None = None
) -> Response:
    shared = parts(request)
    account = shared.control.look_at_install(me.person.caller, install) if install else None
    others = [
        each
        for each in me.person.memberships
        if each.tenant_id != me.tenant.id and each.state is TenantState.ACTIVE and each.role.allows(Role.ADMIN)
    ]
    return shared.pages.render(
        request,
        "hubspot_install.html",
        refused.status if refused else 200,
        account=account,
        fields={"install": install} if install else {"return_url": return_url},
        others=others,
        here=f"{request.url.path}?{urlencode({'install': install} if install else {'returnUrl': return_url})}",
        refused=refused,
    )


def _connected(request: Request, me: TenantContext, connected: ConnectedOut) -> Response:
    me.forget()
    if connected.return_url:
        return RedirectResponse(connected.return_url, 303)
    text = f"HubSpot is connected: {connected.hub_domain} {connected.portal_id}. Now sync your deals."
    return parts(request).pages.redirect(request, "/hubspot", "success", text)
