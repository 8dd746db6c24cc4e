"""What a PostgreSQL server holds of each tenant, in a few queries however many there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import psycopg
from psycopg import errors

from awssome.database.engine import Fence, Holding
from awssome.database.postgresql.driver import run
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import checked_schema_name

Connect = Callable[[], AbstractContextManager[psycopg.Connection[Any]]]

FENCE = "epoch, mode, mover, revision, capture"
"""The columns of `fence_of`."""

FENCES_AT_ONCE = 100
"""Fences that one statement reads: it locks each table, and locks are a limited good."""


def holdings(connect: Connect) -> list[Holding]:
    """Logins and schemas from the catalogs, fences by hundreds."""
    with connect() as connection:
        logins = dict(
            connection.execute(
                "SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname ~ '^user_[0-9a-f]{16}$'"
            ).fetchall()
        )
        there = connection.execute(
            "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relname = '_fence' AND n.nspname ~ '^user_[0-9a-f]{16}$' ORDER BY n.nspname"
        ).fetchall()
    names = [name for (name,) in there]
    fences: dict[str, Fence] = {}
    for start in range(0, len(names), FENCES_AT_ONCE):
        fences |= _fences(connect, names[start : start + FENCES_AT_ONCE])
    return [Holding(name, fences.get(name), logins.get(name)) for name in sorted(logins.keys() | fences.keys())]


def fence_of(row: Sequence[Any]) -> Fence:
    """A row of `_fence`."""
    epoch, mode, mover, revision, capture = row
    return Fence(epoch, FenceMode(mode), mover, revision, capture)


def _fences(connect: Connect, names: Sequence[str]) -> dict[str, Fence]:
    """The fences of these schemas. One that is dropped meanwhile makes its hundred be read one by one."""
    parts = (f"SELECT '{name}', {FENCE} FROM {name}._fence" for name in map(checked_schema_name, names))
    try:
        with connect() as connection:
            rows = run(connection, " UNION ALL ".join(parts)).fetchall()
    except (errors.UndefinedTable, errors.InvalidSchemaName):
        if len(names) == 1:
            return {}
        return {found: fence for name in names for found, fence in _fences(connect, [name]).items()}
    return {name: fence_of(row) for name, *row in rows}
