"""Plan, people, account, and the choice of a tenant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from awssome.control.messages import MoveOut, WayBack
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import STEPS, MoveKind, Phase
from awssome.domain.tenants import Role, ServerKind, Tier
from awssome.domain.times import new_id
from awssome.portal.account import browser_of
from tests.portal.conftest import Browser, Stage
from tests.portal.fake import AT, PASSWORD, Tenant


@pytest.fixture
def alice(stage: Stage, northwind: Tenant) -> Browser:
    return stage.browser("alice")


def move(tenant: Tenant, phase: Phase, **values: Any) -> MoveOut:
    """An upgrade that has come to a phase; the first two steps are done."""
    states = ["done", "done", "now", *["todo"] * (len(STEPS) - 3)]
    steps = [
        {"key": key, "label": label, "state": state, "seconds": 1.5 if state == "done" else None}
        for (key, label), state in zip(STEPS, states, strict=True)
    ]
    given = {
        "id": new_id(),
        "tenant_id": tenant.id,
        "company": tenant.company,
        "kind": MoveKind.UPGRADE,
        "phase": phase,
        "source": "pool-1",
        "source_kind": ServerKind.POOL,
        "target": "dedicated-1",
        "target_kind": ServerKind.DEDICATED,
        "requested_by": "olga@example.com",
        "requested_at": AT,
        "switched_at": None,
        "finished_at": None,
        "retain_until": None,
        "write_pause_ms": 22,
        "verified": True,
        "steps": steps,
        "tables": [],
        "rows": 1234,
        "problem": None,
        "actions": [],
    }
    return MoveOut.model_validate({**given, **values})


def way_back(move: MoveOut) -> WayBack:
    """What a move that has ended leaves open, as long as its source is kept."""
    assert move.retain_until is not None
    ends = ("kind", "source", "source_kind", "target", "target_kind")
    return WayBack(**{name: getattr(move, name) for name in ends}, until=move.retain_until)


def test_the_plan_shows_both_plans_and_what_is_used(alice: Browser) -> None:
    page = alice.get("/plan").text
    for shown in ("0 of 10 deals", "Upgrade", "pool-1", "Shared", "freemium.localhost:8000", "your plan"):
        assert shown in page


def test_an_upgrade_is_asked_for_by_an_owner_and_waits(stage: Stage, northwind: Tenant, alice: Browser) -> None:
    page = alice.after(alice.send("/plan/upgrade", at="/plan")).text
    assert "The upgrade is asked for." in page and 'data-poll="/plan/progress"' in page
    assert 'action="/plan/upgrade"' not in page
    assert 'action="/plan/upgrade"' not in stage.browser("adam").get("/plan").text


def test_an_upgrade_is_followed_step_by_step(stage: Stage, northwind: Tenant) -> None:
    northwind.tier, northwind.move = Tier.PAID, move(northwind, Phase.COPYING)
    alice = stage.browser("alice", "northwind.localhost:8000")
    piece = alice.get("/plan/progress", fragment=True).text
    assert "data-poll" in piece and "Copy every table" in piece and 'aria-current="step"' in piece
    until = datetime.now(UTC) + timedelta(days=30)
    northwind.move = move(northwind, Phase.RETAINING, retain_until=until, rows=10241, actions=["rollback"])
    northwind.way_back = way_back(northwind.move)
    assert "data-reload" in alice.get("/plan/progress", fragment=True).text
    page = alice.get("/plan").text
    for shown in ("Your data is on your own server.", "10,241 rows, all equal.", "Rollback until", "Your own"):
        assert shown in page


def test_a_move_that_failed_calms(stage: Stage, northwind: Tenant) -> None:
    northwind.tier, northwind.move = Tier.PAID, move(northwind, Phase.FAILED, problem="No server was free.")
    page = stage.browser("alice", "northwind.localhost:8000").get("/plan").text
    assert "not finished" in page and "nothing was lost" in page


def test_while_the_tenant_changes_hosts_the_open_page_is_loaded_again(
    stage: Stage, northwind: Tenant, alice: Browser
) -> None:
    alice.send("/plan/upgrade", at="/plan")
    northwind.tier = Tier.PAID
    piece = alice.get("/plan/progress", fragment=True)
    assert piece.status_code == 200 and "data-reload" in piece.text
    assert alice.get("/plan").headers["location"].startswith("http://northwind.localhost:8000/handover?ticket=")


def test_people_are_listed_with_their_roles(alice: Browser) -> None:
    page = alice.get("/people").text
    for shown in ("adam@example.com", "vera@example.com", "Owner", "Viewer", "4 people", "external-id-of-northwind"):
        assert shown in page


def test_somebody_is_invited(stage: Stage, alice: Browser) -> None:
    page = alice.after(alice.send("/people/invite", at="/people", email="new@example.com", role="viewer")).text
    assert "new@example.com is invited." in page
    body = next(what for name, what in stage.control.calls if name == "invite")
    assert (body.email, body.role) == ("new@example.com", Role.VIEWER)


def test_an_invitation_that_cannot_be_is_told_beside_the_field(stage: Stage, alice: Browser) -> None:
    wrong = {"email": "Belongs to your workspace already."}
    stage.control.refusals["invite"] = Refused(Code.CONFLICT, "This person is a member.", fields=wrong)
    answer = alice.send("/people/invite", at="/people", email="mia@example.com", role="viewer")
    assert answer.status_code == 409 and "Belongs to your workspace already." in answer.text
    assert 'value="mia@example.com"' in answer.text
    assert alice.send("/people/invite", at="/people", email="x@example.com", role="king").status_code == 422


def test_an_admin_neither_makes_owners_nor_touches_them(stage: Stage, northwind: Tenant) -> None:
    page = stage.browser("adam").get("/people").text
    assert 'value="owner"' not in page
    assert f"/people/{stage.control.accounts['alice@example.com'].id}/remove" not in page
    assert f"/people/{stage.control.accounts['mia@example.com'].id}/remove" in page


def test_roles_are_changed_and_members_removed(stage: Stage, alice: Browser) -> None:
    mia = stage.control.accounts["mia@example.com"].id
    assert "The role is changed." in alice.after(alice.send(f"/people/{mia}/role", at="/people", role="admin")).text
    assert "is removed." in alice.after(alice.send(f"/people/{mia}/remove", at="/people")).text
    assert ("change_role", (mia, Role.ADMIN)) in stage.control.calls
    assert ("remove_member", mia) in stage.control.calls


def test_the_last_owner_stays(stage: Stage, alice: Browser) -> None:
    own = stage.control.accounts["alice@example.com"].id
    answer = alice.send(f"/people/{own}/role", at="/people", role="viewer")
    assert answer.status_code == 409 and "needs at least one owner" in answer.text


def test_the_aws_role_is_linked_later(stage: Stage, northwind: Tenant, alice: Browser) -> None:
    arn = "arn:aws:iam::123456789012:role/awssome"
    page = alice.after(alice.send("/people/aws", at="/people", choice="link", role_arn=arn)).text
    assert "The AWS role is linked" in page and "Linked and tried" in page and arn in page
    wrong = alice.send("/people/aws", at="/people", choice="link", role_arn="nonsense")
    assert wrong.status_code == 422 and "<details open>" in wrong.text and 'value="nonsense"' in wrong.text


def test_the_password_is_changed_by_who_knows_it(stage: Stage, alice: Browser) -> None:
    wrong = alice.send("/account/password", at="/account", current="wrong wrong wrong", new=PASSWORD + "!")
    assert wrong.status_code == 422 and "not your present password" in wrong.text
    assert "wrong wrong" not in wrong.text and PASSWORD not in wrong.text
    right = alice.send("/account/password", at="/account", current=PASSWORD, new=PASSWORD + "!")
    assert "Your password is changed." in alice.after(right).text


def test_sessions_are_shown_and_ended(stage: Stage, alice: Browser) -> None:
    page = alice.get("/account").text
    assert "Firefox on Linux" in page and "This one" in page and "Safari on iPhone" in page
    assert "has ended" in alice.after(alice.send(f"/account/sessions/{new_id()}/end", at="/account")).text
    everywhere = alice.send("/account/sign-out-everywhere", at="/account")
    assert everywhere.headers["location"] == "/sign-in" and not alice.session
    assert list(stage.control.sessions_of("alice@example.com")) == []


def test_somebody_of_several_tenants_chooses(stage: Stage, northwind: Tenant, bikes: Tenant) -> None:
    stage.control.roles["alice@example.com", bikes.id] = Role.VIEWER
    alice = stage.browser("alice")
    assert alice.get("/deals").headers["location"] == "/workspaces"
    page = alice.get("/workspaces").text
    assert "Northwind Cloud" in page and "Bob&#39;s Bikes" in page and "Viewer" in page
    assert alice.send("/workspaces", at="/workspaces", tenant_id=bikes.id).headers["location"] == "/"
    assert "Bob&#39;s Bikes" in alice.get("/").text
    assert alice.get("/deals/new").status_code == 403
    alice.send("/workspaces", at="/workspaces", tenant_id=northwind.id)
    assert alice.get("/deals/new").status_code == 200


def test_a_tenant_with_a_host_of_its_own_is_reached_by_a_ticket(
    stage: Stage, northwind: Tenant, paulas: Tenant
) -> None:
    stage.control.roles["alice@example.com", paulas.id] = Role.MEMBER
    alice = stage.browser("alice", chosen=northwind)
    handed = alice.send("/workspaces", at="/workspaces", tenant_id=paulas.id).headers["location"]
    assert handed.startswith("http://paula.localhost:8000/handover?ticket=")
    assert alice.get("/deals").status_code == 200, "here everything is as it was"


def test_a_host_in_capitals_is_the_same_host(stage: Stage, northwind: Tenant, bikes: Tenant) -> None:
    stage.control.roles["alice@example.com", bikes.id] = Role.MEMBER
    alice = stage.browser("alice", chosen=northwind)
    alice.client.headers["Host"] = "Freemium.LOCALHOST:8000"
    answer = alice.send("/workspaces", at="/workspaces", tenant_id=bikes.id)
    assert answer.headers["location"] == "/"


def test_nobody_changes_to_a_tenant_that_is_not_theirs(stage: Stage, alice: Browser, bikes: Tenant) -> None:
    answer = alice.send("/workspaces", at="/workspaces", tenant_id=bikes.id)
    assert answer.status_code == 404 and "Bob" not in answer.text
    assert stage.control.denials == [("alice@example.com", "POST /workspaces")]


@pytest.mark.parametrize(
    ("agent", "shown"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19.0 Safari/604.1", "Safari on iPhone"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 15_0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36", "Chrome on Mac"),
        ("curl/8.5.0", "curl/8.5.0"),
        ("", "Unknown"),
    ],
)
def test_browsers_are_named_as_people_know_them(agent: str, shown: str) -> None:
    assert browser_of(agent) == shown
