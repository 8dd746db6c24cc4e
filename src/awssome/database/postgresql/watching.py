"""What tenants use on a PostgreSQL server, and how it fares: read from its statistics.

No table of a tenant is opened. `pg_total_relation_size` opens each one: at 2,500 tenants that took 5 s, and the session
held 450 MB in the end. The catalog's own figures took 0.15 s and 26 MB (docs/performance.md).
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import errors, sql

from awssome.database.engine import BLOCKED_SECONDS, SchemaUse, ServerLoad

STATEMENT_SECONDS = 60
"""How long one of these queries may take, before the server counts as one that does not answer."""


def use(connection: psycopg.Connection[Any]) -> list[SchemaUse]:
    """What each tenant uses. Rows and pages are as of the last ANALYZE or VACUUM, which the server runs by itself when
    a tenth or a fifth of a table has changed; rows are counted on from there.

    pg_stat_statements tells of statements, where it is installed and the administrator may read it. When more different
    statements run than it has room for (`pg_stat_statements.max`), it forgets the rarest ones with their figures.
    """
    _limit(connection)
    connections = dict(connection.execute(_CONNECTIONS).fetchall())
    statements = _statements(connection)
    found = []
    for oid, schema, rows, size in connection.execute(_SIZES).fetchall():
        count, took = (None, None) if statements is None else statements.get(oid, (0, 0.0))
        found.append(SchemaUse(schema, rows, size, connections.get(schema, 0), count, took))
    return found


def condition(connection: psycopg.Connection[Any]) -> ServerLoad:
    """How the server fares. What other logins run is shown to members of pg_read_all_stats only."""
    _limit(connection)
    row = connection.execute(_LOAD, {"seconds": BLOCKED_SECONDS}).fetchone()
    assert row is not None  # noqa: S101 - it is one row of sub-queries
    size, sessions, limit, longest, blocked, blocked_by = row
    return ServerLoad(
        bytes=size,
        connections=sessions,
        connection_limit=limit,
        longest_s=float(longest[0]) if longest else None,
        longest_by=longest[1] if longest else None,
        blocked=blocked,
        blocked_by=blocked_by,
        counted_since=_counted_since(connection),
    )


def _limit(connection: psycopg.Connection[Any]) -> None:
    connection.execute(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'")


def _statements(connection: psycopg.Connection[Any]) -> dict[int, tuple[int, float]] | None:
    """(statements, ms) by login's oid; None where they are not to be had."""
    place = _place(connection)
    if place is None:
        return None
    query = "SELECT userid, sum(calls)::bigint, sum(total_exec_time) FROM {}.pg_stat_statements(false) GROUP BY userid"
    try:
        with connection.transaction():
            found = connection.execute(sql.SQL(query).format(sql.Identifier(place))).fetchall()
    except (errors.ObjectNotInPrerequisiteState, errors.InsufficientPrivilege):
        return None  # installed, but not loaded when the server started; or not ours to read
    return {oid: (count, took) for oid, count, took in found}


def _counted_since(connection: psycopg.Connection[Any]) -> Any:
    place = _place(connection)
    if place is None:
        return None
    query = sql.SQL("SELECT stats_reset FROM {}.pg_stat_statements_info()").format(sql.Identifier(place))
    try:
        with connection.transaction():
            row = connection.execute(query).fetchone()
    except (errors.ObjectNotInPrerequisiteState, errors.InsufficientPrivilege):
        return None
    return row[0] if row else None


def _place(connection: psycopg.Connection[Any]) -> str | None:
    """The schema in which pg_stat_statements is installed."""
    row = connection.execute(
        "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
        "WHERE e.extname = 'pg_stat_statements'"
    ).fetchone()
    return row[0] if row else None


_CONNECTIONS = "SELECT usename, count(*) FROM pg_stat_activity WHERE usename LIKE 'user\\_%' GROUP BY usename"

# A table that was never looked at has no pages yet by these figures, but each index has one at least. The text that
# lies beside a table (TOAST) and its index are counted with it. After a crash rows are counted anew: until the server
# has looked at the table, what it saw the last time is the better figure.
_SIZES = """
SELECT r.oid, n.nspname,
    sum(CASE WHEN c.relkind = 'r' THEN
        coalesce(nullif(pg_stat_get_live_tuples(c.oid), 0), greatest(c.reltuples, 0)::bigint) ELSE 0 END)::bigint,
    sum((c.relpages::bigint + coalesce(t.relpages, 0) + coalesce(x.relpages, 0)) * current_setting('block_size')::int
        )::bigint
FROM pg_namespace n
JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'i')
LEFT JOIN pg_roles r ON r.rolname = n.nspname
LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
LEFT JOIN pg_index i ON i.indrelid = t.oid
LEFT JOIN pg_class x ON x.oid = i.indexrelid
WHERE n.nspname LIKE 'user\\_%'
GROUP BY r.oid, n.nspname
"""

_LOAD = """
WITH waiting AS (
    SELECT a.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE NOT l.granted AND l.waitstart < now() - make_interval(secs => %(seconds)s) AND a.usename LIKE 'user\\_%%'
), holding AS (
    SELECT a.usename, count(DISTINCT w.pid) AS held_up FROM waiting w
    CROSS JOIN unnest(pg_blocking_pids(w.pid)) AS blocker (pid) JOIN pg_stat_activity a ON a.pid = blocker.pid
    WHERE blocker.pid NOT IN (SELECT pid FROM waiting)
    GROUP BY a.usename ORDER BY held_up DESC, a.usename LIMIT 1
)
SELECT pg_database_size(current_database()),
    (SELECT count(*) FROM pg_stat_activity
     WHERE coalesce(backend_type, 'client backend') = 'client backend' AND usename IS NOT NULL),
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0),
    (SELECT ARRAY[extract(epoch FROM clock_timestamp() - query_start)::text, usename::text] FROM pg_stat_activity
     WHERE state = 'active' AND usename LIKE 'user\\_%%' ORDER BY query_start LIMIT 1),
    (SELECT count(DISTINCT pid) FROM waiting),
    (SELECT usename FROM holding WHERE usename LIKE 'user\\_%%')
"""
