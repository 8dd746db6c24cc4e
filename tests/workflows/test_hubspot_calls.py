"""An account's budget of calls, shared by workers through the registry, against a sandbox with HubSpot's limits."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import select, text

from awssome.database.registry import Registry, budgets
from awssome.database.registry.tables import hubspot_budgets
from awssome.domain.budgets import Limit, Told
from awssome.domain.errors import Code, Refused
from awssome.hubspot.errors import Cancelled, RateLimited
from awssome.hubspot.limits import GENERAL, LIMITS, SEARCH
from awssome.hubspot.transport import Patience
from awssome.workflows.hubspot_access import HubSpotAccess
from awssome.workflows.hubspot_budgets import Share
from tests.hubspot.conftest import NORTHWIND, TAILSPIN, WINGTIP, Sandbox
from tests.workflows.conftest import Workshop

PORTAL = 4711


@pytest.fixture
def shared(registry: Registry) -> Callable[..., Share]:
    """Makes a worker's share in the budget of an account."""

    def make(portal_id: int = PORTAL, limits: Any = LIMITS, **settings: Any) -> Share:
        return Share(registry, limits, portal_id, **settings)

    return make


@pytest.fixture(scope="module")
def strict_sandbox(start_sandbox: Callable[..., Sandbox]) -> Sandbox:
    """A sandbox with HubSpot's limits. Each test takes a portal of its own, because the limits are by portal."""
    return start_sandbox("--deals", "20")


def rows(registry: Registry, portal_id: int = PORTAL) -> dict[str, Any]:
    """The account's budgets by kind."""
    with registry.begin() as connection:
        found = connection.execute(select(hubspot_budgets).where(hubspot_budgets.c.portal_id == portal_id))
        return {row.kind: row for row in found}


def busy(row: Any) -> int:
    """Slots that are not free yet, after a slice was handed in."""
    return sum(free_at > row.next_at for free_at in row.slots)


def made(share: Share, calls: int, kind: Any = "general") -> None:
    """So many calls that are answered at once."""
    for _ in range(calls):
        share.take(kind)(None, None)


def test_slices_grow_as_they_are_used_and_what_is_not_used_is_given_back(
    shared: Callable[..., Share], registry: Registry
) -> None:
    share = shared()
    made(share, 1)
    assert share.reservations == 1
    made(share, 27)  # after a slice of 1 slices of 2, 4, 8, 10 and 10 are taken
    assert share.reservations == 6
    assert rows(registry)["general"].day_calls == 35
    share.close()
    row = rows(registry)["general"]
    assert (busy(row), row.day_calls) == (28, 28)


def test_who_makes_one_call_reserves_one(shared: Callable[..., Share], registry: Registry) -> None:
    share = shared()
    made(share, 1)
    share.close()
    assert share.reservations == 2
    assert busy(rows(registry)["general"]) == 1


def test_each_kind_has_a_budget_of_its_own_and_a_kind_without_limit_none(
    shared: Callable[..., Share], registry: Registry
) -> None:
    share = shared()
    made(share, 3)
    made(share, 2, "search")
    assert {kind: row.day_calls for kind, row in rows(registry).items()} == {"general": 3, "search": 2}
    free = shared(limits={})
    made(free, 500)
    free.close()
    assert free.reservations == 0


def test_a_call_whose_turn_comes_too_late_is_refused_and_nothing_is_reserved(
    shared: Callable[..., Share], registry: Registry
) -> None:
    limits = {"general": Limit(allowed=2, window_seconds=300)}
    made(shared(limits=limits), 2)
    before = rows(registry)["general"]
    with pytest.raises(RateLimited) as refused:
        shared(limits=limits, patience=60).take("general")
    assert 290 <= (refused.value.retry_after or 0) <= 310
    assert (refused.value.code, refused.value.transient) == (Code.LIMITED, True)
    assert rows(registry)["general"].slots == before.slots


