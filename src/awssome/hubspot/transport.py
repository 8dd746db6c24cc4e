"""One request to HubSpot with its retries: what is worth a retry, how long to wait for it, and when to give up."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

import httpx2

from awssome.hubspot.errors import Cancelled, HubSpotDown, HubSpotError, RateLimited, Rejected, problem_of

LOOPBACK = ("localhost", "127.0.0.1", "::1")

_TIMEOUT = httpx2.Timeout(connect=5.0, read=30.0, write=10.0, pool=5.0)
_SLICE_SECONDS = 0.2
_LONGEST_BACK_OFF = 16.0
_ACCOUNT_LOCKED = 423
_ACCOUNT_MOVING = 477


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
    """Why there is no answer."""

    UNSENT = "the request never reached HubSpot"
    UNANSWERED = "the request may have reached HubSpot"


def open_http(base_url: str, transport: httpx2.BaseTransport | None = None) -> httpx2.Client:
    """A client with timeouts and a pool of connections that are used again; redirects are not followed.

    A proxy from the environment is used, except for a sandbox on this machine.
    """
    return httpx2.Client(
        base_url=base_url,
        timeout=_TIMEOUT,
        limits=httpx2.Limits(max_connections=10, max_keepalive_connections=10, keepalive_expiry=30.0),
        headers={"Accept": "application/json", "User-Agent": "awssome"},
        trust_env=httpx2.URL(base_url).host not in LOOPBACK,
        transport=transport,
    )


def send(
    http: httpx2.Client,
    request: Callable[[], httpx2.Request],
    *,
    patience: Patience,
    should_stop: Callable[[], bool],
    before: Callable[[], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    repeatable: bool = True,
) -> httpx2.Response:
    """Send until there is an answer that a retry would not change; that answer may still be an error.

    :param request: builds the request, for each attempt anew.
    :param patience: used up by this call.
    :param should_stop: asked before each attempt and about five times a second while waiting.
    :param before: called before each attempt, to reserve a call; it may wait or raise.
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
        outcome = _attempt(http, request())
        delay = retry_delay(outcome, attempt, repeatable)
        if delay is None and isinstance(outcome, httpx2.Response):
            return outcome
        if delay is None or not patience.allows(delay):
            raise _given_up(outcome, delay)
        pause(delay, should_stop, sleep)
        attempt += 1


def retry_delay(outcome: httpx2.Response | Lost, attempt: int, repeatable: bool = True) -> float | None:
    """Seconds to wait before the next attempt; None: the answer stands; infinity: there must be no further attempt.

    :param attempt: how many attempts were made before this one.
    """
    if isinstance(outcome, Lost):
        return _back_off(attempt) if repeatable or outcome is Lost.UNSENT else math.inf
    status = outcome.status_code
    if status == 429:
        return _rest(outcome)
    if status == _ACCOUNT_LOCKED:
        return _jitter(2.0)
    if status == _ACCOUNT_MOVING:
        return _retry_after(outcome) or 60.0
    if status == 408 or status >= 500:
        return max(_back_off(attempt), _retry_after(outcome) or 0.0) if repeatable else math.inf
    return None


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
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        return answer
    # Raised out here so that the cause, which quotes the answer, is not chained.
    raise Rejected("HubSpot gave an answer that cannot be read.")


def _attempt(http: httpx2.Client, request: httpx2.Request) -> httpx2.Response | Lost:
    try:
        return http.send(request)
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError):
        return Lost.UNSENT
    except (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError):
        return Lost.UNANSWERED
    except httpx2.RequestError:
        pass
    # Raised out here because the cause may quote a header.
    raise Rejected("A request to HubSpot could not be made.")


def _given_up(outcome: httpx2.Response | Lost, delay: float | None) -> HubSpotError:
    seconds = delay if delay is not None and math.isfinite(delay) else None
    if isinstance(outcome, httpx2.Response):
        if outcome.status_code == 429:
            return RateLimited(seconds)
        if outcome.status_code == _ACCOUNT_MOVING:
            return HubSpotDown(
                "HubSpot is moving this account to another data centre. Your deals here are safe.", retry_after=seconds
            )
    return HubSpotDown(retry_after=seconds)


def _rest(response: httpx2.Response) -> float:
    """How long a 429 asks to rest. The general limit names its policy, search only has a message, neither says when."""
    problem = problem_of(response)
    said = f"{problem.policy} {problem.message}".lower()
    if "daily" in said:
        return math.inf
    secondly = "secondly" in said and "ten_secondly" not in said
    return max(_jitter(1.0 if secondly else 10.0), _retry_after(response) or 0.0)


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
