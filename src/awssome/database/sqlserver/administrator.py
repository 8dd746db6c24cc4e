"""Connections of a server's administrator, kept from call to call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import mssql_python

from awssome.database.kept import Kept
from awssome.database.sqlserver.driver import (
    FULL,
    PASSING,
    Connection,
    connect,
    connection_string,
    is_lost,
    is_shut_out,
    number_of,
    run,
)
from awssome.domain.errors import Code, Refused

STATEMENT_SECONDS = 300
"""How long one statement may take, before the server counts as away."""


class Administrator:
    """Gives connections that authenticated as the administrator of a URL, to several threads.

    Whatever it gives raises `Refused`, UNAVAILABLE, when the server does not answer, or is busy or full.

    :ivar lock_timeout_ms: how long a statement waits for a lock.
    """

    def __init__(self, url: str, lock_timeout_ms: int) -> None:
        self.lock_timeout_ms = int(lock_timeout_ms)
        self._where = connection_string(url)
        self._kept = Kept(self._open, self._as_new)

    def close(self) -> None:
        """Close the connections that are kept."""
        self._kept.close()

    @contextmanager
    def transaction(self, *, snapshot: bool = False) -> Iterator[Connection]:
        """A transaction as the administrator: commits at the end, rolls back on an exception."""
        with self._connection() as connection:
            connection.autocommit = False
            run(connection, f"SET TRANSACTION ISOLATION LEVEL {'SNAPSHOT' if snapshot else 'READ COMMITTED'}")
            connection.commit()  # the level counts from the next transaction on
            try:
                yield connection
            except BaseException:
                with suppress(mssql_python.Error):
                    connection.rollback()
                raise
            connection.commit()

    @contextmanager
    def commanding(self) -> Iterator[Connection]:
        """A connection that commits each batch by itself."""
        with self._connection() as connection:
            connection.autocommit = True
            run(connection, "SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
            yield connection

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        connection = self._kept.take()
        well = False
        try:
            yield connection
            well = True
        except mssql_python.Error as error:
            if is_lost(error):
                raise self._no_answer() from None
            if number_of(error) in PASSING:
                raise Refused(Code.UNAVAILABLE, "The server is busy with this workspace.", "Try again.") from None
            if number_of(error) in FULL:
                where = self._address()
                raise Refused(
                    Code.UNAVAILABLE, f"The database server at {where} has no room left.", "Free some."
                ) from None
            raise
        finally:
            # After an error a connection is not used again: what it left open must not be committed by the next call.
            if well:
                self._kept.give_back(connection)
            else:
                connection.close()

    def _open(self) -> Connection:
        try:
            connection = connect(self._where, autocommit=True)
            connection.timeout = STATEMENT_SECONDS
            run(connection, f"SET LOCK_TIMEOUT {self.lock_timeout_ms}")
        except mssql_python.Error as error:
            if is_shut_out(error):
                raise Refused(
                    Code.UNAVAILABLE,
                    f"The database server at {self._address()} does not let the administrator in.",
                    "Check user, password and database in its URL.",
                ) from None
            raise self._no_answer() from None
        return connection

    def _as_new(self, connection: Connection) -> bool:
        """Calls leave no transaction open and set their level themselves; False when the connection is dead.

        What was said of the work that it did is taken back, see `sqlserver.fence`.
        """
        try:
            connection.autocommit = True
            connection.timeout = STATEMENT_SECONDS
            run(connection, f"SET LOCK_TIMEOUT {self.lock_timeout_ms}; SET CONTEXT_INFO 0x")
        except mssql_python.Error:
            return False
        return True

    def _no_answer(self) -> Refused:
        return Refused(Code.UNAVAILABLE, f"The database server at {self._address()} does not answer.", "Try again.")

    def _address(self) -> str:
        return self._where.partition(";")[0].removeprefix("server=").replace(",", ":")


def script(connection: Connection, body: str, result: str = "") -> list[Any]:
    """Run a script in one transaction of its own: all or nothing. The connection has to commit by itself.

    :param result: statements that run when that has been done.
    :returns: the last rows that it gave.
    """
    text = (
        f"SET NOCOUNT ON; SET XACT_ABORT ON; BEGIN TRY BEGIN TRANSACTION; {body} COMMIT; END TRY "
        f"BEGIN CATCH IF @@TRANCOUNT > 0 ROLLBACK; THROW; END CATCH; {result}"
    )
    return run(connection, _EXECUTE, text)


# The driver sends plain text as varchar, and sp_executesql takes nvarchar only.
_EXECUTE = "DECLARE @script nvarchar(max) = ?; EXEC sp_executesql @script"
