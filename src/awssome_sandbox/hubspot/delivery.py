"""How an answer goes wrong on its way: cut, withheld, late, slow, or spoiled."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from awssome_sandbox.hubspot.faults import Drop, Spoiling

_PIECES = 20


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


class Cut(Response):
    """Cut the connection instead of answering, or in the middle of the answer."""

    def __init__(self, drop: Drop, response: Response | None = None) -> None:
        super().__init__()
        self._half = response if drop.when == "during" else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = Connections.by_client[scope["client"]]
        if self._half:
            content = bytes(self._half.body)
            await _start(self._half, send)
            await send({"type": "http.response.body", "body": content[: len(content) // 2], "more_body": True})
            transport.close()
        else:
            transport.abort()
        await _gone(receive)


class Withheld(Response):
    """Answer nothing until the client gives up, or for a while and then cut the connection."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = Connections.by_client[scope["client"]]
        try:
            await asyncio.wait_for(_gone(receive), self._seconds)
        except TimeoutError:
            transport.abort()
            await _gone(receive)


class Slow(Response):
    """Send an answer in pieces."""

    def __init__(self, response: Response, seconds: float) -> None:
        super().__init__()
        self._response, self._seconds = response, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        content = bytes(self._response.body)
        step = max(1, -(-len(content) // _PIECES))
        await _start(self._response, send)
        for start in range(0, len(content), step):
            await asyncio.sleep(self._seconds / _PIECES)
            await send({"type": "http.response.body", "body": content[start : start + step], "more_body": True})
        await send({"type": "http.response.body"})


async def spoiled(response: Response, spoiling: Spoiling) -> Response:
    """An answer as an order wants it spoiled."""
    match spoiling.how:
        case "late":
            await asyncio.sleep(spoiling.seconds)
            return response
        case "hang":
            return Withheld(spoiling.seconds)
        case "slow_body":
            return Slow(response, spoiling.seconds)
        case "malformed":
            return _with_body(response, bytes(response.body)[: len(bytes(response.body)) * 3 // 5])
    return _without_fields(response, spoiling)


def _without_fields(response: Response, spoiling: Spoiling) -> Response:
    try:
        body = json.loads(bytes(response.body))
    except ValueError:
        return response
    if not isinstance(body, dict):
        return response
    results = body.get("results")
    things: list[Any] = results if isinstance(results, list) else [body]
    for thing in things:
        if isinstance(thing, dict) and (spoiling.ids is None or thing.get("id") in spoiling.ids):
            for name in spoiling.fields:
                if spoiling.how == "null_fields":
                    thing[name] = None
                else:
                    thing.pop(name, None)
    return _with_body(response, json.dumps(body, ensure_ascii=False).encode())


def _with_body(response: Response, body: bytes) -> Response:
    response.body = body
    response.headers["content-length"] = str(len(body))
    return response


async def _start(response: Response, send: Send) -> None:
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
