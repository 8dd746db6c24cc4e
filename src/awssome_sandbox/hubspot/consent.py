"""The page on which a person allows an app in a HubSpot account, or declines."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from awssome_sandbox.hubspot.oauth import KNOWN_SCOPES, REQUIRED_SCOPES, App
from awssome_sandbox.hubspot.showing import extended
from awssome_sandbox.hubspot.wire import Call, Sandbox, endpoint
from awssome_sandbox.pages import render

SCOPES_TOLD = {
    "oauth": "Know which account installed it",
    "crm.objects.deals.read": "Read deals, their pipelines and their properties",
    "crm.objects.deals.write": "Change deals",
    "crm.objects.owners.read": "Read the people who own records",
    "crm.schemas.deals.read": "Read the definitions of deals",
}


def routes(sandbox: Sandbox) -> list[Route]:
    """The consent page, with or without the portal named in its address."""
    return [
        endpoint(sandbox, "authorize", method, path, handler, faulty=False)
        for path in ("/oauth/authorize", "/oauth/{portal_id:int}/authorize")
        for method, handler in (("GET", show), ("POST", decide))
    ]


def show(sandbox: Sandbox, call: Call) -> Response:
    """The page, or HubSpot's error page when the app's request is wrong."""
    request = _read(sandbox, dict(call.query))
    if isinstance(request, Response):
        return request
    chosen = call.path.get("portal_id", sandbox.first_portal.id)
    page = render(
        "hubspot/consent.html",
        app=request.app,
        host=urlsplit(request.redirect_uri).netloc,
        scopes=[(scope, SCOPES_TOLD[scope]) for scope in request.scopes],
        portals=sandbox.portals.values(),
        chosen=chosen,
        query=dict(call.query),
    )
    return HTMLResponse(page)


def decide(sandbox: Sandbox, call: Call) -> Response:
    """Allow or decline: back to the app, with a code or with an error. Or leave: the app hears nothing."""
    form = call.form()
    request = _read(sandbox, form)
    if isinstance(request, Response):
        return request
    if form.get("decision") == "leave":
        return HTMLResponse(render("hubspot/left.html", app=request.app))
    if form.get("decision") != "allow":
        return request.back(error="access_denied", error_description="The user did not authorize the app")
    portal_id = form.get("portal_id", "")
    if not portal_id.isdigit() or int(portal_id) not in sandbox.portals:
        return _error(
            "There is no such HubSpot account", f"Account {portal_id or '(none)'} is not one of this sandbox's."
        )
    return request.back(code=sandbox.oauth.consent(request.app, int(portal_id), request.scopes, request.redirect_uri))


@dataclass
class _Request:
    app: App
    redirect_uri: str
    scopes: list[str]
    state: str | None

    def back(self, **answer: str) -> Response:
        if self.state is not None:
            answer["state"] = self.state
        return RedirectResponse(extended(self.redirect_uri, **answer), 303)


def _read(sandbox: Sandbox, given: dict[str, str]) -> _Request | Response:
    app = sandbox.oauth.apps.get(given.get("client_id", ""))
    if app is None:
        return _error(
            "Authorization failed: unknown app", f"No app has the client id {given.get('client_id') or '(none)'}."
        )
    redirect_uri = given.get("redirect_uri", "")
    if redirect_uri not in app.redirect_uris:
        return _error(
            "Authorization failed: redirect address mismatch",
            f"The redirect address {redirect_uri or '(none)'} is not one that the app is registered with.",
        )
    asked = given.get("scope", "").split()
    optional = given.get("optional_scope", "").split()
    missing = [scope for scope in REQUIRED_SCOPES if scope not in asked]
    unknown = [scope for scope in asked + optional if scope not in KNOWN_SCOPES]
    if missing or unknown:
        told = [f"{scope} is required and not asked for." for scope in missing]
        told += [f"{scope} is not in the app's settings." for scope in unknown]
        return _error("Authorization failed: the scopes do not match the app's settings", " ".join(told))
    return _Request(app, redirect_uri, list(dict.fromkeys(asked + optional)), given.get("state"))


def _error(heading: str, told: str) -> Response:
    return HTMLResponse(render("hubspot/error.html", heading=heading, told=told), 400)