def test_who_is_told_to_stop_while_waiting_for_a_turn_stops(shared: Callable[..., Share]) -> None:
    limits = {"general": Limit(allowed=1, window_seconds=20)}
    made(shared(limits=limits), 1)
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        shared(limits=limits, should_stop=stop.is_set).take("general")
    assert time.monotonic() - began < 5


def test_a_page_is_served_while_a_sync_has_used_up_its_part(shared: Callable[..., Share]) -> None:
    sync = shared(limits={"general": replace(GENERAL, slice=120)})
    made(sync, GENERAL.allowed - GENERAL.kept)
    with pytest.raises(RateLimited):
        shared(patience=1).take("general")
    made(shared(patience=1, urgent=True), GENERAL.kept)
    with pytest.raises(RateLimited):
        shared(patience=1, urgent=True).take("general")


def test_a_refused_call_of_one_worker_stops_the_others(shared: Callable[..., Share], registry: Registry) -> None:
    one, other = shared(), shared(patience=1)
    made(one, 5)
    made(other, 1)
    answered = one.take("general")
    answered(None, 30.0)
    row = rows(registry)["general"]
    assert row.limited == 1
    assert busy(row) == 7, "the rest of the slice was given back"
    for worker in (other, shared(patience=1), shared(patience=1, urgent=True)):
        with pytest.raises(RateLimited) as refused:
            made(worker, 3)
        assert 25 <= (refused.value.retry_after or 0) <= 30
    made(shared(), 1, "search")  # another limit, which was not met


def test_a_call_that_is_answered_after_its_slice_was_handed_in_is_entered_once(
    shared: Callable[..., Share], registry: Registry
) -> None:
    """Two threads: one meets the limit while the other's call is on its way."""
    share = shared()
    made(share, 3)
    late, refused = share.take("general"), share.take("general")
    refused(None, 1.0)
    before = rows(registry)["general"]
    assert (busy(before), before.day_calls) == (5, 5)
    late(None, 1.0)
    share.close()
    after = rows(registry)["general"]
    assert (busy(after), after.day_calls, after.limited) == (5, 5, 2)
    assert max(after.slots) < max(before.slots), "the last call under way is known to be answered"


def test_what_answers_tell_corrects_the_budget_of_all_workers(shared: Callable[..., Share], registry: Registry) -> None:
    """The account's limit is lower than we think, and somebody else has used most of it."""
    one, other = shared(), shared(patience=1)
    one.take("general")(Told(allowed=50, remaining=20, window_seconds=10.0), None)
    one.close()
    row = rows(registry)["general"]
    assert (row.max_calls, row.window_ms) == (50, 10_000)
    made(other, 20 - GENERAL.kept)
    with pytest.raises(RateLimited):
        made(other, 1)


def test_a_limit_for_the_day_is_common_to_all_kinds(shared: Callable[..., Share]) -> None:
    limits = {"general": replace(GENERAL, a_day=12), "search": replace(SEARCH, a_day=12)}
    share = shared(limits=limits)
    made(share, 3, "search")
    made(share, 9)
    for kind in ("general", "search"):
        with pytest.raises(RateLimited) as refused:
            share.take(kind)  # type: ignore[arg-type]
        assert 0 < (refused.value.retry_after or 0) <= 86_400


def test_a_registry_that_does_not_answer_at_the_end_does_no_harm(shared: Callable[..., Share]) -> None:
    share = shared()
    made(share, 2)

    with patch.object(share, "_registry", Registry("postgresql+psycopg://nobody@127.0.0.1:1/none")):
        share.close()
        with pytest.raises(Refused, match="does not answer"):
            share.take("general")


