"""What is written at a source while it is copied arrives at the target, however writes and cycles interleave."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, update
from sqlalchemy.exc import IntegrityError

from awssome.database import Connection, catch_up, dirty
from awssome.database.catch_up import CatchUp, End
from awssome.database.engine import CLOSING_ENTRIES, Changes, FenceBusy, MoverLost, Server, Unequal
from awssome.database.postgresql import dirty as postgresql_dirty
from awssome.database.postgresql import rows
from awssome.database.postgresql.server import PostgreSQL
from awssome.database.registry import placements
from awssome.database.schema import (
    DATA_TABLES,
    deal_events,
    deal_registrations,
    hubspot_mappings,
    stage_mappings,
    sync_history,
    sync_issues,
)
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import EngineName, Placement, new_schema_name
from awssome.domain.times import now
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.engines import DRIVER_ERRORS, Raw, as_administrator, only_postgresql
from tests.workflows.moving import fill

MOVER = 7

TEXTS = st.text(st.sampled_from("|\\a é"), min_size=0, max_size=5)


@given(st.lists(TEXTS, min_size=1, max_size=3))
@example(["\\", "|"])
@example(["", "", ""])
def test_a_key_is_read_as_it_was_written(values: list[str]) -> None:
    assert dirty.values(dirty.key(values)) == values


@given(st.lists(TEXTS, min_size=2, max_size=2), st.lists(TEXTS, min_size=2, max_size=2))
def test_two_rows_never_share_a_key(one: list[str], other: list[str]) -> None:
    assert (dirty.key(one) == dirty.key(other)) == (one == other)


def test_the_keys_of_every_table_hold_no_column_that_can_be_empty() -> None:
    for table in DATA_TABLES:
        assert all(not column.nullable for column in table.primary_key)


def test_in_a_table_that_others_refer_to_what_is_unique_can_be_empty() -> None:
    """Two rows may exchange it: it is emptied first."""
    referred = {key.column.table for table in DATA_TABLES for key in table.foreign_keys}
    assert {table.name for table in referred} == {"deal_registrations", "sync_history"}
    columns = [column for table in referred for index in table.indexes if index.unique for column in index.columns]
    assert [column.name for column in columns if not column.nullable] == []


@dataclass
class Pair:
    """A tenant's schema that takes writes, and an empty one that is to become the same."""

    services: WorkerServices
    placement: Placement
    server: Server
    target: str

    def catch_up(self) -> CatchUp:
        fence = self.server.fence(self.target)
        assert fence is not None
        here, there = End(self.server, self.placement.schema), End(self.server, self.target)
        return CatchUp(here, there, MOVER, fence.revision)

    def begin(self) -> CatchUp:
        """Capture, and copy."""
        self.server.capture(self.placement.schema, MOVER, on=True)
        self.server.copy(self.placement.schema, self.server, self.target, MOVER)
        return self.catch_up()

    def cut_over(self, behind: CatchUp) -> None:
        """The last cycle behind the closed fence."""
        with self.server.closing(self.placement.schema, MOVER) as closed:
            behind.close(closed, self.placement.epoch + 1)
            closed.close()

    def is_equal(self) -> bool:
        return self.server.sums(self.placement.schema) == self.server.sums(self.target)

    def outbox(self, engine: EngineName, url: str) -> list[tuple[Any, ...]]:
        query = f"SELECT table_name, row_key FROM {self.placement.schema}._outbox ORDER BY seq"
        return as_administrator(engine, url, query)


@pytest.fixture
def pair(services: WorkerServices, make_tenant: Callable[..., Tenancy]) -> Iterator[Pair]:
    """Both are claimed by one mover."""
    placement = make_tenant("Northwind", "alice@northwind.example").placement
    with services.registry.begin() as connection:
        server = services.open_server(placements.server_of(connection, placement.placement_id))
    target = new_schema_name()
    server.claim(placement.schema, MOVER)
    server.provision(target, "Aa1-target", epoch=1, mode=FenceMode.STANDBY, mover=MOVER)
    yield Pair(services, placement, server, target)
    server.drop(target, 10 * MOVER)


