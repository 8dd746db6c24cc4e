"""Rows of a table, fetched, written and changed in chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Column, Table, Uuid

from awssome.database.dialects import TypedSQLServer, execute_many, guid, input_sizes
from awssome.database.sqlserver.driver import Connection

CHUNK = 5_000
"""Rows that are fetched and written at a time."""


PARAMETERS = 2_000
"""Of one statement; SQL Server takes 2,100."""


def load(connection: Connection, schema: str, table: Table, rows: Iterator[Sequence[Any]]) -> int:
    """Write rows into a table, in chunks; returns how many.

    The driver writes arrays of values and goes on after a row that is refused, so the caller has a transaction open.
    """
    marks = ", ".join("?" for _ in table.columns)
    insert = f"INSERT INTO {schema}.{table.name} ({_columns(table)}) VALUES ({marks})"
    return _many(connection, insert, list(table.columns), rows)


def update(connection: Connection, schema: str, table: Table, rows: Sequence[Sequence[Any]]) -> None:
    """Give the rows of a table that have the keys of these all their other values."""
    # By number: columns do not compare, they make SQL of it.
    numbered = sorted(enumerate(table.columns), key=lambda each: each[1].primary_key)
    others = [column for _, column in numbered if not column.primary_key]
    keys = [column for _, column in numbered if column.primary_key]
    change = f"UPDATE {schema}.{table.name} SET {_marked(others, ', ')} WHERE {_marked(keys)}"
    _many(connection, change, [*others, *keys], ([row[place] for place, _ in numbered] for row in rows))


def clear(
    connection: Connection, schema: str, table: Table, columns: Sequence[Column[Any]], keys: Sequence[Sequence[Any]]
) -> None:
    """Set columns of the rows of these keys to NULL."""
    key = list(table.primary_key)
    values = ", ".join(f"[{column.name}] = NULL" for column in columns)
    if columns and keys:
        change = f"UPDATE {schema}.{table.name} SET {values} WHERE {_marked(key)}"
        _many(connection, change, key, iter(keys))


def delete(connection: Connection, schema: str, table: Table, keys: Sequence[Sequence[Any]]) -> None:
    """Take the rows of these keys away."""
    key = list(table.primary_key)
    _many(connection, f"DELETE FROM {schema}.{table.name} WHERE {_marked(key)}", key, iter(keys))


def find(connection: Connection, schema: str, table: Table, keys: Sequence[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    """The rows of a table that have these keys, as the driver gives them."""
    key, dialect = list(table.primary_key), TypedSQLServer()
    at_once = PARAMETERS // len(key)
    with connection.cursor() as cursor:
        for start in range(0, len(keys), at_once):
            chunk = keys[start : start + at_once]
            wanted = " OR ".join([f"({_marked(key)})"] * len(chunk))
            values = [value for row in _bound(key, chunk) for value in row]
            cursor.setinputsizes(input_sizes([column.type for column in key] * len(chunk), [values], dialect))
            cursor.execute(f"SELECT {_columns(table)} FROM {schema}.{table.name} WHERE {wanted}", values)
            yield from cursor.fetchall()


def fetch(connection: Connection, schema: str, table: Table) -> Iterator[Sequence[Any]]:
    """The rows of a table as the driver gives them, columns in declared order."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {_columns(table)} FROM {schema}.{table.name}")
        while chunk := cursor.fetchmany(CHUNK):
            yield from chunk


def _many(connection: Connection, statement: str, columns: Sequence[Column[Any]], rows: Iterator[Sequence[Any]]) -> int:
    """Execute a statement for each row of values of these columns; how many."""
    done, kinds, dialect = 0, [column.type for column in columns], TypedSQLServer()
    with connection.cursor() as cursor:
        while chunk := _bound(columns, islice(rows, CHUNK)):
            execute_many(cursor, statement, input_sizes(kinds, chunk, dialect), chunk)
            done += len(chunk)
    return done


def _bound(columns: Sequence[Column[Any]], rows: Iterable[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """Values as the driver takes them."""
    keys = [isinstance(column.type, Uuid) for column in columns]
    return [tuple(guid(value) if key else value for key, value in zip(keys, row, strict=True)) for row in rows]


def _marked(columns: Sequence[Column[Any]], between: str = " AND ") -> str:
    return between.join(f"[{column.name}] = ?" for column in columns)


def _columns(table: Table) -> str:
    return ", ".join(f"[{column.name}]" for column in table.columns)
