"""What does `awssome migrate` cost with nothing to do, and to add a column to every tenant, beside django-tenants?

Each question is asked in one cluster, with the peer's database beside ours.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

from procrastinate.schema import SchemaManager
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from awssome.database import migrate, migrator, servers, template
from awssome.database.embedded import Cluster
from awssome.database.postgresql.server import PostgreSQL
from awssome.database.registry import Registry, placements, tenants
from awssome.database.registry import servers as registered
from awssome.database.servers import opener
from awssome.database.template import Beyond
from awssome.domain.moves import FenceMode
from awssome.domain.secrets import Keys, new_secret_key
from awssome.domain.tenants import EngineName, PlacementState, ServerKind
from benchmarks import peers, platform

REGISTERED, TENANTS, ROUNDS = 10_000, 500, 3

REVISION = """
import sqlalchemy as sa
from alembic import op

from awssome.database.template import TENANT
from awssome.database.types import text

revision, down_revision = "{revision}", "{follows}"


def upgrade():
    op.add_column("deal_registrations", sa.Column("partner_note_{revision}", text(200)), schema=TENANT)
"""


def main() -> None:
    """Ours first, so that the peer's catalog is not in the way; then the peer, if it is installed."""
    with platform.cluster() as cluster, ExitStack() as stack:
        registry, keys, pool = _control_plane(cluster, stack)
        _fill_registry(registry, pool)
        _make_tenants(registry, keys, pool)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="awssome-bench-")))
        column = _add_columns(registry, keys, folder)
        floor = _raw(registry, keys, pool)
        nothing = _nothing_to_do(registry, (folder,))
        peer = _django_tenants(cluster) if peers.available() else None
        if peer is not None:
            print(f"  django-tenants, {TENANTS} tenants {peer[0] * 1e3:25,.0f} ms {peer[0] / nothing:22,.0f} x")
        print(f"\nAdd a column to {TENANTS} tenants, {migrator.CONNECTIONS} connections, median of {ROUNDS}")
        print(f"  raw ALTER TABLE, {migrator.BATCH} a round trip, one connection {floor:6.2f} s")
        print(f"  awssome                     {column:10.2f} s")
        if peer is not None:
            print(f"  django-tenants (once)       {peer[1]:10.2f} s  {peer[1] / column:10,.0f} x")


def _nothing_to_do(registry: Registry, beyond: Beyond) -> float:
    """Seconds, median, when all have what the revisions before have brought; the tables as autovacuum leaves them."""
    with create_engine(registry.url, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("VACUUM ANALYZE placements"))

    def nothing() -> None:
        with registry.begin() as connection:
            connection.execute(text("SELECT 1"))

    def who_is_behind() -> None:
        assert migrator.find_behind(registry, beyond=beyond) == []

    times = platform.interleaved(200, {"SELECT 1 in a transaction": nothing, "who is behind": who_is_behind})
    question = f"Nothing to do: {REGISTERED:,} placements that are rows only, and {TENANTS} with schemas"
    platform.report(question, times, "SELECT 1 in a transaction")
    return statistics.median(times["who is behind"])


def _add_columns(registry: Registry, keys: Keys, folder: Path) -> float:
    """Seconds for one column more in every tenant, from the question who is behind to the registry's last word."""
    times = []
    for turn in range(ROUNDS):
        beyond = _one_more(folder, turn)
        _raise_rows(registry, template.head(beyond))
        began = time.perf_counter()
        behind = migrator.find_behind(registry, beyond=beyond)
        told = list(migrator.migrate(registry, opener(registry, keys, beyond), behind, beyond=beyond))
        times.append(time.perf_counter() - began)
        assert [one.problem for one in told] == [None] * TENANTS
    return statistics.median(times)


def _one_more(folder: Path, turn: int) -> Beyond:
    follows, revision = template.head((folder,) if turn else ()), f"90{turn:02}"
    (folder / f"{revision}.py").write_text(REVISION.format(revision=revision, follows=follows))
    for cached in (template.head, template.older, template.statements, template._steps):
        cached.cache_clear()
    return (folder,)


