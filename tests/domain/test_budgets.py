"""Budgets: never more calls in a window than the limit, however long calls are under way, and hardly fewer."""

from __future__ import annotations

import random
from bisect import insort
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awssome.domain.budgets import LIFE, Ledger, Limit, Slice, Told, Usage, reserve, settle
from awssome.hubspot.limits import GENERAL, LIMITS, SEARCH, TIERS

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@dataclass
class World:
    """A simulation: workers that share a ledger, and the moments at which their calls reached the other side.

    :ivar slow: seconds that a call is under way, each way, at most.
    :ivar writing: seconds that a worker spends between two calls, at most.
    :ivar deaths: the chance that a worker dies after a call, and another takes its place that knows nothing.
    """

    limit: Limit
    seed: int
    workers: int
    slow: float
    writing: float
    deaths: float = 0.0
    ledger: Ledger = field(default_factory=Ledger)
    arrived: list[datetime] = field(default_factory=list)
    reservations: int = 0

    def run(self, calls: int) -> None:
        """So many calls, by events in the order of time."""
        random_ = random.Random(self.seed)
        order = count()
        events: list[tuple[float, int, _Worker]] = []
        for _ in range(self.workers):
            heappush(events, (random_.uniform(0, self.writing), next(order), _Worker()))
        while len(self.arrived) < calls:
            now, _, worker = heappop(events)
            wait = worker.turn(self, now)
            if wait > 0:
                heappush(events, (now + wait, next(order), worker))
                continue
            there, back = random_.uniform(0, self.slow), random_.uniform(0, self.slow)
            insort(self.arrived, at(now + there))
            worker.answered.append(now + there + back)
            if random_.random() < self.deaths:
                worker = _Worker()
            heappush(events, (now + there + back + random_.uniform(0, self.writing), next(order), worker))


@dataclass
class _Worker:
    held: Slice | None = None
    answered: list[float] = field(default_factory=list)

    def turn(self, world: World, now: float) -> float:
        """0.0: a call is made now; else how long to wait before asking again."""
        if self.held is None or len(self.answered) == len(self.held.starts) or at(now) > self.held.until:
            if self.held is not None:
                usage = Usage(
                    self.held.until,
                    answered=[now - moment for moment in self.answered],
                    unused=self.held.starts[len(self.answered) :],
                )
                world.ledger = settle(world.ledger, at(now), world.limit, usage)
            world.ledger, self.held = reserve(world.ledger, at(now), world.limit, world.limit.slice)
            world.reservations += 1
            self.answered = []
        return max(0.0, (self.held.starts[len(self.answered)] - at(now)).total_seconds())


def busiest(arrived: list[datetime], window_seconds: float) -> int:
    """The most calls in any window, the later end included."""
    window, first, most = timedelta(seconds=window_seconds), 0, 0
    for last, moment in enumerate(arrived):
        while moment - arrived[first] >= window:
            first += 1
        most = max(most, last - first + 1)
    return most


@given(
    seed=st.integers(0, 2**32),
    workers=st.integers(1, 6),
    slow=st.sampled_from([0.0, 0.01, 0.1, 0.5, 3.0]),
    writing=st.sampled_from([0.0, 0.03, 0.3, 4.0]),
    deaths=st.sampled_from([0.0, 0.05]),
    kind=st.sampled_from(list(LIMITS)),
)
@settings(max_examples=50, deadline=None)
def test_no_window_ever_holds_more_calls_than_are_allowed(
    seed: int, workers: int, slow: float, writing: float, deaths: float, kind: str
) -> None:
    limit = LIMITS[kind]  # type: ignore[index]
    world = World(limit, seed, workers, slow, writing, deaths)
    world.run(400)
    assert busiest(world.arrived, limit.window_seconds) <= limit.allowed


@given(
    allowed=st.integers(1, 30),
    window=st.floats(0.5, 60),
    kept=st.integers(0, 5),
    size=st.integers(1, 40),
    seed=st.integers(0, 2**32),
    workers=st.integers(1, 4),
)
@settings(max_examples=50, deadline=None)
def test_any_limit_holds(allowed: int, window: float, kept: int, size: int, seed: int, workers: int) -> None:
    limit = Limit(allowed, window, kept, size)
    world = World(limit, seed, workers, slow=window / 20, writing=window / 20)
    world.run(300)
    assert busiest(world.arrived, window) <= allowed


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("slow", [0.005, 0.03])
def test_who_keeps_up_gets_97_percent_of_the_limit_for_as_long_as_it_takes(workers: int, slow: float) -> None:
    world = World(GENERAL, 7, workers, slow, writing=0.04)
    world.run(4000)
    took = (world.arrived[-1] - world.arrived[0]).total_seconds()
    assert len(world.arrived) / took >= 0.97 * GENERAL.allowed / GENERAL.window_seconds
    assert world.reservations < len(world.arrived) / 8


