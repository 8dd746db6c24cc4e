"""Replaying revisions of the template on PostgreSQL: many schemas in one round trip, or one by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import psycopg
from psycopg import errors

from awssome.database import template
from awssome.database.engine import Migrated
from awssome.database.postgresql.driver import run
from awssome.database.template import Beyond
from awssome.database.troubles import unknown_revision
from awssome.domain.tenants import EngineName, checked_schema_name

Connect = Callable[[], AbstractContextManager[psycopg.Connection[Any]]]
"""Gives a transaction of the administrator."""

TOGETHER_MS = 100
"""How long several schemas in one transaction wait for a lock: one busy tenant must not keep the others waiting."""

ALONE_MS = 500
"""How long one schema waits, each time. While it waits, its tenant's reads wait behind it. Less than the second after
which PostgreSQL looks for deadlocks, so that of us and a tenant we are the one that gives up."""

TRIES = 6
"""How often one schema asks for its locks, with pauses between in which its tenant goes on."""

_NOT_NOW = (errors.LockNotAvailable, errors.DeadlockDetected)


def together(connect: Connect, schemas: Sequence[str], after: str, beyond: Beyond) -> bool:
    """Bring schemas that are all at revision `after` to the newest; False: nothing was changed, take them one by one.

    The first statement for each changes the revision on its fence, if it is that one. That keeps the row, so that
    nobody else migrates or drops the schema meanwhile.
    """
    names = [checked_schema_name(schema) for schema in schemas]
    with connect() as connection:
        try:
            steps = "".join(_step(name, after, beyond) for name in names)
            cursor = run(connection, f"SET LOCAL lock_timeout = {TOGETHER_MS};\n{steps}")
            done = {row[0] for row in _rows(cursor)}
        except psycopg.Error:
            if connection.broken:
                raise
            connection.rollback()
            return False
        if not done.issuperset(names):
            connection.rollback()
        return done.issuperset(names)


def alone(connect: Connect, schema: str, beyond: Beyond) -> Migrated:
    """Bring one schema from the revision that its fence names to the newest."""
    name, pause = checked_schema_name(schema), 0.05
    for _ in range(TRIES):
        with connect() as connection:
            try:
                run(connection, f"SET LOCAL lock_timeout = {ALONE_MS}")
                row = run(connection, f"SELECT revision FROM {name}._fence WHERE id = 1 FOR UPDATE").fetchone()
                revision = row[0] if row else None
                if revision == template.head(beyond):
                    return Migrated(schema)
                if revision not in template.older(beyond):
                    return Migrated(schema, unknown_revision(revision))
                run(connection, _step(name, revision, beyond))
            except _NOT_NOW:
                connection.rollback()
            except psycopg.Error as error:
                if connection.broken:
                    raise
                connection.rollback()
                return Migrated(schema, error.diag.message_primary or type(error).__name__)
            else:
                return Migrated(schema)
        time.sleep(pause)
        pause *= 2
    return Migrated(schema, "The tenant kept its tables locked all the time.")


def _step(name: str, after: str, beyond: Beyond) -> str:
    change = template.statements(EngineName.POSTGRESQL, after, beyond=beyond)
    return (
        f"UPDATE {name}._fence SET revision = '{template.head(beyond)}' WHERE id = 1 AND revision = '{after}' "
        f"RETURNING '{name}';\n{template.for_schema(change, name)}\n"
    )


def _rows(cursor: psycopg.Cursor[Any]) -> list[Any]:
    """The rows of all statements of a script."""
    rows: list[Any] = []
    while True:
        if cursor.description:
            rows += cursor.fetchall()
        if not cursor.nextset():
            return rows
