"""Movers that are killed, or wake up after another one has taken over: one place takes writes, and nothing is lost."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from awssome.database.registry import moves, placements
from awssome.domain.errors import Refused
from awssome.domain.moves import STEPS, Phase
from awssome.workflows.services import WorkerServices
from awssome.workflows.workspace import Workspace
from tests.conftest import Tenancy
from tests.processes import processes
from tests.workflows.dying import carry_on_and_die
from tests.workflows.moving import Truth, add, mover, placement_of, rollback, rows_of, the_move, upgrade, writable

pytestmark = pytest.mark.usefixtures("dedicated")

INSIDE = ("paused", "marked", "closed")
"""Within the cut-over."""

ON_THE_WAY = [*(name for name, _ in STEPS if name != "drop"), *INSIDE]

KILLS = 8

CarryOn = Callable[..., int | None]


@pytest.fixture
def killed(registry_url: str, secret_key: str) -> CarryOn:
    """Has a move carried on by another process, which is killed at a step, or some seconds after it began."""

    def carried(move_id: UUID, *, step: str = "", seconds: float | None = None) -> int | None:
        process = processes.Process(target=carry_on_and_die, args=(registry_url, secret_key, move_id, step, seconds))
        process.start()
        process.join(60)
        return process.exitcode

    return carried


@pytest.mark.parametrize("step", ON_THE_WAY)
def test_a_mover_that_is_killed_at_a_step_leaves_a_move_that_can_be_carried_on(
    step: str, services: WorkerServices, alice: Tenancy, killed: CarryOn
) -> None:
    truth = Truth.of(services, alice)
    move_id = upgrade(services, alice)
    assert killed(move_id, step=step) == -signal.SIGKILL

    move = the_move(services, move_id)
    switched = step in ("open", "confirm", "retain")
    assert placement_of(services, alice).placement_id == (move.target_id if switched else move.source_id)
    assert rows_of(placement_of(services, alice)) == truth.rows  # reads go on meanwhile
    closed = step in ("closed", "open")
    assert writable(services, alice) == ([] if closed else [move.target_id if switched else move.source_id])

    assert mover(services).carry_on(move_id) is Phase.RETAINING
    truth.holds_at(move.target_id)
    move = the_move(services, move_id)
    assert all(found["equal"] for found in move.evidence["tables"].values())
    assert set(move.evidence["tables"]) == set(truth.rows)


def test_the_move_after_one_that_was_killed_often_is_carried_on_at_once(
    services: WorkerServices, alice: Tenancy, killed: CarryOn
) -> None:
    """The fence remembers the number of the last mover; the next move's number must not be lower."""
    move_id = upgrade(services, alice)
    for step in ("capture", "copy", "closed", "open"):
        assert killed(move_id, step=step) == -signal.SIGKILL
    assert mover(services).carry_on(move_id) is Phase.RETAINING
    truth = Truth.of(services, alice)
    back = rollback(services, alice)
    assert mover(services).carry_on(back) is Phase.RETAINING
    truth.holds_at(the_move(services, back).target_id)


def test_a_mover_that_is_killed_while_it_drops_can_be_carried_on(
    services: WorkerServices, alice: Tenancy, killed: CarryOn
) -> None:
    move_id = upgrade(services, alice)
    mover(services).carry_on(move_id)
    truth = Truth.of(services, alice)
    with services.registry.begin() as connection:
        moves.begin_drop(connection, move_id)
    assert killed(move_id, step="drop") == -signal.SIGKILL
    assert mover(services).carry_on(move_id) is Phase.DROPPED
    truth.holds_at(the_move(services, move_id).target_id)
    with services.registry.begin() as connection:
        source = placements.find(connection, services.keys, the_move(services, move_id).source_id)
        server = services.open_server(placements.server_of(connection, source.placement_id))
    assert server.fence(source.schema) is None


