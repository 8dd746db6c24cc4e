"""Preparing servers that AWS has made, as far as RDS lets its administrator: nobody is superuser there."""

from __future__ import annotations

from collections.abc import Callable

import mssql_python
import psycopg
from psycopg import errors, sql
from sqlalchemy.engine import URL, make_url

from awssome.database.postgresql.driver import connection_parameters
from awssome.database.postgresql.logins import scram_verifier
from awssome.database.servers import CLOSE_FUNCTIONS, PROVISIONER_ROLE, TENANTS_DATABASE
from awssome.database.sqlserver import driver as sqlserver
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import EngineName

_Connection = psycopg.Connection[tuple[object, ...]]


def address(engine: EngineName, host: str, port: int, administrator: tuple[str, str], password: str) -> URL:
    """Who administers the server from now on.

    On PostgreSQL a provisioner of ours, with fewer rights than RDS's administrator and a password that RDS does not
    change. On SQL Server RDS's administrator itself: nobody else may be given what is needed.

    :param administrator: (user, password) of RDS's own.
    :param password: the provisioner's.
    """
    if engine is EngineName.POSTGRESQL:
        return URL.create("postgresql+psycopg", PROVISIONER_ROLE, password, host, port, TENANTS_DATABASE)
    return URL.create("mssql", *administrator, host, port, TENANTS_DATABASE)


def prepare(engine: EngineName, url: str, administrator: tuple[str, str]) -> None:
    """Make the tenants' database, and who administers it. Safe to repeat, and by several at once.

    :param url: what `address` gave.
    :raises Refused: UNAVAILABLE when the server does not answer, or does not let its administrator in.
    """
    _PREPARE[engine](make_url(url), *administrator)


def _postgresql(url: URL, user: str, password: str) -> None:
    provisioner, database = sql.Identifier(PROVISIONER_ROLE), sql.Identifier(TENANTS_DATABASE)
    master = url.set(username=user, password=password)
    with _session(master.set(database="postgres")) as connection:
        there = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (PROVISIONER_ROLE,)).fetchone()
        connection.execute(
            sql.SQL("{} ROLE {} LOGIN CREATEROLE PASSWORD {}").format(
                sql.SQL("CREATE" if there is None else "ALTER"), provisioner, scram_verifier(url.password or "")
            )
        )
        for right in ("pg_signal_backend", "pg_read_all_stats", "pg_use_reserved_connections"):
            _if_allowed(connection, sql.SQL("GRANT {} TO {}").format(sql.Identifier(right), provisioner))
        connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(provisioner))
        if connection.execute("SELECT FROM pg_database WHERE datname = %s", (TENANTS_DATABASE,)).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, provisioner))
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
        connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO PUBLIC").format(database))
        for other in ("postgres", "template1"):
            _if_allowed(connection, sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(other)))
    with _session(master) as connection:
        _if_allowed(connection, sql.SQL("CREATE EXTENSION IF NOT EXISTS pg_stat_statements"))
        _if_allowed(connection, sql.SQL("REVOKE ALL ON pg_stat_statements, pg_stat_statements_info FROM PUBLIC"))
        for function in ("pg_stat_statements(boolean)", "pg_stat_statements_info()"):
            named = sql.SQL(function)
            _if_allowed(connection, sql.SQL("REVOKE ALL ON FUNCTION {} FROM PUBLIC").format(named))
            _if_allowed(connection, sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(named, provisioner))
        _if_allowed(connection, sql.SQL("REVOKE ALL ON SCHEMA public FROM PUBLIC"))
        _if_allowed(connection, sql.SQL(CLOSE_FUNCTIONS))


def _session(url: URL) -> _Connection:
    """A session of RDS's administrator that commits each statement. Several prepare a server one after the other."""
    try:
        connection = psycopg.connect(
            **connection_parameters(url.render_as_string(hide_password=False)), autocommit=True
        )
        connection.execute("SELECT pg_advisory_lock(hashtextextended('awssome-prepare', 0))")
    except psycopg.OperationalError:
        raise _no_answer(url) from None
    return connection


def _if_allowed(connection: _Connection, statement: sql.SQL | sql.Composed) -> None:
    """What RDS keeps for itself stays as it is; `Server.check` says what that leaves open."""
    try:
        connection.execute(statement)
    except (errors.InsufficientPrivilege, errors.UndefinedTable, errors.UndefinedFunction):
        return


def _sqlserver(url: URL, user: str, password: str) -> None:
    try:
        where = sqlserver.place(url.host or "", url.port or 1433, "master", user, password)
        connection = sqlserver.connect(where, autocommit=True)
    except mssql_python.Error:
        raise _no_answer(url) from None
    try:
        sqlserver.run(connection, f"IF DB_ID(N'{TENANTS_DATABASE}') IS NULL CREATE DATABASE {TENANTS_DATABASE}")
    finally:
        connection.close()


_PREPARE: dict[EngineName, Callable[[URL, str, str], None]] = {
    EngineName.POSTGRESQL: _postgresql,
    EngineName.SQLSERVER: _sqlserver,
}


def _no_answer(url: URL) -> Refused:
    return Refused(
        Code.UNAVAILABLE,
        f"The database server at {url.host}:{url.port} does not let its administrator in.",
        "Its security groups have to let the workers in.",
    )
