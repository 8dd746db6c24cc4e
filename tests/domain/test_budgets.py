"""Budgets: never more calls in a window than the limit, and hardly fewer than it allows."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awssome.domain.budgets import Bucket, reserve
from awssome.hubspot.limits import GENERAL, LIMITS, SEARCH, Limit

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

# Seconds between two reservations: a crowd that does not wait, a steady stream, or pauses that fill the bucket again.
gaps = st.one_of(st.just(0.0), st.floats(0.0, 0.2), st.floats(0.0, 15.0))


def made_at(limit: Limit, reservations: list[tuple[float, int]]) -> list[datetime]:
    """When calls are made by a crowd that reserves after these gaps, so many calls at once."""
    bucket, now, made = Bucket(START), START, []
    for gap, calls in reservations:
        now += timedelta(seconds=gap)
        bucket, wait = reserve(bucket, now, calls, limit.rate_per_s, limit.burst)
        made += [now + timedelta(seconds=wait)] * calls
    return made


def busiest(made: list[datetime], window_seconds: float) -> int:
    """The most calls in any window, both ends included."""
    window, first, most = timedelta(seconds=window_seconds), 0, 0
    for last, moment in enumerate(made):
        while moment - made[first] > window:
            first += 1
        most = max(most, last - first + 1)
    return most


@given(data=st.data(), repeats=st.integers(1, 4))
@pytest.mark.parametrize("limit", LIMITS.values(), ids=LIMITS)
def test_no_window_ever_holds_more_calls_than_hubspot_allows(limit: Limit, data: st.DataObject, repeats: int) -> None:
    pattern = data.draw(st.lists(st.tuples(gaps, st.integers(1, limit.burst)), min_size=1, max_size=80))
    made = made_at(limit, pattern * repeats)
    assert made == sorted(made)
    assert busiest(made, limit.window_seconds) <= limit.allowed


@given(
    quarters=st.integers(1, 2000),
    burst=st.integers(1, 40),
    milliseconds=st.integers(100, 60_000),
    count=st.integers(1, 300),
    gap=gaps,
)
def test_a_window_holds_the_burst_and_what_flows_in(
    quarters: int, burst: int, milliseconds: int, count: int, gap: float
) -> None:
    limit = Limit(allowed=0, window_seconds=milliseconds / 1000, rate_per_s=quarters / 4, burst=burst)
    made = made_at(limit, [(gap if place % 50 == 0 else 0.0, 1) for place in range(count)])
    assert busiest(made, limit.window_seconds) <= burst + milliseconds * quarters // 4000


def test_a_crowd_fills_the_window_but_leaves_room_for_calls_that_arrive_closer_together() -> None:
    made = made_at(GENERAL, [(0.0, 1)] * 1000)
    assert busiest(made, 10) == 108
    assert busiest(made, 10.19) <= 110


@pytest.mark.parametrize("seconds_a_call", [(0.0,), (0.0, 0.18), (0.09, 0.05, 0.14)], ids=str)
def test_whoever_keeps_up_gets_at_least_95_percent_of_what_hubspot_allows(seconds_a_call: tuple[float, ...]) -> None:
    bucket, now, calls = Bucket(START), START, 2000
    for _, busy in zip(range(calls), cycle(seconds_a_call), strict=False):
        bucket, wait = reserve(bucket, now, 1, GENERAL.rate_per_s, GENERAL.burst)
        now += timedelta(seconds=wait + busy)
    assert calls / (now - START).total_seconds() >= 0.95 * GENERAL.allowed / GENERAL.window_seconds


def test_a_rested_budget_lets_the_burst_go_at_once_and_spaces_the_rest() -> None:
    bucket, waits = Bucket(START - timedelta(hours=1)), []
    for _ in range(7):
        bucket, wait = reserve(bucket, START, 1, rate_per_s=10, burst=4)
        waits.append(wait)
    assert waits == pytest.approx([0, 0, 0, 0, 0.1, 0.2, 0.3])


def test_calls_that_go_together_wait_for_the_last_of_them() -> None:
    bucket, _ = reserve(Bucket(START), START, 3, rate_per_s=10, burst=4)
    _, wait = reserve(bucket, START, 4, rate_per_s=10, burst=4)
    assert wait == pytest.approx(0.3)


def test_reservations_that_nobody_used_are_soon_in_the_past() -> None:
    bucket = Bucket(START)
    for _ in range(20):
        bucket, _ = reserve(bucket, START, 1, SEARCH.rate_per_s, SEARCH.burst)
    _, wait = reserve(bucket, START + timedelta(seconds=5), 1, SEARCH.rate_per_s, SEARCH.burst)
    assert wait == 0.0


def test_a_clock_that_steps_back_gives_no_second_burst() -> None:
    bucket, _ = reserve(Bucket(START), START, 4, rate_per_s=10, burst=4)
    _, wait = reserve(bucket, START - timedelta(seconds=2), 1, rate_per_s=10, burst=4)
    assert wait == pytest.approx(2.1)


@pytest.mark.parametrize(("calls", "rate", "burst"), [(0, 1, 4), (5, 1, 4), (-1, 1, 4), (1, 0, 4), (1, math.nan, 4)])
def test_a_reservation_that_can_never_be_met_is_refused(calls: int, rate: float, burst: int) -> None:
    with pytest.raises(ValueError, match=r"reserve between|positive rate"):
        reserve(Bucket(START), START, calls, rate, burst)


def test_we_keep_to_95_percent_of_the_general_limit_and_leave_a_search_a_second_to_others() -> None:
    assert 0.95 <= GENERAL.rate_per_s * GENERAL.window_seconds / GENERAL.allowed < 1
    assert SEARCH.rate_per_s == SEARCH.allowed - 1
