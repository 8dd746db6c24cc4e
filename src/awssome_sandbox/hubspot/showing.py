"""What the sandbox's pages share: routes that answer with pages, and errors that a person can read."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from awssome_sandbox.hubspot.errors import HubSpotError, not_found
from awssome_sandbox.hubspot.portals import Portal
from awssome_sandbox.hubspot.wire import Call, Handler, Sandbox, endpoint
from awssome_sandbox.pages import render


def page(sandbox: Sandbox, method: str, path: str, handler: Handler) -> Route:
    """A route for people: what goes wrong is told on a page, and no faults befall it."""

    def shown(sandbox: Sandbox, call: Call) -> Response:
        try:
            return handler(sandbox, call)
        except HubSpotError as error:
            return show("hubspot/problem.html", sandbox, error.status, told=error.body["message"])

    return endpoint(sandbox, "control", method, path, shown, faulty=False)


def show(template: str, sandbox: Sandbox, status: int = 200, /, **context: object) -> Response:
    """A page within the sandbox's frame, which lists the accounts."""
    return HTMLResponse(render(template, portals=list(sandbox.portals.values()), **{"portal": None, **context}), status)


def portal_of(sandbox: Sandbox, call: Call) -> Portal:
    """The account that a page's address names.

    :raises HubSpotError: 404 when there is none.
    """
    portal = sandbox.portals.get(call.path["portal_id"])
    if portal is None:
        raise not_found(f"There is no HubSpot account {call.path['portal_id']} in this sandbox.")
    return portal


def extended(address: str, **fields: str) -> str:
    """An address with more fields in its query."""
    return f"{address}{'&' if urlsplit(address).query else '?'}{urlencode(fields)}"
