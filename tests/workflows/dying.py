"""A mover in a process of its own, which is killed on the way. Imports little, so that it begins at once."""

from __future__ import annotations

import os
import signal
import threading
from uuid import UUID

from awssome.database import servers
from awssome.database.mover import Mover
from awssome.database.registry import Registry
from awssome.domain.secrets import Keys


def carry_on_and_die(url: str, secret_key: str, move_id: UUID, step: str, seconds: float | None) -> None:
    """Carry a move on, until `step` begins, or until so many seconds have passed."""
    if seconds is not None:
        dying = threading.Timer(seconds, _die)
        dying.daemon = True
        dying.start()
    registry, keys = Registry(url, connections=2), Keys.from_text(secret_key)
    mover = Mover(registry, keys, servers.opener(registry, keys), step=lambda name: _die() if name == step else None)
    mover.carry_on(move_id)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
