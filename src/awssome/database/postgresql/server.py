"""PostgreSQL 16 or newer as a server of the data plane.

A tenant is a schema, and a LOGIN role of the same name that owns nothing. The administrator needs CREATEROLE, CREATE
on the database and membership in pg_signal_backend; never superuser, since RDS has none.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus
from sqlalchemy import Boolean, LargeBinary, Table

from awssome.database import template
from awssome.database.engine import (
    Fence,
    FenceBusy,
    MoverLost,
    SchemaUse,
    Server,
    Snapshot,
    TableSum,
    Texts,
    missing,
    not_taken,
)
from awssome.database.postgresql.driver import connection_parameters, run, trusted
from awssome.database.postgresql.entrance import STATEMENT_TIMEOUT_MS
from awssome.database.schema import DATA_TABLES
from awssome.database.types import Day, Instant
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import EngineName, checked_schema_name

LOGIN_CONNECTIONS = 24
"""Connections a tenant's login may have: every process of the platform a few, and the mover."""

LOCK_TIMEOUT_MS = 10_000
"""How long an administrator's statement waits for a lock: a tenant may lock its own tables for as long as it likes."""


class PostgreSQL(Server):
    """A PostgreSQL server, through connections of its administrator. Every method raises `Refused`, UNAVAILABLE, when
    the server does not answer or a lock is not to be had."""

    engine = EngineName.POSTGRESQL

    def __init__(self, url: str, *, lock_timeout_ms: int = LOCK_TIMEOUT_MS) -> None:
        self._parameters = connection_parameters(url)
        # A mover that is frozen in a transaction must not hold its locks for ever either.
        self._options = f"-c idle_in_transaction_session_timeout=60000 -c lock_timeout={int(lock_timeout_ms)}"
        self._keep = False
        self._kept: psycopg.Connection[tuple[Any, ...]] | None = None

    def check(self) -> dict[str, str]:
        """Version, encoding and rights of the administrator."""
        with self._connect() as connection:
            row = connection.execute(
                "SELECT current_setting('server_version'), current_setting('server_version_num')::int, "
                "pg_encoding_to_char(encoding), rolcreaterole OR rolsuper, "
                "has_database_privilege(current_database(), 'CREATE'), "
                "rolsuper OR pg_has_role('pg_signal_backend', 'USAGE') "
                "FROM pg_database, pg_roles WHERE datname = current_database() AND rolname = current_user"
            ).fetchone()
        assert row is not None  # noqa: S101 - both catalogs have the row we are connected by
        version, number, encoding, may_create_roles, may_create, may_signal = row
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
        if missing:
            raise Refused(Code.INVALID, "This server cannot hold tenants yet. Missing: " + "; ".join(missing) + ".")
        return {"version": version, "encoding": encoding}

    def provision(
        self, schema: str, password: str, *, epoch: int, mode: FenceMode, mover: int = 0, revision: str | None = None
    ) -> None:
        """One script in one implicit transaction: role, schema, tables, grants, guard, fence."""
        name, reached = checked_schema_name(schema), revision or template.head()
        script = f"""
            CREATE ROLE {name} LOGIN CONNECTION LIMIT {LOGIN_CONNECTIONS} PASSWORD '{scram_verifier(password)}';
            ALTER ROLE {name} SET statement_timeout = {STATEMENT_TIMEOUT_MS};
            CREATE SCHEMA {name};
            {template.for_schema(template.statements(self.engine, None, revision), name)}
            INSERT INTO {name}._fence (id, epoch, mode, mover, capture, revision)
            VALUES (1, {int(epoch)}, '{FenceMode(mode)}', {int(mover)}, false, '{reached}');
        """
        with self._connect() as connection:
            try:
                run(connection, script)
            except (errors.DuplicateObject, errors.DuplicateSchema):
                connection.rollback()

    def migrate(self, schema: str) -> None:
        """Replays the rendered revisions that the fence says are missing."""
        name = checked_schema_name(schema)
        with self._connect() as connection:
            row = run(connection, f"SELECT revision FROM {name}._fence FOR UPDATE").fetchone()
            if row is not None and row[0] != template.head():
                run(connection, template.for_schema(template.statements(self.engine, row[0]), name))
                run(connection, f"UPDATE {name}._fence SET revision = '{template.head()}'")

    def drop(self, schema: str, mover: int) -> None:
        """The fence's row stays locked to the end, so that no later mover can claim what is being dropped.

        Schema, login and fence come and go in one transaction: without a fence nothing is there, and what a later
        mover makes after we looked is not ours.
        """
        name = checked_schema_name(schema)
        with self._connect() as connection:
            if run(connection, f"SELECT to_regclass('{name}._fence')").fetchone() == (None,):
                return
            held = run(connection, f"SELECT mover FROM {name}._fence FOR UPDATE").fetchone()
            if held is not None and held[0] > mover:
                raise MoverLost
            with self._connect() as other:
                self._end_sessions(other, name)
            # A login can give itself default privileges, which keep a role alive: they go with what it owns.
            run(connection, f"DROP SCHEMA {name} CASCADE")
            run(connection, f"GRANT {name} TO CURRENT_USER; DROP OWNED BY {name}; DROP ROLE {name};")

    def set_password(self, schema: str, password: str) -> None:
        """Stores the SCRAM verifier, never the password."""
        with self._connect() as connection:
            run(connection, f"ALTER ROLE {checked_schema_name(schema)} PASSWORD '{scram_verifier(password)}'")

    def close_login(self, schema: str) -> None:
        """NOLOGIN, then pg_terminate_backend."""
        name = checked_schema_name(schema)
        with self._connect() as connection:
            if self._has_login(connection, name):
                self._end_sessions(connection, name)

    def open_login(self, schema: str) -> None:
        """LOGIN."""
        with self._connect() as connection:
            run(connection, f"ALTER ROLE {checked_schema_name(schema)} LOGIN")

    def fence(self, schema: str) -> Fence | None:
        """Reads the row; a missing schema is None."""
        with self._connect() as connection:
            try:
                row = run(
                    connection, f"SELECT epoch, mode, mover, revision FROM {checked_schema_name(schema)}._fence"
                ).fetchone()
            except (errors.UndefinedTable, errors.InvalidSchemaName):
                return None
        return Fence(row[0], FenceMode(row[1]), row[2], row[3]) if row else None

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
            run(connection, f"SET LOCAL lock_timeout = {int(timeout_ms)}")
            try:
                run(connection, f"LOCK TABLE {name}._fence IN EXCLUSIVE MODE")
            except errors.LockNotAvailable:
                raise FenceBusy from None
            changed = run(
                connection,
                f"UPDATE {name}._fence SET mode = '{FenceMode(mode)}', epoch = {int(epoch)} WHERE mover = {int(mover)}",
            )
            if changed.rowcount != 1:
                raise MoverLost

    def sums(self, schema: str, tables: Sequence[Table] = DATA_TABLES) -> dict[str, TableSum]:
        """Hashed by the server, in one REPEATABLE READ snapshot."""
        name = checked_schema_name(schema)
        found = {}
        with self._connect(snapshot=True) as connection:
            for table in tables:
                row = run(connection, _sum_query(table, name)).fetchone()
                assert row is not None  # noqa: S101 - an aggregate always has a row
                found[table.name] = TableSum(row[0], format(int(row[1]) % 2**64, "016x"))
        return found

    @contextmanager
    def snapshot(self, schema: str) -> Iterator[Snapshot]:
        """COPY from one REPEATABLE READ snapshot, which the fence's row begins; the server writes the texts."""
        name = checked_schema_name(schema)
        with self._connect(snapshot=True) as connection:
            try:
                row = run(connection, f"SELECT epoch, mode, mover, revision FROM {name}._fence").fetchone()
            except (errors.UndefinedTable, errors.InvalidSchemaName):
                row = None
            if row is None:
                raise missing()

            def rows(table: Table) -> Iterator[Texts]:
                texts = ", ".join(_canonical(column.name, column.type) for column in table.columns)
                out = trusted(f"COPY (SELECT {texts} FROM {name}.{table.name}) TO STDOUT")
                with connection.cursor() as cursor, cursor.copy(out) as copy:
                    yield from copy.rows()

            yield Snapshot(Fence(row[0], FenceMode(row[1]), row[2], row[3]), rows)

    def load(self, schema: str, mover: int, tables: Iterable[tuple[Table, Iterable[Texts]]]) -> int:
        """COPY; the fence's row is held to the end, so that no later mover claims what is being filled."""
        name, written = checked_schema_name(schema), 0
        with self._connect() as connection:
            run(connection, "SET LOCAL timezone = 'UTC'")
            held = run(connection, f"SELECT FROM {name}._fence WHERE mover = {int(mover)} FOR UPDATE").fetchone()
            if held is None:
                raise MoverLost
            try:
                for table, rows in tables:
                    columns = ", ".join(column.name for column in table.columns)
                    hexadecimal = [n for n, column in enumerate(table.columns) if isinstance(column.type, LargeBinary)]
                    into = trusted(f"COPY {name}.{table.name} ({columns}) FROM STDIN")
                    with connection.cursor() as cursor:
                        with cursor.copy(into) as copy:
                            for row in rows:
                                copy.write_row(_as_bytea(row, hexadecimal) if hexadecimal else row)
                        written += cursor.rowcount
            except (errors.DataError, errors.IntegrityError):
                raise not_taken(table.name) from None
        return written

    def copy(self, schema: str, target: Server, target_schema: str, mover: int) -> int:
        """COPY in binary form from one snapshot into one transaction."""
        if not isinstance(target, PostgreSQL):
            return self.carry(schema, target, target_schema, mover)
        source_name, target_name = checked_schema_name(schema), checked_schema_name(target_schema)
        rows = 0
        with self._connect(snapshot=True) as source, target._connect() as sink:
            held = run(sink, f"SELECT FROM {target_name}._fence WHERE mover = {int(mover)} FOR UPDATE").fetchone()
            if held is None:
                raise MoverLost
            for table in DATA_TABLES:
                columns = ", ".join(column.name for column in table.columns)
                out = f"COPY {source_name}.{table.name} ({columns}) TO STDOUT (FORMAT binary)"
                into = f"COPY {target_name}.{table.name} ({columns}) FROM STDIN (FORMAT binary)"
                with source.cursor() as reader, sink.cursor() as writer:
                    with reader.copy(trusted(out)) as reading, writer.copy(trusted(into)) as writing:
                        for block in reading:
                            writing.write(block)
                    rows += writer.rowcount
        return rows

    def use(self) -> list[SchemaUse]:
        """Sizes and live rows from the statistics views, connections from pg_stat_activity."""
        with self._connect() as connection:
            rows = connection.execute(
                "SELECT n.nspname, coalesce(sum(s.n_live_tup), 0)::bigint, "
                "coalesce(sum(pg_total_relation_size(s.relid)), 0)::bigint, "
                "(SELECT count(*) FROM pg_stat_activity a WHERE a.usename = n.nspname) "
                "FROM pg_namespace n JOIN pg_stat_user_tables s ON s.schemaname = n.nspname "
                "WHERE n.nspname LIKE 'user\\_%' GROUP BY n.nspname"
            ).fetchall()
        return [SchemaUse(*row) for row in rows]

    @contextmanager
    def connected(self) -> Iterator[None]:
        """One connection is kept from call to call, until it breaks or the block ends. Not for several threads."""
        self._keep = True
        try:
            yield
        finally:
            self._keep = False
            if self._kept is not None:
                self._kept.close()
                self._kept = None

    @contextmanager
    def _connect(self, *, snapshot: bool = False) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """A transaction as the administrator: commits at the end, rolls back on an exception."""
        connection, self._kept = self._kept or self._open(), None
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
        except errors.LockNotAvailable:
            raise Refused(Code.UNAVAILABLE, "The workspace's tables are locked.", "Try again.") from None
        except psycopg.OperationalError:
            if not connection.broken:
                raise
            raise self._no_answer() from None
        finally:
            if self._keep and self._kept is None and not connection.closed:
                self._kept = connection
            else:
                connection.close()

    def _open(self) -> psycopg.Connection[tuple[Any, ...]]:
        try:
            return psycopg.connect(**self._parameters, options=self._options, application_name="awssome-admin")
        except psycopg.OperationalError:
            raise self._no_answer() from None

    def _no_answer(self) -> Refused:
        where = f"{self._parameters['host']}:{self._parameters['port']}"
        return Refused(Code.UNAVAILABLE, f"The database server at {where} does not answer.", "Try again.")

    @staticmethod
    def _has_login(connection: psycopg.Connection[Any], name: str) -> bool:
        return connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (name,)).fetchone() is not None

    @staticmethod
    def _end_sessions(connection: psycopg.Connection[Any], name: str) -> None:
        run(connection, f"ALTER ROLE {name} NOLOGIN")
        connection.commit()  # nobody can come in any more before those inside are ended
        connection.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s", (name,))