def uuid(number: int) -> UUID:
    """The same each time."""
    return UUID(bytes=hashlib.sha256(str(number).encode()).digest()[:16])


def deal(number: int, title: str) -> dict[str, Any]:
    """A row of `deal_registrations`."""
    return {
        "id": uuid(number),
        "source": "manual",
        "title": title,
        "stage": "Prospect",
        "edited_fields": [title],
        "ready": True,
        "version": number,
        "created_at": now(),
        "updated_at": now(),
        "updated_by": "alice",
    }


def run(number: int, slot: int | None) -> dict[str, Any]:
    """A row of `sync_history`."""
    counts = ("imported", "seen", "created", "updated", "unchanged", "left_out", "failed", "calls")
    return {
        "id": uuid(number),
        "state": "done",
        "attempt": 1,
        "requested_by": "alice",
        "requested_at": now(),
        "open_slot": slot,
    } | dict.fromkeys(counts, number)


def issue(number: int, of: int) -> dict[str, Any]:
    """A row of `sync_issues`."""
    texts = dict.fromkeys(("title", "field", "reason", "advice"), "x")
    return {"id": uuid(number), "sync_id": uuid(of), "kind": "left_out", "deal_id": "1"} | texts


def mapping(number: int, of: int) -> dict[str, Any]:
    """A row of `hubspot_mappings`."""
    return {
        "portal_id": number,
        "deal_id": "a|b\\",
        "registration_id": uuid(of),
        "state": "live",
        "source_hash": b"\x00",
        "first_sync_id": uuid(0),
        "last_sync_id": uuid(0),
        "created_at": now(),
    }


Write = Callable[[Connection, int, int], object]

WRITES: dict[str, Write] = {
    "a deal": lambda c, a, b: c.execute(insert(deal_registrations).values(deal(a, "new"))),
    "another title": lambda c, a, b: c.execute(
        update(deal_registrations).where(deal_registrations.c.id == uuid(a)).values(title=f"title {b}")
    ),
    "no deal": lambda c, a, b: c.execute(delete(deal_registrations).where(deal_registrations.c.id == uuid(a))),
    "an event": lambda c, a, b: c.execute(
        insert(deal_events).values(
            id=uuid(a * 100 + b), registration_id=uuid(a), at=now(), kind="created", actor="", changes={}
        )
    ),
    "a mapping": lambda c, a, b: c.execute(insert(hubspot_mappings).values(mapping(a, b))),
    "no mapping": lambda c, a, b: c.execute(delete(hubspot_mappings).where(hubspot_mappings.c.portal_id == a)),
    "another deal for the mapping": lambda c, a, b: c.execute(
        update(hubspot_mappings).where(hubspot_mappings.c.portal_id == a).values(registration_id=uuid(b))
    ),
    "a run": lambda c, a, b: c.execute(insert(sync_history).values(run(a, None))),
    "the open run": lambda c, a, b: c.execute(insert(sync_history).values(run(a, 1))),
    "the open run is another": lambda c, a, b: (
        c.execute(update(sync_history).where(sync_history.c.id == uuid(a)).values(open_slot=None)),
        c.execute(update(sync_history).where(sync_history.c.id == uuid(b)).values(open_slot=1)),
    ),
    "an issue": lambda c, a, b: c.execute(insert(sync_issues).values(issue(a * 100 + b, a))),
    "issues of another run": lambda c, a, b: c.execute(
        update(sync_issues).where(sync_issues.c.sync_id == uuid(a)).values(sync_id=uuid(b))
    ),
    "no run and no issues": lambda c, a, b: (
        c.execute(delete(sync_issues).where(sync_issues.c.sync_id == uuid(a))),
        c.execute(delete(sync_history).where(sync_history.c.id == uuid(a))),
    ),
    "a stage": lambda c, a, b: c.execute(
        insert(stage_mappings).values(pipeline="|" * a, hubspot_stage="\\" * b, stage="", updated_at=now())
    ),
    "another key for stages": lambda c, a, b: c.execute(
        update(stage_mappings).where(stage_mappings.c.pipeline == "|" * a).values(pipeline="|\\" * a, stage="moved")
    ),
    "no stage": lambda c, a, b: c.execute(delete(stage_mappings).where(stage_mappings.c.hubspot_stage == "\\" * b)),
}
"""What a writer does to the rows of two numbers."""

