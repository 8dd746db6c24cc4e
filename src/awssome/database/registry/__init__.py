"""The registry: the control plane's tables and the queries on them, by noun.

Every query takes a connection, so that a change, its audit line and its job commit together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from awssome.database.postgresql.driver import NETWORK, secured
from awssome.domain.errors import Code, Refused

_UNHEARD_OF = (None, "22003", "22021", "22P05")
"""A NUL in a text (the driver refuses it by itself), a number that is too large, bytes that are no characters."""


class Registry:
    """The control plane's PostgreSQL.

    :param url: SQLAlchemy URL of the control role; off loopback the server must show a certificate that can be trusted.
    :param connections: size of the pool; match it to the threads that use it.
    """

    def __init__(self, url: str, *, connections: int = 16) -> None:
        self.url = secured(url)
        self._engine = create_engine(
            self.url,
            pool_size=connections,
            max_overflow=4,
            pool_timeout=10,
            pool_pre_ping=True,
            hide_parameters=True,  # an error in a log shows the statement, never the values
            connect_args={
                "connect_timeout": 5,
                **NETWORK,
                "application_name": "awssome-registry",
                # A process that is frozen in a transaction must not hold a tenant's or a move's row for ever. Days
                # begin in UTC, whatever the server thinks.
                "options": "-c idle_in_transaction_session_timeout=60000 -c timezone=UTC",
            },
        )

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction: commits at the end, rolls back on an exception.

        :raises Refused: UNAVAILABLE when PostgreSQL does not answer; INVALID when a caller's text or number is one that
            PostgreSQL has no place for.
        """
        connection = self._connect()
        try:
            with connection, connection.begin():
                yield connection
        except DataError as error:
            if getattr(error.orig, "sqlstate", None) not in _UNHEARD_OF:
                raise
            raise Refused(
                Code.INVALID,
                "What was sent holds a character or a number that cannot be. Nothing was changed.",
                "Correct it and send it again.",
            ) from None

    @contextmanager
    def holding(self, name: str) -> Iterator[bool]:
        """Whether this process holds the session lock `name`, for the length of the block.

        The lock is held while the process is frozen and is free as soon as it is dead.

        :raises Refused: UNAVAILABLE when PostgreSQL does not answer.
        """
        with self._connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            key = {"name": name}
            held = bool(connection.scalar(text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))"), key))
            try:
                yield held
            finally:
                if held:
                    connection.execute(text("SELECT pg_advisory_unlock(hashtextextended(:name, 0))"), key)

    def close(self) -> None:
        """Close every idle connection."""
        self._engine.dispose()

    def _connect(self) -> Connection:
        try:
            return self._engine.connect()
        except (OperationalError, PoolTimeout):
            raise Refused(
                Code.UNAVAILABLE,
                "The platform's database does not answer right now. Nothing was changed.",
                "Try again in a minute.",
                retry_after=5,
            ) from None


def in_turn(connection: Connection, name: str) -> None:
    """Wait for the others who do this; the lock ends with the transaction."""
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})


def driver_connection(connection: Connection) -> Any:
    """The psycopg connection below: the job queue enqueues on it, inside this very transaction."""
    return connection.connection.driver_connection
