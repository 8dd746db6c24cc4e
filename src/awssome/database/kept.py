"""Connections of a server's administrator that are kept from one use to the next, for several threads.

Opening one costs as much as half a new tenant, and a session that has just worked on a catalog has it in its memory.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

KEPT_AT_MOST = 4
"""Connections that wait for their next use, of one server in one process. Any number may be in use."""

KEPT_SECONDS = 60.0
"""How long one waits before it is closed."""

KEPT_USES = 500
"""After so many uses one is closed: its session remembers every table that it has seen, 0.1 MB for each tenant."""


class Closable(Protocol):
    """A driver's connection."""

    def close(self) -> None:
        """End it."""


C = TypeVar("C", bound=Closable)


class Kept(Generic[C]):
    """The connections to one server. They are closed with it: by `close`, when nobody has it any more, at the end.

    :param opened: opens a connection.
    :param as_new: brings back the state of a new one; False when the connection is dead.
    """

    def __init__(
        self,
        opened: Callable[[], C],
        as_new: Callable[[C], bool],
        *,
        most: int = KEPT_AT_MOST,
        seconds: float = KEPT_SECONDS,
        uses: int = KEPT_USES,
    ) -> None:
        self._opened = opened
        self._as_new = as_new
        self._most = most
        self._seconds = seconds
        self._uses = uses
        self._used: weakref.WeakKeyDictionary[C, int] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self._idle: list[tuple[float, C]] = []
        self._sweeping = False
        weakref.finalize(self, _close_all, self._idle)

    def take(self) -> C:
        """The connection that was used last and lives, as good as new; else a new one. Nobody else has it."""
        while True:
            with self._lock:
                if not self._idle:
                    break
                _, connection = self._idle.pop()
            if self._as_new(connection):
                return connection
            _close(connection)
        return self._opened()

    def give_back(self, connection: C) -> None:
        """Keep a connection for its next use. Who is not sure of it closes it instead."""
        with self._lock:
            self._used[connection] = self._used.get(connection, 0) + 1
            surplus: C | None = connection
            if self._used[connection] < self._uses:
                self._idle.append((time.monotonic(), connection))
                surplus = self._idle.pop(0)[1] if len(self._idle) > self._most else None
            if self._idle and not self._sweeping:
                self._sweeping = True
                _sweep_later(self, self._seconds)
        if surplus is not None:
            _close(surplus)

    def close(self) -> None:
        """Close those that wait."""
        with self._lock:
            _close_all(self._idle)

    def _sweep(self) -> None:
        with self._lock:
            until = time.monotonic() - self._seconds
            while self._idle and self._idle[0][0] <= until:
                _close(self._idle.pop(0)[1])
            self._sweeping = bool(self._idle)
            if self._sweeping:
                _sweep_later(self, self._idle[0][0] - until)


def _sweep_later(kept: Kept[C], seconds: float) -> None:
    """The timer does not keep alive what it sweeps."""
    reference = weakref.ref(kept)

    def sweep() -> None:
        found = reference()
        if found is not None:
            found._sweep()

    timer = threading.Timer(seconds, sweep)
    timer.daemon = True
    timer.start()


def _close_all(idle: list[tuple[float, C]]) -> None:
    while idle:
        _close(idle.pop()[1])


def _close(connection: Closable) -> None:
    with suppress(Exception):  # it may have ended by itself; nothing of it is needed any more
        connection.close()
