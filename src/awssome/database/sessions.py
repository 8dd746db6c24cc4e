"""Sessions as a tenant: pools by placement in an LRU, under one connection budget for each server.

A connection *is* a tenant: it authenticated as the placement's own login, so the database itself refuses everything
that is not the tenant's, whatever SQL runs. One SQLAlchemy Engine per kind of engine holds dialect and compiled
statements; the pools hold connections.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import create_engine, event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.pool import QueuePool

from awssome.database import template
from awssome.database.engine import Entrance
from awssome.database.postgresql.entrance import ENTRANCE as POSTGRESQL
from awssome.database.schema import SYMBOL
from awssome.database.sqlserver.entrance import ENTRANCE as SQLSERVER
from awssome.database.troubles import behind, fenced, unavailable, unsure
from awssome.domain.errors import Code, Refused
from awssome.domain.limits import LIMITS
from awssome.domain.tenants import EngineName, Placement, Tier, checked_schema_name

_Key = tuple[UUID, int, Tier]

_ENTRANCES: dict[EngineName, Entrance] = {EngineName.POSTGRESQL: POSTGRESQL, EngineName.SQLSERVER: SQLSERVER}

_ENGINES: dict[EngineName, Engine] = {}
_ENGINES_LOCK = threading.Lock()


class Sessions:
    """Opens transactions as tenants.

    :param budget: connections to one server, all tenants together; see DESIGN: (max_connections - reserve) / processes.
    :param each: connections of one tenant at most; None: as its tier allows (`domain.limits`). A login's own limit is
        higher, for several processes.
    :param wait: seconds to wait for a free connection before the request is refused. Who came first is served first,
        except those whose tenant has all that it may have.
    """

    def __init__(self, *, budget: int = 60, each: int | None = None, wait: float = 5.0) -> None:
        self._budget = budget
        self._each = each
        self._wait = wait
        self._lock = threading.Lock()
        self._pools: dict[tuple[str, int], _ServerPool] = {}

    @contextmanager
    def open(self, placement: Placement) -> Iterator[Connection]:
        """A transaction as the tenant: commits at the end, rolls back on an exception.

        Its first statement reads the fence. Statements are written against the symbolic schema.

        :raises Refused: FENCED when the placement is stale (ask the registry again), or when a write meets a schema
            that is being moved; UNAVAILABLE when the server does not answer or the budget is used up; LIMITED when the
            tenant itself has all the connections that it may have. `Unsure` when it is lost under the COMMIT of a
            change.
        Statements that name what the tables do not have yet, because they are at an older revision, are UNAVAILABLE.
        """
        with _translated(placement.engine), ExitStack() as stack:
            try:
                connection = stack.enter_context(self._transaction(placement))
            except _Gone:
                # The connection died while it was idle, and so may have its siblings: take a fresh one, once.
                self.forget(placement)
                connection = stack.enter_context(self._transaction(placement))
            yield connection

    def forget(self, placement: Placement) -> None:
        """Close the idle connections of a placement that is no longer true."""
        self._server(placement).forget(placement)

    def close(self) -> None:
        """Close every connection that is not in use."""
        for pool in list(self._pools.values()):
            pool.close()

    def held(self) -> int:
        """How many connections are open, in use or idle."""
        return sum(pool.held() for pool in list(self._pools.values()))

    @contextmanager
    def _transaction(self, placement: Placement) -> Iterator[Connection]:
        with self._server(placement).connect(placement) as connection, connection.begin():
            driver: Any = connection.connection.driver_connection
            entrance = _ENTRANCES[placement.engine]
            try:
                fence = entrance.begin(driver, placement.schema)
            except connection.dialect.loaded_dbapi.Error as error:
                if connection.dialect.is_disconnect(error, driver, None):
                    connection.invalidate()
                    raise _Gone from error
                raise
            if fence is None or fence[0] != placement.epoch:
                raise fenced()
            try:
                yield connection
            except DBAPIError as error:
                if fence[1] in template.older() and error.orig is not None and entrance.unknown(error.orig):
                    raise behind() from None
                raise
            _commit(connection)

    def _server(self, placement: Placement) -> _ServerPool:
        where = (placement.host, placement.port)
        with self._lock:
            if where not in self._pools:
                self._pools[where] = _ServerPool(self._budget, self._each, self._wait)
            return self._pools[where]


def _commit(connection: Connection) -> None:
    """:raises Unsure: when the connection is lost meanwhile, and something was changed in the transaction."""
    transaction = connection.get_transaction()
    if transaction is None or not transaction.is_active:
        return
    changed = connection.info.get(_CHANGED) is transaction
    try:
        transaction.commit()
    except DBAPIError as error:
        if changed and error.connection_invalidated:
            raise unsure() from None
        raise


def _note_change(
    connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
) -> None:
    if context.isinsert or context.isupdate or context.isdelete:
        connection.info[_CHANGED] = connection.get_transaction()


_CHANGED = "changed in"


class _Gone(Exception):
    """The connection is dead."""


@dataclass(eq=False)
class _Turn:
    """Somebody who waits for a connection.

    :ivar most: how many its tenant may have.
    :ivar come: told when `served` is true.
    :ivar idle: the connection to use; None: a new one.
    """

    key: _Key
    most: int
    come: threading.Condition
    served: bool = False
    idle: QueuePool | None = None


class _ServerPool:
    """The connections to one server, each in a slot of its own. Idle ones wait for their tenant, least recently used
    tenants first, until somebody else needs the room.

    Whoever finds no room stands in line. What is given back goes to the first in line whose tenant may have one more;
    nobody who comes later overtakes, and only who is served is woken.
    """

    def __init__(self, budget: int, each: int | None, wait: float) -> None:
        self._budget = budget
        self._each = each
        self._wait = wait
        self._lock = threading.RLock()
        self._line: deque[_Turn] = deque()
        self._slots: Counter[_Key] = Counter()
        self._idle: OrderedDict[_Key, list[QueuePool]] = OrderedDict()

    @contextmanager
    def connect(self, placement: Placement) -> Iterator[Connection]:
        engine, names = _engine(placement.engine), {SYMBOL: checked_schema_name(placement.schema)}
        slot = self._take(placement, engine)
        try:
            with Connection(engine, connection=slot.connect()).execution_options(
                schema_translate_map=names
            ) as connection:
                yield connection
        finally:
            self._give_back(placement, slot)

    def held(self) -> int:
        with self._lock:
            return self._slots.total()

    def forget(self, placement: Placement) -> None:
        with self._lock:
            while _key(placement) in self._idle:
                self._close_idle(_key(placement))
            self._serve()

    def close(self) -> None:
        with self._lock:
            while self._idle:
                self._close_idle(next(iter(self._idle)))
            self._serve()

    def _take(self, placement: Placement, engine: Engine) -> QueuePool:
        most = LIMITS[placement.tier].connections if self._each is None else self._each
        with self._lock:
            turn = _Turn(_key(placement), most, threading.Condition(self._lock))
            self._line.append(turn)
            self._serve()
            if not turn.come.wait_for(lambda: turn.served, self._wait):
                self._line.remove(turn)
                raise _busy(self._is_full(turn))
        return turn.idle or QueuePool(
            lambda: _ENTRANCES[placement.engine].connect(placement), pool_size=1, max_overflow=0, dialect=engine.dialect
        )

    def _give_back(self, placement: Placement, slot: QueuePool) -> None:
        key = _key(placement)
        with self._lock:
            if slot.checkedin():
                self._idle.setdefault(key, []).append(slot)
                self._idle.move_to_end(key)
            else:  # it could not connect
                self._count_one_less(key)
            self._serve()

    def _serve(self) -> None:
        """Give connections to those in line, in their order, as far as there is room."""
        for turn in [*self._line]:
            if turn.key in self._idle:
                turn.idle = self._pop_idle(turn.key)
            elif self._is_full(turn) or (self.held() >= self._budget and not self._idle):
                continue
            else:
                if self.held() >= self._budget:
                    self._close_idle(next(iter(self._idle)))
                self._slots[turn.key] += 1
            self._line.remove(turn)
            turn.served = True
            turn.come.notify()

    def _is_full(self, turn: _Turn) -> bool:
        return self._slots[turn.key] >= turn.most

    def _pop_idle(self, key: _Key) -> QueuePool:
        slot = self._idle[key].pop()
        if not self._idle[key]:
            del self._idle[key]
        return slot

    def _close_idle(self, key: _Key) -> None:
        self._pop_idle(key).dispose()
        self._count_one_less(key)

    def _count_one_less(self, key: _Key) -> None:
        self._slots[key] -= 1
        if not self._slots[key]:
            del self._slots[key]


def _busy(itself: bool) -> Refused:
    """:param itself: the tenant has all that it may have, and others are not the reason."""
    if itself:
        return Refused(
            Code.LIMITED,
            "Your workspace does too much at once. Nothing was changed.",
            "Try again in a few seconds.",
            retry_after=2,
        )
    return Refused(
        Code.UNAVAILABLE,
        "All database connections are in use. Nothing was changed.",
        "Try again in a few seconds.",
        retry_after=2,
    )


def _key(placement: Placement) -> _Key:
    return placement.placement_id, placement.secret_version, placement.tier


def _engine(name: EngineName) -> Engine:
    """The one Engine of this kind: dialect and compiled statements, no connections."""
    with _ENGINES_LOCK:
        if name not in _ENGINES:
            _ENGINES[name] = create_engine(_ENTRANCES[name].url, hide_parameters=True)
            event.listen(_ENGINES[name], "before_cursor_execute", _note_change)
            _ENTRANCES[name].prepare(_ENGINES[name])
        return _ENGINES[name]


@contextmanager
def _translated(engine: EngineName) -> Iterator[None]:
    """Driver errors that mean something to the user become `Refused`; all others pass."""
    try:
        yield
    except _Gone:
        raise unavailable() from None
    except Exception as error:
        cause = error.orig if isinstance(error, StatementError) else error
        if isinstance(cause, Refused):  # a value that its column cannot keep
            raise cause from None
        of_driver = isinstance(cause, _engine(engine).dialect.loaded_dbapi.Error)
        told = _ENTRANCES[engine].refusal(cause) if cause is not None and of_driver else None
        if isinstance(error, DBAPIError) and error.connection_invalidated and error.statement is not None:
            # It was lost under a statement, so nothing was committed: it may be tried again where the tenant is now.
            told = fenced()
        if told is None:
            raise
        raise told from None