@pytest.mark.parametrize("calls", [50, 108, 116, 250, 1000])
def test_a_rested_budget_makes_no_run_longer_than_the_limit_does(calls: int) -> None:
    """115 pages of a first sync are a window's calls at once, and a few after it."""
    world = World(GENERAL, 7, 1, slow=0.005, writing=0.03)
    world.run(calls)
    took = (world.arrived[-1] - world.arrived[0]).total_seconds()
    assert took <= max(calls * 0.05, calls / 11 / 0.97)


def test_a_worker_that_is_alone_for_one_call_leaves_the_rest_to_others() -> None:
    ledger, held = reserve(Ledger(), START, GENERAL, 10)
    assert held == Slice((START,) * 10, START + LIFE)
    ledger = settle(ledger, at(1), GENERAL, Usage(held.until, answered=[0.5], unused=held.starts[1:]))
    _, others = reserve(ledger, at(1), replace(GENERAL, slice=200), 200)
    assert [start for start in others.starts if start == at(1)] == [at(1)] * 107


def test_what_a_killed_worker_reserved_comes_back_by_itself() -> None:
    ledger = Ledger()
    for _ in range(11):
        ledger, _ = reserve(ledger, START, GENERAL, 10)
    _, late = reserve(ledger, at(5), GENERAL, 10)
    assert late.starts[0] > at(15)
    _, held = reserve(ledger, at(15.06), GENERAL, 10)
    assert held.starts == (at(15.06),) * 10


def test_a_page_has_what_background_work_leaves_to_it() -> None:
    ledger = Ledger()
    for _ in range(11):
        ledger, held = reserve(ledger, START, GENERAL, 10)
    assert held.starts[-1] == START
    _, job = reserve(ledger, START, GENERAL, 10)
    assert job.starts[0] > at(10)
    for _ in range(GENERAL.kept):
        ledger, page = reserve(ledger, START, GENERAL, 1, urgent=True)
        assert page.starts == (START,)
    _, page = reserve(ledger, START, GENERAL, 1, urgent=True)
    assert page.starts[0] > at(10)


def test_nothing_is_reserved_that_nobody_will_wait_for() -> None:
    ledger, _ = reserve(Ledger(), START, Limit(1, 10), 1)
    after, nothing = reserve(ledger, at(1), Limit(1, 10), 1, patience=timedelta(seconds=5))
    assert after == ledger
    assert nothing == Slice((), at(15.05))


def test_one_refused_call_stops_everybody_for_as_long_as_it_says() -> None:
    ledger, held = reserve(Ledger(), START, GENERAL, 3)
    ledger = settle(ledger, at(1), GENERAL, Usage(held.until, answered=[0.1], unused=held.starts[1:], rest=10))
    for urgent in (False, True):
        assert reserve(ledger, at(2), GENERAL, 1, urgent=urgent)[1].starts == (at(11),)
    shorter = settle(ledger, at(2), GENERAL, Usage(held.until, rest=1))
    assert reserve(shorter, at(2), GENERAL, 1)[1].starts == (at(11),)
    assert reserve(ledger, at(12), GENERAL, 1)[1].starts == (at(12),)


def test_a_lower_limit_that_an_answer_tells_holds_from_then_on_and_a_higher_one_does_not() -> None:
    for told, expected in ((40, 40), (250, 110)):
        ledger, held = reserve(Ledger(), START, replace(GENERAL, kept=0), 1)
        heard = Usage(held.until, answered=[0.0], told=Told(told, told - 1, 10.0), told_after=(0.1, 0.0))
        ledger = settle(ledger, START, GENERAL, heard)
        _, rest = reserve(ledger, START, replace(GENERAL, kept=0), 500)
        assert rest.starts == (START,) * (expected - 1)


def test_a_longer_window_that_an_answer_tells_holds_from_then_on() -> None:
    limit = Limit(allowed=2, window_seconds=10)
    ledger, held = reserve(Ledger(), START, limit, 1)
    ledger = settle(ledger, START, limit, Usage(held.until, told=Told(2, 1, 20.0)))
    ledger, _ = reserve(ledger, at(15), limit, 2)
    _, late = reserve(ledger, at(15), limit, 1)
    assert late.starts[0] >= at(35)


