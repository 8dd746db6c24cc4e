"""Replaying revisions of the template on SQL Server: one schema, one script, one transaction."""

from __future__ import annotations

import time

import mssql_python

from awssome.database import template
from awssome.database.engine import Migrated
from awssome.database.sqlserver.administrator import Administrator, script
from awssome.database.sqlserver.driver import PASSING, is_lost, number_of, run
from awssome.database.template import Beyond
from awssome.database.troubles import unknown_revision
from awssome.domain.tenants import EngineName, checked_schema_name

WAIT_MS = 500
"""How long a script waits for writers, and for each lock: while it waits, its tenant waits behind it."""

TRIES = 6
"""How often a script asks, with pauses between in which its tenant goes on."""


def migrate(administrator: Administrator, schema: str, after: str | None, beyond: Beyond) -> Migrated:
    """Bring a schema to the newest revision.

    :param after: the revision that it is thought to have. Where that is not true, the fence tells the true one.
    """
    name, pause = checked_schema_name(schema), 0.05
    revision: str | None = after
    for _ in range(TRIES):
        try:
            while revision != template.head(beyond):
                if revision is not None and revision not in template.older(beyond):
                    return Migrated(schema, unknown_revision(revision))
                revision = _replayed(administrator, name, revision, beyond)
        except _Failed as failed:
            if not failed.passing:
                return Migrated(schema, str(failed))
        else:
            return Migrated(schema)
        time.sleep(pause)
        pause *= 2
    return Migrated(schema, "The tenant kept its tables locked all the time.")


class _Failed(Exception):
    """A script was refused, and changed nothing.

    :ivar passing: another try may succeed.
    """

    def __init__(self, error: mssql_python.Error) -> None:
        super().__init__(str(error).partition("\n")[0])
        self.passing = number_of(error) in PASSING


def _replayed(administrator: Administrator, name: str, after: str | None, beyond: Beyond) -> str:
    """Replay what follows revision `after` (None: nothing), if the fence names it; the revision that it names then."""
    with administrator.commanding() as connection:
        try:
            told = f"SELECT revision FROM {name}._fence WHERE id = 1"
            rows = run(connection, told) if after is None else script(connection, _body(name, after, beyond), told)
        except mssql_python.Error as error:
            if is_lost(error):
                raise
            raise _Failed(error) from None
    return str(rows[0][0]) if rows else ""


def _body(name: str, after: str, beyond: Beyond) -> str:
    # Writers hold the lock and then, by the trigger, the row; who changes tables takes both in this order, as a mover
    # does. SET options end with the script.
    change = template.for_schema(template.statements(EngineName.SQLSERVER, after, beyond=beyond), name)
    return f"""
        SET LOCK_TIMEOUT {WAIT_MS};
        DECLARE @result int = -1, @lock nvarchar(64);
        SELECT @lock = lock_name FROM {name}._fence WHERE id = 1 AND revision = N'{after}';
        IF @lock IS NOT NULL
        BEGIN
            EXEC @result = sp_getapplock @Resource = @lock, @LockMode = N'Exclusive',
                @LockOwner = N'Transaction', @LockTimeout = {WAIT_MS};
            IF @result < 0 THROW 51002, N'busy', 1;
            UPDATE {name}._fence SET revision = N'{template.head(beyond)}' WHERE id = 1 AND revision = N'{after}';
            IF @@ROWCOUNT = 1
            BEGIN
                {change}
            END
        END
    """
