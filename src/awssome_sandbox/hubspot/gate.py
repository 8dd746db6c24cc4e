"""Who may call the CRM: a bearer token, then the rate limit, then the scopes, in HubSpot's order."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response

from awssome_sandbox.hubspot.errors import (
    daily_limit,
    expired,
    missing_scopes,
    no_credentials,
    secondly_limit,
    ten_secondly_limit,
)
from awssome_sandbox.hubspot.limits import Day, RollingLimit
from awssome_sandbox.hubspot.oauth import AccessToken
from awssome_sandbox.hubspot.portals import Portal
from awssome_sandbox.hubspot.wire import Call, Sandbox, answer


@dataclass(frozen=True, slots=True)
class Caller:
    """An app that was let through."""

    portal: Portal
    token: AccessToken

    def answer(self, body: object, status: int = 200) -> Response:
        """A JSON answer."""
        return answer(body, status)


def admit(sandbox: Sandbox, call: Call, scopes: Sequence[str], *, search: bool = False) -> Caller:
    """Let a call through, and have its answer tell the limits.

    :param scopes: what its token must have been granted.
    :param search: whether it is a search, which has a limit of its own.
    :raises HubSpotError: 401 without a valid token, 429 over the limit, 403 without the scopes.
    """
    kind, _, text = call.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not text.strip():
        raise no_credentials()
    token, now = sandbox.oauth.access(text.strip()), time.time()
    if token is None or token.expires <= now:
        raise expired(token.expires if token else 0, now)
    portal = sandbox.portals[token.install.portal_id]
    call.limits = _count(sandbox, token, portal, search=search)
    if not all(token.grants(scope) for scope in scopes):
        raise missing_scopes(scopes)
    return Caller(portal, token)


def _count(sandbox: Sandbox, token: AccessToken, portal: Portal, *, search: bool) -> dict[str, str]:
    """Count the call, and give the headers that tell the limits: the ten seconds' for all but searches, the day's for
    private apps alone. A refused call does not count."""
    if sandbox.limits is None:
        return {}
    app = token.install.app
    group = f"publicapi:{'private-apps' if app.tier else 'oauth'}:{app.id}:{portal.id}"
    day = sandbox.limits.day(app, portal)
    limit = None if search else sandbox.limits.calls(app, portal)
    if day and day.full:
        raise daily_limit(group, _headers(limit, day))
    if limit and not limit.take():
        raise ten_secondly_limit(group, _headers(limit, day))
    if search and not sandbox.limits.searches(portal).take():
        raise secondly_limit()
    if day:
        day.used += 1
    return _headers(limit, day)


def _headers(limit: RollingLimit | None, day: Day | None) -> dict[str, str]:
    headers = {}
    if limit:
        headers["X-HubSpot-RateLimit-Max"] = str(limit.calls)
        headers["X-HubSpot-RateLimit-Remaining"] = str(limit.remaining)
        headers["X-HubSpot-RateLimit-Interval-Milliseconds"] = str(int(limit.seconds * 1000))
    if day:
        headers["X-HubSpot-RateLimit-Daily"] = str(day.calls)
        headers["X-HubSpot-RateLimit-Daily-Remaining"] = str(day.calls - day.used)
    return headers
