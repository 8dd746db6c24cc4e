"""While a workspace is moved, nothing is written that is not noted; and nobody keeps the cut-over from coming."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from awssome.database import dirty
from awssome.database.engine import FenceBusy, MoverLost
from awssome.database.schema import field_mappings, stage_mappings
from awssome.database.sqlserver import bulk, driver
from awssome.database.sqlserver.server import SQLServer
from awssome.domain.errors import Refused
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import Placement
from tests.database.sqlserver.attacks import Attack, Control
from tests.database.sqlserver.attacks.capture import ALL, OUTBOX, PAST, ROWS, SETTINGS
from tests.database.sqlserver.neighbours import (
    Neighbours,
    bob_stays_unharmed,
    by_name,
    has_ended,
    rows,
    session_of,
    tried,
)
from tests.engines import eventually, only_sqlserver

pytestmark = [only_sqlserver, bob_stays_unharmed]

MOVER = 7

Content = dict[str, dict[str, str]]
"""Table -> key -> the whole row."""


@pytest.fixture(scope="module")
def captured(neighbours: Neighbours) -> Iterator[Placement]:
    """Alice's workspace, as it is while a mover copies it."""
    schema = neighbours.alice.schema
    neighbours.server.claim(schema, MOVER)
    neighbours.server.capture(schema, MOVER, on=True)
    yield neighbours.alice
    neighbours.server.capture(schema, MOVER, on=False)


@by_name(PAST)
def test_what_alice_writes_is_noted(
    attempt: Attack, captured: Placement, alice: driver.Connection, neighbours: Neighbours, onlooker: driver.Connection
) -> None:
    touched, noted = _written(attempt.statements, captured, alice, neighbours, onlooker)
    assert touched <= noted


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_option_of_her_session_hides_a_write(
    setting: str, captured: Placement, neighbours: Neighbours, onlooker: driver.Connection
) -> None:
    with closing(session_of(captured)) as alice:
        statements = (setting, *ALL, *ALL[:2], "IF @@TRANCOUNT > 0 COMMIT")
        touched, noted = _written(statements, captured, alice, neighbours, onlooker)
    assert touched <= noted


def test_an_administrator_is_noted_too(
    captured: Placement, neighbours: Neighbours, onlooker: driver.Connection
) -> None:
    touched, noted = _written(ALL, captured, onlooker, neighbours, onlooker)
    assert touched <= noted
    assert len(touched) >= 6


@by_name(OUTBOX)
def test_alice_lays_no_hand_on_the_outbox(
    attempt: Attack, captured: Placement, alice: driver.Connection, neighbours: Neighbours, onlooker: driver.Connection
) -> None:
    driver.run(onlooker, neighbours.named(f"DELETE FROM {{alice}}._outbox; {ROWS}"))
    before = _outbox(captured, onlooker)
    given = [tried(alice, neighbours.named(statement)) for statement in attempt.statements]
    assert given[-1][1] is not None, "it was not refused"
    assert _outbox(captured, onlooker) == before
    assert len(before) == 3
    driver.run(onlooker, neighbours.named("DELETE FROM {alice}.stage_mappings"))


@by_name(tuple(attempt for attempt in OUTBOX if attempt.control is Control.ADMINISTRATOR))
def test_an_administrator_may_do_the_same(attempt: Attack, captured: Placement, neighbours: Neighbours) -> None:
    """No attack is refused for being ill-formed."""
    with closing(driver.connect(driver.connection_string(neighbours.url), autocommit=False)) as administrator:
        for statement in attempt.statements:
            _, refusal = tried(administrator, neighbours.named(statement))
            assert refusal is None or driver.number_of(refusal) not in driver.DENIED
        administrator.rollback()


def test_without_a_capture_nothing_is_noted(throwaway: Placement, onlooker: driver.Connection) -> None:
    with closing(session_of(throwaway)) as mallory:
        for statement in ALL:
            driver.run(mallory, statement.replace("{alice}", throwaway.schema))
    assert _outbox(throwaway, onlooker) == []


TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=30)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(keys=st.sets(st.tuples(TEXTS.map(str.rstrip), TEXTS | st.just("\\|")), min_size=1, max_size=8))
def test_keys_are_written_as_everywhere(
    keys: set[tuple[str, str]], captured: Placement, neighbours: Neighbours, onlooker: driver.Connection
) -> None:
    stripped = {(pipeline, stage.rstrip(" ")) for pipeline, stage in keys}
    driver.run(onlooker, neighbours.named("DELETE FROM {alice}.stage_mappings; DELETE FROM {alice}._outbox"))
    new = [(pipeline, stage, "t", datetime(2026, 1, 1), None, None) for pipeline, stage in stripped]
    assert bulk.load(onlooker, captured.schema, stage_mappings, iter(new)) == len(stripped)
    noted = [key for _, key in _outbox(captured, onlooker)]
    assert sorted(noted) == sorted(dirty.key(values) for values in stripped)
    assert {tuple(dirty.values(key)) for key in noted} == stripped


def test_a_capture_begins_behind_the_writers_under_way(
    throwaway: Placement, neighbours: Neighbours, onlooker: driver.Connection
) -> None:
    """What was written before is in any snapshot from then on; what is written afterwards is noted."""
    server, schema = neighbours.server, throwaway.schema
    server.claim(schema, MOVER)
    with closing(session_of(throwaway)) as mallory:
        driver.run(mallory, "BEGIN TRANSACTION")
        driver.run(mallory, ROWS.replace("{alice}", schema))
        with pytest.raises(FenceBusy):
            server.capture(schema, MOVER, on=True, timeout_ms=50)
        assert server.fence(schema).capture is False  # type: ignore[union-attr]
        driver.run(mallory, "COMMIT")
        server.capture(schema, MOVER, on=True)
        with server.snapshot(schema) as found:
            assert found.fence.capture
            assert found.sums()["stage_mappings"].rows == 3
            assert found.changes(10).seqs == ()
        driver.run(mallory, f"UPDATE {schema}.stage_mappings SET stage = N'later'")
    assert len(_outbox(throwaway, onlooker)) == 3
    server.capture(schema, MOVER, on=False)
    assert _outbox(throwaway, onlooker) == []
    with pytest.raises(MoverLost):
        server.capture(schema, MOVER - 1, on=True)


def test_entries_are_forgotten_beside_a_writer_whose_own_stay(
    throwaway: Placement, neighbours: Neighbours, onlooker: driver.Connection
) -> None:
    server, schema = neighbours.server, throwaway.schema
    server.claim(schema, MOVER)
    server.capture(schema, MOVER, on=True)
    with closing(session_of(throwaway)) as early, closing(session_of(throwaway)) as late:
        driver.run(early, "BEGIN TRANSACTION")
        driver.run(early, f"{_row(schema, 'early')}")
        driver.run(late, f"{_row(schema, 'late')}")
        with server.snapshot(schema) as found:
            changes = found.changes(10)
        assert list(changes.rows["stage_mappings"]) == ["late|s"]
        server.forget(schema, MOVER, [*changes.seqs, *changes.seqs])
        driver.run(early, "COMMIT")
    assert _outbox(throwaway, onlooker) == [("stage_mappings", "early|s")]
    with pytest.raises(MoverLost):
        server.forget(schema, MOVER - 1, [1])


def test_a_writer_that_is_kept_waiting_does_not_keep_the_mover_waiting(
    throwaway: Placement, neighbours: Neighbours
) -> None:
    """It has written its row already, and waits in the trigger: only a snapshot reads past it."""
    server, schema = neighbours.server, throwaway.schema
    server.claim(schema, MOVER)
    server.capture(schema, MOVER, on=True)
    with closing(session_of(throwaway)) as mallory, ThreadPoolExecutor(1) as thread:
        driver.run(mallory, _row(schema, "before"))
        with server.closing(schema, MOVER) as shut:
            writing = thread.submit(tried, mallory, f"UPDATE {schema}.stage_mappings SET stage = N'during'")
            with pytest.raises(TimeoutError):
                writing.result(0.3)
            changes = shut.changes()
            assert changes.rows["stage_mappings"]["before|s"][2] == "t"  # type: ignore[index]
            shut.close()
        _, refusal = writing.result(60)
        assert refusal is not None
        assert driver.number_of(refusal) == driver.FENCED
    fence = server.fence(schema)
    assert fence is not None
    assert (fence.mode, fence.epoch, fence.capture) == (FenceMode.MOVED, 1, False)


