"""Connections of administrators are kept from call to call, and nothing of one use is left in the next."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from sqlalchemy.engine import make_url

from awssome.database import servers
from awssome.database.embedded import Cluster
from awssome.database.engine import Server
from awssome.database.kept import KEPT_AT_MOST, Kept
from awssome.database.postgresql.server import PostgreSQL
from awssome.database.registry import servers as registered
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import new_schema_name
from awssome.workflows.services import WorkerServices
from tests.conftest import PROVISIONER_PASSWORD, superuser
from tests.engines import eventually

SECRET = "Aa1-secret-of-a-workspace"


@pytest.fixture
def url(cluster: Cluster) -> str:
    """The administrator's URL of a PostgreSQL pool."""
    return servers.prepare_data_plane(cluster, PROVISIONER_PASSWORD)


@pytest.fixture
def server(url: str) -> Iterator[PostgreSQL]:
    """A server of this test's own: nobody else uses its connections."""
    made = PostgreSQL(url)
    yield made
    made.close()


def test_calls_that_follow_each_other_share_a_connection(server: PostgreSQL) -> None:
    assert _backend(server) == _backend(server)


def test_a_connection_that_the_server_has_ended_is_replaced(server: PostgreSQL, cluster: Cluster) -> None:
    before = _backend(server)
    with superuser(cluster) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", (before,))
    assert _backend(server) != before


def test_one_that_breaks_in_use_is_told_and_not_kept(server: PostgreSQL, cluster: Cluster) -> None:
    with pytest.raises(Refused) as refused, server._connect() as connection:
        backend = connection.info.backend_pid
        with superuser(cluster) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", (backend,))
        connection.execute("SELECT 1")
    assert refused.value.code is Code.UNAVAILABLE
    assert _backend(server) != backend


