"""How long does a move pause writes, and what is the worst that a client sees of it, forward and back?

`python -m benchmarks.moves` takes some minutes; `--full` asks for every size, rate and distance. Registry, source and
target are servers of their own; writers and readers are processes of their own. Every acknowledged write is looked up.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.engine import make_url

from awssome.database import servers
from awssome.database.mover import Mover
from awssome.database.registry import accounts, moves, placements, tenants
from awssome.database.registry import servers as registered
from awssome.database.registry.audit import Actor
from awssome.domain.moves import Phase
from awssome.domain.tenants import EngineName, Role, ServerKind, Tier
from awssome.workflows import moves as moving
from awssome.workflows import provisioning
from benchmarks import large, platform
from benchmarks.running import Platform
from benchmarks.running import platform as running

OPERATOR = Actor("benchmarks")
EACH, THREADS = 200, 4
"""Writes a second and threads of one process of clients."""
BEFORE, AFTER = 1.0, 0.5
"""Seconds of load before and after a move."""


class Case(NamedTuple):
    """Rows of the tenant, writes a second, network delay in ms there and back, and how often there and back."""

    rows: int
    rate: int
    delay: float
    times: int


SHORT = (Case(10_000, 200, 0, 3), Case(100_000, 200, 0, 3), Case(100_000, 800, 0, 2), Case(100_000, 200, 1, 2))
SHORT += (Case(1_000_000, 200, 0, 2),)
FULL = tuple(
    Case(rows, rate, delay, 4)
    for rows in (10_000, 100_000, 1_000_000)
    for rate, delay in ((200, 0), (800, 0), (200, 1), (800, 1))
)


@dataclass
class Found:
    """What moves in one direction came to; times in ms."""

    pauses: list[float] = field(default_factory=list)
    writes: list[float] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)


def main() -> None:
    """Every case, on one set of servers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.moves", description=__doc__)
    parser.add_argument("--full", action="store_true", help="every size, rate and distance (half an hour)")
    parser.add_argument("--only", type=int, help="tenants of so many rows only")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="awssome-bench-")))
        home.chmod(0o755)
        plane = stack.enter_context(running(home))
        for name in ("source", "target"):
            cluster = stack.enter_context(platform.cluster())
            url = servers.prepare_data_plane(cluster, platform.PASSWORD)
            _register(plane, name, url)
            port = stack.enter_context(_far(cluster.port, 1))
            _register(plane, f"far {name}", make_url(url).set(port=port).render_as_string(hide_password=False))
        for case in FULL if chosen.full else SHORT:
            if chosen.only in (None, case.rows):
                _measure(plane, case)


def _measure(plane: Platform, case: Case) -> None:
    here, there = ("far source", "far target") if case.delay else ("source", "target")
    tenant = _tenant(plane, here, case.rows)
    forward, back = Found(), Found()
    lost, errors, writes = 0, [], 0
    for _ in range(case.times):
        for found, server in ((forward, there), (back, here)):
            told = _one(plane, tenant, server, case, found)
            lost += sum(each["lost"] for each in told)
            errors += [error for each in told for error in each["write_errors"] + each["read_errors"]]
            writes += sum(len(each["writes"]) for each in told)
    delay = f", {case.delay:.0f} ms of network" if case.delay else ""
    print(f"\nA move of {case.rows:,} rows, {case.rate} writes/s{delay}: {case.times} times there and back")
    for name, found in (("forward", forward), ("back", back)):
        print(
            f"  {name:8} pause {_told(found.pauses)}; worst write {_told(found.writes)}; "
            f"worst read {_told(found.reads)}; whole move {_told(found.whole)}"
        )
    print(f"  {writes:,} acknowledged writes, {lost} lost; {len(errors)} errors", flush=True)
    for error in errors[:3]:
        print(error)


