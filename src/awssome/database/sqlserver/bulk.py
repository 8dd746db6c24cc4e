"""Rows of a table, fetched and written in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Table, Uuid

from awssome.database.dialects import TypedSQLServer, execute_many, guid, input_sizes
from awssome.database.sqlserver.driver import Connection
from awssome.domain.tenants import checked_schema_name

CHUNK = 5_000
"""Rows that are fetched and written at a time."""


def load(connection: Connection, schema: str, table: Table, rows: Iterator[Sequence[Any]]) -> int:
    """Write rows into a table, in chunks; returns how many.

    The driver writes arrays of values and goes on after a row that is refused, so the caller has a transaction open.
    """
    marks = ", ".join("?" for _ in table.columns)
    insert = f"INSERT INTO {checked_schema_name(schema)}.{table.name} ({_columns(table)}) VALUES ({marks})"
    kinds = [column.type for column in table.columns]
    keys = [isinstance(kind, Uuid) for kind in kinds]
    written, dialect = 0, TypedSQLServer()
    with connection.cursor() as cursor:
        while chunk := [
            tuple(guid(value) if key else value for key, value in zip(keys, row, strict=True))
            for row in islice(rows, CHUNK)
        ]:
            execute_many(cursor, insert, input_sizes(kinds, chunk, dialect), chunk)
            written += len(chunk)
    return written


def fetch(connection: Connection, schema: str, table: Table) -> Iterator[Sequence[Any]]:
    """The rows of a table as the driver gives them, columns in declared order."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {_columns(table)} FROM {schema}.{table.name}")
        while chunk := cursor.fetchmany(CHUNK):
            yield from chunk


def _columns(table: Table) -> str:
    return ", ".join(f"[{column.name}]" for column in table.columns)
