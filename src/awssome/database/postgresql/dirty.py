"""What was written to a tenant's schema while it is copied: read where it is noted, and carried over by key.

Everything here takes one round trip, or two: writers wait for the last of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import errors
from sqlalchemy import LargeBinary, Table
from sqlalchemy.dialects import postgresql

from awssome.database import dirty
from awssome.database.engine import MOST_BYTES, Changes, MoverLost, Rows, Texts, TooMuch, Unequal
from awssome.database.postgresql.driver import run, trusted
from awssome.database.postgresql.rows import canonical
from awssome.database.schema import DATA_TABLES
from awssome.database.troubles import not_taken
from awssome.database.types import Characters, Instant, Json
from awssome.domain.moves import FenceMode

Connection = psycopg.Connection[Any]
Noted = Sequence[tuple[int, str, str]]
"""Entries of `_outbox`: seq, table and key."""

Wanted = dict[Table, tuple[str, ...]]
"""Rows by their keys."""

NOTED = "SELECT seq, table_name, row_key FROM {}._outbox ORDER BY seq"

BY_INDEX = (
    "SET LOCAL enable_seqscan = off",
    "SET LOCAL enable_hashjoin = off",
    "SET LOCAL enable_mergejoin = off",
    "SET LOCAL jit = off",
)
"""Rows are found by their keys, one by one: what was just copied has no statistics yet, and a table may be large."""


def changes(connection: Connection, schema: str, noted: Noted) -> Changes:
    """The rows that entries tell of, as the transaction sees them.

    :raises TooMuch: when they are too large. The transaction has ended then.
    """
    wanted = dirty.wanted(noted)
    script = _Script(*BY_INDEX)
    if len(noted) > 1:
        _limit(script, schema, wanted)
    asked = _ask(script, schema, wanted)
    try:
        results = script.run(connection)
    except errors.DivisionByZero:
        raise TooMuch from None
    return Changes(tuple(seq for seq, _, _ in noted), _answers(wanted, asked, results))


def noted(connection: Connection, schema: str, limit: int) -> Noted:
    """The oldest entries."""
    return run(connection, f"{NOTED.format(schema)} LIMIT {int(limit)}").fetchall()


def apply(connection: Connection, schema: str, mover: int, changes: Changes, mark: int | None) -> dict[str, Rows]:
    """Make the rows at a target what the changes say; what they were before. The caller commits.

    Rows that nothing refers to are deleted and written anew, so that none is in another one's way. Those that others
    refer to are written over: their rows there may be untouched, and stay.

    :raises MoverLost: when the target is another mover's, or not closed any more.
    :raises Unequal: when they are read back otherwise.
    :raises Refused: INVALID when a table does not take them.
    """
    there = [(table, changes.rows[table.name]) for table in DATA_TABLES if changes.rows.get(table.name)]
    wanted = {table: tuple(rows) for table, rows in there}
    script = _Script(*BY_INDEX, "SET LOCAL idle_in_transaction_session_timeout = 2000")
    held = script.add(
        f"SELECT 1 FROM {schema}._fence WHERE id = 1 AND mover = {int(mover)} "
        f"AND mode = '{FenceMode.STANDBY}' FOR UPDATE",
    )
    asked = _ask(script, schema, wanted)
    for table, rows in reversed(there):
        gone = [key for key, row in rows.items() if row is None or not dirty.is_referred_to(table)]
        _delete(script, schema, table, gone)
    for table, rows in there:
        _write(script, schema, table, [row for row in rows.values() if row is not None])
    asked_again = _ask(script, schema, wanted)
    marking = "SELECT" if mark is None else f"UPDATE {schema}._fence SET epoch = {int(mark)} WHERE id = 1"
    try:
        results = script.run_apart(connection, marking)
    except (errors.DataError, errors.IntegrityError) as error:
        raise not_taken(error.diag.table_name or ", ".join(changes.rows)) from None
    if not results[held]:
        raise MoverLost
    is_now = _answers(wanted, asked_again, results)
    unequal = {
        table.name: [key for key, row in rows.items() if is_now[table.name][key] != (row and list(row))]
        for table, rows in there
    }
    if any(unequal.values()):
        raise Unequal({name: keys for name, keys in unequal.items() if keys})
    return _answers(wanted, asked, results)


def forget(connection: Connection, schema: str, mover: int, seqs: Sequence[int]) -> None:
    """Delete entries. :raises MoverLost: when the schema is another mover's."""
    script = _Script()
    held = script.add(f"SELECT 1 FROM {schema}._fence WHERE mover = {int(mover)} FOR UPDATE")
    script.add(f"DELETE FROM {schema}._outbox WHERE seq = ANY(%s)", [list(seqs)])
    if not script.run(connection)[held]:
        raise MoverLost