def _one(plane: Platform, tenant: UUID, server: str, case: Case, found: Found) -> list[dict[str, Any]]:
    """Move the tenant to the server while clients work; what they saw."""
    with plane.plane.registry.begin() as connection:
        before = placements.current(connection, plane.plane.keys, tenant)
        source = placements.server_of(connection, before.placement_id)
    with _clients(plane, tenant, case.rate) as clients:
        time.sleep(BEFORE)
        began = time.monotonic()
        move_id = _move(plane, tenant, server)
        ended = time.monotonic()
        time.sleep(AFTER)
        told = [_answer(client) for client in clients]
    with plane.plane.registry.begin() as connection:
        move = moves.find(connection, move_id)
    found.pauses.append(move.write_pause_ms)
    found.whole.append((ended - began) * 1000)
    for calls, worst in (("writes", found.writes), ("reads", found.reads)):
        during = [took for each in told for at, took in each[calls] if at + took > began and at < ended]
        worst.append(max(during) * 1000)
    steps = move.evidence["steps"].items()
    told_steps = [
        f"{name} {each['seconds']:.3f}" for name, each in steps if isinstance(each, dict) and "seconds" in each
    ]
    print(f"    {server}: pause {move.write_pause_ms} ms; seconds: {', '.join(told_steps)}", flush=True)
    # The copy that a retention would keep: the next move is not to share the disk with it.
    plane.services.open_server(source).drop(before.schema, 2**40)
    return told


def _move(plane: Platform, tenant: UUID, server: str) -> UUID:
    """A whole move, as a worker carries it."""
    services = plane.services
    with services.registry.begin() as connection:
        move_id = moving.move_to(connection, services.queue, OPERATOR, str(tenant), server)
    reached = Mover(services.registry, services.keys, services.open_server).carry_on(move_id)
    if reached is not Phase.RETAINING:
        raise RuntimeError(f"the move ended {reached}")
    return move_id


def _tenant(plane: Platform, server: str, rows: int) -> UUID:
    """A paid tenant of so many rows on the server."""
    with plane.plane.registry.begin() as connection:
        for name in ("pool-1", "source", "target", "far source", "far target"):
            registered.change(connection, registered.by_name(connection, name).id, open=name == server)
        tenant = tenants.create(connection, f"Northwind {rows}")
        owner = accounts.create(connection, f"{tenant.slug}@example.com", "Alice", None, confirmed=True)
        accounts.add_member(connection, owner.id, tenant.id, Role.OWNER)
        tenants.change(connection, tenant.id, tier=Tier.PAID)
    provisioning.provision(plane.services, tenant.id)
    with plane.plane.registry.begin() as connection:
        placement = placements.current(connection, plane.plane.keys, tenant.id)
        for name in ("source", "target", "far source", "far target"):
            registered.change(connection, registered.by_name(connection, name).id, open=True)
        _, url = registered.admin_url(
            connection, plane.plane.keys, placements.server_of(connection, placement.placement_id)
        )
    large.fill(url, placement.schema, rows)
    return tenant.id


@contextmanager
def _clients(plane: Platform, tenant: UUID, rate: int) -> Iterator[list[subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "benchmarks.clients"]
    arguments = [str(plane.settings.home), str(tenant), str(EACH), str(THREADS)]
    clients = [
        subprocess.Popen([*command, *arguments, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for number in range(max(1, rate // EACH))
    ]
    try:
        for client in clients:
            assert client.stdout is not None
            if client.stdout.readline() != "ready\n":
                raise RuntimeError("the clients did not begin")
        yield clients
    finally:
        for client in clients:
            with suppress(ProcessLookupError):
                client.kill()
            client.wait()


def _answer(client: subprocess.Popen[str]) -> dict[str, Any]:
    """End a process of clients; what they saw."""
    answer, _ = client.communicate("")
    found: dict[str, Any] = json.loads(answer)
    return found


@contextmanager
def _far(port: int, delay: float) -> Iterator[int]:
    """A server's port behind a network that takes so many ms there and back."""
    command = [sys.executable, "-m", "benchmarks.far", str(port), str(delay)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def _register(plane: Platform, name: str, url: str) -> None:
    parsed = make_url(url)
    with plane.plane.registry.begin() as connection:
        registered.register(
            connection,
            plane.plane.keys,
            name=name,
            kind=ServerKind.POOL,
            engine=EngineName.POSTGRESQL,
            host=parsed.host or "",
            port=parsed.port or 0,
            database=parsed.database or "",
            admin_url=url,
            open_now=True,
        )


def _told(values: list[float]) -> str:
    return f"{statistics.median(values):,.0f} ms (worst {max(values):,.0f})"


if __name__ == "__main__":
    main()
