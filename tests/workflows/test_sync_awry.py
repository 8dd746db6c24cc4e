"""Syncs when something is in the way: outages, kills, defects, and deals that nobody can take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select, update

from awssome.database import Connection
from awssome.database.schema import hubspot_accounts, sync_failures
from awssome.database.tenant import failures, imports, syncs
from awssome.domain import times
from awssome.domain.errors import Code, Refused
from awssome.domain.imports import Plan, unreadable
from awssome.domain.syncs import FailureState, IssueKind, SyncState
from awssome.domain.tenants import Tier
from awssome.hubspot.errors import HubSpotDown, RateLimited
from awssome.workflows import sync
from awssome.workflows.sync import ending, everything, ten, writing
from tests.hubspot.conftest import TAILSPIN, Sandbox
from tests.workflows.conftest import Workshop

Workshops = Callable[..., Workshop]


class Clock:
    """A clock that runs as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = timedelta(0)
        monkeypatch.setattr(ending, "now", self)

    def __call__(self) -> datetime:
        return times.now() + self.ahead


def test_an_outage_of_ten_minutes_is_sat_out(
    workshop: Workshops, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    paula = workshop(TAILSPIN, tier=Tier.PAID)
    clock, sync_id = Clock(monkeypatch), paula.queue()
    sandbox.order("faults", fail=[{"status": 503, "times": 1_000}])
    began, waits = clock(), []
    while clock() - began < timedelta(minutes=10):
        with pytest.raises(sync.Parked) as parked:
            paula.sync(sync_id)
        waiting = paula.find(sync_id)
        assert (waiting.state, waiting.resume_at, waiting.finished_at) == (SyncState.RUNNING, parked.value.until, None)
        assert waiting.problem == "HubSpot does not answer. Your deals here are safe."
        assert waiting.advice == "The sync goes on by itself."
        assert waiting.calls == waiting.retried > 0
        waits.append(parked.value.until - clock())
        clock.ahead += waits[-1]
    assert waits == sorted(waits)
    assert len(waits) < 10
    sandbox.http.delete("/_sandbox/faults")
    done = paula.sync(sync_id)
    assert (done.state, done.problem, done.resume_at, done.stumbles) == (SyncState.DONE, None, None, 0)
    assert len(paula.live()) == len(paula.deals(TAILSPIN))
    assert done.retried == waiting.retried > 0


def test_an_outage_of_more_than_a_day_ends_a_sync_that_comes_no_further(
    workshop: Workshops, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    paula = workshop(TAILSPIN, tier=Tier.PAID)
    clock, sync_id = Clock(monkeypatch), paula.queue()
    sandbox.order("faults", fail=[{"status": 503, "times": 1_000}])
    with pytest.raises(sync.Parked):
        paula.sync(sync_id)
    clock.ahead = timedelta(hours=23)
    with pytest.raises(sync.Parked):
        paula.sync(sync_id)
    clock.ahead = timedelta(hours=24)
    ended = paula.sync(sync_id)
    sandbox.http.delete("/_sandbox/faults")
    assert (ended.state, ended.open) == (SyncState.FAILED, False)
    assert ended.problem is not None
    assert "so for a day" in ended.problem
    assert paula.sync().state is SyncState.DONE


def test_a_page_that_came_in_between_two_outages_counts_as_progress(
    workshop: Workshops, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    paula = workshop(tier=Tier.PAID)
    clock, sync_id = Clock(monkeypatch), paula.queue()
    monkeypatch.setattr(everything, "LIST_PAGE", 10)
    monkeypatch.setattr(everything, "_TOGETHER", 1)
    sandbox.order("faults", fail=[{"status": 503, "times": 2}])
    with pytest.raises(sync.Parked):
        paula.sync(sync_id)
    sandbox.http.delete("/_sandbox/faults")
    clock.ahead = timedelta(hours=23, minutes=50)

    def go_down() -> bool:
        if paula.find(sync_id).seen:
            sandbox.order("faults", fail=[{"status": 503, "times": 20}])
        return False

    with pytest.raises(sync.Parked):
        paula.sync(sync_id, go_down)
    assert 0 < paula.find(sync_id).seen < 250
    clock.ahead += timedelta(hours=23, minutes=50)
    sandbox.order("faults", fail=[{"status": 503, "times": 2}])
    with pytest.raises(sync.Parked):
        paula.sync(sync_id)
    sandbox.http.delete("/_sandbox/faults")
    done = paula.sync(sync_id)
    assert (done.state, done.seen, len(paula.live())) == (SyncState.DONE, 250, 250)


@pytest.mark.parametrize(
    ("make_error", "least"),
    [
        (lambda: RateLimited(3_600.0), 3_590),
        (lambda: HubSpotDown(retry_after=86_400.0), 86_390),
        (lambda: HubSpotDown(retry_after=0.5), 29),
        (HubSpotDown, 29),
    ],
)
def test_a_sync_waits_as_long_as_hubspot_says(
    workshop: Workshops, monkeypatch: pytest.MonkeyPatch, make_error: Callable[[], Refused], least: float
) -> None:
    alice = workshop(TAILSPIN)

    def refuse(*_: object) -> None:
        raise make_error()

    monkeypatch.setattr(ten, "reconcile", refuse)
    with pytest.raises(sync.Parked) as parked:
        alice.sync()
    assert least <= (parked.value.until - times.now()).total_seconds() <= least + 11


def test_after_thirty_kills_a_blip_of_the_database_ends_nothing(
    workshop: Workshops, monkeypatch: pytest.MonkeyPatch
) -> None:
    paula = workshop(TAILSPIN, tier=Tier.PAID)
    sync_id = paula.queue()

    def kill() -> None:
        paula.workspace.do(
            lambda connection: syncs.claim(connection, sync_id, deal_limit=None, imported=0, portal_id=TAILSPIN)
        )

    for _ in range(30):
        kill()

    def blip(*_: object, **__: object) -> None:
        raise Refused(Code.UNAVAILABLE, "The database does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(imports, "known", blip)
        with pytest.raises(sync.NotNow):
            paula.sync(sync_id)
    assert paula.find(sync_id).open
    done = paula.sync(sync_id)
    assert (done.state, done.attempt, done.stumbles) == (SyncState.DONE, 32, 0)


@pytest.mark.parametrize("tier", [Tier.FREE, Tier.PAID])
def test_a_defect_is_tried_again_and_fails_in_the_end(
    workshop: Workshops, monkeypatch: pytest.MonkeyPatch, tier: Tier
) -> None:
    alice = workshop(TAILSPIN, tier=tier)
    sync_id = alice.queue()

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    for module in (ten, everything):
        monkeypatch.setattr(module, "reconcile", broken)
    for place in range(sync.STUMBLES):
        assert (alice.find(sync_id).open, alice.find(sync_id).stumbles) == (True, place)
        with pytest.raises(ZeroDivisionError):
            alice.sync(sync_id)
    failed = alice.find(sync_id)
    assert (failed.state, failed.open, failed.stumbles) == (SyncState.FAILED, False, sync.STUMBLES)
    assert failed.calls > 0
    assert failed.reference
    assert failed.problem is not None
    assert "defect in Awssome" in failed.problem


def test_a_deal_that_the_database_refuses_is_left_behind_by_itself(
    workshop: Workshops, monkeypatch: pytest.MonkeyPatch
) -> None:
    paula = workshop(TAILSPIN, tier=Tier.PAID)
    poison = sorted(deal.id for deal in paula.deals(TAILSPIN))[7]
    spoil(monkeypatch, poison)
    done = paula.sync()
    there = {deal.id for deal in paula.deals(TAILSPIN)}
    assert (done.state, done.failed, done.created) == (SyncState.DONE, 1, len(there) - 1)
    assert set(paula.live()) == there - {poison}
    (issue,) = [one for one in paula.issues(done) if one.kind is IssueKind.FAILED]
    assert (issue.deal_id, issue.field, issue.code) == (poison, "deal_amount", "unwritable")
    assert "15 digits" in issue.reason
    assert "Deal amount" in issue.advice
    (failure,) = inbox(paula)
    assert (failure.deal_id, failure.state, failure.attempts, failure.field) == (poison, "open", 1, "deal_amount")
    monkeypatch.undo()
    forget_full_pass(paula)
    done = paula.sync()
    assert (done.failed, done.created, set(paula.live())) == (0, 1, there)
    (failure,) = inbox(paula)
    assert (failure.state, failure.resolved_by) == (FailureState.RESOLVED, "HubSpot")


def test_a_known_deal_that_turns_unwritable_keeps_what_it_was(
    workshop: Workshops, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    paula = workshop(TAILSPIN, tier=Tier.PAID)
    paula.sync()
    poison, other = sorted(paula.live())[3:5]
    before = paula.live()[poison].row
    for deal_id in (poison, other):
        edit_in_hubspot(sandbox, deal_id, amount="77")
    spoil(monkeypatch, poison)
    done = paula.sync()
    assert (done.failed, done.updated) == (1, 1)
    assert paula.live()[poison].row == before
    assert paula.live()[other].row.deal_amount == 77


def test_a_failure_that_a_user_has_dismissed_stays_so_while_the_reason_is_the_same(workshop: Workshops) -> None:
    paula = workshop(TAILSPIN, tier=Tier.PAID)
    first = paula.sync()

    def work(connection: Connection, reason: str, dismiss: bool) -> None:
        failures.note(connection, TAILSPIN, first.id, [unreadable("77", "A deal", reason)], times.now())
        if dismiss:
            connection.execute(update(sync_failures).values(state=FailureState.DISMISSED, resolved_by="a@b.c"))

    paula.workspace.do(lambda connection: work(connection, "It is broken.", True))
    paula.workspace.do(lambda connection: work(connection, "It is broken.", False))
    (failure,) = inbox(paula)
    assert (failure.state, failure.attempts, failure.resolved_by) == (FailureState.DISMISSED, 2, "a@b.c")
    paula.workspace.do(lambda connection: work(connection, "It is broken in another way.", False))
    (failure,) = inbox(paula)
    assert (failure.state, failure.attempts, failure.resolved_by) == (FailureState.OPEN, 3, None)


def inbox(workshop: Workshop) -> list[Any]:
    """What stands in the inbox, and what stood there."""
    query = select(sync_failures).order_by(sync_failures.c.deal_id)
    return list(workshop.workspace.do(lambda connection: connection.execute(query).all()))


def forget_full_pass(workshop: Workshop) -> None:
    """Let the last full pass be long ago, so that the next sync is one."""
    long_ago = times.now() - timedelta(days=8)
    workshop.workspace.do(lambda connection: connection.execute(update(hubspot_accounts).values(full_at=long_ago)))


def edit_in_hubspot(sandbox: Sandbox, deal_id: str, **properties: str) -> None:
    body = {"portal_id": TAILSPIN, "properties": properties}
    assert sandbox.http.patch(f"/_sandbox/deals/{deal_id}", json=body).status_code == 200


def spoil(monkeypatch: pytest.MonkeyPatch, deal_id: str) -> None:
    """Let the deal's amount be one that no column keeps."""
    planning = writing.plan

    def spoilt(*arguments: Any) -> Plan:
        made = planning(*arguments)
        amount = {"deal_amount": Decimal(10) ** 17}
        made.created = [
            replace(one, values={**one.values, **amount}) if one.deal_id == deal_id else one for one in made.created
        ]
        made.changed = [
            replace(one, after={**one.after, **amount}) if one.deal_id == deal_id else one for one in made.changed
        ]
        return made

    monkeypatch.setattr(writing, "plan", spoilt)