class _Script:
    """Statements that are run in one round trip, one after the other."""

    def __init__(self, *statements: str) -> None:
        self._statements: list[tuple[str, Sequence[Any]]] = [(statement, ()) for statement in statements]

    def add(self, statement: str, values: Sequence[Any] = ()) -> int:
        """One more statement; its number. :param values: for its `%s`."""
        self._statements.append((statement, values))
        return len(self._statements) - 1

    def run(self, connection: Connection) -> list[list[Any]]:
        """The rows that each statement gave, by its number. The values are part of the text, which a server may log."""
        text = "; ".join(statement for statement, _ in self._statements)
        with psycopg.ClientCursor(connection) as cursor:
            cursor.execute(trusted(text), [value for _, values in self._statements for value in values])
            results = []
            for _ in self._statements:
                results.append(cursor.fetchall() if cursor.description else [])
                cursor.nextset()
        return results

    def run_apart(self, connection: Connection, last: str) -> list[list[Any]]:
        """As `run`, with the values apart from the text: no log has them.

        :param last: a statement that follows. A pipeline may end with a message (Flush) that stops PostgreSQL's watch
            over sessions which are idle in a transaction; the next statement begins it again.
        """
        with connection.pipeline():
            cursors = [connection.execute(trusted(text), values or None) for text, values in self._statements]
        run(connection, last)
        return [cursor.fetchall() if cursor.description else [] for cursor in cursors]


def _limit(script: _Script, schema: str, wanted: Wanted) -> None:
    """End the script by an error before rows are read that are too large. Lengths are known without reading them."""
    for table, keys in wanted.items():
        lengths = [
            f"coalesce(octet_length(t.{column.name}), 0)"
            for column in table.columns
            if isinstance(column.type, Json | LargeBinary)
        ]
        if lengths:
            query = (
                f"SELECT 1 / (sum({' + '.join(lengths)}) <= {MOST_BYTES})::int "
                f"FROM {_keys(table)} JOIN {schema}.{table.name} t ON {_matches(table)}"
            )
            script.add(query, _columns_of(table, keys))


def _ask(script: _Script, schema: str, wanted: Wanted) -> dict[Table, int]:
    """Ask for rows by their keys; where the answers are."""
    asked = {}
    for table, keys in wanted.items():
        texts = ", ".join(canonical(f"t.{column.name}", column.type) for column in table.columns)
        query = f"SELECT {texts} FROM {_keys(table)} JOIN {schema}.{table.name} t ON {_matches(table)}"
        asked[table] = script.add(query, _columns_of(table, keys))
    return asked


def _answers(wanted: Wanted, asked: dict[Table, int], results: list[list[Any]]) -> dict[str, Rows]:
    answers: dict[str, Rows] = {}
    for table, keys in wanted.items():
        key, rows = dirty.key_of(table), dict[str, Texts | None].fromkeys(keys)
        rows |= {key(row): list(row) for row in results[asked[table]]}
        answers[table.name] = rows
    return answers


def _delete(script: _Script, schema: str, table: Table, keys: Sequence[str]) -> None:
    if keys:
        query = f"DELETE FROM {schema}.{table.name} t USING {_keys(table)} WHERE {_matches(table)}"
        script.add(query, _columns_of(table, keys))


def _write(script: _Script, schema: str, table: Table, rows: Sequence[Texts]) -> None:
    if not rows:
        return
    names = [column.name for column in table.columns]
    over = ""
    if dirty.is_referred_to(table):
        key = ", ".join(column.name for column in table.primary_key)
        changed = ", ".join(f"{column.name} = EXCLUDED.{column.name}" for column in table.columns)
        over = f" ON CONFLICT ({key}) DO UPDATE SET {changed}"
        in_the_way = dirty.in_the_way(table)
        if in_the_way:
            of = dirty.key_of(table)
            emptied = ", ".join(f"{column.name} = NULL" for column in in_the_way)
            query = f"UPDATE {schema}.{table.name} t SET {emptied} FROM {_keys(table)} WHERE {_matches(table)}"
            script.add(query, _columns_of(table, [of(row) for row in rows]))
    values = ", ".join(_value(f"r.{column.name}", column.type) for column in table.columns)
    arrays = ", ".join(["%s::text[]"] * len(names))
    query = (
        f"INSERT INTO {schema}.{table.name} ({', '.join(names)}) "
        f"SELECT {values} FROM unnest({arrays}) AS r ({', '.join(names)}){over}"
    )
    script.add(query, [list(column) for column in zip(*rows, strict=True)])


def _keys(table: Table) -> str:
    names = [column.name for column in table.primary_key]
    arrays = ", ".join(["%s::text[]"] * len(names))
    return f"unnest({arrays}) AS k ({', '.join(names)})"


def _matches(table: Table) -> str:
    return " AND ".join(f"t.{column.name} = {_value(f'k.{column.name}', column.type)}" for column in table.primary_key)


def _columns_of(table: Table, keys: Sequence[str]) -> list[list[str]]:
    """Keys as an array for each column of the primary key."""
    return [list(column) for column in zip(*map(dirty.values, keys), strict=True)]


def _value(text: str, kind: Any) -> str:
    """SQL for the value of a column that is written as a text in the canonical form."""
    if isinstance(kind, Instant):
        return f"({text}::timestamp AT TIME ZONE 'UTC')"
    if isinstance(kind, LargeBinary):
        return f"decode({text}, 'hex')"
    if isinstance(kind, Characters | Json):
        return text  # a cast would cut what is too long
    return f"{text}::{kind.compile(dialect=_DIALECT)}"


_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
