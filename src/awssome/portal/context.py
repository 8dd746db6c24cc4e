"""The only way to a tenant's data: host and session -> the central API -> placement -> a session as the tenant.

The tenant is a value that is passed on, never ambient state. Without an answer of the central API there is no context,
and without a context no data.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from awssome.control.client import Caller, Control
from awssome.control.messages import AccountOut, ContextOut, MembershipOut, TenantOut
from awssome.database import Connection
from awssome.database.sessions import Sessions
from awssome.database.troubles import Denied
from awssome.domain.errors import Code, Refused
from awssome.domain.secrets import digest
from awssome.domain.tenants import Placement, Role
from awssome.web.security import SAFE_METHODS

T = TypeVar("T")

FRESH_SECONDS = 5.0
"""How long an answer is taken as true without asking again."""

STALE_SECONDS = 15 * 60.0
"""How long an answer still serves when the central API does not answer."""

KNOWN_SECONDS = 300.0
"""How long after the last question a session still counts as its tenant's, for limits."""

READ_PATIENCE = 5.0
WRITE_PATIENCE = 10.0
"""Seconds in which work is tried again while the tenant moves; a move pauses writes for less."""

_KEPT = 10_000


class AskAgain(Exception):
    """What the request began with is no longer true, and it changes nothing: it is to be sent once more."""


@dataclass(frozen=True)
class Person:
    """Somebody who is signed in, whether or not they belong to a tenant of this host."""

    caller: Caller
    account: AccountOut
    session_id: UUID
    memberships: tuple[MembershipOut, ...]

    @property
    def email(self) -> str:
        """The address that timelines and reports name this person by."""
        return self.account.email


@dataclass(frozen=True)
class TenantContext:
    """A person in a tenant, and the way to the tenant's data.

    :ivar action: what is being done, as the audit log names it: `POST /deals/{deal_id}/edit`.
    :ivar needed: the least role that may do it.
    :ivar placement: where the data is; None while there is no workspace.
    """

    person: Person
    role: Role
    tenant: TenantOut
    action: str
    needed: Role
    placement: Placement | None
    contexts: Contexts = field(repr=False)

    def may(self, role: str) -> bool:
        """Whether the person may do what somebody in `role` may do."""
        return self.role.allows(Role(role))

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run queries in a transaction as the tenant. :raises Refused: what `work` raises, or UNAVAILABLE."""
        return self._run(work, READ_PATIENCE)

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run changes in a transaction as the tenant, all or nothing.

        `work` is run again from its start when the tenant is being moved, so it does nothing but use its connection.

        :raises Refused: what `work` raises, or UNAVAILABLE.
        """
        return self._run(work, WRITE_PATIENCE)

    def forget(self) -> None:
        """Ask the central API anew for the next page: something that it knows has changed."""
        self.contexts.forget(self.person.caller)

    def _run(self, work: Callable[[Connection], T], patience: float) -> T:
        try:
            return self.contexts.run(self, work, patience)
        except Refused as refused:
            if refused.code is Code.NOT_FOUND:
                self.contexts.report(self.person.caller, self.action)
            raise