def test_nothing_of_one_use_is_left_in_the_next(server: PostgreSQL, cluster: Cluster) -> None:
    with server._connect() as connection:
        backend = connection.info.backend_pid
        connection.execute("SET lock_timeout = 31000; SET search_path = pg_temp; SET statement_timeout = 31000")
        connection.execute("PREPARE mine AS SELECT 1; DECLARE it CURSOR WITH HOLD FOR SELECT 1")
        connection.execute("SET ROLE NONE; SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
    with superuser(cluster, "awssome_tenants") as other:
        # What the provisioner may not do itself, as tenants may not: locks that outlive a transaction.
        other.execute("GRANT EXECUTE ON FUNCTION pg_advisory_lock(bigint) TO awssome_provisioner")
        try:
            with server._connect() as connection:
                connection.execute("SELECT pg_advisory_lock(7)")
        finally:
            other.execute("REVOKE EXECUTE ON FUNCTION pg_advisory_lock(bigint) FROM awssome_provisioner")
    with server._connect() as connection:
        assert connection.info.backend_pid == backend
        settings = [connection.execute(f"SHOW {name}").fetchone() for name in ("lock_timeout", "statement_timeout")]  # type: ignore[call-overload]
        assert settings == [("10s",), ("0",)]
        assert connection.execute("SHOW search_path").fetchone() == ('"$user", public',)
        assert connection.execute("SHOW default_transaction_read_only").fetchone() == ("off",)
        for left in ("pg_prepared_statements", "pg_cursors"):
            assert connection.execute(f"SELECT count(*) FROM {left}").fetchone() == (0,)  # type: ignore[call-overload]
        held = connection.execute("SELECT count(*) FROM pg_locks WHERE pid = %s AND locktype = 'advisory'", (backend,))
        assert held.fetchone() == (0,)


def test_what_a_failed_use_had_begun_is_undone_before_the_next(server: PostgreSQL) -> None:
    schema = new_schema_name()
    server.provision(schema, SECRET, epoch=1, mode=FenceMode.RW)
    try:
        with pytest.raises(ZeroDivisionError), server._connect() as connection:
            backend = connection.info.backend_pid
            connection.execute(f"UPDATE {schema}._fence SET epoch = 9")  # type: ignore[call-overload]
            raise ZeroDivisionError
        fence = server.fence(schema)
        assert fence is not None
        assert fence.epoch == 1
        assert _backend(server) == backend
    finally:
        server.drop(schema, 0)


def test_a_snapshot_does_not_stay_a_snapshot(server: PostgreSQL) -> None:
    with server._connect(snapshot=True) as connection:
        assert connection.execute("SHOW transaction_isolation").fetchone() == ("repeatable read",)
    with server._connect() as connection:
        assert connection.execute("SHOW transaction_isolation").fetchone() == ("read committed",)
        assert connection.execute("SHOW transaction_read_only").fetchone() == ("off",)


def test_threads_never_share_a_connection_and_few_are_kept(server: PostgreSQL, cluster: Cluster, url: str) -> None:
    threads, rounds = 12, 15
    inside: set[int] = set()
    shared: list[int] = []
    lock = threading.Lock()

    def works(_: int) -> None:
        for _ in range(rounds):
            with server._connect() as connection:
                backend = connection.info.backend_pid
                with lock:
                    if backend in inside:
                        shared.append(backend)
                    inside.add(backend)
                connection.execute("SELECT pg_sleep(0.002)")
                with lock:
                    inside.remove(backend)

    before = _connections(cluster)
    with ThreadPoolExecutor(threads) as workers:
        list(workers.map(works, range(threads)))
    assert shared == []
    eventually(lambda: _connections(cluster) <= before + KEPT_AT_MOST)
    server.close()
    eventually(lambda: _connections(cluster) <= before)


def test_nobody_has_the_server_any_more_and_its_connections_are_closed(url: str, cluster: Cluster) -> None:
    before = _connections(cluster)
    server = PostgreSQL(url)
    server.check()
    assert _connections(cluster) == before + 1
    del server
    gc.collect()
    eventually(lambda: _connections(cluster) <= before)


def test_idle_ones_are_closed_after_their_time_and_used_ones_are_not() -> None:
    opened: list[_Fake] = []

    def make() -> _Fake:
        opened.append(_Fake())
        return opened[-1]

    with closing(Kept(make, lambda _: True, seconds=0.5)) as kept:
        long, short = kept.take(), kept.take()
        kept.give_back(short)
        eventually(lambda: short.closed)
        assert not long.closed
        kept.give_back(long)
        assert kept.take() is long
        kept.give_back(long)
        eventually(lambda: long.closed)
    assert len(opened) == 2


def test_one_is_not_kept_for_ever_since_its_session_grows_with_every_tenant() -> None:
    with closing(Kept(_Fake, lambda _: True, uses=3)) as kept:
        first = kept.take()
        for _ in range(2):
            kept.give_back(first)
            assert kept.take() is first
        kept.give_back(first)
        assert first.closed
        assert kept.take() is not first


def test_no_password_is_in_what_a_server_shows(url: str, server: PostgreSQL) -> None:
    password = make_url(url).password
    assert password
    server.check()
    for shown in (repr(server), str(server), repr(server._kept)):
        assert password not in shown


def test_every_job_gets_the_same_server_until_its_address_changes(services: WorkerServices, url: str) -> None:
    with services.registry.begin() as connection:
        found = registered.by_name(connection, "pool-1")
    first = services.open_server(found.id)
    with ThreadPoolExecutor(4) as threads:
        again: list[Server] = list(threads.map(lambda _: services.open_server(found.id), range(8)))
    assert all(server is first for server in again)
    other = make_url(url).set(port=1).render_as_string(hide_password=False)
    with services.registry.begin() as connection:
        registered.relocate(connection, services.keys, "pool-1", host="127.0.0.1", port=1, admin_url=other)
    assert services.open_server(found.id) is not first


class _Fake:
    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


def _backend(server: PostgreSQL) -> int:
    with server._connect() as connection:
        return connection.info.backend_pid


def _connections(cluster: Cluster) -> int:
    with superuser(cluster) as connection:
        counted = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'awssome-admin'")
        row: tuple[int] = counted.fetchone()  # type: ignore[assignment]
        return row[0]
