"""What operators see of moves: found by kind and state, step by step, with what is noted; downgrades, and servers that
AWS is making."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from awssome.database.registry import audit, entitlements, hosts, instances, moves, servers, sessions, tables, tenants
from awssome.domain.instances import Blueprint, InstanceState
from awssome.domain.moves import Phase
from awssome.domain.tenants import Tier
from awssome.domain.times import now
from awssome.management import views
from awssome.management.app import create
from awssome.workflows import moves as moving
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.management.conftest import Desk, visit
from tests.workflows.moving import OLGA, mover, upgrade

MakeTenant = Callable[..., Tenancy]

BLUEPRINT = Blueprint("postgres", "db.t3.micro", 20)


def noted(services: WorkerServices, move_id: UUID, phase: Phase, steps: dict[str, Any], **values: Any) -> None:
    """As a mover leaves it."""
    with services.registry.begin() as connection:
        evidence = {"steps": steps, "tables": {}}
        wanted = tables.moves.c.id == move_id
        connection.execute(update(tables.moves).where(wanted).values(phase=phase, evidence=evidence, **values))


def test_moves_are_found_by_kind_and_by_state(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant, dedicated: str
) -> None:
    upgrade(services, make_tenant("Northwind Cloud"))
    for query, there in (
        ("", True),
        ("?kind=upgrade&state=under_way", True),
        ("?kind=rollback", False),
        ("?state=failed", False),
        ("?kind=made-up&state=made-up", True),
    ):
        page = desk.get(f"/moves{query}").text
        assert ("pool-1 → dedicated-1" in page) is there, query
    assert "No match" in desk.get("/moves?state=failed").text


def test_a_move_tells_its_cycles_its_tries_and_that_the_source_was_compared_again(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant, dedicated: str
) -> None:
    move_id = upgrade(services, make_tenant("Northwind Cloud"))
    steps: dict[str, Any] = {
        "copy": {"at": now().isoformat(), "seconds": 3.5, "rows": 12_345},
        "catch_up": {"at": now().isoformat(), "seconds": 0.8, "cycles": 3, "rows": 678},
        "cut_over": {"at": now().isoformat(), "seconds": 1.2, "tries": 3, "pauses_ms": [203, 801], "rows": 690},
        "confirm": {"at": now().isoformat(), "seconds": 0.4, "equal": True},
    }
    noted(services, move_id, Phase.SWITCHED, steps, switched_at=now(), write_pause_ms=31)
    page = desk.get(f"/moves/{move_id}").text
    for shown in ("12,345 rows", "678 keys in 3 cycles", "3 tries; given up after 0.2", "0.8", "nothing slipped past"):
        assert shown in page, shown
    assert 'action="/moves' not in page, "nothing can be done now"
    noted(services, move_id, Phase.RETAINING, steps | {"confirm": {"at": "", "seconds": 1, "equal": False}})
    page = desk.get(f"/moves/{move_id}").text
    assert "The frozen source is not what was carried over." in page
    assert "It stays until an operator has looked at it" in page


def test_a_source_that_differed_is_let_go_by_name(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant, dedicated: str
) -> None:
    tenancy = make_tenant("Northwind Cloud")
    move_id = upgrade(services, tenancy)
    assert mover(services).carry_on(move_id) is Phase.RETAINING
    page = f"/moves/{move_id}"
    assert "/release" not in desk.get(page).text, "it was equal, and goes when its retention ends"
    noted(services, move_id, Phase.RETAINING, {"confirm": {"at": "", "seconds": 1, "equal": False}})
    assert desk.send(f"{page}/release", at=page, confirm="northwind").status_code == 422
    begun = desk.after(desk.send(f"{page}/release", at=page, confirm="Northwind Cloud")).text
    assert "The source is archived, then dropped." in begun
    with services.registry.begin() as connection:
        assert moves.find(connection, move_id).phase is Phase.DROPPING
    assert desk.send(f"{page}/release", at=page, confirm="Northwind Cloud").status_code == 409


def test_a_verification_that_failed_names_the_keys(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant, dedicated: str
) -> None:
    move_id = upgrade(services, make_tenant("Northwind Cloud"))
    verify = {"at": now().isoformat(), "seconds": 0.2, "keys": {"stage_mappings": ["p|s", "<b>"]}}
    noted(services, move_id, Phase.FAILED, {"verify": verify}, problem="The copy differs.")
    page = desk.get(f"/moves/{move_id}").text
    assert "Rows that differ, by key: stage_mappings: p|s, &lt;b&gt;" in page


@pytest.mark.parametrize(
    ("state", "problem", "told"),
    [
        (InstanceState.CREATING, None, "AWS is making it"),
        (InstanceState.CREATING, "InsufficientDBInstanceCapacity", "AWS does not make a server"),
        (InstanceState.FAILED, "The quota is used up. Ask AWS for more.", "AWS has not made this server."),
    ],
)
def test_a_server_that_aws_is_making_says_how_far_it_is(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant, state: InstanceState, problem: str | None, told: str
) -> None:
    tenancy = make_tenant("Northwind Cloud")
    with services.registry.begin() as connection:
        move_id = moving.upgrade(connection, services.queue, OLGA, str(tenancy.id), None, BLUEPRINT)
        name = moves.row(connection, move_id).target
        server_id = servers.by_name(connection, name).id
        since = now() - timedelta(minutes=12)
        made = instances.find(connection, server_id)
        assert made is not None
        instances.turn(connection, made, state, requested_at=since)
        instances.tell(connection, server_id, problem)
    noted(services, move_id, Phase.REQUESTED, {"server": {"at": now().isoformat()}}, problem="AWS is making it.")
    with services.registry.begin() as connection:
        its_own = views.tenant(services, connection, tenants.find(connection, tenancy.id)).move
    assert its_own is not None and its_own.making is not None
    assert (its_own.making.stuck, its_own.making.problem) == (problem is not None, None), "the words are for operators"
    page = desk.get(f"/servers/{name}").text
    assert (
        told in page and page.count(problem or "nothing wrong") == (problem is not None) and f"/moves/{move_id}" in page
    )
    assert f'action="/servers/{name}/open"' not in page, "there is nothing to open yet"
    assert (f'action="/moves/{move_id}/retry"' in page) is (problem is not None), "who waits has nothing to try again"
    move = desk.get(f"/moves/{move_id}").text
    assert ("It waits for the target server." in move) is (problem is None)
    assert ("AWS is making it: 12\N{NO-BREAK SPACE}min" in move) is (problem is None)
    assert (problem or "") in move and ("AWS does not make the target server." in move) is (problem is not None)
    assert (f'action="/moves/{move_id}/retry"' in move) is (problem is not None)
    word = "Not made" if state is InstanceState.FAILED else "AWS is making it"
    assert f"{word}</span>" in move and f"{word}</span>" in desk.get("/moves").text
    assert f"{word}</span>" in desk.get("/servers").text


def test_before_an_upgrade_the_page_says_where_the_server_comes_from(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant, olga: UUID
) -> None:
    tenancy = make_tenant("Northwind Cloud")
    address = f"/tenants/{tenancy.slug}"
    assert "The data stays where it is until you" in desk.get(address).text
    with services.registry.begin() as connection:
        tenants.change(connection, tenancy.id, tier=Tier.PAID)
    page = desk.get(address).text
    assert f'action="{address}/upgrade"' in page, "a paid tenant on a pool is brought to a server of its own, too"
    assert ">Upgrade</span>" not in page, "yet nothing can begin without one"
    with services.registry.begin() as connection:
        token = sessions.create(connection, olga, "management", address="127.0.0.1", agent="Tests")
    page = visit(create(replace(services, blueprint=BLUEPRINT)), token).get(address).text
    assert "AWS makes one, usually in 10 to 40 minutes, and charges for it" in page and ">Upgrade</span>" in page


def test_a_downgrade_needs_the_name_and_follows_a_move(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant, dedicated: str
) -> None:
    tenancy = make_tenant("Northwind Cloud")
    assert mover(services).carry_on(upgrade(services, tenancy)) is Phase.RETAINING
    page = f"/tenants/{tenancy.slug}"
    assert "The ten HubSpot deals that came in first stay in step" in desk.get(page).text
    wrong = desk.send(f"{page}/downgrade", at=page, confirm="northwind")
    assert wrong.status_code == 422
    begun = desk.after(desk.send(f"{page}/downgrade", at=page, confirm="Northwind Cloud")).text
    assert "Downgrade under way" in begun
    with services.registry.begin() as connection:
        (move, *_) = moves.page(connection, tenant_id=tenancy.id).rows
    assert mover(services).carry_on(move.id) is Phase.RETAINING
    page = desk.get(page).text
    assert "Roll back…" not in page and "Upgrade…" in page, "the way back is an upgrade"


def test_on_a_pool_a_downgrade_says_that_nothing_had_to_move(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant
) -> None:
    tenancy = make_tenant("Northwind Cloud", tier=Tier.PAID)
    page = f"/tenants/{tenancy.slug}"
    told = desk.after(desk.send(f"{page}/downgrade", at=page, confirm="Northwind Cloud")).text
    assert "The tenant is on the free tier now. Its data stays where it is." in told


def test_what_goes_on_beside_the_tier_is_told(desk: Desk, services: WorkerServices, make_tenant: MakeTenant) -> None:
    tenancy = make_tenant("Northwind Cloud", tier=Tier.PAID)
    page = f"/tenants/{tenancy.slug}"
    quiet = desk.get(page).text
    assert "not settled in DNS" not in quiet and "subscription in AWS Marketplace" not in quiet
    with services.registry.begin() as connection:
        hosts.match(connection, services.addresses)
        (row,) = hosts.unsettled(connection)
        hosts.turn(connection, row, problem="Route 53 has no such zone.")
        entitlements.bind(connection, "product", "123456789012", "", tenancy.id, OLGA.name)
        bound = entitlements.Bound("product", "123456789012", tenancy.id, None)
        entitlements.settle(connection, bound, active=True, dimension=None, expires_at=None, problem=None)
    told = desk.get(page).text
    assert "Its own address is not settled in DNS." in told and "Route 53 has no such zone." in told
    assert "Its subscription in AWS Marketplace goes on" in told


def test_a_request_is_declined(desk: Desk, services: WorkerServices, make_tenant: MakeTenant) -> None:
    tenancy = make_tenant("Northwind Cloud")
    with services.registry.begin() as connection:
        tenants.change(connection, tenancy.id, upgrade_requested_at=now(), upgrade_requested_by=tenancy.owner_id)
    page = f"/tenants/{tenancy.slug}"
    assert "The request is declined." in desk.after(desk.send(f"{page}/decline", at=page)).text
    assert desk.send(f"{page}/decline", at=page).status_code == 409
    with services.registry.begin() as connection:
        assert "upgrade.withdrawn" in [row.action for row in audit.page(connection, tenant_id=tenancy.id).rows]
