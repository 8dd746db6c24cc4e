"""How many calls may be made, and when: the generic cell rate algorithm (GCRA; ITU-T I.371, section A.1).

The whole state of a budget is one instant, so that it fits in one column of one row that every worker shares. A
reservation always succeeds and says how long to wait; who reserves first goes first, and slots that a killed process
reserved and never used are simply in the past a moment later. Who does not want to wait asks `admit`.

In any window of W seconds, both ends included, at most `burst + floor(W * rate_per_s)` calls fall: the burst that was
saved up, and what flows in meanwhile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Bucket:
    """The state of one budget.

    :param next_at: the instant at which everything reserved so far would have been earned at the sustained rate
        (GCRA's theoretical arrival time). Past or present: the budget is rested and a full burst may go at once.
    """

    next_at: datetime


def reserve(bucket: Bucket, now: datetime, calls: int, rate_per_s: float, burst: int) -> tuple[Bucket, float]:
    """Reserve calls that are made together.

    :param bucket: the state before; for a budget without a history `Bucket(now)`.
    :param now: the present on the one clock that all users of the bucket read, such as the database's.
    :param calls: how many; at most `burst`, because together is what they are.
    :param rate_per_s: the sustained rate, calls a second.
    :param burst: how many calls a rested budget lets go at once.
    :returns: the state after, and the seconds from `now` until the calls may be made (0.0: at once).
    :raises ValueError: when `calls` is not between 1 and `burst`, or the rate is not positive.
    """
    if not 1 <= calls <= burst:
        raise ValueError(f"reserve between 1 and {burst} calls together, not {calls}")
    if not rate_per_s > 0:
        raise ValueError("a budget needs a positive rate")
    # Rounded up to the clock's grain: rounding may cost a little of the rate, it never adds a call to a window.
    interval = math.ceil(1_000_000 / rate_per_s) * _MICROSECOND
    next_at = max(bucket.next_at, now) + calls * interval
    wait = next_at - burst * interval - now
    return Bucket(next_at), max(wait.total_seconds(), 0.0)


def admit(bucket: Bucket, now: datetime, rate_per_s: float, burst: int) -> tuple[Bucket, float]:
    """Let one call through at once, or not at all: what is refused costs the budget nothing.

    :returns: the state after, and 0.0; or the state before, and the seconds after which one call would go through.
    :raises ValueError: as `reserve`.
    """
    after, wait = reserve(bucket, now, 1, rate_per_s, burst)
    return (bucket, wait) if wait else (after, 0.0)