def test_whoever_leaves_without_closing_lets_writers_go_on(
    throwaway: Placement, neighbours: Neighbours, onlooker: driver.Connection
) -> None:
    server, schema = neighbours.server, throwaway.schema
    server.claim(schema, MOVER)
    server.capture(schema, MOVER, on=True)
    with closing(session_of(throwaway)) as mallory, ThreadPoolExecutor(1) as thread:
        with suppress(ZeroDivisionError), server.closing(schema, MOVER) as shut:
            writing = thread.submit(tried, mallory, _row(schema, "during"))
            assert shut.changes().seqs == ()
            raise ZeroDivisionError
        assert writing.result(60)[1] is None
    assert _outbox(throwaway, onlooker) == [("stage_mappings", "during|s")]


def test_a_frozen_mover_is_ended_by_the_next(throwaway: Placement, neighbours: Neighbours) -> None:
    """Nothing on SQL Server ends a transaction that idles."""
    server, schema, frozen = neighbours.server, throwaway.schema, SQLServer(neighbours.url)
    server.claim(schema, MOVER)
    server.capture(schema, MOVER, on=True)
    with pytest.raises(Refused), frozen.closing(schema, MOVER) as shut:
        server.claim(schema, MOVER + 1)
        shut.close()
    with closing(session_of(throwaway)) as mallory:
        assert tried(mallory, _row(schema, "afterwards"))[1] is None
    with pytest.raises(MoverLost), frozen.closing(schema, MOVER):
        pass
    fence = server.fence(schema)
    assert fence is not None
    assert (fence.mode, fence.mover, fence.capture) == (FenceMode.RW, MOVER + 1, True)


def test_a_frozen_mover_does_not_keep_what_it_fills_from_being_dropped(
    throwaway: Placement, neighbours: Neighbours
) -> None:
    server, schema, frozen = neighbours.server, throwaway.schema, SQLServer(neighbours.url)
    server.claim(schema, MOVER)
    begun, dropped = threading.Event(), threading.Event()

    def held() -> Iterator[list[str | None]]:
        begun.set()
        assert dropped.wait(60)
        yield ["p", "s", "t", "2026-01-01T00:00:00.000000", None, None]

    with ThreadPoolExecutor(1) as thread:
        filling = thread.submit(frozen.load, schema, MOVER, [(stage_mappings, held())])
        assert begun.wait(60)
        server.drop(schema, MOVER + 1)
        dropped.set()
        with pytest.raises(Refused):
            filling.result(60)
    assert server.fence(schema) is None


HELD = {
    "a write": "UPDATE {alice}.field_mappings SET updated_at = updated_at",
    "a write of no row": "DELETE FROM {alice}.sync_failures WHERE 1 = 0",
    "her lock, shared": "DECLARE @lock nvarchar(64) = (SELECT lock_name FROM {alice}._fence); "
    "EXEC sp_getapplock @Resource = @lock, @LockMode = N'Shared', @LockOwner = N'Session'",
    "her lock, alone": "DECLARE @lock nvarchar(64) = (SELECT lock_name FROM {alice}._fence); "
    "EXEC sp_getapplock @Resource = @lock, @LockMode = N'Exclusive', @LockOwner = N'Session'",
}


