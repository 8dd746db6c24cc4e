"""A tenant's rows on PostgreSQL: summed and written as texts by the server itself, read and loaded by COPY."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import psycopg
from psycopg import errors
from sqlalchemy import Boolean, LargeBinary, Table

from awssome.database.engine import TableSum, Texts, not_taken
from awssome.database.postgresql.driver import run, trusted
from awssome.database.schema import DATA_TABLES
from awssome.database.types import Day, Instant

Connection = psycopg.Connection[Any]


def summed(connection: Connection, schema: str, table: Table) -> TableSum:
    """Rows and checksum of a table."""
    row = run(connection, _sum_query(table, schema)).fetchone()
    assert row is not None  # noqa: S101 - an aggregate always has a row
    return TableSum(row[0], format(int(row[1]) % 2**64, "016x"))


def read(connection: Connection, schema: str, table: Table) -> Iterator[Texts]:
    """The rows of a table in the canonical form, as they stream in."""
    texts = ", ".join(_canonical(column.name, column.type) for column in table.columns)
    out = trusted(f"COPY (SELECT {texts} FROM {schema}.{table.name}) TO STDOUT")
    with connection.cursor() as cursor, cursor.copy(out) as copy:
        yield from copy.rows()


def write(connection: Connection, schema: str, tables: Iterable[tuple[Table, Iterable[Texts]]]) -> int:
    """Load rows in the canonical form; how many. :raises Refused: INVALID when a table does not take them."""
    written = 0
    run(connection, "SET LOCAL timezone = 'UTC'")
    for table, rows in tables:
        columns = ", ".join(column.name for column in table.columns)
        hexadecimal = [n for n, column in enumerate(table.columns) if isinstance(column.type, LargeBinary)]
        into = trusted(f"COPY {schema}.{table.name} ({columns}) FROM STDIN")
        try:
            with connection.cursor() as cursor:
                with cursor.copy(into) as copy:
                    for row in rows:
                        copy.write_row(_as_bytea(row, hexadecimal) if hexadecimal else row)
                written += cursor.rowcount
        except (errors.DataError, errors.IntegrityError):
            raise not_taken(table.name) from None
    return written


def carry(source: Connection, source_schema: str, target: Connection, target_schema: str) -> int:
    """Copy every data table to another server, in binary form; how many rows."""
    rows = 0
    for table in DATA_TABLES:
        columns = ", ".join(column.name for column in table.columns)
        out = f"COPY {source_schema}.{table.name} ({columns}) TO STDOUT (FORMAT binary)"
        into = f"COPY {target_schema}.{table.name} ({columns}) FROM STDIN (FORMAT binary)"
        with source.cursor() as reader, target.cursor() as writer:
            with reader.copy(trusted(out)) as reading, writer.copy(trusted(into)) as writing:
                for block in reading:
                    writing.write(block)
            rows += writer.rowcount
    return rows


def _sum_query(table: Table, schema: str) -> str:
    parts = []
    for column in table.columns:
        value = _canonical(column.name, column.type)
        length = f"octet_length(convert_to({value}, 'UTF8'))"
        parts.append(f"CASE WHEN {column.name} IS NULL THEN '~,' ELSE {length} || ':' || {value} || ',' END")
    row = " || ".join(parts)
    digest = f"substring(sha256(convert_to({row}, 'UTF8')) FROM 1 FOR 8)"
    as_number = f"('x' || encode({digest}, 'hex'))::bit(64)::bigint::numeric"
    return f"SELECT count(*), coalesce(sum({as_number}), 0) FROM {schema}.{table.name}"


def _as_bytea(row: Texts, places: Sequence[int]) -> Texts:
    """Bytes as PostgreSQL reads them."""
    found = list(row)
    for place in places:
        if found[place] is not None:
            found[place] = f"\\x{found[place]}"
    return found


def _canonical(name: str, kind: Any) -> str:
    if isinstance(kind, Instant):
        return f"to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')"
    if isinstance(kind, Day):
        return f"to_char({name}, 'YYYY-MM-DD')"
    if isinstance(kind, LargeBinary):
        return f"encode({name}, 'hex')"
    if isinstance(kind, Boolean):
        return f"CASE WHEN {name} THEN '1' ELSE '0' END"
    return f"{name}::text"
