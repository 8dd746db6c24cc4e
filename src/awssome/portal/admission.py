"""The portal's gate: whether a request is worked on at all, by the limits of its tenant or of its network address.

It stands before everything else and asks nobody: which tenant a session belongs to is known from the last answer of the
central API. A session that nobody has heard of lately is a visitor's, however well it may look, since finding out costs
the central API a question.

Whoever comes a moment too soon, as a browser does that opens many pages together, is kept for that moment; a flood is
slowed down by it, since it comes again when it is answered. Waiting and being refused take no thread, no template and
no query: nothing is held but the open connection.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from uuid import UUID

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from awssome.control.client import Caller
from awssome.domain.addresses import neighbourhood
from awssome.domain.errors import Code, Refused
from awssome.domain.limits import VISITOR, VISITORS, Limits
from awssome.domain.tenants import Tier
from awssome.portal.context import Contexts
from awssome.portal.guard import caller
from awssome.portal.hosts import is_anywhere
from awssome.portal.limiter import Charge, Limiter, Reason, TooMuch, Visit
from awssome.web.errors import StandingAnswers
from awssome.web.formats import plural
from awssome.web.security import SAFE_METHODS

PATIENCE_SECONDS = 0.25
"""How long a request is kept for which there is no room; it is tried again in the middle and at the end."""

KEPT = 256
"""Requests that are kept at a time; others are refused at once. Each holds an open connection."""

BODY_SECONDS = 10.0
"""How long the body of a request that was let in may take to arrive: it keeps others from their turn meanwhile."""

_ALL_VISITORS = Charge("visitors", "visitors", VISITORS)

log = structlog.get_logger(__name__)


class Admission:
    """Lets requests in, or answers 429 with `Retry-After`."""

    def __init__(
        self,
        app: ASGIApp,
        contexts: Contexts,
        limits: Mapping[Tier, Limits],
        limiter: Limiter,
        answers: StandingAnswers,
    ) -> None:
        self.app = app
        self._contexts = contexts
        self._limits = limits
        self._limiter = limiter
        self._answers = answers
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_anywhere(scope["path"]):
            await self.app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        try:
            visit = await self._enter(self._charges(connection))
        except TooMuch as too_much:
            await self._refuse(too_much, connection, scope, receive, send)
            return
        try:
            await self.app(scope, _in_time(receive), send)
        finally:
            self._limiter.leave(visit)

    async def _enter(self, charges: Sequence[Charge]) -> Visit:
        """:raises TooMuch: when there is no room, and none comes free soon."""
        try:
            return self._limiter.enter(charges)
        except TooMuch:
            if self._waiting >= KEPT:
                raise
        self._waiting += 1
        try:
            await asyncio.sleep(PATIENCE_SECONDS / 2)
            with suppress(TooMuch):
                return self._limiter.enter(charges)
            await asyncio.sleep(PATIENCE_SECONDS / 2)
            return self._limiter.enter(charges)
        finally:
            self._waiting -= 1

    def _charges(self, connection: HTTPConnection) -> tuple[Charge, ...]:
        """The tenant, or the person who has none yet; else the network address, and all visitors together."""
        who = caller(connection)
        known = self._contexts.known(who) if who.session else None
        if known is None:
            return Charge(neighbourhood(who.address), "visitor", VISITOR), _ALL_VISITORS
        tier = known.tenant.tier if known.tenant else Tier.FREE
        whose = known.tenant.id if known.tenant else known.account.id
        return (Charge(whose, tier, self._limits[tier].requests),)

    async def _refuse(
        self, too_much: TooMuch, connection: HTTPConnection, scope: Scope, receive: Receive, send: Send
    ) -> None:
        due = self._limiter.refuse(too_much)
        answer = self._answers.answer(connection, _told(too_much, scope["method"] in SAFE_METHODS))
        await answer(scope, receive, send)
        if due:
            await self._tell(too_much, due, caller(connection))

    async def _tell(self, too_much: TooMuch, refused: int, who: Caller) -> None:
        """One line a minute and caller; of tenants also in the audit log, where operators see whose flood it is."""
        charge = too_much.charge
        log.warning("limited", who=str(charge.key), kind=charge.kind, reason=str(too_much.reason), refused=refused)
        if isinstance(charge.key, UUID):
            await run_in_threadpool(self._contexts.report, who, f"limit: too many {too_much.reason}")


def _in_time(receive: Receive) -> Receive:
    """Receives a body that comes in time; who sends one in drops would keep a place for as long as they like."""
    give_up = asyncio.get_running_loop().time() + BODY_SECONDS
    whole = False

    async def receive_in_time() -> Message:
        nonlocal whole
        if whole:
            return await receive()
        try:
            async with asyncio.timeout_at(give_up):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, headers={"Connection": "close"}) from None
        whole = not message.get("more_body", False)
        return message

    return receive_in_time


def _told(too_much: TooMuch, safe: bool) -> Refused:
    whose = "your network" if too_much.charge.kind.startswith("visitor") else "your workspace"
    if too_much.charge is _ALL_VISITORS:
        whose = "visitors"
    what = "at once" if too_much.reason is Reason.AT_ONCE else "in a short time"
    seconds = math.ceil(too_much.wait)
    advice = f"Wait {plural(seconds, 'second')}, then reload this page."
    if not safe:
        advice += " Your browser then offers to send what you typed once more; nothing of it is lost."
    return Refused(
        Code.LIMITED,
        f"More requests came from {whose} {what} than are answered. Nothing was changed.",
        advice,
        retry_after=seconds,
    )