@pytest.mark.parametrize("kind", [upgrade, rollback], ids=["upgrade", "rollback"])
def test_movers_that_are_killed_at_random_moments_lose_nothing(
    kind: Callable[[WorkerServices, Tenancy], UUID], services: WorkerServices, alice: Tenancy, killed: CarryOn
) -> None:
    if kind is rollback:
        mover(services).carry_on(upgrade(services, alice))
    before = rows_of(placement_of(services, alice))
    stop = threading.Event()
    acknowledged: list[str] = []
    problems: list[BaseException] = []

    def writes() -> None:
        workspace = Workspace(services, alice.id, patience=60)
        number = 0
        try:
            while not stop.is_set():
                workspace.do(lambda connection, key=f"w{number}": add(connection, key))  # type: ignore[misc]
                acknowledged.append(f"w{number}")
                number += 1
                time.sleep(0.002)
        except Exception as error:
            problems.append(error)

    writer = threading.Thread(target=writes)
    writer.start()
    move_id = kind(services, alice)
    dice = random.Random(kind.__name__)
    ends = []
    for _ in range(KILLS):
        ends.append(killed(move_id, seconds=dice.uniform(0, 0.4)))
        assert len(writable(services, alice)) <= 1
    assert _carry_on_in_the_end(services, move_id) is Phase.RETAINING
    written = len(acknowledged)
    while len(acknowledged) < written + 3 and not problems:
        time.sleep(0.01)
    stop.set()
    writer.join(60)
    assert problems == []
    assert set(ends) <= {-signal.SIGKILL, 0}
    assert -signal.SIGKILL in ends
    target = the_move(services, move_id).target_id
    assert writable(services, alice) == [target]
    after = rows_of(placement_of(services, alice))
    assert placement_of(services, alice).placement_id == target
    kept = {row[0] for row in after.pop("stage_mappings")}
    assert kept == {*acknowledged, *(row[0] for row in before.pop("stage_mappings"))}
    assert after == before


@pytest.mark.parametrize("step", ON_THE_WAY)
def test_a_mover_that_wakes_up_after_another_has_finished_changes_nothing(
    step: str, services: WorkerServices, alice: Tenancy
) -> None:
    truth = Truth.of(services, alice)
    move_id = upgrade(services, alice)
    left: list[Any] = []

    def sleeps(name: str) -> None:
        if name == step:
            assert mover(services).carry_on(move_id) is Phase.RETAINING
            left.append(_state(services, alice))

    assert mover(services, step=sleeps).carry_on(move_id) is Phase.RETAINING
    assert [_state(services, alice)] == left
    truth.holds_at(the_move(services, move_id).target_id)


@pytest.mark.parametrize("step", ["capture", "copy", "cut_over", "closed", "open", "confirm"])
def test_a_mover_that_wakes_up_after_the_tenant_has_come_back_changes_nothing(
    step: str, services: WorkerServices, alice: Tenancy
) -> None:
    truth = Truth.of(services, alice)
    move_id = upgrade(services, alice)
    left: list[Any] = []

    def sleeps(name: str) -> None:
        if name == step:
            mover(services).carry_on(move_id)
            assert mover(services).carry_on(rollback(services, alice)) is Phase.RETAINING
            left.append(_state(services, alice))

    mover(services, step=sleeps).carry_on(move_id)
    assert [_state(services, alice)] == left
    truth.holds_at(placement_of(services, alice).placement_id)


def test_a_mover_that_is_frozen_in_a_transaction_holds_its_rows_for_a_minute_at_most(services: WorkerServices) -> None:
    with services.registry.begin() as connection:
        assert connection.scalar(text("SHOW idle_in_transaction_session_timeout")) == "1min"


def _carry_on_in_the_end(services: WorkerServices, move_id: UUID) -> Phase:
    """As the queue does: what a killed mover's connections still hold is a reason to try again."""
    for _ in range(5):
        try:
            return mover(services).carry_on(move_id)
        except Refused:
            time.sleep(0.5)
    return mover(services).carry_on(move_id)


def _state(services: WorkerServices, tenancy: Tenancy) -> list[Any]:
    """Everything the platform knows of the tenant's placements and moves, and what their fences say."""
    with services.registry.begin() as connection:
        queries = (
            "SELECT to_jsonb(m) FROM moves m WHERE tenant_id = :id ORDER BY id",
            "SELECT to_jsonb(p) FROM placements p WHERE tenant_id = :id ORDER BY id",
            "SELECT to_jsonb(t) FROM tenants t WHERE id = :id",
        )
        known = [connection.execute(text(query), {"id": tenancy.id}).all() for query in queries]
        there = [
            (placements.server_of(connection, row.id), row.schema_name)
            for row in placements.of_tenant(connection, tenancy.id)
        ]
    return [known, [services.open_server(server).fence(schema) for server, schema in there]]
