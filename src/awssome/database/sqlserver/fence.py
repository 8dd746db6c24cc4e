"""The fence of a tenant's schema, as movers close, hold and share it.

SQL Server ends no session that idles in a transaction. A session that holds a fence therefore says whose mover's it is,
where the list of sessions shows it, and whoever claims the schema ends those of movers before.
"""

from __future__ import annotations

from contextlib import suppress

import mssql_python

from awssome.database.engine import Fence, FenceBusy, MoverLost
from awssome.database.sqlserver.driver import LOCK_TIMEOUT, Connection, number_of, run
from awssome.domain.moves import FenceMode

SHARE_WAIT_MS = 2_000
"""How long a mover that takes entries out of an outbox waits for whoever has the fence alone."""


def read(connection: Connection, name: str) -> Fence | None:
    """The fence's row, if there is one."""
    rows = run(connection, f"SELECT epoch, mode, mover, revision, capture FROM {name}._fence WHERE id = 1")
    return Fence(rows[0][0], FenceMode(rows[0][1]), rows[0][2], rows[0][3], bool(rows[0][4])) if rows else None


def is_there(connection: Connection, name: str) -> bool:
    """Whether the schema has a fence."""
    return run(connection, f"SELECT OBJECT_ID(N'{name}._fence')")[0][0] is not None


def close(connection: Connection, name: str, mover: int, timeout_ms: int) -> None:
    """Hold writers off until the transaction ends, after those under way have ended.

    Whoever gives up the shared lock early still holds the row of the fence, by the trigger.

    :raises FenceBusy: in vain.
    """
    if not _locked(connection, name, mover, "Exclusive", timeout_ms):
        raise FenceBusy
    try:
        run(connection, f"SET LOCK_TIMEOUT {int(timeout_ms)}; UPDATE {name}._fence SET mover = mover WHERE id = 1")
    except mssql_python.Error as error:
        if number_of(error) == LOCK_TIMEOUT:
            raise FenceBusy from None
        raise


def hold(connection: Connection, name: str, mover: int, mode: FenceMode | None = None) -> None:
    """Hold the row of a fence that nobody writes behind, so that no later mover claims the schema until the transaction
    ends. :raises MoverLost: when one has, or the fence is not in the mode where one is named."""
    run(connection, _label(name, mover))
    change(connection, name, mover, "mover = mover", "" if mode is None else f" AND mode = N'{mode}'")


def share(connection: Connection, name: str, mover: int) -> None:
    """Keep later movers out until the transaction ends, and no writer. :raises MoverLost: when one has been here."""
    if not _locked(connection, name, mover, "Shared", SHARE_WAIT_MS):
        raise FenceBusy
    if not run(connection, f"SELECT 1 FROM {name}._fence WHERE id = 1 AND mover = {int(mover)}"):
        raise MoverLost


def change(connection: Connection, name: str, mover: int, values: str, where: str = "") -> None:
    """Set columns of a fence's row. :raises MoverLost: when the schema is another mover's."""
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {name}._fence SET {values} WHERE id = 1 AND mover = {int(mover)}{where}")
        if cursor.rowcount != 1:
            raise MoverLost


def claim(connection: Connection, name: str, mover: int) -> None:
    """Put the mover's number on a closed fence. :raises MoverLost: when it carries a higher one."""
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {name}._fence SET mover = {int(mover)} WHERE id = 1 AND mover <= {int(mover)}")
        if cursor.rowcount != 1:
            raise MoverLost


def end_older(connection: Connection, name: str, mover: int) -> None:
    """End what movers before this one still do to the schema: one may be frozen, and would keep it for ever."""
    for number, label in run(connection, _LABELLED.format(label=_of(name).hex(), length=len(_of(name)))):
        if int.from_bytes(label[:_NUMBER], "big") < mover:
            with suppress(mssql_python.ProgrammingError):  # it has ended by itself
                run(connection, f"KILL {int(number)}")


def capture(connection: Connection, name: str, *, on: bool) -> None:
    """What changes beside the fence when a capture begins or ends: an empty outbox, and who may write there.

    What the guards note needs no right of the tenant's, since table and triggers have one owner. A server that stands
    in for SQL Server knows no such chain of owners; there the login may add to the outbox while a capture is on, and
    `guard_outbox` sees to it that only the guards do.
    """
    run(connection, f"TRUNCATE TABLE {name}._outbox; REVOKE INSERT ON {name}._outbox FROM {name}")
    if on and not _acts_as(connection, name):
        run(connection, f"GRANT INSERT ON {name}._outbox TO {name}")


def _acts_as(connection: Connection, name: str) -> bool:
    """Whether the server can be somebody else, as SQL Server can for an administrator of the database."""
    return bool(run(connection, f"EXEC(N'SELECT USER_NAME()') AS USER = N'{name}'")[0][0] == name)


def _locked(connection: Connection, name: str, mover: int, mode: str, timeout_ms: int) -> bool:
    """A read of a table begins the transaction that the lock belongs to."""
    taken = run(
        connection,
        f"{_label(name, mover)}; DECLARE @lock nvarchar(64), @result int; "
        f"SELECT @lock = lock_name FROM {name}._fence WHERE id = 1; "
        f"EXEC @result = sp_getapplock @Resource = @lock, @LockMode = N'{mode}', "
        f"@LockOwner = N'Transaction', @LockTimeout = {int(timeout_ms)}; SELECT @result",
    )
    return bool(taken[0][0] >= 0)


_NUMBER = 8
"""Bytes of a mover's number in a label."""


def _label(name: str, mover: int) -> str:
    """Tell that the session works for this mover; it is taken off again when the connection is given to others."""
    return f"SET CONTEXT_INFO 0x{_of(name).hex()}{int(mover).to_bytes(_NUMBER, 'big').hex()}"


def _of(name: str) -> bytes:
    return f"awssome-mover-{name}-".encode()


# Where `logins` looks for sessions, and for the same reason.
_LABELLED = """
IF COL_LENGTH(N'sys.sysprocesses', N'loginname') IS NULL
    EXEC(N'SELECT session_id, SUBSTRING(context_info, {length} + 1, 8) FROM sys.dm_exec_sessions
    WHERE SUBSTRING(context_info, 1, {length}) = 0x{label} AND session_id <> @@SPID')
ELSE
    EXEC(N'SELECT DISTINCT spid, SUBSTRING(context_info, {length} + 1, 8) FROM sys.sysprocesses
    WHERE SUBSTRING(context_info, 1, {length}) = 0x{label} AND spid <> @@SPID')
"""
