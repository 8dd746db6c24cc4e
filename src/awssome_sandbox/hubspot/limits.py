"""HubSpot's rate limits: of OAuth apps, of private apps by the account's tier, and of searches."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from awssome_sandbox.hubspot.oauth import App
from awssome_sandbox.hubspot.portals import Portal


class RollingLimit:
    """At most `calls` in any `seconds`; refused calls do not count."""

    def __init__(self, calls: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.calls = calls
        self.seconds = seconds
        self._clock = clock
        self._taken: deque[float] = deque()

    def take(self) -> bool:
        """Count one call now, or answer False when the window is full."""
        now = self._clock()
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


@dataclass
class Day:
    """At most `calls` from one midnight of the account to the next, by all its private apps together."""

    calls: int
    zone: ZoneInfo
    used: int = 0
    ends: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.ends = self._midnight()

    @property
    def full(self) -> bool:
        """Whether the day's calls are used up. A new day begins with none used."""
        if datetime.now(self.zone) >= self.ends:
            self.ends, self.used = self._midnight(), 0
        return self.used >= self.calls

    def _midnight(self) -> datetime:
        tomorrow = datetime.now(self.zone).date() + timedelta(days=1)
        return datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=self.zone)


@dataclass(frozen=True, slots=True)
class Tier:
    """What a private app may: calls in ten seconds for each app, calls in a day for the account."""

    calls: int
    daily: int


TIERS = {
    "free": Tier(100, 250_000),
    "professional": Tier(190, 625_000),
    "enterprise": Tier(190, 1_000_000),
    "addon": Tier(250, 1_000_000),
}


class Limits:
    """110 calls in 10 s for each OAuth app in each portal, a tier's figures for private apps, and 5 searches a second
    for each portal whatever the app."""

    CALLS, CALLS_SECONDS = 110, 10.0
    SEARCHES, SEARCHES_SECONDS = 5, 1.0

    def __init__(self) -> None:
        self._calls: dict[tuple[str, int], RollingLimit] = {}
        self._searches: dict[int, RollingLimit] = {}
        self._days: dict[int, Day] = {}

    def calls(self, app: App, portal: Portal) -> RollingLimit:
        """The general limit of one app in one portal."""
        calls = TIERS[app.tier].calls if app.tier else self.CALLS
        return self._calls.setdefault((app.client_id, portal.id), RollingLimit(calls, self.CALLS_SECONDS))

    def searches(self, portal: Portal) -> RollingLimit:
        """The search limit of one portal."""
        return self._searches.setdefault(portal.id, RollingLimit(self.SEARCHES, self.SEARCHES_SECONDS))

    def day(self, app: App, portal: Portal) -> Day | None:
        """The day's calls of a private app's portal; None for an OAuth app, which has no such limit."""
        if app.tier is None:
            return None
        return self._days.setdefault(portal.id, Day(TIERS[app.tier].daily, ZoneInfo(portal.time_zone)))

    def day_of(self, portal: Portal) -> Day | None:
        """The day's calls of a portal, if a private app has called there."""
        return self._days.get(portal.id)
