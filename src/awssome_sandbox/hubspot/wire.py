"""Between Starlette and the handlers: one call, its answer, the faults in between and the count of it all.

A handler is a plain function of `Sandbox` and `Call`. `endpoint` turns it into a route, reads the body, lets the
ordered faults happen, maps `HubSpotError`, and counts the call under the route's name. Every answer has a correlation
id, in a header and, when it is an error, in its body as well.
"""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from awssome_sandbox.hubspot.delivery import Cut, spoiled
from awssome_sandbox.hubspot.errors import HubSpotError, invalid
from awssome_sandbox.hubspot.failures import failed, page
from awssome_sandbox.hubspot.faults import ENDPOINTS, Failure, Faults, Hit
from awssome_sandbox.hubspot.limits import Limits
from awssome_sandbox.hubspot.oauth import AuthorizationServer
from awssome_sandbox.hubspot.portals import Portal
from awssome_sandbox.hubspot.search import Matches, Searches

CORRELATION = "X-HubSpot-Correlation-Id"
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]*=*")
TARGET_MAX = 16_384
"""Characters of an address with its query at most; beyond is a 414. Clients that name every property come close."""


@dataclass
class Sandbox:
    """Everything that the sandbox remembers.

    :ivar limits: None when rate limits are off.
    :ivar index_lag_ms: until the search sees a change, unless the faults say otherwise.
    :ivar calls: how often each endpoint answered with each status.
    """

    portals: dict[int, Portal]
    oauth: AuthorizationServer
    limits: Limits | None
    index_lag_ms: float = 0
    faults: Faults = field(default_factory=Faults)
    calls: Counter[tuple[str, int]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._searches = Searches(self.portals.values())

    @property
    def first_portal(self) -> Portal:
        """The portal that the truth file describes."""
        return next(iter(self.portals.values()))

    def search(self, portal: Portal, query: dict[str, Any]) -> Matches:
        """One page of a search, with the oddities that are in force; see `Searches.page`."""
        faults = self.faults
        lag = self.index_lag_ms if faults.index_lag_ms is None else faults.index_lag_ms
        return self._searches.page(
            portal,
            query,
            lag=lag / 1000,
            with_holes=faults.short_search_pages,
            jumbled=faults.unreliable_order,
        )


class Call:
    """One request, read.

    :ivar limits: the headers by which its answer tells the limits, whatever it is; the gate sets them.
    """

    def __init__(self, request: Request, body: bytes) -> None:
        self.path = request.path_params
        self.query = request.query_params
        self.headers = request.headers
        self.url = request.url
        self.target_length = len(request.scope["raw_path"]) + len(request.scope["query_string"])
        self.body = body
        self.limits: dict[str, str] = {}

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

    def names(self, parameter: str) -> list[str]:
        """A query parameter that lists names, with commas or by being repeated."""
        given = ",".join(self.query.getlist(parameter)).split(",")
        return [name.strip() for name in given if name.strip()]

    def whole(self, parameter: str, default: int) -> int:
        """A query parameter that is a number.

        :raises HubSpotError: 400 for anything else.
        """
        text = self.query.get(parameter, "")
        if text and not text.isdigit():
            raise invalid(f'Invalid {parameter} "{text}": it must be a number.')
        return int(text) if text else default

    def flag(self, parameter: str) -> bool:
        """A query parameter that is true or false; false when it is absent."""
        return self.query.get(parameter, "false").lower() == "true"

    def inputs(self, key: str = "id") -> list[str]:
        """The ids that a batch's body lists.

        :raises HubSpotError: 400 for a body that is no batch.
        """
        inputs = self.json().get("inputs")
        if not isinstance(inputs, list) or not all(isinstance(item, dict) and key in item for item in inputs):
            raise invalid(f"Invalid input JSON: inputs must be a list of objects with an {key}.")
        return [str(item[key]) for item in inputs]


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
        hit = Hit()
        if faulty:
            await asyncio.sleep(sandbox.faults.latency_ms / 1000)
            hit = sandbox.faults.hit(name)
        if hit.drop and hit.drop.when == "before":
            return Cut(hit.drop)
        response = _failed(hit.failure, name) if hit.failure else _handled(sandbox, call, handler)
        response.headers.setdefault(CORRELATION, str(uuid.uuid4()))
        sandbox.calls[name, response.status_code] += 1
        if hit.drop:
            return Cut(hit.drop, response)
        return await spoiled(response, hit.spoiling) if hit.spoiling else response

    return Route(path, serve, methods=[method], name=name)


def _handled(sandbox: Sandbox, call: Call, handler: Handler) -> Response:
    if stopped := _stopped(call):
        return page(stopped)
    try:
        response = handler(sandbox, call)
    except HubSpotError as error:
        response = _refusal(error)
    response.headers.update(call.limits)
    return response


def _stopped(call: Call) -> int | None:
    """The status with which what stands before HubSpot refuses a call: an address that is too long, or a token that is
    no token at all (RFC 6750 says what one looks like)."""
    if call.target_length > TARGET_MAX:
        return 414
    kind, _, token = call.headers.get("authorization", "").partition(" ")
    return 530 if kind.lower() == "bearer" and not _TOKEN.fullmatch(token.strip()) else None


def _failed(failure: Failure, endpoint: str) -> Response:
    answered = failed(failure, endpoint)
    return answered if isinstance(answered, Response) else _refusal(answered)


def _refusal(error: HubSpotError) -> Response:
    return answer(error.body, error.status, {**error.headers, CORRELATION: error.body["correlationId"]})
