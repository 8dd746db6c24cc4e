"""What tenants use on a SQL Server, and how it fares: read from its management views.

Each view is looked for first: a server that stands in for SQL Server may lack it, and then its figures are left out.
Sources: "System dynamic management views" in Microsoft's Transact-SQL reference; they need VIEW SERVER STATE.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from awssome.database.engine import BLOCKED_SECONDS, SchemaUse, ServerLoad
from awssome.database.sqlserver.driver import Connection, run


def use(connection: Connection) -> list[SchemaUse]:
    """What each tenant uses: rows and reserved pages from the partitions' statistics, connections from the sessions.

    Statements are those whose plan the server still holds; a plan that it throws away takes its figures along. A
    statement is its schema's, which stands in its text, whoever ran it.
    """
    sessions = {row[0]: int(row[1]) for row in run(connection, _SESSIONS)}
    counted = run(connection, _STATEMENTS) if _has(connection, "dm_exec_query_stats") else None
    statements = None if counted is None else {row[0]: (int(row[1]), float(row[2])) for row in counted}
    found = []
    for name, rows, size in run(connection, _SIZES):
        count, took = (None, None) if statements is None else statements.get(name, (0, 0.0))
        found.append(SchemaUse(name, int(rows or 0), int(size or 0), sessions.get(name, 0), count, took))
    return found


def condition(connection: Connection) -> ServerLoad:
    """How the server fares."""
    longest: list[Any] = []
    blocked: list[Any] = []
    if _has(connection, "dm_exec_requests"):
        longest, blocked = run(connection, _LONGEST), run(connection, _BLOCKED)
    blockers = [row for row in blocked if row[0] is not None]
    return ServerLoad(
        bytes=int(run(connection, _BYTES)[0][0] or 0),
        connections=int(run(connection, _CONNECTIONS)[0][0]),
        connection_limit=int(run(connection, "SELECT @@MAX_CONNECTIONS")[0][0]),
        longest_s=float(longest[0][0]) if longest else None,
        longest_by=longest[0][1] if longest else None,
        blocked=sum(int(row[1]) for row in blocked),
        blocked_by=max(blockers, key=lambda row: (int(row[1]), row[0]))[0] if blockers else None,
        counted_since=_counted_since(connection),
    )


def _counted_since(connection: Connection) -> datetime | None:
    if not (_has(connection, "dm_exec_query_stats") and _has(connection, "dm_os_sys_info")):
        return None
    seconds = run(connection, "SELECT DATEDIFF(second, sqlserver_start_time, GETDATE()) FROM sys.dm_os_sys_info")
    now = run(connection, "SELECT SYSUTCDATETIME()")[0][0]
    return datetime.fromtimestamp(now.replace(tzinfo=UTC).timestamp() - int(seconds[0][0]), UTC)


def _has(connection: Connection, view: str) -> bool:
    return run(connection, f"SELECT OBJECT_ID(N'sys.{view}')")[0][0] is not None


_SESSIONS = (
    "SELECT login_name, COUNT(*) FROM sys.dm_exec_sessions WHERE login_name LIKE N'user[_]%' GROUP BY login_name"
)

_CONNECTIONS = "SELECT COUNT(*) FROM sys.dm_exec_sessions WHERE is_user_process = 1"

_BYTES = "SELECT SUM(CAST(size AS bigint)) * 8192 FROM sys.database_files"

_SIZES = """
IF OBJECT_ID(N'sys.dm_db_partition_stats') IS NOT NULL
    EXEC(N'SELECT s.name, SUM(CASE WHEN p.index_id < 2 THEN p.row_count ELSE 0 END), SUM(p.reserved_page_count) * 8192
    FROM sys.schemas s JOIN sys.tables t ON t.schema_id = s.schema_id
    JOIN sys.dm_db_partition_stats p ON p.object_id = t.object_id
    WHERE s.name LIKE N''user[_]%'' GROUP BY s.name')
ELSE
    EXEC(N'SELECT s.name, SUM(p.rows), 0 FROM sys.schemas s JOIN sys.tables t ON t.schema_id = s.schema_id
    JOIN sys.partitions p ON p.object_id = t.object_id AND p.index_id < 2
    WHERE s.name LIKE N''user[_]%'' GROUP BY s.name')
"""

_NAME = "user[_]" + "[0-9a-f]" * 16
_LENGTH = len("user_") + 16

# Times in this view are microseconds.
_STATEMENTS = f"""
SELECT SUBSTRING(t.text, PATINDEX(N'%{_NAME}%', t.text), {_LENGTH}), SUM(q.execution_count),
    SUM(q.total_elapsed_time) / 1000.0
FROM sys.dm_exec_query_stats q CROSS APPLY sys.dm_exec_sql_text(q.sql_handle) t
WHERE PATINDEX(N'%{_NAME}%', t.text) > 0
GROUP BY SUBSTRING(t.text, PATINDEX(N'%{_NAME}%', t.text), {_LENGTH})
"""

_LONGEST = """
SELECT TOP 1 DATEDIFF(second, r.start_time, GETDATE()), s.login_name
FROM sys.dm_exec_requests r JOIN sys.dm_exec_sessions s ON s.session_id = r.session_id
WHERE s.login_name LIKE N'user[_]%' ORDER BY r.start_time
"""

_BLOCKED = f"""
SELECT CASE WHEN b.login_name LIKE N'user[_]%' THEN b.login_name END, COUNT(*)
FROM sys.dm_exec_requests r JOIN sys.dm_exec_sessions s ON s.session_id = r.session_id
LEFT JOIN sys.dm_exec_sessions b ON b.session_id = r.blocking_session_id
WHERE r.blocking_session_id > 0 AND r.wait_time > {BLOCKED_SECONDS * 1000} AND s.login_name LIKE N'user[_]%'
GROUP BY CASE WHEN b.login_name LIKE N'user[_]%' THEN b.login_name END
"""
