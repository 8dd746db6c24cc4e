"""Workspaces without a registry, for tests of one server."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy.engine import make_url

from awssome.database.engine import Server
from awssome.database.servers import open_server
from awssome.domain.moves import FenceMode
from awssome.domain.secrets import Keys
from awssome.domain.tenants import EngineName, Placement, new_schema_name
from awssome.domain.times import new_id


@pytest.fixture(scope="session")
def pool(engine: EngineName, pool_url: str) -> Server:
    """The pool, with its administrator's rights."""
    return open_server(engine, pool_url)


@pytest.fixture(scope="session")
def make_workspace(pool: Server, pool_url: str, keys: Keys) -> Callable[[], Placement]:
    """Makes empty workspaces on the pool, open, at epoch 1."""
    url = make_url(pool_url)

    def made() -> Placement:
        tenant_id, schema = new_id(), new_schema_name()
        placement = Placement(
            tenant_id=tenant_id,
            placement_id=new_id(),
            engine=pool.engine,
            host=url.host or "",
            port=url.port or 0,
            database=url.database or "",
            schema=schema,
            epoch=1,
            secret_version=1,
            password=keys.login_password(tenant_id, "pool-1", schema, 1),
        )
        pool.provision(schema, placement.password, epoch=1, mode=FenceMode.RW)
        return placement

    return made
