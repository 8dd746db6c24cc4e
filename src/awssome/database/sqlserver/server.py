"""SQL Server as a server of the data plane.

A tenant is a schema, a LOGIN and a USER of the same name. The schema belongs to a role of its own without members: code
in a schema reaches whatever the schema's owner owns, and so no two tenants may have one owner. The administrator
needs ALTER ANY LOGIN, ALTER ANY CONNECTION and CONTROL on the database; never sysadmin, since RDS has none.

Scripts that make and drop are one batch with its own transaction. They run while the connection commits by itself, and
inside `sp_executesql`, where SET options end with the script.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

import mssql_python
from sqlalchemy import Table

from awssome.database import template
from awssome.database.canonical import read, summed, written
from awssome.database.engine import (
    Changes,
    Closing,
    Fence,
    FenceBusy,
    Holding,
    LongSession,
    Migrated,
    MoverLost,
    Rows,
    SchemaUse,
    Server,
    ServerLoad,
    Snapshot,
    TableSum,
    Texts,
    Watch,
    unwatched,
    watched,
)
from awssome.database.schema import DATA_TABLES, metadata
from awssome.database.sqlserver import dirty, fence, logins, migration, watching
from awssome.database.sqlserver.administrator import STATEMENT_SECONDS, Administrator, script
from awssome.database.sqlserver.bulk import fetch, load
from awssome.database.sqlserver.driver import Connection, run
from awssome.database.sqlserver.holdings import holdings
from awssome.database.template import Beyond
from awssome.database.troubles import missing, not_taken
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import EngineName, checked_schema_name

LOCK_TIMEOUT_MS = 10_000
"""How long an administrator's statement waits for a lock: a tenant may lock its own rows for as long as it likes."""

SETTING_SECONDS = 20
"""How long a setting of a database may take to be turned on: it waits for who is connected."""

CLAIM_WAIT_MS = 2_000
"""How long a mover that claims a schema waits for writers that are under way."""

OLDEST = 12
"""Major version of SQL Server 2014. RDS offers newer ones only."""


