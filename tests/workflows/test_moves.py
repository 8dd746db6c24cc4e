"""A tenant moves to another server and back while it is in use, with everything it has."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import select, text

from awssome.database.registry import audit, moves, placements, servers, tenants
from awssome.database.schema import DATA_TABLES, stage_mappings
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import STEPS, FenceMode, Phase
from awssome.domain.tenants import EngineName, PlacementState, ServerKind, Tier
from awssome.domain.times import now
from awssome.workflows import moves as moving
from awssome.workflows.services import WorkerServices
from awssome.workflows.workspace import Workspace
from tests.conftest import Tenancy, register_server
from tests.engines import Raw, as_administrator
from tests.workflows.moving import (
    OLGA,
    Truth,
    add,
    evidence_of,
    mover,
    placement_of,
    rollback,
    rows_of,
    the_move,
    upgrade,
    writable,
)

IN_ITS_WORDS = {
    EngineName.POSTGRESQL: {
        "NOT ready": "NOT ready",
        "later": "updated_at + interval '1 microsecond'",
        "another day": "target_close_date + 1",
        "another byte": "set_byte(access_token, 255, 1)",
        "short": "length(changes) < 250",
    },
    EngineName.SQLSERVER: {
        "NOT ready": "ready ^ 1",
        "later": "DATEADD(microsecond, 1, updated_at)",
        "another day": "DATEADD(day, 1, target_close_date)",
        "another byte": "SUBSTRING(access_token, 1, 255) + 0x01",
        "short": "LEN(changes) < 250",
    },
}

pytestmark = pytest.mark.usefixtures("dedicated")


def test_an_upgrade_carries_every_row_and_keeps_the_proof(services: WorkerServices, alice: Tenancy) -> None:
    truth = Truth.of(services, alice)
    assert all(truth.rows.values())
    move_id = upgrade(services, alice)
    with services.registry.begin() as connection:
        assert tenants.find(connection, alice.id).tier is Tier.PAID  # the limit is lifted at once, the move follows
    assert mover(services).carry_on(move_id) is Phase.RETAINING

    move = the_move(services, move_id)
    truth.holds_at(move.target_id)
    by_hand = evidence_of(rows_of(placement_of(services, alice)))
    assert {
        table: (found["rows"], found["source"], found["target_rows"], found["target"], found["equal"])
        for table, found in move.evidence["tables"].items()
    } == {table: (rows, checksum, rows, checksum, True) for table, (rows, checksum) in by_hand.items()}
    assert set(by_hand) == {table.name for table in DATA_TABLES}
    steps = dict(move.evidence["steps"])
    assert set(steps) - {"paused_at", "in_vain", "carried", "made"} == {name for name, _ in STEPS if name != "drop"}
    assert all(steps[name]["seconds"] >= 0 for name, _ in STEPS if name != "drop")
    assert steps["copy"]["rows"] == sum(rows for rows, _ in by_hand.values())
    assert steps["confirm"]["equal"] is True
    # A server that is slow when it is first asked may need a second try; each is told.
    assert (steps["cut_over"]["tries"], steps["in_vain"]) == (1 + len(steps["cut_over"]["pauses_ms"]), 0)
    whole = sum(steps[name]["seconds"] for name, _ in STEPS if name != "drop")
    assert 0 <= move.write_pause_ms < whole * 1000
    with services.registry.begin() as connection:
        tenant = tenants.find(connection, alice.id)
        assert (tenant.tier, tenant.epoch) == (Tier.PAID, 2)
        states = {row.id: PlacementState(row.state) for row in placements.of_tenant(connection, alice.id)}
        assert states == {move.source_id: PlacementState.RETAINED, move.target_id: PlacementState.ACTIVE}
        assert move.retain_until - now() > timedelta(days=29)
        actions = [line.action for line in audit.page(connection, tenant_id=alice.id).rows]
    assert {"tenant.upgraded", "move.requested", "move.completed"} <= set(actions)


def test_the_checksum_notices_every_kind_of_change(
    engine: EngineName, services: WorkerServices, alice: Tenancy, pool_url: str
) -> None:
    schema = alice.placement.schema
    server = services.open_server(_server_of(services, alice))
    before = server.sums(schema)
    own = IN_ITS_WORDS[engine]
    changes = (
        ("deal_registrations", "UPDATE {} SET title = CONCAT(title, ' ') WHERE version = 1"),
        ("deal_registrations", "UPDATE {} SET customer_company = '' WHERE customer_company IS NULL"),
        ("deal_registrations", "UPDATE {} SET deal_amount = deal_amount + 0.0001 WHERE deal_amount < 1"),
        ("deal_registrations", "UPDATE {} SET ready = " + own["NOT ready"]),
        ("deal_registrations", "UPDATE {} SET updated_at = " + own["later"] + " WHERE version = 0"),
        ("deal_registrations", "UPDATE {} SET target_close_date = " + own["another day"] + " WHERE version = 0"),
        ("hubspot_tokens", "UPDATE {} SET access_token = " + own["another byte"]),
        ("hubspot_tokens", "UPDATE {} SET refresh_token = NULL"),
        ("deal_events", "UPDATE {} SET actor = changes, changes = actor WHERE " + own["short"]),
        ("sync_issues", "DELETE FROM {} WHERE title = ''"),
    )
    for table, change in changes:
        as_administrator(engine, pool_url, change.format(f"{schema}.{table}"))
        after = server.sums(schema)
        assert after[table] != before[table], change
        assert {name for name in after if after[name] != before[name]} == {table}
        before = after


def test_while_it_is_moved_a_tenant_reads_and_writes_and_finds_it_all_at_the_target(
    services: WorkerServices, alice: Tenancy
) -> None:
    written = []

    def reads_and_writes(step: str) -> None:
        if step in ("prepare", "capture", "copy", "catch_up", "verify", "cut_over"):
            with services.sessions.open(alice.placement) as session:
                seen = session.execute(select(stage_mappings.c.pipeline)).scalars().all()
                assert sorted(seen) == sorted([*written, "p"])
                add(session, step)
            written.append(step)

    move_id = upgrade(services, alice)
    assert mover(services, step=reads_and_writes).carry_on(move_id) is Phase.RETAINING
    assert len(written) == 6
    placement = placement_of(services, alice)
    assert placement.placement_id == the_move(services, move_id).target_id
    kept = [row[0] for row in rows_of(placement)["stage_mappings"]]
    assert sorted(kept) == sorted([*written, "p"])
    assert evidence_of(rows_of(placement)) == {
        table: (found["target_rows"], found["target"])
        for table, found in the_move(services, move_id).evidence["tables"].items()
    }


def test_between_close_and_open_reads_go_on_and_writes_are_told_to_come_back(
    services: WorkerServices, alice: Tenancy
) -> None:
    truth = Truth.of(services, alice)
    tried = []

    def reads_and_writes(step: str) -> None:
        if step in ("closed", "open"):
            assert rows_of(alice.placement) == truth.rows
            with services.sessions.open(alice.placement) as session:
                assert session.execute(select(stage_mappings.c.stage)).scalars().all() == ["Qualified"]
            with pytest.raises(Refused) as refused, services.sessions.open(alice.placement) as session:
                add(session, "too-late")
            assert refused.value.code is Code.FENCED
            tried.append(step)

    move_id = upgrade(services, alice)
    assert mover(services, step=reads_and_writes).carry_on(move_id) is Phase.RETAINING
    assert tried == ["closed", "open"]
    truth.holds_at(the_move(services, move_id).target_id)


def test_once_the_target_is_open_nobody_reads_from_the_source(services: WorkerServices, alice: Tenancy) -> None:
    """Whoever still has the old placement would miss what is written at the new one."""
    told = []

    def look(step: str) -> None:
        if step == "confirm":
            with services.sessions.open(placement_of(services, alice)) as session:
                add(session, "new")
            with pytest.raises(Refused) as refused, services.sessions.open(alice.placement):
                pass
            told.append(refused.value.code)

    with services.sessions.open(alice.placement):
        pass  # a connection that is in the pool already
    assert mover(services, step=look).carry_on(upgrade(services, alice)) is Phase.RETAINING
    assert told == [Code.FENCED]


def test_in_use_a_move_is_a_short_pause(services: WorkerServices, alice: Tenancy) -> None:
    """Writers and readers that follow the tenant: no acknowledged write is lost, no read fails or is stale."""
    stop = threading.Event()
    acknowledged: list[str] = []
    problems: list[str] = []
    reads = [0]

    def writes() -> None:
        workspace = Workspace(services, alice.id)
        for number in range(100_000):
            if stop.is_set():
                return
            workspace.do(lambda connection, key=f"w{number}": add(connection, key))  # type: ignore[misc]
            acknowledged.append(f"w{number}")

    def reads_on() -> None:
        workspace = Workspace(services, alice.id)
        while not stop.is_set():
            known = set(acknowledged)
            seen = workspace.do(lambda connection: set(connection.scalars(select(stage_mappings.c.pipeline))))
            reads[0] += 1
            if not known <= seen:
                problems.append(f"stale: {sorted(known - seen)}")

    def watched(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            problems.append(repr(error))

    users = [threading.Thread(target=watched, args=(work,)) for work in (writes, reads_on)]
    for user in users:
        user.start()
    _eventually(lambda: len(acknowledged) > 5 and reads[0] > 5)
    there = upgrade(services, alice)
    assert mover(services).carry_on(there) is Phase.RETAINING
    _goes_on(acknowledged, reads)
    back = rollback(services, alice)
    assert mover(services).carry_on(back) is Phase.RETAINING
    _goes_on(acknowledged, reads)
    stop.set()
    for user in users:
        user.join(60)
    assert problems == []
    kept = [row[0] for row in rows_of(placement_of(services, alice))["stage_mappings"]]
    assert sorted(kept) == sorted([*acknowledged, "p"])
    assert writable(services, alice) == [the_move(services, back).target_id]


def test_a_rollback_takes_later_writes_along_and_a_second_upgrade_finds_the_same_server(
    services: WorkerServices, alice: Tenancy
) -> None:
    first = upgrade(services, alice)
    mover(services).carry_on(first)
    with services.sessions.open(placement_of(services, alice)) as session:
        add(session, "on the dedicated server")
    truth = Truth.of(services, alice)

    back = rollback(services, alice)
    assert mover(services).carry_on(back) is Phase.RETAINING
    move = the_move(services, back)
    assert (move.source, move.target) == ("dedicated-1", "pool-1")
    truth.holds_at(move.target_id)
    assert move.target_id != the_move(services, first).source_id  # a fresh schema, never the one it came from
    with services.registry.begin() as connection:
        assert tenants.find(connection, alice.id).tier is Tier.PAID

    again = upgrade(services, alice)
    assert mover(services).carry_on(again) is Phase.RETAINING
    move = the_move(services, again)
    assert (move.source, move.target) == ("pool-1", "dedicated-1")
    truth.holds_at(move.target_id)
    with services.registry.begin() as connection:
        assert tenants.find(connection, alice.id).epoch == 4


def test_a_writer_that_takes_its_time_is_waited_for_and_its_row_arrives(
    services: WorkerServices, alice: Tenancy
) -> None:
    written = threading.Event()

    def writes_slowly() -> None:
        with services.sessions.open(alice.placement) as session:
            add(session, "slow")
            written.set()
            time.sleep(0.8)

    writer = threading.Thread(target=writes_slowly)
    writer.start()
    assert written.wait(60)
    move_id = upgrade(services, alice)
    assert mover(services).carry_on(move_id) is Phase.RETAINING
    writer.join()
    placement = placement_of(services, alice)
    assert placement.placement_id == the_move(services, move_id).target_id
    assert "slow" in [row[0] for row in rows_of(placement)["stage_mappings"]]


def test_a_stale_placement_is_refused_for_reads_and_writes_after_the_move(
    services: WorkerServices, alice: Tenancy
) -> None:
    with services.sessions.open(alice.placement):
        pass
    mover(services).carry_on(upgrade(services, alice))
    for _ in range(2):
        with pytest.raises(Refused) as refused, services.sessions.open(alice.placement):
            pass
        assert refused.value.code is Code.FENCED
    with pytest.raises(Refused) as closed:
        Raw(alice.placement)
    assert closed.value.code is Code.FENCED


def test_what_is_retained_is_dropped_in_time_and_never_what_is_in_use(services: WorkerServices, alice: Tenancy) -> None:
    first = upgrade(services, alice)
    mover(services).carry_on(first)
    back = rollback(services, alice)
    mover(services).carry_on(back)
    truth = Truth.of(services, alice)
    _sweep(services)
    assert {Phase(the_move(services, move_id).phase) for move_id in (first, back)} == {Phase.RETAINING}

    _end_retention(services, first)
    assert _sweep(services) == [first]
    assert mover(services).carry_on(first) is Phase.DROPPED
    assert mover(services).carry_on(first) is Phase.DROPPED
    truth.holds_at(the_move(services, back).target_id)
    with services.registry.begin() as connection:
        gone = placements.find(connection, services.keys, the_move(services, first).source_id)
        states = {row.id: row.state for row in placements.of_tenant(connection, alice.id)}
        server = services.open_server(placements.server_of(connection, gone.placement_id))
        assert servers.by_name(connection, "dedicated-1").tenant == "Northwind"  # its other copy is kept there
    assert server.fence(gone.schema) is None
    assert sorted(states.values()) == ["active", "dropped", "retained"]

    _end_retention(services, back)
    assert _sweep(services) == [back]
    assert mover(services).carry_on(back) is Phase.DROPPED
    truth.holds_at(the_move(services, back).target_id)
    with services.registry.begin() as connection:
        assert servers.by_name(connection, "dedicated-1").tenant is None
    with pytest.raises(Refused) as refused:
        rollback(services, alice)
    assert refused.value.code is Code.CONFLICT


def test_a_drop_of_the_placement_in_use_is_refused(services: WorkerServices, alice: Tenancy) -> None:
    move_id = upgrade(services, alice)
    mover(services).carry_on(move_id)
    truth = Truth.of(services, alice)
    move = the_move(services, move_id)
    with services.registry.begin() as connection:  # as if the tenant had come back to the very same schema
        connection.execute(text("UPDATE moves SET source_id = target_id WHERE id = :id"), {"id": move_id})
    _end_retention(services, move_id)
    assert _sweep(services) == []
    with services.registry.begin() as connection:
        moves.begin_drop(connection, move_id)
    with pytest.raises(Refused) as refused:
        mover(services).carry_on(move_id)
    assert refused.value.code is Code.CONFLICT
    truth.holds_at(move.target_id)


def test_a_pool_can_be_left_for_another(services: WorkerServices, alice: Tenancy, dedicated_url: str) -> None:
    register_server(services, "pool-2", ServerKind.POOL, dedicated_url)
    truth = Truth.of(services, alice)
    with services.registry.begin() as connection:
        move_id = moving.move_to(connection, services.queue, OLGA, alice.slug, "pool-2")
    assert mover(services).carry_on(move_id) is Phase.RETAINING
    move = the_move(services, move_id)
    assert (move.source, move.target, move.kind) == ("pool-1", "pool-2", "rebalance")
    truth.holds_at(move.target_id)


def test_moves_that_cannot_be_are_refused_and_leave_nothing(
    services: WorkerServices, alice: Tenancy, make_tenant: Callable[..., Tenancy]
) -> None:
    with pytest.raises(Refused) as nothing_to_roll_back:
        rollback(services, alice)
    first = upgrade(services, alice)
    with pytest.raises(Refused) as under_way, services.registry.begin() as connection:
        moving.move_to(connection, services.queue, OLGA, str(alice.id), "dedicated-1")
    bob = make_tenant("Fabrikam", "bob@fabrikam.example")
    with pytest.raises(Refused) as none_free:
        upgrade(services, bob)
    assert mover(services).carry_on(first) is Phase.RETAINING
    with pytest.raises(Refused) as has_one:
        upgrade(services, alice)
    codes = [refused.value.code for refused in (nothing_to_roll_back, under_way, none_free, has_one)]
    assert codes == [Code.CONFLICT, Code.CONFLICT, Code.UNAVAILABLE, Code.CONFLICT]
    with services.registry.begin() as connection:
        assert tenants.find(connection, bob.id).tier is Tier.FREE
        assert len(placements.of_tenant(connection, bob.id)) == 1
        assert len(placements.of_tenant(connection, alice.id)) == 2


def test_a_target_is_closed_to_its_login_until_the_switch(services: WorkerServices, alice: Tenancy) -> None:
    move_id = upgrade(services, alice)
    looked = []

    def look(step: str) -> None:
        if step in ("verify", "cut_over", "closed"):
            with services.registry.begin() as connection:
                target = placements.find(connection, services.keys, the_move(services, move_id).target_id)
            for placement in (target, replace(target, epoch=target.epoch + 1)):
                with pytest.raises(Refused) as refused, services.sessions.open(placement) as session:
                    add(session, "too early")
                looked.append(refused.value.code)

    mover(services, step=look).carry_on(move_id)
    assert looked == [Code.FENCED] * 6
    assert "too early" not in [row[0] for row in rows_of(placement_of(services, alice))["stage_mappings"]]


def test_the_fence_follows_the_steps(services: WorkerServices, alice: Tenancy) -> None:
    seen = {}

    def look(step: str) -> None:
        fence = services.open_server(_server_of(services, alice, first=True)).fence(alice.placement.schema)
        assert fence is not None
        seen[step] = (fence.mode, fence.epoch, fence.capture)

    mover(services, step=look).carry_on(upgrade(services, alice))
    before, noting = (FenceMode.RW, 1, False), (FenceMode.RW, 1, True)
    closed, left = (FenceMode.MOVED, 1, False), (FenceMode.MOVED, 2, False)
    assert seen == {
        "claim": before,
        "server": before,
        "prepare": before,
        "capture": before,
        "copy": noting,
        "catch_up": noting,
        "verify": noting,
        "cut_over": noting,
        "paused": noting,
        "marked": noting,
        "closed": closed,
        "open": closed,
        "confirm": left,
        "retain": left,
    }


def _server_of(services: WorkerServices, tenancy: Tenancy, *, first: bool = False) -> UUID:
    with services.registry.begin() as connection:
        placement = tenancy.placement if first else placements.current(connection, services.keys, tenancy.id)
        return placements.server_of(connection, placement.placement_id)


def _end_retention(services: WorkerServices, move_id: UUID) -> None:
    with services.registry.begin() as connection:
        connection.execute(
            text("UPDATE moves SET retain_until = now() - interval '1 second' WHERE id = :id"), {"id": move_id}
        )


def _sweep(services: WorkerServices) -> list[UUID]:
    """One round of the sweep; the moves it put into the queue."""
    with services.registry.begin() as connection:
        connection.execute(text("DELETE FROM procrastinate_jobs"))
        moving.sweep(connection, services.queue)
        locks = connection.execute(text("SELECT lock FROM procrastinate_jobs")).scalars().all()
        return [row.id for row in moves.page(connection).rows if f"move:{row.id}" in locks]


def _goes_on(acknowledged: list[str], reads: list[int]) -> None:
    written, read = len(acknowledged), reads[0]
    _eventually(lambda: len(acknowledged) > written + 5 and reads[0] > read + 5)


def _eventually(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)
