"""Who has made how many requests: pace and number under way, by tenant and by network address, in bounded memory.

It says yes or no at once. Whoever wants to wait for a yes does so without a thread (`portal.admission`).
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from awssome.domain.buckets import Bucket, admit
from awssome.domain.limits import Pace

KEPT = 10_000
"""Callers that are remembered; whoever came longest ago is forgotten first, and begins rested when they come again."""

TOLD_EVERY = timedelta(seconds=60)
"""Between two lines of the log about one caller."""

_START = datetime(2000, 1, 1, tzinfo=UTC)


class Reason(StrEnum):
    """What a caller had too much of."""

    PACE = "requests a second"
    AT_ONCE = "requests at once"


@dataclass(frozen=True)
class Charge:
    """What a request is charged to.

    :ivar key: tells callers apart.
    :ivar kind: the sort of caller, for the counts: a tier, or visitors.
    """

    key: Hashable
    kind: str
    pace: Pace


class TooMuch(Exception):
    """A request is refused.

    :ivar charge: the one that has no room for it.
    :ivar reason: what there is too much of.
    :ivar wait: seconds until it would have gone through, as far as that is known.
    """

    def __init__(self, charge: Charge, reason: Reason, wait: float) -> None:
        super().__init__(reason)
        self.charge = charge
        self.reason = reason
        self.wait = wait


class Limiter:
    """Counts requests of callers. Threads may share it.

    :ivar refused: how many requests were refused so far, by kind of caller and reason.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, kept: int = KEPT) -> None:
        self.refused: Counter[tuple[str, Reason]] = Counter()
        self._clock = clock
        self._kept = kept
        self._lock = threading.Lock()
        self._tallies: OrderedDict[Hashable, _Tally] = OrderedDict()

    def enter(self, charges: Sequence[Charge]) -> Visit:
        """A request comes in, to be given to `leave` when it has been answered. It is charged to all or to none.

        :raises TooMuch: when one of the charges has no room for it.
        """
        now = self._now()
        with self._lock:
            tallies = [self._tally(charge.key, now) for charge in charges]
            buckets = []
            for charge, tally in zip(charges, tallies, strict=True):
                pace = charge.pace
                bucket, wait = admit(tally.bucket, now, pace.per_second, pace.burst)
                if wait:
                    raise TooMuch(charge, Reason.PACE, wait)
                if tally.under_way >= pace.at_once:
                    raise TooMuch(charge, Reason.AT_ONCE, 1.0)
                buckets.append(bucket)
            for tally, bucket in zip(tallies, buckets, strict=True):
                tally.bucket = bucket
                tally.under_way += 1
        return Visit(tallies)

    def leave(self, visit: Visit) -> None:
        """The request has been answered, or nobody waits for it any more."""
        with self._lock:
            for tally in visit.tallies:
                tally.under_way -= 1

    def refuse(self, too_much: TooMuch) -> int:
        """Count a request that is refused.

        :returns: how many refusals of this caller a line of the log is due for; 0: none is due.
        """
        now = self._now()
        with self._lock:
            self.refused[too_much.charge.kind, too_much.reason] += 1
            tally = self._tally(too_much.charge.key, now)
            tally.untold += 1
            if tally.told_at is not None and now - tally.told_at < TOLD_EVERY:
                return 0
            told, tally.untold, tally.told_at = tally.untold, 0, now
            return told

    def _now(self) -> datetime:
        return _START + timedelta(seconds=self._clock())

    def _tally(self, key: Hashable, now: datetime) -> _Tally:
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = _Tally(Bucket(now))
            if len(self._tallies) > self._kept:
                # Those who have requests under way stay, so that these go on counting.
                idle = next(key for key, each in self._tallies.items() if not each.under_way)
                del self._tallies[idle]
        else:
            self._tallies.move_to_end(key)
        return tally


@dataclass(slots=True)
class _Tally:
    bucket: Bucket
    under_way: int = 0
    untold: int = 0
    told_at: datetime | None = None


@dataclass(frozen=True)
class Visit:
    """A request that was let in, by those whom it was charged to."""

    tallies: Sequence[_Tally]
