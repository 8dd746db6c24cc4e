"""PostgreSQL 16 or newer as a server of the data plane.

A tenant is a schema, and a LOGIN role of the same name that owns nothing. The administrator needs CREATEROLE, CREATE
on the database and membership in pg_signal_backend and pg_read_all_stats; never superuser, since RDS has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus
from sqlalchemy import Table

from awssome.database import template
from awssome.database.engine import (
    CLOSING_ENTRIES,
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
    TooMuch,
    Watch,
    unwatched,
)
from awssome.database.kept import Kept
from awssome.database.postgresql import dirty, exposure, logins, migration, rows, watching
from awssome.database.postgresql.driver import connection_parameters, run
from awssome.database.postgresql.holdings import FENCE, fence_of, holdings
from awssome.database.schema import DATA_TABLES
from awssome.database.template import Beyond
from awssome.database.troubles import missing
from awssome.domain.errors import Code, Refused
from awssome.domain.limits import LONGEST_STATEMENT
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import EngineName, checked_schema_name

LOGIN_CONNECTIONS = 24
"""Connections a tenant's login may have: every process of the platform a few, and the mover."""

CLOSING_MS = 2000
"""How long a mover that keeps writers waiting may be silent, and each of its statements take."""

LOCK_TIMEOUT_MS = 10_000
"""How long an administrator's statement waits for a lock: a tenant may lock its own tables for as long as it likes."""


