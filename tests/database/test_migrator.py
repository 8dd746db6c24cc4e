"""Every tenant's tables reach the newest revision, once, whatever befalls one of them or the one who migrates."""

from __future__ import annotations

import random
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, update
from sqlalchemy.engine import Engine

from awssome.database import migrator, template
from awssome.database.engine import Server
from awssome.database.migrator import Outcome
from awssome.database.postgresql import migration as on_postgresql
from awssome.database.registry import audit, placements, tenants
from awssome.database.registry import servers as registered
from awssome.database.registry.tables import placements as places
from awssome.database.servers import open_server, opener
from awssome.database.sqlserver import migration as on_sqlserver
from awssome.database.template import Beyond
from awssome.domain.tenants import EngineName, Placement, PlacementState, ServerKind, TenantState
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy, register_server
from tests.database.migrating import migrate_and_die, migrate_together
from tests.engines import DRIVER_ERRORS, Raw, as_administrator
from tests.processes import processes
from tests.versions import EXPAND, NEXT, of_version, write_revision

NOW_AT = template.head()

MANY = {EngineName.POSTGRESQL: 30, EngineName.SQLSERVER: 10}
"""Tenants where it takes many; those of SQL Server take a second each to be made."""


@pytest.fixture
def beyond(tmp_path: Path) -> Beyond:
    """The template of the version to come."""
    return write_revision(tmp_path / "to_come", EXPAND)


@pytest.fixture
def newer_pool(engine: EngineName, pool_url: str, beyond: Beyond) -> Server:
    """The pool as the version to come sees it."""
    return open_server(engine, pool_url, beyond)


@pytest.fixture
def run(services: WorkerServices, beyond: Beyond) -> Callable[..., list[Outcome]]:
    """Migrates what is behind, as the version to come does."""

    def ran(**which: Any) -> list[Outcome]:
        behind = migrator.find_behind(services.registry, beyond=beyond, **which)
        newer = of_version(services, beyond)
        return list(migrator.migrate(services.registry, newer.open_server, behind, beyond=beyond))

    return ran


def test_every_tenant_reaches_the_newest_revision_once(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], pool: Server, pool_url: str, run: Any, beyond: Beyond
) -> None:
    tenancies = [make_tenant() for _ in range(4)]
    _suspend(services, tenancies[1])
    _mark(services, tenancies[2], PlacementState.RETAINED)
    with services.sessions.open(tenancies[0].placement) as session:
        _add_a_deal(session)
    behind = migrator.find_behind(services.registry, beyond=beyond)
    assert {(place.schema, place.revision, place.server, place.tenant) for place in behind} == {
        (one.placement.schema, NOW_AT, "pool-1", one.slug) for one in tenancies
    }

    assert {(one.of.schema, one.problem) for one in run()} == {(one.placement.schema, None) for one in tenancies}
    assert run() == []
    for tenancy in tenancies:
        assert _revision(pool, tenancy.placement) == _known(services, tenancy).revision == NEXT
        assert _rows(pool_url, tenancy.placement, "SELECT mark FROM {}.marks") == [("made",)]
    assert _rows(pool_url, tenancies[0].placement, "SELECT rating FROM {}.deal_registrations") == [("none",)]
    with services.registry.begin() as connection:
        line = audit.page(connection, search="tenants.migrated").rows[0]
    assert line.detail == {"revision": NEXT, "migrated": 4, "failed": 0, "schemas": []}


def test_one_that_cannot_be_migrated_keeps_no_other_one_back(
    engine: EngineName, services: WorkerServices, make_tenant: Any, pool: Server, pool_url: str, run: Any
) -> None:
    well, gone, obstructed, well_too = (make_tenant() for _ in range(4))
    pool.drop(gone.placement.schema, 0)
    column = {EngineName.POSTGRESQL: "COLUMN note text", EngineName.SQLSERVER: "note nvarchar(9)"}[engine]
    as_administrator(engine, pool_url, f"ALTER TABLE {obstructed.placement.schema}.stage_mappings ADD {column}")

    problems = {one.of.schema: one.problem for one in run()}
    assert problems.pop(well.placement.schema) is problems.pop(well_too.placement.schema) is None
    assert set(problems) == {gone.placement.schema, obstructed.placement.schema}
    for tenancy in (gone, obstructed):
        known = _known(services, tenancy)
        assert (known.revision, known.problem) == (NOW_AT, problems[tenancy.placement.schema])
        assert known.problem
    # Nothing of the revision is left in the one that failed half way.
    assert _revision(pool, obstructed.placement) == NOW_AT
    with pytest.raises(DRIVER_ERRORS):
        _rows(pool_url, obstructed.placement, "SELECT rating FROM {}.deal_registrations")

    as_administrator(engine, pool_url, f"ALTER TABLE {obstructed.placement.schema}.stage_mappings DROP COLUMN note")
    assert {(one.of.schema, one.problem is None) for one in run()} == {
        (gone.placement.schema, False),
        (obstructed.placement.schema, True),
    }
    known = _known(services, obstructed)
    assert (known.revision, known.problem) == (NEXT, None)


