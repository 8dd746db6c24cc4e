"""Whether a call may be made now: the generic cell rate algorithm (GCRA; ITU-T I.371, section A.1).

The whole state of a caller is one instant, so that thousands of them fit in memory. In any window of W seconds, both
ends included, at most `burst + floor(W * rate_per_s)` calls go through: the burst that was saved up, and what flows in
meanwhile. Where a limit has to be used up to the last call, see `domain.budgets`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Bucket:
    """What one caller has used.

    :param next_at: the instant at which everything that went through would have been earned at the sustained rate
        (GCRA's theoretical arrival time). Past or present: the caller is rested and may make a full burst at once.
    """

    next_at: datetime


def admit(bucket: Bucket, now: datetime, rate_per_s: float, burst: int) -> tuple[Bucket, float]:
    """Let one call through at once, or not at all: what is refused costs nothing.

    :param bucket: the state before; for a caller without a history `Bucket(now)`.
    :param now: the present on the one clock that all users of the bucket read.
    :param rate_per_s: the sustained rate, calls a second.
    :param burst: how many calls a rested caller may make at once.
    :returns: the state after, and 0.0; or the state before, and the seconds after which the call would go through.
    :raises ValueError: when the burst or the rate is not positive.
    """
    if burst < 1 or not rate_per_s > 0:
        raise ValueError("a bucket needs a burst of 1 at least and a positive rate")
    # Rounded up to the clock's grain: rounding may cost a little of the rate, it never adds a call to a window.
    interval = math.ceil(1_000_000 / rate_per_s) * _MICROSECOND
    next_at = max(bucket.next_at, now) + interval
    wait = (next_at - burst * interval - now).total_seconds()
    return (bucket, wait) if wait > 0 else (Bucket(next_at), 0.0)