class SQLServer(Server):
    """A SQL Server, through connections of its administrator. Every method raises `Refused`, UNAVAILABLE, when the
    server does not answer or a lock is not to be had."""

    engine = EngineName.SQLSERVER

    def __init__(self, url: str, *, lock_timeout_ms: int = LOCK_TIMEOUT_MS, beyond: Beyond = ()) -> None:
        self.beyond = beyond
        self._administrator = Administrator(url, lock_timeout_ms)

    def check(self) -> dict[str, str]:
        """Version, snapshot settings (turned on where that is allowed) and rights of the administrator."""
        with self._administrator.commanding() as connection:
            found = run(connection, _CHECK)[0]
            missing = []
            for on, setting in (
                (found.row_versions, "READ_COMMITTED_SNAPSHOT"),
                (found.snapshot, "ALLOW_SNAPSHOT_ISOLATION"),
            ):
                if not on and not self._turn_on(connection, found.name, setting):
                    missing.append(f"{setting} (run: ALTER DATABASE {_quoted(found.name)} SET {setting} ON)")
        if int(str(found.version).partition(".")[0]) < OLDEST:
            missing.append(f"SQL Server 2014 or newer (this is version {found.version})")
        if found.edition == _AZURE_SQL_DATABASE:
            missing.append("a server with logins (Azure SQL Database keeps them in another database)")
        if not found.sysadmin:
            missing += [
                f"{right} for the administrator"
                for right, held in (
                    ("ALTER ANY LOGIN", found.logins),
                    ("ALTER ANY CONNECTION", found.connections),
                    ("VIEW SERVER STATE", found.view_state),
                    ("CONTROL on the database", found.control),
                )
                if not held
            ]
        if missing:
            raise Refused(Code.INVALID, "This server cannot hold tenants yet. Missing: " + "; ".join(missing) + ".")
        return {"version": str(found.version), "collation": str(found.collation)}

    def provision(
        self, schema: str, password: str, *, epoch: int, mode: FenceMode, mover: int = 0, revision: str | None = None
    ) -> str:
        """One batch in one transaction, behind a lock of the schema's own: login, role, schema, user, tables, grants,
        triggers, fence; each only where it is missing."""
        name, reached = checked_schema_name(schema), revision or template.head(self.beyond)
        with self._administrator.commanding() as connection:
            there = script(
                connection,
                f"""
                {_turn(password)}
                IF SUSER_ID(N'{name}') IS NULL
                    CREATE LOGIN {name} WITH PASSWORD = N'{logins.checked_password(password)}';
                IF DATABASE_PRINCIPAL_ID(N'{_owner(name)}') IS NULL
                    CREATE ROLE {_owner(name)};
                IF SCHEMA_ID(N'{name}') IS NULL
                    EXEC(N'CREATE SCHEMA {name} AUTHORIZATION {_owner(name)}');
                IF USER_ID(N'{name}') IS NULL
                    CREATE USER {name} FOR LOGIN {name} WITH DEFAULT_SCHEMA = {name};
                IF OBJECT_ID(N'{name}._fence') IS NULL
                BEGIN
                    {template.for_schema(template.statements(self.engine, None, reached, self.beyond), name)}
                    INSERT INTO {name}._fence (id, epoch, mode, mover, capture, revision, lock_name)
                    VALUES (1, {int(epoch)}, N'{FenceMode(mode)}', {int(mover)}, 0, N'{reached}',
                            N'{secrets.token_hex(16)}');
                END
                """,
                f"SELECT revision FROM {name}._fence WHERE id = 1",
            )
            # A password of 256 random bits needs no policy, and no stranger's guesses shall lock the login. Where the
            # option is not known, there is no such policy.
            with suppress(mssql_python.Error):
                run(connection, f"ALTER LOGIN {name} WITH CHECK_POLICY = OFF")
        return str(there[0][0])

    def migrate(self, schemas: Sequence[str], after: str | None = None) -> list[Migrated]:
        """One transaction and one round trip for each: each has a fence of its own to close."""
        return [migration.migrate(self._administrator, schema, after, self.beyond) for schema in schemas]

    def drop(self, schema: str, mover: int) -> None:
        """Closes the login and ends its sessions first: SQL Server drops no login that is connected.

        Schema, user, login and fence come and go in one transaction: without a fence nothing is there, and what a later
        mover makes after we looked is not ours. The user goes by its login: its name may not be what it was.
        """
        name = checked_schema_name(schema)
        with self._administrator.commanding() as connection:
            if not fence.is_there(connection, name):
                return
            self._check_mover(connection, name, mover)
            fence.end_older(connection, name, mover)
            logins.close(connection, name)
            # The fence's row stays locked to the end, so that no later mover can claim what is being dropped.
            body = f"""
                DECLARE @held bigint = -1, @user nvarchar(128) = (
                    SELECT name FROM sys.database_principals WHERE sid = SUSER_SID(N'{name}')
                );
                DECLARE @drop_user nvarchar(400) = N'DROP USER "' + REPLACE(@user, N'"', N'""') + N'"';
                IF OBJECT_ID(N'{name}._fence') IS NOT NULL
                BEGIN
                    UPDATE {name}._fence SET mover = mover WHERE id = 1;
                    SELECT @held = mover FROM {name}._fence WHERE id = 1;
                    IF @held <= {int(mover)}
                    BEGIN
                        {self._drop_tables(connection, name)}
                        DROP SCHEMA {name};
                        IF @user IS NOT NULL EXEC(@drop_user);
                        DROP ROLE {_owner(name)};
                        IF SUSER_ID(N'{name}') IS NOT NULL DROP LOGIN {name};
                    END
                END
            """
            try:
                held = script(connection, body, "SELECT @held")[0][0]
            except mssql_python.Error:
                if fence.is_there(connection, name):
                    raise
                return  # somebody else has dropped it while we waited for the row
            if held > mover:
                raise MoverLost

    def set_password(self, schema: str, password: str) -> None:
        """ALTER LOGIN, then KILL of who came in before."""
        name = checked_schema_name(schema)
        with self._administrator.commanding() as connection:
            logins.change(connection, name, f"WITH PASSWORD = N'{logins.checked_password(password)}'")

    def close_login(self, schema: str) -> None:
        """DISABLE, then KILL: a session outlives its login's rights."""
        name = checked_schema_name(schema)
        with self._administrator.commanding() as connection:
            logins.close(connection, name)

    def open_login(self, schema: str) -> None:
        """ENABLE."""
        with self._administrator.commanding() as connection:
            run(connection, f"ALTER LOGIN {checked_schema_name(schema)} ENABLE")

    def end_sessions(self, schema: str) -> None:
        """KILL those that are there; who comes meanwhile is left alone."""
        with self._administrator.commanding() as connection:
            logins.end(connection, checked_schema_name(schema))

    def fence(self, schema: str) -> Fence | None:
        """Reads the row; a missing schema is None."""
        name = checked_schema_name(schema)
        with self._administrator.transaction() as connection:
            return fence.read(connection, name) if fence.is_there(connection, name) else None

    def claim(self, schema: str, mover: int) -> None:
        """Only ever raises the number: a frozen mover that wakes up cannot claim again. What it still keeps is ended.

        :raises FenceBusy: when writers keep the fence for longer than a claim waits.
        """
        name = checked_schema_name(schema)
        try:
            self._claim(name, mover, CLAIM_WAIT_MS // 10)
        except FenceBusy:
            with self._administrator.commanding() as connection:
                fence.end_older(connection, name, mover)
            self._claim(name, mover, CLAIM_WAIT_MS)

    def set_fence(self, schema: str, mover: int, *, mode: FenceMode, epoch: int, timeout_ms: int = 2000) -> None:
        """The exclusive lock waits for every writer (the guard holds it in shared mode) and lets readers pass."""
        name = checked_schema_name(schema)
        with self._administrator.transaction() as connection:
            fence.close(connection, name, mover, timeout_ms)
            fence.change(connection, name, mover, f"mode = N'{FenceMode(mode)}', epoch = {int(epoch)}")

    def capture(self, schema: str, mover: int, *, on: bool, timeout_ms: int = 2000) -> None:
        """Behind the closed fence, so that every writer before it has committed and every one after it is noted."""
        name = checked_schema_name(schema)
        with self._administrator.transaction() as connection:
            fence.close(connection, name, mover, timeout_ms)
            fence.change(connection, name, mover, f"capture = {int(on)}")
            fence.capture(connection, name, on=on)

    def apply(self, schema: str, mover: int, changes: Changes, *, mark: int | None = None) -> dict[str, Rows]:
        """See `sqlserver.dirty`; the fence's row is held to the end, so that no later mover claims what is written."""
        name = checked_schema_name(schema)
        with self._administrator.transaction() as connection:
            fence.hold(connection, name, mover, FenceMode.STANDBY)
            before = dirty.apply(connection, name, changes.rows)
            if mark is not None:
                fence.change(connection, name, mover, f"epoch = {int(mark)}")
        return before

    def forget(self, schema: str, mover: int, seqs: Sequence[int]) -> None:
        """Beside the writers: the fence is shared with them."""
        name = checked_schema_name(schema)
        with self._administrator.transaction() as connection:
            fence.share(connection, name, mover)
            dirty.forget(connection, name, seqs)

    @contextmanager
    def closing(self, schema: str, mover: int, *, timeout_ms: int = 200) -> Iterator[Closing]:
        """Two connections, both made before writers have to wait: see `dirty.ClosingFence`.

        Nothing on SQL Server ends a transaction that idles: a later mover's `claim` does.
        """
        name = checked_schema_name(schema)
        with self._administrator.transaction(snapshot=True) as reader, self._administrator.transaction() as connection:
            fence.close(connection, name, mover, timeout_ms)
            there = fence.read(connection, name)
            if there is None or there.mover != mover:
                raise MoverLost
            yield dirty.ClosingFence(connection, reader, name, there)

    def sums(self, schema: str, tables: Sequence[Table] = DATA_TABLES) -> dict[str, TableSum]:
        """Hashed here, in the canonical form, in one SNAPSHOT transaction: SQL Server's own checksums have 32 bits."""
        name = checked_schema_name(schema)
        with self._administrator.transaction(snapshot=True) as connection:
            return {table.name: summed(table, fetch(connection, name, table)) for table in tables}

    @contextmanager
    def snapshot(self, schema: str) -> Iterator[Snapshot]:
        """One SNAPSHOT transaction, which the fence's row begins; the texts are written here.

        It leaves two connections to be used again: a `closing` that follows needs them while writers wait.
        """
        name = checked_schema_name(schema)
        with self._administrator.transaction(), self._administrator.transaction(snapshot=True) as connection:
            there = fence.read(connection, name) if fence.is_there(connection, name) else None
            if there is None:
                raise missing()
            yield Snapshot(
                there,
                rows=lambda table: map(written(table), fetch(connection, name, table)),
                changes=lambda limit: dirty.changes(connection, name, limit),
                sums=lambda: {table.name: summed(table, fetch(connection, name, table)) for table in DATA_TABLES},
            )

    def load(self, schema: str, mover: int, tables: Iterable[tuple[Table, Iterable[Texts]]]) -> int:
        """Arrays of rows; the fence's row is held to the end, so that no later mover claims what is being filled."""
        name, loaded = checked_schema_name(schema), 0
        with self._administrator.transaction() as connection:
            fence.hold(connection, name, mover)
            for table, rows in tables:
                try:
                    loaded += load(connection, name, table, map(read(table), rows))
                except (ValueError, ArithmeticError, mssql_python.DataError, mssql_python.IntegrityError):
                    raise not_taken(table.name) from None
        return loaded

    def copy(self, schema: str, target: Server, target_schema: str, mover: int, *, watch: Watch = unwatched) -> int:
        """Rows from one SNAPSHOT transaction into one transaction."""
        if not isinstance(target, SQLServer):
            return self.carry(schema, target, target_schema, mover, watch)
        source_name, target_name = checked_schema_name(schema), checked_schema_name(target_schema)
        with self._administrator.transaction(snapshot=True) as source, target._administrator.transaction() as sink:
            fence.hold(sink, target_name, mover)
            counted = watched(watch)
            return sum(
                load(sink, target_name, table, counted(fetch(source, source_name, table))) for table in DATA_TABLES
            )

    def use(self) -> list[SchemaUse]:
        """See `sqlserver.watching`."""
        with self._administrator.transaction() as connection:
            return watching.use(connection)

    def condition(self) -> ServerLoad:
        """See `sqlserver.watching`."""
        with self._administrator.transaction() as connection:
            return watching.condition(connection)

    def holdings(self) -> list[Holding]:
        """See `sqlserver.holdings`."""
        return holdings(self._administrator, self.fence)

    def long_sessions(self, seconds: float) -> list[LongSession]:
        """See `sqlserver.logins`."""
        with self._administrator.commanding() as connection:
            return logins.long_sessions(connection, seconds)

    def end_long(self, sessions: Sequence[LongSession]) -> list[LongSession]:
        """See `sqlserver.logins`."""
        with self._administrator.commanding() as connection:
            return logins.end_long(connection, sessions)

    def close(self) -> None:
        """Close the connections that are kept."""
        self._administrator.close()

    @staticmethod
    def _drop_tables(connection: Connection, name: str) -> str:
        """Statements that drop all tables of the schema, an older revision's too, children before parents."""
        there = {
            row[0] for row in run(connection, f"SELECT name FROM sys.tables WHERE schema_id = SCHEMA_ID(N'{name}')")
        }
        known = [table.name for table in reversed(metadata.sorted_tables)]
        ordered = [*sorted(there.difference(known)), *(table for table in known if table in there)]
        return "".join(f"DROP TABLE {name}.{_quoted(table)};\n" for table in ordered)

    def _claim(self, name: str, mover: int, timeout_ms: int) -> None:
        with self._administrator.transaction() as connection:
            fence.close(connection, name, mover, timeout_ms)
            fence.claim(connection, name, mover)

    @staticmethod
    def _check_mover(connection: Connection, name: str, mover: int) -> None:
        held = run(connection, f"SELECT mover FROM {name}._fence WHERE id = 1")
        if held and held[0][0] > mover:
            raise MoverLost

    @staticmethod
    def _turn_on(connection: Connection, database: str, setting: str) -> bool:
        try:
            connection.timeout = SETTING_SECONDS
            run(connection, f"ALTER DATABASE {_quoted(database)} SET {setting} ON")
        except mssql_python.Error:
            return False
        finally:
            connection.timeout = STATEMENT_SECONDS
        return True


def _turn(password: str) -> str:
    """One after the other: who makes a schema holds this to the end of its transaction.

    Every login may take a lock whose name it knows; this one's follows from what only the platform knows.
    """
    name = hashlib.sha256(password.encode()).hexdigest()[:32]
    return (
        f"DECLARE @turn int; EXEC @turn = sp_getapplock @Resource = N'awssome-{name}', "
        "@LockMode = N'Exclusive', @LockOwner = N'Transaction', @LockTimeout = 10000; "
        "IF @turn < 0 THROW 51002, N'Another process is at work on this schema.', 1;"
    )


def _owner(schema: str) -> str:
    return f"{schema}_own"


def _quoted(name: str) -> str:
    return "[" + name.replace("]", "]]") + "]"


_AZURE_SQL_DATABASE = 5

_CHECK = """
SELECT CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(64)) AS version,
    CAST(SERVERPROPERTY('EngineEdition') AS int) AS edition,
    d.name AS name, d.collation_name AS collation,
    d.is_read_committed_snapshot_on AS row_versions,
    CASE d.snapshot_isolation_state WHEN 1 THEN 1 ELSE 0 END AS snapshot,
    HAS_PERMS_BY_NAME(NULL, NULL, 'ALTER ANY LOGIN') AS logins,
    HAS_PERMS_BY_NAME(NULL, NULL, 'ALTER ANY CONNECTION') AS connections,
    HAS_PERMS_BY_NAME(NULL, NULL, 'VIEW SERVER STATE') AS view_state,
    HAS_PERMS_BY_NAME(DB_NAME(), 'DATABASE', 'CONTROL') AS control,
    IS_SRVROLEMEMBER('sysadmin') AS sysadmin
FROM sys.databases d WHERE d.name = DB_NAME()
"""
