"""Rows that were written while a tenant is moved: found by what `_outbox` has noted, and carried over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import mssql_python
from sqlalchemy import Table

from awssome.database import dirty
from awssome.database.canonical import read, written
from awssome.database.engine import (
    CLOSING_ENTRIES,
    MOST_BYTES,
    Changes,
    Closing,
    Fence,
    FenceBusy,
    Rows,
    Texts,
    TooMuch,
    Unequal,
)
from awssome.database.schema import DATA_TABLES
from awssome.database.sqlserver import bulk, fence
from awssome.database.sqlserver.driver import Connection, run
from awssome.database.troubles import not_taken
from awssome.domain.moves import FenceMode

Found = dict[str, Rows]
"""Rows by table and key."""

RUNS = 500
"""Runs of entries that one statement takes out of an outbox."""


class ClosingFence(Closing):
    """A fence that is closed in one transaction, and a second one that reads: a writer that is kept waiting may hold
    rows, which a snapshot does not wait for.

    :param reader: has read nothing yet, so that its snapshot begins behind the closed fence.
    """

    def __init__(self, connection: Connection, reader: Connection, name: str, there: Fence) -> None:
        self._connection, self._reader, self._name, self.fence = connection, reader, name, there

    def changes(self) -> Changes:
        """All of `_outbox`."""
        try:
            found = changes(self._reader, self._name, CLOSING_ENTRIES + 1)
        except TooMuch:
            raise FenceBusy from None
        if len(found.seqs) > CLOSING_ENTRIES:
            raise FenceBusy
        self._reader.commit()  # whatever the snapshot still holds of the outbox is in the way of emptying it
        return found

    def close(self) -> None:
        """The fence's row, and with it the flag of the capture."""
        fence.change(self._connection, self._name, self.fence.mover, f"mode = N'{FenceMode.MOVED}', capture = 0")
        fence.capture(self._connection, self._name, on=False)
        self._connection.commit()


def changes(connection: Connection, name: str, limit: int) -> Changes:
    """What has been noted, oldest first, and the rows as they are in the same snapshot.

    :raises TooMuch: when they are too large.
    """
    noted = run(connection, f"SELECT TOP ({int(limit)}) seq, table_name, row_key FROM {name}._outbox ORDER BY seq")
    passing = _limited if len(noted) > 1 else iter
    rows = {table.name: _rows(connection, name, table, keys, passing) for table, keys in dirty.wanted(noted).items()}
    return Changes(tuple(int(seq) for seq, _, _ in noted), rows)


def forget(connection: Connection, name: str, seqs: Sequence[int]) -> None:
    """Take entries out of the outbox. What lies between them stays: it may have been noted by who commits later."""
    runs: list[list[int]] = []
    for seq in sorted(seqs):
        if runs and runs[-1][1] == seq - 1:
            runs[-1][1] = seq
        else:
            runs.append([seq, seq])
    for start in range(0, len(runs), RUNS):
        within = " OR ".join(f"seq BETWEEN {first} AND {last}" for first, last in runs[start : start + RUNS])
        run(connection, f"DELETE FROM {name}._outbox WHERE {within}")


def apply(connection: Connection, name: str, rows: Found) -> Found:
    """Make these rows what they are given as, and read them back; what they were before.

    Rows that nothing refers to are taken away and written anew; others are changed where they are. What is unique in
    those is set to NULL first, since two of them may exchange it.

    :raises Unequal: when they are read back otherwise.
    :raises Refused: INVALID when a table does not take them.
    """
    before = _all_rows(connection, name, rows)
    changed = [table for table in DATA_TABLES if table.name in rows]
    for table in reversed(changed):
        old, kept = _there(before[table.name]), _kept(table, before, rows)
        bulk.clear(connection, name, table, dirty.in_the_way(table), _values(table, kept))
        bulk.delete(connection, name, table, _values(table, old.keys() - kept))
    for table in changed:
        new, kept, value = _there(rows[table.name]), _kept(table, before, rows), read(table)
        try:
            bulk.update(connection, name, table, [value(new[key]) for key in kept])
            bulk.load(connection, name, table, (value(new[key]) for key in new.keys() - kept))
        except (ValueError, ArithmeticError, mssql_python.DataError, mssql_python.IntegrityError):
            raise not_taken(table.name) from None
    _compare(rows, _all_rows(connection, name, rows))
    return before


def _kept(table: Table, before: Found, rows: Found) -> set[str]:
    """Keys of the rows that are changed where they are."""
    return _there(before[table.name]).keys() & _there(rows[table.name]).keys() if dirty.is_referred_to(table) else set()


def _all_rows(connection: Connection, name: str, asked: Found) -> Found:
    """The rows of the keys of these as they are."""
    return {
        table.name: _rows(connection, name, table, asked[table.name]) for table in DATA_TABLES if table.name in asked
    }


def _rows(
    connection: Connection,
    name: str,
    table: Table,
    keys: Iterable[str],
    passing: Callable[[Iterable[Texts]], Iterator[Texts]] = iter,
) -> Rows:
    """The rows of these keys. One that is found has the key that it says: here `a` and `a ` are one."""
    rows: Rows = dict.fromkeys(keys)
    found = bulk.find(connection, name, table, _values(table, rows))
    key = dirty.key_of(table)
    return rows | {key(row): row for row in passing(map(written(table), found))}


def _limited(rows: Iterable[Texts]) -> Iterator[Texts]:
    """:raises TooMuch: once they are too large."""
    held = 0
    for row in rows:
        held += sum(len(text) for text in row if text is not None)
        if held > MOST_BYTES:
            raise TooMuch
        yield row


def _there(rows: Rows) -> dict[str, Texts]:
    return {key: row for key, row in rows.items() if row is not None}


def _values(table: Table, keys: Iterable[str]) -> list[Sequence[Any]]:
    value = read(table.primary_key)
    return [value(dirty.values(key)) for key in keys]


def _compare(wanted: Found, found: Found) -> None:
    unequal = {
        table: sorted(
            key
            for key in rows.keys() | found[table].keys()
            if list(rows.get(key) or ()) != list(found[table].get(key) or ())
        )
        for table, rows in wanted.items()
    }
    if any(unequal.values()):
        raise Unequal({table: keys for table, keys in unequal.items() if keys})