@pytest.mark.parametrize("held", HELD)
def test_alice_holds_a_cut_over_up_until_her_sessions_are_ended(
    held: str, throwaway: Placement, neighbours: Neighbours
) -> None:
    """It is given up in time, and she is told from others: it is her own workspace that waits."""
    server, schema = neighbours.server, throwaway.schema
    server.claim(schema, MOVER)
    server.capture(schema, MOVER, on=True)
    with closing(session_of(throwaway)) as mallory:
        driver.run(mallory, "BEGIN TRANSACTION")
        driver.run(mallory, HELD[held].replace("{alice}", schema))
        for _ in range(2):
            with pytest.raises(FenceBusy), server.closing(schema, MOVER, timeout_ms=50):
                pass
        server.end_sessions(schema)
        eventually(lambda: has_ended(mallory))
    with server.closing(schema, MOVER, timeout_ms=1000) as shut:
        shut.close()


NOT_HELD = {
    "a guessed lock": "EXEC sp_getapplock @Resource = N'{alice}', @LockMode = N'Exclusive', @LockOwner = N'Session'",
    "another guessed lock": "EXEC sp_getapplock @Resource = N'_fence', @LockMode = N'Exclusive', "
    "@LockOwner = N'Session'",
    "a read of her fence": "SELECT * FROM {alice}._fence",
    "a read of her rows": "SELECT COUNT(*) FROM {alice}.deal_registrations",
    "a temporary table": "CREATE TABLE #mine (x int)",
    "a label like a mover's": "SET CONTEXT_INFO 0x617773736F6D652D6D6F7665722D",
}


@pytest.mark.parametrize("held", NOT_HELD)
def test_what_does_not_hold_a_cut_over_up(held: str, throwaway: Placement, neighbours: Neighbours) -> None:
    server, schema = neighbours.server, throwaway.schema
    server.claim(schema, MOVER)
    server.capture(schema, MOVER, on=True)
    with closing(session_of(throwaway)) as mallory:
        driver.run(mallory, "BEGIN TRANSACTION")
        driver.run(mallory, NOT_HELD[held].replace("{alice}", schema))
        with server.closing(schema, MOVER, timeout_ms=500) as shut:
            shut.close()
    assert server.fence(schema).mode is FenceMode.MOVED  # type: ignore[union-attr]


def _written(
    statements: tuple[str, ...],
    placement: Placement,
    connection: driver.Connection,
    neighbours: Neighbours,
    onlooker: driver.Connection,
) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Run statements, which may be refused: the keys whose rows have come, changed or gone, and the keys noted.

    Looked at after each of them, since a row may come and go.
    """
    driver.run(onlooker, neighbours.named("DELETE FROM {alice}.stage_mappings; DELETE FROM {alice}._outbox"))
    before = _content(placement, onlooker)
    touched: set[tuple[str, str]] = set()
    for statement in statements:
        tried(connection, neighbours.named(statement))
        after = _content(placement, onlooker)
        for table in before:
            touched |= {
                (table, key)
                for key in before[table].keys() | after[table].keys()
                if before[table].get(key) != after[table].get(key)
            }
        before = after
    return touched, set(_outbox(placement, onlooker))


def _content(placement: Placement, onlooker: driver.Connection) -> Content:
    """What an administrator sees of the tables that are written to here."""
    found: Content = {}
    for table in (stage_mappings, field_mappings):
        keys = ", ".join(f"[{column.name}]" for column in table.primary_key)
        read = rows(onlooker, f"SELECT {keys}, '', * FROM {placement.schema}.{table.name}")
        width = len(list(table.primary_key))
        found[table.name] = {dirty.key([str(value) for value in row[:width]]): str(row) for row in read}
    return found


def _outbox(placement: Placement, onlooker: driver.Connection) -> list[tuple[str, str]]:
    return [
        (row[0], row[1])
        for row in rows(onlooker, f"SELECT table_name, row_key FROM {placement.schema}._outbox ORDER BY seq")
    ]


def _row(schema: str, pipeline: str) -> str:
    return (
        f"INSERT INTO {schema}.stage_mappings (pipeline, hubspot_stage, stage, updated_at) "
        f"VALUES (N'{pipeline}', N's', N't', SYSUTCDATETIME())"
    )
