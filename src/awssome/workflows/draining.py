"""Moving tenants off a pool, a few at a time, until few enough live there.

What is wanted is kept with the server; a job starts the next moves whenever one has ended, and each sweep sees that it
is not forgotten. Stopping lets moves end that are under way. A pool that is being drained takes no tenants.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from awssome.database import Connection
from awssome.database.registry import Registry, audit, drains, servers
from awssome.database.registry.audit import Actor
from awssome.database.registry.drains import Candidate
from awssome.domain.errors import Code, Refused
from awssome.domain.servers import free_places, spread
from awssome.domain.tenants import ServerKind
from awssome.domain.times import now
from awssome.workflows import moves
from awssome.workflows.queue import Queue

AT_A_TIME = 2
"""Moves off one server that are under way at once."""


@dataclass(frozen=True)
class Plan:
    """What a drain would do: who would go where; None where no pool has room."""

    server: str
    keep: int
    moves: list[tuple[Candidate, str | None]]


def plan(connection: Connection, name: str, keep: int, to: str | None) -> Plan:
    """What draining the server to `keep` tenants would do now. :raises Refused: as `start`."""
    row, _ = _checked(connection, name, to)
    going = drains.candidates(connection, row.id, now(), max(0, row.tenants - keep))
    pools = [
        (each.name, each.tenants, free_places(each.capacity, each.tenants, each.retained))
        for each in servers.every(connection)
        if each.kind == ServerKind.POOL and each.engine == row.engine and each.id != row.id
        if each.open and each.drain_to_count is None and to in (None, each.name)
    ]
    return Plan(name, keep, list(zip(going, spread(pools, len(going)), strict=True)))


def start(connection: Connection, queue: Queue, actor: Actor, name: str, keep: int, to: str | None) -> None:
    """Have tenants moved off the server until at most `keep` live there.

    :param to: name of the pool that takes them; None: whichever is emptiest at the time.
    :raises Refused: NOT_FOUND; CONFLICT for a server that is no pool, and for a target that cannot take them.
    """
    row, target = _checked(connection, name, to)
    drains.begin(connection, row.id, keep, target, actor.name)
    audit.record(connection, actor, "server.drain_started", server=name, keep=keep, to=to)
    queue.drain(connection, row.id)


def stop(connection: Connection, actor: Actor, name: str) -> None:
    """Start no more moves; those under way end. :raises Refused: CONFLICT when the server is not being drained."""
    row = servers.by_name(connection, name)
    if row.drain_to_count is None:
        raise Refused(Code.CONFLICT, f"Server “{name}” is not being drained.")
    drains.end(connection, row.id)
    audit.record(connection, actor, "server.drain_stopped", server=name, tenants=row.tenants)


def carry_on(registry: Registry, queue: Queue, server_id: UUID) -> None:
    """Start as many moves as may be under way now."""
    with registry.holding(f"drain:{server_id}") as mine:
        while mine and _next(registry, queue, server_id):
            pass


def after_move(connection: Connection, queue: Queue, move_id: UUID) -> None:
    """A move has ended: if it led away from a server that is being drained, the next one may begin."""
    server_id = drains.left_by(connection, move_id)
    if server_id is not None:
        queue.drain(connection, server_id)


def sweep(connection: Connection, queue: Queue) -> None:
    """Carry on every drain: a job may have been lost, or room may have been made since."""
    for server_id in drains.under_way(connection):
        queue.drain(connection, server_id)


def _next(registry: Registry, queue: Queue, server_id: UUID) -> bool:
    """Start one move, if one is to be started."""
    with registry.begin() as connection:
        row = servers.by_id(connection, server_id)
        if row.drain_to_count is None:
            return False
        moving, still_here = drains.leaving(connection, server_id)
        to_go = row.tenants - still_here - row.drain_to_count
        if moving >= AT_A_TIME or (to_go <= 0 and moving):
            return False
        found = drains.candidates(connection, server_id, row.drain_since, 1) if to_go > 0 else []
        if not found and moving:
            return False
        if not found:
            _end(connection, row, max(0, to_go))
            return False
        try:
            with connection.begin_nested():
                moves.move_to(connection, queue, Actor(row.drain_by), str(found[0].tenant_id), row.drain_server)
        except Refused as refused:
            drains.trouble(connection, server_id, refused.message)
            return False
        if row.drain_problem is not None:
            drains.trouble(connection, server_id, None)
        return True


def _end(connection: Connection, row: servers.Row, stay: int) -> None:
    problem = None
    if stay:
        problem = f"{stay:,} more should have gone: they are suspended, or their moves failed or were cancelled."
    drains.end(connection, row.id, problem)
    audit.record(connection, audit.SYSTEM, "server.drained", server=row.name, tenants=row.tenants, stay=stay)


def _checked(connection: Connection, name: str, to: str | None) -> tuple[servers.Row, UUID | None]:
    row = servers.by_name(connection, name)
    if row.kind != ServerKind.POOL:
        raise Refused(
            Code.CONFLICT, f"Server “{name}” is dedicated to one tenant.", "Move that tenant: `awssome tenant move`."
        )
    if to is None:
        return row, None
    target = servers.by_name(connection, to)
    if target.id == row.id:
        raise Refused(Code.CONFLICT, "A server cannot be drained into itself.", "Name another one.")
    if target.kind != ServerKind.POOL or target.engine != row.engine:
        raise Refused(Code.CONFLICT, f"Server “{to}” is no pool of the same engine.", "Name another one.")
    if not target.open or target.drain_to_count is not None:
        raise Refused(Code.CONFLICT, f"Server “{to}” is closed to new tenants.", "Open it, or name another one.")
    return row, target.id
