"""Who may call the CRM: a bearer token, then the rate limit, then the scopes, in HubSpot's order."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response

from awssome_sandbox.hubspot.errors import expired, missing_scopes, no_credentials, secondly_limit, ten_secondly_limit
from awssome_sandbox.hubspot.oauth import AccessToken
from awssome_sandbox.hubspot.portals import Portal
from awssome_sandbox.hubspot.wire import Call, Sandbox, answer


@dataclass(frozen=True, slots=True)
class Caller:
    """An app that was let through.

    :ivar headers: the rate-limit headers that its answer carries.
    """

    portal: Portal
    token: AccessToken
    headers: dict[str, str]

    def answer(self, body: object, status: int = 200) -> Response:
        """A JSON answer with the rate-limit headers."""
        return answer(body, status, self.headers)


def admit(sandbox: Sandbox, call: Call, scopes: Sequence[str], *, search: bool = False) -> Caller:
    """Let a call through.

    :param scopes: what its token must have been granted.
    :param search: whether it is a search, which has a limit of its own and tells no headers.
    :raises HubSpotError: 401 without a valid token, 429 over the limit, 403 without the scopes.
    """
    kind, _, text = call.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not text.strip():
        raise no_credentials()
    token, now = sandbox.oauth.access(text.strip()), time.time()
    if token is None or token.expires <= now:
        raise expired(token.expires if token else 0, now)
    portal = sandbox.portals[token.install.portal_id]
    headers = _count(sandbox, token, portal, search=search)
    if any(scope not in token.scopes for scope in scopes):
        raise missing_scopes(scopes)
    return Caller(portal, token, headers)


def _count(sandbox: Sandbox, token: AccessToken, portal: Portal, *, search: bool) -> dict[str, str]:
    if sandbox.limits is None:
        return {}
    if search:
        if not sandbox.limits.searches(portal.id).take():
            raise secondly_limit()
        return {}
    app = token.install.app
    limit = sandbox.limits.calls(app.client_id, portal.id)
    allowed = limit.take()
    headers = {
        "X-HubSpot-RateLimit-Max": str(limit.calls),
        "X-HubSpot-RateLimit-Remaining": str(limit.remaining),
        "X-HubSpot-RateLimit-Interval-Milliseconds": str(int(limit.seconds * 1000)),
    }
    if not allowed:
        raise ten_secondly_limit(f"publicapi:oauth:{app.id}:{portal.id}", headers)
    return headers
