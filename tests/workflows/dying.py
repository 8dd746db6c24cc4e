"""Movers, exports and restores in a process of their own, which is killed on the way. Imports little, so that it begins
at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any
from uuid import UUID

from awssome.database import servers
from awssome.database.mover import Mover
from awssome.database.registry import Registry, placements
from awssome.database.registry.moves import Move
from awssome.domain.secrets import Keys
from awssome.domain.vault import Vault
from awssome.workflows import archives, retention
from awssome.workflows.archive_store import Directory


def carry_on_and_die(url: str, secret_key: str, move_id: UUID, step: str, seconds: float | None) -> None:
    """Carry a move on, until `step` begins, or until so many seconds have passed."""
    if seconds is not None:
        dying = threading.Timer(seconds, _die)
        dying.daemon = True
        dying.start()
    registry, keys = Registry(url, connections=2), Keys.from_text(secret_key)
    mover = Mover(registry, keys, servers.opener(registry, keys), step=lambda name: _die() if name == step else None)
    mover.carry_on(move_id)


def export_and_die(url: str, secret_key: str, root: Path, archive_id: UUID, step: str) -> None:
    """Make an archive, until it is `written`, or `named`; the registry is not told of either."""
    archives.export(_services(url, secret_key, _Dying(root, step)), archive_id)


def restore_and_die(url: str, secret_key: str, root: Path, restore_id: UUID, step: str) -> None:
    """Carry a restore on, until `step` begins."""
    services = _services(url, secret_key, Directory(root))
    restorer = replace(archives.restorer(services), step=lambda name: _die() if name == step else None)
    restorer.carry_on(restore_id)


def drop_and_die(url: str, secret_key: str, root: Path, move_id: UUID, point: str) -> None:
    """Drop the source of a move, until its archive is `written`, `named`, `kept`, or the schema is `dropped`."""
    services = _services(url, secret_key, _Dying(root, point))

    def keep(move: Move) -> None:
        retention.keep(services, move)
        if point == "kept":
            _die()
        services.open_server(_source_of(services, move)).drop(_schema_of(services, move), move.mover)
        if point == "dropped":
            _die()

    Mover(services.registry, services.keys, services.open_server, archive=keep).carry_on(move_id)


@dataclass(frozen=True)
class _Dying(Directory):
    """Where files lie that a process writes until one is `written`, or has got its name (`named`)."""

    point: str

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        with super().writing(name) as file:
            yield file
            file.flush()
            if self.point == "written":
                _die()
        if self.point == "named":
            _die()


def _source_of(services: Any, move: Move) -> UUID:
    with services.registry.begin() as connection:
        return placements.server_of(connection, move.source_id)


def _schema_of(services: Any, move: Move) -> str:
    with services.registry.begin() as connection:
        return placements.find(connection, services.keys, move.source_id).schema


def _services(url: str, secret_key: str, store: Directory) -> Any:
    """As much of a worker's services as archives need."""
    registry, keys = Registry(url, connections=2), Keys.from_text(secret_key)
    return SimpleNamespace(
        registry=registry,
        keys=keys,
        vault=Vault(keys),
        archives=store,
        open_server=servers.opener(registry, keys),
    )


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
