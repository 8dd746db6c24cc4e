"""One request to HubSpot with its retries: what is worth a retry, how long to wait for it, and when to give up."""

from __future__ import annotations

import math
import random
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from functools import cache
from typing import Any

import httpx2

from awssome.hubspot.errors import (
    MALFORMED_TOKEN,
    Cancelled,
    HubSpotDown,
    HubSpotError,
    RateLimited,
    Rejected,
    problem_of,
)

LOOPBACK = ("localhost", "127.0.0.1", "::1")

_TIMEOUT = httpx2.Timeout(connect=5.0, read=30.0, write=10.0, pool=5.0)
_SLICE_SECONDS = 0.2
_LONGEST_BACK_OFF = 16.0
_ACCOUNT_LOCKED = 423
_ACCOUNT_MOVING = 477

DAY_REST = 3600.0
"""Seconds to rest after a limit for the day: it ends with the account's day, and no answer says when that is."""

_LONGEST_REST = 86_400.0
"""Seconds; HubSpot moves an account within a day (docs: error handling, 477)."""


@dataclass
class Patience:
    """What one call may still spend on retries; it is used up as the call goes.

    :param retries: attempts after the first one.
    :param seconds: waiting between attempts, in all.
    """

    retries: int
    seconds: float

    def allows(self, delay: float) -> bool:
        """Take one retry after `delay` seconds out of the budget; False when there is not enough left."""
        if self.retries < 1 or delay > self.seconds:
            return False
        self.retries -= 1
        self.seconds -= delay
        return True


class Lost(Enum):
    """Why there is no answer that can be used."""

    UNSENT = "the request never reached HubSpot"
    UNANSWERED = "the request may have reached HubSpot"
    UNREADABLE = "the answer is cut, or not HubSpot's"


Outcome = httpx2.Response | Lost
"""What came of one attempt."""


def open_http(base_url: str, transport: httpx2.BaseTransport | None = None) -> httpx2.Client:
    """A client with timeouts and a pool of connections that are used again; redirects are not followed.

    A proxy from the environment is used, except for a sandbox on this machine.
    """
    abroad = httpx2.URL(base_url).host not in LOOPBACK
    return httpx2.Client(
        base_url=base_url,
        verify=_trusted(abroad),
        timeout=_TIMEOUT,
        limits=httpx2.Limits(max_connections=10, max_keepalive_connections=10, keepalive_expiry=30.0),
        headers={"Accept": "application/json", "User-Agent": "awssome"},
        trust_env=abroad,
        transport=transport,
    )


def send(
    http: httpx2.Client,
    request: Callable[[], httpx2.Request],
    *,
    patience: Patience,
    should_stop: Callable[[], bool],
    before: Callable[[], None] | None = None,
    after: Callable[[Outcome], None] | None = None,
    readable: Callable[[httpx2.Response], bool] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    repeatable: bool = True,
) -> httpx2.Response:
    """Send until there is an answer that a retry would not change; that answer may still be an error.

    :param request: builds the request, for each attempt anew.
    :param patience: used up by this call.
    :param should_stop: asked before each attempt, between the parts of an answer, and about five times a second while
        waiting.
    :param before: called before each attempt, to reserve a call; it may wait or raise.
    :param after: called with what came of each attempt.
    :param readable: whether a successful answer is one; else it is as good as lost.
    :param repeatable: False for a request that must not be carried out twice: it is sent again only when it cannot have
        been carried out.
    :raises HubSpotDown, RateLimited: when the patience is used up.
    :raises Cancelled: when `should_stop` said so.
    """
    attempt = 0
    while True:
        if should_stop():
            raise Cancelled
        if before is not None:
            before()
        outcome = _attempt(http, request(), readable, should_stop)
        if after is not None:
            after(outcome)
        delay = retry_delay(outcome, attempt, repeatable)
        if delay is None and isinstance(outcome, httpx2.Response):
            return outcome
        if delay is None or not patience.allows(delay):
            raise _given_up(outcome, delay)
        pause(delay, should_stop, sleep)
        attempt += 1


def retry_delay(outcome: Outcome, attempt: int, repeatable: bool = True) -> float | None:
    """Seconds to wait before the next attempt; None: the answer stands; infinity: there must be no further attempt.

    :param attempt: how many attempts were made before this one.
    """
    if isinstance(outcome, Lost):
        return _back_off(attempt) if repeatable or outcome is Lost.UNSENT else math.inf
    status = outcome.status_code
    if status == 429:
        return _jitter(rest_of(outcome) or 0.0)
    if status == _ACCOUNT_LOCKED:
        return _jitter(2.0)
    if status == _ACCOUNT_MOVING:
        return _retry_after(outcome) or 60.0
    if status == MALFORMED_TOKEN:
        return None
    if status == 408 or status >= 500:
        return max(_back_off(attempt), _retry_after(outcome) or 0.0) if repeatable else math.inf
    return None


