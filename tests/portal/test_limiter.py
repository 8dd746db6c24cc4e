"""The limiter: never more than the pace, never a refusal below it, and no more memory than it was given."""

from __future__ import annotations

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awssome.domain.limits import LIMITS, VISITOR, VISITORS, Pace
from awssome.portal.limiter import TOLD_EVERY, Charge, Limiter, Reason, TooMuch, Visit

PACES = {**{str(tier): limits.requests for tier, limits in LIMITS.items()}, "visitor": VISITOR, "visitors": VISITORS}
PLENTY = 10**6

paces = st.sampled_from(list(PACES.values())) | st.builds(
    Pace, per_second=st.integers(1, 500), burst=st.integers(1, 50), at_once=st.just(PLENTY)
)
gaps = st.one_of(st.just(0.0), st.floats(0.0, 0.2), st.floats(0.0, 5.0))


class Clock:
    """A clock that tests move on."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def charge(key: object, pace: Pace, kind: str = "free") -> Charge:
    return Charge(str(key), kind, pace)


def admitted(limiter: Limiter, *charges: Charge) -> bool:
    """Whether a request that ends at once comes through."""
    try:
        limiter.leave(limiter.enter(charges))
    except TooMuch:
        return False
    return True


@given(pace=paces, pattern=st.lists(gaps, min_size=1, max_size=60), repeats=st.integers(1, 4), window=st.floats(0, 20))
def test_no_window_holds_more_than_the_burst_and_what_flows_in(
    pace: Pace, pattern: list[float], repeats: int, window: float
) -> None:
    clock = Clock()
    limiter, passed = Limiter(clock=clock), []
    for gap in pattern * repeats:
        clock.at += gap
        if admitted(limiter, charge("a", pace)):
            passed.append(clock.at)
    for place, first in enumerate(passed):
        within = sum(1 for at in passed[place:] if at - first <= window)
        assert within <= pace.burst + window * pace.per_second + 1e-6 * len(passed)


@given(pace=paces, slack=st.lists(st.floats(0.0, 0.5), min_size=1, max_size=200))
def test_whoever_keeps_to_the_rate_is_never_refused(pace: Pace, slack: list[float]) -> None:
    clock = Clock()
    limiter = Limiter(clock=clock)
    for more in slack:
        clock.at += 1 / pace.per_second + 2e-6 + more  # rounded to the clock's grain
        assert admitted(limiter, charge("a", pace))


@given(pace=paces, others=st.integers(1, 50))
def test_a_flood_takes_nothing_of_others(pace: Pace, others: int) -> None:
    clock = Clock()
    limiter = Limiter(clock=clock)
    while admitted(limiter, charge("flood", pace)):
        pass
    assert all(admitted(limiter, charge(number, pace)) for number in range(others))


@pytest.mark.parametrize("pace", PACES.values(), ids=PACES)
def test_who_waits_as_long_as_was_told_comes_through(pace: Pace) -> None:
    clock = Clock()
    limiter = Limiter(clock=clock)
    for _ in range(pace.burst):
        assert admitted(limiter, charge("a", pace))
    with pytest.raises(TooMuch) as refused:
        limiter.enter([charge("a", pace)])
    assert refused.value.reason is Reason.PACE
    clock.at += refused.value.wait
    assert admitted(limiter, charge("a", pace))
    assert not admitted(limiter, charge("a", pace))


def test_only_so_many_are_under_way_at_once_and_one_that_ends_makes_room() -> None:
    limiter, mine = Limiter(clock=Clock()), charge("a", Pace(1000, 1000, at_once=3))
    visits = [limiter.enter([mine]) for _ in range(3)]
    with pytest.raises(TooMuch) as refused:
        limiter.enter([mine])
    assert (refused.value.reason, refused.value.wait) == (Reason.AT_ONCE, 1.0)
    limiter.leave(visits.pop())
    visits.append(limiter.enter([mine]))
    assert not admitted(limiter, mine)


def test_a_request_that_one_of_its_charges_refuses_costs_the_others_nothing() -> None:
    limiter = Limiter(clock=Clock())
    one, all_together = charge("one", Pace(1, 3, 3)), charge("all", Pace(1, 1, 1))
    assert admitted(limiter, all_together)
    for _ in range(10):
        assert not admitted(limiter, one, all_together)
    assert [admitted(limiter, one) for _ in range(4)] == [True, True, True, False]


def test_no_more_callers_are_remembered_than_there_is_room_for_but_all_who_are_inside() -> None:
    limiter, pace = Limiter(clock=Clock(), kept=50), Pace(1, 1, 1)
    inside = limiter.enter([charge("inside", pace)])
    for number in range(5_000):
        assert admitted(limiter, charge(number, pace))
        assert len(limiter._tallies) <= 50
    assert not admitted(limiter, charge("inside", pace))
    assert not admitted(limiter, charge(4_999, pace))
    limiter.leave(inside)
    assert [tally.under_way for tally in limiter._tallies.values() if tally.under_way] == []


def test_a_flood_is_told_once_a_minute_and_counted_whole() -> None:
    clock = Clock()
    limiter, mine = Limiter(clock=clock), charge("a", Pace(1, 1, 1), kind="paid")
    told = []
    limiter.enter([mine])
    for _ in range(1_200):
        try:
            limiter.enter([mine])
        except TooMuch as refused:
            told.append(limiter.refuse(refused))
        clock.at += 0.1
    lines = [count for count in told if count]
    assert lines[0] == 1
    assert len(lines) == pytest.approx(1 + 119 / TOLD_EVERY.total_seconds(), abs=1)
    assert sum(limiter.refused.values()) == len(told) == 1_200
    assert set(limiter.refused) <= {("paid", Reason.PACE), ("paid", Reason.AT_ONCE)}


def test_threads_together_never_pass_the_pace_nor_the_number_at_once() -> None:
    limiter, callers = Limiter(clock=Clock()), [charge(number, Pace(1, 200, at_once=4)) for number in range(5)]
    inside: Counter[str] = Counter()
    most: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    lock = threading.Lock()

    def came_in(key: str) -> None:
        with lock:
            inside[key] += 1
            passed[key] += 1
            most[key] = max(most[key], inside[key])

    def works(seed: int) -> None:
        dice = random.Random(seed)
        held: list[tuple[str, Visit]] = []
        for _ in range(1_000):
            mine = dice.choice(callers)
            try:
                held.append((str(mine.key), limiter.enter([mine])))
                came_in(str(mine.key))
            except TooMuch:
                pass
            while held and dice.random() < 0.6:
                key, visit = held.pop()
                with lock:
                    inside[key] -= 1
                limiter.leave(visit)
        for _, visit in held:
            limiter.leave(visit)

    with ThreadPoolExecutor(8) as threads:
        for work in [threads.submit(works, seed) for seed in range(8)]:
            work.result()
    assert max(most.values()) == 4
    assert dict(passed) == {str(number): 200 for number in range(5)}
    assert all(tally.under_way == 0 for tally in limiter._tallies.values())
