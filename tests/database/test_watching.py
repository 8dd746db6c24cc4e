"""What a server tells of its tenants and of itself, without a look into their tables."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import insert
from sqlalchemy.engine import make_url

from awssome.database.embedded import Cluster
from awssome.database.engine import SchemaUse, Server, ServerLoad
from awssome.database.postgresql import watching
from awssome.database.postgresql.server import PostgreSQL
from awssome.database.schema import field_mappings
from awssome.database.servers import PROVISIONER_ROLE
from awssome.database.sessions import Sessions
from awssome.domain.tenants import EngineName, Placement
from awssome.domain.times import now
from tests.conftest import superuser
from tests.engines import Raw, as_administrator, only_postgresql

Workspaces = Callable[[], Placement]


def use_of(pool: Server, placement: Placement) -> SchemaUse:
    """What the placement's schema uses."""
    return next(use for use in pool.use() if use.schema == placement.schema)


def write(sessions: Sessions, placement: Placement, rows: int, start: int = 0) -> None:
    """Rows in one of the tenant's tables."""
    with sessions.open(placement) as connection:
        connection.execute(
            insert(field_mappings),
            [{"field": f"f{start + i}", "default_value": "x" * 1_000, "updated_at": now()} for i in range(rows)],
        )
    sessions.forget(placement)  # a session tells its figures at the latest when it ends


def test_each_tenants_rows_bytes_and_connections_are_told(
    engine: EngineName, pool: Server, pool_url: str, make_workspace: Workspaces, sessions: Sessions
) -> None:
    alice, bob = make_workspace(), make_workspace()

    def counted() -> SchemaUse:
        if engine is EngineName.POSTGRESQL:  # it does so by itself in a minute
            as_administrator(engine, pool_url, f"ANALYZE {alice.schema}._fence, {alice.schema}.field_mappings")
        return use_of(pool, alice)

    before = counted()
    write(sessions, alice, 200)
    after = counted()
    if engine is EngineName.POSTGRESQL:  # a server that stands in for SQL Server keeps no such figures
        assert after.rows - before.rows == 200
        assert 200_000 < after.bytes - before.bytes < 500_000
    assert use_of(pool, bob).rows <= 1  # his fence's, if that was counted by now
    with closing(Raw(alice)), closing(Raw(alice)):
        if engine is EngineName.POSTGRESQL:
            assert use_of(pool, alice).connections == 2
        assert use_of(pool, bob).connections == 0


def test_a_server_tells_how_it_fares(engine: EngineName, pool: Server) -> None:
    found = pool.condition()
    assert engine is EngineName.SQLSERVER or found.bytes > 0
    assert found.connection_limit is not None and 0 < found.connections < found.connection_limit
    assert found.blocked == 0


@only_postgresql
def test_an_estimate_is_near_the_truth_once_the_server_has_looked(
    engine: EngineName, pool: Server, pool_url: str, make_workspace: Workspaces, sessions: Sessions
) -> None:
    alice = make_workspace()
    write(sessions, alice, 2_000)
    with psycopg.connect(_plain(pool_url), autocommit=True) as connection:
        connection.execute(sql.SQL("VACUUM ANALYZE {}.field_mappings").format(sql.Identifier(alice.schema)))
        row = connection.execute(
            "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c "
            "WHERE c.relnamespace = %s::regnamespace AND c.relkind = 'r'",
            (alice.schema,),
        ).fetchone()
    assert row is not None
    assert abs(use_of(pool, alice).bytes - int(row[0])) < 0.15 * int(row[0])


@only_postgresql
def test_statements_are_counted_by_the_tenant_that_ran_them(
    engine: EngineName, pool: Server, make_workspace: Workspaces
) -> None:
    alice, bob = make_workspace(), make_workspace()
    with closing(Raw(alice)) as session:
        for _ in range(7):
            session.rows(f"SELECT count(*) FROM {alice.schema}.deal_registrations")
        session.rows("SELECT pg_sleep(0.05)")
    seen, other = use_of(pool, alice), use_of(pool, bob)
    assert seen.statements is not None and seen.statements >= 8
    assert seen.statement_ms is not None and seen.statement_ms >= 50
    assert (other.statements, other.statement_ms) == (0, 0.0)
    since = pool.condition().counted_since
    assert since is not None and since < now()


@only_postgresql
def test_who_runs_long_and_who_holds_others_up_is_named(
    engine: EngineName, pool: Server, make_workspace: Workspaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "BLOCKED_SECONDS", 0)
    alice = make_workspace()
    update = f"UPDATE {alice.schema}.field_mappings SET default_value = 'x' WHERE field = 'stage'"
    with closing(Raw(alice)) as holder, closing(Raw(alice)) as waiter:
        holder.rows(f"INSERT INTO {alice.schema}.field_mappings (field, updated_at) VALUES ('stage', now())")
        holder.rows("BEGIN")
        holder.rows(update)
        waiting = threading.Thread(target=lambda: waiter.rows(update))
        waiting.start()
        load = _until(lambda: pool.condition(), lambda load: load.blocked == 1)
        assert load.blocked_by == alice.schema
        assert load.longest_by == alice.schema
        assert load.longest_s is not None and load.longest_s >= 0
        holder.rows("ROLLBACK")
        waiting.join(30)
    assert _until(lambda: pool.condition(), lambda load: load.blocked == 0).blocked_by is None


@pytest.fixture
def plain_database(cluster: Cluster, pool_url: str) -> Iterator[str]:
    """A database of the provisioner's without pg_stat_statements, as on a server that nobody has prepared."""
    name = sql.Identifier("plain_of_the_tests")
    with superuser(cluster) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, sql.Identifier(PROVISIONER_ROLE)))
    yield make_url(pool_url).set(database="plain_of_the_tests").render_as_string(hide_password=False)
    with superuser(cluster) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@only_postgresql
def test_where_statements_are_not_counted_or_not_ours_to_read_the_rest_is_told(
    engine: EngineName, cluster: Cluster, plain_database: str, pool: Server
) -> None:
    server = PostgreSQL(plain_database)
    assert isinstance(pool, PostgreSQL)
    with psycopg.connect(_plain(plain_database)) as connection:
        connection.execute("CREATE SCHEMA user_00000000000000aa; CREATE TABLE user_00000000000000aa.t (id int)")
    for _ in range(2):
        (seen,) = server.use()
        assert (seen.schema, seen.statements, seen.statement_ms) == ("user_00000000000000aa", None, None)
        load = server.condition()
        assert load.counted_since is None
        assert load.bytes > 0
        with superuser(cluster, "plain_of_the_tests") as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            connection.execute("REVOKE ALL ON FUNCTION pg_stat_statements(boolean) FROM PUBLIC")
            connection.execute("REVOKE ALL ON FUNCTION pg_stat_statements_info() FROM PUBLIC")


def _until(look: Callable[[], ServerLoad], good: Callable[[ServerLoad], bool], seconds: float = 20.0) -> ServerLoad:
    deadline = time.monotonic() + seconds
    while not good(found := look()):
        assert time.monotonic() < deadline, f"it did not come to pass: {found}"
        time.sleep(0.05)
    return found


def _plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