def test_only_what_is_alive_and_older_is_behind(
    services: WorkerServices, make_tenant: Any, run: Any, beyond: Beyond
) -> None:
    alice, being_made, dropped, newer = (make_tenant(name) for name in ("Northwind", "New", "Gone", "Newer"))
    _mark(services, being_made, PlacementState.NEW)
    _mark(services, dropped, PlacementState.DROPPED)
    with services.registry.begin() as connection:
        placements.note_revision(connection, newer.placement.placement_id, "9999")  # by a version after the next
    assert [place.tenant for place in migrator.find_behind(services.registry, beyond=beyond)] == [alice.slug]
    assert migrator.find_behind(services.registry) == []  # the present version has nothing to do
    for which, found in (
        ({"tenant": alice.slug}, [alice.slug]),
        ({"tenant": str(alice.id)}, [alice.slug]),
        ({"server": "pool-1"}, [alice.slug]),
        ({"server": "pool-2"}, []),
        ({"tenant": dropped.slug}, []),
    ):
        assert [place.tenant for place in migrator.find_behind(services.registry, beyond=beyond, **which)] == found


def test_what_is_behind_is_found_by_one_query(services: WorkerServices, make_tenant: Any, beyond: Beyond) -> None:
    for _ in range(2):
        make_tenant()
    statements: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        assert len(migrator.find_behind(services.registry, beyond=beyond)) == 2
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert len(statements) == 1


def test_the_truth_is_on_the_fence(
    services: WorkerServices, make_tenant: Any, pool: Server, newer_pool: Server, pool_url: str, run: Any
) -> None:
    """The registry is behind after a kill between the two commits; a batch of both kinds is still done right."""
    done, behind, unknown = (make_tenant() for _ in range(3))
    assert newer_pool.migrate([done.placement.schema])[0].problem is None
    as_administrator(pool.engine, pool_url, f"UPDATE {unknown.placement.schema}._fence SET revision = '9999'")
    told = {one.of.schema: one.problem for one in run()}
    assert told.pop(unknown.placement.schema) == "The tables are at revision 9999, which this version does not know."
    assert told == {done.placement.schema: None, behind.placement.schema: None}
    for tenancy in (done, behind):
        assert _known(services, tenancy).revision == _revision(pool, tenancy.placement) == NEXT
        assert _rows(pool_url, tenancy.placement, "SELECT mark FROM {}.marks") == [("made",)]
    assert _revision(pool, unknown.placement) == "9999"


def test_tables_of_a_newer_version_are_left_alone(
    make_workspace: Callable[[], Placement], pool: Server, newer_pool: Server
) -> None:
    placement = make_workspace()
    assert newer_pool.migrate([placement.schema], NOW_AT) == newer_pool.migrate([placement.schema])
    (told,) = pool.migrate([placement.schema])
    assert told.problem is not None
    assert _revision(pool, placement) == NEXT


def test_making_a_workspace_again_tells_the_revision_that_it_has(
    services: WorkerServices, make_workspace: Callable[[], Placement], newer_pool: Server, pool: Server
) -> None:
    placement = make_workspace()  # by a worker of the present version, which is killed before it says so
    assert newer_pool.provision(placement.schema, placement.password, epoch=1, mode="rw") == NOW_AT
    assert _revision(pool, placement) == NOW_AT


