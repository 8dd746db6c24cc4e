"""A login and the platform: what it opens, how many sessions it may have, and that it holds nobody up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from awssome.database.engine import FenceBusy, Server
from awssome.database.postgresql.entrance import connect_as_tenant
from awssome.database.postgresql.server import LOGIN_CONNECTIONS, PostgreSQL
from awssome.database.servers import CONTROL_DATABASE, CONTROL_ROLE, PROVISIONER_ROLE
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import FenceMode
from awssome.domain.secrets import Keys
from awssome.domain.tenants import Placement
from tests.database.postgresql.attacks import FENCED
from tests.database.postgresql.neighbours import Neighbours, bob_stays_unharmed, connect
from tests.engines import eventually, only_postgresql

pytestmark = [only_postgresql, bob_stays_unharmed]

PASSWORD_WRONG = "password authentication failed"
NOT_ALLOWED = "permission denied for database"


@pytest.mark.parametrize("database", [CONTROL_DATABASE, "postgres", "template1"])
def test_alices_login_opens_no_other_database(database: str, neighbours: Neighbours) -> None:
    with pytest.raises(psycopg.OperationalError, match=NOT_ALLOWED):
        connect(replace(neighbours.alice, database=database))


def test_alices_password_opens_nobody_elses_login(neighbours: Neighbours, keys: Keys) -> None:
    _no_connection(replace(neighbours.alice, schema=neighbours.bob.schema), PASSWORD_WRONG)
    for login in (PROVISIONER_ROLE, CONTROL_ROLE, "postgres"):
        with pytest.raises(psycopg.OperationalError, match=PASSWORD_WRONG):
            connect(neighbours.alice, user=login)
    for other in (
        keys.login_password(neighbours.alice.tenant_id, "pool-1", neighbours.bob.schema, 1),
        keys.login_password(neighbours.bob.tenant_id, "pool-2", neighbours.bob.schema, 1),
        keys.login_password(neighbours.bob.tenant_id, "pool-1", neighbours.bob.schema, 2),
    ):
        _no_connection(replace(neighbours.bob, password=other), PASSWORD_WRONG)


def test_no_login_without_its_password_and_none_for_replication(neighbours: Neighbours) -> None:
    _no_connection(replace(neighbours.alice, password=""), "no password supplied")
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba.conf entry|permission denied|must be superuser"):
        connect(neighbours.alice, replication="true")


def test_a_login_keeps_to_its_limit_of_connections(neighbours: Neighbours) -> None:
    opened: list[psycopg.Connection[Any]] = []
    try:
        with pytest.raises(Refused) as refused:
            while len(opened) <= LOGIN_CONNECTIONS:
                opened.append(connect_as_tenant(neighbours.alice))
        assert len(opened) == LOGIN_CONNECTIONS
        assert refused.value.code is Code.UNAVAILABLE
        connect_as_tenant(neighbours.bob).close()
    finally:
        for connection in opened:
            connection.close()


def test_a_role_set_for_later_sessions_is_not_taken_on(alice: psycopg.Connection[Any], neighbours: Neighbours) -> None:
    alice.execute(neighbours.named("ALTER ROLE {alice} SET role = '{bob}'"))
    try:
        with closing(connect_as_tenant(neighbours.alice)) as later:
            assert later.execute("SELECT current_user").fetchone() == (neighbours.alice.login,)
    finally:
        alice.execute(neighbours.named("ALTER ROLE {alice} RESET role"))


@pytest.mark.parametrize(
    "setting",
    ["client_encoding = 'SQL_ASCII'", "idle_session_timeout = 1", "lock_timeout = 1", "statement_timeout = 1"],
)
def test_settings_for_later_do_not_reach_the_products_sessions(
    setting: str, alice: psycopg.Connection[Any], neighbours: Neighbours
) -> None:
    name, _, value = setting.partition(" = ")
    alice.execute(neighbours.named(f"ALTER ROLE {{alice}} SET {setting}"))
    try:
        with closing(connect_as_tenant(neighbours.alice)) as later:
            assert later.execute("SELECT 'ä'").fetchone() == ("ä",)
            assert later.execute(f"SHOW {name}").fetchone() not in ((value.strip("'"),), (f"{value}ms",))
    finally:
        alice.execute(neighbours.named(f"ALTER ROLE {{alice}} RESET {name}"))


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("work", ["nothing", "a read"])
def test_a_transaction_that_began_before_the_fence_closed_writes_nothing_after(
    level: str, work: str, alice: psycopg.Connection[Any], neighbours: Neighbours
) -> None:
    alice.execute(f"BEGIN ISOLATION LEVEL {level}")
    if work == "a read":
        alice.execute(neighbours.named("SELECT count(*) FROM {alice}.field_mappings"))
    schema = neighbours.alice.schema
    neighbours.server.set_fence(schema, 0, mode=FenceMode.MOVED, epoch=1)
    try:
        with pytest.raises(psycopg.Error) as refused:
            alice.execute(neighbours.named("INSERT INTO {alice}.field_mappings VALUES ('f', 'p', 'd', now())"))
        assert refused.value.sqlstate == FENCED
    finally:
        alice.execute("ROLLBACK")
        neighbours.server.set_fence(schema, 0, mode=FenceMode.RW, epoch=1)


@pytest.mark.parametrize(
    "write",
    [
        "INSERT INTO {alice}.field_mappings VALUES ('f', 'p', 'd', now())",
        "UPDATE {alice}.deal_registrations SET title = 'x' WHERE false",
        "DELETE FROM {alice}.sync_issues",
        "WITH x AS (DELETE FROM {alice}.sync_history RETURNING 1) SELECT * FROM x",
        "MERGE INTO {alice}.stage_mappings USING (SELECT 1) s ON false "
        "WHEN NOT MATCHED THEN INSERT VALUES ('p', 's', 'Qualified', now())",
    ],
    ids=["insert", "update of no row", "delete", "delete in a query", "merge"],
)
def test_the_fence_waits_for_a_writer_and_the_writer_commits(
    write: str, alice: psycopg.Connection[Any], neighbours: Neighbours
) -> None:
    schema = neighbours.alice.schema
    alice.execute("BEGIN")
    alice.execute(neighbours.named(write))
    with pytest.raises(FenceBusy):
        neighbours.server.set_fence(schema, 0, mode=FenceMode.MOVED, epoch=1, timeout_ms=50)
    alice.execute("COMMIT")
    neighbours.server.set_fence(schema, 0, mode=FenceMode.MOVED, epoch=1, timeout_ms=50)
    try:
        with pytest.raises(psycopg.Error) as refused:
            alice.execute(neighbours.named(write))
        assert refused.value.sqlstate == FENCED
    finally:
        neighbours.server.set_fence(schema, 0, mode=FenceMode.RW, epoch=1)


def test_holding_what_she_may_hold_does_not_keep_a_mover_from_closing_the_fence(
    alice: psycopg.Connection[Any], neighbours: Neighbours
) -> None:
    alice.execute("BEGIN ISOLATION LEVEL SERIALIZABLE")
    alice.execute(neighbours.named("LOCK TABLE {alice}._fence IN ACCESS SHARE MODE"))
    alice.execute(neighbours.named("DECLARE c CURSOR FOR SELECT * FROM {alice}._fence"))
    alice.execute("FETCH c")
    schema = neighbours.alice.schema
    for mode in (FenceMode.MOVED, FenceMode.RW):
        neighbours.server.set_fence(schema, 0, mode=mode, epoch=1, timeout_ms=500)
        fence = neighbours.server.fence(schema)
        assert fence is not None
        assert fence.mode is mode


def test_a_mover_does_not_wait_for_ever_for_tables_that_alice_has_locked(
    alice: psycopg.Connection[Any], neighbours: Neighbours
) -> None:
    """She may lock her own tables, since whoever may write may lock; the mover gives up and says so."""
    alice.execute("SET idle_in_transaction_session_timeout = 0")
    alice.execute("BEGIN")
    alice.execute(neighbours.named("LOCK TABLE {alice}.deal_registrations IN ACCESS EXCLUSIVE MODE"))
    with pytest.raises(Refused) as refused:
        PostgreSQL(neighbours.url, lock_timeout_ms=100).sums(neighbours.alice.schema)
    assert refused.value.code is Code.UNAVAILABLE


def test_nothing_that_alice_can_do_keeps_her_workspace_from_being_dropped(
    neighbours: Neighbours,
) -> None:
    """Her login's own settings would keep the role alive, an open transaction the tables."""
    schema, password = "user_0000000000000bad", "Aa1-bad"
    neighbours.server.provision(schema, password, epoch=1, mode=FenceMode.RW)
    placement = replace(neighbours.alice, schema=schema, password=password)
    with closing(connect_as_tenant(placement)) as mallory:
        mallory.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC")
        mallory.execute(f"ALTER ROLE {schema} SET work_mem = '64kB'")
        mallory.execute("BEGIN")
        mallory.execute(f"LOCK TABLE {schema}.deal_registrations IN ACCESS EXCLUSIVE MODE")
        neighbours.server.drop(schema, 0)
    assert neighbours.server.fence(schema) is None
    with psycopg.connect(neighbours.url.replace("+psycopg", "")) as admin:
        assert admin.execute("SELECT FROM pg_roles WHERE rolname = %s", (schema,)).fetchone() is None
    neighbours.server.drop(schema, 0)  # and doing it again is nothing


