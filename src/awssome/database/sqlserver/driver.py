"""Reaching a SQL Server with Microsoft's driver: connection strings, TLS, and the numbers of its errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import mssql_python
import mssql_python.cursor
from mssql_python import ddbc_bindings
from sqlalchemy.dialects.mssql.mssqlpython import MSDialect_mssqlpython
from sqlalchemy.engine import make_url

from awssome.domain.errors import Code, Refused
from awssome.domain.servers import LOOPBACK, sqlserver_options

LOGIN_SECONDS = 5
"""How long a connection may take to be made."""

FENCED = 51001
"""Error that the guard of the tenant template throws."""

LOCK_TIMEOUT = 1222

PASSING = frozenset({701, 1204, 1205, LOCK_TIMEOUT, 3960, 3961, 8645, 15434, 51002})
"""No memory (two), no locks, deadlock, lock not had in time, snapshot conflict (two), a login still connected, and the
turn of another process not ended: what another try may not meet."""

FULL = frozenset({1101, 1105, 9002})
"""No room in the database (two) or in its log."""
DENIED = frozenset({229, 230, 297, 300, 51003})
"""No permission: on an object, on a column, for the action, on the server; and by a trigger of the template."""

UNKNOWN = frozenset({207, 208})
"""No such column, no such table."""

NOT_ACTIVE = 6106
"""No such session, when one is to be ended."""

_STAND_IN = 33557097
"""A server that stands in for SQL Server answers this for many errors; those that matter are told by their text."""

_ENDED = frozenset({64, 233, 596, 6005, 10053, 10054, 10060})
"""The session was ended, the server shuts down, or the network is gone."""

_NOT_LET_IN = frozenset({"Invalid authorization specification", "Syntax error or access violation"})


def connection_string(url: str) -> str:
    """The driver's connection string for an administrator's SQLAlchemy URL.

    :raises Refused: INVALID when the URL holds an option that it may not hold, or can be read in two ways.
    """
    parsed = make_url(url)
    if (parsed.host or "").lower() != urlsplit(url).hostname or not parsed.username or not parsed.password:
        # The options were judged by one host; they must not be used for another.
        raise Refused(
            Code.INVALID,
            "This is not the URL of a database server.",
            fields={"url": "Use mssql://user:password@host:1433/database, with special characters as %40."},
        )
    return place(
        parsed.host or "127.0.0.1",
        parsed.port or 1433,
        parsed.database or "",
        parsed.username or "",
        parsed.password,
        sqlserver_options(url),
    )


def place(
    host: str, port: int, database: str, user: str, password: str | None, options: Mapping[str, str] | None = None
) -> str:
    """A connection string; TLS with a verified certificate except on loopback, unless the options say more.

    Keywords: Microsoft's "DSN and Connection String Keywords and Attributes" of the ODBC Driver 18 for SQL Server.
    """
    local = host in LOOPBACK
    parts = {
        "server": f"{host},{port}",
        "database": database,
        "uid": user,
        "pwd": password or "",
        "encrypt": "optional" if local else "mandatory",
        "trustservercertificate": "yes" if local else "no",
        "connectretrycount": "0",
    }
    parts |= {name.lower(): value for name, value in (options or {}).items()}
    return "".join(f"{name}={_braced(value)};" for name, value in parts.items() if value)


class Connection(mssql_python.Connection):
    """The driver's connection, for which it is nothing new that the server has rolled back, or gone, by itself."""

    def rollback(self) -> None:
        """Roll back what there is to roll back."""
        try:
            super().rollback()
        except mssql_python.OperationalError as error:
            if error.driver_error != "Invalid transaction state":
                raise

    def close(self) -> None:
        """Close what there is to close."""
        with suppress(mssql_python.OperationalError):
            super().close()


def connect(where: str, *, autocommit: bool) -> Connection:
    """A connection of its own; the driver's pool stays closed, for ours are by tenant."""
    mssql_python.pooling(enabled=False)
    return Connection(where, autocommit=autocommit, timeout=LOGIN_SECONDS)


def run(connection: mssql_python.Connection, text: str, *parameters: Any) -> list[Any]:
    """Execute a batch to its end, so that no error of a later statement is swallowed; the last rows that it gave."""
    with connection.cursor() as cursor:
        cursor.execute(text, *parameters)
        rows: list[Any] = []
        while True:
            if cursor.description:
                rows = cursor.fetchall()
            if not cursor.nextset():
                return rows


def number_of(error: BaseException) -> int | None:
    """SQL Server's number of an error that a statement met; None when it came from the driver itself."""
    number: int | None = getattr(error, "awssome_number", None)
    if number == _STAND_IN and "permission denied" in str(error):
        return min(DENIED)
    if number == _STAND_IN and "lock timeout" in str(error):
        return LOCK_TIMEOUT
    if number == _STAND_IN and "not an active process" in str(error):
        return NOT_ACTIVE
    return number


def met_by_statement(error: BaseException) -> bool:
    """Whether a statement met the error, and not the commit or the connection as such."""
    return hasattr(error, "awssome_number")


def is_lost(error: BaseException) -> bool:
    """Whether the connection has ended."""
    told = getattr(error, "driver_error", None)
    return told in MSDialect_mssqlpython._disconnect_driver_errors or number_of(error) in _ENDED


def is_shut_out(error: BaseException) -> bool:
    """Whether a server that answers did not let the login in, when a connection was asked for."""
    return getattr(error, "driver_error", None) in _NOT_LET_IN


def _braced(value: str) -> str:
    return value if re.fullmatch(r"[\w.,:/-]*", value) else "{" + value.replace("}", "}}") + "}"


def _tell_numbers() -> None:
    """Have the driver's exceptions carry SQL Server's error number.

    It reads the numbers and drops them (github.com/microsoft/mssql-python, issue 581). Until that is closed, its
    version is pinned, and `tests/database/sqlserver/test_driver.py` sees that this goes on working.
    """
    driver: Any = mssql_python.cursor
    bindings: Any = ddbc_bindings
    check = driver.check_error

    def check_error(handle_type: int, handle: Any, ret: int) -> None:
        records = bindings.DDBCSQLGetAllDiagRecords(handle) if ret < 0 else []
        try:
            check(handle_type, handle, ret)
        except mssql_python.Error as error:
            found = re.search(r"\((\d+)\)\s*\Z", records[0][0]) if records else None
            error.awssome_number = int(found.group(1)) if found else None  # type: ignore[attr-defined]
            raise

    driver.check_error = check_error


_tell_numbers()