SMALL = st.integers(0, 2)
STEPS = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(sorted(WRITES)), SMALL, SMALL),
    st.tuples(st.just("long"), st.sampled_from(sorted(WRITES)), SMALL, SMALL),
    st.tuples(st.sampled_from(["cycle", "verify", "end of long", "gives up"])),
)


@dataclass
class Writers:
    """One who commits each write, and one who takes its time; they leave each other's rows alone."""

    pair: Pair
    long: ExitStack | None = None
    session: Connection | None = None
    taken: set[str] = field(default_factory=set)

    def write(self, what: str, a: int, b: int) -> None:
        with self.pair.services.sessions.open(self.pair.placement) as connection:
            _try(connection, WRITES[what], a, b)

    def write_long(self, what: str, a: int, b: int) -> None:
        if "open run" in what:  # there can be one of these only: it would wait for the other writer
            return
        if self.long is None:
            self.long = ExitStack()
            self.session = self.long.enter_context(self.pair.services.sessions.open(self.pair.placement))
        assert self.session is not None
        _try(self.session, WRITES[what], a + 10, b + 10)

    def end_long(self) -> None:
        if self.long is not None:
            self.long.close()
        self.long = self.session = None


def _try(connection: Connection, write: Write, a: int, b: int) -> None:
    """What the tables do not take is no write."""
    try:
        with connection.begin_nested():
            write(connection, a, b)
    except IntegrityError:
        pass


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=st.lists(STEPS, max_size=5),
    steps=st.lists(STEPS, min_size=3, max_size=25),
    entries=st.sampled_from([2, 9999]),
)
@example(
    before=[
        ("write", "a deal", 0, 0),
        ("write", "a deal", 1, 0),
        ("write", "a mapping", 0, 0),
        ("write", "a mapping", 1, 1),
    ],
    steps=[
        ("write", "no mapping", 0, 0),
        ("write", "another deal for the mapping", 1, 0),
        ("write", "a mapping", 0, 1),
        ("cycle",),
        ("write", "an event", 0, 0),
        ("write", "another title", 0, 1),
        ("verify",),
    ],
    entries=2,
)
@example(
    before=[("write", "the open run", 0, 0), ("write", "a run", 1, 0), ("write", "an issue", 0, 0)],
    steps=[("write", "the open run is another", 0, 1), ("write", "issues of another run", 0, 1), ("verify",)],
    entries=9999,
)
def test_however_writes_and_cycles_interleave_the_target_becomes_equal(
    pair: Pair,
    monkeypatch: pytest.MonkeyPatch,
    engine: EngineName,
    pool_url: str,
    before: list[Any],
    steps: list[Any],
    entries: int,
) -> None:
    _empty(pair, engine, pool_url)
    monkeypatch.setattr(catch_up, "ENTRIES", entries)
    writers = Writers(pair)
    for step in before:
        if step[0] == "write":
            writers.write(*step[1:])
    behind = pair.begin()
    for step in [*steps, ("end of long",), ("verify",)]:
        match step:
            case ("write", what, a, b):
                writers.write(what, a, b)
            case ("long", what, a, b):
                writers.write_long(what, a, b)
            case ("end of long",):
                writers.end_long()
            case ("cycle",):
                behind.cycle()
            case ("gives up",) if writers.long is None:
                with pair.server.closing(pair.placement.schema, MOVER) as closed:
                    behind.close(closed, pair.placement.epoch + 1)
            case ("verify",):
                of_source, of_target = behind.verify()
                assert of_source == of_target
    for step in steps:
        if step[0] == "write":
            writers.write(*step[1:])
    pair.cut_over(behind)
    assert pair.is_equal()
    assert behind.reached() == pair.server.sums(pair.placement.schema)
    assert pair.outbox(engine, pool_url) == []