class PostgreSQL(Server):
    """A PostgreSQL server, through connections of its administrator. Every method raises `Refused`, UNAVAILABLE, when
    the server does not answer or a lock is not to be had."""

    engine = EngineName.POSTGRESQL

    def __init__(self, url: str, *, lock_timeout_ms: int = LOCK_TIMEOUT_MS, beyond: Beyond = ()) -> None:
        self.beyond = beyond
        self._parameters = connection_parameters(url)
        # A mover that is frozen in a transaction must not hold its locks for ever either.
        self._options = f"-c idle_in_transaction_session_timeout=60000 -c lock_timeout={int(lock_timeout_ms)}"
        self._kept = Kept(self._open, _as_new)

    def check(self) -> dict[str, str]:
        """Version, encoding and rights of the administrator, and what is open to every login.

        In its own database the administrator takes from everybody what tenants must not have, where it may. CREATE has
        to be closed; the rest is told.
        """
        with self._connect() as connection:
            row = connection.execute(
                "SELECT current_setting('server_version'), current_setting('server_version_num')::int, "
                "pg_encoding_to_char(encoding), rolcreaterole OR rolsuper, "
                "has_database_privilege(current_database(), 'CREATE'), "
                "rolsuper OR pg_has_role('pg_signal_backend', 'USAGE'), pg_has_role('pg_read_all_stats', 'USAGE') "
                "FROM pg_database, pg_roles WHERE datname = current_database() AND rolname = current_user"
            ).fetchone()
        assert row is not None  # noqa: S101 - both catalogs have the row we are connected by
        version, number, encoding, may_create_roles, may_create, may_signal, may_watch = row
        missing = []
        if number < 160000:
            missing.append(f"PostgreSQL 16 or newer (this is {version})")
        if encoding != "UTF8":
            missing.append(f"encoding UTF8 (this is {encoding})")
        if not may_create_roles:
            missing.append("CREATEROLE for the administrator")
        if not may_create:
            missing.append("CREATE on the database for the administrator")
        if not may_signal:
            missing.append("membership in pg_signal_backend for the administrator")
        if not may_watch:
            missing.append("membership in pg_read_all_stats for the administrator")
        with self._connect() as connection:
            creating, exposed = exposure.close(connection)
        missing += [f"no CREATE for everybody (run: {statement})" for statement in creating]
        if missing:
            raise Refused(Code.INVALID, "This server cannot hold tenants yet. Missing: " + "; ".join(missing) + ".")
        found = {"version": version, "encoding": encoding}
        return found | {"open to every login": ", ".join(exposed)} if exposed else found

    def provision(
        self, schema: str, password: str, *, epoch: int, mode: FenceMode, mover: int = 0, revision: str | None = None
    ) -> str:
        """One script in one implicit transaction: role, schema, tables, grants, guard, fence."""
        name, reached = checked_schema_name(schema), revision or template.head(self.beyond)
        script = f"""
            CREATE ROLE {name} LOGIN CONNECTION LIMIT {LOGIN_CONNECTIONS} PASSWORD '{logins.scram_verifier(password)}';
            ALTER ROLE {name} SET statement_timeout = '{LONGEST_STATEMENT}s';
            CREATE SCHEMA {name};
            {template.for_schema(template.statements(self.engine, None, reached, self.beyond), name)}
            INSERT INTO {name}._fence (id, epoch, mode, mover, capture, revision)
            VALUES (1, {int(epoch)}, '{FenceMode(mode)}', {int(mover)}, false, '{reached}');
        """
        with self._connect() as connection:
            try:
                run(connection, script)
            except (errors.DuplicateObject, errors.DuplicateSchema, errors.UniqueViolation):
                # The last is what the second of two movers meets that make it at the same moment.
                connection.rollback()
                there = run(connection, f"SELECT revision FROM {name}._fence WHERE id = 1").fetchone()
                return str(there[0]) if there else ""
        return reached

    def migrate(self, schemas: Sequence[str], after: str | None = None) -> list[Migrated]:
        """Together where that can be, else one by one."""
        if after is not None and len(schemas) > 1 and migration.together(self._connect, schemas, after, self.beyond):
            return [Migrated(schema) for schema in schemas]
        return [migration.alone(self._connect, schema, self.beyond) for schema in schemas]

    def drop(self, schema: str, mover: int) -> None:
        """The fence's row stays locked to the end, so that no later mover can claim what is being dropped.

        Schema, login and fence come and go in one transaction: without a fence nothing is there, and what a later
        mover makes after we looked is not ours.
        """
        name = checked_schema_name(schema)
        with self._connect() as connection:
            if run(connection, f"SELECT to_regclass('{name}._fence')").fetchone() == (None,):
                return
            try:
                held = run(connection, f"SELECT mover FROM {name}._fence FOR UPDATE").fetchone()
            except (errors.UndefinedTable, errors.InvalidSchemaName):
                connection.rollback()
                return  # somebody else has dropped it since we looked
            if held is not None and held[0] > mover:
                raise MoverLost
            logins.change(self._connect, name, f"ALTER ROLE {name} NOLOGIN")
            # A login can give itself default privileges, which keep a role alive: they go with what it owns.
            run(connection, f"DROP SCHEMA {name} CASCADE")
            run(connection, f"GRANT {name} TO CURRENT_USER; DROP OWNED BY {name}; DROP ROLE {name};")

    def set_password(self, schema: str, password: str) -> None:
        """Stores the SCRAM verifier, never the password. What the login has set for itself goes with the sessions.

        Who has begun to authenticate with the old password may still end doing so, for `authentication_timeout`.
        """
        name = checked_schema_name(schema)
        with self._connect() as connection:
            defaults = logins.defaults(connection, name)
        verifier = logins.scram_verifier(password)
        logins.change(self._connect, name, f"ALTER ROLE {name} PASSWORD '{verifier}'; {defaults}")

    def close_login(self, schema: str) -> None:
        """NOLOGIN, and pg_terminate_backend."""
        name = checked_schema_name(schema)
        with self._connect() as connection:
            there = logins.exists(connection, name)
        if there:
            logins.change(self._connect, name, f"ALTER ROLE {name} NOLOGIN")

    def open_login(self, schema: str) -> None:
        """LOGIN, with the settings that it was made with."""
        name = checked_schema_name(schema)
        with self._connect() as connection:
            run(connection, f"ALTER ROLE {name} LOGIN; {logins.defaults(connection, name)}")

    def end_sessions(self, schema: str) -> None:
        """pg_terminate_backend."""
        with self._connect() as connection:
            logins.end(connection, checked_schema_name(schema))

    def fence(self, schema: str) -> Fence | None:
        """Reads the row; a missing schema is None."""
        with self._connect() as connection:
            return _fence(connection, checked_schema_name(schema))

    def claim(self, schema: str, mover: int) -> None:
        """Only ever raises the number: a frozen mover that wakes up cannot claim again."""
        with self._connect() as connection:
            changed = run(
                connection,
                f"UPDATE {checked_schema_name(schema)}._fence SET mover = {int(mover)} WHERE mover <= {mover}",
            )
            if changed.rowcount != 1:
                raise MoverLost

    def set_fence(self, schema: str, mover: int, *, mode: FenceMode, epoch: int, timeout_ms: int = 2000) -> None:
        """EXCLUSIVE on `_fence` waits for every writer (the guard holds ROW SHARE) and lets readers pass."""
        name = checked_schema_name(schema)
        with self._connect() as connection:
            changed = _lock_fence(
                connection,
                name,
                timeout_ms,
                after=(
                    f"UPDATE {name}._fence SET mode = '{FenceMode(mode)}', epoch = {int(epoch)} "
                    f"WHERE mover = {int(mover)} RETURNING 1",
                ),
            )
            if _results(changed) == [[]]:
                raise MoverLost

    def sums(self, schema: str, tables: Sequence[Table] = DATA_TABLES) -> dict[str, TableSum]:
        """Hashed by the server, in one REPEATABLE READ snapshot."""
        with self._connect(snapshot=True) as connection:
            return {table.name: rows.summed(connection, checked_schema_name(schema), table) for table in tables}

    @contextmanager
    def snapshot(self, schema: str) -> Iterator[Snapshot]:
        """COPY from one REPEATABLE READ snapshot, which the fence's row begins; the server writes the texts."""
        name = checked_schema_name(schema)
        with self._connect(snapshot=True) as connection:
            fence = _fence(connection, name)
            if fence is None:
                raise missing()
            yield Snapshot(
                fence,
                rows=lambda table: rows.read(connection, name, table),
                changes=lambda limit: dirty.changes(connection, name, dirty.noted(connection, name, limit)),
                sums=lambda: {table.name: rows.summed(connection, name, table) for table in DATA_TABLES},
            )

    def load(self, schema: str, mover: int, tables: Iterable[tuple[Table, Iterable[Texts]]]) -> int:
        """COPY; the fence's row is held to the end, so that no later mover claims what is being filled."""
        name = checked_schema_name(schema)
        with self._connect() as connection:
            _hold(connection, name, mover)
            return rows.write(connection, name, tables)

    def copy(self, schema: str, target: Server, target_schema: str, mover: int, *, watch: Watch = unwatched) -> int:
        """COPY in binary form from one snapshot into one transaction."""
        if not isinstance(target, PostgreSQL):
            return self.carry(schema, target, target_schema, mover, watch)
        source_name, target_name = checked_schema_name(schema), checked_schema_name(target_schema)
        with self._connect(snapshot=True) as source, target._connect() as sink:
            _hold(sink, target_name, mover)
            return rows.carry(source, source_name, sink, target_name, watch)

    def capture(self, schema: str, mover: int, *, on: bool, timeout_ms: int = 2000) -> None:
        """Begins under EXCLUSIVE on `_fence`: whoever wrote before has committed, whoever writes after is noted.

        Ending it waits for nobody. What a transaction under way still notes is forgotten when the next capture begins.
        """
        name = checked_schema_name(schema)
        with self._connect() as connection:
            if on:
                _lock_fence(connection, name, timeout_ms)
            changed = run(
                connection, f"UPDATE {name}._fence SET capture = {bool(on)} WHERE id = 1 AND mover = {int(mover)}"
            )
            if changed.rowcount != 1:
                raise MoverLost
            run(connection, f"TRUNCATE {name}._outbox" if on else f"DELETE FROM {name}._outbox")

    def apply(self, schema: str, mover: int, changes: Changes, *, mark: int | None = None) -> dict[str, Rows]:
        """See `postgresql.dirty`: one round trip and the commit."""
        with self._connect() as connection:
            return dirty.apply(connection, checked_schema_name(schema), mover, changes, mark)

    def forget(self, schema: str, mover: int, seqs: Sequence[int]) -> None:
        """See `postgresql.dirty`."""
        with self._connect() as connection:
            dirty.forget(connection, checked_schema_name(schema), mover, seqs)

    @contextmanager
    def closing(self, schema: str, mover: int, *, timeout_ms: int = 200) -> Iterator[Closing]:
        """EXCLUSIVE on `_fence` as in `set_fence`; what is noted is read in the same round trip.

        The session ends by itself when the mover is silent for `CLOSING_MS`: a frozen mover keeps nobody waiting.
        """
        name = checked_schema_name(schema)
        with self._connect() as connection:
            cursor = _lock_fence(
                connection,
                name,
                timeout_ms,
                before=(
                    f"SET LOCAL idle_in_transaction_session_timeout = {CLOSING_MS}",
                    f"SET LOCAL statement_timeout = {CLOSING_MS}",
                ),
                after=(
                    f"SELECT {FENCE} FROM {name}._fence WHERE mover = {int(mover)}",
                    f"{dirty.NOTED.format(name)} LIMIT {CLOSING_ENTRIES + 1}",
                ),
            )
            fence, noted = _results(cursor)
            if not fence:
                raise MoverLost
            yield _Closing(connection, name, fence_of(fence[0]), noted)
            connection.rollback()  # nothing, where it was closed

    def use(self) -> list[SchemaUse]:
        """See `postgresql.watching`."""
        with self._connect() as connection:
            return watching.use(connection)

    def condition(self) -> ServerLoad:
        """See `postgresql.watching`."""
        with self._connect() as connection:
            return watching.condition(connection)

    def holdings(self) -> list[Holding]:
        """See `postgresql.holdings`."""
        return holdings(self._connect)

    def long_sessions(self, seconds: float) -> list[LongSession]:
        """See `postgresql.logins`."""
        with self._connect() as connection:
            return logins.long_sessions(connection, seconds)

    def end_long(self, sessions: Sequence[LongSession]) -> list[LongSession]:
        """See `postgresql.logins`."""
        with self._connect() as connection:
            return logins.end_long(connection, sessions)

    def close(self) -> None:
        """Close the connections that are kept."""
        self._kept.close()

    @contextmanager
    def _connect(self, *, snapshot: bool = False) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """A transaction as the administrator: commits at the end, rolls back on an exception."""
        connection = self._kept.take()
        try:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ if snapshot else None
            connection.read_only = snapshot or None
            try:
                yield connection
            except BaseException:
                if connection.info.transaction_status is TransactionStatus.ACTIVE:
                    connection.close()  # left in the middle of a COPY, a rollback would wait for that to end
                else:
                    with suppress(psycopg.Error):
                        connection.rollback()
                raise
            connection.commit()
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            raise Refused(Code.UNAVAILABLE, "The workspace's tables are locked.", "Try again.") from None
        except errors.DiskFull:
            where = self._where
            raise Refused(Code.UNAVAILABLE, f"The database server at {where} has no room left.", "Free some.") from None
        except errors.QueryCanceled:
            raise Refused(Code.UNAVAILABLE, f"The database server at {self._where} took too long.") from None
        except psycopg.Error:
            if not connection.broken:
                raise
            raise self._no_answer() from None
        finally:
            if connection.info.transaction_status is TransactionStatus.IDLE:
                self._kept.give_back(connection)
            else:
                connection.close()

    def _open(self) -> psycopg.Connection[tuple[Any, ...]]:
        try:
            return psycopg.connect(
                **self._parameters,
                options=self._options,
                application_name="awssome-admin",
                prepare_threshold=None,  # a connection that is taken again has forgotten what was prepared
            )
        except psycopg.OperationalError:
            raise self._no_answer() from None

    def _no_answer(self) -> Refused:
        return Refused(Code.UNAVAILABLE, f"The database server at {self._where} does not answer.", "Try again.")

    @property
    def _where(self) -> str:
        return f"{self._parameters['host']}:{self._parameters['port']}"


