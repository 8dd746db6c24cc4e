"""What else can go wrong on a move: a mover frozen in a drop, a suspension on the way, an error that lasts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from awssome.database import postgresql
from awssome.database.postgresql import PostgreSQL, connect_as_tenant
from awssome.database.registry import tenants
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import Phase
from awssome.domain.tenants import Placement, TenantState
from awssome.workflows import provisioning
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.workflows.moving import Truth, fill, mover, placement_of, the_move, upgrade

pytestmark = pytest.mark.usefixtures("dedicated")


@pytest.fixture
def alice(services: WorkerServices, make_tenant: Callable[..., Tenancy]) -> Tenancy:
    """A tenant on the pool, with rows in every table."""
    tenancy = make_tenant("Northwind", "alice@northwind.example")
    fill(services, tenancy)
    return tenancy


def test_a_mover_that_wakes_up_in_the_middle_of_a_drop_leaves_alone_what_was_made_since(
    services: WorkerServices, alice: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has seen that nothing is there; meanwhile another mover makes the target, fills it and opens it."""
    truth = Truth.of(services, alice)
    move_id = upgrade(services, alice)
    plain = postgresql._run
    done: list[Phase] = []

    def sleeps(connection: Any, statement: str) -> Any:
        found = plain(connection, statement)
        if "to_regclass" in statement and not done:
            monkeypatch.setattr(postgresql, "_run", plain)
            done.append(mover(services).carry_on(move_id))
        return found

    monkeypatch.setattr(postgresql, "_run", sleeps)
    assert mover(services).carry_on(move_id) is Phase.RETAINING
    assert done == [Phase.RETAINING]
    truth.holds_at(the_move(services, move_id).target_id)


@pytest.mark.parametrize("when", ["copy", "switch", "open", "retain"])
def test_who_is_suspended_during_a_move_is_shut_out_at_the_target_too(
    when: str, services: WorkerServices, alice: Tenancy
) -> None:
    def suspends(step: str) -> None:
        if step == when:
            _turn(services, alice, TenantState.SUSPENDED)
            provisioning.set_login(services, alice.id)

    move_id = upgrade(services, alice)
    assert mover(services, step=suspends).carry_on(move_id) is Phase.RETAINING
    target = placement_of(services, alice)
    assert target.placement_id == the_move(services, move_id).target_id
    assert not _lets_in(target)
    _turn(services, alice, TenantState.ACTIVE)
    provisioning.set_login(services, alice.id)
    assert _lets_in(target)


@pytest.mark.parametrize("change", ["moved", "suspended"])
def test_a_login_is_set_as_things_stand_when_it_is_done(
    change: str, services: WorkerServices, alice: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker has read that the tenant is active on the pool, and sleeps before it opens the login there."""
    plain = PostgreSQL.open_login

    def slow(self: PostgreSQL, schema: str) -> None:
        monkeypatch.setattr(PostgreSQL, "open_login", plain)
        if change == "moved":
            mover(services).carry_on(upgrade(services, alice))
        else:
            _turn(services, alice, TenantState.SUSPENDED)
        plain(self, schema)

    monkeypatch.setattr(PostgreSQL, "open_login", slow)
    provisioning.set_login(services, alice.id)
    assert not _lets_in(alice.placement)
    assert _lets_in(placement_of(services, alice)) == (change == "moved")


def _turn(services: WorkerServices, tenancy: Tenancy, state: TenantState) -> None:
    with services.registry.begin() as connection:
        tenants.change(connection, tenancy.id, state=state)


def _lets_in(placement: Placement) -> bool:
    """Whether the placement's login opens a session."""
    try:
        connect_as_tenant(placement).close()
    except Refused as refused:
        assert refused.code is Code.FENCED
        return False
    return True
