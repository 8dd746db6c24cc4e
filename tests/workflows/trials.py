"""A move under load, torn apart: who works there, who carries it, who is killed, and what has to be true afterwards."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from multiprocessing.process import BaseProcess as Process
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from awssome.database import embedded, servers
from awssome.database.mover import Mover
from awssome.database.registry import Registry, moves, placements
from awssome.database.registry import servers as registered
from awssome.database.schema import DATA_TABLES
from awssome.domain import times
from awssome.domain.errors import Refused
from awssome.domain.moves import UNDER_WAY, Phase
from awssome.domain.secrets import Keys
from awssome.domain.tenants import EngineName
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.engines import as_administrator
from tests.processes import processes
from tests.workflows import load
from tests.workflows.load import WRITERS, Desk, Told
from tests.workflows.moving import evidence_of, placement_of, rollback, the_move, upgrade, writable

MOST_OF_ONE = 8
"""A move is struck at most so often: on a slow machine it would never end, since each of its movers begins anew."""

AGAIN_SECONDS = 0.1
"""A mover that met an error tries again after this. The queue is tried by other tests, and waits for longer."""


DEAD_SECONDS = 240.0
"""Whatever takes longer has come to a stop: on a slow machine that is full of work a move takes minutes."""

SKEWS = (-600, 0, 0, 600)
"""Seconds by which the clocks of workers may be wrong."""


LOST_SECONDS = 5.0
"""How long another mover is left alone that has taken the move over; it may have been the silent one's rescuer."""


def carry(url: str, secret_key: str, move_id: UUID, skew: float = 0, stops_at: str = "") -> None:
    """A worker: carries the move on until it is over, and looks for one whose mover is silent, as workers do.

    :param skew: seconds by which its clock is wrong.
    :param stops_at: a step of the move at which it falls asleep, until it is woken.
    """
    if skew:
        vars(times)["datetime"] = _clock(skew)

    def step(name: str) -> None:
        if name == stops_at:
            os.kill(os.getpid(), signal.SIGSTOP)

    registry, keys = Registry(url, connections=4), Keys.from_text(secret_key)
    carrying = Mover(registry, keys, servers.opener(registry, keys), step=step)
    threading.Thread(target=_recover, args=(carrying,), daemon=True).start()
    while True:
        rest = AGAIN_SECONDS
        with suppress(Refused):
            if carrying.carry_on(move_id) not in UNDER_WAY:
                return
            rest = LOST_SECONDS
        time.sleep(rest)


def _clock(skew: float) -> type[datetime]:
    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(seconds=skew)

    return Wrong


def _recover(carrying: Mover) -> None:
    while True:
        with suppress(Refused):
            with carrying.registry.begin() as connection:
                late = moves.overdue(connection)
            for move_id in late:
                carrying.recover(move_id)
        time.sleep(0.5)


