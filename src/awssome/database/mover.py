"""Carrying a tenant from one server to another while it works there.

Claim, make the target, note what is written, copy, catch up, verify, cut over, open, confirm, retain. The state of a
move is its row in the registry and the two `_fence` rows, nothing else. `carry_on` may be called at any time, by any
process, also after a kill -9 in the middle. Each call takes the next mover number, and every transaction checks it: a
mover that was frozen and wakes up changes nothing.

The commit point is one transaction in the registry: compare the tenant's placement and epoch, and set the new ones.
Before it, only the source may ever be open; after it, only the target. Writes pause from the closing of the source to
the opening of the target, a little before and a little after that point; reads never do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from awssome.database import Connection, template
from awssome.database.catch_up import CatchUp, table_named
from awssome.database.engine import FenceBusy, MoverLost, TableSum, Unequal
from awssome.database.handover import admit, compared, leave, note_writes, passes
from awssome.database.registry import Registry, audit, hubspot, moves, placements, servers, tenants
from awssome.database.registry.moves import Move
from awssome.database.servers import Opener, match_login
from awssome.database.trip import At, Cancelled, Step, Trip, looking
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import FenceMode, MoveKind, NotYet, Phase
from awssome.domain.secrets import Keys
from awssome.domain.tenants import RETENTION_DAYS, PlacementState, TenantState
from awssome.domain.times import now

PAUSES_IN_VAIN = 5
"""How often a move may pause writes and come to nothing because a server is away, before it waits for an operator."""

CUT_OVER_TRIES = 60
"""How often writes are asked to pause while long ones hold the fence, before the move begins again some time later."""

WAIT_MS = 200
"""How long one try waits for writes under way. Those that come meanwhile wait behind it."""

BUDGET_SECONDS = 0.8
"""A try that has kept writes waiting for so long lets them go on."""

LONGEST_REST = 2.0
"""Seconds between two tries, at most."""

TELL_SECONDS = 1.0
"""How often it is told how far a copy is."""

LEASE_SECONDS = 2.0
"""Writes that pause for longer than this have lost their mover: any other one lets them go on."""


@dataclass(frozen=True)
class Mover:
    """Carries moves on. Only workers have one.

    :param step: told the name of each step as it begins, and within the cut-over when writes are `paused`, the target
        is `marked`, and the source `closed`; tests kill the process there.
    :param ensure: makes sure that a server is there. Raises `NotYet` while it is being made.
    :param archive: keeps what the source of a move holds, before it is dropped.
    """

    registry: Registry
    keys: Keys
    open_server: Opener
    step: Callable[[str], None] = lambda name: None
    ensure: Callable[[UUID], None] = lambda server_id: None
    archive: Callable[[Move], None] = lambda move: None

    def carry_on(self, move_id: UUID, abort: Callable[[], bool] = lambda: False) -> Phase:
        """Do what is left of a move; returns the phase it reached.

        :param abort: asked now and then; once it says so the source is as it was, and `Refused` is raised.
        :raises NotYet: while the target server is being made.
        :raises Refused: when a server or the registry does not answer. The source is open again if the tenant had not
            been switched yet; call again later.
        """
        with self.registry.begin() as connection:
            move = moves.claim(connection, move_id)
        try:
            return self._carry_on(move, abort)
        except FenceBusy as busy:
            raise Refused(Code.UNAVAILABLE, _told(busy)) from None
        except MoverLost:
            # Somebody else has the move now; it is theirs to finish.
            with self.registry.begin() as connection:
                return moves.find(connection, move_id).phase
        except Refused as refused:
            with self.registry.begin() as connection:
                moves.tell(connection, move, refused.message)
            raise

    def recover(self, move_id: UUID) -> Phase:
        """Let writes go on that a silent mover has paused: at the target, where it is ready for them, else at the
        source. What else is left of the move is `carry_on`'s.

        :raises Refused: as there.
        """
        with self.registry.begin() as connection:
            move = moves.claim(connection, move_id)
        with suppress(MoverLost):
            trip = self._trip(move)
            if trip.at is At.SOURCE and move.phase is Phase.CUTTING_OVER:
                ready = self._claim(move, trip)
                if ready is not None:
                    self._open(move, trip, active=self._switch(move, trip, ready))
            elif trip.at is At.TARGET:
                self._open(move, trip, active=self._is_active(move))
            with self.registry.begin() as connection:
                moves.advance(connection, move, moves.find(connection, move_id).phase, lease_until=None)
        with self.registry.begin() as connection:
            return moves.find(connection, move_id).phase

    def _carry_on(self, move: Move, abort: Callable[[], bool]) -> Phase:
        if move.phase in (Phase.DROPPED, Phase.CANCELLED, Phase.RETAINING):
            return move.phase
        if move.phase is Phase.FAILED and not move.cancel_requested:
            return move.phase
        if move.phase is Phase.DROPPING:
            return self._drop(move)
        return self._travel(move, self._trip(move, abort))

    def _travel(self, move: Move, trip: Trip) -> Phase:
        if trip.at is At.TARGET:
            self._open(move, trip, active=self._is_active(move))
            return self._retain(move, trip)
        if trip.at is At.ELSEWHERE or move.phase is Phase.FAILED:
            # The source of a move that has failed was opened then, and may be another move's by now.
            return self._call_off(move, trip)
        asked = None
        try:
            revision = self._claim(move, trip)
            if revision is None:
                self._ensure(move, trip)
                revision = self._prepare(move, trip)
                self._copy(move, trip)
                behind = CatchUp(trip.source_end, trip.target_end, move.mover, revision)
                self._catch_up(move, trip, behind)
                if not self._verify(move, trip, behind):
                    return Phase.FAILED
                asked = self._cut_over(move, trip, behind)
            active = self._switch(move, trip, revision)
        except Cancelled:
            return self._call_off(move, trip)
        except BaseException as error:
            self._thaw(move, trip, error)
            raise
        self._open(move, trip, active=active, asked=asked)
        return self._retain(move, trip)

    def _trip(self, move: Move, abort: Callable[[], bool] = lambda: False) -> Trip:
        """Both ends of the move, and on which side of the commit point it is: read after the claim."""
        with self.registry.begin() as connection:
            tenant = tenants.find(connection, move.tenant_id)
            source = placements.find(connection, self.keys, move.source_id)
            target = placements.find(connection, self.keys, move.target_id)
            source_server = placements.server_of(connection, move.source_id)
            target_server = placements.server_of(connection, move.target_id)
        at = At.ELSEWHERE
        if tenant.placement_id in (move.source_id, move.target_id):
            at = At.SOURCE if tenant.placement_id == move.source_id else At.TARGET
        epoch = tenant.epoch - 1 if at is At.TARGET else tenant.epoch
        return Trip(source, target, self.open_server(source_server), target_server, self.open_server, epoch, at, abort)

    def _claim(self, move: Move, trip: Trip) -> str | None:
        """Nobody else writes from here on. Was a mover killed after it had closed the source, the target has all of it:
        the revision of its tables. Else the source takes writes again, and the move begins from the start: None."""
        at, began = now().isoformat(), time.monotonic()
        self.step("claim")
        trip.source_server.claim(trip.source.schema, move.mover)
        if move.phase is Phase.CUTTING_OVER:
            ready = self._is_ready(move, trip)
            if ready is not None:
                return ready
        self._reopen(move, trip)
        with self.registry.begin() as connection:
            if moves.find(connection, move.id, lock=True).cancel_requested:
                raise Cancelled
            took = {"at": at, "seconds": round(time.monotonic() - began, 3)}
            moves.begin(connection, move, took)
        return None

    def _is_ready(self, move: Move, trip: Trip) -> str | None:
        """Only `close` leaves a source like this behind, and it comes after the target was marked."""
        here = trip.source_server.fence(trip.source.schema)
        if here is None or (here.mode, here.epoch) != (FenceMode.MOVED, trip.epoch):
            return None
        with suppress(Refused):  # a target that is away is not waited for: the source has all of it, too
            trip.target_server.claim(trip.target.schema, move.mover)
            there = trip.target_server.fence(trip.target.schema)
            if there is not None and (there.mode, there.epoch) == (FenceMode.STANDBY, trip.epoch + 1):
                return there.revision
        return None

    def _ensure(self, move: Move, trip: Trip) -> None:
        with self._timed(move, "server", Phase.PROVISIONING):
            self.ensure(trip.target_server_id)

    def _prepare(self, move: Move, trip: Trip) -> str:
        """Tables of one revision on both sides; returns it. From then on every write at the source is noted."""
        with self._timed(move, "prepare", Phase.PROVISIONING):
            self._migrate(move, trip)
            # Whatever an earlier attempt left on the target is not open and holds nothing that the source has not.
            trip.target_server.drop(trip.target.schema, move.mover)
            revision = trip.target_server.provision(
                trip.target.schema, trip.target.password, epoch=trip.epoch, mode=FenceMode.STANDBY, mover=move.mover
            )
        with self._timed(move, "capture", Phase.COPYING):
            note_writes(trip.source_server, trip.source.schema, move.mover, self._look(move, trip))
        return revision

    def _migrate(self, move: Move, trip: Trip) -> None:
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

    def _copy(self, move: Move, trip: Trip) -> None:
        look, told_at = self._look(move, trip), time.monotonic()
        with self._timed(move, "copy", Phase.COPYING) as told:

            def watch(rows: int) -> None:
                nonlocal told_at
                look()
                if time.monotonic() - told_at > TELL_SECONDS:
                    told_at = time.monotonic()
                    with self.registry.begin() as connection:
                        moves.note(connection, move, "steps", "copy", {"at": told["at"], "rows": rows})

            told["rows"] = trip.source_server.copy(
                trip.source.schema, trip.target_server, trip.target.schema, move.mover, watch=watch
            )

    def _catch_up(self, move: Move, trip: Trip, behind: CatchUp) -> None:
        with self._timed(move, "catch_up", Phase.COPYING) as told:
            behind.until_few(self._look(move, trip))
            told |= {"cycles": behind.cycles, "rows": behind.entries}

    def _verify(self, move: Move, trip: Trip, behind: CatchUp) -> bool:
        with self._timed(move, "verify", Phase.VERIFYING) as told:
            before, after = behind.verify()
            with self.registry.begin() as connection:
                for table, there in before.items():
                    moves.note(connection, move, "tables", table, compared(there, after[table]))
            unequal = sorted(table for table in before if before[table] != after[table])
            if unequal:
                told["keys"] = {table: behind.differing(table_named(table)) for table in unequal}
        if not unequal:
            return True
        self._reopen(move, trip)
        problem = f"The copy differs from the source in {', '.join(unequal)}. The tenant stays where it was."
        self._fail(move, problem, tables=unequal)
        return False

    def _cut_over(self, move: Move, trip: Trip, behind: CatchUp) -> float:
        """Close the source, and have the target hold all of it; when writes were asked to pause (monotonic).

        :raises Refused: UNAVAILABLE when long writes do not let the fence go, or it takes too long each time.
        """
        look, pauses = self._look(move, trip), list[int]()
        with self._timed(move, "cut_over", Phase.VERIFYING) as told:
            for attempt in range(1, CUT_OVER_TRIES + 1):
                behind.until_few(look)
                with self.registry.begin() as connection:
                    self._require_room(connection, move)
                    if not moves.lease(connection, move, LEASE_SECONDS):
                        raise Cancelled
                asked = time.monotonic()
                if self._close(move, trip, behind, asked):
                    told |= {"tries": attempt, "pauses_ms": pauses, "cycles": behind.cycles, "rows": behind.entries}
                    return asked
                pauses.append(_ms_since(asked))
                with self.registry.begin() as connection:
                    moves.advance(connection, move, Phase.VERIFYING, lease_until=None)
                time.sleep(min(0.1 * attempt, LONGEST_REST))  # let writers through that queued behind us
        raise Refused(Code.UNAVAILABLE, "Long writes kept writes from being paused. It is tried again.")

    def _close(self, move: Move, trip: Trip, behind: CatchUp, asked: float) -> bool:
        """One try: False when writers kept the fence, or had to wait for too long, and go on."""
        try:
            with trip.source_server.closing(trip.source.schema, move.mover, timeout_ms=WAIT_MS) as closing:
                self.step("paused")
                behind.close(closing, trip.epoch + 1)
                # Whoever finishes this, should we be killed, confirms it by these. And behind a registry that is away
                # nothing is closed.
                sums = {name: [found.rows, found.checksum] for name, found in behind.reached().items()}
                carried = {"revision": behind.revision, "sums": sums}
                with self.registry.begin() as connection:
                    moves.note(connection, move, "steps", "carried", carried)
                self.step("marked")
                if time.monotonic() - asked > BUDGET_SECONDS:
                    return False
                closing.close()
        except FenceBusy:
            return False
        return True

    def _switch(self, move: Move, trip: Trip, revision: str) -> bool:
        """The commit point. Whether the tenant is active: a suspension that comes later finds it at the target."""
        self.step("closed")
        with self.registry.begin() as connection:
            self._require_room(connection, move)
            if not tenants.switch_placement(connection, move.tenant_id, move.source_id, move.target_id, trip.epoch):
                raise MoverLost
            until = now() + timedelta(days=RETENTION_DAYS)
            placements.mark(connection, move.target_id, PlacementState.ACTIVE, revision=revision)
            placements.mark(connection, move.source_id, PlacementState.RETAINED, retain_until=until)
            moves.advance(connection, move, Phase.SWITCHED, switched_at=now(), retain_until=until)
            return tenants.find(connection, move.tenant_id).state is TenantState.ACTIVE

    @staticmethod
    def _require_room(connection: Connection, move: Move) -> None:
        """Who was asked for a downgrade may have been overtaken: another free tenant has the HubSpot account by now."""
        if move.kind is MoveKind.DOWNGRADE:
            hubspot.require_room(connection, move.tenant_id)

    def _open(self, move: Move, trip: Trip, *, active: bool, asked: float | None = None) -> None:
        """:param active: whether the tenant was, when it was last looked at behind the commit point.
        :param asked: when writes were asked to pause, if that was us: both ends are ours then, and as we left them."""
        began, at, ours = time.monotonic(), now().isoformat(), asked is not None
        self.step("open")
        source, target = trip.source_server, trip.target_server
        # Before anything is written at the target, whoever still reads the source is sent to the registry. A source
        # that is away shows nothing old to anybody, and does not keep the target closed.
        with suppress(Refused):
            if not ours:
                source.claim(trip.source.schema, move.mover)
            source.set_fence(trip.source.schema, move.mover, mode=FenceMode.MOVED, epoch=trip.epoch + 1)
        if not ours:
            target.claim(trip.target.schema, move.mover)
        if not active:  # suspended on the way: that closed the login at the source
            match_login(self.registry, self.keys, self.open_server, move.tenant_id)
        if ours:
            target.set_fence(trip.target.schema, move.mover, mode=FenceMode.RW, epoch=trip.epoch + 1)
        else:
            admit(target, trip.target.schema, move.mover, trip.epoch + 1)
        pause = None if asked is None else _ms_since(asked)
        with self.registry.begin() as connection:
            took = {"at": at, "seconds": round(time.monotonic() - began, 3)}
            moves.note(connection, move, "steps", "open", took)
            moves.opened(connection, move, pause)

    def _retain(self, move: Move, trip: Trip) -> Phase:
        with self._timed(move, "confirm", Phase.SWITCHED) as told:
            leave(trip.source_server, trip.source.schema, move.mover, trip.epoch + 1)
            differing = self._confirm(move, trip)
            told["equal"] = None if differing is None else not differing
        problem = None
        if differing:
            problem = f"The source holds what the target did not get, in {', '.join(differing)}. It is kept."
        with self._timed(move, "retain", Phase.SWITCHED):
            trip.source_server.close_login(trip.source.schema)
        with self.registry.begin() as connection:
            moves.advance(connection, move, Phase.RETAINING, finished_at=now(), problem=problem)
            audit.record(connection, audit.SYSTEM, "move.completed", move.tenant_id, move=move.id, kind=move.kind)
            if differing:
                audit.record(
                    connection, audit.SYSTEM, "move.unconfirmed", move.tenant_id, move=move.id, tables=differing
                )
        return Phase.RETAINING

    def _confirm(self, move: Move, trip: Trip) -> list[str] | None:
        """Tables of which the closed source holds something else than was carried over; None when that is not known:
        its tables were migrated since, or the move is from a version that did not keep what it carried."""
        with self.registry.begin() as connection:
            carried = moves.find(connection, move.id).evidence["steps"].get("carried")
        fence = trip.source_server.fence(trip.source.schema)
        if not carried or fence is None or fence.revision != carried["revision"]:
            return None
        found = trip.source_server.sums(trip.source.schema)
        sums = {table: TableSum(*reached) for table, reached in carried["sums"].items()}
        with self.registry.begin() as connection:
            for table, there in found.items():
                moves.note(connection, move, "tables", table, compared(there, sums[table]))
        return sorted(table for table in found if found[table] != sums[table])

    def _is_active(self, move: Move) -> bool:
        with self.registry.begin() as connection:
            return tenants.find(connection, move.tenant_id).state is TenantState.ACTIVE

    @staticmethod
    def _reopen(move: Move, trip: Trip) -> None:
        """The source as it was before the move: it takes writes, and notes none."""
        admit(trip.source_server, trip.source.schema, move.mover, trip.epoch)
        fence = trip.source_server.fence(trip.source.schema)
        if fence is not None and fence.capture:
            trip.source_server.capture(trip.source.schema, move.mover, on=False)

    def _thaw(self, move: Move, trip: Trip, error: BaseException) -> None:
        """Before the commit point every failure opens the source again: a tenant does not wait for our repair."""
        if isinstance(error, MoverLost):
            return
        with self.registry.begin() as connection:
            # The lock waits for a commit of ours whose answer was lost.
            there = tenants.find(connection, move.tenant_id, lock=True).placement_id
            reached = moves.find(connection, move.id)
            if reached.mover != move.mover:
                raise MoverLost  # what kept us is no trouble of the move's any more
            if there != move.source_id:
                return
            problem = _told(error)
            paused = reached.phase is not Phase.REQUESTED and "paused_at" in reached.evidence["steps"]
            in_vain = reached.evidence["steps"].get("in_vain", 0) + paused
            moves.note(connection, move, "steps", "in_vain", in_vain)
            moves.advance(connection, move, Phase.REQUESTED, problem=problem, lease_until=None)
        try:
            # The claim waits for a close of ours whose answer was lost: until then the source only looks open.
            trip.source_server.claim(trip.source.schema, move.mover)
            self._reopen(move, trip)
        except FenceBusy:
            return  # writers are at it; writes are noted until the next try
        if isinstance(error, NotYet):
            return
        if not passes(error) or (paused and in_vain >= PAUSES_IN_VAIN):
            # Another try would end the same way, or pause writes again. Only now that the source is open may the move
            # count as failed.
            self._fail(move, f"{problem} The tenant stays where it was.", error=type(error).__name__)

    def _fail(self, move: Move, problem: str, **detail: object) -> None:
        with self.registry.begin() as connection:
            moves.advance(connection, move, Phase.FAILED, problem=problem, finished_at=now())
            audit.record(connection, audit.SYSTEM, "move.failed", move.tenant_id, move=move.id, **detail)

    def _call_off(self, move: Move, trip: Trip) -> Phase:
        if trip.at is At.SOURCE and move.phase is not Phase.FAILED:
            trip.source_server.claim(trip.source.schema, move.mover)
            self._reopen(move, trip)
        with self.registry.begin() as connection:
            made = moves.has_made(moves.find(connection, move.id))
        if made:  # else the server may not even be there
            trip.target_server.drop(trip.target.schema, move.mover)
        with self.registry.begin() as connection:
            placements.mark(connection, move.target_id, PlacementState.DROPPED)
            servers.release(connection, move.target_id)
            moves.advance(connection, move, Phase.CANCELLED, problem=None, finished_at=now())
            audit.record(connection, audit.SYSTEM, "move.cancelled", move.tenant_id, move=move.id)
        return Phase.CANCELLED

    def _drop(self, move: Move) -> Phase:
        """Drop the source of a move whose retention has ended, unless the tenant lives there again."""
        with self.registry.begin() as connection:
            if tenants.find(connection, move.tenant_id).placement_id == move.source_id:
                raise Refused(Code.CONFLICT, "The tenant lives on this placement; it is not dropped.")
            source = placements.find(connection, self.keys, move.source_id)
            server_id = placements.server_of(connection, move.source_id)
            is_there = not placements.is_dropped(connection, move.source_id)
        with self._timed(move, "drop", Phase.DROPPING):
            if is_there:  # else it went with a tenant that was deleted, and its server may be gone, too
                self._drop_source(move, server_id, source.schema)
        with self.registry.begin() as connection:
            placements.mark(connection, move.source_id, PlacementState.DROPPED)
            servers.release(connection, move.source_id)
            moves.advance(connection, move, Phase.DROPPED, problem=None)
            audit.record(
                connection, audit.SYSTEM, "placement.dropped", move.tenant_id, move=move.id, schema=source.schema
            )
        return Phase.DROPPED

    def _drop_source(self, move: Move, server_id: UUID, schema: str) -> None:
        try:
            server = self.open_server(server_id)
            if server.fence(schema) is not None:
                self.archive(move)
            server.drop(schema, move.mover)
        except MoverLost:
            raise
        except Exception as error:
            problem = error.message if isinstance(error, Refused) else "This is a defect of ours."
            with self.registry.begin() as connection:
                moves.advance(connection, move, Phase.DROPPING, problem=f"The source was not dropped. {problem}")
            raise

    def _look(self, move: Move, trip: Trip) -> Callable[[], None]:
        return looking(self.registry, move, trip.abort)

    def _timed(self, move: Move, name: str, phase: Phase) -> Step:
        return Step(self.registry, move, name, phase, self.step)


def _told(error: BaseException) -> str:
    """What has ended a try, for people."""
    if isinstance(error, Refused | NotYet):
        return error.message
    if isinstance(error, FenceBusy):
        return "Long writes kept the move from going on. It is tried again."
    if isinstance(error, Unequal):
        return f"What was written to the target is not there as it was sent, in {error}."
    return "The move was interrupted."


def _ms_since(asked: float) -> int:
    return int((time.monotonic() - asked) * 1000)
