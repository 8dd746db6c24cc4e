"""Tenants' logins on SQL Server: changes that their own sessions would hold up, and the end of sessions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import mssql_python

from awssome.database.engine import LongSession
from awssome.database.sqlserver.driver import NOT_ACTIVE, Connection, number_of, run
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import checked_schema_name

END_SECONDS = 10.0
"""How long ended sessions may take to be gone: what they were doing is rolled back first."""


def change(connection: Connection, name: str, what: str) -> None:
    """Change the login, and end every session of before.

    A session can hold its login, by ALTER LOGIN in a transaction that it leaves open: they are ended before, too.

    :raises Refused: UNAVAILABLE when one does not end in time.
    """
    _kill(connection, _sessions(connection, name))
    run(connection, f"ALTER LOGIN {name} {what}")
    end(connection, name)


def close(connection: Connection, name: str) -> None:
    """Nobody can come in any more, and nobody is left. Nothing where there is no such login."""
    if run(connection, f"SELECT SUSER_ID(N'{name}')")[0][0] is not None:
        change(connection, name, "DISABLE")


def end(connection: Connection, name: str) -> None:
    """End the sessions that the login has now. :raises Refused: UNAVAILABLE when they do not end in time."""
    ending = _sessions(connection, name)
    give_up = time.monotonic() + END_SECONDS
    while ending:
        ending = _kill(connection, ending)
        if ending and time.monotonic() > give_up:
            raise Refused(Code.UNAVAILABLE, "Sessions of the workspace are still being ended.", "Try again.")
        time.sleep(0.02)
        ending &= _sessions(connection, name)


def sessions_of(connection: Connection, login: str) -> set[int]:
    """The numbers of the login's sessions."""
    return {number for number, _ in _sessions(connection, login)}


def long_sessions(connection: Connection, seconds: float) -> list[LongSession]:
    """From the list of sessions: those that run a request, or sleep in a transaction, since their last request."""
    rows = run(connection, _LONG_SESSIONS)
    found = [LongSession(row[0], int(row[1]), float(row[2]) if row[3] else 0.0, float(row[2])) for row in rows]
    return [each for each in found if each.seconds > seconds]


def end_long(connection: Connection, sessions: Sequence[LongSession]) -> list[LongSession]:
    """KILL; what began since is younger than what was found."""
    ended = []
    for each in sessions:
        there = {(now.session, now.schema) for now in long_sessions(connection, each.seconds - 1)}
        if (each.session, each.schema) in there:
            with suppress(mssql_python.ProgrammingError):
                run(connection, f"KILL {each.session}")
                ended.append(each)
    return ended


def checked_password(password: str) -> str:
    """The password, if it can stand in a literal: CREATE LOGIN takes no parameter."""
    if not password.replace("-", "").replace("_", "").isalnum() or not password.isascii():
        raise ValueError("a login's password holds only letters, digits, - and _")
    return password


_Session = tuple[int, Any]
"""Its number, and since when it has been there: numbers are given again at once."""


def _sessions(connection: Connection, login: str) -> set[_Session]:
    found = run(connection, _SESSIONS_OF.format(login=checked_schema_name(login)))
    return {(int(number), since) for number, since in found}


def _kill(connection: Connection, sessions: set[_Session]) -> set[_Session]:
    """End them; those that were there. One that has ended may be listed for a while."""
    there = set()
    for session in sessions:
        try:
            run(connection, f"KILL {session[0]}")
        except mssql_python.ProgrammingError as error:
            if number_of(error) == NOT_ACTIVE:
                continue
        there.add(session)
    return there


# A server that stands in for SQL Server leaves sessions out of the first view. It has them all in the second one, where
# a column has a name that it has not on SQL Server.
_SESSIONS_OF = """
IF COL_LENGTH(N'sys.sysprocesses', N'loginname') IS NULL
    EXEC(N'SELECT session_id, login_time FROM sys.dm_exec_sessions WHERE login_name = N''{login}''')
ELSE
    EXEC(N'SELECT spid, login_time FROM sys.sysprocesses WHERE loginname = N''{login}''')
"""

# A server that stands in for SQL Server leaves sessions out of the view: nobody is found there.
_LONG_SESSIONS = """
SELECT login_name, session_id,
    CASE WHEN last_request_start_time < DATEADD(day, -30, GETDATE()) THEN 30 * 86400  -- what was before may not fit
    ELSE DATEDIFF(second, last_request_start_time, GETDATE()) END,
    CASE status WHEN N'running' THEN 1 ELSE 0 END
FROM sys.dm_exec_sessions
WHERE login_name LIKE N'user[_]%' AND (status = N'running' OR open_transaction_count > 0)
"""
