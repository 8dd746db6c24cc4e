"""What keeps a page and its forms safe: headers, body limit, CSRF, session cookies, addresses to return to.

A form is accepted when two checks agree. The browser says where the form came from (`Sec-Fetch-Site`, `Origin`), and
the form holds a token that only a page of ours can know: an HMAC keyed with the session cookie's secret, or, before
there is a session, with a secret of its own in a short-lived cookie. So no key has to be kept or shared.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from markupsafe import Markup
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from awssome.domain.errors import Code, Refused

FORM_FIELD = "csrf_token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
PRE_SESSION_SECONDS = 3600


def is_secure(connection: HTTPConnection) -> bool:
    """Whether cookies must be Secure: always, except for plain HTTP on a loopback name or address."""
    return connection.url.scheme in ("https", "wss") or not _is_loopback(connection.url.hostname or "")


def set_session_cookie(
    request: HTTPConnection, response: Response, name: str, token: str, max_age: int | None = None
) -> None:
    """Hand the session's token to the browser: host-only, HttpOnly, SameSite=Lax, Secure except on loopback.

    :param name: base name; on a secure connection the cookie is called `__Host-` + name, which no other host can set.
    :param max_age: life in seconds; None keeps it until the browser is closed.
    """
    secure = is_secure(request)
    response.set_cookie(
        _full_name(name, secure), token, max_age=max_age, path="/", secure=secure, httponly=True, samesite="lax"
    )


def read_session_cookie(request: HTTPConnection, name: str) -> str | None:
    """The session's token that the browser sent, or None."""
    return request.cookies.get(_full_name(name, is_secure(request))) or None


def clear_session_cookie(request: HTTPConnection, response: Response, name: str) -> None:
    """Make the browser forget the session."""
    secure = is_secure(request)
    response.delete_cookie(_full_name(name, secure), path="/", secure=secure, httponly=True, samesite="lax")


def local_path(target: str | None, default: str = "/") -> str:
    """The target if it is a path on this host, else the default: nobody is sent elsewhere by a prepared `?next=`."""
    if not target or not target.startswith("/") or target[1:2] in ("/", "\\") or not target.isprintable():
        return default
    return target


class FormToken:
    """What a form must carry. Rendering it, and only that, issues a pre-session cookie where there is no session."""

    def __init__(self, session: str | None, pre_session: str | None) -> None:
        self._secret = session or pre_session
        self.issued: str | None = None

    def __str__(self) -> str:
        if self._secret is None:
            self._secret = self.issued = secrets.token_urlsafe(24)
        digest = hmac.digest(self._secret.encode(), b"form token", hashlib.sha256)
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def __html__(self) -> Markup:
        return Markup('<input type="hidden" name="{}" value="{}">').format(FORM_FIELD, str(self))

    def accepts(self, given: str) -> bool:
        """Whether the value came out of one of our pages; always no for a visitor with neither cookie."""
        return self._secret is not None and hmac.compare_digest(str(self).encode(), given.encode())


class Csrf:
    """Refuses unsafe requests that no form of ours can have sent.

    :param exempt: path prefixes whose handlers look at no cookie (they take a token in a header).
    """

    def __init__(self, app: ASGIApp, session_cookie: str, exempt: Sequence[str] = ("/api/",)) -> None:
        self.app = app
        self.session_cookie = session_cookie
        self.exempt = tuple(exempt)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(self.exempt):
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        pre_session_name = f"{self.session_cookie}_form"
        token = FormToken(
            read_session_cookie(request, self.session_cookie), read_session_cookie(request, pre_session_name)
        )
        scope["awssome.form_token"] = token
        if request.method not in SAFE_METHODS:
            _require_same_origin(request)
            body = await request.body()
            if not token.accepts(await _given_token(scope, body)):
                raise _refusal()
            receive = _replay(body, receive)

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start" and token.issued:
                response = Response()
                set_session_cookie(request, response, pre_session_name, token.issued, PRE_SESSION_SECONDS)
                MutableHeaders(scope=message).append("set-cookie", response.headers["set-cookie"])
            await send(message)

        await self.app(scope, receive, send_with_cookie)


class BodyLimit:
    """Refuses bodies beyond the limit, whether their length was announced or not.

    :param larger: regular expression of a path -> its own limit.
    """

    def __init__(self, app: ASGIApp, limit: int, larger: Mapping[str, int] = MappingProxyType({})) -> None:
        self.app = app
        self.limit = limit
        self.larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = next((own for path, own in self.larger.items() if re.fullmatch(path, scope["path"])), self.limit)
        announced = HTTPConnection(scope).headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > limit:
            raise HTTPException(413)
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413)
            return message

        await self.app(scope, receive_counted, send)


class SecurityHeaders:
    """Adds to each answer what a browser must know: own content only, no framing, no guessing, no caching of pages."""

    def __init__(self, app: ASGIApp, form_targets: Sequence[str] = ()) -> None:
        self.app = app
        policy = {
            "default-src": "'self'",
            "object-src": "'none'",
            "base-uri": "'none'",
            "frame-ancestors": "'none'",
            "form-action": " ".join(["'self'", *form_targets]),
        }
        self.headers = {
            "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "same-origin",
            "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        connection = HTTPConnection(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self.headers)
                headers.setdefault("Cache-Control", "no-store")
                if not _is_loopback(connection.url.hostname or ""):
                    headers["Strict-Transport-Security"] = "max-age=31536000"
            await send(message)

        await self.app(scope, receive, send_with_headers)


def _full_name(name: str, secure: bool) -> str:
    return f"__Host-{name}" if secure else name


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _require_same_origin(request: Request) -> None:
    """Programs send neither header and cannot be tricked by a foreign page; every browser sends at least one."""
    site = request.headers.get("sec-fetch-site")
    if site is not None and site != "same-origin":
        raise _refusal()
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise _refusal()


async def _given_token(scope: Scope, body: bytes) -> str:
    request = Request(scope, _replay(body))
    async with request.form() as form:
        given = form.get(FORM_FIELD)
    return given if isinstance(given, str) else ""


def _replay(body: bytes, receive: Receive | None = None) -> Receive:
    """A receive that gives the body once more, then whatever the server has to say (that the visitor left)."""
    replayed = False

    async def replay() -> Message:
        nonlocal replayed
        if replayed and receive is not None:
            return await receive()
        replayed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _refusal() -> Refused:
    return Refused(
        Code.FORBIDDEN,
        "This form is out of date: it was opened before you signed in, or too long ago. Nothing was changed.",
        "Go back, reload the page and send the form again.",
    )