def _raw(registry: Registry, keys: Keys, pool: UUID) -> float:
    """Seconds for the bare statements: what no way of doing it can avoid."""
    with registry.begin() as connection:
        schemas = list(
            connection.scalars(text("SELECT schema_name FROM placements WHERE server_id = :id"), {"id": pool})
        )
        _, url = registered.admin_url(connection, keys, pool)
    server, step = PostgreSQL(url), migrator.BATCH
    with server._connect() as connection:
        began = time.perf_counter()
        for first in range(0, len(schemas), step):
            statements = (
                f"ALTER TABLE {schema}.deal_registrations ADD COLUMN raw varchar(200);"
                for schema in schemas[first : first + step]
            )
            connection.execute("".join(statements))  # type: ignore[arg-type]
            connection.commit()
        return time.perf_counter() - began


def _django_tenants(cluster: Cluster) -> tuple[float, float]:
    """Seconds of `migrate_schemas` with nothing to do, and with a column to add."""
    with peers.django_tenants(cluster) as peer:
        peer.create(TENANTS)
        nothing, there = peer.migrate()
    assert there == TENANTS
    with peers.django_tenants(cluster, revised=True) as peer:
        return nothing, peer.migrate()[0]


def _control_plane(cluster: Cluster, stack: ExitStack) -> tuple[Registry, Keys, UUID]:
    """A registry with one pool, and the pool's id."""
    url, keys = servers.prepare_control_plane(cluster, platform.PASSWORD), Keys.from_text(new_secret_key())
    migrate.upgrade_registry(url, jobs_schema=SchemaManager.get_schema())
    registry = Registry(url)
    stack.callback(registry.close)
    pool = servers.prepare_data_plane(cluster, platform.PASSWORD)
    with registry.begin() as connection:
        return registry, keys, _register(connection, keys, "pool-1", pool)


def _register(connection: platform.Any, keys: Keys, name: str, url: str) -> UUID:
    parsed = make_url(url)
    return registered.register(
        connection,
        keys,
        name=name,
        kind=ServerKind.POOL,
        engine=EngineName.POSTGRESQL,
        host=parsed.host or "",
        port=parsed.port or 0,
        database=parsed.database or "",
        admin_url=url,
        open_now=True,
    )


def _fill_registry(registry: Registry, pool: UUID) -> None:
    """Rows of tenants and placements at the newest revision, with nothing behind them, on a server of their own."""
    with registry.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO servers SELECT (jsonb_populate_record(s, jsonb_build_object("
                "'id', gen_random_uuid(), 'name', 'rows-only'))).* FROM servers s WHERE id = :pool"
            ),
            {"pool": pool},
        )
        connection.execute(
            text(
                "INSERT INTO tenants (id, slug, company, tier, state, external_id, epoch, created_at) "
                "SELECT gen_random_uuid(), 'row-' || n, 'Row ' || n, 'free', 'active', 'row-' || n, 1, now() "
                "FROM generate_series(1, :count) n"
            ),
            {"count": REGISTERED},
        )
        connection.execute(
            text(
                "INSERT INTO placements (id, tenant_id, server_id, schema_name, secret_version, key_id, state, "
                "revision, created_at) SELECT gen_random_uuid(), t.id, s.id, 'user_' || substr(md5(t.slug), 1, 16), "
                "1, '1', 'active', :revision, now() FROM tenants t, servers s WHERE s.name = 'rows-only'"
            ),
            {"revision": template.head()},
        )


def _raise_rows(registry: Registry, revision: str) -> None:
    """Those without schemas are never behind."""
    with registry.begin() as connection:
        connection.execute(
            text(
                "UPDATE placements p SET revision = :revision FROM servers s "
                "WHERE s.id = p.server_id AND s.name = 'rows-only'"
            ),
            {"revision": revision},
        )


def _make_tenants(registry: Registry, keys: Keys, pool: UUID) -> None:
    """Tenants with schemas and logins, as sign-ups make them."""
    server = opener(registry, keys)(pool)

    def make(number: int) -> None:
        with registry.begin() as connection:
            tenant = tenants.create(connection, f"Tenant {number}")
            placement_id = placements.create(connection, tenant.id, pool)
            place = placements.find(connection, keys, placement_id)
        revision = server.provision(place.schema, place.password, epoch=1, mode=FenceMode.RW)
        with registry.begin() as connection:
            placements.mark(connection, placement_id, PlacementState.ACTIVE, revision=revision)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(make, range(TENANTS)))
    with registry.begin() as connection:
        connection.execute(text("ANALYZE"))


if __name__ == "__main__":
    main()
