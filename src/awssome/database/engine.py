"""What differs between the database engines, and nothing else. SQLAlchemy Core does the rest.

A `Server` is a server of the data plane, reached with its administrator's rights: only workers hold one. An `Entrance`
is how a tenant gets in, as its own login; `database.sessions` uses it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Engine

from awssome.domain.errors import Code, Refused
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import EngineName, Placement


@dataclass(frozen=True)
class Fence:
    """The `_fence` row of a tenant's schema."""

    epoch: int
    mode: FenceMode
    mover: int
    revision: str


@dataclass(frozen=True)
class TableSum:
    """A table at one instant: how many rows, and the sum of their 64-bit hashes modulo 2^64, as 16 hex digits.

    A row's hash is the first 8 bytes of SHA-256 over its columns in declared order, each `length:text,` (length in
    UTF-8 bytes; `~,` for NULL): uuid in lower case, decimals at their declared scale, times in UTC as
    `YYYY-MM-DDTHH:MM:SS.ffffff`, dates as `YYYY-MM-DD`, bytes in lower-case hex, booleans 1 or 0. The same on both
    engines, and independent of the order of rows.
    """

    rows: int
    checksum: str


@dataclass(frozen=True)
class SchemaUse:
    """What one tenant uses on its server."""

    schema: str
    rows: int
    bytes: int
    connections: int


@dataclass(frozen=True)
class LongSession:
    """A session of a tenant's login whose transaction has been open for long.

    :ivar session: the server's own number of it.
    :ivar statement_seconds: since the statement began that is running; 0 when none is.
    """

    schema: str
    session: int
    statement_seconds: float
    transaction_seconds: float


class MoverLost(Exception):
    """Another mover has claimed the schema since; this one has to stop."""


class FenceBusy(Exception):
    """Writers kept the fence for longer than the limit; try again."""


@dataclass(frozen=True)
class Entrance:
    """How sessions of tenants are opened on an engine.

    :ivar url: SQLAlchemy's name of dialect and driver.
    :ivar connect: a driver's connection that authenticated as the placement's login. Raises `Refused`: FENCED when the
        server does not let the login in, so that the placement cannot be true any more; UNAVAILABLE when it does not
        answer.
    :ivar begin: begins a transaction on such a connection and reads the fence's epoch of the schema, in one round trip.
    :ivar refusal: what a driver's error means to the user of a session; None: a defect.
    :ivar prepare: completes the one Engine that holds dialect and compiled statements.
    """

    url: str
    connect: Callable[[Placement], Any]
    begin: Callable[[Any, str], int | None]
    refusal: Callable[[BaseException], Refused | None]
    prepare: Callable[[Engine], None] = lambda engine: None


def fenced() -> Refused:
    """The placement in hand is stale, or writes are paused by a move."""
    return Refused(
        Code.FENCED,
        "Your workspace is being moved and takes no changes for a moment. Nothing was lost.",
        "Try again in a few seconds.",
        retry_after=2,
    )


def unavailable() -> Refused:
    """The server does not answer, or has no connection left."""
    return Refused(
        Code.UNAVAILABLE,
        "Your database does not answer right now. Nothing was changed.",
        "Try again in a minute.",
        retry_after=5,
    )


def too_long() -> Refused:
    """The server stopped a statement that took too long, or waited too long for a lock."""
    return Refused(Code.UNAVAILABLE, "This took too long and was stopped. Nothing was changed.", "Try again.")


class Server(ABC):
    """One server of the data plane. Methods are safe to repeat after a crash at any point."""

    engine: EngineName

    @abstractmethod
    def check(self) -> dict[str, str]:
        """Version and settings by name. Settings that tenants need and the administrator may turn on are turned on.

        :raises Refused: INVALID when the server cannot hold tenants, saying what is missing.
        """

    @abstractmethod
    def provision(self, schema: str, password: str, *, epoch: int, mode: FenceMode, mover: int = 0) -> None:
        """Make schema, tables, login and grants in one transaction and one round trip; nothing if they are there."""

    @abstractmethod
    def migrate(self, schema: str) -> None:
        """Bring the schema's tables to the template's newest revision, and say so on the fence, in one transaction."""

    @abstractmethod
    def drop(self, schema: str, mover: int) -> None:
        """End the login's sessions and drop login and schema; nothing if they are gone.

        :raises MoverLost: when a later mover has claimed the schema.
        """

    @abstractmethod
    def set_password(self, schema: str, password: str) -> None:
        """Give the login another password. Sessions that are open go on."""

    @abstractmethod
    def close_login(self, schema: str) -> None:
        """Refuse new sessions of the login and end those that are open."""

    @abstractmethod
    def open_login(self, schema: str) -> None:
        """Allow sessions of the login again."""

    @abstractmethod
    def fence(self, schema: str) -> Fence | None:
        """The schema's fence, or None when the schema is not there."""

    @abstractmethod
    def claim(self, schema: str, mover: int) -> None:
        """Stamp the mover's number on the fence.

        :raises MoverLost: when it carries a higher one.
        :raises FenceBusy: when writers did not let the row go in time, on an engine where they hold it.
        """

    @abstractmethod
    def set_fence(self, schema: str, mover: int, *, mode: FenceMode, epoch: int, timeout_ms: int = 2000) -> None:
        """Change mode and epoch, after every writer that is under way has committed.

        :param timeout_ms: how long to wait for writers.
        :raises MoverLost: when another mover has claimed the schema.
        :raises FenceBusy: when writers did not end in time; nothing has changed.
        """

    @abstractmethod
    def sums(self, schema: str) -> dict[str, TableSum]:
        """Rows and checksum of every data table, all of one instant."""

    @abstractmethod
    def copy(self, schema: str, target: Server, target_schema: str, mover: int) -> int:
        """Copy every data table, as of one instant, into empty tables of another server of the same engine.

        :returns: the number of rows copied. One transaction on the target: all or nothing.
        :raises MoverLost: when another mover has claimed the target.
        """

    @abstractmethod
    def use(self) -> list[SchemaUse]:
        """What each tenant uses on this server; one query for all."""

    @abstractmethod
    def long_sessions(self, seconds: float) -> list[LongSession]:
        """The tenants' sessions whose transaction has been open for longer; one query for all."""

    @abstractmethod
    def end_long(self, sessions: Sequence[LongSession]) -> list[LongSession]:
        """End those of the sessions that are still in the transaction in which they were found, and return them."""

    @abstractmethod
    def connected(self) -> AbstractContextManager[None]:
        """Within the block, calls that follow each other share one connection: a move pauses writes between them."""
