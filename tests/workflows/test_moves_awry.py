"""What else can go wrong on a move: a mover frozen in a drop, a suspension on the way, an error that lasts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from awssome.database import postgresql
from awssome.domain.moves import Phase
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.workflows.moving import Truth, fill, mover, the_move, upgrade

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
