"""What the revisions make is what the code declares, for tenants and for the registry, however often they run."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from procrastinate.schema import SchemaManager
from psycopg import sql
from sqlalchemy import MetaData, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from awssome.database import migrate, template
from awssome.database.embedded import Cluster
from awssome.database.registry import tables
from awssome.database.schema import DATA_TABLES, SYMBOL, metadata
from awssome.database.servers import CONTROL_ROLE, TENANTS_DATABASE
from awssome.domain.errors import Refused
from awssome.domain.tenants import EngineName, Placement, new_schema_name
from tests.conftest import superuser
from tests.engines import only_postgresql
from tests.processes import processes

JOBS = "procrastinate"


@only_postgresql
def test_a_provisioned_schema_is_what_the_metadata_declares(
    make_workspace: Callable[[], Placement], pool_url: str, cluster: Cluster
) -> None:
    provisioned, declared = make_workspace().schema, new_schema_name()
    with superuser(cluster, TENANTS_DATABASE) as connection:
        connection.execute(f"CREATE SCHEMA {declared} AUTHORIZATION awssome_provisioner")
        _create_all(metadata, pool_url, {SYMBOL: declared})
        found = _catalog(connection, provisioned)
        assert {table for table, *_ in found["columns"]} == {table.name for table in metadata.tables.values()}
        assert found == _catalog(connection, declared)
        connection.execute(f"DROP SCHEMA {declared} CASCADE")


@only_postgresql
def test_every_table_of_a_tenant_is_guarded_and_granted_by_itself(
    make_workspace: Callable[[], Placement], cluster: Cluster
) -> None:
    schema = make_workspace().schema
    with superuser(cluster, TENANTS_DATABASE) as connection:
        guarded: list[Any] = connection.execute(
            "SELECT c.relname::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
            "WHERE c.relnamespace = %s::regnamespace AND t.tgname = '_guard' AND t.tgenabled = 'O' "
            "AND t.tgtype & 1 = 0 AND t.tgtype & 2 > 0 AND t.tgtype & 28 = 28",  # BEFORE INSERT, DELETE, UPDATE, once
            (schema,),
        ).fetchall()
        granted: list[Any] = connection.execute(
            "SELECT c.relname::text, array_agg(a.privilege_type ORDER BY a.privilege_type) "
            "FROM pg_class c, aclexplode(c.relacl) a "
            "WHERE c.relnamespace = %s::regnamespace AND a.grantee = %s::regrole GROUP BY c.relname",
            (schema, schema),
        ).fetchall()
        public = connection.execute(
            "SELECT c.relname FROM pg_class c, aclexplode(c.relacl) a "
            "WHERE c.relnamespace = %s::regnamespace AND a.grantee = 0",
            (schema,),
        ).fetchall()
        owned = connection.execute("SELECT FROM pg_class WHERE relowner = %s::regrole", (schema,)).fetchall()
    data = {table.name for table in DATA_TABLES}
    assert {name for (name,) in guarded} == data
    rights: dict[str, list[str]] = {name: ["DELETE", "INSERT", "SELECT", "UPDATE"] for name in data}
    assert dict(granted) == rights | {"deal_events": ["INSERT", "SELECT"], "_fence": ["SELECT"]}
    assert public == owned == []


def test_rendered_statements_name_no_schema_but_the_symbol() -> None:
    rendered = template.statements(EngineName.POSTGRESQL)
    assert set(re.findall(r"(?:TABLE|ON|REFERENCES|FUNCTION) (\w+)\.", rendered)) == {template.TENANT}
    with pytest.raises(ValueError, match="not the name"):
        template.for_schema(rendered, "user_1; DROP TABLE x")


def test_threads_that_render_at_once_render_the_same() -> None:
    """As the first jobs of a worker do, four at a time."""
    alone = template.statements(EngineName.POSTGRESQL)
    for _ in range(5):
        template.statements.cache_clear()
        together = threading.Barrier(4)

        def render(_: int, together: threading.Barrier = together) -> str:
            together.wait()
            return template.statements(EngineName.POSTGRESQL)

        with ThreadPoolExecutor(4) as threads:
            assert set(threads.map(render, range(4))) == {alone}


def test_the_registry_is_what_its_metadata_declares(registry_url: str, cluster: Cluster) -> None:
    engine = create_engine(registry_url, poolclass=NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"compare_type": True, "compare_server_default": True, "include_name": _ours},
        )
        assert compare_metadata(context, tables.metadata) == []
    with _empty_database(cluster) as url:
        with _connect(url) as declared:
            declared.execute("CREATE EXTENSION pg_trgm")
        _create_all(tables.metadata, url, {})
        with _connect(url) as declared, _connect(registry_url) as migrated:
            assert _catalog(migrated, "public", JOBS, "alembic_version") == _catalog(declared, "public")


def test_migrating_the_registry_twice_changes_nothing(registry_url: str) -> None:
    with _connect(registry_url) as connection:
        before = _catalog(connection, "public")
        revision = migrate.upgrade_registry(registry_url, jobs_schema=SchemaManager.get_schema())
        assert _catalog(connection, "public") == before
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(revision,)]


def test_a_registry_that_a_newer_version_has_migrated_is_used_and_left_alone(registry_url: str) -> None:
    """While versions change, processes of the old one still start."""
    with _connect(registry_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    migrate.require_newest(registry_url)
    assert migrate.upgrade_registry(registry_url, jobs_schema=SchemaManager.get_schema()) == "9999"
    assert migrate.registry_revision(registry_url) == "9999"


def test_a_registry_of_an_older_version_has_to_be_migrated_first(registry_url: str) -> None:
    with _connect(registry_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0002'")
    with pytest.raises(Refused, match="is at revision 0002, and this version needs") as refused:
        migrate.require_newest(registry_url)
    assert refused.value.advice == "Run `awssome migrate`."


@pytest.mark.usefixtures("registry_template")
def test_two_processes_may_migrate_an_empty_registry_at_once(cluster: Cluster) -> None:
    with _empty_database(cluster) as url:
        barrier = processes.Barrier(2)
        both = [processes.Process(target=_migrate, args=(url, barrier)) for _ in range(2)]
        for process in both:
            process.start()
        for process in both:
            process.join(60)
        assert [process.exitcode for process in both] == [0, 0]
        with _connect(url) as connection:
            assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
            assert connection.execute("SELECT count(*) FROM tenants").fetchone() == (0,)
            assert connection.execute("SELECT count(*) FROM procrastinate_jobs").fetchone() == (0,)


def _migrate(url: str, barrier: Barrier) -> None:
    barrier.wait(30)
    migrate.upgrade_registry(url, jobs_schema=SchemaManager.get_schema())


def _ours(name: str | None, kind: str, _: object) -> bool:
    return kind != "table" or not (name or "").startswith((JOBS, "alembic_version"))


def _create_all(declared: MetaData, url: str, names: dict[str, str]) -> None:
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        declared.create_all(connection.execution_options(schema_translate_map=names), checkfirst=False)


def _catalog(connection: psycopg.Connection[Any], schema: str, *left_out: str) -> dict[str, list[tuple[Any, ...]]]:
    """Columns, constraints and indexes of a schema, as PostgreSQL itself tells them, without the schema's name."""
    queries = {
        "columns": "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, "
        "pg_get_expr(d.adbin, d.adrelid) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 "
        "AND NOT a.attisdropped LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum "
        "WHERE c.relkind = 'r' AND c.relnamespace = %s::regnamespace ORDER BY 1, 2",
        "constraints": "SELECT conrelid::regclass::text, conname, contype, pg_get_constraintdef(oid), condeferrable "
        "FROM pg_constraint WHERE contype <> 'n' AND connamespace = %s::regnamespace ORDER BY 1, 2",
        "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = %s ORDER BY 1, 2",
    }
    found = {}
    for part, query in queries.items():
        rows = [
            tuple(re.sub(rf"\b{schema}\b\.?", "", value) if isinstance(value, str) else value for value in row)
            for row in connection.execute(query, (schema,)).fetchall()
        ]
        found[part] = [row for row in rows if not row[0].startswith(left_out)] if left_out else rows
    return found


@contextmanager
def _empty_database(cluster: Cluster) -> Iterator[str]:
    name = sql.Identifier("empty_" + secrets.token_hex(6))
    url = make_url(f"postgresql+psycopg://{cluster.superuser}:{cluster.password}@{cluster.host}:{cluster.port}")
    with superuser(cluster) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, sql.Identifier(CONTROL_ROLE)))
        yield url.set(database=name.as_string().strip('"')).render_as_string(hide_password=False)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def _connect(url: str) -> psycopg.Connection[Any]:
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)
