"""What tests need of the engines beside the product: servers to work on, sessions to look through, marks."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import mssql_python
import psycopg
import pytest
from sqlalchemy.engine import make_url

from awssome.database.embedded import Cluster
from awssome.database.engine import Entrance, Server
from awssome.database.postgresql import entrance as postgresql
from awssome.database.postgresql.driver import connection_parameters
from awssome.database.postgresql.server import PostgreSQL
from awssome.database.sqlserver import driver
from awssome.database.sqlserver import entrance as sqlserver
from awssome.database.sqlserver.logins import sessions_of
from awssome.database.sqlserver.server import SQLServer
from awssome.domain.tenants import EngineName, Placement

SQLSERVER_URL = os.environ.get("AWSSOME_TEST_SQLSERVER_URL", "")

DRIVER_ERRORS = (psycopg.Error, mssql_python.Error)
"""What the drivers raise."""

ENTRANCE: dict[EngineName, Entrance] = {
    EngineName.POSTGRESQL: postgresql.ENTRANCE,
    EngineName.SQLSERVER: sqlserver.ENTRANCE,
}


ME = {
    EngineName.POSTGRESQL: "SELECT session_user, current_user",
    EngineName.SQLSERVER: "SELECT SUSER_SNAME(), USER_NAME()",
}
"""Who a session is: its login, and as whom it acts."""

SESSION_ID = {EngineName.POSTGRESQL: "SELECT pg_backend_pid()", EngineName.SQLSERVER: "SELECT @@SPID"}
"""What tells a session from the others."""


NOW = {EngineName.POSTGRESQL: "now()", EngineName.SQLSERVER: "SYSUTCDATETIME()"}
"""The time, for raw statements."""

SERVERS: dict[EngineName, type[Server]] = {EngineName.POSTGRESQL: PostgreSQL, EngineName.SQLSERVER: SQLServer}


def only(*engines: EngineName) -> pytest.MarkDecorator:
    """For tests that say something of these engines only."""
    return pytest.mark.parametrize("engine", engines, indirect=True, ids=str, scope="session")


only_postgresql = only(EngineName.POSTGRESQL)
only_sqlserver = only(EngineName.SQLSERVER)


class Raw:
    """A tenant's own connection, past the product's pools, for any SQL."""

    def __init__(self, placement: Placement) -> None:
        self.connection: Any = ENTRANCE[placement.engine].connect(placement)
        if placement.engine is EngineName.SQLSERVER:
            self.connection.autocommit = True

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Execute, and fetch what it gives."""
        cursor = self.connection.execute(statement)
        return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def close(self) -> None:
        """End it."""
        self.connection.close()


def as_administrator(engine: EngineName, url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Execute statements as the administrator, each by itself; the rows that the last one gave."""
    connection: Any
    if engine is EngineName.POSTGRESQL:
        connection = psycopg.connect(**connection_parameters(url), autocommit=True)
    else:
        connection = driver.connect(driver.connection_string(url), autocommit=True)
    rows: list[tuple[Any, ...]] = []
    for statement in statements:
        cursor = connection.execute(statement)
        rows = [tuple(row) for row in cursor.fetchall()] if cursor.description else []
    connection.close()
    return rows


class Onlooker(Protocol):
    """An administrator of the server, who counts sessions and ends them."""

    def sessions(self, logins: Sequence[str]) -> int:
        """How many sessions of these logins are open."""

    def end(self, login: str) -> int:
        """End the login's sessions; how many there were."""


class PostgreSQLOnlooker:
    """Looks at pg_stat_activity."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def sessions(self, logins: Sequence[str]) -> int:
        """How many sessions of these logins are open."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE usename = ANY(%s)"
        row = self._connection.execute(query, (list(logins),)).fetchone()
        assert row is not None
        return int(row[0])

    def end(self, login: str) -> int:
        """End the login's sessions; how many there were."""
        query = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s"
        return len(self._connection.execute(query, (login,)).fetchall())


class SQLServerOnlooker:
    """Looks at the list of sessions."""

    def __init__(self, url: str) -> None:
        self._connection = driver.connect(driver.connection_string(url), autocommit=True)

    def sessions(self, logins: Sequence[str]) -> int:
        """How many sessions of these logins are open."""
        return sum(len(sessions_of(self._connection, login)) for login in logins)

    def end(self, login: str) -> int:
        """End the login's sessions; how many there were."""
        ended = 0
        for session in sessions_of(self._connection, login):
            with suppress(mssql_python.Error):
                driver.run(self._connection, f"KILL {session}")
                ended += 1
        return ended

    def close(self) -> None:
        """End it."""
        self._connection.close()


@contextmanager
def looking(engine: EngineName, cluster: Cluster, url: str) -> Iterator[Onlooker]:
    """An onlooker on the server of this URL, which is the embedded one on PostgreSQL."""
    if engine is EngineName.POSTGRESQL:
        connection = psycopg.connect(
            host=cluster.host,
            port=cluster.port,
            user=cluster.superuser,
            password=cluster.password,
            dbname="postgres",
            autocommit=True,
        )
        with connection:
            yield PostgreSQLOnlooker(connection)
    else:
        onlooker = SQLServerOnlooker(url)
        yield onlooker
        onlooker.close()


@contextmanager
def sqlserver_database() -> Iterator[str]:
    """An administrator's URL of a database of its own on the SQL Server of AWSSOME_TEST_SQLSERVER_URL.

    Where no database can be made there, the one that the URL names is used.
    """
    url = make_url(SQLSERVER_URL)
    admin = driver.connect(driver.connection_string(SQLSERVER_URL), autocommit=True)
    name = "awssome_tests_" + secrets.token_hex(4)
    try:
        driver.run(admin, f"CREATE DATABASE {name}")
    except mssql_python.Error:
        yield SQLSERVER_URL
        return
    finally:
        admin.close()
    own = url.set(database=name).render_as_string(hide_password=False)
    SQLServer(own).check()  # turns on what moves need of snapshots
    yield own
    logins = [use.schema for use in SQLServer(own).use()]
    admin = driver.connect(driver.connection_string(SQLSERVER_URL), autocommit=True)
    onlooker = SQLServerOnlooker(SQLSERVER_URL)
    for command in (
        f"ALTER DATABASE {name} SET SINGLE_USER WITH ROLLBACK IMMEDIATE",
        *(f"ALTER LOGIN {login} DISABLE" for login in logins),
    ):
        with suppress(mssql_python.Error):
            driver.run(admin, command)
    for login in logins:
        onlooker.end(login)
    with suppress(AssertionError):  # where none can be dropped, it stays
        eventually(lambda: _dropped(admin, name), seconds=5)
    for login in logins:
        with suppress(mssql_python.Error):
            driver.run(admin, f"DROP LOGIN {login}")
    onlooker.close()
    admin.close()


def _dropped(admin: driver.Connection, name: str) -> bool:
    """Drop a database: whoever is still connected to it, as the product's own pools are, would keep it there."""
    connected = f"SELECT session_id FROM sys.dm_exec_sessions WHERE database_id = DB_ID(N'{name}')"
    for command in (*(f"KILL {session}" for (session,) in driver.run(admin, connected)), f"DROP DATABASE {name}"):
        with suppress(mssql_python.Error):
            driver.run(admin, command)
    return not driver.run(admin, f"SELECT 1 WHERE DB_ID(N'{name}') IS NOT NULL")


def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until it is so; fail when it does not come to pass."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)
