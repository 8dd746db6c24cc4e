"""Moves: requested, claimed by a mover, carried on phase by phase, with their evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, TIMESTAMP, ColumnElement, Integer, Select, Text, cast, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.engine import Connection

from awssome.database.engine import MoverLost
from awssome.database.keyset import Page, newest_first
from awssome.database.registry import movers
from awssome.database.registry.tables import instances, moves, placements, servers, tenants
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import CANCELLABLE, UNDER_WAY, MoveKind, Phase
from awssome.domain.times import new_id, now


@dataclass(frozen=True)
class Move:
    """A row of `moves`."""

    id: UUID
    tenant_id: UUID
    kind: MoveKind
    source_id: UUID
    target_id: UUID
    phase: Phase
    mover: int
    retain_until: datetime | None
    write_pause_ms: int | None
    evidence: dict[str, Any]
    cancel_requested: bool
    problem: str | None


def create(
    connection: Connection, tenant_id: UUID, kind: MoveKind, source: UUID, target: UUID, requested_by: str
) -> UUID:
    """A move that is requested. :raises Refused: CONFLICT when the tenant is being moved or restored already."""
    move_id = new_id()
    values = {
        "id": move_id,
        "tenant_id": tenant_id,
        "kind": kind,
        "source_id": source,
        "target_id": target,
        "phase": Phase.REQUESTED,
        "mover": movers.reserve(connection, tenant_id),
        "requested_by": requested_by,
        "requested_at": now(),
        "evidence": {"steps": {}, "tables": {}},
    }
    connection.execute(insert(moves).values(values))
    return move_id


def claim(connection: Connection, move_id: UUID) -> Move:
    """Take the move with the next mover number: whoever had it before fails its next transaction."""
    row = connection.execute(
        update(moves).where(moves.c.id == move_id).values(mover=moves.c.mover + 1).returning(moves)
    ).first()
    if row is None:
        raise _no_such_move()
    return _move(row)


def find(connection: Connection, move_id: UUID, *, lock: bool = False) -> Move:
    """The move as it stands. :param lock: nobody changes it for the length of the transaction.

    :raises Refused: NOT_FOUND.
    """
    query = select(moves).where(moves.c.id == move_id)
    row = connection.execute(query.with_for_update() if lock else query).first()
    if row is None:
        raise _no_such_move()
    return _move(row)


def advance(connection: Connection, move: Move, phase: Phase, **values: Any) -> None:
    """Write the phase before its step begins. :raises MoverLost: when another mover has claimed the move since."""
    changed = connection.execute(
        update(moves).where(moves.c.id == move.id, moves.c.mover == move.mover).values(phase=phase, **values)
    )
    if changed.rowcount != 1:
        raise MoverLost


def tell(connection: Connection, move: Move, problem: str) -> None:
    """What keeps a move from ending that has switched, or is called off: it is tried again, and nothing else tells of
    it. Nothing when another mover has claimed the move since."""
    ending = or_(moves.c.phase == Phase.SWITCHED, moves.c.cancel_requested)
    mine = (moves.c.id == move.id, moves.c.mover == move.mover)
    connection.execute(update(moves).where(*mine, ending).values(problem=problem))


def note(connection: Connection, move: Move, part: str, name: str, value: Any) -> None:
    """Add to the evidence: `part` is steps or tables. :raises MoverLost: as `advance`."""
    evidence = func.jsonb_set(moves.c.evidence, cast([part, name], ARRAY(Text)), cast(value, JSONB))
    changed = connection.execute(
        update(moves).where(moves.c.id == move.id, moves.c.mover == move.mover).values(evidence=evidence)
    )
    if changed.rowcount != 1:
        raise MoverLost


def begin(connection: Connection, move: Move, claimed: dict[str, Any]) -> None:
    """Begin from the start: what earlier tries have noted is no evidence any more, but for how often they were in vain,
    and whether one has made something at the target.

    :param claimed: the first step, which led here.
    :raises MoverLost: as `advance`.
    """
    steps = {"in_vain": move.evidence["steps"].get("in_vain", 0), "claim": claimed, "made": has_made(move)}
    evidence = {"steps": steps, "tables": {}}
    advance(connection, move, Phase.PROVISIONING, evidence=evidence, lease_until=None)


def has_made(move: Move) -> bool:
    """Whether this try or an earlier one may have left something on the target's server."""
    return "prepare" in move.evidence["steps"] or move.evidence["steps"].get("made", False)


