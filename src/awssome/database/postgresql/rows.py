"""A tenant's rows on PostgreSQL: summed and written as texts by the server itself, read and loaded by COPY."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import psycopg
from psycopg import errors
from sqlalchemy import Boolean, LargeBinary, Table

from awssome.database.engine import TableSum, Texts, Watch, watched
from awssome.database.postgresql.driver import run, trusted
from awssome.database.schema import DATA_TABLES
from awssome.database.troubles import not_taken
from awssome.database.types import Day, Instant

Connection = psycopg.Connection[Any]

LARGE_BYTES = 2 << 20
"""From here on a copy is sooner done that makes its indexes after the rows. Measured from PostgreSQL 18 to 18: even at
10,000 rows (1.7 MB), 0.3 beside 0.5 s at 30,000, 2.4 beside 5.0 s at 120,000."""


def summed(connection: Connection, schema: str, table: Table) -> TableSum:
    """Rows and checksum of a table."""
    row = run(connection, _sum_query(table, schema)).fetchone()
    assert row is not None  # noqa: S101 - an aggregate always has a row
    return TableSum(row[0], format(int(row[1]) % 2**64, "016x"))


def read(connection: Connection, schema: str, table: Table) -> Iterator[Texts]:
    """The rows of a table in the canonical form, as they stream in."""
    texts = ", ".join(canonical(column.name, column.type) for column in table.columns)
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


def carry(source: Connection, source_schema: str, target: Connection, target_schema: str, watch: Watch) -> int:
    """Copy every data table to another server, in binary form; how many rows.

    Where there is much to copy, keys and indexes are made after the rows, as they were. The source's transaction has
    ended by then: that takes longer than a session may idle.
    """
    counted = watched(watch)
    with _without_indexes(target, target_schema) if _is_large(source, source_schema) else nullcontext():
        rows = sum(_carry(source, source_schema, target, target_schema, table, counted) for table in DATA_TABLES)
        source.commit()
    return rows


def _carry(
    source: Connection,
    source_schema: str,
    target: Connection,
    target_schema: str,
    table: Table,
    counted: Callable[[Iterable[Any]], Iterable[Any]],
) -> int:
    columns = ", ".join(column.name for column in table.columns)
    out = f"COPY {source_schema}.{table.name} ({columns}) TO STDOUT (FORMAT binary)"
    into = f"COPY {target_schema}.{table.name} ({columns}) FROM STDIN (FORMAT binary)"
    with source.cursor() as reader, target.cursor() as writer:
        with reader.copy(trusted(out)) as reading, writer.copy(trusted(into)) as writing:
            for row in counted(reading):  # each message of the server's is a row
                writing.write(row)
        return writer.rowcount


def _is_large(connection: Connection, schema: str) -> bool:
    """By the tables' own pages: statistics may be old, and not there at all."""
    names = ", ".join(f"'{schema}.{table.name}'" for table in DATA_TABLES)
    size = run(connection, f"SELECT sum(pg_relation_size(name)) FROM unnest(ARRAY[{names}]::regclass[]) AS name")
    return int((size.fetchone() or (0,))[0]) > LARGE_BYTES


@contextmanager
def _without_indexes(connection: Connection, schema: str) -> Iterator[None]:
    """Keys and indexes of the data tables are gone for the block, and made again as the database tells them."""
    names = ", ".join(f"'{schema}.{table.name}'" for table in DATA_TABLES)
    of_ours = f"= ANY(ARRAY[{names}]::regclass[])"
    constraints = run(
        connection,
        "SELECT conrelid::regclass::text, quote_ident(conname), pg_get_constraintdef(oid) FROM pg_constraint "
        f"WHERE conrelid {of_ours} AND contype IN ('p', 'u', 'f') ORDER BY contype = 'f' DESC",
    ).fetchall()
    indexes = run(
        connection,
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index "
        f"WHERE indrelid {of_ours} AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid "
        "AND contype IN ('p', 'u'))",
    ).fetchall()
    for table, name, _ in constraints:
        run(connection, f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    for name, _ in indexes:
        run(connection, f"DROP INDEX {name}")
    yield
    run(connection, "SET LOCAL maintenance_work_mem = '128MB'")
    for table, name, definition in reversed(constraints):
        run(connection, f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
    for _, definition in indexes:
        run(connection, definition)
    run(connection, f"ANALYZE {', '.join(f'{schema}.{table.name}' for table in DATA_TABLES)}")


def _sum_query(table: Table, schema: str) -> str:
    parts = []
    for column in table.columns:
        value = canonical(column.name, column.type)  # the server's encoding is UTF8
        parts.append(f"coalesce(octet_length({value}) || ':' || {value} || ',', '~,')")
    row = " || ".join(parts)
    digest = f"substring(sha256(convert_to({row}, 'UTF8')) FROM 1 FOR 8)"
    as_number = f"('x' || encode({digest}, 'hex'))::bit(64)::bigint"
    return f"SELECT count(*), coalesce(sum({as_number}), 0) FROM {schema}.{table.name}"


def _as_bytea(row: Texts, places: Sequence[int]) -> Texts:
    """Bytes as PostgreSQL reads them."""
    found = list(row)
    for place in places:
        if found[place] is not None:
            found[place] = f"\\x{found[place]}"
    return found


def canonical(name: str, kind: Any) -> str:
    """SQL for the text of a column in the canonical form."""
    if isinstance(kind, Instant):
        return f"to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')"
    if isinstance(kind, Day):
        return f"to_char({name}, 'YYYY-MM-DD')"
    if isinstance(kind, LargeBinary):
        return f"encode({name}, 'hex')"
    if isinstance(kind, Boolean):
        return f"CASE WHEN {name} THEN '1' ELSE '0' END"
    return f"{name}::text"
