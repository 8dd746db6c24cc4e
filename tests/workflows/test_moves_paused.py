"""While writes pause nobody waits for long: not for a silent mover, not for long writers, not for a slow server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from awssome.database import mover as movers
from awssome.database import trip
from awssome.database.engine import Changes
from awssome.database.registry import audit, moves, placements, servers
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import NotYet, Phase
from awssome.domain.tenants import EngineName
from awssome.domain.times import now
from awssome.workflows import moves as moving
from awssome.workflows.services import WorkerServices
from awssome.workflows.workspace import Workspace
from tests.conftest import Tenancy
from tests.engines import SERVERS, as_administrator, eventually
from tests.workflows.moving import (
    OLGA,
    Truth,
    add,
    mover,
    placement_of,
    rollback,
    rows_of,
    the_move,
    upgrade,
    writable,
)

pytestmark = pytest.mark.usefixtures("dedicated")


class Silent(BaseException):
    """The mover says no more, as if it had been killed: nothing is put right."""


@pytest.fixture
def fall_silent(services: WorkerServices, monkeypatch: pytest.MonkeyPatch) -> Callable[[UUID, str], None]:
    """Carries a move on up to a step, at which the mover falls silent."""

    def carried(move_id: UUID, at: str) -> None:
        def step(name: str) -> None:
            if name == at:
                raise Silent

        with monkeypatch.context() as silent:
            silent.setattr(movers.Mover, "_thaw", lambda *_: None)
            silent.setattr(movers, "LEASE_SECONDS", 600.0)  # over when `_let_time_pass` says so, however slow we are
            with pytest.raises(Silent):
                mover(services, step=step).carry_on(move_id)

    return carried


@pytest.mark.parametrize("kind", [upgrade, rollback], ids=["upgrade", "rollback"])
@pytest.mark.parametrize("step", ["closed", "open"])
def test_writes_that_a_silent_mover_has_paused_go_on_at_the_target(
    kind: Callable[[WorkerServices, Tenancy], UUID],
    step: str,
    services: WorkerServices,
    alice: Tenancy,
    fall_silent: Callable[[UUID, str], None],
) -> None:
    if kind is rollback:
        mover(services).carry_on(upgrade(services, alice))
    truth = Truth.of(services, alice)
    move_id = kind(services, alice)
    fall_silent(move_id, step)
    assert writable(services, alice) == []
    assert _overdue(services) == []  # its time is not over yet
    _let_time_pass(services, move_id)
    assert _overdue(services) == [move_id]
    assert _overdue(services) == []  # told to one only
    assert mover(services).recover(move_id) is Phase.SWITCHED
    move = the_move(services, move_id)
    truth.holds_at(move.target_id)
    assert move.write_pause_ms > 0
    assert mover(services).carry_on(move_id) is Phase.RETAINING
    move = the_move(services, move_id)
    assert move.evidence["steps"]["confirm"]["equal"] is True
    assert {table: found["rows"] for table, found in move.evidence["tables"].items()} == {
        table: len(rows) for table, rows in truth.rows.items()
    }
    assert _leased(services) == []


@pytest.mark.parametrize("step", ["paused", "marked"])
def test_writes_that_a_silent_mover_keeps_waiting_go_on_at_the_source(
    step: str, services: WorkerServices, alice: Tenancy, fall_silent: Callable[[UUID, str], None]
) -> None:
    truth = Truth.of(services, alice)
    move_id = upgrade(services, alice)
    fall_silent(move_id, step)
    _let_time_pass(services, move_id)
    assert _overdue(services) == [move_id]
    assert mover(services).recover(move_id) is Phase.PROVISIONING
    truth.holds_at(the_move(services, move_id).source_id)
    assert _leased(services) == []
    assert mover(services).carry_on(move_id) is Phase.RETAINING
    truth.holds_at(the_move(services, move_id).target_id)


def test_a_target_that_is_away_does_not_keep_a_closed_source_closed(
    engine: EngineName,
    services: WorkerServices,
    alice: Tenancy,
    fall_silent: Callable[[UUID, str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    truth = Truth.of(services, alice)
    move_id = upgrade(services, alice)
    fall_silent(move_id, "closed")
    plain, schema = SERVERS[engine].claim, alice.placement.schema

    def away(self: Any, name: str, number: int) -> None:
        if name != schema:
            raise Refused(Code.UNAVAILABLE, "The database server does not answer.")
        plain(self, name, number)

    with monkeypatch.context() as broken:
        broken.setattr(SERVERS[engine], "claim", away)
        assert mover(services).recover(move_id) is Phase.PROVISIONING
    truth.holds_at(the_move(services, move_id).source_id)
    with services.sessions.open(placement_of(services, alice)) as session:
        add(session, "written since")
    assert mover(services).carry_on(move_id) is Phase.RETAINING
    kept = [row[0] for row in rows_of(placement_of(services, alice))["stage_mappings"]]
    assert sorted(kept) == ["p", "written since"]


def test_a_writer_of_several_seconds_pauses_nobody_and_its_row_arrives(
    services: WorkerServices, alice: Tenancy
) -> None:
    """It holds the fence across the cut-over; others go on writing, and it ends only when they have."""
    holds, stop = threading.Event(), threading.Event()
    written: list[str] = []
    problems: list[BaseException] = []

    def long() -> None:
        workspace = Workspace(services, alice.id)
        with services.sessions.open(placement_of(services, alice)) as session:
            add(session, "long")
            before = len(written)
            holds.set()
            time.sleep(4)
            eventually(lambda: len(written) > before + 5 or bool(problems), seconds=60)
        workspace.do(lambda session: add(session, "after"))

    def short() -> None:
        workspace = Workspace(services, alice.id)
        try:
            while not stop.is_set():
                key = f"w{len(written)}"
                workspace.do(lambda session, key=key: add(session, key))  # type: ignore[misc]
                written.append(key)
        except Exception as error:
            problems.append(error)

    def begins(step: str) -> None:
        if step == "cut_over":
            threads[0].start()
            assert holds.wait(60)

    threads = [threading.Thread(target=long), threading.Thread(target=short)]
    threads[1].start()
    move_id = upgrade(services, alice)
    assert mover(services, step=begins).carry_on(move_id) is Phase.RETAINING
    threads[0].join()
    stop.set()
    threads[1].join()
    assert problems == []
    told = the_move(services, move_id).evidence["steps"]["cut_over"]
    assert told["tries"] > 1
    assert len(told["pauses_ms"]) == told["tries"] - 1
    kept = [row[0] for row in rows_of(placement_of(services, alice))["stage_mappings"]]
    assert sorted(kept) == sorted(["p", "long", "after", *written])


def test_a_cut_over_that_takes_too_long_lets_writes_go_on_and_is_tried_again(
    engine: EngineName, services: WorkerServices, alice: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = Truth.of(services, alice)
    move_id = upgrade(services, alice)
    plain, slow = SERVERS[engine].apply, [1.0, 0.9]

    def apply(self: Any, schema: str, number: int, changes: Changes, *, mark: int | None = None) -> Any:
        if mark is not None and slow:
            time.sleep(slow.pop())
        return plain(self, schema, number, changes, mark=mark)

    monkeypatch.setattr(SERVERS[engine], "apply", apply)
    assert mover(services).carry_on(move_id) is Phase.RETAINING
    move = the_move(services, move_id)
    told = move.evidence["steps"]["cut_over"]
    assert slow == []
    assert len([pause for pause in told["pauses_ms"] if pause > 800]) >= 2
    assert told["tries"] == 1 + len(told["pauses_ms"])
    truth.holds_at(move.target_id)


def test_between_tries_of_the_cut_over_a_move_can_be_cancelled(
    engine: EngineName, services: WorkerServices, alice: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = Truth.of(services, alice)
    move_id = upgrade(services, alice)
    monkeypatch.setattr(movers, "BUDGET_SECONDS", 0.0)  # each try gives up
    monkeypatch.setattr(trip, "LOOK_SECONDS", 0.0)
    tries, cancelled = [], threading.Event()

    def cancel() -> None:
        while not cancelled.wait(0.01):
            with suppress(Refused):  # while writes are paused nothing is cancelled
                _cancel(services, move_id)
                cancelled.set()

    def step(name: str) -> None:
        if name == "paused":
            tries.append(name)
            if len(tries) == 1:
                canceller.start()

    canceller = threading.Thread(target=cancel)
    assert mover(services, step=step).carry_on(move_id) is Phase.CANCELLED
    canceller.join(60)
    assert tries
    truth.holds_at(the_move(services, move_id).source_id)


def test_long_writers_make_the_move_come_again_later(
    services: WorkerServices, alice: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(movers, "CUT_OVER_TRIES", 2)
    move_id = upgrade(services, alice)
    open_ended: list[Any] = []

    def begins(step: str) -> None:
        if step == "cut_over":
            session = services.sessions.open(alice.placement)
            add(session.__enter__(), "endless")
            open_ended.append(session)

    with pytest.raises(Refused) as refused:
        mover(services, step=begins).carry_on(move_id)
    assert refused.value.code is Code.UNAVAILABLE
    assert Phase(the_move(services, move_id).phase) is Phase.REQUESTED
    assert writable(services, alice) == [the_move(services, move_id).source_id]
    open_ended[0].__exit__(None, None, None)
    assert mover(services).carry_on(move_id) is Phase.RETAINING
    assert "endless" in [row[0] for row in rows_of(placement_of(services, alice))["stage_mappings"]]


@pytest.mark.parametrize("step", ["capture", "copy", "catch_up", "cut_over"])
def test_a_worker_that_is_stopped_leaves_the_source_as_it_was(
    step: str, services: WorkerServices, alice: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, stopped = Truth.of(services, alice), []
    monkeypatch.setattr("awssome.database.engine.ROWS_TOLD", 1)
    move_id = upgrade(services, alice)
    with pytest.raises(Refused) as refused:
        mover(services, step=lambda name: stopped.append(name) if name == step else None).carry_on(
            move_id, lambda: bool(stopped)
        )
    assert refused.value.code is Code.UNAVAILABLE
    move = the_move(services, move_id)
    assert Phase(move.phase) is Phase.REQUESTED
    truth.holds_at(move.source_id)
    with services.registry.begin() as connection:
        server = services.open_server(placements.server_of(connection, move.source_id))
    fence = server.fence(alice.placement.schema)
    assert fence is not None and not fence.capture
    assert mover(services).carry_on(move_id) is Phase.RETAINING
    truth.holds_at(move.target_id)


def test_a_server_that_is_still_being_made_is_waited_for_without_touching_the_source(
    services: WorkerServices, alice: Tenancy
) -> None:
    truth, until = Truth.of(services, alice), now() + timedelta(minutes=3)
    move_id = upgrade(services, alice)
    asked: list[UUID] = []

    def ensure(server_id: UUID) -> None:
        asked.append(server_id)
        if len(asked) < 8:
            raise NotYet(until, "The server is being made.")

    for _ in range(7):
        with pytest.raises(NotYet) as not_yet:
            mover(services, ensure=ensure).carry_on(move_id)
        assert not_yet.value.until == until
        move = the_move(services, move_id)
        assert (Phase(move.phase), move.problem) == (Phase.REQUESTED, "The server is being made.")
    truth.holds_at(move.source_id)
    assert mover(services, ensure=ensure).carry_on(move_id) is Phase.RETAINING
    truth.holds_at(move.target_id)
    with services.registry.begin() as connection:
        assert set(asked) == {servers.by_name(connection, "dedicated-1").id}


def test_a_move_is_cancelled_while_its_server_is_being_made(services: WorkerServices, alice: Tenancy) -> None:
    def ensure(server_id: UUID) -> None:
        raise NotYet(now(), "The server is being made.")

    truth = Truth.of(services, alice)
    move_id = upgrade(services, alice)
    with pytest.raises(NotYet):
        mover(services, ensure=ensure).carry_on(move_id)
    _cancel(services, move_id)
    assert mover(services, ensure=ensure).carry_on(move_id) is Phase.CANCELLED
    truth.holds_at(the_move(services, move_id).source_id)


def test_a_source_that_holds_more_than_was_carried_over_is_told_and_never_dropped(
    engine: EngineName, services: WorkerServices, alice: Tenancy, pool_url: str
) -> None:
    """As if something had got past the capture."""

    def slips_past(step: str) -> None:
        if step == "open":
            schema = alice.placement.schema
            as_administrator(engine, pool_url, f"UPDATE {schema}.stage_mappings SET stage = 'slipped past'")

    move_id = upgrade(services, alice)
    assert mover(services, step=slips_past).carry_on(move_id) is Phase.RETAINING
    move = the_move(services, move_id)
    assert "stage_mappings" in move.problem
    assert move.evidence["steps"]["confirm"]["equal"] is False
    assert [name for name, found in move.evidence["tables"].items() if not found["equal"]] == ["stage_mappings"]
    with services.registry.begin() as connection:
        actions = [line.action for line in audit.page(connection, tenant_id=alice.id).rows]
        connection.execute(text("UPDATE moves SET retain_until = now() - interval '1 day'"))
        assert moves.past_retention(connection) == []
    assert "move.unconfirmed" in actions


def test_before_a_source_is_dropped_it_is_archived(services: WorkerServices, alice: Tenancy) -> None:
    move_id = upgrade(services, alice)
    mover(services).carry_on(move_id)
    with services.registry.begin() as connection:
        moves.begin_drop(connection, move_id)
        server = services.open_server(placements.server_of(connection, the_move(services, move_id).source_id))
    there: list[bool] = []

    def archive(move: moves.Move) -> None:
        there.append(server.fence(alice.placement.schema) is not None)
        if len(there) == 1:
            raise Refused(Code.UNAVAILABLE, "The archive's store does not answer.")

    with pytest.raises(Refused):
        mover(services, archive=archive).carry_on(move_id)
    assert server.fence(alice.placement.schema) is not None
    assert mover(services, archive=archive).carry_on(move_id) is Phase.DROPPED
    assert there == [True, True]
    assert server.fence(alice.placement.schema) is None


def _overdue(services: WorkerServices) -> list[UUID]:
    with services.registry.begin() as connection:
        return moves.overdue(connection)


def _let_time_pass(services: WorkerServices, move_id: UUID) -> None:
    """The lease is over."""
    with services.registry.begin() as connection:
        passed = text("UPDATE moves SET lease_until = now() - interval '1 ms' WHERE id = :id AND lease_until > now()")
        assert connection.execute(passed, {"id": move_id}).rowcount == 1


def _leased(services: WorkerServices) -> list[UUID]:
    with services.registry.begin() as connection:
        return list(connection.scalars(text("SELECT id FROM moves WHERE lease_until IS NOT NULL")))


def _cancel(services: WorkerServices, move_id: UUID) -> None:
    with services.registry.begin() as connection:
        moving.cancel(connection, services.queue, OLGA, move_id)
