"""Moves that follow from the plan: a downgrade and its tier, what an owner may call off or take back, and what not."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest

from awssome.database.registry import audit, moves, servers, tenants
from awssome.database.registry.audit import Actor
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import MoveKind, MoveState, Phase
from awssome.domain.tenants import ServerKind, Tier
from awssome.domain.times import now
from awssome.management import operations, views
from awssome.workflows import moves as moving
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy, register_server
from tests.workflows.moving import OLGA, Truth, mover, placement_of, rollback, the_move, upgrade

ALICE = Actor("alice@northwind.example")

pytestmark = pytest.mark.usefixtures("dedicated")


@pytest.fixture
def paid(services: WorkerServices, alice: Tenancy) -> Tenancy:
    """The same, on a server of its own."""
    assert mover(services).carry_on(upgrade(services, alice)) is Phase.RETAINING
    return alice


def downgrade(services: WorkerServices, tenancy: Tenancy) -> UUID | None:
    with services.registry.begin() as connection:
        return moving.downgrade(connection, services.queue, ALICE, str(tenancy.id))


def tenant_of(services: WorkerServices, tenancy: Tenancy) -> tenants.Tenant:
    with services.registry.begin() as connection:
        return tenants.find(connection, tenancy.id)


def server_of(services: WorkerServices, tenancy: Tenancy) -> str:
    with services.registry.begin() as connection:
        return str(servers.of_placement(connection, placement_of(services, tenancy).placement_id).name)


def actions(services: WorkerServices, tenancy: Tenancy) -> list[str]:
    with services.registry.begin() as connection:
        return [row.action for row in audit.page(connection, tenant_id=tenancy.id, limit=100).rows]


def test_a_downgrade_brings_everything_to_a_pool_and_the_tier_changes_with_the_placement(
    services: WorkerServices, paid: Tenancy
) -> None:
    truth = Truth.of(services, paid)
    move_id = downgrade(services, paid)
    assert move_id is not None
    assert the_move(services, move_id).kind == MoveKind.DOWNGRADE
    assert tenant_of(services, paid).tier is Tier.PAID, "until the data is there"
    tiers: list[Tier] = []
    carried = mover(services, step=lambda name: tiers.append(tenant_of(services, paid).tier)).carry_on(move_id)
    assert carried is Phase.RETAINING
    assert tiers[0] is Tier.PAID and tiers[-1] is Tier.FREE
    assert tiers == sorted(tiers, key=[Tier.PAID, Tier.FREE].index), "it changes once"
    truth.holds_at(the_move(services, move_id).target_id)
    assert server_of(services, paid) == "pool-1"
    assert {"move.requested", "move.completed"} <= set(actions(services, paid))


def test_who_calls_a_downgrade_off_stays_on_the_paid_tier(services: WorkerServices, paid: Tenancy) -> None:
    move_id = downgrade(services, paid)
    assert move_id is not None
    with services.registry.begin() as connection:
        operations.cancel_own_move(services, connection, ALICE, paid.id, move_id)
    assert mover(services).carry_on(move_id) is Phase.CANCELLED
    assert tenant_of(services, paid).tier is Tier.PAID
    assert server_of(services, paid) == "dedicated-1"


def test_a_downgrade_without_room_on_a_pool_changes_nothing(services: WorkerServices, paid: Tenancy) -> None:
    with services.registry.begin() as connection:
        servers.change(connection, servers.by_name(connection, "pool-1").id, open=False)
    with pytest.raises(Refused) as refused:
        downgrade(services, paid)
    assert refused.value.code is Code.UNAVAILABLE
    assert tenant_of(services, paid).tier is Tier.PAID


def test_on_a_pool_the_tier_changes_at_once_and_only_once(services: WorkerServices, alice: Tenancy) -> None:
    with services.registry.begin() as connection:
        moving.grant(connection, OLGA, str(alice.id))
    assert downgrade(services, alice) is None
    assert tenant_of(services, alice).tier is Tier.FREE
    assert actions(services, alice).count("tenant.downgraded") == 1
    with pytest.raises(Refused) as refused:
        downgrade(services, alice)
    assert refused.value.code is Code.CONFLICT


def test_nobody_downgrades_while_the_tenant_is_on_its_way(services: WorkerServices, alice: Tenancy) -> None:
    upgrade(services, alice)
    with pytest.raises(Refused) as refused:
        downgrade(services, alice)
    assert refused.value.code is Code.CONFLICT
    assert tenant_of(services, alice).tier is Tier.PAID


def test_other_moves_leave_the_tier_alone(services: WorkerServices, paid: Tenancy) -> None:
    assert mover(services).carry_on(rollback(services, paid)) is Phase.RETAINING
    assert tenant_of(services, paid).tier is Tier.PAID


def test_the_free_tier_has_no_way_back_to_a_server_of_its_own_but_an_upgrade(
    services: WorkerServices, paid: Tenancy
) -> None:
    move_id = downgrade(services, paid)
    assert move_id is not None
    mover(services).carry_on(move_id)
    with pytest.raises(Refused) as refused:
        rollback(services, paid)
    assert refused.value.code is Code.CONFLICT and "upgrade" in refused.value.advice
    with services.registry.begin() as connection:
        assert operations.move(connection, move_id).actions == [], "nor is it offered"
    truth = Truth.of(services, paid)
    again = upgrade(services, paid)
    assert mover(services).carry_on(again) is Phase.RETAINING
    assert server_of(services, paid) == "dedicated-1", "the one that it had comes first"
    truth.holds_at(the_move(services, again).target_id)


def test_an_owner_touches_only_what_follows_from_the_plan(
    services: WorkerServices, alice: Tenancy, make_tenant: Callable[..., Tenancy], pool_url: str
) -> None:
    register_server(services, "pool-2", ServerKind.POOL, pool_url)
    with services.registry.begin() as connection:
        theirs = moving.move_to(connection, services.queue, OLGA, str(alice.id), "pool-2")
    bob = make_tenant("Bikes", "bob@bikes.example")
    for who, why in ((alice, "a move of the operators"), (bob, "another tenant's move")):
        with pytest.raises(Refused) as refused, services.registry.begin() as connection:
            operations.cancel_own_move(services, connection, ALICE, who.id, theirs)
        assert refused.value.code is Code.NOT_FOUND, why
    assert mover(services).carry_on(theirs) is Phase.RETAINING
    with pytest.raises(Refused) as refused, services.registry.begin() as connection:
        moving.roll_back_own(connection, services.queue, ALICE, str(alice.id))
    assert refused.value.code is Code.CONFLICT and "operators" in refused.value.message


def test_an_owner_takes_an_upgrade_back(services: WorkerServices, paid: Tenancy) -> None:
    with services.registry.begin() as connection:
        back = moving.roll_back_own(connection, services.queue, ALICE, str(paid.id))
    assert mover(services).carry_on(back) is Phase.RETAINING
    assert server_of(services, paid) == "pool-1"
    assert the_move(services, back).requested_by == ALICE.name


def test_a_rollback_that_came_to_nothing_leaves_the_way_back(services: WorkerServices, paid: Tenancy) -> None:
    def offered() -> tuple[str, str, str] | None:
        with services.registry.begin() as connection:
            back = views.tenant(services, connection, tenants.find(connection, paid.id)).way_back
        return None if back is None else (back.kind, back.source, back.target)

    there = (MoveKind.UPGRADE, "pool-1", "dedicated-1")
    assert offered() == there
    back = rollback(services, paid)
    assert offered() is None, "it is on its way"
    with services.registry.begin() as connection:
        moving.cancel(connection, services.queue, ALICE, back)
    assert mover(services).carry_on(back) is Phase.CANCELLED
    assert offered() == there
    with services.registry.begin() as connection:
        again = moving.roll_back_own(connection, services.queue, ALICE, str(paid.id))
    assert mover(services).carry_on(again) is Phase.RETAINING
    assert offered() == (MoveKind.ROLLBACK, "dedicated-1", "pool-1")


def test_a_request_is_withdrawn_until_it_is_granted(services: WorkerServices, alice: Tenancy) -> None:
    def withdraw() -> None:
        with services.registry.begin() as connection:
            moving.withdraw(connection, ALICE, str(alice.id))

    with pytest.raises(Refused, match="Nobody asks"):
        withdraw()
    with services.registry.begin() as connection:
        tenants.change(connection, alice.id, upgrade_requested_at=now(), upgrade_requested_by=alice.owner_id)
    withdraw()
    assert tenant_of(services, alice).upgrade_requested_at is None
    assert "upgrade.withdrawn" in actions(services, alice)
    with services.registry.begin() as connection:
        moving.grant(connection, OLGA, str(alice.id))
    with pytest.raises(Refused, match="granted already"):
        withdraw()


def test_moves_are_sifted_and_a_running_one_tells_what_is_to_be_expected(
    services: WorkerServices, paid: Tenancy
) -> None:
    with services.registry.begin() as connection:
        (done,) = operations.moves_page(connection, state=MoveState.KEPT).moves
        assert (done.kind, done.verified, done.expected_seconds) == (MoveKind.UPGRADE, True, None)
        ((rows, seconds),) = moves.past(connection)
        assert rows == done.rows > 0 and seconds > 0
        assert operations.moves_page(connection, kind=MoveKind.ROLLBACK).moves == []
    move_id = downgrade(services, paid)
    with services.registry.begin() as connection:
        assert [move.id for move in operations.moves_page(connection, state=MoveState.UNDER_WAY).moves] == [move_id]
