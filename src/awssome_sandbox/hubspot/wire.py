"""Between Starlette and the handlers: one call, its answer, the faults in between and the count of it all.

A handler is a plain function of `Sandbox` and `Call`. `endpoint` turns it into a route, reads the body, lets the
ordered faults happen, maps `HubSpotError`, and counts the call under the route's name.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from awssome_sandbox.hubspot.errors import HubSpotError, invalid, ten_secondly_limit
from awssome_sandbox.hubspot.faults import ENDPOINTS, Drop, Failure, Faults
from awssome_sandbox.hubspot.limits import Limits
from awssome_sandbox.hubspot.oauth import AuthorizationServer
from awssome_sandbox.hubspot.portals import Portal
from awssome_sandbox.hubspot.search import Searches


@dataclass
class Sandbox:
    """Everything that the sandbox remembers.

    :ivar limits: None when rate limits are off.
    :ivar calls: how often each endpoint answered with each status.
    """

    portals: dict[int, Portal]
    oauth: AuthorizationServer
    limits: Limits | None
    faults: Faults = field(default_factory=Faults)
    searches: Searches = field(default_factory=Searches)
    calls: Counter[tuple[str, int]] = field(default_factory=Counter)

    @property
    def first_portal(self) -> Portal:
        """The portal that the truth file describes."""
        return next(iter(self.portals.values()))


class Call:
    """One request, read."""

    def __init__(self, request: Request, body: bytes) -> None:
        self.path = request.path_params
        self.query = request.query_params
        self.headers = request.headers
        self.url = request.url
        self.body = body

    def form(self) -> dict[str, str]:
        """The fields of a form-encoded body.

        :raises HubSpotError: 415 for any other content type.
        """
        if self.headers.get("content-type", "").split(";")[0].strip().lower() != "application/x-www-form-urlencoded":
            raise invalid("Unsupported Media Type", status=415)
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    def json(self) -> dict[str, Any]:
        """The JSON object in the body; an empty body is an empty object.

        :raises HubSpotError: 400 for anything else.
        """
        try:
            value = json.loads(self.body or b"{}")
        except ValueError:
            raise invalid("Invalid input JSON: the body cannot be read.") from None
        if not isinstance(value, dict):
            raise invalid("Invalid input JSON: the body must be an object.")
        return value


Handler = Callable[[Sandbox, Call], Response]


def answer(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Response(content, status, headers, media_type="application/json;charset=utf-8")


def endpoint(sandbox: Sandbox, name: str, method: str, path: str, handler: Handler, *, faulty: bool = True) -> Route:
    """A route of the sandbox.

    :param name: under which the control API counts the call and orders faults for it.
    :param faulty: whether ordered faults befall it; then its name is one of `faults.ENDPOINTS`.
    """
    if faulty and name not in ENDPOINTS:
        raise ValueError(f"{name} is missing in faults.ENDPOINTS")

    async def serve(request: Request) -> Response:
        call = Call(request, await request.body())
        drop = failure = None
        if faulty:
            await asyncio.sleep(sandbox.faults.latency_ms / 1000)
            drop = sandbox.faults.next_drop(name)
            failure = sandbox.faults.next_failure(name)
        if drop and drop.when == "before":
            return _Cut(drop)
        response = _failed(failure) if failure else _handled(sandbox, call, handler)
        sandbox.calls[name, response.status_code] += 1
        return _Cut(drop, response) if drop else response

    return Route(path, serve, methods=[method], name=name)


class Connections(H11Protocol):
    """uvicorn's protocol, which in addition knows each connection by its client's address, so that it can be cut."""

    by_client: dict[tuple[str, int], asyncio.Transport] = {}  # noqa: RUF012

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.client:
            self.by_client[self.client] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.client:
            self.by_client.pop(self.client, None)


class _Cut(Response):
    """Cut the connection instead of answering, or in the middle of the answer."""

    def __init__(self, drop: Drop, response: Response | None = None) -> None:
        super().__init__()
        self._half = response if drop.when == "during" else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = Connections.by_client[scope["client"]]
        if self._half:
            content = bytes(self._half.body)
            await send(
                {"type": "http.response.start", "status": self._half.status_code, "headers": self._half.raw_headers}
            )
            await send({"type": "http.response.body", "body": content[: len(content) // 2], "more_body": True})
            transport.close()
        else:
            transport.abort()
        while (await receive())["type"] != "http.disconnect":
            pass


def _handled(sandbox: Sandbox, call: Call, handler: Handler) -> Response:
    try:
        return handler(sandbox, call)
    except HubSpotError as error:
        return answer(error.body, error.status, error.headers)


def _failed(failure: Failure) -> Response:
    headers = {"Retry-After": str(failure.retry_after)} if failure.retry_after is not None else {}
    if failure.status == 477 and not headers:
        headers = {"Retry-After": "3600"}
    if failure.status == 429:
        limit = ten_secondly_limit("publicapi:ordered", headers)
        return answer(limit.body, limit.status, limit.headers)
    if failure.status in (502, 504) or failure.status >= 520:
        return HTMLResponse(f"<html><body><h1>{failure.status}</h1>Bad gateway</body></html>", failure.status, headers)
    told = {
        423: "This resource is locked. Wait 2 seconds before the next call.",
        477: "This account is being migrated to another hosting location.",
    }.get(failure.status, "There was a problem with the request.")
    body = {"status": "error", "message": told, "correlationId": str(uuid.uuid4())}
    return answer(body, failure.status, headers)
