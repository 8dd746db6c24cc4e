"""Consent and tokens: HubSpot's OAuth 2.0 (RFC 6749) with introspection (RFC 7662) and revocation (RFC 7009).

The app's credentials travel in the form's body, as HubSpot wants them. Tokens are never logged, never shown by `repr`
and never part of an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
from pydantic import BaseModel, ConfigDict, Field

from awssome.hubspot.errors import BadCode, HubSpotError, NeedsReconnect, Problem, Rejected, failure, problem_of
from awssome.hubspot.models import parse
from awssome.hubspot.transport import Patience, json_of, open_http, send
from awssome.hubspot.version import API_VERSION

SCOPES = ("oauth", "crm.objects.deals.read")
"""What a user consents to: deals, their pipelines and properties; `oauth` for account details and to uninstall."""

_API = "https://api.hubapi.com"
_CONSENT = "https://app.hubspot.com/oauth/authorize"
_RETRIES, _RETRY_SECONDS = 2, 5.0
_DEAD = frozenset({"BAD_REFRESH_TOKEN", "BAD_AUTH_CODE", "EXPIRED_AUTH_CODE", "invalid_grant"})
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


def exchange(app: App, code: str) -> Tokens:
    """The tokens for the code that came back from the consent page. A code works once, so this is never sent twice.

    :raises BadCode: when the code is unknown, used or expired.
    :raises HubSpotDown, RateLimited, Rejected: see `client.Client`.
    """
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": app.redirect_uri}
    response = _post(app, "token", form, repeatable=False)
    if not response.is_success:
        raise _failure(problem_of(response), BadCode())
    return parse(Tokens, json_of(response))


def refresh(app: App, refresh_token: str) -> Tokens:
    """A new access token. HubSpot may give a new refresh token with it: store what comes back, whatever it is.

    :raises NeedsReconnect: when the refresh token is dead.
    :raises HubSpotDown, RateLimited, Rejected: see `client.Client`.
    """
    response = _post(app, "token", {"grant_type": "refresh_token", "refresh_token": refresh_token})
    if not response.is_success:
        raise _failure(problem_of(response), NeedsReconnect())
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
        raise _failure(problem_of(response), NeedsReconnect())
    answer = json_of(response)
    if answer.get("active") is False:
        raise NeedsReconnect
    return parse(Installation, {name: value for name, value in answer.items() if value is not None})


def revoke(app: App, refresh_token: str) -> None:
    """End a refresh token; a dead one is fine. This may end the connection of every tenant of that HubSpot account.

    :raises HubSpotDown, RateLimited, Rejected: see `client.Client`.
    """
    response = _post(app, "token/revoke", {"token": refresh_token, "token_type_hint": "refresh_token"})
    problem = problem_of(response)
    if not response.is_success and problem.code not in _DEAD:
        raise _failure(problem, NeedsReconnect())


def uninstall(app: App, access_token: str) -> None:
    """Remove our app from the HubSpot account, for everybody in it; HubSpot tells its administrators by e-mail.

    :raises NeedsReconnect: when HubSpot no longer takes the token, as after an uninstallation.
    :raises HubSpotDown, RateLimited, Rejected: see `client.Client`.
    """
    path = f"/appinstalls/{API_VERSION}/external-install"
    response = _send(app, "DELETE", path, headers={"Authorization": f"Bearer {access_token}"})
    if response.status_code == 401:
        raise NeedsReconnect
    if not response.is_success:
        raise failure(response)


def _failure(problem: Problem, dead: HubSpotError) -> HubSpotError:
    """The error for an answer about tokens; `dead`: what it is when the token or code is no good."""
    if problem.code in _DEAD:
        return dead
    if problem.code in _WRONG_SETTING:
        return Rejected(
            "HubSpot does not recognise this platform's app.",
            "An operator has to check the app's client id, client secret and redirect address.",
            problem,
        )
    return Rejected("HubSpot refused a request about the connection.", problem=problem)


def _post(app: App, path: str, form: Mapping[str, str], *, repeatable: bool = True) -> httpx2.Response:
    credentials = {"client_id": app.client_id, "client_secret": app.client_secret}
    return _send(app, "POST", f"/oauth/{API_VERSION}/{path}", data={**form, **credentials}, repeatable=repeatable)


def _send(
    app: App,
    method: str,
    path: str,
    *,
    data: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    repeatable: bool = True,
) -> httpx2.Response:
    with open_http(app.base_url, app.transport) as http:
        return send(
            http,
            lambda: http.build_request(method, path, data=data, headers=headers),
            patience=Patience(_RETRIES, _RETRY_SECONDS),
            should_stop=lambda: False,
            repeatable=repeatable,
        )
