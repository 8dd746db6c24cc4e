"""Consent and tokens: HubSpot's OAuth 2.0 (RFC 6749) with introspection (RFC 7662) and revocation (RFC 7009).

The app's credentials travel in the form's body, as HubSpot wants them. Tokens are never logged, never shown by `repr`
and never part of an error.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx2
from pydantic import BaseModel, ConfigDict, Field

from awssome.domain.errors import Code, Refused
from awssome.hubspot.errors import (
    MALFORMED_TOKEN,
    BadCode,
    HubSpotError,
    NeedsReconnect,
    Problem,
    Rejected,
    failure,
    problem_of,
)
from awssome.hubspot.models import parse
from awssome.hubspot.transport import Patience, json_of, open_http, send
from awssome.hubspot.version import API_VERSION

LONGEST = 18.0
"""Seconds that any of these requests takes at most, its retries included: a refresh is made in a transaction, which
must end well before the database ends it."""

SCOPES = ("oauth", "crm.objects.deals.read")
"""What a user consents to: deals, their pipelines and properties; `oauth` for account details and to uninstall."""

_API = "https://api.hubapi.com"
_CONSENT = "https://app.hubspot.com/oauth/authorize"
_PLAIN_URL = re.compile(
    r"https?://[A-Za-z0-9.:-]+(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?(\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?"
)
_RETRIES, _RETRY_SECONDS = 2, 5.0
_DEAD = frozenset({"BAD_REFRESH_TOKEN", "invalid_grant"})
_BAD_CODE = frozenset({"BAD_AUTH_CODE", "EXPIRED_AUTH_CODE", "invalid_grant"})
_WRONG_SETTING = frozenset(
    {"BAD_CLIENT_ID", "BAD_CLIENT_SECRET", "BAD_REDIRECT_URI", "MISMATCH_REDIRECT_URI_AUTH_CODE", "invalid_client"}
)


@dataclass(frozen=True)
class App:
    """Our app as HubSpot knows it; `app_for` makes it.

    :param base_url: HubSpot's API.
    :param consent_url: the page on which a user consents.
    :param redirect_uri: where that page sends the user back to; HubSpot compares it letter by letter.
    """

    base_url: str
    consent_url: str
    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str
    transport: httpx2.BaseTransport | None = field(default=None, repr=False, compare=False)


class Tokens(BaseModel):
    """What HubSpot grants. Fields that are not named here survive in `model_extra`, and are not shown by `repr`.

    :param expires_in: seconds that the access token lives from now on, as a rule 1,800.
    :param hub_id: the HubSpot account, when the answer names it; `introspect` always does.
    """

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)

    # Printable ASCII without spaces: anything else could not be sent as a header, and the error would quote it.
    access_token: str = Field(repr=False, pattern=r"^[!-~]+$")
    refresh_token: str = Field(repr=False, pattern=r"^[!-~]+$")
    expires_in: int = Field(gt=0)
    hub_id: int | None = None
    scopes: tuple[str, ...] = ()

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        # Among the others may be further tokens, such as `id_token`.
        return ((name, value) for name, value in super().__repr_args__() if name in type(self).model_fields)


class Installation(BaseModel):
    """Whom a token speaks for. Fields that are not named here survive in `model_extra`.

    :param hub_id: the HubSpot account.
    :param hub_domain: its domain, which serves as its name.
    :param scopes: what was consented to.
    :param user: the e-mail address of who consented.
    """

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)

    hub_id: int
    hub_domain: str = ""
    scopes: tuple[str, ...] = ()
    user: str = ""


def app_for(base_url: str | None, client_id: str, client_secret: str, redirect_uri: str) -> App:
    """Our app at HubSpot, or, with a base URL, at a sandbox that is both API and consent page."""
    if base_url is None:
        return App(_API, _CONSENT, client_id, client_secret, redirect_uri)
    base_url = base_url.rstrip("/")
    return App(base_url, f"{base_url}/oauth/authorize", client_id, client_secret, redirect_uri)


def authorize_url(app: App, state: str) -> str:
    """Where to send the user to consent.

    :param state: comes back with the code; single-use, and bound to the session by the caller.
    """
    params = {
        "client_id": app.client_id,
        "redirect_uri": app.redirect_uri,
        "scope": " ".join(SCOPES),
        "state": state,
    }
    return str(httpx2.URL(app.consent_url, params=params))


def with_state(return_url: str, state: str) -> str:
    """Where a user goes on who began to install the app at HubSpot: back there, with our state."""
    return str(httpx2.URL(return_url).copy_merge_params({"state": state}))


def check_return_url(app: App, return_url: str) -> None:
    """Whether an address is one of HubSpot's own pages, or of the sandbox that stands in for it.

    :raises Refused: INVALID for any other: nobody is sent anywhere by what stands in a link to us.
    """
    if not (len(return_url) <= 2_000 and _PLAIN_URL.fullmatch(return_url) and _is_hubspots(app, return_url)):
        raise Refused(
            Code.INVALID,
            "The address that this link leads back to is not one of HubSpot's. Nothing was changed.",
            "Begin again, here with Connect HubSpot or in HubSpot's Marketplace.",
        )


def exchange(app: App, code: str) -> Tokens:
    """The tokens for the code that came back from the consent page. A code works once, so this is never sent twice.

    :raises BadCode: when the code is unknown, used or expired.
    :raises HubSpotDown, RateLimited, Rejected: see `client.Client`.
    """
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": app.redirect_uri}
    response = _post(app, "token", form, repeatable=False)
    if not response.is_success:
        problem = problem_of(response)
        raise BadCode if problem.code in _BAD_CODE else _refusal(problem)
    return parse(Tokens, json_of(response))


def refresh(app: App, refresh_token: str) -> Tokens:
    """A new access token, within `LONGEST` and one retry. HubSpot may give a new refresh token with it: store what
    comes back, whatever it is.

    :raises NeedsReconnect: when HubSpot calls the refresh token dead. No other refusal says so.
    :raises HubSpotDown, RateLimited, Rejected: see `client.Client`.
    """
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    response = _post(app, "token", form, retries=1)
    if not response.is_success:
        problem = problem_of(response)
        raise NeedsReconnect if problem.code in _DEAD else _refusal(problem)
    answer = json_of(response)
    if not answer.get("refresh_token"):
        answer = {**answer, "refresh_token": refresh_token}
    return parse(Tokens, answer)


def introspect(app: App, token: str) -> Installation:
    """Whom an access token speaks for.

    :raises NeedsReconnect: when HubSpot no longer takes the token.
    :raises HubSpotDown, RateLimited, Rejected: see `client.Client`.
    """
    response = _post(app, "token/introspect", {"token": token, "token_type_hint": "access_token"})
    if not response.is_success:
        raise _refusal(problem_of(response))
    answer = json_of(response)
    if answer.get("active") is False:
        raise NeedsReconnect
    return parse(Installation, {name: value for name, value in answer.items() if value is not None})


def revoke(app: App, token: str, kind: Literal["refresh_token", "access_token"]) -> None:
    """End a token; a dead one is fine. To end a refresh token may end the connection of every tenant of that HubSpot
    account, to end an access token ends nothing else.

    :raises HubSpotDown, RateLimited, Rejected: see `client.Client`.
    """
    response = _post(app, "token/revoke", {"token": token, "token_type_hint": kind})
    problem = problem_of(response)
    if not response.is_success and problem.code not in _DEAD:
        raise _refusal(problem)


def uninstall(app: App, access_token: str) -> None:
    """Remove our app from the HubSpot account, for everybody in it; HubSpot tells its administrators by e-mail.

    :raises NeedsReconnect: when HubSpot does not take the token: it has expired, or the app is uninstalled already.
    :raises HubSpotDown, RateLimited, Rejected: see `client.Client`.
    """
    path = f"/appinstalls/{API_VERSION}/external-install"
    response = _send(app, "DELETE", path, headers={"Authorization": f"Bearer {access_token}"})
    if response.status_code == 401:
        raise NeedsReconnect
    if not response.is_success:
        raise failure(response)


def _is_hubspots(app: App, address: str) -> bool:
    parts = urlsplit(address)
    if app.consent_url != _CONSENT:
        own = urlsplit(app.consent_url)
        return (parts.scheme, parts.netloc) == (own.scheme, own.netloc)
    host = parts.netloc  # with a port or somebody's name in it, it is none of HubSpot's
    return parts.scheme == "https" and (host == "hubspot.com" or host.endswith(".hubspot.com"))


def _refusal(problem: Problem) -> HubSpotError:
    """The error for an answer about tokens that says nothing of the token."""
    if problem.code in _WRONG_SETTING:
        return Rejected(
            "HubSpot does not recognise this platform's app.",
            "An operator has to check the app's client id, client secret and redirect address.",
            problem,
        )
    passing = problem.status in (401, MALFORMED_TOKEN)  # no valid sign of anything (docs: usage guidelines)
    return Rejected("HubSpot refused a request about the connection.", problem=problem, transient=passing)


def _post(
    app: App, path: str, form: Mapping[str, str], *, repeatable: bool = True, retries: int = _RETRIES
) -> httpx2.Response:
    credentials = {"client_id": app.client_id, "client_secret": app.client_secret}
    data = {**form, **credentials}
    return _send(app, "POST", f"/oauth/{API_VERSION}/{path}", data=data, repeatable=repeatable, retries=retries)


def _send(
    app: App,
    method: str,
    path: str,
    *,
    data: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    repeatable: bool = True,
    retries: int = _RETRIES,
) -> httpx2.Response:
    ends = time.monotonic() + LONGEST

    def request() -> httpx2.Request:
        timeout = _share(ends - time.monotonic())
        return http.build_request(method, path, data=data, headers=headers, timeout=timeout)

    with open_http(app.base_url, app.transport) as http:
        return send(
            http,
            request,
            patience=Patience(retries, _RETRY_SECONDS),
            should_stop=lambda: False,
            repeatable=repeatable,
        )


def _share(left: float) -> httpx2.Timeout:
    """Timeouts that together, the handshake of TLS counted as a second connecting, do not exceed what is left."""
    left = max(left, 0.5)
    return httpx2.Timeout(connect=min(3.0, left / 5), write=left / 10, read=min(8.0, left / 2), pool=left / 10)
