"""What a SQL Server holds of its tenants, for the doctor: logins and schemas from the catalogs, fences by hundreds.

Logins are of the whole instance: those of tenants in its other databases are among them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mssql_python

from awssome.database.engine import Fence, Holding
from awssome.database.sqlserver.administrator import Administrator
from awssome.database.sqlserver.driver import run
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import checked_schema_name, is_schema_name

AT_ONCE = 100
"""Fences that one statement reads."""


def holdings(administrator: Administrator, fence_of: Callable[[str], Fence | None]) -> list[Holding]:
    """Fence and login of every tenant. :param fence_of: reads one fence, None when its schema is gone."""
    with administrator.transaction() as connection:
        logins = {row[0]: not row[1] for row in run(connection, _LOGINS) if is_schema_name(row[0])}
        names = [row[0] for row in run(connection, _FENCED) if is_schema_name(row[0])]
    fences: dict[str, Fence] = {}
    for start in range(0, len(names), AT_ONCE):
        fences |= _fences(administrator, fence_of, names[start : start + AT_ONCE])
    return [Holding(name, fences.get(name), logins.get(name)) for name in sorted(logins.keys() | fences.keys())]


def _fences(
    administrator: Administrator, fence_of: Callable[[str], Fence | None], names: Sequence[str]
) -> dict[str, Fence]:
    """The fences of these schemas. One that is dropped meanwhile makes its hundred be read one by one."""
    parts = (
        f"SELECT N'{name}', epoch, mode, mover, revision, capture FROM {name}._fence WHERE id = 1"
        for name in map(checked_schema_name, names)
    )
    try:
        with administrator.transaction() as connection:
            rows = run(connection, " UNION ALL ".join(parts))
    except mssql_python.ProgrammingError:
        found = ((name, fence_of(name)) for name in names)
        return {name: fence for name, fence in found if fence is not None}
    return {row[0]: Fence(row[1], FenceMode(row[2]), row[3], row[4], bool(row[5])) for row in rows}


_LOGINS = "SELECT name, is_disabled FROM sys.server_principals WHERE type = 'S' AND name LIKE N'user[_]%'"

_FENCED = (
    "SELECT s.name FROM sys.schemas s JOIN sys.tables t ON t.schema_id = s.schema_id "
    "WHERE t.name = N'_fence' AND s.name LIKE N'user[_]%' ORDER BY s.name"
)