def test_workers_that_reserve_at_the_same_time_get_different_calls(registry: Registry) -> None:
    """Twelve threads at once: as many calls at once as are allowed, and not one more."""
    limit = Limit(allowed=40, window_seconds=60, slice=5)
    now_or_never: list[int] = []

    def reserve() -> None:
        for _ in range(3):
            with registry.begin() as connection:
                given = budgets.exchange(connection, PORTAL, "general", limit, calls=5, patience=timedelta(seconds=1))
            assert given.slice is not None
            now_or_never.append(len(given.slice.starts))

    threads = [threading.Thread(target=reserve) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(now_or_never) == 40


def test_an_old_worker_beside_new_ones_finds_its_column(registry: Registry, shared: Callable[..., Share]) -> None:
    """The version before keeps one instant in the row and knows nothing of slots."""
    with registry.begin() as connection:
        connection.execute(
            text("INSERT INTO hubspot_budgets (portal_id, kind, next_at) VALUES (:id, 'general', now())"),
            {"id": PORTAL},
        )
    share = shared()
    made(share, 3)
    share.close()
    row = rows(registry)["general"]
    assert busy(row) == 3
    assert row.next_at is not None


def test_two_processes_share_a_budget_and_no_call_is_refused(
    strict_sandbox: Sandbox, registry_url: str, registry: Registry
) -> None:
    token = strict_sandbox.connect(NORTHWIND).access_token
    strict_sandbox.http.delete("/_sandbox/stats")
    given = {"registry": registry_url, "hubspot": strict_sandbox.url, "token": token, "portal_id": NORTHWIND}
    command = [sys.executable, "-m", "tests.workflows.calling", json.dumps({**given, "lists": 62, "searches": 12})]
    began = time.monotonic()
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [json.loads(worker.communicate(timeout=60)[0]) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert time.monotonic() - began > 10, "124 calls do not fit into one window"
    assert told == [{"calls": 74, "failed": 0}] * 2
    assert strict_sandbox.statuses("deals.list") == {"200": 124}
    assert strict_sandbox.statuses("deals.search") == {"200": 24}
    assert {kind: row.limited for kind, row in rows(registry, NORTHWIND).items()} == {"general": None, "search": None}


def test_who_is_told_what_a_stranger_uses_leaves_it_to_the_stranger(
    strict_sandbox: Sandbox, shared: Callable[..., Share]
) -> None:
    with strict_sandbox.client(WINGTIP) as stranger:
        for _ in range(60):
            stranger.list_deals(limit=1)
    with strict_sandbox.client(WINGTIP, budget=shared(WINGTIP, patience=1)) as client:
        with pytest.raises(RateLimited):
            while True:
                client.list_deals(limit=1)
        assert client.rate_limited == 0
        assert 40 <= client.calls <= 110 - 60


def test_a_refusal_that_one_worker_met_keeps_the_other_from_calling(
    strict_sandbox: Sandbox, shared: Callable[..., Share]
) -> None:
    """A stranger has used up the limit all at once: one call finds out, and no further one is made."""
    with strict_sandbox.client(TAILSPIN) as stranger:
        for _ in range(110):
            stranger.list_deals(limit=1)
    hasty = Patience(retries=0, seconds=1)
    clients = [strict_sandbox.client(TAILSPIN, budget=shared(TAILSPIN, patience=1), patience=hasty) for _ in range(2)]
    for client in clients:
        with client, pytest.raises(RateLimited) as refused:
            client.list_deals()
        assert (refused.value.retry_after or 0) > 9
    assert [(client.calls, client.rate_limited) for client in clients] == [(1, 1), (0, 0)]


def test_a_refresh_is_a_call_of_the_budget_and_waits_while_the_account_is_blocked(
    workshop: Callable[..., Workshop], shared: Callable[..., Share], registry: Registry
) -> None:
    alice = workshop(NORTHWIND)
    services = replace(alice.services, hubspot_limits=LIMITS)
    access = HubSpotAccess(services, alice.workspace)
    before = access.token()
    assert access.token(force=True) != before
    assert rows(registry, NORTHWIND)["general"].day_calls == 1
    shared(NORTHWIND).take("general")(None, 600.0)
    with pytest.raises(RateLimited):
        access.token(force=True)
    assert rows(registry, NORTHWIND)["general"].day_calls == 2
