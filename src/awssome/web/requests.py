"""Each request gets a short id that a person can quote, one log line, and the id in everything logged meanwhile."""

from __future__ import annotations

import re
import secrets
import time

import structlog
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from awssome.web.metrics import Metrics

log = structlog.get_logger(__name__)

# No 0, 1, I, L, O and U: the id is read out on the telephone.
_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
_PATTERN = re.compile(rf"R-[{_ALPHABET}]{{6}}")


def reference(scope: Scope) -> str:
    """The request's id, such as `R-7K2M9Q`."""
    return str(scope["awssome.reference"])


class RequestContext:
    """Names the request, binds the name to the logs, sends it as `X-Request-Id`, logs and counts how it ended.

    Under /api/ the caller is one of our own processes, whose id is taken over: one id follows a click through both.
    The log line holds the route and its parameters but never the query, where codes and tokens travel.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics | None = None) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["awssome.reference"] = _reference_for(scope)
        started = time.perf_counter()
        status = 0

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", reference(scope).encode()),
                ]
            await send(message)

        with structlog.contextvars.bound_contextvars(reference=reference(scope)):
            await self.app(scope, receive, send_named)
            if not scope["path"].startswith("/static/"):
                seconds = time.perf_counter() - started
                milliseconds = round(seconds * 1000, 1)
                log.info("request", method=scope["method"], status=status, ms=milliseconds, **_where(scope))
                if self.metrics is not None:
                    self.metrics.observe(scope, status, seconds)


def _reference_for(scope: Scope) -> str:
    given = HTTPConnection(scope).headers.get("x-request-id", "")
    if scope["path"].startswith("/api/") and _PATTERN.fullmatch(given):
        return given
    return "R-" + "".join(secrets.choice(_ALPHABET) for _ in range(6))


def _where(scope: Scope) -> dict[str, object]:
    route = getattr(scope.get("route"), "path", None)
    if route is None:
        return {"path": scope["path"][:200]}
    parameters = scope.get("path_params")
    return {"route": route, "parameters": parameters} if parameters else {"route": route}