def _as_new(connection: psycopg.Connection[Any]) -> bool:
    """Forget settings, locks, temporary tables and whatever else outlives a transaction; False when it is dead."""
    try:
        connection.autocommit = True
        connection.execute("DISCARD ALL")
        connection.autocommit = False
    except psycopg.Error:
        return False
    return True


class _Closing(Closing):
    """See `dirty`. Each call is one round trip."""

    def __init__(self, connection: psycopg.Connection[Any], name: str, fence: Fence, noted: dirty.Noted) -> None:
        self.fence = fence
        self._connection, self._name, self._noted = connection, name, noted

    def changes(self) -> Changes:
        if len(self._noted) > CLOSING_ENTRIES:
            raise FenceBusy
        try:
            return dirty.changes(self._connection, self._name, self._noted)
        except TooMuch:
            raise FenceBusy from None

    def close(self) -> None:
        run(
            self._connection,
            f"UPDATE {self._name}._fence SET mode = '{FenceMode.MOVED}', capture = false WHERE id = 1; "
            f"DELETE FROM {self._name}._outbox; COMMIT",
        )


def _lock_fence(
    connection: psycopg.Connection[Any],
    name: str,
    timeout_ms: int,
    before: Sequence[str] = (),
    after: Sequence[str] = (),
) -> psycopg.Cursor[Any]:
    """EXCLUSIVE on `_fence`, with other statements in the same round trip. Each sees what is there when it begins."""
    statements = (
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
        f"SET LOCAL lock_timeout = {int(timeout_ms)}",
        *before,
        f"LOCK TABLE {name}._fence IN EXCLUSIVE MODE",
        *after,
    )
    try:
        return run(connection, "; ".join(statements))
    except errors.LockNotAvailable:
        raise FenceBusy from None


def _results(cursor: psycopg.Cursor[Any]) -> list[list[Any]]:
    """The rows of each statement of a script that has any."""
    results = []
    while True:
        if cursor.description:
            results.append(cursor.fetchall())
        if not cursor.nextset():
            return results


def _fence(connection: psycopg.Connection[Any], name: str) -> Fence | None:
    try:
        row = run(connection, f"SELECT {FENCE} FROM {name}._fence").fetchone()
    except (errors.UndefinedTable, errors.InvalidSchemaName):
        connection.rollback()
        return None
    return fence_of(row) if row else None


def _hold(connection: psycopg.Connection[Any], name: str, mover: int) -> None:
    """Hold the fence's row to the transaction's end. :raises MoverLost: when it is another mover's."""
    if run(connection, f"SELECT FROM {name}._fence WHERE mover = {int(mover)} FOR UPDATE").fetchone() is None:
        raise MoverLost
