"""Windows over what has changed, tried against a HubSpot that moves, lags behind, shuffles and piles up."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awssome.domain.windows import END_OF_IDS, Window, instant, instead, milliseconds, open_window, restored, saved

PAGE = 10
START = 1_700_000_000_000


class Changes:
    """What a search of HubSpot's would find, over deals that somebody goes on changing.

    :ivar modified: deal id -> when it was changed last, in milliseconds.
    :ivar ordered: answers are in the order of ids; otherwise in none at all.
    :ivar holes: pages come short, with a cursor.
    """

    def __init__(self, modified: dict[int, int], seed: int, *, ordered: bool = False, holes: bool = False) -> None:
        self.modified = modified
        self.ordered = ordered
        self.random = random.Random(seed)
        self.holes = holes
        self.calls = 0

    def ask(self, window: Window) -> tuple[int, set[int], set[int]]:
        """How many deals the window has, those on the first page, and those on all pages."""
        self.calls += 1
        matching = [
            deal
            for deal, at in self.modified.items()
            if window.since <= at < window.until and window.first_id <= deal < window.end_id
        ]
        if self.ordered:
            matching.sort()
        else:
            self.random.shuffle(matching)
        return len(matching), set(matching[: PAGE // 2 if self.holes else PAGE]), set(matching)


def read(changes: Changes, windows: list[Window], between: Callable[[], None] = lambda: None) -> Counter[int]:
    """Follow the windows as a sync does; how often each deal was taken."""
    taken: Counter[int] = Counter()
    while windows:
        window, *rest = windows
        total, first_page, all_pages = changes.ask(window)
        found = all_pages if total <= PAGE else first_page
        spots = [(changes.modified[deal], deal) for deal in found]
        following = instead(window, total, len(found), PAGE, spots)
        if not following:
            taken.update(found)
        windows = restored(json.loads(json.dumps(saved([*following, *rest]))))
        between()
    return taken


@given(
    times=st.lists(st.integers(0, 10_000), max_size=150),
    pile=st.integers(0, 120),
    spread=st.sampled_from([1, 7, 48, 10**6]),
    seed=st.integers(0, 10**6),
    ordered=st.booleans(),
    holes=st.booleans(),
)
@settings(deadline=None, max_examples=150)
def test_every_change_is_read_once_whatever_piles_up(
    times: list[int], pile: int, spread: int, seed: int, ordered: bool, holes: bool
) -> None:
    deals = [18_000_004_000 + place * spread for place in range(len(times) + pile)]
    modified = dict(zip(deals, [START + time for time in times] + [START + 5_000] * pile, strict=True))
    changes = Changes(modified, seed, ordered=ordered, holes=holes)
    taken = read(changes, [Window(START, START + 10_001)])
    assert taken == Counter(deals)
    assert changes.calls <= 40 + 6 * len(deals) // PAGE


@given(seed=st.integers(0, 10**6), count=st.integers(1, 200), pile=st.integers(0, 60))
@settings(deadline=None, max_examples=100)
def test_a_deal_that_nobody_touches_is_read_while_others_are_changed_all_the_time(
    seed: int, count: int, pile: int
) -> None:
    chance = random.Random(seed)
    modified = {18_000_000_000 + place * 9: START + chance.randrange(10_000) for place in range(count)}
    modified |= {19_000_000_000 + place * 3: START + 1_234 for place in range(pile)}
    busy = set(chance.sample(sorted(modified), len(modified) // 3))
    changes = Changes(modified, seed)
    clock = iter(range(START + 10_000, START + 10**9))

    def somebody_works() -> None:
        for deal in chance.sample(sorted(busy), min(3, len(busy))):
            modified[deal] = next(clock)

    quiet = set(modified) - busy
    taken = read(changes, [Window(START, START + 10_000)], somebody_works)
    assert quiet <= set(taken)
    assert all(times == 1 for times in taken.values())
    again = read(Changes(modified, seed), [Window(START + 10_000 - 1, START + 10**9)])
    assert set(taken) | set(again) == set(modified)


@pytest.mark.parametrize("ordered", [True, False])
def test_eleven_thousand_deals_of_one_instant_are_read_with_few_searches(ordered: bool) -> None:
    deals = [18_004_000_000 + place * 24 for place in range(11_500)]
    chance = random.Random(5)
    calls, taken = 0, 0
    windows = [Window(START, START + 604_800_000)]
    while windows:
        window, *rest = windows
        low, high = (max(0, -(-(edge - deals[0]) // 24)) for edge in (window.first_id, window.end_id))
        inside = range(low, min(11_500, high)) if window.since <= START + 77_777_777 < window.until else range(0)
        given_here = inside[:200] if ordered else chance.sample(inside, min(200, len(inside)))
        spots = [(START + 77_777_777, deals[place]) for place in given_here]
        following = instead(window, len(inside), len(spots), 200, spots)
        taken += 0 if following else len(inside)
        windows = [*following, *rest]
        calls += 1
    assert taken == 11_500
    assert calls <= 2.2 * 11_500 / 200


def test_parts_of_a_window_leave_no_gap_and_do_not_overlap() -> None:
    parts = instead(Window(START, START + 1_000_003), 5_000, 200, 200)
    assert (parts[0].since, parts[-1].until, len(parts)) == (START, START + 1_000_003, 34)
    assert all(one.until == other.since for one, other in pairwise(parts))
    ids = instead(Window(START, START + 1, 1_000, 1_999), 500, 200, 200)
    assert (ids[0].first_id, ids[-1].end_id, len(ids)) == (1_000, 1_999, 4)
    assert all(one.end_id == other.first_id for one, other in pairwise(ids))
    assert all(one.by_id for one in ids)
    assert not parts[0].by_id


def test_a_count_that_is_never_met_ends_all_the_same() -> None:
    """HubSpot counts a deal that it does not give: the window is read a few times more, and then left."""
    calls = 0
    windows = [Window(START, START + 1_000)]
    while windows:
        window, *rest = windows
        windows = [*instead(window, 5, 4, PAGE), *rest]
        calls += 1
    assert calls == 1 + 2 + 4


def test_what_cannot_be_cut_any_further_is_taken_as_it_is() -> None:
    assert instead(Window(START, START + 1, 7, 8), 50, 1, PAGE) == []
    assert instead(Window(START, START + 1, 7, 8), 1, 0, PAGE) == [Window(START, START + 1, 7, 8, doubts=1)]


@pytest.mark.parametrize("behind", [timedelta(0), timedelta(days=3), timedelta(minutes=-5)])
def test_a_window_begins_before_the_watermark_and_ends_after_now(behind: timedelta) -> None:
    now = datetime(2026, 11, 26, 12, tzinfo=UTC)
    window = open_window(now - behind, now)
    assert instant(window.since) == now - behind - timedelta(minutes=15)
    assert instant(window.until) >= now + timedelta(minutes=1)
    assert window.until > milliseconds(now - behind)
    assert (window.first_id, window.end_id) == (1, END_OF_IDS)
