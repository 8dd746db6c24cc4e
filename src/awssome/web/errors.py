"""Everything that goes wrong, told once: as a page, as a piece of a page, or as JSON where programs ask.

`Refused` and the framework's own refusals are the user's to mend and are shown in words. Anything else is a defect: it
is logged with its trace under the request's reference id, and only the id is shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from awssome.domain.errors import Code, Refused
from awssome.web.pages import Pages, is_fragment, theme
from awssome.web.requests import reference

log = structlog.get_logger(__name__)


FOR_PROGRAMS = ("/api/", "/metrics")
"""Addresses that no person opens."""


def install(app: FastAPI, pages: Pages, *, sign_in: str) -> None:
    """Answer everything that a handler raises on purpose; `ErrorBoundary` answers the rest."""

    def answer(request: Request, error: Exception) -> Response:
        return respond(request, pages, error, sign_in)

    for kind in (Refused, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, answer)


class ErrorBoundary:
    """Catches what passes the application's own handlers: defects, and refusals of the middleware inside of it."""

    def __init__(self, app: ASGIApp, pages: Pages, sign_in: str) -> None:
        self.app = app
        self.pages = pages
        self.sign_in = sign_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, send_watched)
        except ClientDisconnect:
            log.info("visitor left before the request was read")
        except Exception as error:
            request = Request(scope, receive)
            response = await run_in_threadpool(respond, request, self.pages, error, self.sign_in)
            # Once an answer is under way the server can only cut it off, which it does when nothing more is sent.
            if not started:
                await response(scope, receive, send)


def respond(request: Request, pages: Pages, error: Exception, sign_in: str) -> Response:
    """The answer to an error in the form that the caller reads; logs it if it is a defect."""
    trouble = _trouble(error)
    if trouble.code == "internal":
        log.error("defect", exc_info=error)
    elif trouble.status >= 500:
        log.warning("refused", refusal=trouble.code, reason=trouble.message)
    if request.url.path.startswith(FOR_PROGRAMS):
        response: Response = JSONResponse({"error": trouble.as_json(reference(request.scope))}, trouble.status)
    elif is_fragment(request):
        response = pages.render_bare(request, "error_fragment.html", trouble.status, trouble=trouble, sign_in=sign_in)
    elif trouble.status == 401 and request.method == "GET":
        back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        response = RedirectResponse(f"{sign_in}?{urlencode({'next': back})}", 303)
    else:
        response = _page(request, pages, trouble)
    response.headers.update(trouble.headers)
    return response


class StandingAnswers:
    """Answers to refusals that say the same to everybody: each is made once and kept, so that a flood of them costs
    neither a thread nor a template. There may only be few different ones.

    :param plain: endings of paths whose answers are no pages; they get plain text.
    """

    def __init__(self, pages: Pages, *, sign_in: str = "/sign-in", plain: tuple[str, ...] = ()) -> None:
        self._pages = pages
        self._sign_in = sign_in
        self._plain = plain
        self._kept: dict[tuple[str, ...], Response] = {}

    def answer(self, connection: HTTPConnection, refused: Refused) -> Response:
        """The refusal in the form that the caller reads."""
        headers = connection.headers
        form = "page"
        if is_fragment(connection):
            form = "fragment"
        elif connection.scope["path"].endswith(self._plain):
            form = "text"
        elif headers.get("accept", "").startswith("application/json"):
            form = "json"
        colours = theme(connection) or ""
        key = (form, colours, refused.message, refused.advice, str(refused.retry_after))
        if key not in self._kept:
            self._kept[key] = self._made(form, colours, _trouble(refused))
        return self._kept[key]

    def _made(self, form: str, colours: str, trouble: Trouble) -> Response:
        if form == "json":
            return JSONResponse({"error": trouble.as_json("")}, trouble.status, trouble.headers)
        if form == "text":
            return PlainTextResponse(f"{trouble.message} {trouble.advice}\n", trouble.status, trouble.headers)
        template = "error_fragment.html" if form == "fragment" else "error.html"
        text = self._pages.still(
            template, theme=colours or None, trouble=trouble, sign_in=self._sign_in, layout="layouts/bare.html"
        )
        return HTMLResponse(text, trouble.status, trouble.headers)