def lease(connection: Connection, move: Move, seconds: float) -> bool:
    """Writes are about to pause: unless the move says otherwise within so many seconds, anybody may carry it on.

    :returns: False when it has been cancelled; nothing has changed then.
    :raises MoverLost: as `advance`.
    """
    if find(connection, move.id, lock=True).cancel_requested:
        return False
    until = func.clock_timestamp() + timedelta(seconds=seconds)
    paused = cast(["steps", "paused_at"], ARRAY(Text))
    evidence = func.jsonb_set(moves.c.evidence, paused, func.to_jsonb(func.clock_timestamp()))
    advance(connection, move, Phase.CUTTING_OVER, lease_until=until, evidence=evidence)
    return True


def overdue(connection: Connection, seconds: float = 15.0) -> list[UUID]:
    """Moves whose writes pause while their mover is silent. Each is told to one caller, who has so many seconds."""
    late = update(moves).where(moves.c.lease_until <= func.clock_timestamp())
    taken = late.values(lease_until=func.clock_timestamp() + timedelta(seconds=seconds)).returning(moves.c.id)
    return list(connection.scalars(taken))


def opened(connection: Connection, move: Move, write_pause_ms: int | None) -> None:
    """Writes go on at the target, and anybody else need not look after the move.

    :param write_pause_ms: for how long writes paused; None: since when they did, by this database's clock.
    :raises MoverLost: as `advance`.
    """
    paused_at = cast(moves.c.evidence["steps"]["paused_at"].astext, TIMESTAMP(timezone=True))
    since = func.extract("epoch", func.clock_timestamp() - paused_at) * 1000
    paused = func.coalesce(moves.c.write_pause_ms, since if write_pause_ms is None else write_pause_ms)
    advance(connection, move, Phase.SWITCHED, lease_until=None, write_pause_ms=cast(paused, Integer))


def request_cancel(connection: Connection, move_id: UUID) -> None:
    """Ask the mover to stop; it looks before each step until the switch.

    :raises Refused: CONFLICT when the switch has begun, or the move has ended.
    """
    asked = update(moves).where(moves.c.id == move_id, moves.c.phase.in_(CANCELLABLE)).values(cancel_requested=True)
    if connection.execute(asked).rowcount:
        return
    if find(connection, move_id).phase is Phase.CANCELLED:
        raise Refused(Code.CONFLICT, "This move is called off already.", "The data has stayed where it was.")
    raise Refused(Code.CONFLICT, "This move can no longer be cancelled.", "Roll it back once it has ended.")


def reopen(connection: Connection, move_id: UUID) -> None:
    """Put a failed move back to requested, and leave any other as it is.

    :raises Refused: CONFLICT when another move or a restore of the tenant is under way.
    """
    failed = find(connection, move_id)
    if failed.phase is not Phase.FAILED:
        return
    number = movers.reserve(connection, failed.tenant_id)
    asked = update(moves).where(moves.c.id == move_id, moves.c.phase == Phase.FAILED)
    values = {"phase": Phase.REQUESTED, "problem": None, "finished_at": None, "cancel_requested": False}
    connection.execute(asked.values(mover=number, **values))


def page(
    connection: Connection,
    *,
    tenant_id: UUID | None = None,
    kind: MoveKind | None = None,
    phases: Sequence[Phase] = (),
    after: str = "",
    before: str = "",
    limit: int = 50,
) -> Page[Any]:
    """Moves newest first, as `rows_query` has them.

    :param phases: only moves in one of them; none: in any.
    """
    query = rows_query()
    if tenant_id:
        query = query.where(moves.c.tenant_id == tenant_id)
    if kind:
        query = query.where(moves.c.kind == kind)
    if phases:
        query = query.where(moves.c.phase.in_(phases))
    return newest_first(connection, query, moves.c.id, UUID, after=after, before=before, limit=limit)


def row(connection: Connection, move_id: UUID) -> Any:
    """One row of `rows_query`. :raises Refused: NOT_FOUND."""
    found = connection.execute(rows_query().where(moves.c.id == move_id)).first()
    if found is None:
        raise _no_such_move()
    return found


