"""A registry of an earlier version, with everything in it, is brought to the newest revision while it is in use."""

from __future__ import annotations

from datetime import timedelta

from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from procrastinate.schema import SchemaManager
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool

from awssome.database import migrate
from awssome.database.embedded import Cluster
from awssome.database.registry import Registry, departures, movers, placements, servers, tenants
from awssome.domain.secrets import Keys
from awssome.domain.tenants import TenantState
from awssome.domain.times import new_id, now
from tests.database.test_template import _empty_database

SERVER = """
INSERT INTO servers (id, name, kind, engine, host, port, database, admin_url, open, capacity, created_at)
VALUES (:id, 'pool-1', 'pool', 'postgresql', '127.0.0.1', 5432, 'tenants', '\\x00', true, 10, now())
"""

TENANT = """
INSERT INTO tenants (id, slug, company, tier, state, external_id, aws_choice, epoch, created_at, activated_at)
VALUES (:id, :slug, :slug, 'free', :state, :slug, 'open', 3, now() - interval '1 year', now())
"""

PLACEMENT = """
INSERT INTO placements (id, tenant_id, server_id, schema_name, secret_version, key_id, state, revision, created_at)
VALUES (:id, :tenant, :server, :name, 1, 'k1', 'active', '0001', now())
"""

LIVES_THERE = "UPDATE tenants SET placement_id = :id WHERE id = :tenant"

MOVE = """
INSERT INTO moves (id, tenant_id, kind, source_id, target_id, phase, mover, requested_by, requested_at, evidence)
VALUES (:id, :tenant, 'rebalance', :placement, :placement, 'retaining', 7, 'olga@awssome.example', now(), '{}')
"""


def test_a_registry_with_tenants_in_it_is_upgraded_and_the_version_before_works_on(
    cluster: Cluster, registry_template: str, keys: Keys
) -> None:
    ids = {state: new_id() for state in ("pending", "active", "suspended", "deleted")}
    server, placement = new_id(), new_id()
    with _empty_database(cluster) as empty:
        url = make_url(registry_template).set(database=make_url(empty).database).render_as_string(hide_password=False)
        _bring_to(url, "0002")
        engine = create_engine(url, poolclass=NullPool)
        with engine.begin() as old:
            old.execute(text(SERVER), {"id": server})
            for state, tenant_id in ids.items():
                old.execute(text(TENANT), {"id": tenant_id, "slug": f"t-{state}", "state": state})
            names = {"tenant": ids["active"], "server": server, "name": "user_00000000000000aa"}
            old.execute(text(PLACEMENT), {"id": placement, **names})
            old.execute(text(LIVES_THERE), {"id": placement, "tenant": ids["active"]})
            old.execute(text(MOVE), {"id": new_id(), "tenant": ids["active"], "placement": placement})
        migrate.upgrade_registry(url, jobs_schema=SchemaManager.get_schema())
        migrate.require_newest(url)
        registry = Registry(url, connections=2)
        with registry.begin() as connection:
            for state, tenant_id in ids.items():
                assert tenants.find(connection, tenant_id).state is TenantState(state)
            found = placements.current(connection, keys, ids["active"])
            assert found.password == keys.login_password(ids["active"], "pool-1", found.schema, 1, "k1")
            assert servers.by_name(connection, "pool-1").tenants == 1
            # Nobody was counted before: they are not dormant, however old they are.
            assert departures.dormant(connection, now() - timedelta(days=1), 10) == []
            assert movers.take(connection, ids["active"]) == 8, "numbers go on behind the moves of before"
        with engine.begin() as old:
            old.execute(text(TENANT), {"id": new_id(), "slug": "signed-up-meanwhile", "state": "pending"})
        registry.close()


def _bring_to(url: str, revision: str) -> None:
    """As `migrate.upgrade_registry` of the version whose newest revision that was."""
    config = migrate._config()
    config.attributes["jobs_schema"] = SchemaManager.get_schema()
    script = ScriptDirectory.from_config(config)
    engine = create_engine(url, poolclass=NullPool)
    with (
        engine.begin() as connection,
        EnvironmentContext(
            config,
            script,
            fn=lambda at, _: list(script._upgrade_revs(revision, at)),  # type: ignore[arg-type]
        ) as environment,
    ):
        environment.configure(connection=connection)
        environment.run_migrations()