HOLDS = {
    "her password": "ALTER ROLE CURRENT_USER PASSWORD 'mine'",
    "her settings": "ALTER ROLE CURRENT_USER SET work_mem = '64kB'",
    "a table": "LOCK TABLE {schema}.deal_registrations IN ACCESS EXCLUSIVE MODE",
    "a write": "DELETE FROM {schema}.sync_issues",
}


@pytest.mark.parametrize("held", HOLDS.values(), ids=HOLDS.keys())
@pytest.mark.parametrize(
    "change",
    [
        lambda server, placement: server.close_login(placement.schema),
        lambda server, placement: server.set_password(placement.schema, "Aa1-another"),
        lambda server, placement: server.drop(placement.schema, 98),
    ],
    ids=["closing", "rotation", "dropping"],
)
def test_a_session_that_holds_what_it_may_outlives_no_change_of_its_login(
    change: Callable[[Server, Placement], None], held: str, throwaway: Placement, pool: Server
) -> None:
    """The transaction would stay open for ever: it holds the very row that the platform has to change."""
    with closing(connect_as_tenant(throwaway)) as mallory, closing(connect_as_tenant(throwaway)) as second:
        mallory.execute("SET idle_in_transaction_session_timeout = 0")
        mallory.execute("BEGIN")
        mallory.execute(held.replace("{schema}", throwaway.schema))
        change(pool, throwaway)
        for session in (mallory, second):
            with pytest.raises(psycopg.OperationalError):
                session.execute("SELECT 1")
    with pytest.raises(Refused) as refused:
        connect_as_tenant(throwaway)
    assert refused.value.code is Code.FENCED