def rest_of(outcome: Outcome) -> float | None:
    """Seconds for which nobody should call for this account, because its limit is used up; None: it is not.

    The general limit names its policy, search has only a message, and neither says when to come again.
    """
    if isinstance(outcome, Lost) or outcome.status_code != 429:
        return None
    problem = problem_of(outcome)
    said = f"{problem.policy} {problem.message}".lower()
    if "daily" in said:
        return max(DAY_REST, _retry_after(outcome) or 0.0)
    secondly = "secondly" in said and "ten_secondly" not in said
    return max(1.0 if secondly else 10.0, _retry_after(outcome) or 0.0)


def pause(seconds: float, should_stop: Callable[[], bool], sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait, but no longer than a fifth of a second once `should_stop` says so. :raises Cancelled: then."""
    left = seconds
    while left > 0:
        if should_stop():
            raise Cancelled
        sleep(min(left, _SLICE_SECONDS))
        left -= _SLICE_SECONDS


def json_of(response: httpx2.Response) -> dict[str, Any]:
    """The answer's JSON object. :raises Rejected: when it is none, as from a proxy that answers for HubSpot."""
    answer = object_of(response)
    if answer is None:
        raise Rejected("HubSpot gave an answer that cannot be read.")
    return answer


def object_of(response: httpx2.Response) -> dict[str, Any] | None:
    """The answer's JSON object, or None when it is none."""
    try:
        answer = response.json()
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _attempt(
    http: httpx2.Client,
    request: httpx2.Request,
    readable: Callable[[httpx2.Response], bool] | None,
    should_stop: Callable[[], bool],
) -> Outcome:
    try:
        response = _answer(http, request, should_stop)
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError):
        return Lost.UNSENT
    except (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError):
        return Lost.UNANSWERED
    except httpx2.DecodingError:
        return Lost.UNREADABLE
    except httpx2.RequestError:
        response = None
    if response is None:
        # Raised out here because the cause may quote a header.
        raise Rejected("A request to HubSpot could not be made.")
    return Lost.UNREADABLE if response.is_success and readable and not readable(response) else response


@cache
def _trusted(trust_env: bool) -> ssl.SSLContext:
    """Whose certificates are believed. To read that takes longer than a call, and it does not change."""
    return httpx2.create_ssl_context(trust_env=trust_env)


def _answer(http: httpx2.Client, request: httpx2.Request, should_stop: Callable[[], bool]) -> httpx2.Response:
    """The answer with its body. A body that comes byte by byte is given up when the request's timeouts together are
    over: each of them by itself counts anew with every byte. :raises Cancelled: when `should_stop` says so meanwhile.
    """
    ends = time.monotonic() + sum(seconds or 0.0 for seconds in request.extensions["timeout"].values())
    response = http.send(request, stream=True)
    try:
        if isinstance(response.stream, httpx2.SyncByteStream):
            response.stream = _InTime(response.stream, ends, should_stop)
        response.read()
    finally:
        response.close()
    return response


class _InTime(httpx2.SyncByteStream):
    """A body as it arrives, until its time is over, or nobody wants it any more."""

    def __init__(self, stream: httpx2.SyncByteStream, ends: float, should_stop: Callable[[], bool]) -> None:
        self._stream = stream
        self._ends = ends
        self._should_stop = should_stop

    def __iter__(self) -> Iterator[bytes]:
        for part in self._stream:
            if time.monotonic() > self._ends:
                raise httpx2.ReadTimeout("the answer takes too long")
            if self._should_stop():
                raise Cancelled
            yield part

    def close(self) -> None:
        self._stream.close()


def _given_up(outcome: Outcome, delay: float | None) -> HubSpotError:
    seconds = min(delay, _LONGEST_REST) if delay is not None and math.isfinite(delay) else None
    if isinstance(outcome, httpx2.Response):
        if outcome.status_code == 429:
            return RateLimited(seconds)
        if outcome.status_code == _ACCOUNT_MOVING:
            return HubSpotDown(
                "HubSpot is moving this account to another data centre. Your deals here are safe.", retry_after=seconds
            )
    if outcome is Lost.UNREADABLE:
        return HubSpotDown("HubSpot's answers cannot be read at the moment. Your deals here are safe.")
    return HubSpotDown(retry_after=seconds)


def _back_off(attempt: int) -> float:
    return float(min(0.5 * 2**attempt, _LONGEST_BACK_OFF)) * random.uniform(0.5, 1.0)


def _jitter(seconds: float) -> float:
    return seconds * random.uniform(1.0, 1.2)


def _retry_after(response: httpx2.Response) -> float | None:
    """The header Retry-After in seconds: a number or a date (RFC 9110, section 10.2.3)."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)
