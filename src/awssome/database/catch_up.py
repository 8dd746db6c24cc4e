"""Carrying over what is written at a move's source while it is copied, cycle by cycle, and proving that it arrived."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Table

from awssome.database import dirty
from awssome.database.canonical import Sum, hashed
from awssome.database.engine import Changes, Closing, Fence, Server, Snapshot, TableSum, TooMuch
from awssome.database.schema import DATA_TABLES
from awssome.domain.errors import Code, Refused

ENTRIES = 20_000
"""How many entries of `_outbox` one cycle takes, unless the rows that they tell of need more."""

FEW = 100
"""So many entries are carried over while writers wait."""

CYCLES = 200
"""After so many cycles that did not get down to a few, writes come faster than they are carried over."""

TOLD_KEYS = 20
"""So many keys of rows that differ are told, of each table."""


@dataclass(frozen=True)
class End:
    """A schema on a server."""

    server: Server
    schema: str


@dataclass
class CatchUp:
    """What is carried from a source to a target that holds a copy already.

    :param revision: of the tables on both sides.
    :ivar sums: rows and checksum of each table at the target, once they were compared with the source's; each cycle
        takes away what its rows were and adds what they are, so that they stay true at the cost of the cycle.
    :ivar cycles: how many there were.
    :ivar entries: of `_outbox`, that were carried over.
    """

    source: End
    target: End
    mover: int
    revision: str
    sums: dict[str, Sum] = field(default_factory=dict)
    cycles: int = 0
    entries: int = 0

    def cycle(self) -> int:
        """Carry over what has been noted so far; how many entries: many, when it is not all.

        :raises Refused: UNAVAILABLE when the source was migrated meanwhile; INVALID for rows that the target does not
            take. :raises Unequal: when they are not there as they were sent. :raises MoverLost: as ever.
        """
        return self._cycle(lambda found: None)

    def until_few(self, look: Callable[[], None]) -> None:
        """Cycles until little is left to be carried over.

        :param look: called before each; what it raises ends this.
        :raises Refused: UNAVAILABLE when it does not get less; and as `cycle`.
        """
        for _ in range(CYCLES):
            look()
            if self.cycle() <= FEW:
                return
        raise Refused(
            Code.UNAVAILABLE, "Writes come faster than they are carried over to the target. It is tried again."
        )

    def verify(self) -> tuple[dict[str, TableSum], dict[str, TableSum]]:
        """Sums of source and target, both of one instant of the source. Nobody else writes to the target."""
        of_source: dict[str, TableSum] = {}
        self._cycle(lambda found: of_source.update(found.sums()), whole=True)
        of_target = self.target.server.sums(self.target.schema)
        self.sums = {table: Sum(there) for table, there in of_target.items()}
        return of_source, of_target

    def differing(self, table: Table) -> list[str]:
        """Keys of rows that differ and were not written since; the first of them."""
        try:
            with self.source.server.snapshot(self.source.schema) as found:
                noted = found.changes(ENTRIES).rows.get(table.name, {})
                here = _hashes(found, table)
        except TooMuch:
            return []  # too much was written since to tell
        with self.target.server.snapshot(self.target.schema) as found:
            there = _hashes(found, table)
        return sorted({key for key, _ in here.items() ^ there.items()} - noted.keys())[:TOLD_KEYS]

    def close(self, closing: Closing, mark: int) -> None:
        """The last cycle, while writers wait: the target is marked with its epoch. The source is not closed by this.

        :raises FenceBusy: when it is too much for that.
        """
        self._require_revision(closing.fence)
        self._carry(closing.changes(), mark=mark)

    def reached(self) -> dict[str, TableSum]:
        """What the target holds."""
        return {table: total.reached() for table, total in self.sums.items()}

    def _cycle(self, also: Callable[[Snapshot], None], *, whole: bool = False) -> int:
        """How many entries; many, when some are left.

        :param also: what else to ask of the snapshot. :param whole: everything that was noted until then.
        """
        limit, too_many = ENTRIES, 2**31
        while True:
            try:
                with self.source.server.snapshot(self.source.schema) as found:
                    self._require_revision(found.fence)
                    changes = found.changes(limit)
                    part = len(changes.seqs) == limit
                    if not (part and whole):
                        also(found)
            except TooMuch:
                too_many, limit = limit, max(1, limit // 8)
                continue
            try:
                self._carry(changes)
            except Refused as refused:
                if not part or refused.code is not Code.INVALID or limit * 8 >= too_many:
                    raise
                limit *= 8  # a row came without the one that it refers to
                continue
            if changes.seqs:
                self.source.server.forget(self.source.schema, self.mover, changes.seqs)
            if not (part and whole):
                return ENTRIES if part else len(changes.seqs)

    def _carry(self, changes: Changes, mark: int | None = None) -> None:
        before = self.target.server.apply(self.target.schema, self.mover, changes, mark=mark)
        self.cycles += 1
        self.entries += len(changes.seqs)
        if not self.sums:
            return
        for table, rows in changes.rows.items():
            for row in before[table].values():
                if row is not None:
                    self.sums[table].remove(row)
            for row in rows.values():
                if row is not None:
                    self.sums[table].add(row)

    def _require_revision(self, fence: Fence) -> None:
        """Somebody with a newer version may have migrated the source, and written what we do not know of."""
        if fence.revision != self.revision:
            raise Refused(Code.UNAVAILABLE, "The tables were migrated while they were being moved. It is tried again.")


def table_named(name: str) -> Table:
    """A data table."""
    return next(table for table in DATA_TABLES if table.name == name)


def _hashes(found: Snapshot, table: Table) -> dict[str, int]:
    key = dirty.key_of(table)
    return {key(row): hashed(row) for row in found.rows(table)}
