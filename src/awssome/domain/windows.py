"""What has changed in HubSpot, searched for in windows of time that each fit on one page.

A search gives at most 10,000 deals, its order is not to be relied on, and its cursor counts places: a deal that is
changed while its window is being read leaves it, the deals behind it move up, and one of them is never seen. So nothing
is read over several pages. A window that holds more than a page is cut in time, and deals that share one millisecond
are cut by their ids, until each part is one answer: nothing moves inside an answer, and no order matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

OVERLAP = timedelta(minutes=15)
"""How far a window reaches back before the watermark: HubSpot's search finds a change a few moments late."""

AHEAD = timedelta(minutes=1)
"""How far it reaches beyond our clock, which may be behind HubSpot's."""

PARTS = 64
"""A window is cut into so many at most."""

FILL = 3, 4
"""Parts are cut so that a page would be three quarters full if deals were spread evenly."""

DOUBTS = 2
"""How often a part is read again because HubSpot gave fewer deals than it counted; then what it gave is taken."""

END_OF_IDS = 2**63 - 1

FULL_EVERY = timedelta(days=7)
"""How often all deals are read although only changes are needed: what a search never tells (that we were given or lost
the right to see a deal, that one is gone without a trace) shows then. HubSpot keeps deleted deals for 90 days."""

Spot = tuple[int, int]
"""Where a deal is: when it was last modified, in milliseconds since 1970, and its id."""


@dataclass(frozen=True)
class Window:
    """Deals last modified from `since` on and before `until`, in milliseconds since 1970, with ids in a range.

    :ivar first_id: the smallest id.
    :ivar end_id: the first id beyond the range.
    :ivar doubts: how often it has been read in vain.
    """

    since: int
    until: int
    first_id: int = 1
    end_id: int = END_OF_IDS
    doubts: int = 0

    @property
    def by_id(self) -> bool:
        """Whether the range of ids says anything."""
        return (self.first_id, self.end_id) != (1, END_OF_IDS)


@dataclass(frozen=True)
class Watermark:
    """How far the syncs have followed a HubSpot account.

    :ivar changed_until: no change before this moment is missing, by HubSpot's clock and but for what its search tells
        late.
    :ivar full_at: when all deals were read last.
    :ivar mapping_hash: the mapping by which that was done.
    :ivar beyond: how many deals HubSpot counted that are not here: left out, or failed.
    """

    changed_until: datetime
    full_at: datetime
    mapping_hash: bytes
    beyond: int

    def suffices(self, mapping_hash: bytes, at: datetime) -> bool:
        """Whether it is enough to read what has changed since."""
        return mapping_hash == self.mapping_hash and at < self.full_at + FULL_EVERY


def open_window(watermark: datetime, today: datetime) -> Window:
    """All that may have changed since the watermark. :param today: now, by our clock."""
    return Window(milliseconds(watermark - OVERLAP), max(milliseconds(today + AHEAD), milliseconds(watermark) + 1))


def instead(window: Window, total: int, found: int, page: int, spots: Sequence[Spot] = ()) -> list[Window]:
    """What to read in place of a window; nothing when it has been read.

    :param total: how many deals HubSpot counted in it.
    :param found: how many different ones it gave, over all the pages that it wanted to spread them over.
    :param page: deals on one page, at most.
    :param spots: where those that it gave are; they tell where it is worth cutting, and need not.
    """
    if total > page:
        return _around(window, spots) or _cut(window, min(PARTS, -(-total * FILL[1] // (page * FILL[0]))))
    if found < total and window.doubts < DOUBTS:
        doubted = replace(window, doubts=window.doubts + 1)
        return _cut(doubted, 2) or [doubted]
    return []


def milliseconds(moment: datetime) -> int:
    """Since 1970, as HubSpot compares times."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def instant(since_1970: int) -> datetime:
    """The moment so many milliseconds after 1970 began."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=since_1970)


def saved(windows: list[Window]) -> list[list[int]]:
    """Windows as a run's position keeps them."""
    return [[one.since, one.until, one.first_id, one.end_id, one.doubts] for one in windows]


def restored(position: list[list[int]]) -> list[Window]:
    """What `saved` has kept."""
    return [Window(*numbers) for numbers in position]


def _around(window: Window, spots: Sequence[Spot]) -> list[Window]:
    """The window cut where the deals that are known begin and end, if they fill less than half of it."""
    since, until, first, end = window.since, window.until, window.first_id, window.end_id
    inside = [(at, deal) for at, deal in spots if since <= at < until and first <= deal < end]
    if not inside:
        return []
    if until - since > 1:
        return _in_time(window, _edges(since, until, [at for at, _ in inside]))
    return _by_id(window, _edges(first, end, [deal for _, deal in inside]))


def _edges(start: int, end: int, known: list[int]) -> list[int]:
    """Where to cut; what is left beside the known ones is worth a search of its own where it is wide enough."""
    low, high = min(known), max(known) + 1
    if 2 * (high - low) >= end - start:
        return []
    return [start, *([low] if 8 * (low - start) >= high - low else []), high, end]


def _cut(window: Window, parts: int) -> list[Window]:
    """The window in two parts or more; nothing when it is one millisecond of one id."""
    since, first = window.since, window.first_id
    if (wide := window.until - since) > 1:
        return _in_time(window, [since + wide * part // parts for part in range(parts + 1)])
    if (wide := window.end_id - first) > 1:
        return _by_id(window, [first + wide * part // parts for part in range(parts + 1)])
    return []


def _in_time(window: Window, edges: list[int]) -> list[Window]:
    return [replace(window, since=low, until=high) for low, high in pairwise(edges) if low < high]


def _by_id(window: Window, edges: list[int]) -> list[Window]:
    return [replace(window, first_id=low, end_id=high) for low, high in pairwise(edges) if low < high]
