"""HubSpot's rate limits, as they apply to an OAuth app."""

from __future__ import annotations

import time
from collections import deque


class RollingLimit:
    """At most `calls` in any `seconds`; refused calls do not count."""

    def __init__(self, calls: int, seconds: float) -> None:
        self.calls = calls
        self.seconds = seconds
        self._taken: deque[float] = deque()

    def take(self) -> bool:
        """Count one call now, or answer False when the window is full."""
        now = time.monotonic()
        while self._taken and self._taken[0] <= now - self.seconds:
            self._taken.popleft()
        if len(self._taken) >= self.calls:
            return False
        self._taken.append(now)
        return True

    @property
    def remaining(self) -> int:
        """How many calls the window still takes, as of the last `take`."""
        return self.calls - len(self._taken)


class Limits:
    """110 calls in 10 s for each app in each portal, and 5 searches a second for each portal whatever the app."""

    CALLS, CALLS_SECONDS = 110, 10.0
    SEARCHES, SEARCHES_SECONDS = 5, 1.0

    def __init__(self) -> None:
        self._calls: dict[tuple[str, int], RollingLimit] = {}
        self._searches: dict[int, RollingLimit] = {}

    def calls(self, client_id: str, portal_id: int) -> RollingLimit:
        """The general limit of one app in one portal."""
        return self._calls.setdefault((client_id, portal_id), RollingLimit(self.CALLS, self.CALLS_SECONDS))

    def searches(self, portal_id: int) -> RollingLimit:
        """The search limit of one portal."""
        return self._searches.setdefault(portal_id, RollingLimit(self.SEARCHES, self.SEARCHES_SECONDS))
