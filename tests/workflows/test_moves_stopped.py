"""Moves that are cancelled, fail or meet a server that is away: the tenant stays where it was, or arrives later."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy.engine import make_url

from awssome.database import handover
from awssome.database.registry import moves, placements, servers
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import Phase
from awssome.domain.tenants import EngineName, ServerKind, Tier
from awssome.workflows import moves as moving
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy, register_server
from tests.engines import as_administrator
from tests.workflows.moving import (
    OLGA,
    Truth,
    Wire,
    add,
    mover,
    placement_of,
    rollback,
    the_move,
    upgrade,
    writable,
)

pytestmark = pytest.mark.usefixtures("dedicated")


@pytest.mark.parametrize(
    ("table", "tampered"),
    [
        ("deal_registrations", "UPDATE {} SET title = 'other' WHERE version = 0"),
        (
            "deal_events",
            "DELETE FROM {} WHERE at = (SELECT MIN(at) FROM {})",
        ),
        (
            "stage_mappings",
            "INSERT INTO {} (pipeline, hubspot_stage, stage, updated_at) SELECT 'more', '', '', updated_at FROM {}",
        ),
    ],
    ids=["a changed value", "a missing row", "one row too many"],
)
def test_a_copy_that_differs_is_never_opened(
    table: str, tampered: str, engine: EngineName, services: WorkerServices, alice: Tenancy, dedicated_url: str
) -> None:
    truth = Truth.of(services, alice)
    move_id = upgrade(services, alice)

    def tamper(step: str) -> None:
        if step == "verify":
            with services.registry.begin() as connection:
                target = placements.find(connection, services.keys, the_move(services, move_id).target_id)
            as_administrator(engine, dedicated_url, tampered.replace("{}", f"{target.schema}.{table}"))

    assert mover(services, step=tamper).carry_on(move_id) is Phase.FAILED
    move = the_move(services, move_id)
    truth.holds_at(move.source_id)
    assert placement_of(services, alice) == replace(alice.placement, tier=Tier.PAID)
    assert table in move.problem
    unequal = [name for name, found in move.evidence["tables"].items() if not found["equal"]]
    assert unequal == [table]
    assert mover(services).carry_on(move_id) is Phase.FAILED  # only somebody who asks for it tries again

    began = time.monotonic()  # writes have gone on until here: that is no part of the pause
    with services.registry.begin() as connection:
        moving.retry(connection, services.queue, OLGA, move_id)
    assert mover(services).carry_on(move_id) is Phase.RETAINING
    took_ms = (time.monotonic() - began) * 1000
    move = the_move(services, move_id)
    truth.holds_at(move.target_id)
    assert move.write_pause_ms < took_ms


@pytest.fixture
def failed(engine: EngineName, services: WorkerServices, alice: Tenancy, dedicated_url: str) -> UUID:
    """A move whose copy differed."""
    move_id = upgrade(services, alice)

    def tamper(step: str) -> None:
        if step == "verify":
            with services.registry.begin() as connection:
                target = placements.find(connection, services.keys, the_move(services, move_id).target_id)
            as_administrator(engine, dedicated_url, f"DELETE FROM {target.schema}.sync_issues")

    assert mover(services, step=tamper).carry_on(move_id) is Phase.FAILED
    return move_id


def test_a_failed_move_can_be_cancelled_and_its_copy_is_dropped(
    services: WorkerServices, alice: Tenancy, failed: UUID
) -> None:
    truth = Truth.of(services, alice)
    _cancel(services, failed)
    assert mover(services).carry_on(failed) is Phase.CANCELLED
    truth.holds_at(the_move(services, failed).source_id)
    with services.registry.begin() as connection:
        assert servers.by_name(connection, "dedicated-1").tenant is None


def test_a_failed_move_does_not_come_back_once_another_one_has_overtaken_it(
    services: WorkerServices, alice: Tenancy, failed: UUID
) -> None:
    second = upgrade(services, alice)
    with pytest.raises(Refused) as under_way, services.registry.begin() as connection:
        moving.retry(connection, services.queue, OLGA, failed)
    assert under_way.value.code is Code.CONFLICT
    assert mover(services).carry_on(second) is Phase.RETAINING
    truth = Truth.of(services, alice)
    with pytest.raises(Refused) as overtaken, services.registry.begin() as connection:
        moving.retry(connection, services.queue, OLGA, failed)
    assert overtaken.value.code is Code.CONFLICT
    with services.registry.begin() as connection:
        moves.reopen(connection, failed)  # whoever did this all the same gets a mover that sees it
    assert mover(services).carry_on(failed) is Phase.CANCELLED
    truth.holds_at(the_move(services, second).target_id)


def test_a_failed_move_that_is_cancelled_leaves_the_next_moves_source_closed(
    services: WorkerServices, alice: Tenancy, failed: UUID
) -> None:
    for _ in range(3):
        mover(services).carry_on(failed)  # its numbers grow past those of the move that follows
    second = upgrade(services, alice)
    closed = []

    def cancel_the_first(step: str) -> None:
        if step == "closed":
            _cancel(services, failed)
            assert mover(services).carry_on(failed) is Phase.CANCELLED
            closed.append(writable(services, alice))

    assert mover(services, step=cancel_the_first).carry_on(second) is Phase.RETAINING
    assert closed == [[]]
    assert writable(services, alice) == [the_move(services, second).target_id]


@pytest.mark.parametrize(
    "when", ["before it began", "claim", "server", "prepare", "capture", "copy", "catch_up", "verify", "cut_over"]
)
def test_a_move_that_is_cancelled_leaves_everything_as_it_was(
    when: str, services: WorkerServices, alice: Tenancy
) -> None:
    truth = Truth.of(services, alice)
    move_id = upgrade(services, alice)

    def cancel(step: str) -> None:
        if step == when:
            _cancel(services, move_id)

    cancel("before it began")
    assert mover(services, step=cancel).carry_on(move_id) is Phase.CANCELLED
    move = the_move(services, move_id)
    truth.holds_at(move.source_id)
    with services.registry.begin() as connection:
        target = placements.find(connection, services.keys, move.target_id)
        assert servers.by_name(connection, "dedicated-1").tenant is None  # free for another
        server = services.open_server(placements.server_of(connection, move.target_id))
    assert server.fence(target.schema) is None
    assert mover(services).carry_on(move_id) is Phase.CANCELLED
    assert mover(services).carry_on(upgrade(services, alice)) is Phase.RETAINING  # another day


@pytest.mark.parametrize("when", ["paused", "marked", "closed", "open", "confirm", "retain"])
def test_once_the_switch_begins_a_move_cannot_be_cancelled(when: str, services: WorkerServices, alice: Tenancy) -> None:
    truth = Truth.of(services, alice)
    move_id = upgrade(services, alice)
    told: list[Code] = []

    def cancel(step: str) -> None:
        if step == when:
            with pytest.raises(Refused) as refused:
                _cancel(services, move_id)
            told.append(refused.value.code)

    assert mover(services, step=cancel).carry_on(move_id) is Phase.RETAINING
    assert set(told) == {Code.CONFLICT}  # a slow server may need a second try of the cut-over
    truth.holds_at(the_move(services, move_id).target_id)


def test_a_writer_that_never_ends_makes_the_move_give_up_for_now(
    services: WorkerServices, alice: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "CAPTURE_TRIES", 2)
    move_id = upgrade(services, alice)
    with services.sessions.open(alice.placement) as session:
        add(session, "endless")
        with pytest.raises(Refused) as refused:
            mover(services).carry_on(move_id)
        assert refused.value.code is Code.UNAVAILABLE
        move = the_move(services, move_id)
        assert Phase(move.phase) is Phase.REQUESTED
        assert "Long writes" in move.problem
        assert writable(services, alice) == [move.source_id]
    truth = Truth.of(services, alice)
    assert "endless" in [row[0] for row in truth.rows["stage_mappings"]]
    assert mover(services).carry_on(move_id) is Phase.RETAINING
    truth.holds_at(move.target_id)


@pytest.fixture
def wire(services: WorkerServices, dedicated_url: str) -> Iterator[Wire]:
    """A dedicated server at the end of a wire; the other one is closed."""
    url = make_url(dedicated_url)
    cut = Wire(url.host or "", url.port or 0)
    register_server(
        services,
        "dedicated-2",
        ServerKind.DEDICATED,
        url.set(port=cut.port).render_as_string(hide_password=False),
    )
    with services.registry.begin() as connection:
        servers.change(connection, servers.by_name(connection, "dedicated-1").id, open=False)
    yield cut
    cut.close()


@pytest.mark.parametrize("when", ["prepare", "copy", "catch_up", "verify", "cut_over", "paused"])
def test_when_the_target_goes_away_the_source_is_open_again_and_a_later_try_succeeds(
    when: str, services: WorkerServices, alice: Tenancy, wire: Wire
) -> None:
    truth = Truth.of(services, alice)
    move_id = upgrade(services, alice)
    with pytest.raises(Refused) as refused:
        mover(services, step=lambda step: wire.cut() if step == when else None).carry_on(move_id)
    assert refused.value.code is Code.UNAVAILABLE
    move = the_move(services, move_id)
    assert Phase(move.phase) is Phase.REQUESTED
    assert "does not answer" in move.problem
    truth.holds_at(move.source_id)
    wire.mend()
    assert mover(services).carry_on(move_id) is Phase.RETAINING
    truth.holds_at(move.target_id)
    assert the_move(services, move_id).problem is None


def test_when_the_target_goes_away_after_the_switch_it_is_opened_as_soon_as_it_is_back(
    services: WorkerServices, alice: Tenancy, wire: Wire
) -> None:
    truth = Truth.of(services, alice)
    move_id = upgrade(services, alice)
    with pytest.raises(Refused):
        mover(services, step=lambda step: wire.cut() if step == "open" else None).carry_on(move_id)
    assert writable(services, alice) == []  # the registry has switched: nobody but the target may take a write
    assert "does not answer" in the_move(services, move_id).problem
    wire.mend()
    assert mover(services).carry_on(move_id) is Phase.RETAINING
    assert the_move(services, move_id).problem is None
    truth.holds_at(the_move(services, move_id).target_id)


def test_a_move_that_cannot_be_called_off_says_why(services: WorkerServices, alice: Tenancy, wire: Wire) -> None:
    move_id = upgrade(services, alice)

    def cancel(step: str) -> None:
        if step == "copy":
            _cancel(services, move_id)
            wire.cut()

    for _ in range(2):
        with pytest.raises(Refused):
            mover(services, step=cancel).carry_on(move_id)
    assert "does not answer" in the_move(services, move_id).problem
    wire.mend()
    assert mover(services).carry_on(move_id) is Phase.CANCELLED
    assert the_move(services, move_id).problem is None


def test_when_the_source_goes_away_after_the_switch_the_target_is_opened_all_the_same(
    services: WorkerServices, alice: Tenancy, wire: Wire
) -> None:
    mover(services).carry_on(upgrade(services, alice))
    truth = Truth.of(services, alice)
    back = rollback(services, alice)  # now the source is at the end of the wire
    with pytest.raises(Refused):
        mover(services, step=lambda step: wire.cut() if step == "open" else None).carry_on(back)
    truth.holds_at(the_move(services, back).target_id)
    wire.mend()
    assert mover(services).carry_on(back) is Phase.RETAINING
    truth.holds_at(the_move(services, back).target_id)


def _cancel(services: WorkerServices, move_id: UUID) -> None:
    with services.registry.begin() as connection:
        moving.cancel(connection, services.queue, OLGA, move_id)
