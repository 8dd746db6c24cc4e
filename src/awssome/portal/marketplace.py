"""Coming from AWS Marketplace, to use a subscription for a workspace.

AWS sends the buyer's browser with a form, from its own pages: that request has no session, and none is looked for. What
it brings is resolved, and waits, sealed, in the address and in a cookie for who has to sign in, or up, before.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import Role
from awssome.portal.context import TenantContext
from awssome.portal.guard import ActingOwner, Looks, caller, parts
from awssome.web.security import clear_session_cookie, read_session_cookie, set_session_cookie

router = APIRouter()

Owner = Annotated[TenantContext, Depends(Looks(Role.OWNER, fresh=True))]

COOKIE = "awssome_arrival"

_SECONDS = 3_600

_LONGEST = 4_000
"""Characters of a token, and of what it becomes."""


@router.post("/api/marketplace")
def arrive(request: Request, token: Annotated[str, Form(alias="x-amzn-marketplace-token")] = "") -> Response:
    """AWS sends a buyer here who has subscribed. Nothing is changed by that alone."""
    try:
        if not 0 < len(token) <= _LONGEST:
            message = "AWS Marketplace sent you here without saying what for. Nothing was changed."
            raise Refused(Code.INVALID, message, "Begin again at your subscription in AWS Marketplace.")
        arrival = parts(request).control.arrive(caller(request), token).arrival
    except Refused as refused:
        return parts(request).pages.render(request, "marketplace_lost.html", refused.status, refused=refused)
    response = RedirectResponse(f"/marketplace?{urlencode({'arrival': arrival})}", 303)
    set_session_cookie(request, response, COOKIE, arrival, _SECONDS)
    return response


@router.get("/marketplace")
def show(request: Request, me: Owner, arrival: Annotated[str, Query(max_length=_LONGEST)] = "") -> Response:
    """Ask whether the subscription is for this workspace."""
    return _ask(request, me, arrival or waiting(request))


@router.post("/marketplace")
def claim(request: Request, me: ActingOwner, arrival: Annotated[str, Form(max_length=_LONGEST)] = "") -> Response:
    """It is for this workspace."""
    try:
        told = parts(request).control.claim_subscription(me.person.caller, arrival)
    except Refused as refused:
        if refused.code not in (Code.CONFLICT, Code.UPSTREAM):
            raise
        return _ask(request, me, arrival, refused)
    me.forget()
    response = parts(request).pages.redirect(request, "/plan", "success", told.message)
    clear_session_cookie(request, response, COOKIE)
    return response


def waiting(request: Request) -> str:
    """What somebody has brought along who came from AWS Marketplace; "" for everybody else."""
    return read_session_cookie(request, COOKIE) or ""


def _ask(request: Request, me: TenantContext, arrival: str, refused: Refused | None = None) -> Response:
    found = parts(request).control.look_at_arrival(me.person.caller, arrival)
    return parts(request).pages.render(
        request,
        "marketplace.html",
        refused.status if refused else 200,
        account=found.account,
        arrival=arrival,
        refused=refused,
    )