def rows_query() -> Select[Any]:
    """Moves with company and tier, name and kind of both servers, and how far AWS is with the target."""
    source, target = servers.alias(), servers.alias()
    source_at, target_at = placements.alias(), placements.alias()
    return (
        select(
            moves,
            tenants.c.company,
            tenants.c.tier,
            source.c.name.label("source"),
            source.c.kind.label("source_kind"),
            target.c.name.label("target"),
            target.c.kind.label("target_kind"),
            instances.c.state.label("instance_state"),
            instances.c.requested_at.label("instance_since"),
            target.c.problem.label("target_problem"),
            tenants.c.placement_id.label("current_id"),
            source_at.c.state.label("source_state"),
        )
        .join(tenants, tenants.c.id == moves.c.tenant_id)
        .join(source_at, source_at.c.id == moves.c.source_id)
        .join(target_at, target_at.c.id == moves.c.target_id)
        .join(source, source.c.id == source_at.c.server_id)
        .join(target, target.c.id == target_at.c.server_id)
        .outerjoin(instances, instances.c.server_id == target.c.id)
    )


def newest_to(connection: Connection, server_id: UUID, phases: Sequence[Phase]) -> UUID | None:
    """The newest move to a server that is in one of the phases."""
    there = select(moves.c.id).join(placements, placements.c.id == moves.c.target_id)
    there = there.where(placements.c.server_id == server_id, moves.c.phase.in_(phases))
    found: UUID | None = connection.scalar(there.order_by(moves.c.id.desc()).limit(1))
    return found


def past(connection: Connection, count: int = 20) -> list[tuple[int, float]]:
    """Rows, and seconds from the first copied to the last compared, of the newest moves that have switched."""
    switched = select(moves.c.evidence).where(moves.c.switched_at.is_not(None))
    found = connection.scalars(switched.order_by(moves.c.id.desc()).limit(count))
    return [(sum(table["rows"] for table in told["tables"].values()), _worked(told["steps"])) for told in found]


def last_retained(connection: Connection, tenant_id: UUID) -> Move | None:
    """The tenant's newest move whose source is still kept."""
    found = connection.execute(
        select(moves)
        .where(moves.c.tenant_id == tenant_id, moves.c.phase == Phase.RETAINING, moves.c.retain_until > func.now())
        .order_by(moves.c.id.desc())
        .limit(1)
    ).first()
    return _move(found) if found else None


def begin_drop(connection: Connection, move_id: UUID) -> bool:
    """The retention of this move's source has ended: it is written down before anything is dropped.

    :returns: False when it is not retained (any more).
    """
    begun = update(moves).where(moves.c.id == move_id, moves.c.phase == Phase.RETAINING).values(phase=Phase.DROPPING)
    return connection.execute(begun).rowcount == 1


def without_job(connection: Connection) -> list[UUID]:
    """Moves that are to be carried on but have no job that waits or runs."""
    no_job = text(
        "NOT EXISTS (SELECT FROM procrastinate_jobs j "
        "WHERE j.lock = 'move:' || moves.id AND j.status IN ('todo', 'doing'))"
    )
    carried = (*UNDER_WAY, Phase.DROPPING)
    return list(connection.scalars(select(moves.c.id).where(moves.c.phase.in_(carried), no_job)))


def past_retention(connection: Connection) -> list[UUID]:
    """Moves whose source has been kept long enough, by the registry's clock, and may be dropped unseen.

    None whose source differed from what was carried over, nor one where the tenant lives.
    """
    over = (moves.c.phase == Phase.RETAINING, moves.c.retain_until <= func.now(), ~UNCONFIRMED)
    lives_there = select(tenants.c.id).where(tenants.c.placement_id == moves.c.source_id).exists()
    return list(connection.scalars(select(moves.c.id).where(*over, ~lives_there)))


UNCONFIRMED: ColumnElement[bool] = moves.c.evidence["steps"]["confirm"]["equal"].astext.is_not_distinct_from("false")
"""Of a move: its source held something else than was carried over, and an operator has to look at it."""


def _no_such_move() -> Refused:
    return Refused(Code.NOT_FOUND, "There is no such move.")


def _worked(steps: dict[str, Any]) -> float:
    taken = [steps[name].get("seconds") for name in ("copy", "catch_up", "verify") if name in steps]
    return float(sum(seconds for seconds in taken if seconds is not None))


def _move(row: Any) -> Move:
    return Move(
        id=row.id,
        tenant_id=row.tenant_id,
        kind=MoveKind(row.kind),
        source_id=row.source_id,
        target_id=row.target_id,
        phase=Phase(row.phase),
        mover=row.mover,
        retain_until=row.retain_until,
        write_pause_ms=row.write_pause_ms,
        evidence=row.evidence,
        cancel_requested=row.cancel_requested,
        problem=row.problem,
    )
