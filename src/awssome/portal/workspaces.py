"""Changing between the tenants that a person belongs to."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from awssome.domain.errors import Code, Refused
from awssome.portal.guard import Somebody, parts
from awssome.web.security import local_path

router = APIRouter()


@router.get("/workspaces")
def show(request: Request, person: Somebody) -> Response:
    """The tenants to choose from."""
    return parts(request).pages.render(request, "workspaces.html", memberships=person.memberships)


@router.post("/workspaces")
def choose(
    request: Request,
    person: Somebody,
    tenant_id: Annotated[UUID, Form()],
    onward: Annotated[str, Form(alias="next")] = "/",
) -> Response:
    """Show another tenant from now on; on its own host if it has one, which a one-time ticket leads to.

    :param onward: the page to go on with there.
    """
    shared = parts(request)
    chosen = next((each for each in person.memberships if each.tenant_id == tenant_id), None)
    if chosen is None:
        shared.contexts.report(person.caller, "POST /workspaces")
        raise Refused(Code.NOT_FOUND, "You do not belong to this workspace.", "Ask to be invited.")
    if shared.addresses.label(chosen.host) != shared.addresses.label(person.caller.host):
        ticket = shared.control.hand_over(person.caller, tenant_id)
        return RedirectResponse(f"{ticket.url}&{urlencode({'next': local_path(onward)})}", 303)
    shared.control.switch_tenant(person.caller, tenant_id)
    shared.contexts.forget(person.caller)
    return RedirectResponse(local_path(onward), 303)
