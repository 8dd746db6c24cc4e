"""What a tenant may take of its server: connections, its turn when they are scarce, time for a statement."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace

import pytest

from awssome.database.sessions import Sessions
from awssome.domain.errors import Code, Refused
from awssome.domain.limits import LIMITS
from awssome.domain.tenants import Placement, Tier
from tests.engines import SESSION_ID, only_postgresql

FLOODING, THREADS_EACH, ROUNDS = 3, 5, 20


@pytest.mark.parametrize("tier", Tier)
def test_a_tenant_has_the_connections_of_its_tier(tier: Tier, make_workspace: Callable[[], Placement]) -> None:
    placement = replace(make_workspace(), tier=tier)
    with closing(Sessions(budget=60, wait=0.1)) as sessions, ExitStack() as held:
        for _ in range(LIMITS[tier].connections):
            held.enter_context(sessions.open(placement))
        with pytest.raises(Refused) as refused, sessions.open(placement):
            pass
        assert (refused.value.code, refused.value.retry_after) == (Code.LIMITED, 2)
        assert sessions.held() == LIMITS[tier].connections


def test_with_another_tier_a_tenant_gets_other_connections(make_workspace: Callable[[], Placement]) -> None:
    """A connection has the time limit of the tier it was opened for."""
    placement = make_workspace()
    with closing(Sessions()) as sessions:
        seen = []
        for tier in (Tier.FREE, Tier.PAID, Tier.FREE):
            with sessions.open(replace(placement, tier=tier)) as connection:
                seen.append(connection.exec_driver_sql(SESSION_ID[placement.engine]).scalar_one())
        assert seen[0] == seen[2] != seen[1]


def test_who_waits_for_a_connection_is_not_overtaken_by_tenants_that_come_again_and_again(
    make_workspace: Callable[[], Placement],
) -> None:
    """Three tenants flood a server that has two connections. Whoever comes then is served after those who were there
    before, once each, however often they come back: their own idle connections help them nothing."""
    flooding, quiet = [make_workspace() for _ in range(FLOODING)], make_workspace()
    turns, stop, overtaken = itertools.count(), threading.Event(), []
    with closing(Sessions(budget=2, each=2, wait=30)) as sessions:

        def floods(placement: Placement) -> None:
            while not stop.is_set():
                with sessions.open(placement):
                    next(turns)

        crowd = [threading.Thread(target=floods, args=(each,)) for each in flooding for _ in range(THREADS_EACH)]
        for thread in crowd:
            thread.start()
        try:
            for _ in range(ROUNDS):
                before = next(turns)
                with sessions.open(quiet):
                    overtaken.append(next(turns) - before)
        finally:
            stop.set()
            for thread in crowd:
                thread.join(30)
    # Each of the crowd once, and those who came between our look at the count and our place in the line.
    assert sorted(overtaken)[ROUNDS // 2] <= FLOODING * THREADS_EACH + 2
    assert max(overtaken) <= 3 * FLOODING * THREADS_EACH


def test_a_tenant_at_its_own_limit_does_not_hold_up_the_line(make_workspace: Callable[[], Placement]) -> None:
    busy, other = make_workspace(), make_workspace()
    with closing(Sessions(budget=3, each=1, wait=60)) as sessions:

        def opens() -> None:
            with sessions.open(busy):
                pass

        with sessions.open(busy):
            waits = threading.Thread(target=opens)
            waits.start()
            for _ in range(20):
                with sessions.open(other):
                    pass
            assert waits.is_alive()
        waits.join(60)
        assert not waits.is_alive()


@only_postgresql
def test_a_statement_ends_after_the_time_of_its_tier(
    make_workspace: Callable[[], Placement], monkeypatch: pytest.MonkeyPatch
) -> None:
    placement = make_workspace()
    for tier in Tier:
        with closing(Sessions()) as sessions, sessions.open(replace(placement, tier=tier)) as connection:
            shown = connection.exec_driver_sql("SHOW statement_timeout").scalar_one()
            assert shown == f"{LIMITS[tier].statement_seconds}s"
    monkeypatch.setitem(LIMITS, Tier.FREE, replace(LIMITS[Tier.FREE], statement_seconds=1))  # type: ignore[arg-type]
    with closing(Sessions()) as sessions:
        began = time.monotonic()
        with pytest.raises(Refused) as refused, sessions.open(placement) as connection:
            connection.exec_driver_sql("SELECT pg_sleep(20)")
        assert refused.value.code is Code.UNAVAILABLE
        assert "too long" in refused.value.message
        assert time.monotonic() - began > 0.9
        with sessions.open(replace(placement, tier=Tier.PAID)) as connection:
            connection.exec_driver_sql("SELECT pg_sleep(1.2)")
