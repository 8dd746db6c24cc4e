"""What a PostgreSQL server leaves open to everybody who is connected, and what its administrator can close of it."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import errors, sql

SHARED_FUNCTIONS = (
    "(p.proname LIKE 'lo\\_%' OR p.proname LIKE 'pg\\_advisory\\_%' OR p.proname LIKE 'pg\\_try\\_advisory\\_%' "
    "OR p.proname IN ('pg_notify', 'loread', 'lowrite', 'pg_logical_emit_message'))"
)
"""Functions by which a tenant could take what is not of its schema; only a superuser can take them from everybody."""


def close(connection: psycopg.Connection[Any]) -> tuple[list[str], list[str]]:
    """Take from everybody, in this database, what tenants must not have.

    Other databases of the server are not ours to change: they are only told.

    :returns: statements that would close what must be closed and was not; what else is open.
    """
    row = connection.execute(
        "SELECT current_database(), has_database_privilege('public', current_database(), 'CREATE'), "
        "has_database_privilege('public', current_database(), 'TEMP')"
    ).fetchone()
    assert row is not None  # noqa: S101 - it has one
    database = sql.Identifier(row[0])
    creating = [sql.SQL("REVOKE CREATE ON DATABASE {} FROM PUBLIC").format(database)] if row[1] else []
    creating += [
        sql.SQL("REVOKE CREATE ON SCHEMA {} FROM PUBLIC").format(sql.Identifier(schema))
        for (schema,) in connection.execute(
            "SELECT nspname FROM pg_namespace WHERE has_schema_privilege('public', oid, 'CREATE') ORDER BY nspname"
        )
    ]
    left = [statement.as_string(connection) for statement in creating if not _done(connection, statement)]
    temporary = sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(database)
    exposed = []
    if row[2] and not _done(connection, temporary):
        exposed.append(f"temporary tables (run: {temporary.as_string(connection)})")
    others = [name for (name,) in connection.execute(_OTHER_DATABASES)]
    if others:
        exposed.append(f"connecting to other databases ({', '.join(others)})")
    shared = connection.execute(
        f"SELECT count(*) FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND {SHARED_FUNCTIONS} "
        "AND has_function_privilege('public', p.oid, 'EXECUTE')"
    ).fetchone()
    if shared and shared[0]:
        exposed.append("large objects, advisory locks and pg_notify")
    if connection.execute("SHOW temp_file_limit").fetchone() == ("-1",):
        exposed.append("temporary files without limit (temp_file_limit)")
    return left, exposed


_OTHER_DATABASES = """
SELECT datname FROM pg_database
WHERE datallowconn AND datname <> current_database() AND has_database_privilege('public', oid, 'CONNECT')
ORDER BY datname
"""


def _done(connection: psycopg.Connection[Any], statement: sql.Composed) -> bool:
    """Whether the right is gone: who may not revoke it gets an error, or a warning and no change."""
    said: list[str | None] = []

    def hear(diagnostic: psycopg.errors.Diagnostic) -> None:
        said.append(diagnostic.sqlstate)

    connection.add_notice_handler(hear)
    try:
        with connection.transaction():
            connection.execute(statement)
    except errors.InsufficientPrivilege:
        return False
    finally:
        connection.remove_notice_handler(hear)
    return _NOT_REVOKED not in said


_NOT_REVOKED = "01006"  # warning_privilege_not_revoked