@dataclass(frozen=True)
class Trouble:
    """An error in words: what happened, what to do, which form fields are wrong."""

    status: int
    code: str
    title: str
    message: str
    advice: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def as_json(self, reference: str) -> dict[str, Any]:
        """The one error shape of the central API."""
        return {
            "code": self.code,
            "message": self.message,
            "advice": self.advice,
            "fields": self.fields,
            "reference": reference,
        }


_TITLES = {
    Code.INVALID: "That cannot be taken as it is",
    Code.UNAUTHENTICATED: "Sign in first",
    Code.FORBIDDEN: "You may not do that",
    Code.NOT_FOUND: "This page does not exist",
    Code.CONFLICT: "That does not fit the present state",
    Code.GONE: "This is no longer here",
    Code.LIMITED: "Too much at once",
    Code.FENCED: "Changes are paused for a moment",
    Code.UPSTREAM: "Another service did not answer as it should",
    Code.UNAVAILABLE: "This is not available at the moment",
}

_NOT_FOUND = Trouble(
    404,
    Code.NOT_FOUND,
    _TITLES[Code.NOT_FOUND],
    "The address is wrong, or what was here has been removed.",
    "Check the address, or start again from the first page.",
)
_DEFECT = Trouble(
    500,
    "internal",
    "Something on our side failed",
    "The fault is ours, and it has been written down. What you saved before is safe; "
    "what you were just doing may not have been saved.",
    "Try again in a minute and check whether your last change is there. If it fails again, send us the reference.",
)


def _trouble(error: Exception) -> Trouble:
    if isinstance(error, Refused):
        wait = {} if error.retry_after is None else {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
        return Trouble(
            error.status, error.code, _TITLES[error.code], error.message, error.advice, dict(error.fields), wait
        )
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        return _from_framework(error)
    return _DEFECT


def _invalid(error: RequestValidationError) -> Trouble:
    if any(detail["loc"][0] == "path" for detail in error.errors()):
        return _NOT_FOUND
    fields = {
        ".".join(str(part) for part in detail["loc"][1:]) or str(detail["loc"][0]): str(detail["msg"])
        for detail in error.errors()
    }
    return Trouble(
        422,
        Code.INVALID,
        _TITLES[Code.INVALID],
        "Some of what was sent is missing or has the wrong form. Nothing was changed.",
        "Correct what is listed and send it again.",
        fields,
    )


def _from_framework(error: HTTPException) -> Trouble:
    headers = dict(error.headers or {})
    if error.status_code == 404:
        return _NOT_FOUND
    if error.status_code == 405:
        return Trouble(
            405,
            Code.INVALID,
            "This address does not take that",
            "The request used a method that this address does not accept. Nothing was changed.",
            "Go back to the page you came from and use its buttons.",
            headers=headers,
        )
    if error.status_code == 413:
        return Trouble(
            413, Code.INVALID, "That is too large", "What you sent is larger than is accepted. Nothing was changed."
        )
    return Trouble(
        error.status_code,
        Code.INVALID,
        "The request could not be read",
        "What your browser or program sent could not be understood. Nothing was changed.",
        "Reload the page and try again.",
        headers=headers,
    )


def _page(request: Request, pages: Pages, trouble: Trouble) -> Response:
    """On the application's layout if it can be had; a page about our own failure rests on nothing that may fail."""
    # Without a form token the request was refused before a page could be made: too large a body.
    if trouble.status < 500 and "awssome.form_token" in request.scope:
        try:
            return pages.render(request, "error.html", trouble.status, trouble=trouble, layout="layout.html")
        except Exception:
            log.warning("error page without its layout", exc_info=True)
    return pages.render_bare(request, "error.html", trouble.status, trouble=trouble, layout="layouts/bare.html")