def test_a_busy_tenant_keeps_no_other_one_back_and_is_told_of(
    services: WorkerServices, make_tenant: Any, pool: Server, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (on_postgresql, on_sqlserver):
        monkeypatch.setattr(module, "TRIES", 2)
    tenancies = [make_tenant() for _ in range(3)]
    with _busy(tenancies[1].placement):
        told = {one.of.schema: one.problem for one in run()}
    assert told.pop(tenancies[1].placement.schema) == "The tenant kept its tables locked all the time."
    assert set(told.values()) == {None}
    assert _known(services, tenancies[1]).problem == "The tenant kept its tables locked all the time."
    assert [(one.of.schema, one.problem) for one in run()] == [(tenancies[1].placement.schema, None)]


def test_a_server_that_is_away_keeps_no_other_one_back(
    services: WorkerServices, make_tenant: Any, run: Any, engine: EngineName
) -> None:
    here, there = make_tenant(), make_tenant()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        port = nobody.getsockname()[1]
        scheme = {EngineName.POSTGRESQL: "postgresql+psycopg", EngineName.SQLSERVER: "mssql+mssqlpython"}[engine]
        away = register_server(services, "pool-2", ServerKind.POOL, f"{scheme}://admin:secret@127.0.0.1:{port}/tenants")
        with services.registry.begin() as connection:
            moved = places.c.id == there.placement.placement_id
            connection.execute(update(places).where(moved).values(server_id=away))
        told = {one.of.schema: one.problem for one in run()}
    assert told[here.placement.schema] is None
    assert f"127.0.0.1:{port}" in str(told[there.placement.schema])
    assert "secret" not in str(told[there.placement.schema])
    assert _known(services, there).problem == told[there.placement.schema]


def test_a_server_that_cannot_be_opened_keeps_no_other_one_back(
    services: WorkerServices, make_tenant: Any, run: Any, pool_url: str
) -> None:
    here, there = make_tenant(), make_tenant()
    other = register_server(services, "pool-2", ServerKind.POOL, pool_url)
    with services.registry.begin() as connection:
        nonsense = services.keys.seal_admin(pool_url + "?sslmode=disable&Encrypt=never")
        registered.change(connection, other, admin_url=nonsense)
        connection.execute(update(places).where(places.c.id == there.placement.placement_id).values(server_id=other))
    told = {one.of.schema: one.problem for one in run()}
    assert told[here.placement.schema] is None
    assert told[there.placement.schema]


def test_a_defect_that_one_tenant_meets_keeps_no_other_one_back(
    services: WorkerServices, make_tenant: Any, pool: Server, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenancies = [make_tenant() for _ in range(4)]
    ill, migrate = tenancies[1].placement.schema, type(pool).migrate

    def meets_a_defect(server: Server, schemas: list[str], after: str | None = None) -> Any:
        if ill in schemas:
            raise KeyError("nobody has thought of this")
        return migrate(server, schemas, after)

    monkeypatch.setattr(type(pool), "migrate", meets_a_defect)
    told = {one.of.schema: one.problem for one in run()}
    assert told.pop(ill) == "It met a KeyError: a defect of ours."
    assert list(told.values()) == [None] * 3


def test_a_placement_that_is_dropped_meanwhile_is_no_failure(
    services: WorkerServices, make_tenant: Any, pool: Server, beyond: Beyond
) -> None:
    stays, goes = make_tenant(), make_tenant()
    behind = migrator.find_behind(services.registry, beyond=beyond)
    pool.drop(goes.placement.schema, 0)
    _mark(services, goes, PlacementState.DROPPED)
    newer = of_version(services, beyond)
    told = list(migrator.migrate(services.registry, newer.open_server, behind, beyond=beyond))
    assert [(one.of.schema, one.problem) for one in told] == [(stays.placement.schema, None)]
    assert _known(services, goes).problem is None


def test_a_run_that_is_ended_early_begins_no_other_batch(
    services: WorkerServices, make_tenant: Any, beyond: Beyond, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrator, "BATCH", 1)
    for _ in range(6):
        make_tenant()
    behind, newer = migrator.find_behind(services.registry, beyond=beyond), of_version(services, beyond)
    outcomes = migrator.migrate(services.registry, newer.open_server, behind, connections=1, beyond=beyond)
    assert next(outcomes).problem is None
    outcomes.close()
    left = migrator.find_behind(services.registry, beyond=beyond)
    assert 0 < len(left) < 6
    with services.registry.begin() as connection:
        line = audit.page(connection, search="tenants.migrated").rows[0]
    assert line.detail["migrated"] == 6 - len(left)


def test_a_run_that_is_killed_goes_on_when_it_is_called_again(
    services: WorkerServices,
    make_tenant: Any,
    registry_url: str,
    secret_key: str,
    pool: Server,
    pool_url: str,
    run: Any,
    beyond: Beyond,
) -> None:
    tenancies = [make_tenant() for _ in range(MANY[pool.engine])]
    dice, ends = random.Random("kill"), []
    for _ in range(4):
        arguments = (registry_url, secret_key, beyond, dice.uniform(0.005, 0.06))
        process = processes.Process(target=migrate_and_die, args=arguments)
        process.start()
        process.join(60)
        ends.append(process.exitcode)
    assert set(ends) <= {-signal.SIGKILL, 0}
    assert -signal.SIGKILL in ends
    assert all(one.problem is None for one in run())
    assert migrator.find_behind(services.registry, beyond=beyond) == []
    for tenancy in tenancies:
        assert _known(services, tenancy).revision == _revision(pool, tenancy.placement) == NEXT
        assert _rows(pool_url, tenancy.placement, "SELECT mark FROM {}.marks") == [("made",)]


def test_two_runs_at_once_migrate_each_schema_once(
    services: WorkerServices,
    make_tenant: Any,
    registry_url: str,
    secret_key: str,
    pool: Server,
    pool_url: str,
    beyond: Beyond,
) -> None:
    tenancies = [make_tenant() for _ in range(MANY[pool.engine])]
    barrier = processes.Barrier(2)
    arguments = (registry_url, secret_key, beyond, barrier)
    both = [processes.Process(target=migrate_together, args=arguments) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    for tenancy in tenancies:
        assert _known(services, tenancy).revision == _revision(pool, tenancy.placement) == NEXT
        assert _rows(pool_url, tenancy.placement, "SELECT mark FROM {}.marks") == [("made",)]


def test_a_late_word_of_an_older_version_does_not_hide_what_a_newer_one_has_done(
    services: WorkerServices, make_tenant: Any, run: Any, beyond: Beyond, tmp_path: Path
) -> None:
    tenancy = make_tenant()
    assert [one.problem for one in run()] == [None]
    write_revision(tmp_path / "to_come", "op.execute('SELECT 1')", revision="9001")
    assert [one.problem for one in run()] == [None]
    with services.registry.begin() as connection:
        placements.note_migrated(connection, [tenancy.placement.placement_id], NEXT, [NOW_AT])
    assert _known(services, tenancy).revision == "9001"


def _suspend(services: WorkerServices, tenancy: Tenancy) -> None:
    with services.registry.begin() as connection:
        tenants.change(connection, tenancy.id, state=TenantState.SUSPENDED)
    with services.registry.begin() as connection:
        server = placements.server_of(connection, tenancy.placement.placement_id)
    opener(services.registry, services.keys)(server).close_login(tenancy.placement.schema)


def _mark(services: WorkerServices, tenancy: Tenancy, state: PlacementState) -> None:
    with services.registry.begin() as connection:
        placements.mark(connection, tenancy.placement.placement_id, state)


def _known(services: WorkerServices, tenancy: Tenancy) -> Any:
    """The placement's row in the registry."""
    with services.registry.begin() as connection:
        return connection.execute(places.select().where(places.c.id == tenancy.placement.placement_id)).one()


def _revision(server: Server, placement: Placement) -> str:
    fence = server.fence(placement.schema)
    assert fence is not None
    return fence.revision


def _rows(url: str, placement: Placement, query: str) -> list[tuple[Any, ...]]:
    return as_administrator(placement.engine, url, query.format(placement.schema))


def _add_a_deal(session: Any) -> UUID:
    from awssome.database.tenant import deals

    return deals.create(session, {"title": "A deal", "stage": "Prospect"}, "alice@northwind.example")


@contextmanager
def _busy(placement: Placement) -> Iterator[None]:
    """The tenant has written, and does not end its transaction."""
    with closing(Raw(placement)) as tenant:
        tenant.rows("BEGIN TRANSACTION")
        tenant.rows(f"DELETE FROM {placement.schema}.stage_mappings")
        yield
        tenant.rows("ROLLBACK")
