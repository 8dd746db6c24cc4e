"""Workspaces are made and dropped once, whoever else is at it, and whatever their tenant has done to them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import mssql_python
import pytest

from awssome.database.engine import MoverLost, Server
from awssome.database.sqlserver import driver
from awssome.database.sqlserver.server import SQLServer
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import Placement, new_schema_name
from tests.database.sqlserver.attacks.fence import NEW_ROW
from tests.database.sqlserver.neighbours import (
    PASSWORD,
    Neighbours,
    bob_stays_unharmed,
    everything_of,
    has_ended,
    is_let_in,
    rows,
    session_of,
    structure_of,
    tried,
)
from tests.engines import eventually, only_sqlserver

pytestmark = [only_sqlserver, bob_stays_unharmed]


class TestMaking:
    """A workspace is made once."""

    def test_four_at_once_make_one(self, neighbours: Neighbours, onlooker: driver.Connection) -> None:
        schema = new_schema_name()
        together = threading.Barrier(4)

        def make(_: int) -> None:
            server = SQLServer(neighbours.url)
            server.fence(schema)  # so that its connection is open
            together.wait()
            server.provision(schema, PASSWORD, epoch=1, mode=FenceMode.RW)
            server.close()

        try:
            with ThreadPoolExecutor(4) as threads:
                list(threads.map(make, range(4)))
            made = replace(neighbours.alice, schema=schema, password=PASSWORD)
            assert rows(onlooker, f"SELECT COUNT(*) FROM {schema}._fence") == [(1,)]
            assert _shape_of(made, onlooker) == _shape_of(neighbours.alice, onlooker)
            with closing(session_of(made)) as session:
                driver.run(session, NEW_ROW.replace("{alice}", schema))
        finally:
            neighbours.server.drop(schema, 0)

    def test_making_again_changes_nothing(
        self, throwaway: Placement, pool: Server, onlooker: driver.Connection
    ) -> None:
        with closing(session_of(throwaway)) as session:
            driver.run(session, NEW_ROW.replace("{alice}", throwaway.schema))
        before = everything_of(throwaway, onlooker)
        pool.provision(throwaway.schema, PASSWORD, epoch=7, mode=FenceMode.MOVED, mover=3)
        assert everything_of(throwaway, onlooker) == before
        assert not is_let_in(replace(throwaway, password=PASSWORD))
        assert is_let_in(throwaway)


class TestDropping:
    """A workspace is dropped by whom it belongs to, and nothing in it prevents that."""

    def test_an_older_mover_drops_nothing(
        self, throwaway: Placement, pool: Server, onlooker: driver.Connection
    ) -> None:
        pool.claim(throwaway.schema, 5)
        before = everything_of(throwaway, onlooker)
        with pytest.raises(MoverLost):
            pool.drop(throwaway.schema, 4)
        assert everything_of(throwaway, onlooker) == before
        assert is_let_in(throwaway)
        pool.drop(throwaway.schema, 5)
        assert pool.fence(throwaway.schema) is None

    def test_dropping_a_workspace_ends_its_sessions(self, throwaway: Placement, pool: Server) -> None:
        """Whatever it holds: an open transaction, a lock, a cursor."""
        with closing(session_of(throwaway)) as mallory:
            driver.run(mallory, "BEGIN TRANSACTION")
            driver.run(mallory, f"UPDATE {throwaway.schema}.deal_registrations SET title = title")
            driver.run(mallory, f"DECLARE c CURSOR FOR SELECT * FROM {throwaway.schema}._fence; OPEN c")
            pool.drop(throwaway.schema, 0)
            eventually(lambda: has_ended(mallory))
        assert pool.fence(throwaway.schema) is None
        assert not is_let_in(throwaway)
        pool.drop(throwaway.schema, 0)  # and doing it again is nothing

    @pytest.mark.parametrize(
        "name",
        [
            pytest.param("{schema}_x", id="plain"),
            pytest.param("{schema}]; CREATE ROLE [{role}", id="bracket"),
            pytest.param("{schema}'; CREATE ROLE {role}; --", id="quote"),
            pytest.param('{schema}"; CREATE ROLE {role}; --', id="double quote"),
        ],
    )
    def test_the_name_that_alice_chose_is_nothing_but_a_name_when_her_workspace_is_dropped(
        self, name: str, throwaway: Placement, pool: Server, onlooker: driver.Connection
    ) -> None:
        """On a server that lets her rename her user."""
        schema = throwaway.schema
        role = schema.replace("user_", "mine_")
        chosen = name.replace("{schema}", schema).replace("{role}", role).replace('"', '""')
        with closing(session_of(throwaway)) as mallory:
            tried(mallory, f'ALTER USER {schema} WITH NAME = "{chosen}"')
        try:
            pool.drop(schema, 0)
        except mssql_python.Error:
            tried(onlooker, f'ALTER USER "{chosen}" WITH NAME = {schema}')
            raise
        made = rows(onlooker, f"SELECT DATABASE_PRINCIPAL_ID(N'{role}')")
        tried(onlooker, f"DROP ROLE {role}")
        assert made == [(None,)]
        assert pool.fence(schema) is None
        assert not is_let_in(throwaway)


def _shape_of(placement: Placement, onlooker: driver.Connection) -> list[Any]:
    """A tenant's structure without the names that are its own."""
    return [[line.replace(placement.schema, "schema") for line in lines] for lines in structure_of(placement, onlooker)]