def _empty(pair: Pair, engine: EngineName, url: str) -> None:
    """As it was when it was made."""
    pair.server.set_fence(pair.placement.schema, MOVER, mode=FenceMode.RW, epoch=1)
    pair.server.set_fence(pair.target, MOVER, mode=FenceMode.STANDBY, epoch=1)
    tables = [f"{schema}.{table.name}" for schema in (pair.placement.schema, pair.target) for table in DATA_TABLES]
    as_administrator(engine, url, *(f"DELETE FROM {table}" for table in reversed(tables)))


def test_writes_are_noted_between_begin_and_end_of_a_capture_only(
    pair: Pair, engine: EngineName, pool_url: str
) -> None:
    writers = Writers(pair)
    writers.write("a stage", 0, 0)
    assert pair.outbox(engine, pool_url) == []
    pair.server.capture(pair.placement.schema, MOVER, on=True)
    fence = pair.server.fence(pair.placement.schema)
    assert fence is not None and fence.capture
    writers.write("a stage", 1, 1)
    writers.write("another key for stages", 1, 0)
    assert set(pair.outbox(engine, pool_url)) == {
        ("stage_mappings", dirty.key(["|", "\\"])),
        ("stage_mappings", dirty.key(["|\\", "\\"])),
    }
    pair.server.capture(pair.placement.schema, MOVER, on=True)  # begun anew, all that was noted is forgotten
    assert pair.outbox(engine, pool_url) == []
    writers.write("a stage", 2, 2)
    pair.server.capture(pair.placement.schema, MOVER, on=False)
    writers.write("no stage", 2, 2)
    assert pair.outbox(engine, pool_url) == []


def test_every_table_notes_its_writes(pair: Pair, engine: EngineName, pool_url: str) -> None:
    pair.server.capture(pair.placement.schema, MOVER, on=True)
    fill(pair.services, Tenancy(pair.placement.tenant_id, "", uuid(0), "", pair.placement))
    noted = pair.outbox(engine, pool_url)
    assert {table for table, _ in noted} == {table.name for table in DATA_TABLES}
    with pair.server.snapshot(pair.placement.schema) as found:
        changes = found.changes(10_000)
        all_of = {t.name: {dirty.key_of(t)(row): list(row) for row in found.rows(t)} for t in DATA_TABLES}
    assert {name: {key: list(row or ()) for key, row in of.items()} for name, of in changes.rows.items()} == all_of
    assert len(changes.seqs) == len(noted)


def test_a_transaction_that_began_before_the_capture_is_waited_for(pair: Pair) -> None:
    with pair.services.sessions.open(pair.placement) as connection:
        WRITES["a stage"](connection, 1, 1)
        with pytest.raises(FenceBusy):
            pair.server.capture(pair.placement.schema, MOVER, on=True, timeout_ms=100)
    fence = pair.server.fence(pair.placement.schema)
    assert fence is not None and not fence.capture


def test_nobody_but_the_last_mover_changes_anything(pair: Pair, engine: EngineName, pool_url: str) -> None:
    behind = pair.begin()
    Writers(pair).write("a stage", 1, 1)
    with pair.server.snapshot(pair.placement.schema) as found:
        changes = found.changes(10)
    pair.server.claim(pair.placement.schema, MOVER + 1)
    pair.server.claim(pair.target, MOVER + 1)
    late = [
        lambda: pair.server.capture(pair.placement.schema, MOVER, on=False),
        lambda: pair.server.apply(pair.target, MOVER, changes),
        lambda: pair.server.forget(pair.placement.schema, MOVER, changes.seqs),
        lambda: pair.cut_over(behind),
    ]
    for act in late:
        with pytest.raises(MoverLost):
            act()
    assert len(pair.outbox(engine, pool_url)) == 1
    assert pair.server.sums(pair.target)["stage_mappings"].rows == 0
    there = pair.server.fence(pair.placement.schema)
    assert there is not None and (there.mode, there.capture) == (FenceMode.RW, True)


