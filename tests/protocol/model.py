"""The protocol of a move as a state machine; tests/protocol/search.py goes through all that it can do.

Three places, the second and third made by a move and by a move back; two portals, each with what it remembers of the
registry and at most one write under way; two movers, each of which may be killed between any two transactions, or
sleep through anything and wake up. One transaction of the product is one step here. `Rules` are the protocol; each of
its fields can be broken, and tests/protocol/test_model.py shows that the search finds what comes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

Rows = tuple[int, ...]
"""What a place holds: under each key how many writes it has seen. Each portal writes a key of its own."""

Entry = tuple[int, int]
"""An entry of an outbox: the key, and what tells it from other entries of that key."""


class Place(NamedTuple):
    """A tenant's schema: fence, rows and outbox. `locked_by` holds the fence exclusively (a mover's number)."""

    mode: str
    epoch: int
    mover: int
    rows: Rows
    capture: bool = False
    outbox: tuple[Entry, ...] = ()
    locked_by: int = 0


class Mover(NamedTuple):
    """A process that carries a move on: the step that it does next, and what it has in memory."""

    step: str
    number: int
    move: int
    target_here: bool = False
    taken: tuple[Entry, ...] = ()
    rows: Rows = ()
    sums: Rows = ()
    verifying: bool = False


class Portal(NamedTuple):
    """A process that serves people: where it thinks the tenant is, and its transaction (place, captured)."""

    cached: int = 0
    writing: tuple[int, bool] | None = None


class State(NamedTuple):
    """All there is.

    :ivar phase: requested, working, cutting_over, switched, ended or cancelled.
    :ivar writes: how many writes may still begin.
    :ivar faults: how often something may still go wrong: a mover is killed, loses its lock or is given another one
        beside it, or somebody calls the move off.
    """

    places: tuple[Place | None, ...] = (Place("rw", 0, 0, (0, 0)), None, None)
    movers: tuple[Mover, ...] = ()
    portals: tuple[Portal, ...] = (Portal(), Portal())
    at: int = 0
    number: int = 0
    move: int = 0
    phase: str = "requested"
    cancel: bool = False
    evidence: Rows = ()
    acknowledged: Rows = (0, 0)
    writes: int = 1
    faults: int = 1


@dataclass(frozen=True)
class Rules:
    """The protocol. Each field is a rule; the other value breaks it."""

    fence_before_registry: bool = True
    lock_at_the_last_drain: bool = True
    last_cycle_under_the_lock: bool = True
    fence_at_the_source: bool = True
    mover_numbers: bool = True
    numbers_only_rise: bool = True
    target_closed_until_the_switch: bool = True
    capture_before_snapshot: bool = True
    capture_waits_for_writers: bool = True
    apply_before_forget: bool = True
    forget_by_entry: bool = True
    verify_takes_all: bool = True
    recovery_asks_the_registry: bool = True
    direction_after_the_claim: bool = True
    mark_needs_a_closed_source: bool = True
    leave_before_open: bool = True
    evidence_before_close: bool = True
    cancel_ends_at_the_switch: bool = True
    lock_ends_with_its_mover: bool = True
    moves: int = 1


class Move(NamedTuple):
    """One step from a state to another. A fault may happen; everything else will, sooner or later."""

    name: str
    state: State
    fault: bool = False


class Broken(Exception):
    """Something that has to hold does not."""


DIFFERS = "source and target differ when they are compared"
NOT_EVIDENCE = "the frozen source is not what the evidence says"


def moves(state: State, rules: Rules) -> Iterator[Move]:
    """Everything that can happen next."""
    yield from _portals(state, rules)
    yield from _operators(state, rules)
    yield from _faults(state, rules)
    under_way = state.phase not in ("ended", "cancelled")
    if under_way and not state.movers:
        yield Move("a mover starts", _started(state, rules))
    elif under_way and len(state.movers) < 2 and state.faults:
        yield Move("another mover starts", _started(state._replace(faults=state.faults - 1), rules), fault=True)
    for mover in state.movers:
        for name, after in _STEPS[mover.step](_Step(state, mover, rules)):
            yield Move(f"mover {mover.number}: {mover.step}{name and ', ' + name}", after)


def _portals(state: State, rules: Rules) -> Iterator[Move]:
    for key, portal in enumerate(state.portals):
        if portal.cached != state.at:
            yield Move(f"portal {key} asks the registry", _portal(state, key, portal._replace(cached=state.at)))
        if portal.writing:
            yield Move(f"portal {key} commits", _committed(state, key, *portal.writing))
        elif state.writes:
            place = state.places[portal.cached]
            let_in = place and (place.mode, place.epoch, place.locked_by) == ("rw", portal.cached, 0)
            if place and (let_in or not rules.fence_at_the_source):
                writing = portal._replace(writing=(portal.cached, place.capture))
                yield Move(f"portal {key} writes", _portal(state, key, writing)._replace(writes=state.writes - 1))


def _operators(state: State, rules: Rules) -> Iterator[Move]:
    if state.phase == "ended" and state.move < rules.moves - 1:
        asked = state._replace(move=state.move + 1, phase="requested", evidence=(), number=state.number + 1)
        yield Move("somebody asks for the way back", asked)
    cancellable = ("requested", "working", *(() if rules.cancel_ends_at_the_switch else ("switched",)))
    if state.faults and not state.cancel and state.phase in cancellable:
        yield Move("somebody cancels", state._replace(cancel=True, faults=state.faults - 1), fault=True)


def _faults(state: State, rules: Rules) -> Iterator[Move]:
    """A mover is killed, or has slept for so long that the server has ended its transaction."""
    if not state.faults:
        return
    less = state._replace(faults=state.faults - 1)
    for mover in state.movers:
        let_go = _let_go(less, mover.number) if rules.lock_ends_with_its_mover else less
        yield Move(f"mover {mover.number}: is killed", _ended(let_go, mover), fault=True)
        if let_go.places != less.places:
            yield Move(f"mover {mover.number}: its transaction is ended", let_go, fault=True)


def _started(state: State, rules: Rules) -> State:
    """A mover claims the move, and reads after the claim on which side of the switch the tenant is."""
    if not rules.direction_after_the_claim:
        return _with(state, Mover("claim", 0, state.move, state.at != state.move))
    return _claimed(state, rules, Mover("", 0, state.move, state.at != state.move))


def _claimed(state: State, rules: Rules, mover: Mover) -> State:
    number = state.number + 1
    step = "leave" if mover.target_here and rules.recovery_asks_the_registry else "source"
    if state.cancel and not rules.cancel_ends_at_the_switch:
        step = "call_off"
    return _with(state._replace(number=number), mover._replace(step=step, number=number))


class _Step:
    """A mover at a step: what it looks at, and what it may become."""

    def __init__(self, state: State, mover: Mover, rules: Rules) -> None:
        self.state, self.mover, self.rules = state, mover, rules
        self.source_at, self.target_at = mover.move, mover.move + 1
        self.source, self.target = state.places[self.source_at], state.places[self.target_at]

    @property
    def lost(self) -> State:
        """Somebody else has the move; this one ends, as it does after an error: the job comes again."""
        return _ended(_let_go(self.state, self.mover.number), self.mover)

    def has(self, place: Place | None) -> bool:
        return place is not None and (place.mover == self.mover.number or not self.rules.mover_numbers)

    def may_claim(self, place: Place | None) -> bool:
        known = self.rules.mover_numbers and self.rules.numbers_only_rise
        return place is not None and (place.mover <= self.mover.number or not known)

    @property
    def has_the_registry(self) -> bool:
        return self.state.number == self.mover.number or not self.rules.mover_numbers

    @property
    def has_lock(self) -> bool:
        return self.source is not None and (
            self.source.locked_by == self.mover.number or not self.rules.lock_at_the_last_drain
        )

    def writers(self) -> bool:
        return any(portal.writing and portal.writing[0] == self.source_at for portal in self.state.portals)

    def to(self, step: str, *, source: Place | None = None, target: Place | None = None, **memory: object) -> State:
        """The state when this step is done and `step` comes next; a place that is not given stays."""
        places = list(self.state.places)
        if source is not None:
            places[self.source_at] = source
        if target is not None:
            places[self.target_at] = target
        changed = self.mover._replace(step=step, **memory)  # type: ignore[arg-type]
        return _with(_ended(self.state._replace(places=tuple(places)), self.mover), changed)

    def ready(self, *, source: Place | None = None, target: Place | None = None, sums: Rows | None = None) -> State:
        """The state when the mover is between cycles, with nothing in hand but the sums."""
        sums = self.mover.sums if sums is None else sums
        return self.to("ready", source=source, target=target, taken=(), rows=(), sums=sums, verifying=False)


Steps = Iterator[tuple[str, State]]


def _claim(at: _Step) -> Steps:
    """Only where the direction is what the mover remembers from before it claimed."""
    yield "", _claimed(_ended(at.state, at.mover), at.rules, at.mover)


def _source(at: _Step) -> Steps:
    source = at.source
    assert source
    if not at.may_claim(source):
        yield "lost", at.lost
    elif not source.locked_by:
        yield "", at.to("look", source=source._replace(mover=at.mover.number))


def _look(at: _Step) -> Steps:
    """The rule of recovery: from what is written down, and nothing else."""
    assert at.source
    closed = (at.source.mode, at.source.epoch) == ("moved", at.source_at)
    marked = at.target is not None and (at.target.mode, at.target.epoch) == ("standby", at.target_at)
    if not at.rules.mark_needs_a_closed_source and marked:
        yield "trusts the mark", at.to("switch")
    elif at.state.phase == "cutting_over" and closed and marked:
        yield "closed and marked", at.to("switch")
    else:
        yield "", at.to("begin")


def _begin(at: _Step) -> Steps:
    if not at.has_the_registry:
        yield "lost", at.lost
    elif at.state.cancel:
        yield "cancelled", at.to("call_off")
    else:
        yield "", at.to("thaw")._replace(phase="working")


def _thaw(at: _Step) -> Steps:
    assert at.source
    if not at.has(at.source):
        yield "lost", at.lost
    elif not at.source.locked_by:
        yield "", at.to("drop", source=at.source._replace(mode="rw", capture=False, epoch=at.source_at))


def _drop(at: _Step) -> Steps:
    if at.target is None:
        yield "", at.to("provision")
    elif not at.may_claim(at.target):
        yield "lost", at.lost
    else:
        yield "", _dropped(at.to("provision"), at.target_at)


def _provision(at: _Step) -> Steps:
    following = "capture" if at.rules.capture_before_snapshot else "snapshot"
    if at.target is None:
        mode = "standby" if at.rules.target_closed_until_the_switch else "rw"
        yield "", at.to(following, target=Place(mode, at.source_at, at.mover.number, (0, 0)))
    elif not at.may_claim(at.target):
        yield "lost", at.lost
    else:
        yield "there", at.to(following, target=at.target._replace(mover=at.mover.number))


def _capture(at: _Step) -> Steps:
    assert at.source
    following = "snapshot" if at.rules.capture_before_snapshot else "copy"
    if not at.has(at.source):
        yield "lost", at.lost
    elif not at.source.locked_by and not (at.writers() and at.rules.capture_waits_for_writers):
        yield "", at.to(following, source=at.source._replace(capture=True, outbox=()))


def _snapshot(at: _Step) -> Steps:
    assert at.source
    yield "", at.to("copy" if at.rules.capture_before_snapshot else "capture", rows=at.source.rows)


def _copy(at: _Step) -> Steps:
    if at.target is None or not at.has(at.target):
        yield "lost", at.lost
    else:
        yield "", at.ready(target=at.target._replace(rows=at.mover.rows))


def _ready(at: _Step) -> Steps:
    """Between cycles: another one, the comparison, or the cut-over."""
    assert at.source
    following = "apply" if at.rules.apply_before_forget else "forget"
    outbox, rows = at.source.outbox, at.source.rows
    for few in range(1, len(outbox) + 1):
        yield f"a cycle of {few}", at.to(following, taken=outbox[:few], rows=rows)
    if not at.mover.sums:
        for few in (len(outbox),) if at.rules.verify_takes_all else range(len(outbox) + 1):
            yield "verify", at.to(following, taken=outbox[:few], rows=rows, sums=rows, verifying=True)
    else:
        yield "cut over", at.to("cut")


def _apply(at: _Step) -> Steps:
    """Also the comparison, which is after the apply of its cycle. A target may refuse once; the mover goes on then."""
    if at.target is None or not at.has(at.target):
        yield "lost", at.lost
        return
    rows, sums = _over(at.target.rows, at.mover), _carried(at.mover)
    if at.mover.verifying and rows != at.mover.sums:
        if at.state.number == at.mover.number:
            raise Broken(DIFFERS)
        yield "lost", at.lost  # only who has the move may fail it: another mover has ended the capture of this one
        return
    applied = at.target._replace(rows=rows)
    if at.rules.apply_before_forget:
        yield "", at.to("forget", target=applied, sums=sums, verifying=False)
    else:
        yield "", at.ready(target=applied, sums=sums)
    yield "refused", at.ready(sums=() if at.mover.verifying else at.mover.sums)


def _forget(at: _Step) -> Steps:
    assert at.source
    if not at.has(at.source):
        yield "lost", at.lost
        return
    keys = {key for key, _ in at.mover.taken}
    left = tuple(
        entry
        for entry in at.source.outbox
        if (entry not in at.mover.taken if at.rules.forget_by_entry else entry[0] not in keys)
    )
    less = at.source._replace(outbox=left)
    yield "", at.ready(source=less) if at.rules.apply_before_forget else at.to("apply", source=less)


def _cut(at: _Step) -> Steps:
    if not at.has_the_registry:
        yield "lost", at.lost
    elif at.state.cancel:
        yield "cancelled", at.to("call_off")
    else:
        yield "", at.to("lock" if at.rules.last_cycle_under_the_lock else "last")._replace(phase="cutting_over")


def _lock(at: _Step) -> Steps:
    assert at.source
    following = "last" if at.rules.last_cycle_under_the_lock else "mark"
    if not at.has(at.source):
        yield "lost", at.lost
    elif not at.rules.lock_at_the_last_drain:
        yield "", at.to(following)
    elif at.writers() or at.source.locked_by:
        yield "busy", at.ready()
    else:
        yield "", at.to(following, source=at.source._replace(locked_by=at.mover.number))


def _last(at: _Step) -> Steps:
    assert at.source
    if at.has_lock or not at.rules.last_cycle_under_the_lock:
        following = "mark" if at.rules.last_cycle_under_the_lock else "lock"
        yield "", at.to(following, taken=at.source.outbox, rows=at.source.rows)
    else:
        yield "the lock is gone", at.lost


def _mark(at: _Step) -> Steps:
    if at.target is None or not at.has(at.target):
        yield "lost", at.lost
        return
    marked = at.target._replace(rows=_over(at.target.rows, at.mover), epoch=at.target_at)
    yield "", at.to("note", target=marked, sums=_carried(at.mover), taken=(), rows=())


def _note(at: _Step) -> Steps:
    """The evidence goes to the registry while the fence is held: whoever recovers has no other."""
    following = "close" if at.rules.fence_before_registry else "switch"
    if not at.has_the_registry:
        yield "lost", at.lost
    elif at.rules.evidence_before_close:
        yield "", at.to(following)._replace(evidence=at.mover.sums)
    else:
        yield "", at.to(following)


def _close(at: _Step) -> Steps:
    assert at.source
    following = "switch" if at.rules.fence_before_registry else "leave"
    if not at.has_lock:
        yield "the lock is gone", at.lost
        return
    yield "", at.to(following, source=at.source._replace(mode="moved", capture=False, outbox=(), locked_by=0))
    if at.rules.fence_before_registry:
        yield "too late", at.ready(source=at.source._replace(locked_by=0))


def _switch(at: _Step) -> Steps:
    """The commit point."""
    if not at.has_the_registry or at.state.at != at.source_at:
        yield "lost", at.lost
        return
    after = at.to("leave" if at.rules.fence_before_registry else "close")
    evidence = after.evidence if at.rules.evidence_before_close else at.mover.sums
    yield "", after._replace(at=at.target_at, phase="switched", evidence=evidence)


def _leave(at: _Step) -> Steps:
    source = at.source
    assert source
    if not at.may_claim(source):
        yield "lost", at.lost
    elif not source.locked_by:
        left = source._replace(mode="moved", epoch=at.target_at, mover=at.mover.number)
        yield "", at.to("open" if at.rules.leave_before_open else "confirm", source=left)
        if not at.rules.leave_before_open:
            yield "later", at.to("open")


def _open(at: _Step) -> Steps:
    if not at.may_claim(at.target):
        yield "lost", at.lost
    else:
        assert at.target
        opened = at.target._replace(mode="rw", epoch=at.target_at, mover=at.mover.number)
        yield "", at.to("confirm" if at.rules.leave_before_open else "leave", target=opened)


def _confirm(at: _Step) -> Steps:
    assert at.source
    if at.state.move == at.mover.move and at.has_the_registry and at.source.rows != at.state.evidence:
        raise Broken(NOT_EVIDENCE)
    yield "", at.to("retain")


def _retain(at: _Step) -> Steps:
    after = _ended(at.state, at.mover)
    if at.has_the_registry and at.state.move == at.mover.move:
        yield "", after._replace(phase="ended")
    else:
        yield "lost", after


def _call_off(at: _Step) -> Steps:
    source = at.source
    assert source
    if not at.may_claim(source):
        yield "lost", at.lost
    elif not source.locked_by:
        thawed = source._replace(mode="rw", capture=False, mover=at.mover.number)
        yield "", at.to("clear", source=thawed)


def _clear(at: _Step) -> Steps:
    if at.target is not None and not at.may_claim(at.target):
        yield "lost", at.lost
    else:
        yield "", _dropped(at.to("cancel"), at.target_at)


def _cancel(at: _Step) -> Steps:
    after = _ended(at.state, at.mover)
    if at.has_the_registry:
        yield "", after._replace(phase="cancelled")
    else:
        yield "lost", after


_STEPS: dict[str, Callable[[_Step], Steps]] = {
    "claim": _claim,
    "source": _source,
    "look": _look,
    "begin": _begin,
    "thaw": _thaw,
    "drop": _drop,
    "provision": _provision,
    "capture": _capture,
    "snapshot": _snapshot,
    "copy": _copy,
    "ready": _ready,
    "apply": _apply,
    "forget": _forget,
    "cut": _cut,
    "lock": _lock,
    "last": _last,
    "mark": _mark,
    "note": _note,
    "close": _close,
    "switch": _switch,
    "leave": _leave,
    "open": _open,
    "confirm": _confirm,
    "retain": _retain,
    "call_off": _call_off,
    "clear": _clear,
    "cancel": _cancel,
}


def _over(rows: Rows, mover: Mover) -> Rows:
    """Rows of the target with those keys as the mover has read them at the source."""
    keys = {key for key, _ in mover.taken}
    return tuple(mover.rows[key] if key in keys else value for key, value in enumerate(rows))


def _carried(mover: Mover) -> Rows:
    """The evidence, carried forward by the keys of the cycle."""
    return mover.sums if mover.verifying or not mover.sums else _over(mover.sums, mover)


def _with(state: State, mover: Mover) -> State:
    return state._replace(movers=tuple(sorted((*state.movers, mover))))


def _ended(state: State, mover: Mover) -> State:
    left = list(state.movers)
    left.remove(mover)
    return state._replace(movers=tuple(left))


def _let_go(state: State, number: int) -> State:
    places = tuple(
        place._replace(locked_by=0) if place and place.locked_by == number else place for place in state.places
    )
    return state._replace(places=places)


def _dropped(state: State, at: int) -> State:
    return state._replace(places=tuple(None if number == at else place for number, place in enumerate(state.places)))


def _portal(state: State, key: int, portal: Portal) -> State:
    return state._replace(portals=tuple(portal if at == key else other for at, other in enumerate(state.portals)))


def _committed(state: State, key: int, at: int, captured: bool) -> State:
    """The write is there, noted if capture was on when it began, and acknowledged."""
    place = state.places[at]
    assert place
    acknowledged = tuple(count + (number == key) for number, count in enumerate(state.acknowledged))
    rows = tuple(count + (number == key) for number, count in enumerate(place.rows))
    outbox = (*place.outbox, (key, acknowledged[key])) if captured else place.outbox
    places = list(state.places)
    places[at] = place._replace(rows=rows, outbox=outbox)
    written = _portal(state, key, state.portals[key]._replace(writing=None))
    return written._replace(places=tuple(places), acknowledged=acknowledged)
