"""The tenants' way in: connections that authenticated as a placement's own login, and the guard before their writes.

SQL Server has no trigger that runs before a write. The lock that holds a cut-over off is therefore taken by the
session, before the first write of a transaction and in one round trip; the triggers of the template are what nobody
can go round.
"""

from __future__ import annotations

from typing import Any

import mssql_python
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from awssome.database import dialects as dialects
from awssome.database.engine import Entrance
from awssome.database.schema import SYMBOL
from awssome.database.sqlserver import driver
from awssome.database.troubles import denied, fenced, too_long, unavailable
from awssome.domain.errors import Refused
from awssome.domain.limits import LIMITS
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import Placement, checked_schema_name

LOCK_WAIT_MS = 10_000
"""How long a tenant's statement waits for a row that another one holds."""

GUARD_WAIT_MS = 2_000
"""How long a write waits for a cut-over that is under way."""


def connect_as_tenant(placement: Placement) -> driver.Connection:
    """A connection that *is* the tenant: authenticated as its own login.

    :raises Refused: FENCED when the server does not let this login in, so that the placement cannot be true any more;
        UNAVAILABLE when it does not answer or has no connection left.
    """
    where = driver.place(placement.host, placement.port, placement.database, placement.login, placement.password)
    try:
        connection = driver.connect(where, autocommit=False)
        connection.timeout = LIMITS[placement.tier].statement_seconds
        driver.run(connection, f"SET LOCK_TIMEOUT {LOCK_WAIT_MS}")
    except mssql_python.Error as error:
        raise (fenced() if driver.is_shut_out(error) else unavailable()) from None
    return connection


def begin(connection: driver.Connection, schema: str) -> tuple[int, str] | None:
    """Read the fence's epoch and revision; the driver has begun a transaction with it."""
    rows = driver.run(connection, f"SELECT epoch, revision FROM {checked_schema_name(schema)}._fence WHERE id = 1")
    return (int(rows[0][0]), str(rows[0][1])) if rows else None


def refusal(error: BaseException) -> Refused | None:
    """What a driver's error means to the user of a tenant's session; None: a defect."""
    number = driver.number_of(error)
    if number == driver.FENCED:
        return fenced()
    if number in driver.DENIED:
        # Rights are looked at before triggers: who has lost them is at a place that is no longer true.
        return denied()
    if number in driver.PASSING or _has_timed_out(error):
        return too_long()
    if number in driver.FULL:
        return unavailable()
    if driver.is_lost(error):
        # The server ends sessions without giving a reason. Before COMMIT nothing is done: it may be tried elsewhere.
        return fenced() if driver.met_by_statement(error) else unavailable()
    return None


def unknown(error: BaseException) -> bool:
    """Whether an error says that there is no such table or column."""
    return driver.number_of(error) in driver.UNKNOWN


def prepare(engine: Engine) -> None:
    """Have every transaction take the guard before its first write."""
    event.listen(engine, "before_cursor_execute", _guard)
    event.listen(engine, "rollback_savepoint", _forget_guard)


ENTRANCE = Entrance("mssql+typed://", connect_as_tenant, begin, refusal, unknown, prepare)
"""How sessions of tenants are opened on SQL Server."""


def _guard(
    connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
) -> None:
    """Hold the fence's lock in shared mode until the transaction ends, and look at its mode behind it."""
    transaction = connection.get_transaction()
    if not (context.isinsert or context.isupdate or context.isdelete) or connection.info.get("guarded") is transaction:
        return
    schema = checked_schema_name(connection.get_execution_options()["schema_translate_map"][SYMBOL])
    rows = driver.run(connection.connection.driver_connection, _GUARD.format(schema=schema, wait=GUARD_WAIT_MS))  # type: ignore[arg-type]
    if not rows or rows[0][0] < 0 or rows[0][1] != FenceMode.RW:
        raise fenced()
    connection.info["guarded"] = transaction


def _forget_guard(connection: Connection, name: str, context: Any) -> None:
    """SQL Server gives the locks back that were taken since the savepoint."""
    connection.info.pop("guarded", None)


# The name of the lock is known to the tenant and to the mover only: locks of this kind are open to every login.
_GUARD = (
    "EXEC sp_executesql N'SET NOCOUNT ON; DECLARE @lock nvarchar(64), @result int; "
    "SELECT @lock = lock_name FROM {schema}._fence WHERE id = 1; "
    "EXEC @result = sp_getapplock @Resource = @lock, @LockMode = N''Shared'', @LockOwner = N''Transaction'', "
    "@LockTimeout = {wait}; SELECT @result, mode FROM {schema}._fence WHERE id = 1'"
)


def _has_timed_out(error: BaseException) -> bool:
    return getattr(error, "driver_error", None) in ("Timeout expired", "Operation canceled")
