"""HubSpot's OAuth server: apps, consents, codes and tokens.

HubSpot keeps one installation of an app for a portal, with one refresh token. Whoever connects the same portal again
gets that same refresh token, and whoever revokes it ends it for all.
"""

from __future__ import annotations

import hmac
import math
import secrets
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from awssome_sandbox.hubspot.errors import bad_refresh_token
from awssome_sandbox.hubspot.errors import oauth as refusal

ACCESS_SECONDS = 1800
CODE_SECONDS = 60
REQUIRED_SCOPES = ("oauth", "crm.objects.deals.read")
KNOWN_SCOPES = {*REQUIRED_SCOPES, "crm.objects.owners.read", "crm.objects.deals.write", "crm.schemas.deals.read"}


@dataclass
class App:
    """A registered app. Every scope of `REQUIRED_SCOPES` is marked as required in it.

    :ivar tier: for a private app, the tier of its account, on which its limits hang; None for an OAuth app.
    """

    client_id: str
    client_secret: str
    redirect_uris: list[str]
    tier: str | None = None

    @property
    def id(self) -> int:
        """HubSpot's number for the app."""
        return zlib.crc32(self.client_id.encode()) % 90_000_000 + 1_000_000


@dataclass
class Install:
    """An app installed in a portal."""

    app: App
    portal_id: int
    scopes: list[str] = field(default_factory=list)
    refresh_token: str | None = None


@dataclass
class AccessToken:
    """What an access token stands for; `expires` is in seconds since the epoch."""

    token: str
    install: Install
    scopes: list[str]
    expires: float

    def grants(self, scope: str) -> bool:
        """Whether it may what the scope stands for; a private app may everything."""
        return scope in self.scopes or self.install.app.tier is not None


@dataclass
class _Code:
    install: Install
    scopes: list[str]
    redirect_uri: str
    expires: float


