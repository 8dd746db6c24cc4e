"""Carrying a tenant from one server to another: claim, provision, pause writes, copy, verify, switch, open, retain.

The state of a move is its row in the registry and the two `_fence` rows, nothing else. Every step can be done again;
`carry_on` may be called at any time, by any process, also after a kill -9 in the middle. Each call takes the next
mover number, and every transaction checks it: a mover that was frozen and wakes up changes nothing.

The commit point is one transaction in the registry: compare the tenant's placement and epoch, and set the new ones.
Before it, only the source may ever be open; after it, only the target.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from uuid import UUID

from awssome.database import template
from awssome.database.engine import MoverLost, Server
from awssome.database.handover import admit, compared, freeze, leave, passes
from awssome.database.registry import Registry, audit, moves, placements, servers, tenants
from awssome.database.registry.moves import Move
from awssome.database.servers import Opener, match_login
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import CANCELLABLE, FenceMode, Phase
from awssome.domain.secrets import Keys
from awssome.domain.tenants import RETENTION_DAYS, Placement, PlacementState, TenantState
from awssome.domain.times import now

PAUSES_IN_VAIN = 5
"""How often a move may pause writes and come to nothing because a server is away, before it waits for an operator."""


@dataclass(frozen=True)
class Mover:
    """Carries moves on. Only workers have one.

    :param step: told the name of each step as it begins; tests kill the process there.
    :param archive: keeps what the source of a move holds, before it is dropped.
    """

    registry: Registry
    keys: Keys
    open_server: Opener
    step: Callable[[str], None] = lambda name: None
    archive: Callable[[Move], None] = lambda move: None

    def carry_on(self, move_id: UUID) -> Phase:
        """Do what is left of a move; returns the phase it reached.

        :raises Refused: when a server or the registry does not answer. The source is open again if the tenant had not
            been switched yet; call again later.
        """
        with self.registry.begin() as connection:
            move = moves.claim(connection, move_id)
        try:
            return self._carry_on(move)
        except MoverLost:
            # Somebody else has the move now; it is theirs to finish.
            with self.registry.begin() as connection:
                return moves.find(connection, move_id).phase

    def _carry_on(self, move: Move) -> Phase:
        if move.phase in (Phase.DROPPED, Phase.CANCELLED, Phase.RETAINING):
            return move.phase
        if move.phase is Phase.FAILED and not move.cancel_requested:
            return move.phase
        if move.phase is Phase.DROPPING:
            return self._drop(move)
        return self._travel(move, self._trip(move))

    def _travel(self, move: Move, trip: _Trip) -> Phase:
        if trip.at is _At.TARGET:
            return self._open(move, trip)
        if trip.at is _At.ELSEWHERE:
            return self._call_off(move, trip)
        try:
            if move.cancel_requested:
                raise _Cancelled
            revision = self._prepare(move, trip)
            self._copy(move, trip, revision)
            if not self._verify(move, trip):
                return Phase.FAILED
            self._switch(move, trip, revision)
        except _Cancelled:
            return self._call_off(move, trip)
        except BaseException as error:
            self._thaw(move, trip, error)
            raise
        return self._open(move, trip)

    def _trip(self, move: Move) -> _Trip:
        """Both ends of the move, and on which side of the commit point it is: read after the claim."""
        with self.registry.begin() as connection:
            tenant = tenants.find(connection, move.tenant_id)
            source = placements.find(connection, self.keys, move.source_id)
            target = placements.find(connection, self.keys, move.target_id)
            source_server = placements.server_of(connection, move.source_id)
            target_server = placements.server_of(connection, move.target_id)
        at = _At.ELSEWHERE
        if tenant.placement_id in (move.source_id, move.target_id):
            at = _At.SOURCE if tenant.placement_id == move.source_id else _At.TARGET
        epoch = tenant.epoch - 1 if at is _At.TARGET else tenant.epoch
        return _Trip(source, target, self.open_server(source_server), self.open_server(target_server), epoch, at)

    def _prepare(self, move: Move, trip: _Trip) -> str:
        """Tables of one revision on both sides; returns it."""
        with self._timed(move, "claim", Phase.PROVISIONING):
            trip.source_server.claim(trip.source.schema, move.mover)
        with self._timed(move, "provision", Phase.PROVISIONING):
            self._migrate(move, trip)
            # Whatever an earlier attempt left on the target is not open and holds nothing that the source has not.
            trip.target_server.drop(trip.target.schema, move.mover)
            return trip.target_server.provision(
                trip.target.schema, trip.target.password, epoch=trip.epoch, mode=FenceMode.STANDBY, mover=move.mover
            )

    def _migrate(self, move: Move, trip: _Trip) -> None:
        """The template's newest revision on the source, too: a copy goes by the columns that this version knows.

        :raises Refused: UNAVAILABLE when the source cannot be brought there, or a newer version has been at it.
        """
        (migrated,) = trip.source_server.migrate([trip.source.schema])
        if migrated.problem is not None:
            raise Refused(
                Code.UNAVAILABLE,
                f"The tables cannot be brought to the revision of this worker. {migrated.problem}",
                "`awssome migrate` brings them there; workers of the newest version move what is newer.",
            )
        beyond = trip.source_server.beyond
        with self.registry.begin() as connection:
            placements.note_migrated(connection, [move.source_id], template.head(beyond), template.older(beyond))

    def _copy(self, move: Move, trip: _Trip, revision: str) -> None:
        with self._timed(move, "freeze", Phase.COPYING):
            self._freeze(move, trip)
            # Somebody with a newer version may have migrated the source since, and written what we do not know of.
            fence = trip.source_server.fence(trip.source.schema)
            if fence is not None and fence.revision != revision:
                raise Refused(
                    Code.UNAVAILABLE, "The tables were migrated while they were being moved. It is tried again."
                )
        with self._timed(move, "copy", Phase.COPYING):
            trip.source_server.copy(trip.source.schema, trip.target_server, trip.target.schema, move.mover)

    def _freeze(self, move: Move, trip: _Trip) -> None:
        def asking() -> None:
            with self.registry.begin() as connection:
                moves.note(connection, move, "steps", "paused_at", now().isoformat())

        freeze(trip.source_server, trip.source.schema, move.mover, trip.epoch, asking)

    def _verify(self, move: Move, trip: _Trip) -> bool:
        with self._timed(move, "verify", Phase.VERIFYING):
            before = trip.source_server.sums(trip.source.schema)
            after = trip.target_server.sums(trip.target.schema)
            with self.registry.begin() as connection:
                for table, there in before.items():
                    moves.note(connection, move, "tables", table, compared(there, after[table]))
        unequal = sorted(table for table in before if before[table] != after[table])
        if not unequal:
            return True
        admit(trip.source_server, trip.source.schema, move.mover, trip.epoch)
        problem = f"The copy differs from the source in {', '.join(unequal)}. The tenant stays where it was."
        self._fail(move, problem, tables=unequal)
        return False

    def _switch(self, move: Move, trip: _Trip, revision: str) -> None:
        with self._timed(move, "switch", Phase.CUTTING_OVER):
            trip.target_server.set_fence(trip.target.schema, move.mover, mode=FenceMode.STANDBY, epoch=trip.epoch + 1)
            with self.registry.begin() as connection:
                if moves.find(connection, move.id).cancel_requested:
                    raise _Cancelled
                if not tenants.switch_placement(connection, move.tenant_id, move.source_id, move.target_id, trip.epoch):
                    raise MoverLost
                until = now() + timedelta(days=RETENTION_DAYS)
                placements.mark(connection, move.target_id, PlacementState.ACTIVE, revision=revision)
                placements.mark(connection, move.source_id, PlacementState.RETAINED, retain_until=until)
                moves.advance(connection, move, Phase.SWITCHED, switched_at=now(), retain_until=until)

    def _open(self, move: Move, trip: _Trip) -> Phase:
        with self._timed(move, "open", Phase.SWITCHED):
            # Before anything is written at the target, whoever still reads the source is sent to the registry. A
            # source that is away shows nothing old to anybody, and does not keep the target closed.
            with suppress(Refused):
                self._leave(move, trip)
            trip.target_server.claim(trip.target.schema, move.mover)
            if not self._is_active(move):  # suspended on the way: that closed the login at the source
                match_login(self.registry, self.keys, self.open_server, move.tenant_id)
            admit(trip.target_server, trip.target.schema, move.mover, trip.epoch + 1)
            opened = now()
        if move.write_pause_ms is None:
            with self.registry.begin() as connection:
                paused = moves.find(connection, move.id).evidence["steps"].get("paused_at")
                if paused:  # else writes were stopped before: the tenant had been leaving, and came back
                    pause = int((opened - datetime.fromisoformat(paused)).total_seconds() * 1000)
                    moves.advance(connection, move, Phase.SWITCHED, write_pause_ms=pause)
        with self._timed(move, "retain", Phase.SWITCHED):
            self._leave(move, trip)
            trip.source_server.close_login(trip.source.schema)
        with self.registry.begin() as connection:
            moves.advance(connection, move, Phase.RETAINING, finished_at=now(), problem=None)
            audit.record(connection, audit.SYSTEM, "move.completed", move.tenant_id, move=move.id, kind=move.kind)
        return Phase.RETAINING

    def _is_active(self, move: Move) -> bool:
        with self.registry.begin() as connection:
            return tenants.find(connection, move.tenant_id).state is TenantState.ACTIVE

    @staticmethod
    def _leave(move: Move, trip: _Trip) -> None:
        leave(trip.source_server, trip.source.schema, move.mover, trip.epoch + 1)

    def _thaw(self, move: Move, trip: _Trip, error: BaseException) -> None:
        """Before the commit point every failure opens the source again: a tenant does not wait for our repair."""
        if isinstance(error, MoverLost):
            return
        with self.registry.begin() as connection:
            # The lock waits for a commit of ours whose answer was lost.
            if tenants.find(connection, move.tenant_id, lock=True).placement_id != move.source_id:
                return
            problem = error.message if isinstance(error, Refused) else "The move was interrupted."
            reached = moves.find(connection, move.id)
            paused = _pauses_writes(reached)
            in_vain = reached.evidence["steps"].get("in_vain", 0) + paused
            moves.note(connection, move, "steps", "in_vain", in_vain)
            moves.advance(connection, move, Phase.REQUESTED, problem=problem)
        fence = trip.source_server.fence(trip.source.schema)
        if fence is not None and fence.mover == move.mover:
            admit(trip.source_server, trip.source.schema, move.mover, trip.epoch)
        if paused and (not passes(error) or in_vain >= PAUSES_IN_VAIN):
            # Another try would pause writes again. Only now that the source is open may the move count as failed.
            self._fail(move, f"{problem} The tenant stays where it was.", error=type(error).__name__)

    def _fail(self, move: Move, problem: str, **detail: object) -> None:
        with self.registry.begin() as connection:
            moves.advance(connection, move, Phase.FAILED, problem=problem, finished_at=now())
            audit.record(connection, audit.SYSTEM, "move.failed", move.tenant_id, move=move.id, **detail)

    def _call_off(self, move: Move, trip: _Trip) -> Phase:
        # The source of a move that has failed was opened then, and may be another move's by now.
        if trip.at is _At.SOURCE and move.phase is not Phase.FAILED:
            trip.source_server.claim(trip.source.schema, move.mover)
            admit(trip.source_server, trip.source.schema, move.mover, trip.epoch)
        trip.target_server.drop(trip.target.schema, move.mover)
        with self.registry.begin() as connection:
            placements.mark(connection, move.target_id, PlacementState.DROPPED)
            servers.release(connection, move.target_id)
            moves.advance(connection, move, Phase.CANCELLED, finished_at=now())
            audit.record(connection, audit.SYSTEM, "move.cancelled", move.tenant_id, move=move.id)
        return Phase.CANCELLED

    def _drop(self, move: Move) -> Phase:
        """Drop the source of a move whose retention has ended, unless the tenant lives there again."""
        with self.registry.begin() as connection:
            if tenants.find(connection, move.tenant_id).placement_id == move.source_id:
                raise Refused(Code.CONFLICT, "The tenant lives on this placement; it is not dropped.")
            source = placements.find(connection, self.keys, move.source_id)
            server = self.open_server(placements.server_of(connection, move.source_id))
        with self._timed(move, "drop", Phase.DROPPING):
            if server.fence(source.schema) is not None:
                self.archive(move)
            server.drop(source.schema, move.mover)
        with self.registry.begin() as connection:
            placements.mark(connection, move.source_id, PlacementState.DROPPED)
            servers.release(connection, move.source_id)
            moves.advance(connection, move, Phase.DROPPED)
            audit.record(
                connection, audit.SYSTEM, "placement.dropped", move.tenant_id, move=move.id, schema=source.schema
            )
        return Phase.DROPPED

    def _timed(self, move: Move, name: str, phase: Phase) -> _Step:
        return _Step(self, move, name, phase)


class _Cancelled(Exception):
    """Somebody has called the move off."""


class _At(Enum):
    """Where the tenant is, seen from a move. Elsewhere: another move has overtaken this one."""

    SOURCE = auto()
    TARGET = auto()
    ELSEWHERE = auto()


@dataclass(frozen=True)
class _Trip:
    source: Placement
    target: Placement
    source_server: Server
    target_server: Server
    epoch: int
    at: _At


class _Step:
    """Writes the phase and the step's begin before it, and its length after it."""

    def __init__(self, mover: Mover, move: Move, name: str, phase: Phase) -> None:
        self._mover, self._move, self._name, self._phase = mover, move, name, phase

    def __enter__(self) -> None:
        self._began, self._at = time.monotonic(), now().isoformat()
        with self._mover.registry.begin() as connection:
            if self._phase in CANCELLABLE and moves.find(connection, self._move.id).cancel_requested:
                raise _Cancelled
            moves.advance(connection, self._move, self._phase)
            moves.note(connection, self._move, "steps", self._name, {"at": self._at})
        self._mover.step(self._name)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            took = {"at": self._at, "seconds": round(time.monotonic() - self._began, 3)}
            with self._mover.registry.begin() as connection:
                moves.note(connection, self._move, "steps", self._name, took)


def _pauses_writes(move: Move) -> bool:
    """Whether this attempt had frozen the source: the evidence may still hold an earlier one's freeze."""
    frozen = "seconds" in move.evidence["steps"].get("freeze", {})
    return frozen and move.phase in (Phase.COPYING, Phase.VERIFYING, Phase.CUTTING_OVER)
