"""The marketplace, where installs start at HubSpot's side, and the page of an account's connected apps.

With partner sign-in the browser first goes to the app's address with `step=authorize` and a `returnUrl`; the app signs
the person in and sends the browser to `returnUrl?state=…`; after consent the app is called with `step=finalize`, the
code, its state and another `returnUrl`. Without partner sign-in the app is called once, with the code and a
`returnUrl`. Either way an app that does not send the browser to the last `returnUrl` leaves the person in an endless
loop; each install has a page that says how far it came.

Source: developers.hubspot.com/docs/apps/developer-platform/list-apps/understand-app-install-flow.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from awssome_sandbox.hubspot import times
from awssome_sandbox.hubspot.consent import SCOPES_TOLD
from awssome_sandbox.hubspot.errors import invalid, not_found
from awssome_sandbox.hubspot.oauth import REQUIRED_SCOPES, App
from awssome_sandbox.hubspot.portals import Portal
from awssome_sandbox.hubspot.showing import extended, page, portal_of, show
from awssome_sandbox.hubspot.wire import Call, Sandbox, answer, endpoint


@dataclass
class Installation:
    """One install that somebody started in the marketplace.

    :ivar decision: allow, decline (the app is told) or leave (it is not); None until then.
    :ivar times: name of each step that was reached -> when: started, signed_in, decided, returned.
    """

    id: str
    app: App
    portal: Portal
    redirect_uri: str
    partner_sign_in: bool
    state: str | None = None
    decision: str | None = None
    code: str | None = None
    times: dict[str, str] = field(default_factory=dict)


class Marketplace:
    """The installs of a sandbox, and the pages that act them out."""

    def __init__(self) -> None:
        self.installations: dict[str, Installation] = {}

    def overview(self, sandbox: Sandbox, _call: Call) -> Response:
        """The apps with a form to install each, and the installs so far."""
        newest = list(reversed(self.installations.values()))
        told = [(installation, _facts(sandbox, installation)) for installation in newest]
        return show("hubspot/marketplace.html", sandbox, apps=sandbox.oauth.apps.values(), installations=told)

    def start(self, sandbox: Sandbox, call: Call) -> Response:
        """Install an app in an account: `client_id`, `portal_id`, `redirect_uri`, `sign_in` partner or none."""
        form = call.form()
        app = sandbox.oauth.apps.get(form.get("client_id", ""))
        portal_id, redirect_uri = form.get("portal_id", ""), form.get("redirect_uri", "")
        if app is None or redirect_uri not in app.redirect_uris:
            raise not_found("There is no such app, or it has no such redirect address.")
        if not portal_id.isdecimal() or int(portal_id) not in sandbox.portals:
            raise not_found(f"There is no HubSpot account {portal_id or '(none)'} in this sandbox.")
        if form.get("sign_in") not in ("partner", "none"):
            raise invalid("Say whether the listing has partner sign-in.")
        partner = form["sign_in"] == "partner"
        portal = sandbox.portals[int(portal_id)]
        made = Installation(secrets.token_hex(8), app, portal, redirect_uri, partner, times={"started": times.now()})
        self.installations[made.id] = made
        if not partner:
            return RedirectResponse(f"/marketplace/installs/{made.id}/consent", 303)
        to = extended(redirect_uri, step="authorize", returnUrl=_address(call, made, "signed-in"))
        return RedirectResponse(to, 303)

    def signed_in(self, _sandbox: Sandbox, call: Call) -> Response:
        """The first `returnUrl`: the app has signed the person in, and gives its state."""
        made = self._installation(call)
        state = call.query.get("state")
        if made.decision == "allow":
            raise invalid(
                "This is the returnUrl of the first call. After step=finalize that of the second call is due."
            )
        if not made.partner_sign_in or made.decision:
            raise invalid("This install does not wait for a sign-in.")
        if not state:
            raise invalid("The app sent the browser back without a state, so the install cannot go on.")
        made.state, made.times["signed_in"] = state, times.now()
        return RedirectResponse(f"/marketplace/installs/{made.id}/consent", 303)

    def consent(self, sandbox: Sandbox, call: Call) -> Response:
        """What the app asks to do, and the answers that a person can give, or not give."""
        made = self._undecided(call)
        scopes = [(scope, SCOPES_TOLD[scope]) for scope in REQUIRED_SCOPES]
        return show("hubspot/install_consent.html", sandbox, installation=made, scopes=scopes)

    def decide(self, sandbox: Sandbox, call: Call) -> Response:
        """Allow, decline, or leave: on to the app in the first two cases only."""
        made = self._undecided(call)
        decision = call.form().get("decision")
        if decision not in ("allow", "decline", "leave"):
            raise invalid("The decision is allow, decline or leave.")
        made.decision, made.times["decided"] = decision, times.now()
        sent = {"state": made.state} if made.state else {}
        if decision == "leave":
            return RedirectResponse(f"/marketplace/installs/{made.id}", 303)
        if decision == "decline":
            sent |= {"error": "access_denied", "error_description": "The user did not authorize the app"}
            return RedirectResponse(extended(made.redirect_uri, **sent), 303)
        made.code = sandbox.oauth.consent(made.app, made.portal.id, list(REQUIRED_SCOPES), made.redirect_uri)
        step = {"step": "finalize"} if made.partner_sign_in else {}
        return_url = _address(call, made, "installed")
        to = extended(made.redirect_uri, **step, code=made.code, **sent, returnUrl=return_url)
        return RedirectResponse(to, 303)

    def returned(self, _sandbox: Sandbox, call: Call) -> Response:
        """The last `returnUrl`: the app has done its part."""
        made = self._installation(call)
        if made.decision != "allow":
            raise invalid("Nobody has allowed this install, so there is nothing to return from.")
        made.times.setdefault("returned", times.now())
        return RedirectResponse(f"/marketplace/installs/{made.id}", 303)

    def result(self, sandbox: Sandbox, call: Call) -> Response:
        """How far an install came, step by step."""
        made = self._installation(call)
        return show("hubspot/installation.html", sandbox, installation=made, facts=_facts(sandbox, made))

    def told(self, sandbox: Sandbox, _call: Call) -> Response:
        """The installs as JSON: `{"installs": [{"id", "client_id", "portal_id", "outcome", …}]}`, newest first."""
        return answer({"installs": [_facts(sandbox, made) for made in reversed(self.installations.values())]})

    def _installation(self, call: Call) -> Installation:
        made = self.installations.get(call.path["id"])
        if made is None:
            raise not_found("There is no such install.")
        return made

    def _undecided(self, call: Call) -> Installation:
        made = self._installation(call)
        if made.decision or (made.partner_sign_in and not made.state):
            raise invalid("This install does not wait for a decision.")
        return made


def routes(sandbox: Sandbox) -> list[Route]:
    """The marketplace's pages, and the connected apps of each account."""
    market, installs = Marketplace(), "/marketplace/installs"
    return [
        page(sandbox, "GET", "/marketplace", market.overview),
        page(sandbox, "POST", installs, market.start),
        page(sandbox, "GET", f"{installs}/{{id}}", market.result),
        page(sandbox, "GET", f"{installs}/{{id}}/signed-in", market.signed_in),
        page(sandbox, "GET", f"{installs}/{{id}}/consent", market.consent),
        page(sandbox, "POST", f"{installs}/{{id}}/consent", market.decide),
        page(sandbox, "GET", f"{installs}/{{id}}/installed", market.returned),
        endpoint(sandbox, "control", "GET", "/_sandbox/installs", market.told, faulty=False),
        page(sandbox, "GET", "/integrations-settings/{portal_id:int}/installed", connected_apps),
        page(sandbox, "POST", "/integrations-settings/{portal_id:int}/installed", uninstall),
    ]


