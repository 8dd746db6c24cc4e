"""Sessions as a tenant: pools by placement in an LRU, under one connection budget for each server.

A connection *is* a tenant: it authenticated as the placement's own login, so the database itself refuses everything
that is not the tenant's, whatever SQL runs. One SQLAlchemy Engine per kind of engine holds dialect and compiled
statements; the pools hold connections.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import create_engine, event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from awssome.database import postgresql
from awssome.database.schema import SYMBOL
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import EngineName, Placement, checked_schema_name

_Key = tuple[UUID, int]

_ENGINES: dict[EngineName, Engine] = {}
_ENGINES_LOCK = threading.Lock()


class Sessions:
    """Opens transactions as tenants.

    :param budget: connections to one server, all tenants together; see DESIGN: (max_connections - reserve) / processes.
    :param each: connections of one tenant at most; a login's own limit is higher, for several processes.
    :param wait: seconds to wait for a free connection before the request is refused.
    """

    def __init__(self, *, budget: int = 60, each: int = 4, wait: float = 5.0) -> None:
        self._budget = budget
        self._each = each
        self._wait = wait
        self._lock = threading.Condition()
        self._pools: dict[tuple[str, int], _ServerPools] = {}

    @contextmanager
    def open(self, placement: Placement) -> Iterator[Connection]:
        """A transaction as the tenant: commits at the end, rolls back on an exception.

        Its first statement reads the fence. Statements are written against the symbolic schema.

        :raises Refused: FENCED when the placement is stale (ask the registry again), or when a write meets a schema
            that is being moved; UNAVAILABLE when the server does not answer or the budget is used up.
        """
        with _translated(), ExitStack() as stack:
            yield self._begin(stack, placement)

    def _begin(self, stack: ExitStack, placement: Placement) -> Connection:
        pools = self._server(placement)
        connection = stack.enter_context(pools.connect(placement))
        try:
            epoch = self._read_fence(stack, connection, placement)
        except _Gone:
            # The connection died while it was idle, and so may have its siblings: take a fresh one, once.
            pools.forget_idle(placement)
            connection = stack.enter_context(pools.connect(placement))
            epoch = self._read_fence(stack, connection, placement)
        if epoch != placement.epoch:
            raise postgresql.fenced()
        return connection

    @staticmethod
    def _read_fence(stack: ExitStack, connection: Connection, placement: Placement) -> int | None:
        driver: Any = connection.connection.driver_connection
        transaction = connection.begin()
        try:
            epoch = _BEGIN[placement.engine](driver, placement.schema)
        except Exception as error:
            if postgresql.is_gone(driver):
                connection.invalidate()
                transaction.close()
                raise _Gone from error
            transaction.rollback()
            raise
        stack.enter_context(transaction)
        return epoch

    def forget(self, placement: Placement) -> None:
        """Close the idle connections of a placement that is no longer true."""
        self._server(placement).forget(placement)

    def close(self) -> None:
        """Close every connection that is not in use."""
        for pools in list(self._pools.values()):
            pools.close()

    def held(self) -> int:
        """How many connections are open, in use or idle."""
        return sum(pools.opened for pools in self._pools.values())

    def _server(self, placement: Placement) -> _ServerPools:
        where = (placement.host, placement.port)
        with self._lock:
            if where not in self._pools:
                self._pools[where] = _ServerPools(self._budget, self._each, self._wait)
            return self._pools[where]


class _Gone(Exception):
    """The connection is dead."""


class _TenantPool:
    """The connections of one placement. `users` counts who is between taking and giving back."""

    def __init__(self, pool: QueuePool) -> None:
        self.pool = pool
        self.users = 0


class _ServerPools:
    """The pools of one server, least recently used first."""

    def __init__(self, budget: int, each: int, wait: float) -> None:
        self._budget = budget
        self._each = each
        self._wait = wait
        self._changed = threading.Condition()
        self._pools: OrderedDict[_Key, _TenantPool] = OrderedDict()
        self.opened = 0

    @contextmanager
    def connect(self, placement: Placement) -> Iterator[Connection]:
        engine = _engine(placement.engine)
        entry = self._take(placement, engine)
        try:
            pooled = entry.pool.connect()
            names = {SYMBOL: checked_schema_name(placement.schema)}
            with Connection(engine, connection=pooled).execution_options(schema_translate_map=names) as connection:
                yield connection
        finally:
            with self._changed:
                entry.users -= 1
                self._changed.notify()

    def forget(self, placement: Placement) -> None:
        with self._changed:
            entry = self._pools.get(_key(placement))
            if entry is not None and entry.users == 0:
                del self._pools[_key(placement)]
                entry.pool.dispose()

    def forget_idle(self, placement: Placement) -> None:
        with self._changed:
            self._pools[_key(placement)].pool.dispose()

    def close(self) -> None:
        with self._changed:
            for key in [key for key, entry in self._pools.items() if entry.users == 0]:
                self._pools.pop(key).pool.dispose()

    def _take(self, placement: Placement, engine: Engine) -> _TenantPool:
        key = _key(placement)
        with self._changed:
            entry = self._pools.get(key)
            if entry is None:
                entry = self._pools[key] = _TenantPool(self._new_pool(placement, engine))
            entry.users += 1
            self._pools.move_to_end(key)
            return entry

    def _new_pool(self, placement: Placement, engine: Engine) -> QueuePool:
        def opened() -> Any:
            self._make_room()
            try:
                return _CONNECT[placement.engine](placement)
            except BaseException:
                self._closed()
                raise

        pool = QueuePool(opened, pool_size=self._each, max_overflow=0, timeout=self._wait, dialect=engine.dialect)
        event.listen(pool, "close", lambda *_: self._closed())
        return pool

    def _make_room(self) -> None:
        """Reserve one connection of the budget, closing the idle ones of the least recently used tenant if need be."""
        with self._changed:
            while self.opened >= self._budget:
                idle = next((key for key, entry in self._pools.items() if entry.users == 0), None)
                if idle is not None:
                    self._pools.pop(idle).pool.dispose()
                elif not self._changed.wait(self._wait):
                    raise Refused(
                        Code.UNAVAILABLE,
                        "All database connections are in use. Nothing was changed.",
                        "Try again in a few seconds.",
                        retry_after=self._wait,
                    )
            self.opened += 1

    def _closed(self) -> None:
        with self._changed:
            self.opened -= 1
            self._changed.notify()


_CONNECT = {EngineName.POSTGRESQL: postgresql.connect_as_tenant}
_BEGIN = {EngineName.POSTGRESQL: postgresql.begin}


def _key(placement: Placement) -> _Key:
    return placement.placement_id, placement.secret_version


def _engine(name: EngineName) -> Engine:
    """The one Engine of this kind: dialect and compiled statements, no connections."""
    with _ENGINES_LOCK:
        if name not in _ENGINES:
            _ENGINES[name] = create_engine("postgresql+psycopg://", hide_parameters=True)
        return _ENGINES[name]


@contextmanager
def _translated() -> Iterator[None]:
    """Driver errors that mean something to the user become `Refused`; all others pass."""
    try:
        yield
    except PoolTimeout:
        raise Refused(
            Code.UNAVAILABLE, "Your workspace is very busy. Nothing was changed.", "Try again.", retry_after=2
        ) from None
    except DBAPIError as error:
        told = postgresql.refusal(error.orig) if error.orig else None
        if told is None:
            raise
        raise told from None
    except Exception as error:
        told = postgresql.refusal(error) if type(error).__module__.startswith("psycopg") else None
        if told is None:
            raise
        raise told from None
