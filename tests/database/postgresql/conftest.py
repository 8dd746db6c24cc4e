"""Alice, Bob and the superuser, for every module here; Bob has to come out of each test as he went in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from awssome.database.embedded import Cluster
from awssome.database.engine import Server
from awssome.database.postgresql.entrance import connect_as_tenant
from awssome.database.postgresql.server import PostgreSQL
from awssome.database.servers import TENANTS_DATABASE
from awssome.database.sessions import Sessions
from awssome.domain.tenants import Placement
from awssome.domain.times import new_id
from tests.conftest import superuser
from tests.database.postgresql.neighbours import SECRET, Neighbours, everything_of
from tests.deals import write_a_deal


@pytest.fixture(scope="package")
def neighbours(
    make_workspace: Callable[[], Placement], pool: Server, pool_url: str, registry_template: str
) -> Neighbours:
    """Alice and Bob, on a server that holds the control plane, too."""
    assert isinstance(pool, PostgreSQL)
    alice, bob = make_workspace(), make_workspace()
    with closing(Sessions(budget=2)) as sessions:
        for placement, title in ((alice, "alices-deal"), (bob, SECRET)):
            with sessions.open(placement) as connection:
                write_a_deal(connection, new_id(), title)
    return Neighbours(alice, bob, pool, pool_url)


@pytest.fixture
def alice(neighbours: Neighbours) -> Iterator[psycopg.Connection[Any]]:
    """A session of Alice's. Each statement is a transaction of its own, unless she begins one."""
    with closing(connect_as_tenant(neighbours.alice)) as connection:
        yield connection


@pytest.fixture
def bob(neighbours: Neighbours) -> Iterator[psycopg.Connection[Any]]:
    """A session of Bob's, like Alice's."""
    with closing(connect_as_tenant(neighbours.bob)) as connection:
        yield connection


@pytest.fixture(scope="package")
def onlooker(cluster: Cluster) -> Iterator[psycopg.Connection[Any]]:
    """The superuser, who sees everything."""
    with closing(superuser(cluster, TENANTS_DATABASE)) as connection:
        yield connection


@pytest.fixture
def bob_is_unharmed(neighbours: Neighbours, onlooker: psycopg.Connection[Any]) -> Iterator[None]:
    before = everything_of(neighbours.bob, onlooker)
    assert SECRET in str(before)
    yield
    assert everything_of(neighbours.bob, onlooker) == before


@pytest.fixture
def throwaway(make_workspace: Callable[[], Placement], pool: Server) -> Iterator[Placement]:
    """A workspace that a test may spoil."""
    placement = make_workspace()
    yield placement
    pool.drop(placement.schema, 99)
