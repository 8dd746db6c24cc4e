"""The end of a move's retention: what the frozen source holds becomes an archive, and only then the source is dropped.

The phase says so first (`sweep`); then the mover, before it drops anything, has the archive made and compared with the
tables (`keep`). Each of it can be done again. A source that differed from what was carried over (the move's step
`confirm`) is kept until an operator lets it go: it may be all there is of something.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from awssome.database import Connection
from awssome.database.engine import Server
from awssome.database.registry import archives as registered
from awssome.database.registry import audit, moves, placements, tenants
from awssome.database.registry.archives import Archive
from awssome.database.registry.audit import Actor
from awssome.database.registry.moves import Move
from awssome.domain.archives import ArchiveKind, ArchiveState
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import RETENTION_DAYS
from awssome.domain.times import now
from awssome.workflows import archives
from awssome.workflows.queue import Queue
from awssome.workflows.services import WorkerServices


def sweep(connection: Connection) -> None:
    """Begin to drop the sources that have been kept long enough; their moves are carried on from there."""
    for move_id in moves.past_retention(connection):
        moves.begin_drop(connection, move_id)


def release(connection: Connection, queue: Queue, actor: Actor, move_id: UUID) -> None:
    """Have the source of a move archived and dropped now, though it differed or its retention has not ended.

    :raises Refused: NOT_FOUND; CONFLICT when it is not kept, or the tenant lives there.
    """
    move = moves.find(connection, move_id)
    if tenants.find(connection, move.tenant_id, lock=True).placement_id == move.source_id:
        raise Refused(Code.CONFLICT, "The tenant lives there. Nothing was changed.")
    if not moves.begin_drop(connection, move_id):
        raise Refused(Code.CONFLICT, "This move keeps no source. Nothing was changed.")
    audit.record(connection, actor, "move.source_released", move.tenant_id, move=move_id)
    queue.move(connection, move_id)


def keep(services: WorkerServices, move: Move) -> None:
    """Have an archive of the move's source that holds what its tables hold. It is kept for 30 days from now on.

    :raises Refused: what keeps it from being made now; UNAVAILABLE when it is to be tried again.
    :raises MoverLost: when another mover has the move by now.
    """
    kept = _kept(services, move)
    with services.registry.begin() as connection:
        moves.note(connection, move, "steps", "archive", {"id": str(kept.id), "rows": kept.rows})


def _kept(services: WorkerServices, move: Move) -> Archive:
    until = now() + timedelta(days=RETENTION_DAYS)
    with services.registry.begin() as connection:
        schema = placements.find(connection, services.keys, move.source_id).schema
        server = services.open_server(placements.server_of(connection, move.source_id))
        found = registered.keep_source(connection, move.source_id, until)
    if found is not None and found.state is ArchiveState.REQUESTED:
        archives.export(services, found.id)
        with services.registry.begin() as connection:
            found = registered.find(connection, found.id)
    if found is None or not archives.holds(services, found, server, schema):
        found = archives.export_now(
            services, move.tenant_id, ArchiveKind.RETIRED, audit.SYSTEM.name, until, move.source_id
        )
        _check(services, found, server, schema)
    return found


def _check(services: WorkerServices, made: Archive, server: Server, schema: str) -> None:
    if not archives.holds(services, made, server, schema):
        with services.registry.begin() as connection:
            registered.end(connection, made.id, now())  # it is made anew with each try
        raise Refused(Code.UNAVAILABLE, "The archive does not hold what the source holds.")
