"""When a pool will be full."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import assume, given
from hypothesis import strategies as st

from awssome.domain.forecast import FARTHEST_DAYS, LEAST_DAYS, forecast

TODAY = date(2026, 11, 22)

counts = st.lists(st.integers(0, 5_000), min_size=LEAST_DAYS, max_size=30)


def days(taken: list[int]) -> list[tuple[date, int]]:
    """The last days, today last."""
    return [(TODAY - timedelta(days=len(taken) - 1 - i), count) for i, count in enumerate(taken)]


@given(counts, st.integers(1, 10_000))
def test_a_pool_is_never_full_in_the_past_and_today_only_if_it_is(taken: list[int], capacity: int) -> None:
    found = forecast(days(taken), capacity, TODAY)
    assert found is not None
    if found.full_on is not None:
        assert found.full_on >= TODAY
    assert (found.full_on == TODAY) == (taken[-1] >= capacity)


@given(counts, st.integers(1, 10_000), st.integers(0, 1_000))
def test_a_larger_pool_is_never_full_earlier(taken: list[int], capacity: int, more: int) -> None:
    small, large = forecast(days(taken), capacity, TODAY), forecast(days(taken), capacity + more, TODAY)
    assert small is not None and large is not None
    assert small.a_day == large.a_day
    if large.full_on is not None:
        assert small.full_on is not None and small.full_on <= large.full_on


@given(st.integers(0, 1_000), st.integers(1, 50), st.integers(LEAST_DAYS, 30), st.integers(1, 3_000))
def test_what_grows_evenly_is_foretold_to_the_day(start: int, a_day: int, length: int, left: int) -> None:
    taken = [start + a_day * i for i in range(length)]
    needed = -(-left // a_day)
    assume(needed < FARTHEST_DAYS)
    found = forecast(days(taken), taken[-1] + left, TODAY)
    assert found is not None
    assert abs(found.a_day - a_day) < 1e-6
    assert found.full_on is not None
    assert abs((found.full_on - TODAY).days - needed) <= (left % a_day == 0), "a day that ends exactly may round up"


@given(counts, st.integers(5_001, 10_000))
def test_what_does_not_grow_is_never_full(taken: list[int], capacity: int) -> None:
    found = forecast(days(sorted(taken, reverse=True)), capacity, TODAY)
    assert found is not None
    assert found.a_day <= 0
    assert found.full_on is None


def test_nothing_is_foretold_from_too_few_days_and_missing_ones_do_no_harm() -> None:
    assert forecast([], 10, TODAY) is None
    assert forecast(days([1, 2]), 10, TODAY) is None
    gaps = [(TODAY - timedelta(days=20), 0), (TODAY - timedelta(days=10), 10), (TODAY, 20)]
    found = forecast(gaps, 30, TODAY)
    assert found is not None
    assert found.full_on == TODAY + timedelta(days=10)


def test_what_is_years_away_is_not_in_sight() -> None:
    found = forecast([(TODAY - timedelta(days=29), 0), (TODAY - timedelta(days=10), 0), (TODAY, 1)], 3_000, TODAY)
    assert found is not None
    assert found.a_day > 0
    assert found.full_on is None
