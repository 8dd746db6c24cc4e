"""What differs between the database engines, and nothing else. SQLAlchemy Core does the rest.

A `Server` is a server of the data plane, reached with its administrator's rights: only workers hold one. An `Entrance`
is how a tenant gets in, as its own login; `database.sessions` uses it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Table
from sqlalchemy.engine import Engine

from awssome.database.schema import DATA_TABLES
from awssome.database.template import Beyond
from awssome.domain.errors import Refused
from awssome.domain.moves import FenceMode
from awssome.domain.refusals import Refusal
from awssome.domain.tenants import EngineName, Placement

T = TypeVar("T")


@dataclass(frozen=True)
class Fence:
    """The `_fence` row of a tenant's schema.

    :ivar capture: whether the keys of rows that are written are noted in `_outbox`: only while the tenant is moved.
    """

    epoch: int
    mode: FenceMode
    mover: int
    revision: str
    capture: bool = False


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
    """What one tenant uses on its server.

    :ivar rows: live rows, as the server's statistics have them.
    :ivar bytes: what tables and indexes take, as the server's statistics have it: a table that grows is a few percent
        ahead of them until the server looks at it again.
    :ivar statements: how many its login has run since `ServerLoad.counted_since`; None where the server does not count.
    :ivar statement_ms: how long they took together, in ms.
    """

    schema: str
    rows: int
    bytes: int
    connections: int
    statements: int | None = None
    statement_ms: float | None = None


@dataclass(frozen=True)
class ServerLoad:
    """How a server fares at this moment. Logins are tenants' only; what administrators do is not looked at.

    :ivar bytes: of the whole database.
    :ivar connections: sessions of everybody.
    :ivar connection_limit: how many there may be; None where there is no limit.
    :ivar longest_s: for how long the longest running statement of a tenant has been running; None when none runs, or
        when the administrator may not see it.
    :ivar longest_by: the login that runs it.
    :ivar blocked: how many sessions of tenants have waited for a lock for longer than `BLOCKED_SECONDS`.
    :ivar blocked_by: the login that most of them wait for; None when it is no tenant's.
    :ivar counted_since: since when statements are counted; None where they are not.
    """

    bytes: int
    connections: int
    connection_limit: int | None
    longest_s: float | None
    longest_by: str | None
    blocked: int
    blocked_by: str | None
    counted_since: datetime | None


BLOCKED_SECONDS = 5
"""Whoever waits for a lock for longer than this is blocked: writers pass each other in milliseconds."""


@dataclass(frozen=True)
class LogReading:
    """What was found in a server's log.

    :ivar position: where to read on.
    :ivar skipped: bytes that were not looked at, because there were too many.
    """

    refusals: tuple[Refusal, ...]
    position: str
    skipped: int = 0


@dataclass(frozen=True)
class Migrated:
    """What came of bringing a schema's tables to the newest revision.

    :ivar problem: why they are not there, in words for operators; None: they are.
    """

    schema: str
    problem: str | None = None


@dataclass(frozen=True)
class Holding:
    """What a server holds of one tenant, as far as the doctor compares it.

    :ivar fence: None when there is no schema with a fence.
    :ivar login_open: whether the login lets anybody in; None when there is no login.
    """

    schema: str
    fence: Fence | None
    login_open: bool | None


Texts = Sequence[str | None]
"""A row in the canonical form that `TableSum` tells: a text for each column, None for NULL."""


Watch = Callable[[int], None]
"""Told now and then how many rows have been copied so far; what it raises ends the copy."""


def unwatched(rows: int) -> None:
    """Nobody looks on."""


def watched(watch: Watch) -> Callable[[Iterable[T]], Iterator[T]]:
    """Rows as they pass, of one table after the other, of which somebody is told."""
    passed = 0

    def passing(rows: Iterable[T]) -> Iterator[T]:
        nonlocal passed
        for row in rows:
            yield row
            passed += 1
            if passed % ROWS_TOLD == 0:
                watch(passed)

    return passing


ROWS_TOLD = 1000
"""After so many rows whoever watches a copy is told."""


Rows = dict[str, Texts | None]
"""Rows of a table by key, as `database.dirty` writes keys; None: there is no such row."""


@dataclass(frozen=True)
class Changes:
    """What has been written since the capture began and was not carried over yet, as of one instant.

    :ivar seqs: of `_outbox`: what may be forgotten once the rows are at the target.
    :ivar rows: table -> key -> the row as it is now.
    """

    seqs: tuple[int, ...]
    rows: dict[str, Rows]


@dataclass(frozen=True)
class Snapshot:
    """A tenant's schema as of one instant.

    :ivar rows: the rows of a table as they stream in; one table is read to its end before the next.
    :ivar changes: what has been noted in `_outbox`, at most so many entries, oldest first. A part of the entries may
        tell of a row without the one that it refers to; all of them never do. Raises `TooMuch`.
    :ivar sums: rows and checksum of every data table.
    """

    fence: Fence
    rows: Callable[[Table], Iterator[Texts]]
    changes: Callable[[int], Changes]
    sums: Callable[[], dict[str, TableSum]]


CLOSING_ENTRIES = 2_000
"""So many entries of `_outbox` are carried over while writers wait. A long writer may have left more of them; then
writers go on first."""


MOST_BYTES = 64 << 20
"""What a mover holds of the rows of one table at once: each may be as large as its tenant likes."""


class Closing(ABC):
    """A schema whose writers are kept waiting. Leaving it without `close` lets them go on.

    :ivar fence: as it is now that nobody writes.
    """

    fence: Fence

    @abstractmethod
    def changes(self) -> Changes:
        """The last that was written; nothing more can be.

        :raises FenceBusy: for more than `CLOSING_ENTRIES`, or than `MOST_BYTES`.
        """

    @abstractmethod
    def close(self) -> None:
        """Writes end here for good: fence `moved`, the epoch as it is, no capture, an empty `_outbox`; committed.

        :raises Refused: UNAVAILABLE when the server does not answer: whether it is closed, only the fence can tell.
        """


@dataclass(frozen=True)
class LongSession:
    """A session of a tenant's login that has been at work, or in a transaction, for long.

    :ivar session: the server's own number of it.
    :ivar statement_seconds: since the statement began that is running; 0 when none is.
    :ivar transaction_seconds: since its transaction began, which a statement may have done again and again.
    """

    schema: str
    session: int
    statement_seconds: float
    transaction_seconds: float

    @property
    def seconds(self) -> float:
        """Since when it has not been idle, as far as one can see."""
        return max(self.statement_seconds, self.transaction_seconds)


class MoverLost(Exception):
    """Another mover has claimed the schema since; this one has to stop."""


class TooMuch(Exception):
    """The rows of several entries are more than `MOST_BYTES`; ask for fewer. Those of one entry never are."""


class FenceBusy(Exception):
    """Writers kept the fence for longer than the limit, or have written too much until then; try again."""


class Unequal(Exception):
    """Rows that were written to a target are not there as they were sent.

    :ivar keys: table -> keys of such rows.
    """

    def __init__(self, keys: dict[str, list[str]]) -> None:
        super().__init__(", ".join(sorted(keys)))
        self.keys = keys


@dataclass(frozen=True)
class Entrance:
    """How sessions of tenants are opened on an engine.

    :ivar url: SQLAlchemy's name of dialect and driver.
    :ivar connect: a driver's connection that authenticated as the placement's login. Raises `Refused`: FENCED when the
        server does not let the login in, so that the placement cannot be true any more; UNAVAILABLE when it does not
        answer.
    :ivar begin: begins a transaction on such a connection and reads the schema's fence, its epoch and its revision, in
        one round trip; None: there is no fence.
    :ivar refusal: what a driver's error means to the user of a session; None: a defect.
    :ivar unknown: whether an error says that there is no such table or column.
    :ivar prepare: completes the one Engine that holds dialect and compiled statements.
    """

    url: str
    connect: Callable[[Placement], Any]
    begin: Callable[[Any, str], tuple[int, str] | None]
    refusal: Callable[[BaseException], Refused | None]
    unknown: Callable[[BaseException], bool]
    prepare: Callable[[Engine], None] = lambda engine: None


class Server(ABC):
    """One server of the data plane, for several threads. Methods are safe to repeat after a crash at any point.

    :ivar beyond: revisions of the template beyond the product's own, as `database.template` takes them.
    """

    engine: EngineName
    beyond: Beyond = ()

    @abstractmethod
    def check(self) -> dict[str, str]:
        """Version and settings by name. Settings that tenants need and the administrator may turn on are turned on.

        :raises Refused: INVALID when the server cannot hold tenants, saying what is missing.
        """

    @abstractmethod
    def provision(
        self, schema: str, password: str, *, epoch: int, mode: FenceMode, mover: int = 0, revision: str | None = None
    ) -> str:
        """Make schema, tables, login and grants in one transaction and one round trip; nothing if they are there.

        :param revision: of the template; None: its newest.
        :returns: the revision of the tables, which another version may have made.
        """

    @abstractmethod
    def migrate(self, schemas: Sequence[str], after: str | None = None) -> list[Migrated]:
        """Bring each schema's tables to the template's newest revision, and say so on its fence, in one transaction.

        Tables that are there already are left alone. What keeps one schema back keeps no other one back. Sessions of
        the tenants wait for a moment at most: locks are asked for shortly, and again.

        :param after: the revision that all are thought to have. Where it is true, and the engine can, they are brought
            there together, in one transaction and one round trip.
        :returns: what came of each, in the order given.
        :raises Refused: UNAVAILABLE when the server does not answer: then nothing is known of any.
        """

    @abstractmethod
    def drop(self, schema: str, mover: int) -> None:
        """End the login's sessions and drop login and schema; nothing if they are gone.

        :raises MoverLost: when a later mover has claimed the schema.
        """

    @abstractmethod
    def set_password(self, schema: str, password: str) -> None:
        """Give the login another password, and end its sessions: they had come in with the old one.

        :raises Refused: UNAVAILABLE when a session does not end in time; do it again.
        """

    @abstractmethod
    def close_login(self, schema: str) -> None:
        """Refuse new sessions of the login and end those that are open.

        :raises Refused: UNAVAILABLE when a session does not end in time; do it again.
        """

    @abstractmethod
    def open_login(self, schema: str) -> None:
        """Allow sessions of the login again."""

    @abstractmethod
    def end_sessions(self, schema: str) -> None:
        """End the login's sessions that are open; who has its password may come again."""

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
    def capture(self, schema: str, mover: int, *, on: bool, timeout_ms: int = 2000) -> None:
        """From here on note the keys of rows that are written, or no longer; what was noted is forgotten.

        :raises MoverLost: when another mover has claimed the schema.
        :raises FenceBusy: when writers did not end in time; nothing has changed.
        """

    @abstractmethod
    def apply(self, schema: str, mover: int, changes: Changes, *, mark: int | None = None) -> dict[str, Rows]:
        """Make rows of a target what they are at the source, in one transaction that also reads them back.

        :param mark: an epoch for the fence, in the same transaction; the mode stays.
        :returns: what the rows of these keys were before.
        :raises MoverLost: when another mover has claimed the schema.
        :raises Unequal: when what was read back differs from what was written; nothing has changed.
        :raises Refused: INVALID for rows that the tables do not take, as a part of the changes may hold them.
        """

    @abstractmethod
    def forget(self, schema: str, mover: int, seqs: Sequence[int]) -> None:
        """Take exactly these entries out of `_outbox`. :raises MoverLost: when another mover has claimed the schema."""

    @abstractmethod
    def closing(self, schema: str, mover: int, *, timeout_ms: int = 200) -> AbstractContextManager[Closing]:
        """Keep writers waiting, after those under way have committed; the server itself ends that after some seconds.

        :raises MoverLost: when another mover has claimed the schema.
        :raises FenceBusy: when writers did not end in time.
        """

    @abstractmethod
    def sums(self, schema: str, tables: Sequence[Table] = DATA_TABLES) -> dict[str, TableSum]:
        """Rows and checksum of every data table, all of one instant.

        :param tables: as they are at the schema's revision, when that is not the newest.
        """

    @abstractmethod
    def snapshot(self, schema: str) -> AbstractContextManager[Snapshot]:
        """The schema as of one instant, for as long as the block lasts. As many round trips as there are tables.

        :raises Refused: NOT_FOUND when it is not there.
        """

    @abstractmethod
    def load(self, schema: str, mover: int, tables: Iterable[tuple[Table, Iterable[Texts]]]) -> int:
        """Write rows into empty tables, parents before children, in one transaction: all or nothing.

        :returns: the number of rows written.
        :raises MoverLost: when another mover has claimed the schema.
        :raises Refused: INVALID for rows that the tables do not take.
        """

    @abstractmethod
    def copy(self, schema: str, target: Server, target_schema: str, mover: int, *, watch: Watch = unwatched) -> int:
        """Copy every data table, as of one instant, into empty tables of another server, whatever its engine.

        :param watch: told of each thousand rows or so.
        :returns: the number of rows copied. One transaction on the target: all or nothing.
        :raises MoverLost: when another mover has claimed the target.
        """

    def carry(self, schema: str, target: Server, target_schema: str, mover: int, watch: Watch) -> int:
        """What `copy` does between engines: the rows travel as texts."""
        counted = watched(watch)
        with self.snapshot(schema) as found:
            return target.load(target_schema, mover, ((table, counted(found.rows(table))) for table in DATA_TABLES))

    @abstractmethod
    def use(self) -> list[SchemaUse]:
        """What each tenant uses on this server; one query for all, which opens none of their tables."""

    @abstractmethod
    def condition(self) -> ServerLoad:
        """How the server fares at this moment; one query, whatever lives there."""

    @abstractmethod
    def holdings(self) -> list[Holding]:
        """Fence and login of every tenant on this server, in a number of queries that is small beside theirs."""

    @abstractmethod
    def long_sessions(self, seconds: float) -> list[LongSession]:
        """The tenants' sessions whose statement or transaction has gone on for longer; one query for all."""

    @abstractmethod
    def end_long(self, sessions: Sequence[LongSession]) -> list[LongSession]:
        """End those of the sessions that are still in what they were found in, and return them."""

    @abstractmethod
    def close(self) -> None:
        """Close the connections that are kept from call to call. It can be used again afterwards."""


class ServerLog(ABC):
    """The log of one server, from which workers learn what it refused, and to whom."""

    @abstractmethod
    def read(self, position: str) -> LogReading:
        """What was refused since the position; an empty one is the beginning."""

    @abstractmethod
    def prune(self, position: str) -> None:
        """Let go of what was read long ago, where that is ours to do.

        :param position: what lies behind it has not been read yet, and stays.
        """
