"""Registries for tests: copies of a migrated one, emptied after use and handed on under another name.

A copy takes PostgreSQL a fifth of a second and emptying one a fiftieth. The new name keeps whoever still knows the old
one out, and a registry whose tables a test has changed is dropped.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

Connect = Callable[[str], psycopg.Connection[tuple[object, ...]]]

_MAINTENANCE = "postgres"

# Everything that a test can change in a registry and that is not a row. Object ids are the same in every copy.
_SHAPE = """
SELECT md5(string_agg(what, '|' ORDER BY what)) FROM (
    SELECT format('%s %s %s %s', attrelid, attname, atttypid, attnotnull) AS what FROM pg_attribute
        WHERE attrelid >= 16384 AND NOT attisdropped
    UNION ALL SELECT format('%s %s %s', oid, relname, relacl) FROM pg_class WHERE oid >= 16384
    UNION ALL SELECT format('%s %s', oid, tgenabled) FROM pg_trigger
    UNION ALL SELECT format('%s %s', oid, prosrc) FROM pg_proc WHERE oid >= 16384
    UNION ALL SELECT format('%s', oid) FROM pg_constraint WHERE oid >= 16384
    UNION ALL SELECT format('%s %s', setrole, setconfig) FROM pg_db_role_setting
        WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
    UNION ALL SELECT 'revision ' || version_num FROM alembic_version
) AS everything
"""


@dataclass
class Registries:
    """The copies of one server.

    :ivar connect: opens a connection of the server's superuser to a database.
    :ivar template: the URL of the migrated registry that all are copied from.
    """

    connect: Connect
    template: str
    _spare: list[str] = field(default_factory=list)
    _tables: list[str] = field(default_factory=list)
    _shape: object = None

    @contextmanager
    def one(self) -> Iterator[str]:
        """The URL of a registry in which nothing has happened yet."""
        name = self._spare.pop() if self._spare else self._copied()
        yield make_url(self.template).set(database=name).render_as_string(hide_password=False)
        self._take_back(name)

    def _copied(self) -> str:
        name = _new_name()
        origin = make_url(self.template).database or ""
        if not self._tables:
            with self.connect(origin) as connection:
                self._tables = [
                    str(table)
                    for (table,) in connection.execute(
                        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
                        "WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
                    )
                ]
                self._shape = _shape_of(connection)
        with self.connect(_MAINTENANCE) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER awssome_control").format(
                    sql.Identifier(name), sql.Identifier(origin)
                )
            )
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
        return name

    def _take_back(self, name: str) -> None:
        fresh = _new_name()
        with self.connect(_MAINTENANCE) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name]
            )
            try:
                connection.execute(
                    sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(name), sql.Identifier(fresh))
                )
            except psycopg.errors.ObjectInUse:  # somebody is still at it and has come back
                _drop(connection, name)
                return
        with self.connect(fresh) as connection:
            try:
                as_it_was = _shape_of(connection) == self._shape
            except psycopg.errors.UndefinedTable:
                as_it_was = False
            if as_it_was:
                self._empty(connection)
        if as_it_was:
            self._spare.append(fresh)
        else:
            with self.connect(_MAINTENANCE) as connection:
                _drop(connection, fresh)

    def _empty(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        connection.execute("SET session_replication_role = replica")  # no trigger, no foreign key is asked
        asked = ", ".join(f"EXISTS (SELECT FROM {table})" for table in self._tables)
        (filled,) = connection.execute(f"SELECT ARRAY[{asked}]").fetchall()[0]  # type: ignore[arg-type]
        assert isinstance(filled, list)
        for table, has_rows in zip(self._tables, filled, strict=True):
            if has_rows:
                connection.execute(f"DELETE FROM {table}")  # type: ignore[arg-type]
        connection.execute(
            "SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false) "
            "FROM pg_sequences WHERE last_value IS NOT NULL"
        )


def _new_name() -> str:
    return "registry_" + secrets.token_hex(6)


def _shape_of(connection: psycopg.Connection[tuple[object, ...]]) -> object:
    return connection.execute(_SHAPE).fetchall()


def _drop(connection: psycopg.Connection[tuple[object, ...]], name: str) -> None:
    connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
