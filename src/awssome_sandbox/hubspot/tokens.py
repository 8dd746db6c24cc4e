"""The token endpoints: token, introspect, revoke, uninstall."""

from __future__ import annotations

import time
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from awssome_sandbox.hubspot.errors import not_found
from awssome_sandbox.hubspot.errors import oauth as refusal
from awssome_sandbox.hubspot.gate import admit
from awssome_sandbox.hubspot.oauth import AccessToken, App, Install
from awssome_sandbox.hubspot.wire import Call, Sandbox, answer, endpoint

VERSIONS = ("2026-03", "2026-09", "v3")
_OLD_FACTS = {
    "access_token": ("app_id", "expires_in", "is_private_distribution", "signed_access_token"),
    "refresh_token": ("client_id",),
}


def routes(sandbox: Sandbox) -> list[Route]:
    """The token endpoints of every version, and OAuth v1's."""
    table = [
        endpoint(sandbox, name, method, f"{prefix}{version}{path}", handler)
        for version in VERSIONS
        for name, method, prefix, path, handler in (
            ("oauth.token", "POST", "/oauth/", "/token", token),
            ("oauth.introspect", "POST", "/oauth/", "/token/introspect", introspect),
            ("oauth.revoke", "POST", "/oauth/", "/token/revoke", revoke),
            ("uninstall", "DELETE", "/appinstalls/", "/external-install", uninstall),
        )
    ]
    return [
        *table,
        endpoint(sandbox, "oauth.token", "POST", "/oauth/v1/token", token),
        endpoint(sandbox, "oauth.introspect", "GET", "/oauth/v1/access-tokens/{token}", old_token_facts),
        endpoint(sandbox, "oauth.introspect", "GET", "/oauth/v1/refresh-tokens/{token}", old_token_facts),
        endpoint(sandbox, "oauth.revoke", "DELETE", "/oauth/v1/refresh-tokens/{token}", old_revoke),
    ]


def token(sandbox: Sandbox, call: Call) -> Response:
    """Tokens for a code or a refresh token; client id and secret come in the form body and nowhere else."""
    form = call.form()
    grant = form.get("grant_type")
    if grant not in ("authorization_code", "refresh_token"):
        raise refusal("unsupported_grant_type", "BAD_GRANT_TYPE", "missing or unknown grant type")
    app = sandbox.oauth.authenticate(form)
    if grant == "authorization_code":
        access = sandbox.oauth.exchange(app, form.get("code", ""), form.get("redirect_uri", ""))
    else:
        access = sandbox.oauth.refresh(app, form.get("refresh_token", ""))
    body = {
        "token_type": "bearer",
        "token_use": "access_token",
        "access_token": access.token,
        "refresh_token": access.install.refresh_token,
        "expires_in": _seconds_left(access),
        "hub_id": access.install.portal_id,
        "user_id": _user(sandbox, access.install)[0],
        "scopes": access.scopes,
    }
    return answer(body, headers={"Cache-Control": "no-store"})


def introspect(sandbox: Sandbox, call: Call) -> Response:
    """What a token stands for; `{"active": false}` for one that stands for nothing."""
    form = call.form()
    app = sandbox.oauth.authenticate(form)
    facts = _facts(sandbox, app, form.get("token", ""))
    return answer(facts or {"active": False})


def revoke(sandbox: Sandbox, call: Call) -> Response:
    """End a token; one that is unknown is as good as ended (RFC 7009)."""
    form = call.form()
    sandbox.oauth.revoke(sandbox.oauth.authenticate(form), form.get("token", ""))
    return Response(status_code=200)


def uninstall(sandbox: Sandbox, call: Call) -> Response:
    """Take the calling app out of the portal that its access token belongs to."""
    caller = admit(sandbox, call, ("oauth",))
    sandbox.oauth.uninstall(caller.token.install.app.client_id, caller.portal.id)
    return Response(status_code=204)


def old_token_facts(sandbox: Sandbox, call: Call) -> Response:
    """OAuth v1: what a token stands for, asked without the app's secret; access and refresh tokens at addresses of
    their own."""
    use = "access_token" if "/access-tokens/" in call.url.path else "refresh_token"
    for app in sandbox.oauth.apps.values():
        facts = _facts(sandbox, app, call.path["token"])
        if facts and facts["token_use"] == use:
            kept = ("token", "user", "hub_domain", "scopes", "hub_id", "user_id", *_OLD_FACTS[use])
            return answer({**{name: facts[name] for name in kept}, "token_type": use.removesuffix("_token")})
    raise not_found("token not found")


def old_revoke(sandbox: Sandbox, call: Call) -> Response:
    """OAuth v1: end a refresh token."""
    for app in sandbox.oauth.apps.values():
        sandbox.oauth.revoke(app, call.path["token"])
    return Response(status_code=204)


def _facts(sandbox: Sandbox, app: App, token: str) -> dict[str, Any] | None:
    found = sandbox.oauth.lookup(app, token)
    if found is None:
        return None
    install = found.install if isinstance(found, AccessToken) else found
    user_id, user = _user(sandbox, install)
    facts: dict[str, Any] = {
        "active": True,
        "token": token,
        "token_type": "bearer",
        "token_use": "refresh_token",
        "hub_id": install.portal_id,
        "hub_domain": sandbox.portals[install.portal_id].domain,
        "user_id": user_id,
        "user": user,
        "app_id": app.id,
        "client_id": app.client_id,
        "scopes": install.scopes,
    }
    if isinstance(found, AccessToken):
        facts |= {
            "token_use": "access_token",
            "scopes": found.scopes,
            "expires_in": _seconds_left(found),
            "is_private_distribution": False,
            "signed_access_token": _signed(found, user_id),
        }
    return facts


def _signed(access: AccessToken, user_id: int) -> dict[str, Any]:
    """The token as HubSpot's own services carry it about."""
    return {
        "expiresAt": int(access.expires * 1000),
        "scopes": " ".join(access.scopes),
        "hubId": access.install.portal_id,
        "userId": user_id,
        "appId": access.install.app.id,
        "signature": "",
        "newSignature": "",
        "scopeToScopeGroupPks": "",
        "trialScopes": "",
        "trialScopeToScopeGroupPks": "",
        "isUserLevel": False,
        "isPrivateDistribution": False,
        "isServiceAccount": False,
        "hublet": "na1",
        "installingUserId": user_id,
    }


def _seconds_left(access: AccessToken) -> int:
    return max(0, round(access.expires - time.time()))


def _user(sandbox: Sandbox, install: Install) -> tuple[int, str]:
    person = sandbox.portals[install.portal_id].people[0]
    return person.user_id, person.email
