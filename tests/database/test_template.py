"""What the revisions make is what the code declares, for tenants and for the registry, however often they run."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path
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
from awssome.database.engine import Server
from awssome.database.registry import placements, tables
from awssome.database.schema import DATA_TABLES, SYMBOL, metadata
from awssome.database.servers import CONTROL_ROLE, TENANTS_DATABASE
from awssome.domain.tenants import EngineName, Placement, new_schema_name
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy, superuser
from tests.engines import DRIVER_ERRORS, as_administrator, only_postgresql
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


def test_a_newer_revision_reaches_every_tenant_and_a_broken_one_does_not_stop_the_others(
    newer_template: None, services: WorkerServices, make_tenant: Callable[..., Tenancy], pool: Server, pool_url: str
) -> None:
    tenancies = [make_tenant() for _ in range(3)]
    for tenancy in tenancies:
        _as_of(pool_url, tenancy.placement, "0001")
    with services.registry.begin() as connection:
        for tenancy in tenancies:
            placements.note_revision(connection, tenancy.placement.placement_id, "0001")
    broken = tenancies[1].placement
    pool.drop(broken.schema, 0)

    behind = migrate.tenants_behind(services.registry)
    assert set(behind) == {tenancy.placement.placement_id for tenancy in tenancies}
    told = dict(migrate.upgrade_tenants(services.registry, services.keys, services.open_server, behind))
    assert {schema for schema, problem in told.items() if problem is None} == {
        tenancies[0].placement.schema,
        tenancies[2].placement.schema,
    }
    assert told[broken.schema]
    assert migrate.tenants_behind(services.registry) == [broken.placement_id]
    for tenancy in (tenancies[0], tenancies[2]):
        fence = pool.fence(tenancy.placement.schema)
        assert fence is not None
        assert fence.revision == "9999"
        with services.sessions.open(tenancy.placement) as session:
            query = f"SELECT newest FROM {tenancy.placement.schema}.stage_mappings"
            assert session.exec_driver_sql(query).all() == []
        pool.migrate(tenancy.placement.schema)  # again: nothing to do


def test_a_revision_that_fails_half_way_leaves_the_tenant_as_it_was(
    newer_template: None, engine: EngineName, pool: Server, pool_url: str, make_workspace: Callable[[], Placement]
) -> None:
    placement = make_workspace()
    _as_of(pool_url, placement, "0001")
    column = {EngineName.POSTGRESQL: "COLUMN newest text", EngineName.SQLSERVER: "newest nvarchar(9)"}[engine]
    as_administrator(engine, pool_url, f"ALTER TABLE {placement.schema}.field_mappings ADD {column}")  # in its way
    before = pool.sums(placement.schema)
    with pytest.raises(DRIVER_ERRORS):
        pool.migrate(placement.schema)
    with pytest.raises(DRIVER_ERRORS):
        as_administrator(engine, pool_url, f"SELECT newest FROM {placement.schema}.stage_mappings")
    assert pool.sums(placement.schema) == before
    fence = pool.fence(placement.schema)
    assert fence is not None
    assert fence.revision == "0001"


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


@pytest.fixture
def newer_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A template with one more revision, 9999, which adds two columns."""
    revisions = tmp_path / "tenant" / "revisions"
    shutil.copytree(template._REVISIONS, revisions)
    (revisions / "9999_newest.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\nfrom awssome.database.template import TENANT\n"
        f"revision, down_revision = '9999', '{template.head()}'\n"
        "def upgrade():\n"
        "    op.add_column('stage_mappings', sa.Column('newest', sa.Text()), schema=TENANT)\n"
        "    op.add_column('field_mappings', sa.Column('newest', sa.Text()), schema=TENANT)\n"
    )
    monkeypatch.setattr(template, "_REVISIONS", revisions)
    template.head.cache_clear()
    template.statements.cache_clear()
    yield
    template.head.cache_clear()
    template.statements.cache_clear()


def _as_of(url: str, placement: Placement, revision: str) -> None:
    """Put a schema back to the tables and the revision it had before 9999."""
    schema = placement.schema
    undo = {
        EngineName.POSTGRESQL: "ALTER TABLE {0}.{1} DROP COLUMN IF EXISTS newest",
        EngineName.SQLSERVER: (
            "IF COL_LENGTH(N'{0}.{1}', N'newest') IS NOT NULL ALTER TABLE {0}.{1} DROP COLUMN newest"
        ),
    }[placement.engine]
    as_administrator(
        placement.engine,
        url,
        *(undo.format(schema, table) for table in ("stage_mappings", "field_mappings")),
        f"UPDATE {schema}._fence SET revision = '{revision}'",
    )


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
