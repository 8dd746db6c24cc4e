"""Alice, Bob and an onlooker, for every module here; Bob has to come out of each as he went in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import select

from awssome.database import Connection
from awssome.database.engine import Server
from awssome.database.schema import deal_registrations, field_mappings
from awssome.database.sessions import Sessions
from awssome.database.sqlserver import driver
from awssome.domain.tenants import Placement
from awssome.domain.times import new_id
from tests.database.sqlserver.neighbours import (
    SECRET,
    Neighbours,
    a_mapping,
    administrator_of,
    content_of,
    is_let_in,
    session_of,
    structure_of,
)
from tests.deals import write_a_deal


@pytest.fixture(scope="package")
def neighbours(make_workspace: Callable[[], Placement], pool: Server, pool_url: str) -> Iterator[Neighbours]:
    alice, bob = make_workspace(), make_workspace()
    sessions = Sessions(budget=2)
    for placement, title in ((alice, "alices-deal"), (bob, SECRET)):
        with sessions.open(placement) as connection:
            _fill(connection, title)
    sessions.close()
    yield Neighbours(alice, bob, pool, pool_url)


@pytest.fixture(scope="package")
def onlooker(pool_url: str) -> Iterator[driver.Connection]:
    """The administrator, who sees everything."""
    with closing(administrator_of(pool_url)) as connection:
        yield connection


@pytest.fixture
def alice(neighbours: Neighbours) -> Iterator[driver.Connection]:
    """A fresh session of Alice's."""
    with closing(session_of(neighbours.alice)) as connection:
        yield connection


@pytest.fixture
def bob(neighbours: Neighbours) -> Iterator[driver.Connection]:
    """A session of Bob's, like Alice's."""
    with closing(session_of(neighbours.bob)) as connection:
        yield connection


@pytest.fixture(scope="package")
def bobs_rows(neighbours: Neighbours, onlooker: driver.Connection) -> list[Any]:
    before = content_of(neighbours.bob, onlooker)
    assert SECRET in str(before)
    return before


@pytest.fixture(scope="package")
def bobs_structure(neighbours: Neighbours, onlooker: driver.Connection) -> list[Any]:
    return structure_of(neighbours.bob, onlooker)


@pytest.fixture(scope="module")
def bob_is_unharmed_in_the_end(
    neighbours: Neighbours, onlooker: driver.Connection, bobs_structure: list[Any]
) -> Iterator[None]:
    """Bob's tables, rights and login are what they were, and his password still opens it."""
    yield
    assert structure_of(neighbours.bob, onlooker) == bobs_structure
    assert is_let_in(neighbours.bob)


@pytest.fixture
def bobs_rows_are_unharmed(neighbours: Neighbours, onlooker: driver.Connection, bobs_rows: list[Any]) -> Iterator[None]:
    """Whatever a test does, Bob's rows are afterwards what they were before."""
    yield
    assert content_of(neighbours.bob, onlooker) == bobs_rows


@pytest.fixture
def bob_is_unharmed(neighbours: Neighbours, onlooker: driver.Connection, bobs_structure: list[Any]) -> Iterator[None]:
    """So are his tables, rights and login."""
    yield
    assert structure_of(neighbours.bob, onlooker) == bobs_structure


@pytest.fixture
def throwaway(make_workspace: Callable[[], Placement], pool: Server) -> Iterator[Placement]:
    """A workspace that a test may spoil."""
    placement = make_workspace()
    yield placement
    pool.drop(placement.schema, 99)


def _fill(connection: Connection, title: str) -> None:
    write_a_deal(connection, new_id(), title)
    connection.execute(field_mappings.insert().values(a_mapping() | {"field": "f", "property": title}))
    assert connection.execute(select(deal_registrations.c.title)).scalars().all() == [title]
