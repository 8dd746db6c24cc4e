"""A server that vanishes without a word holds nobody up for ever."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import closing

import pytest

from awssome.database.postgresql.entrance import connect_as_tenant
from awssome.database.postgresql.server import PostgreSQL
from awssome.database.registry import Registry, driver_connection
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import Placement
from awssome.workflows import tasks
from awssome.workflows.services import WorkerServices
from tests.engines import only_postgresql


@only_postgresql
def test_sessions_of_tenants_and_of_the_administrator_give_a_silent_server_up(
    pool: PostgreSQL, make_workspace: Callable[[], Placement]
) -> None:
    with closing(connect_as_tenant(make_workspace())) as connection:
        assert _gives_up(connection.fileno())
    with pool._connect() as connection:
        assert _gives_up(connection.fileno())


def test_the_registry_and_the_queue_give_a_silent_server_up(registry: Registry, services: WorkerServices) -> None:
    with registry.begin() as connection:
        assert _gives_up(driver_connection(connection).fileno())

    async def of_the_queue() -> bool:
        app = tasks.build(services, registry.url.replace("+psycopg", ""))
        async with app.open_async(), app.connector.pool.connection() as connection:  # type: ignore[attr-defined]
            return _gives_up(connection.fileno())

    assert asyncio.run(of_the_queue())


def test_a_registry_that_does_not_answer_is_told_whatever_is_asked_of_it() -> None:
    away = Registry("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    for asking in (away.begin, lambda: away.holding("a sweep")):
        with pytest.raises(Refused) as refused, asking():
            pass
        assert refused.value.code is Code.UNAVAILABLE


def _gives_up(descriptor: int) -> bool:
    """What the kernel knows of the connection: whether it is probed when silent, and how long an answer may take."""
    with socket.socket(fileno=os.dup(descriptor)) as end:
        assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        options = (socket.TCP_USER_TIMEOUT, socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        return [end.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [30_000, 10, 5, 4]