def connected_apps(sandbox: Sandbox, call: Call) -> Response:
    """The apps that an account has installed. One counts as installed when it has fetched its first tokens."""
    portal = portal_of(sandbox, call)
    installs = [made for made in sandbox.oauth.installs.values() if made.portal_id == portal.id and made.scopes]
    gone = call.query.get("uninstalled")
    done = f"{gone} is uninstalled. Its tokens do not work any more." if gone in sandbox.oauth.apps else None
    return show("hubspot/connected.html", sandbox, portal=portal, installs=installs, told=SCOPES_TOLD, done=done)


def uninstall(sandbox: Sandbox, call: Call) -> Response:
    """Take an app (`client_id`) out of an account, as its administrator does."""
    portal = portal_of(sandbox, call)
    client_id = call.form().get("client_id", "")
    if not sandbox.oauth.uninstall(client_id, portal.id):
        raise not_found(f"The app {client_id or '(none)'} is not installed in {portal.domain}.")
    return RedirectResponse(extended(f"/integrations-settings/{portal.id}/installed", uninstalled=client_id), 303)


def _address(call: Call, made: Installation, place: str) -> str:
    return str(call.url.replace(path=f"/marketplace/installs/{made.id}/{place}", query=""))


def _facts(sandbox: Sandbox, made: Installation) -> dict[str, Any]:
    exchanged = made.code in sandbox.oauth.exchanged
    returned = "returned" in made.times
    if made.decision in ("decline", "leave"):
        outcome = "declined" if made.decision == "decline" else "left"
    elif made.decision is None:
        outcome = "waiting" if made.state or not made.partner_sign_in else "signing in"
    else:
        outcome = {
            (True, True): "installed",
            (True, False): "not returned",
            (False, True): "not exchanged",
            (False, False): "sent to the app",
        }[exchanged, returned]
    return {
        "id": made.id,
        "client_id": made.app.client_id,
        "portal_id": made.portal.id,
        "redirect_uri": made.redirect_uri,
        "partner_sign_in": made.partner_sign_in,
        "outcome": outcome,
        "state": made.state,
        "exchanged": exchanged,
        "returned": returned,
        "times": made.times,
    }
