"""The plan: asking and withdrawing, a move with its progress and evidence, calling it off, and both ways back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from awssome.control.messages import Making, MoveOut, WayBack
from awssome.database.schema import hubspot_mappings
from awssome.database.sessions import Sessions
from awssome.domain.errors import Code, Refused
from awssome.domain.instances import InstanceState
from awssome.domain.moves import MoveKind, Phase
from awssome.domain.tenants import ServerKind, Tier
from awssome.domain.times import new_id, now
from tests.portal.conftest import Browser, Stage
from tests.portal.fake import Tenant
from tests.portal.test_deal_pages import add, in_workspace
from tests.portal.test_hubspot_pages import connect
from tests.portal.test_settings_pages import move

OWN = "northwind.localhost:8000"


UP: dict[str, Any] = {
    "kind": MoveKind.UPGRADE,
    "source": "pool-1",
    "source_kind": ServerKind.POOL,
    "target": "dedicated-1",
    "target_kind": ServerKind.DEDICATED,
}
"""Of a way back: the upgrade that would be taken back."""


@pytest.fixture
def alice(stage: Stage, northwind: Tenant) -> Browser:
    """The owner of a workspace that is paid for."""
    northwind.tier = Tier.PAID
    return stage.browser("alice", OWN)


def calls(stage: Stage, *names: str) -> list[tuple[str, Any]]:
    """What the central API was asked to do."""
    return [(name, what) for name, what in stage.control.calls if name in names]


def at_step(
    tenant: Tenant, key: str, phase: Phase = Phase.COPYING, noted: dict[str, Any] | None = None, **values: Any
) -> MoveOut:
    """A move that is at a step."""
    found = move(tenant, phase, **{"write_pause_ms": None, "actions": ["cancel"]} | values)
    place = next(index for index, step in enumerate(found.steps) if step["key"] == key)
    for index, step in enumerate(found.steps):
        step |= {"state": "done" if index < place else "now" if index == place else "todo", "at": None}
    found.steps[0]["at"] = (now() - timedelta(seconds=30)).isoformat()
    found.steps[place] |= noted or {}
    return found


def test_who_has_asked_sees_what_it_waits_for_and_may_withdraw(stage: Stage, northwind: Tenant) -> None:
    alice = stage.browser("alice")
    page = alice.after(alice.send("/plan/upgrade", at="/plan")).text
    assert "waits for an operator, or for AWS Marketplace" in page and 'action="/plan/withdraw"' in page
    assert 'action="/plan/withdraw"' not in stage.browser("adam").get("/plan").text
    page = alice.after(alice.send("/plan/withdraw", at="/plan")).text
    assert "You no longer ask for the paid plan." in page and 'action="/plan/upgrade"' in page


def test_a_move_shows_how_far_it_is_and_how_long_it_takes(stage: Stage, northwind: Tenant, alice: Browser) -> None:
    northwind.move = at_step(
        northwind, "copy", noted={"rows": 12_000}, expected_rows=48_000, expected_seconds=90.0, rows=0
    )
    page = alice.get("/plan").text
    for shown in ("12,000 rows copied", 'max="48000" value="12000"', "Takes about 1", "30", "so far", "Cancel…"):
        assert shown in page, shown
    northwind.move = at_step(northwind, "catch_up", noted={"rows": 1}, expected_rows=9, expected_seconds=5.0)
    page = alice.get("/plan/progress", fragment=True).text
    assert "1 change carried over" in page and "takes longer than expected" in page
    assert 'max="9" value="5"' in page, "five of nine steps are done"


def test_a_move_is_told_without_names_of_servers(stage: Stage, northwind: Tenant, alice: Browser) -> None:
    northwind.move = at_step(northwind, "copy")
    page = alice.get("/plan").text
    assert "from the shared server to your own server" in page and "dedicated-1" not in page
    assert 'The paid plan is yours already: <a href="/hubspot">' in page
    northwind.move = at_step(northwind, "copy", kind=MoveKind.REBALANCE, target="pool-2", target_kind=ServerKind.POOL)
    page = alice.get("/plan").text
    assert "from the shared server pool-1 to the shared server pool-2" in page, "else nobody could tell them apart"
    assert "yours already" not in page


def test_why_a_move_failed_is_for_operators(stage: Stage, northwind: Tenant, alice: Browser) -> None:
    problem = "The database server at db-7.internal:5432 does not answer."
    northwind.move = at_step(northwind, "copy", Phase.FAILED, problem=problem)
    page = alice.get("/plan").text
    assert "nothing was lost" in page and "The operators know." in page and "db-7.internal" not in page


def test_more_rows_than_were_expected_never_overfill_the_bar(stage: Stage, northwind: Tenant, alice: Browser) -> None:
    northwind.move = at_step(northwind, "copy", noted={"rows": 500}, expected_rows=400, expected_seconds=5.0)
    assert 'max="500" value="500"' in alice.get("/plan").text


@pytest.mark.parametrize(
    ("minutes", "stuck", "told"),
    [
        (3, False, "3 min so far, usually 10 to 40 minutes"),
        (55, False, "takes longer than usual to make your server: 55 min so far"),
        (5, True, "has not made your server yet (5 min so far)"),
    ],
)
def test_a_server_that_aws_is_making_is_waited_for_in_calm_words(
    stage: Stage, northwind: Tenant, alice: Browser, minutes: int, stuck: bool, told: str
) -> None:
    making = Making(state=InstanceState.CREATING, since=now() - timedelta(minutes=minutes), stuck=stuck)
    northwind.move = at_step(northwind, "server", Phase.REQUESTED, making=making, problem="AWS is making it.")
    page = alice.get("/plan").text
    assert told in page and "You work on as before." in page
    assert "tried again" not in page or stuck, "waiting is no failure"


def test_only_an_owner_calls_a_move_off_that_follows_from_the_plan(
    stage: Stage, northwind: Tenant, alice: Browser
) -> None:
    northwind.move = at_step(northwind, "copy")
    assert 'action="/plan/cancel"' not in stage.browser("adam", OWN).get("/plan").text
    page = alice.get("/plan").text
    assert "You are on the paid plan all the same" in page
    told = alice.after(alice.send("/plan/cancel", at="/plan", move=str(northwind.move.id))).text
    assert "The move is called off." in told
    assert calls(stage, "cancel_own_move") == [("cancel_own_move", northwind.move.id)]
    northwind.move = at_step(northwind, "copy", cancel_requested=True)
    page = alice.get("/plan").text
    assert "The move is being called off." in page and "Your data moves while you work." not in page
    northwind.move = at_step(northwind, "copy", kind=MoveKind.REBALANCE)
    assert 'action="/plan/cancel"' not in alice.get("/plan").text, "that is the operators' business"


def test_the_evidence_stays_with_the_plan(stage: Stage, northwind: Tenant, alice: Browser) -> None:
    tables = [
        {"name": "deal_registrations", "rows": 250, "source": "12345678901234", "target": "12345678901234"},
        {"name": "deal_events", "rows": 984, "source": "-42", "target": "-42"},
    ]
    northwind.move = move(
        northwind,
        Phase.RETAINING,
        switched_at=now(),
        retain_until=now() + timedelta(days=30),
        actions=["rollback"],
        tables=[{**table, "equal": True} for table in tables],
        rows=1234,
        confirmed=True,
    )
    page = alice.get("/plan").text
    for shown in (
        "1,234 rows, all equal.",
        "Saving paused for 22",
        "nothing had been missed",
        "data-print",
        'href="#evidence"',
        'id="evidence"',
    ):
        assert shown in page, shown
    assert page.count("12345678901234") >= 2 and page.count("<code>deal_events</code>") == 1


def test_a_way_back_asks_for_the_name_and_says_what_it_means(stage: Stage, northwind: Tenant, alice: Browser) -> None:
    northwind.move = move(northwind, Phase.RETAINING, switched_at=now(), retain_until=now() + timedelta(days=3))
    northwind.way_back = WayBack(**UP, until=now() + timedelta(days=3))
    page = alice.get("/plan").text
    assert "Everything that you and HubSpot have changed since comes along." in page
    assert "You stay on the paid plan" in page and 'data-must-equal="Northwind Cloud"' in page
    wrong = alice.send("/plan/rollback", at="/plan", confirm="northwind cloud")
    assert wrong.status_code == 422 and "Type “Northwind Cloud” to go on." in wrong.text
    assert calls(stage, "roll_back") == []
    assert alice.send("/plan/rollback", at="/plan", confirm="Northwind Cloud").status_code == 303
    assert calls(stage, "roll_back") == [("roll_back", None)]
    assert 'action="/plan/rollback"' not in stage.browser("adam", OWN).get("/plan").text


def test_a_move_that_came_to_nothing_leaves_the_way_back_where_it_was(
    stage: Stage, northwind: Tenant, alice: Browser
) -> None:
    northwind.move = move(northwind, Phase.FAILED, kind=MoveKind.ROLLBACK, source="dedicated-1", target="pool-1")
    northwind.way_back = WayBack(**UP, until=now() + timedelta(days=3))
    page = alice.get("/plan").text
    for shown in (
        "Rollback: not finished.",
        "Go back to the shared server",
        "Stay on your own server",
        "Rollback until",
    ):
        assert shown in page, shown
    northwind.way_back = northwind.way_back.model_copy(update={"kind": MoveKind.REBALANCE})
    page = alice.get("/plan").text
    assert 'action="/plan/rollback"' not in page and "Until then the operators can have" in page
    northwind.way_back = None
    assert "Rollback until" not in alice.get("/plan").text


def test_a_downgrade_that_failed_says_that_the_plan_is_what_it_was(
    stage: Stage, northwind: Tenant, alice: Browser
) -> None:
    northwind.move = move(northwind, Phase.FAILED, kind=MoveKind.DOWNGRADE)
    page = alice.get("/plan").text
    assert "Is another free workspace connected to your HubSpot account?" in page
    assert "You stay on the paid plan" in page and 'action="/plan/downgrade"' in page


def test_a_downgrade_says_before_what_becomes_of_the_deals(
    stage: Stage, northwind: Tenant, alice: Browser, sessions: Sessions
) -> None:
    connect(sessions, northwind, imports=12)
    for number in range(12):
        _import(sessions, northwind, number)
    page = alice.get("/plan").text
    assert "The 10 deals that came in first stay in step with HubSpot." in page
    assert "The other 2 stay here, to read, edit and export, but no longer follow HubSpot." in page
    assert "AWS Marketplace" not in page
    northwind.subscribed = True
    assert "This does not end your subscription in AWS Marketplace" in alice.get("/plan").text
    wrong = alice.send("/plan/downgrade", at="/plan", confirm="")
    assert wrong.status_code == 422 and calls(stage, "downgrade") == []
    assert alice.send("/plan/downgrade", at="/plan", confirm=" Northwind Cloud ").status_code == 303
    assert calls(stage, "downgrade") == [("downgrade", None)]
    northwind.tier = Tier.FREE
    page = stage.browser("alice").get("/plan").text
    assert "10 of 10 deals" in page and "2 more came in while you paid, stay here, and no longer follow HubSpot" in page


def test_what_the_central_api_refuses_is_told_on_the_plan(stage: Stage, northwind: Tenant, alice: Browser) -> None:
    stage.control.refusals["downgrade"] = Refused(Code.UNAVAILABLE, "No shared server has room.", "Try tomorrow.")
    answer = alice.send("/plan/downgrade", at="/plan", confirm="Northwind Cloud")
    assert answer.status_code == 503 and "No shared server has room." in answer.text and "Paid" in answer.text


def test_nothing_is_offered_while_a_move_is_under_way(stage: Stage, northwind: Tenant, alice: Browser) -> None:
    northwind.move = at_step(northwind, "copy")
    page = alice.get("/plan").text
    assert 'action="/plan/downgrade"' not in page and 'action="/plan/rollback"' not in page


def _import(sessions: Sessions, tenant: Tenant, number: int) -> None:
    deal = {"registration_id": add(sessions, tenant, title=f"Deal {number}"), "deal_id": str(9001 + number)}
    known = {"portal_id": 4128831, "state": "live", "source_hash": b"0" * 32, "created_at": now()}
    seen = {"first_sync_id": new_id(), "last_sync_id": new_id()}
    in_workspace(
        sessions, tenant, lambda connection: connection.execute(hubspot_mappings.insert().values(deal | known | seen))
    )