def scram_verifier(password: str) -> str:
    """A SCRAM-SHA-256 verifier (RFC 5803) with one iteration.

    Iterations slow down guessing of weak passwords; a login's password has 256 random bits, and one iteration makes
    connecting cheap.
    """
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    stored = base64.b64encode(hashlib.sha256(client_key).digest()).decode()
    return f"SCRAM-SHA-256$1:{base64.b64encode(salt).decode()}${stored}:{base64.b64encode(server_key).decode()}"


def _sum_query(table: Table, schema: str) -> str:
    parts = []
    for column in table.columns:
        value = _canonical(column.name, column.type)
        length = f"octet_length(convert_to({value}, 'UTF8'))"
        parts.append(f"CASE WHEN {column.name} IS NULL THEN '~,' ELSE {length} || ':' || {value} || ',' END")
    row = " || ".join(parts)
    digest = f"substring(sha256(convert_to({row}, 'UTF8')) FROM 1 FOR 8)"
    as_number = f"('x' || encode({digest}, 'hex'))::bit(64)::bigint::numeric"
    return f"SELECT count(*), coalesce(sum({as_number}), 0) FROM {schema}.{table.name}"


def _as_bytea(row: Texts, places: Sequence[int]) -> Texts:
    """Bytes as PostgreSQL reads them."""
    found = list(row)
    for place in places:
        if found[place] is not None:
            found[place] = f"\\x{found[place]}"
    return found


def _canonical(name: str, kind: Any) -> str:
    if isinstance(kind, Instant):
        return f"to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')"
    if isinstance(kind, Day):
        return f"to_char({name}, 'YYYY-MM-DD')"
    if isinstance(kind, LargeBinary):
        return f"encode({name}, 'hex')"
    if isinstance(kind, Boolean):
        return f"CASE WHEN {name} THEN '1' ELSE '0' END"
    return f"{name}::text"
