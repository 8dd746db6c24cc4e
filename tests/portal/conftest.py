"""The cast's workspaces on a real PostgreSQL, and the portal in front of them with a fake of the central API only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from awssome.database import embedded
from awssome.database.postgresql import PostgreSQL
from awssome.database.sessions import Sessions
from awssome.domain.moves import FenceMode
from awssome.domain.secrets import Keys, new_secret_key
from awssome.domain.tenants import EngineName, Placement, new_schema_name
from awssome.domain.times import new_id


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Cluster]:
    """A PostgreSQL of our own."""
    home = Path(tmp_path_factory.mktemp("home"))
    with embedded.start(home, "pool") as handle:
        yield handle.cluster


@pytest.fixture(scope="session")
def server(cluster: embedded.Cluster) -> PostgreSQL:
    """The cluster as a server of the data plane."""
    return PostgreSQL(f"postgresql://{cluster.superuser}:{cluster.password}@{cluster.host}:{cluster.port}/postgres")


@pytest.fixture
def placement(cluster: embedded.Cluster, server: PostgreSQL) -> Iterator[Placement]:
    """A workspace that is there for one test."""
    yield from provisioned(cluster, server)


@pytest.fixture(scope="session")
def sessions() -> Iterator[Sessions]:
    """Sessions of tenants, as the portal has them."""
    opened = Sessions(budget=20)
    yield opened
    opened.close()


def provisioned(cluster: embedded.Cluster, server: PostgreSQL) -> Iterator[Placement]:
    """A fresh schema."""
    keys, tenant_id, schema = Keys.from_text(new_secret_key()), new_id(), new_schema_name()
    password = keys.login_password(tenant_id, "pool", schema, 1)
    server.provision(schema, password, epoch=1, mode=FenceMode.RW)
    yield Placement(
        tenant_id=tenant_id,
        placement_id=new_id(),
        engine=EngineName.POSTGRESQL,
        host=cluster.host,
        port=cluster.port,
        database="postgres",
        schema=schema,
        epoch=1,
        secret_version=1,
        password=password,
    )