@dataclass
class Trial:
    """A tenant that people work with while it moves to and fro.

    :ivar killed: what was killed, frozen or begun a second time, by name.
    :ivar clusters: servers that may be killed, by the home and name of their cluster.
    """

    services: WorkerServices
    tenancy: Tenancy
    secret_key: str
    folder: Path
    dice: random.Random
    rate: float = 200.0
    clusters: tuple[tuple[Path, str], ...] = ()
    raw: bool = True
    killed: Counter[str] = field(default_factory=Counter)
    pauses_ms: list[int] = field(default_factory=list)
    moved: int = 0
    _portals: list[tuple[Process, Desk]] = field(default_factory=list)
    _workers: list[Process] = field(default_factory=list)
    _handles: list[embedded.Handle] = field(default_factory=list)

    @contextmanager
    def people(self, portals: int = 2) -> Iterator[None]:
        """People at work, over so many portals."""
        with self.services.sessions.open(placement_of(self.services, self.tenancy)) as connection:
            load.prepare(connection, portals * WRITERS)
        for at in range(portals):
            raw = self.raw and at == 0
            desk = Desk(
                self.services.registry.url,
                self.secret_key,
                self.tenancy.id,
                self.folder,
                at * WRITERS,
                self.rate / portals,
                raw,
            )
            self._portals.append((start(load.work, desk), desk))
        try:
            self.goes_on()
            yield
        finally:
            (self.folder / "stop").touch()
            for portal, _ in self._portals:
                portal.join(DEAD_SECONDS)
                assert portal.exitcode == 0, "a portal does not end"

    def close(self) -> None:
        """Let go of the servers that were started again."""
        for handle in self._handles:
            handle.release()

    def told(self) -> Told:
        """What people were told until now."""
        return Told.by(self.folder)

    def to_and_fro(self, kills: int, *, longest: float = 0.6) -> None:
        """Up and back, again and again, until so many processes were killed or frozen; then up and back once more.

        :param longest: seconds from one to the next, at most.
        """
        left = kills
        while left > 0:
            for kind in (upgrade, rollback):
                left -= self.move(kind, min(left, self.dice.randint(1, MOST_OF_ONE)), longest=longest)
        self.move(upgrade)
        self.move(rollback)

    def move(self, kind: Callable[[WorkerServices, Tenancy], UUID], kills: int = 0, *, longest: float = 0.6) -> int:
        """Carry a move from end to end, while something is killed or frozen again and again; how often it was."""
        move_id = kind(self.services, self.tenancy)
        self._workers, struck, deadline = [self._worker(move_id)], 0, time.monotonic() + DEAD_SECONDS
        try:
            while self._phase(move_id) is not Phase.RETAINING:
                assert time.monotonic() < deadline, the_move(self.services, move_id)
                time.sleep(self.dice.uniform(0.0, longest if struck < kills else 0.1))
                if not any(worker.is_alive() for worker in self._workers):  # as the sweep does
                    self._workers.append(self._worker(move_id))
                if struck < kills and self._phase(move_id) is not Phase.RETAINING:
                    self._strike(move_id)
                    struck += 1
        finally:
            for worker in self._workers:
                worker.kill()
                worker.join()
        move = the_move(self.services, move_id)
        self.moved += 1
        self.pauses_ms.append(move.write_pause_ms)
        assert move.evidence["tables"] == self.closed_source(move.source_id), (
            "the evidence is not what the source holds"
        )
        self.goes_on()
        return struck

    def goes_on(self, writes: int = 20) -> None:
        """So many more writes are acknowledged."""
        enough, deadline = self.told().acknowledged + writes, time.monotonic() + DEAD_SECONDS
        while self.told().acknowledged < enough:
            assert time.monotonic() < deadline, "nobody can write"
            time.sleep(0.1)

    def closed_source(self, placement_id: UUID) -> dict[str, Any]:
        """What the evidence has to say, counted once more in plain SQL."""
        with self.services.registry.begin() as connection:
            there = placements.find(connection, self.services.keys, placement_id)
            server_id = placements.server_of(connection, placement_id)
            engine, url = registered.admin_url(connection, self.services.keys, server_id)
        found = {}
        for table, (rows, checksum) in sums_of(engine, url, there.schema).items():
            found[table] = {"rows": rows, "source": checksum, "target_rows": rows, "target": checksum, "equal": True}
        return found

    def holds(self) -> None:
        """Nothing is lost, nothing came back, no read failed or was old, and one place takes writes."""
        told = self.told()
        if not self.clusters:  # a server that was killed answers nobody
            assert told.failed_reads == []
        assert told.old_reads == []
        here = placement_of(self.services, self.tenancy)
        with self.services.sessions.open(here) as connection:
            assert told.wrong(connection) == []
        assert writable(self.services, self.tenancy) == [here.placement_id]

    def _worker(self, move_id: UUID) -> Process:
        return start(carry, self.services.registry.url, self.secret_key, move_id, self.dice.choice(SKEWS))

    def _strike(self, move_id: UUID) -> None:
        kinds = ["mover", "mover", "mover", "frozen", "second mover", "portal", *["server"] * bool(self.clusters)]
        kind = self.dice.choice(kinds)
        self.killed[kind] += 1
        if kind == "portal":
            self._kill_a_portal()
        elif kind == "server":
            self._kill_a_server()
        else:
            victim = self._workers[-1]
            if kind == "mover":
                victim.kill()
                victim.join()
            elif kind == "frozen":
                _freeze(victim, self.dice.uniform(0.2, 4.0))
            self._workers.append(self._worker(move_id))

    def _kill_a_portal(self) -> None:
        at = self.dice.randrange(len(self._portals))
        portal, desk = self._portals[at]
        portal.kill()
        portal.join()
        self._portals[at] = start(load.work, desk), desk

    def _kill_a_server(self) -> None:
        home, name = self.dice.choice(self.clusters)
        kill_cluster(home / name)
        time.sleep(self.dice.uniform(0.0, 1.0))
        self._handles.append(embedded.start(home, name))

    def _phase(self, move_id: UUID) -> Phase:
        with self.services.registry.begin() as connection:
            return moves.find(connection, move_id).phase


def sums_of(engine: EngineName, url: str, schema: str) -> dict[str, tuple[int, str]]:
    """Rows and checksum of each table by the definition at `engine.TableSum`, of what an administrator reads."""
    rows = {}
    for table in DATA_TABLES:
        columns = ", ".join(column.name for column in table.columns)
        rows[table.name] = as_administrator(engine, url, f"SELECT {columns} FROM {schema}.{table.name}")
    return evidence_of(rows)


def kill_cluster(directory: Path) -> None:
    """End every process of an embedded server at once, as a machine does that stops."""
    postmaster = int((directory / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGSTOP)  # no more children
    for child in _children(postmaster):
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    os.kill(postmaster, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _freeze(process: Process, seconds: float) -> None:
    """Stop a process, and wake it up after so many seconds, when another one has done its work."""
    assert process.pid
    os.kill(process.pid, signal.SIGSTOP)
    waking = threading.Timer(seconds, _wake, [process])
    waking.daemon = True
    waking.start()


def _wake(process: Process) -> None:
    assert process.pid
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGCONT)


def start(target: Callable[..., None], *arguments: Any) -> Process:
    process = processes.Process(target=target, args=arguments)
    process.start()
    return process