class Contexts:
    """What the central API says of callers, kept for a moment, and the sessions that follow from it."""

    def __init__(self, control: Control, sessions: Sessions, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._control = control
        self._sessions = sessions
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[bytes, str], _Kept] = OrderedDict()

    def ask(self, caller: Caller, *, fresh: bool = False) -> ContextOut:
        """Who this is, in which role, of which tenant, and where the data is.

        :param fresh: ask the central API even when the last answer is young.
        :raises Refused: what the central API says; UNAVAILABLE when it does not answer and the last answer is too old.
        """
        key = _key(caller)
        at = self._clock()
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
        if kept is not None and at - kept.answered_at >= STALE_SECONDS:
            kept = None
        if kept is not None and not fresh and at - kept.asked_at < FRESH_SECONDS:
            return kept.answer
        try:
            answer = self._control.context(caller)
        except Refused as refused:
            if refused.code is not Code.UNAVAILABLE:
                self.forget(caller)
            elif kept is not None:
                kept.asked_at = at
                return kept.answer
            raise
        with self._lock:
            self._kept[key] = _Kept(answer, asked_at=at, answered_at=at)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return answer

    def known(self, caller: Caller) -> ContextOut | None:
        """What was last heard of the caller, without asking: good for limits, never for letting anybody in."""
        with self._lock:
            kept = self._kept.get(_key(caller))
        return kept.answer if kept is not None and self._clock() - kept.asked_at < KNOWN_SECONDS else None

    def forget(self, caller: Caller) -> None:
        """Drop the answer for this caller."""
        with self._lock:
            self._kept.pop(_key(caller), None)

    def report(self, caller: Caller, action: str) -> None:
        """Have a refusal written to the audit log. The refusal stands, whether or not that works."""
        with suppress(Refused):
            self._control.report_denial(caller, action)

    def stranger(self, person: Person, action: str) -> Refused:
        """The refusal of somebody who belongs to no tenant, reported."""
        self.report(person.caller, action)
        return Refused(
            Code.FORBIDDEN,
            "You are signed in, but you do not belong to a workspace here.",
            "Ask somebody of your company to invite you, or sign up for a workspace of your own.",
        )

    def tenant(self, person: Person, answer: ContextOut, action: str, needed: Role) -> TenantContext:
        """The context of a person in the tenant of the answer, in at least the role.

        :raises Refused: FORBIDDEN, reported.
        """
        if answer.tenant is None or answer.role is None:
            raise self.stranger(person, action)
        if not answer.role.allows(needed):
            self.report(person.caller, action)
            raise Refused(
                Code.FORBIDDEN,
                f"You are {_WITH_ARTICLE[answer.role]} of this workspace. This takes {_WITH_ARTICLE[needed]}. "
                "Nothing was changed.",
                "Ask an owner of your workspace for another role; the page People names them.",
            )
        placement = answer.placement.placement(answer.tenant.id, answer.tenant.tier) if answer.placement else None
        return TenantContext(person, answer.role, answer.tenant, action, needed, placement, self)

    def run(self, context: TenantContext, work: Callable[[Connection], T], patience: float) -> T:
        """Run `work` as the tenant; again, with a placement asked for anew, when the one in hand is no longer true.

        :raises Refused: UNAVAILABLE when the tenant has no workspace yet, or when `patience` (seconds) was not enough.
        """
        deadline = self._clock() + patience
        pause = 0.02
        while True:
            if context.placement is None:
                raise _not_open()
            try:
                with self._sessions.open(context.placement) as connection:
                    return work(connection)
            except Refused as refused:
                if refused.code is not Code.FENCED:
                    raise
                denied = isinstance(refused, Denied)
            renewed = self._renewed(context)
            if renewed.placement == context.placement:
                if self._clock() + pause > deadline:
                    if denied:  # the placement is true, and the database refuses a right
                        self.report(context.person.caller, f"{context.action}: refused by the database")
                    raise _paused() from None
                time.sleep(pause)
                pause = min(pause * 2, 0.5)
            else:
                self._sessions.forget(context.placement)
            context = renewed

    def _renewed(self, context: TenantContext) -> TenantContext:
        """The same person in the same tenant, as things are now."""
        person = context.person
        answer = self.ask(person.caller, fresh=True)
        renewed = self.tenant(person, answer, context.action, context.needed)
        if renewed.tenant.id != context.tenant.id:
            raise switched()
        if answer.move_to is not None:
            # The tenant has got another host since the last answer; the guard knows how to send a page on.
            raise AskAgain if context.action.partition(" ")[0] in SAFE_METHODS else own_address(renewed.tenant)
        return renewed


def own_address(tenant: TenantOut) -> Refused:
    """A form was sent to the host that the tenant had before its tier changed."""
    return Refused(
        Code.CONFLICT,
        f"The address of your workspace is {tenant.host} now. Nothing was changed.",
        "Open it there and do it again.",
    )


def switched() -> Refused:
    """The person has chosen another tenant meanwhile, in another window."""
    return Refused(
        Code.CONFLICT,
        "You changed to another workspace in another window. Nothing was changed.",
        "Change back to the workspace that you meant, then do it again.",
    )


@dataclass
class _Kept:
    answer: ContextOut
    asked_at: float
    answered_at: float


_WITH_ARTICLE = {Role.OWNER: "an owner", Role.ADMIN: "an admin", Role.MEMBER: "a member", Role.VIEWER: "a viewer"}


def _key(caller: Caller) -> tuple[bytes, str]:
    return digest(caller.session), caller.host


def _not_open() -> Refused:
    return Refused(
        Code.UNAVAILABLE,
        "Your workspace is not open at the moment. Your data is kept.",
        "Try again in a minute.",
        retry_after=10,
    )


def _paused() -> Refused:
    return Refused(
        Code.UNAVAILABLE,
        "Your workspace is being moved to another server and takes no changes for a moment. Nothing was lost, and what "
        "you just sent was not saved.",
        "Go back and send it again in a few seconds.",
        retry_after=5,
    )
