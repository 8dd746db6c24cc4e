"""Tenants' logins: their passwords, changes that their own sessions would hold up, and the end of sessions."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import psycopg
from psycopg import errors

from awssome.database.engine import LongSession
from awssome.database.postgresql.driver import run, trusted
from awssome.domain.errors import Code, Refused
from awssome.domain.limits import LONGEST_STATEMENT

Connection = psycopg.Connection[Any]
Connect = Callable[[], AbstractContextManager[Connection]]

END_SECONDS = 10.0
"""How long a login may keep the platform from changing it."""

ROW_WAIT_MS = 200
"""How long the first try to change it waits for a session that holds the login's row."""


def exists(connection: Connection, name: str) -> bool:
    """Whether there is such a login."""
    return connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (name,)).fetchone() is not None


def change(connect: Connect, name: str, statements: str) -> None:
    """Change the login by these statements, and end every session of before.

    A session can hold the login's own row, by `ALTER ROLE` in a transaction that it leaves open, and come again as
    often as it is ended. Then the change queues for the row while they are being ended.

    :raises Refused: UNAVAILABLE when the sessions do not end in time.
    """
    with connect() as connection:
        if not _changed(connection, statements, ROW_WAIT_MS):
            stop = threading.Event()
            with ThreadPoolExecutor(1) as ending:
                ended = ending.submit(_keep_ending, connect, name, stop)
                try:
                    give_up = time.monotonic() + END_SECONDS
                    while not _changed(connection, statements, int(END_SECONDS * 1000)):
                        if time.monotonic() > give_up:
                            raise _still_ending()
                finally:
                    stop.set()
                ended.result()
        end(connection, name)


def end(connection: Connection, name: str) -> None:
    """End the sessions that there are now, and wait until they are gone; some may end by themselves meanwhile.

    :raises Refused: UNAVAILABLE when they do not end in time.
    """
    ended = connection.execute(
        "SELECT pid, pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s", (name,)
    ).fetchall()
    connection.commit()  # the list of sessions stays the same for the length of a transaction
    if not all(gone for _, gone in ended):
        left = connection.execute(
            "SELECT FROM pg_stat_activity WHERE usename = %s AND pid = ANY(%s)", (name, [pid for pid, _ in ended])
        ).fetchall()
        connection.commit()
        if left:
            raise _still_ending()


def defaults(connection: Connection, name: str) -> str:
    """Statements that undo what the login has set for its sessions: a library that is not there locks it out."""
    row = connection.execute("SELECT quote_ident(current_database())").fetchone()
    assert row is not None  # noqa: S101 - it has one
    return (
        f"ALTER ROLE {name} IN DATABASE {row[0]} RESET ALL; ALTER ROLE {name} RESET ALL; "
        f"ALTER ROLE {name} SET statement_timeout = '{LONGEST_STATEMENT}s'"
    )


def long_sessions(connection: Connection, seconds: float) -> list[LongSession]:
    """From pg_stat_activity, which shows times of others' sessions to members of pg_read_all_stats only."""
    query = f"{_LONG_SESSIONS} WHERE greatest(statement_seconds, transaction_seconds) > %s"
    rows = connection.execute(trusted(query), (seconds,)).fetchall()
    return [LongSession(*row) for row in rows]


def end_long(connection: Connection, sessions: Sequence[LongSession]) -> list[LongSession]:
    """pg_terminate_backend; what began since is younger than what was found."""
    query = trusted(
        f"SELECT pg_terminate_backend(pid) FROM ({_LONG_SESSIONS}) AS now "
        "WHERE pid = %s AND usename = %s AND greatest(statement_seconds, transaction_seconds) >= %s"
    )
    return [
        each
        for each in sessions
        if connection.execute(query, (each.session, each.schema, each.seconds)).fetchone() == (True,)
    ]


def scram_verifier(password: str) -> str:
    """A SCRAM-SHA-256 verifier (RFC 5803) with one iteration.

    Iterations slow down guessing of weak passwords; a login's password has 256 random bits, and one iteration makes
    connecting cheap.
    """
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    stored = base64.b64encode(hashlib.sha256(client_key).digest()).decode()
    return f"SCRAM-SHA-256$1:{base64.b64encode(salt).decode()}${stored}:{base64.b64encode(server_key).decode()}"


def _changed(connection: Connection, statements: str, wait_ms: int) -> bool:
    try:
        run(connection, f"SET LOCAL lock_timeout = {int(wait_ms)}; {statements}")
    except (errors.LockNotAvailable, errors.InternalError_):  # the latter: the row was changed meanwhile
        connection.rollback()
        return False
    connection.commit()
    return True


def _keep_ending(connect: Connect, name: str, stop: threading.Event) -> None:
    with connect() as connection:
        while not stop.wait(0.01):
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (name,))
            connection.commit()


def _still_ending() -> Refused:
    return Refused(Code.UNAVAILABLE, "Sessions of the workspace are still being ended.", "Try again.")


# A block of code (DO) that commits begins another transaction each time, and goes on as one statement.
_LONG_SESSIONS = """
SELECT usename, pid, statement_seconds, transaction_seconds FROM (
    SELECT usename::text, pid,
        CASE state WHEN 'active' THEN extract(epoch FROM clock_timestamp() - query_start)::float8 ELSE 0 END
            AS statement_seconds,
        coalesce(extract(epoch FROM clock_timestamp() - xact_start), 0)::float8 AS transaction_seconds
    FROM pg_stat_activity WHERE usename LIKE 'user\\_%%' AND (xact_start IS NOT NULL OR state = 'active')
) AS found
"""
