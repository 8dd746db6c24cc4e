"""When a pool will be full, if it goes on as in the last days."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

WINDOW_DAYS = 30
"""How many days are looked back."""

LEAST_DAYS = 3
"""With fewer days nothing is foretold."""

FARTHEST_DAYS = 730
"""What lies beyond is as good as never."""


@dataclass(frozen=True)
class Forecast:
    """What is foretold.

    :ivar a_day: places that are taken a day; negative when a pool empties.
    :ivar full_on: the day when none is left; None when that is not in sight.
    """

    a_day: float
    full_on: date | None


def forecast(taken: Sequence[tuple[date, int]], capacity: int, today: date) -> Forecast | None:
    """A straight line by least squares, drawn on from where it stands now.

    :param taken: (day, places taken at its end), oldest first; days may be missing. The last one is the present.
    :returns: None when there are too few days to say anything.
    """
    if len(taken) < LEAST_DAYS:
        return None
    a_day = _slope([((day - taken[0][0]).days, count) for day, count in taken])
    left = capacity - taken[-1][1]
    if left <= 0:
        return Forecast(a_day, today)
    if a_day * FARTHEST_DAYS < left:
        return Forecast(a_day, None)
    return Forecast(a_day, today + timedelta(days=math.ceil(left / a_day)))


def _slope(points: Sequence[tuple[int, int]]) -> float:
    x_mean = sum(x for x, _ in points) / len(points)
    y_mean = sum(y for _, y in points) / len(points)
    spread = sum((x - x_mean) ** 2 for x, _ in points)
    return sum((x - x_mean) * (y - y_mean) for x, y in points) / spread if spread else 0.0