class AuthorizationServer:
    """Everything OAuth that HubSpot remembers.

    :ivar exchanged: the codes that were exchanged for tokens.
    :ivar rotate: hand out a new refresh token at each refresh and end the old one. HubSpot is not known to do so, and
        does not promise that it will not.
    """

    def __init__(self, apps: Iterable[App]) -> None:
        self.apps = {app.client_id: app for app in apps}
        self.installs: dict[tuple[str, int], Install] = {}
        self.rotate = False
        self.exchanged: set[str] = set()
        self._codes: dict[str, _Code] = {}
        self._access: dict[str, AccessToken] = {}
        self._private: dict[str, AccessToken] = {}

    def add_private_app(self, token: str, portal_id: int, tier: str) -> None:
        """Let a token of a portal's private app be good for ever, for everything."""
        app = App(f"private-{len(self._private) + 1}", "", [], tier)
        self._private[token] = AccessToken(token, Install(app, portal_id), sorted(KNOWN_SCOPES), math.inf)

    def consent(self, app: App, portal_id: int, scopes: list[str], redirect_uri: str) -> str:
        """A person allowed an app in a portal: the single-use code to send back."""
        install = self.installs.setdefault((app.client_id, portal_id), Install(app, portal_id))
        code = secrets.token_urlsafe(24)
        self._codes[code] = _Code(install, scopes, redirect_uri, time.time() + CODE_SECONDS)
        return code

    def authenticate(self, form: dict[str, str]) -> App:
        """The app that a token request comes from; it says so in the body.

        :raises HubSpotError: 400 BAD_CLIENT_ID or BAD_CLIENT_SECRET.
        """
        app = self.apps.get(form.get("client_id", ""))
        if app is None:
            raise refusal("invalid_client", "BAD_CLIENT_ID", "missing or unknown client id")
        if not hmac.compare_digest(form.get("client_secret", "").encode(), app.client_secret.encode()):
            raise refusal("invalid_client", "BAD_CLIENT_SECRET", "missing or invalid client secret")
        return app

    def exchange(self, app: App, code: str, redirect_uri: str) -> AccessToken:
        """Tokens for a code. A code is spent by the first request that names it rightly.

        :raises HubSpotError: 400 BAD_REDIRECT_URI, BAD_AUTH_CODE, MISMATCH_REDIRECT_URI_AUTH_CODE, EXPIRED_AUTH_CODE.
        """
        if not redirect_uri:
            raise refusal("invalid_request", "BAD_REDIRECT_URI", "missing or invalid redirect uri")
        known = self._codes.get(code)
        if known is None or known.install.app is not app:
            raise refusal("invalid_grant", "BAD_AUTH_CODE", "missing or unknown auth code")
        if redirect_uri != known.redirect_uri:
            raise refusal(
                "invalid_grant",
                "MISMATCH_REDIRECT_URI_AUTH_CODE",
                "redirect URI does not match the one used to get the auth code",
            )
        del self._codes[code]
        if known.expires <= time.time():
            raise refusal("invalid_grant", "EXPIRED_AUTH_CODE", "auth code is expired")
        install = known.install
        self.installs[app.client_id, install.portal_id] = install
        install.scopes = known.scopes
        install.refresh_token = install.refresh_token or _refresh_token()
        self.exchanged.add(code)
        return self._issue(install)

    def refresh(self, app: App, refresh_token: str) -> AccessToken:
        """A new access token.

        :raises HubSpotError: 400 BAD_REFRESH_TOKEN.
        """
        install = self._by_refresh_token(app, refresh_token)
        if install is None:
            raise bad_refresh_token()
        if self.rotate:
            install.refresh_token = _refresh_token()
        return self._issue(install)

    def access(self, token: str) -> AccessToken | None:
        """What an access token stands for, expired or not; None when it is unknown."""
        return self._access.get(token) or self._private.get(token)

    def lookup(self, app: App, token: str) -> AccessToken | Install | None:
        """What a token of an app stands for: a valid access token, or the install of a valid refresh token."""
        access = self._access.get(token)
        if access and access.install.app is app and access.expires > time.time():
            return access
        return self._by_refresh_token(app, token)

    def revoke(self, app: App, token: str) -> None:
        """End a token. Access tokens made from a revoked refresh token live on until they expire."""
        access = self._access.get(token)
        if access and access.install.app is app:
            del self._access[token]
        elif install := self._by_refresh_token(app, token):
            install.refresh_token = None

    def uninstall(self, client_id: str, portal_id: int) -> bool:
        """Take an app out of a portal: all its tokens and codes there end. False when it was not installed."""
        install = self.installs.pop((client_id, portal_id), None)
        if install is None:
            return False
        install.refresh_token = None
        self._access = {token: access for token, access in self._access.items() if access.install is not install}
        self._codes = {code: known for code, known in self._codes.items() if known.install is not install}
        return True

    def expire_access_tokens(self) -> int:
        """Let every access token have expired 75 seconds ago."""
        for access in self._access.values():
            access.expires = min(access.expires, time.time() - 75)
        return len(self._access)

    def expire_codes(self) -> int:
        """Let every code that is not spent have expired."""
        for code in self._codes.values():
            code.expires = 0
        return len(self._codes)

    def revoke_refresh_tokens(self, portal_id: int | None) -> int:
        """Revoke the refresh tokens of one portal, or all."""
        chosen = [i for i in self.installs.values() if i.refresh_token and portal_id in (None, i.portal_id)]
        for install in chosen:
            install.refresh_token = None
        return len(chosen)

    def _by_refresh_token(self, app: App, token: str) -> Install | None:
        for install in self.installs.values():
            if install.app is app and install.refresh_token and hmac.compare_digest(install.refresh_token, token):
                return install
        return None

    def _issue(self, install: Install) -> AccessToken:
        token = "CL" + secrets.token_urlsafe(240)
        self._access[token] = AccessToken(token, install, list(install.scopes), time.time() + ACCESS_SECONDS)
        return self._access[token]


def register(definitions: Iterable[str]) -> list[App]:
    """The apps of `ID:SECRET:REDIRECT_URI` definitions; naming an app again adds a redirect address to it.

    :raises ValueError: with a reason, for a definition that HubSpot would not take.
    """
    apps: dict[str, App] = {}
    for definition in definitions:
        client_id, _, rest = definition.partition(":")
        secret, _, redirect_uri = rest.partition(":")
        if not (client_id and secret and redirect_uri):
            raise ValueError("an app is ID:SECRET:REDIRECT_URI")
        _check_redirect_uri(redirect_uri)
        app = apps.setdefault(client_id, App(client_id, secret, []))
        if app.client_secret != secret:
            raise ValueError(f"app {client_id} is given twice with different secrets")
        app.redirect_uris.append(redirect_uri)
    return list(apps.values())


def _check_redirect_uri(redirect_uri: str) -> None:
    parts = urlsplit(redirect_uri)
    host = parts.hostname or ""
    if parts.fragment or not host or parts.scheme not in ("http", "https"):
        raise ValueError(f"{redirect_uri} is no http(s) address without a fragment")
    if host.replace(".", "").isdigit() or ":" in host:
        raise ValueError(f"{redirect_uri}: HubSpot takes no IP addresses; say localhost")
    if parts.scheme == "http" and host != "localhost" and not host.endswith(".localhost"):
        raise ValueError(f"{redirect_uri}: HubSpot takes http for localhost only")


def _refresh_token() -> str:
    return "na1-" + secrets.token_urlsafe(30)