def test_calls_that_only_hubspot_has_counted_take_room() -> None:
    """Somebody else uses our app on this account: of 110 only 20 are left, and we know of one."""
    ledger, held = reserve(Ledger(), START, GENERAL, 1)
    heard = Usage(held.until, answered=[0.2], told=Told(110, 20, 10.0), told_after=(0.3, 0.2))
    ledger = settle(ledger, at(1), GENERAL, heard)
    _, rest = reserve(ledger, at(1), replace(GENERAL, kept=0), 500)
    assert rest.starts == (at(1),) * 20
    _, later = reserve(ledger, at(11), replace(GENERAL, kept=0), 500)
    assert later.starts == (at(11),) * 110


@given(seed=st.integers(0, 2**32), workers=st.integers(1, 4), slow=st.sampled_from([0.01, 0.3]))
@settings(max_examples=20, deadline=None)
def test_what_we_have_counted_ourselves_is_never_taken_for_somebody_elses(seed: int, workers: int, slow: float) -> None:
    """HubSpot tells the truth about calls of ours: the ledger is never shorter than its count."""

    class Truthful(World):
        def told(self, now: float, ago: tuple[float, float]) -> int:
            reached = at(now - ago[1])
            return sum(reached - timedelta(seconds=10) < moment <= reached for moment in self.arrived)

    world = Truthful(replace(GENERAL, kept=0), seed, workers, slow, writing=0.02)
    for _ in range(12):
        world.run(len(world.arrived) + 40)
        now = (world.arrived[-1] - START).total_seconds() + 2 * slow
        counted = world.told(now, (0.0, 0.0))
        assert sum(free_at > at(now) for free_at in world.ledger.slots) >= counted


def test_a_limit_for_the_day_ends_with_the_day_and_counts_searches_as_well() -> None:
    limit = replace(GENERAL, a_day=12)
    ledger, held = reserve(Ledger(), START, limit, 10)
    ledger = settle(ledger, START, limit, Usage(held.until, unused=held.starts[:1]))
    ledger, held = reserve(ledger, START, limit, 10, day_calls_of_others=1)
    assert (len(held.starts), ledger.day_calls) == (2, 11)
    _, nothing = reserve(ledger, START, limit, 1, patience=timedelta(hours=1), day_calls_of_others=1)
    assert nothing == Slice((), datetime(2026, 11, 23, tzinfo=UTC))
    _, tomorrow = reserve(ledger, datetime(2026, 11, 23, 0, 0, 1, tzinfo=UTC), limit, 10)
    assert len(tomorrow.starts) == 10


def test_calls_of_the_day_that_only_hubspot_has_counted_count() -> None:
    limit = replace(GENERAL, a_day=1000)
    ledger, held = reserve(Ledger(), START, limit, 1)
    ledger = settle(ledger, START, limit, Usage(held.until, answered=[0.0], told=Told(100, 99, 10.0, day_calls=1000)))
    assert reserve(ledger, START, limit, 1, patience=timedelta(hours=1))[1].starts == ()


def test_an_answer_that_comes_after_the_slots_were_taken_over_changes_nothing() -> None:
    limit = Limit(allowed=1, window_seconds=1)
    ledger, held = reserve(Ledger(), START, limit, 1)
    ledger, _ = reserve(ledger, at(2), limit, 1)
    assert settle(ledger, at(2), limit, Usage(held.until, answered=[1.9])).slots == ledger.slots


def test_a_reservation_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one call"):
        reserve(Ledger(), START, GENERAL, 0)


def test_the_limits_are_hubspots_and_leave_a_search_a_second_to_other_apps() -> None:
    assert (GENERAL.allowed, GENERAL.window_seconds, GENERAL.a_day) == (110, 10, None)
    assert (SEARCH.allowed, SEARCH.window_seconds) == (4, 1)
    general = {name: limits["general"] for name, limits in TIERS.items() if limits}
    assert {name: (limit.allowed, limit.a_day) for name, limit in general.items()} == {
        "oauth": (110, None),
        "free": (100, 250_000),
        "professional": (190, 625_000),
        "enterprise": (190, 1_000_000),
    }
    assert all((limit.allowed - limit.kept) / limit.allowed >= 0.98 for limit in general.values())
    assert TIERS["off"] == {}
