"""What has changed in HubSpot since the last sync: searched for in windows (`domain.windows`), then read by id.

A search says which deals have changed; what they are like now is asked by their ids, because a search lags behind: it
still finds deals that were deleted or merged a moment ago, in states that are over.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

from awssome.database.tenant import imports
from awssome.domain.mapping import modified_at
from awssome.domain.windows import Window, instead, milliseconds, saved
from awssome.domain.windows import restored as windows_of
from awssome.hubspot.limits import SEARCH_PAGE
from awssome.hubspot.models import Filter, Search
from awssome.workflows.sync.reading import MODIFIED, Answer, look_up, one_ahead
from awssome.workflows.sync.running import Run
from awssome.workflows.sync.writing import settle

_OBJECT_ID = "hs_object_id"


@dataclass(frozen=True)
class Reading:
    """What came of a window.

    :ivar total: how many deals HubSpot counted in it.
    :ivar answer: what HubSpot says of those that have changed; None: it is to be read in parts.
    :ivar known: those of its deals that are here as they are in HubSpot.
    :ivar newest: the last change in it.
    :ivar left: the windows that are still to be read.
    """

    total: int
    answer: Answer | None
    known: list[str]
    newest: datetime | None
    left: list[Window]


def follow_changes(run: Run, bearable: int) -> bool:
    """Read the windows of the run's position and write what they hold.

    :param bearable: if more deals than that have changed, it is quicker to read all.
    :returns: whether that was done to the end.
    """
    with closing(one_ahead(_readings(run), run.stopping)) as ahead:
        for reading in ahead:
            if reading.total > bearable:
                return False
            if reading.answer is None:
                continue
            newest = max(int(run.position.get("newest") or 0), milliseconds(reading.newest) if reading.newest else 0)
            position = {**run.position, "windows": saved(reading.left), "newest": newest}
            settle(run, reading.answer, room=None, unchanged=reading.known, position=position)
    return True


def _readings(run: Run) -> Iterator[Reading]:
    windows = windows_of(run.position["windows"])
    while windows:
        window, *rest = windows
        total, nameless, found = _search(run, window)
        spots = [(milliseconds(at), int(deal_id)) for deal_id, at in found.items() if at and deal_id.isdecimal()]
        parts = instead(window, total, len(found) + nameless, SEARCH_PAGE, spots)
        windows = [*parts, *rest]
        if parts:
            yield Reading(total, None, [], None, windows)
            continue
        news = _news(run, found)
        answer = look_up(run.client, news, run.properties) if news else Answer([], [], [])
        newest = max(filter(None, found.values()), default=None)
        yield Reading(total, answer, sorted(found.keys() - set(news)), newest, windows)


def _search(run: Run, window: Window) -> tuple[int, int, dict[str, datetime | None]]:
    """How many deals HubSpot counts in a window, how many it gave without an id, and when the others changed last."""
    filters = [Filter(MODIFIED, "GTE", str(window.since)), Filter(MODIFIED, "LT", str(window.until))]
    if window.by_id:
        filters += [
            Filter(_OBJECT_ID, "GTE", str(window.first_id)),
            Filter(_OBJECT_ID, "LT", str(window.end_id)),
        ]
    found: dict[str, datetime | None] = {}
    total = nameless = 0
    for page in run.client.iter_searched_deals(Search(tuple(filters), (MODIFIED,), limit=SEARCH_PAGE)):
        found |= {deal.id: modified_at(deal.properties) for deal in page.results}
        found |= {one.id: None for one in page.unreadable if one.id}
        nameless += sum(not one.id for one in page.unreadable)
        total = max(total, page.total)
        if total > SEARCH_PAGE:
            break
    return total, nameless, found


def _news(run: Run, found: dict[str, datetime | None]) -> list[str]:
    """Those of the deals that are not here, or not as they are in HubSpot."""
    before = run.workspace.do(lambda connection: imports.read_before(connection, run.portal_id, found))
    return [deal_id for deal_id, at in found.items() if not _is_here(at, before.get(deal_id))]


def _is_here(found: datetime | None, before: datetime | None) -> bool:
    return found is not None and before is not None and found <= before