def test_what_is_open_is_never_written_over(pair: Pair) -> None:
    """Whoever opened the target has claimed it; even without that no mover writes there any more."""
    pair.begin()
    Writers(pair).write("a stage", 1, 1)
    with pair.server.snapshot(pair.placement.schema) as found:
        changes = found.changes(10)
    pair.server.set_fence(pair.target, MOVER, mode=FenceMode.RW, epoch=2)
    with pytest.raises(MoverLost):
        pair.server.apply(pair.target, MOVER, changes)
    assert pair.server.sums(pair.target)["stage_mappings"].rows == 0


def test_a_cut_over_that_is_left_lets_writers_go_on(pair: Pair) -> None:
    behind, writers, written = pair.begin(), Writers(pair), threading.Event()

    def write() -> None:
        while not written.is_set():
            with suppress(Refused):  # on a slow machine it waits for longer than a write waits: it comes again
                writers.write("a stage", 1, 1)
                written.set()

    with pair.server.closing(pair.placement.schema, MOVER) as closed:
        writer = threading.Thread(target=write)
        writer.start()
        behind.close(closed, 2)
        assert not written.wait(0.2)
    assert written.wait(60)
    writer.join()
    assert pair.server.sums(pair.placement.schema)["stage_mappings"].rows == 1
    pair.cut_over(behind)
    assert pair.is_equal()
    with pytest.raises(Refused) as refused:
        writers.write("a stage", 2, 2)
    assert refused.value.code is Code.FENCED


