"""A HubSpot account's budget of calls, as one worker has a share in it. All workers share the budget."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta

from awssome.database.registry import Registry, budgets
from awssome.domain.budgets import Limit, Slice, Told, Usage
from awssome.domain.errors import Refused
from awssome.hubspot.client import Answered
from awssome.hubspot.errors import RateLimited
from awssome.hubspot.limits import Kind
from awssome.hubspot.transport import pause
from awssome.workflows.services import Services

LONGEST_WAIT = 75.0
"""Seconds that a call waits for its turn, unless something else is said: longer than any limit by the second lasts."""

_SINGLE_CALL_WAIT = 5.0
"""Seconds that a single call waits: somebody may be waiting for a page."""


@contextmanager
def one_call(services: Services, portal_id: int) -> Iterator[None]:
    """Room for one call that is not a client's, such as a refresh of tokens.

    :raises RateLimited: when there is none soon.
    """
    share = Share(services.registry, services.hubspot_limits, portal_id, patience=_SINGLE_CALL_WAIT, urgent=True)
    answered = share.take("general")
    try:
        yield
    finally:
        answered(None, None)
        share.close()


class Share:
    """One worker's share in an account's budget: it reserves calls in slices, makes each in its turn, and hands in how
    it went together with the next reservation. Slices grow as they are used. Threads may share it.

    :param limits: the budgets to keep to; a kind that is not named has none.
    :param portal_id: HubSpot's number of the account.
    :param patience: seconds that a call may wait for its turn.
    :param urgent: somebody waits for a page.
    :ivar reservations: transactions of the registry so far.
    """

    def __init__(
        self,
        registry: Registry,
        limits: Mapping[Kind, Limit],
        portal_id: int,
        *,
        should_stop: Callable[[], bool] = lambda: False,
        patience: float = LONGEST_WAIT,
        urgent: bool = False,
    ) -> None:
        self._registry = registry
        self._limits = limits
        self._portal_id = portal_id
        self._should_stop = should_stop
        self._patience = timedelta(seconds=patience)
        self._urgent = urgent
        self._lock = threading.Lock()
        self._held: dict[Kind, _Held] = {}
        self.reservations = 0

    def take(self, kind: Kind) -> Answered:
        """Wait until one call may be made.

        :returns: to be called when the call is over; after a refusal the rest of the slice is handed in at once, and
            nobody calls for a while.
        :raises RateLimited: when its turn would come later than `patience` allows.
        :raises Cancelled: when the work is told to stop.
        """
        limit = self._limits.get(kind)
        if limit is None:
            return lambda told, rest: None
        with self._lock:
            held = self._held.get(kind)
            if held is None or held.is_over():
                self._held.pop(kind, None)
                held = self._reserve(kind, limit, held)
                self._held[kind] = held
            call = held.next_call()
        pause(call.turn - time.monotonic(), self._should_stop)
        call.began = time.monotonic()

        def answered(told: Told | None, rest: float | None) -> None:
            with self._lock:
                call.ended, call.told = time.monotonic(), told
                if rest is not None:
                    current = self._held.pop(kind, held)
                    self._exchange(kind, limit, held, rest=rest)
                    if current is not held:  # another thread went on meanwhile
                        self._exchange(kind, limit, current)

        return answered

    def close(self) -> None:
        """Hand in every slice."""
        with self._lock:
            for kind in list(self._held):
                # What cannot be handed in becomes free by itself.
                with suppress(Refused):
                    self._exchange(kind, self._limits[kind], self._held.pop(kind))

    def _reserve(self, kind: Kind, limit: Limit, held: _Held | None) -> _Held:
        calls = min(limit.slice, 1 if held is None else max(1, 2 * len(held.calls)))
        asked = time.monotonic()
        given = self._exchange(kind, limit, held, calls=calls)
        taken = given.slice or Slice((), given.at)
        if not taken.starts:
            raise RateLimited(max(0.0, (taken.until - given.at).total_seconds()))
        # Read so that neither begins too early nor ends too late, whenever in between the database looked at its clock.
        known = time.monotonic()
        return _Held(
            taken,
            turns=[known + (start - given.at).total_seconds() for start in taken.starts],
            until=asked + (taken.until - given.at).total_seconds(),
        )

    def _exchange(
        self, kind: Kind, limit: Limit, held: _Held | None, *, calls: int = 0, rest: float | None = None
    ) -> budgets.Exchange:
        self.reservations += 1
        usage = held.usage(rest) if held else None
        with self._registry.begin() as connection:
            return budgets.exchange(
                connection,
                self._portal_id,
                kind,
                limit,
                usage=usage,
                calls=calls,
                urgent=self._urgent,
                patience=self._patience,
            )


@dataclass
class _Call:
    """A call of a slice, by this process's monotonic clock."""

    turn: float
    began: float | None = None
    ended: float | None = None
    told: Told | None = None
    handed_in: bool = False


@dataclass
class _Held:
    """A slice in hand, by this process's monotonic clock."""

    slice: Slice
    turns: list[float]
    until: float
    calls: list[_Call] = field(default_factory=list)
    handed_in: bool = False

    def is_over(self) -> bool:
        """Whether there is nothing (any more) to be taken from it."""
        return len(self.calls) == len(self.turns) or time.monotonic() > self.until

    def next_call(self) -> _Call:
        """The next one of it; not over, that is."""
        self.calls.append(_Call(self.turns[len(self.calls)]))
        return self.calls[-1]

    def usage(self, rest: float | None) -> Usage:
        """How it was used, as far as nobody was told yet: a call may still be under way when its slice is handed in."""
        at = time.monotonic()
        answered: list[float] = []
        told, told_after = None, (0.0, 0.0)
        for call in self.calls:
            if call.ended is None or call.handed_in:
                continue
            call.handed_in = True
            answered.append(at - call.ended)
            if call.told is not None and call.began is not None:
                told, told_after = call.told, (at - call.began, at - call.ended)
        unused = () if self.handed_in else self.slice.starts[len(self.calls) :]
        self.handed_in = True
        return Usage(self.slice.until, answered, unused, told, told_after, rest)
