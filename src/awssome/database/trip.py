"""What a mover has in hand on its way: both ends, the steps it notes, and whether it is still wanted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from typing import Any
from uuid import UUID

from awssome.database.catch_up import End
from awssome.database.engine import MoverLost, Server
from awssome.database.registry import Registry, moves
from awssome.database.registry.moves import Move
from awssome.database.servers import Opener
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import CANCELLABLE, Phase
from awssome.domain.tenants import Placement
from awssome.domain.times import now

LOOK_SECONDS = 0.5
"""How often a mover looks in the registry whether it is still wanted."""


class Cancelled(Exception):
    """Somebody has called the move off."""


class At(Enum):
    """Where the tenant is, seen from a move. Elsewhere: another move has overtaken this one."""

    SOURCE = auto()
    TARGET = auto()
    ELSEWHERE = auto()


@dataclass(frozen=True)
class Trip:
    """Both ends of a move. The target's server is opened when it is needed: it may not be there yet.

    :ivar epoch: the tenant's before the switch.
    :ivar abort: whether the worker is to stop.
    """

    source: Placement
    target: Placement
    source_server: Server
    target_server_id: UUID
    open_server: Opener
    epoch: int
    at: At
    abort: Callable[[], bool]

    @cached_property
    def target_server(self) -> Server:
        """Looked up once: writes may be waiting."""
        return self.open_server(self.target_server_id)

    @property
    def source_end(self) -> End:
        """Where rows come from."""
        return End(self.source_server, self.source.schema)

    @property
    def target_end(self) -> End:
        """Where they go."""
        return End(self.target_server, self.target.schema)


class Step:
    """A step of a move: writes the phase and its begin before it, and its length and what it told after it.

    :param begins: told its name as it begins.
    """

    def __init__(self, registry: Registry, move: Move, name: str, phase: Phase, begins: Callable[[str], None]) -> None:
        self._registry, self._move, self._name, self._phase, self._begins = registry, move, name, phase, begins
        self._told: dict[str, Any] = {"at": now().isoformat()}

    def __enter__(self) -> dict[str, Any]:
        """What the step tells is put in here. :raises Cancelled: :raises MoverLost:"""
        self._began = time.monotonic()
        with self._registry.begin() as connection:
            if self._phase in CANCELLABLE and moves.find(connection, self._move.id).cancel_requested:
                raise Cancelled
            moves.advance(connection, self._move, self._phase)
            moves.note(connection, self._move, "steps", self._name, self._told)
        self._begins(self._name)
        return self._told

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self._told["seconds"] = round(time.monotonic() - self._began, 3)
            with self._registry.begin() as connection:
                moves.note(connection, self._move, "steps", self._name, self._told)


def looking(registry: Registry, move: Move, abort: Callable[[], bool]) -> Callable[[], None]:
    """What a mover asks again and again on its way: whether the move is still wanted, and its own.

    The function raises `Cancelled`, `MoverLost`, and `Refused`, UNAVAILABLE, when the worker is to stop.
    """
    looked = 0.0

    def look() -> None:
        nonlocal looked
        if abort():
            raise Refused(Code.UNAVAILABLE, "The worker is being stopped. The move is tried again.")
        if time.monotonic() - looked < LOOK_SECONDS:
            return
        looked = time.monotonic()
        with registry.begin() as connection:
            found = moves.find(connection, move.id)
        if found.mover != move.mover:
            raise MoverLost
        if found.cancel_requested:
            raise Cancelled

    return look