@only_postgresql
def test_a_mover_holds_only_so_much_however_large_rows_are(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long text of one letter is next to nothing for the server's disk."""
    most = 1 << 20
    monkeypatch.setattr(postgresql_dirty, "MOST_BYTES", most)
    behind, own, held = pair.begin(), pair.placement.schema, list[int]()
    writers = Writers(pair)
    for number in range(6):
        writers.write("a deal", number, number)
    with closing(Raw(pair.placement)) as tenant:
        tenant.rows(f"UPDATE {own}.deal_registrations SET edited_fields = '\"' || repeat('x', {most // 3}) || '\"'")
    plain = PostgreSQL.apply

    def apply(server: PostgreSQL, schema: str, mover: int, changes: Changes, **options: Any) -> Any:
        rows = changes.rows.get("deal_registrations", {}).values()
        held.append(sum(len(text) for row in rows for text in row or () if text))
        return plain(server, schema, mover, changes, **options)

    monkeypatch.setattr(PostgreSQL, "apply", apply)
    with pytest.raises(FenceBusy):
        pair.cut_over(behind)
    behind.until_few(lambda: None)
    pair.cut_over(behind)
    assert pair.is_equal()
    assert pair.server.sums(pair.target)["deal_registrations"].rows == 6
    assert most // 3 < max(held) < 1.1 * most


def test_what_a_long_writer_leaves_behind_is_not_carried_over_while_others_wait(pair: Pair) -> None:
    behind = pair.begin()
    much = [
        {"pipeline": str(number), "hubspot_stage": "", "stage": "", "updated_at": now()}
        for number in range(CLOSING_ENTRIES + 1)
    ]
    with pair.services.sessions.open(pair.placement) as connection:
        connection.execute(insert(stage_mappings), much)
    with pytest.raises(FenceBusy):
        pair.cut_over(behind)
    there = pair.server.fence(pair.placement.schema)
    assert there is not None and (there.mode, there.capture) == (FenceMode.RW, True)
    assert pair.server.sums(pair.target)["stage_mappings"].rows == 0
    behind.until_few(lambda: None)
    pair.cut_over(behind)
    assert pair.is_equal()


@only_postgresql
def test_a_mover_that_falls_silent_while_writers_wait_is_cut_off(pair: Pair) -> None:
    """SQL Server lets it idle, until the next mover claims: `sqlserver/test_capture.py`."""
    behind, writers = pair.begin(), Writers(pair)
    writers.write("a stage", 1, 1)
    with pytest.raises((Refused, MoverLost)), pair.server.closing(pair.placement.schema, MOVER) as closed:
        behind.close(closed, 2)
        writers.write("a stage", 2, 2)  # waits until the server has had enough of it
        closed.close()
    there = pair.server.fence(pair.placement.schema)
    assert there is not None and (there.mode, there.capture) == (FenceMode.RW, True)
    pair.cut_over(behind)
    assert pair.is_equal()


def test_rows_that_are_not_there_as_they_were_sent_are_told_and_nothing_is_kept(
    pair: Pair, engine: EngineName, pool_url: str
) -> None:
    """As a trigger, or a defect of the server, might have it."""
    pair.begin()
    Writers(pair).write("a stage", 1, 1)
    with pair.server.snapshot(pair.placement.schema) as found:
        changes = found.changes(10)
    (key,) = changes.rows["stage_mappings"]
    as_administrator(engine, pool_url, _SPOILING[engine].replace("{}", pair.target))
    with pytest.raises(Unequal) as unequal:
        pair.server.apply(pair.target, MOVER, changes)
    assert unequal.value.keys == {"stage_mappings": [key]}
    assert pair.server.sums(pair.target)["stage_mappings"].rows == 0


_SPOILING = {
    EngineName.POSTGRESQL: (
        "CREATE FUNCTION {}.spoil() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN NEW.stage = ''spoilt''; RETURN NEW; END'; "
        "CREATE TRIGGER spoil BEFORE INSERT ON {}.stage_mappings FOR EACH ROW EXECUTE FUNCTION {}.spoil()"
    ),
    EngineName.SQLSERVER: "EXEC(N'CREATE TRIGGER {}.spoil ON {}.stage_mappings AFTER INSERT AS "
    "UPDATE {}.stage_mappings SET stage = N''spoilt''')",
}


def test_a_row_that_differs_is_told_by_its_key(pair: Pair, engine: EngineName, pool_url: str) -> None:
    writers = Writers(pair)
    writers.write("a stage", 1, 1)
    writers.write("a stage", 2, 2)
    behind = pair.begin()
    as_administrator(engine, pool_url, f"UPDATE {pair.target}.stage_mappings SET stage = 'other' WHERE pipeline = '||'")
    writers.write("a stage", 0, 0)  # this one was written since, and is no difference
    of_source, of_target = behind.verify()
    assert [table for table in of_source if of_source[table] != of_target[table]] == ["stage_mappings"]
    writers.write("another key for stages", 0, 0)
    assert behind.differing(stage_mappings) == [dirty.key(["||", "\\\\"])]


HOSTILE = (
    "INSERT INTO {own}._outbox (table_name, row_key) VALUES ('deal_registrations', 'x')",
    "SELECT * FROM {own}._outbox",
    "DELETE FROM {own}._outbox",
    "UPDATE {own}._fence SET capture = {off}",
    "DROP TRIGGER {trigger}",
    "ALTER TABLE {own}.stage_mappings DISABLE TRIGGER {all}",
    "TRUNCATE TABLE {own}.stage_mappings",
)

HOSTILE_ON_POSTGRESQL = (
    "LOCK TABLE {own}._fence IN ROW SHARE MODE",
    "LOCK TABLE {own}._outbox IN ACCESS SHARE MODE",
    "SELECT * FROM {own}._fence FOR SHARE",
    "SET session_replication_role = replica",
    "SELECT {own}._capture_stage_mappings()",
    "SELECT nextval('{own}._outbox_seq_seq')",
    "CREATE TABLE {own}.new_rows (pipeline text)",
    "CREATE FUNCTION {own}.chr(int) RETURNS text LANGUAGE sql AS 'SELECT ''x'''",
    "CREATE TRIGGER t AFTER INSERT ON {own}.stage_mappings EXECUTE FUNCTION {own}._capture_stage_mappings()",
)


def test_no_sql_of_the_tenants_own_gets_past_the_capture(pair: Pair, engine: EngineName, pool_url: str) -> None:
    pair.begin()
    words = {
        EngineName.POSTGRESQL: ("false", "_capture_insert ON {own}.stage_mappings", "ALL"),
        EngineName.SQLSERVER: ("0", "{own}._guard_stage_mappings", "ALL"),
    }[engine]
    statements = HOSTILE + (HOSTILE_ON_POSTGRESQL if engine is EngineName.POSTGRESQL else ())
    through = []
    with closing(Raw(pair.placement)) as tenant:
        for statement in statements:
            text = statement.replace("{off}", words[0]).replace("{trigger}", words[1]).replace("{all}", words[2])
            try:
                tenant.rows(text.replace("{own}", pair.placement.schema))
                through.append(statement)
            except DRIVER_ERRORS:
                continue
    assert through == []
    assert pair.outbox(engine, pool_url) == []
    Writers(pair).write("a stage", 1, 1)
    assert pair.outbox(engine, pool_url) == [("stage_mappings", dirty.key(["|", "\\"]))]


@only_postgresql
def test_no_table_of_the_tenants_own_runs_a_capture(pair: Pair, engine: EngineName, pool_url: str) -> None:
    """Some servers let everybody make temporary tables: of columns whose casts are code that the mover would run."""
    pair.begin()
    own = pair.placement.schema
    (database,) = as_administrator(engine, pool_url, "SELECT quote_ident(current_database())")[0]
    as_administrator(engine, pool_url, f"GRANT TEMPORARY ON DATABASE {database} TO {own}")
    try:
        with closing(Raw(pair.placement)) as tenant:
            for statement in (
                "CREATE TEMP TABLE seen (who name)",
                "GRANT ALL ON seen TO PUBLIC",
                "CREATE TYPE pg_temp.key AS (x int)",
                "CREATE FUNCTION pg_temp.run(pg_temp.key) RETURNS text LANGUAGE sql AS "
                "'INSERT INTO pg_temp.seen VALUES (current_user) RETURNING who::text'",
                "CREATE CAST (pg_temp.key AS text) WITH FUNCTION pg_temp.run(pg_temp.key)",
                "CREATE TEMP TABLE mine (id pg_temp.key)",
            ):
                tenant.rows(statement)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                tenant.rows(
                    "CREATE TRIGGER t AFTER INSERT ON mine REFERENCING NEW TABLE AS new_rows "
                    f"FOR EACH STATEMENT EXECUTE FUNCTION {own}._capture_deal_registrations()"
                )
                tenant.rows("INSERT INTO mine VALUES (ROW(1)::pg_temp.key)")
                pytest.fail(f"It ran as {tenant.rows('SELECT who FROM seen')}.")
    finally:
        as_administrator(engine, pool_url, f"REVOKE TEMPORARY ON DATABASE {database} FROM {own}")
    assert pair.outbox(engine, pool_url) == []


def test_rows_that_are_written_in_unusual_ways_are_noted_too(pair: Pair, engine: EngineName, pool_url: str) -> None:
    behind, own = pair.begin(), pair.placement.schema
    row, columns = "('{}', '', '', CURRENT_TIMESTAMP)", "(pipeline, hubspot_stage, stage, updated_at)"
    ways = [
        f"INSERT INTO {own}.stage_mappings {columns} VALUES {row.format(1)}, {row.format(2)}, {row.format(3)}",
        f"INSERT INTO {own}.stage_mappings {columns} SELECT pipeline, 'copy', stage, updated_at "
        f"FROM {own}.stage_mappings",
        f"UPDATE {own}.stage_mappings SET pipeline = CONCAT(pipeline, '|')",
    ]
    if engine is EngineName.POSTGRESQL:  # tests/database/sqlserver/attacks/capture.py has the other engine's
        ways += [
            f"MERGE INTO {own}.stage_mappings AS t USING (SELECT '1|' AS merged) AS s ON t.pipeline = s.merged "
            "WHEN MATCHED THEN UPDATE SET stage = 'merged'",
            f"INSERT INTO {own}.stage_mappings VALUES {row.format(9)} ON CONFLICT DO NOTHING",
            f"INSERT INTO {own}.stage_mappings {columns} VALUES {row.format(9)} "
            "ON CONFLICT (pipeline, hubspot_stage) DO UPDATE SET stage = 'upserted'",
            f"WITH gone AS (DELETE FROM {own}.stage_mappings WHERE pipeline = '2|' RETURNING *) "
            f"INSERT INTO {own}.stage_mappings SELECT 'moved', hubspot_stage, stage, updated_at FROM gone",
            "SET standard_conforming_strings = off; SET bytea_output = 'escape'; SET timezone = 'Asia/Tokyo'; "
            f"UPDATE {own}.stage_mappings SET hubspot_stage = hubspot_stage || chr(92) || '|'",
            f"DO 'BEGIN DELETE FROM {own}.stage_mappings WHERE pipeline = ''3|''; END'",
        ]
    with closing(Raw(pair.placement)) as tenant:
        for way in ways:
            tenant.rows(way)
    assert pair.server.sums(own)["stage_mappings"].rows > 3
    pair.cut_over(behind)
    assert pair.is_equal()


@only_postgresql
def test_a_large_copy_leaves_the_same_keys_and_indexes(
    pair: Pair, engine: EngineName, pool_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(schema: str) -> set[str]:
        found = as_administrator(
            engine,
            pool_url,
            f"SELECT indexdef FROM pg_indexes WHERE schemaname = '{schema}' UNION ALL "
            "SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) || ' ' || convalidated "
            f"FROM pg_constraint WHERE connamespace = '{schema}'::regnamespace",
        )
        return {text.replace(schema, "its") for (text,) in found}

    fill(pair.services, Tenancy(pair.placement.tenant_id, "", uuid(0), "", pair.placement))
    as_they_were = made(pair.target)
    monkeypatch.setattr(rows, "LARGE_BYTES", -1)
    behind = pair.begin()
    assert made(pair.target) == as_they_were == made(pair.placement.schema)
    pair.cut_over(behind)
    assert pair.is_equal()
    assert pair.server.sums(pair.target)["deal_registrations"].rows > 0


@only_postgresql
def test_indexes_may_take_longer_to_make_than_a_session_may_idle(
    pair: Pair, engine: EngineName, pool_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a large tenant do. Here one takes as long that the target has beside its own."""
    with pair.services.sessions.open(pair.placement) as connection:
        connection.execute(insert(deal_registrations), [deal(number, "") for number in range(20)])
    function = f"{pair.target}.slow"
    as_administrator(
        engine,
        pool_url,
        f"CREATE FUNCTION {function}(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS "
        "$$ BEGIN PERFORM pg_sleep(0.1); RETURN $1; END $$",
        f"CREATE INDEX slowly ON {pair.target}.deal_registrations ({function}(version))",
    )
    monkeypatch.setattr(rows, "LARGE_BYTES", -1)
    source = PostgreSQL(pool_url)
    source._options = "-c idle_in_transaction_session_timeout=1000"
    copied = source.copy(pair.placement.schema, pair.server, pair.target, MOVER)
    source.close()
    assert copied == 20
    assert pair.is_equal()


def test_what_was_migrated_since_is_not_carried_by_halves(pair: Pair) -> None:
    behind = replace(pair.begin(), revision="0000")
    Writers(pair).write("a stage", 1, 1)
    for act in (behind.cycle, lambda: pair.cut_over(behind)):
        with pytest.raises(Refused) as refused:
            act()
        assert refused.value.code is Code.UNAVAILABLE
    assert pair.server.sums(pair.target)["stage_mappings"].rows == 0