def test_a_login_that_comes_again_and_again_is_closed_nevertheless(throwaway: Placement, pool: Server) -> None:
    """Each time it takes the row of its own login, and keeps it."""
    stop = threading.Event()

    def come_again() -> None:
        while not stop.is_set():
            with suppress(psycopg.Error, Refused), closing(connect_as_tenant(throwaway)) as mallory:
                mallory.execute("BEGIN")
                mallory.execute("ALTER ROLE CURRENT_USER SET work_mem = '64kB'")
                mallory.execute("ALTER ROLE CURRENT_USER PASSWORD 'mine'")
                mallory.execute("SELECT pg_sleep(30)")

    with ThreadPoolExecutor(3) as threads:
        for _ in range(3):
            threads.submit(come_again)
        try:
            eventually(lambda: _sessions(pool, throwaway) > 0)
            pool.close_login(throwaway.schema)
            assert _sessions(pool, throwaway) == 0
        finally:
            stop.set()


def test_a_table_that_is_locked_holds_up_no_look_at_the_server(
    alice: psycopg.Connection[Any], neighbours: Neighbours
) -> None:
    alice.execute("BEGIN")
    alice.execute(neighbours.named("LOCK TABLE {alice}.deal_registrations IN ACCESS EXCLUSIVE MODE"))
    found = {use.schema for use in PostgreSQL(neighbours.url, lock_timeout_ms=100).use()}
    assert {neighbours.alice.schema, neighbours.bob.schema} <= found


def _sessions(server: Server, placement: Placement) -> int:
    return next(use.connections for use in server.use() if use.schema == placement.schema)


def _no_connection(placement: Placement, why: str) -> None:
    with pytest.raises(psycopg.OperationalError, match=why):
        connect(placement)
