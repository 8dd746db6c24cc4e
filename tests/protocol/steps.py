"""What a mover does, one transaction a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.protocol.state import (
    DIFFERS,
    NOT_EVIDENCE,
    Broken,
    Mover,
    Place,
    Rows,
    Rules,
    State,
    dropped,
    let_go,
    with_mover,
    without,
)


def started(state: State, rules: Rules) -> State:
    """A mover claims the move, and reads after the claim on which side of the switch the tenant is."""
    if not rules.direction_after_the_claim:
        return with_mover(state, Mover("claim", 0, state.move, state.at != state.move))
    return _claimed(state, rules, Mover("", 0, state.move, state.at != state.move))


def _claimed(state: State, rules: Rules, mover: Mover) -> State:
    number = state.number + 1
    step = "leave" if mover.target_here and rules.recovery_asks_the_registry else "source"
    if state.cancel and not rules.cancel_ends_at_the_switch:
        step = "call_off"
    return with_mover(state._replace(number=number), mover._replace(step=step, number=number))


class Step:
    """A mover at a step: what it looks at, and what it may become."""

    def __init__(self, state: State, mover: Mover, rules: Rules) -> None:
        self.state, self.mover, self.rules = state, mover, rules
        self.source_at, self.target_at = mover.move, mover.move + 1
        self.source, self.target = state.places[self.source_at], state.places[self.target_at]

    @property
    def lost(self) -> State:
        """Somebody else has the move; this one ends, as it does after an error: the job comes again."""
        return without(let_go(self.state, self.mover.number), self.mover)

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
        return with_mover(without(self.state._replace(places=tuple(places)), self.mover), changed)

    def ready(self, *, source: Place | None = None, target: Place | None = None, sums: Rows | None = None) -> State:
        """The state when the mover is between cycles, with nothing in hand but the sums."""
        sums = self.mover.sums if sums is None else sums
        return self.to("ready", source=source, target=target, taken=(), rows=(), sums=sums, verifying=False)


Steps = Iterator[tuple[str, State]]


def _claim(at: Step) -> Steps:
    """Only where the direction is what the mover remembers from before it claimed."""
    yield "", _claimed(without(at.state, at.mover), at.rules, at.mover)


def _source(at: Step) -> Steps:
    source = at.source
    assert source
    if not at.may_claim(source):
        yield "lost", at.lost
    elif not source.locked_by:
        yield "", at.to("look", source=source._replace(mover=at.mover.number))


def _look(at: Step) -> Steps:
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


def _begin(at: Step) -> Steps:
    if not at.has_the_registry:
        yield "lost", at.lost
    elif at.state.cancel:
        yield "cancelled", at.to("call_off")
    else:
        yield "", at.to("thaw")._replace(phase="working")


def _thaw(at: Step) -> Steps:
    assert at.source
    if not at.has(at.source):
        yield "lost", at.lost
    elif not at.source.locked_by:
        yield "", at.to("drop", source=at.source._replace(mode="rw", capture=False, epoch=at.source_at))


def _drop(at: Step) -> Steps:
    if at.target is None:
        yield "", at.to("provision")
    elif not at.may_claim(at.target):
        yield "lost", at.lost
    else:
        yield "", dropped(at.to("provision"), at.target_at)


def _provision(at: Step) -> Steps:
    following = "capture" if at.rules.capture_before_snapshot else "snapshot"
    if at.target is None:
        mode = "standby" if at.rules.target_closed_until_the_switch else "rw"
        yield "", at.to(following, target=Place(mode, at.source_at, at.mover.number, (0, 0)))
    elif not at.may_claim(at.target):
        yield "lost", at.lost
    else:
        yield "there", at.to(following, target=at.target._replace(mover=at.mover.number))


def _capture(at: Step) -> Steps:
    assert at.source
    following = "snapshot" if at.rules.capture_before_snapshot else "copy"
    if not at.has(at.source):
        yield "lost", at.lost
    elif not at.source.locked_by and not (at.writers() and at.rules.capture_waits_for_writers):
        yield "", at.to(following, source=at.source._replace(capture=True, outbox=()))


def _snapshot(at: Step) -> Steps:
    assert at.source
    yield "", at.to("copy" if at.rules.capture_before_snapshot else "capture", rows=at.source.rows)


def _copy(at: Step) -> Steps:
    if at.target is None or not at.has(at.target):
        yield "lost", at.lost
    else:
        yield "", at.ready(target=at.target._replace(rows=at.mover.rows))


def _ready(at: Step) -> Steps:
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


def _apply(at: Step) -> Steps:
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


def _forget(at: Step) -> Steps:
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


def _cut(at: Step) -> Steps:
    if not at.has_the_registry:
        yield "lost", at.lost
    elif at.state.cancel:
        yield "cancelled", at.to("call_off")
    else:
        yield "", at.to("lock" if at.rules.last_cycle_under_the_lock else "last")._replace(phase="cutting_over")


def _lock(at: Step) -> Steps:
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


def _last(at: Step) -> Steps:
    assert at.source
    if at.has_lock or not at.rules.last_cycle_under_the_lock:
        following = "mark" if at.rules.last_cycle_under_the_lock else "lock"
        yield "", at.to(following, taken=at.source.outbox, rows=at.source.rows)
    else:
        yield "the lock is gone", at.lost


def _mark(at: Step) -> Steps:
    if at.target is None or not at.has(at.target):
        yield "lost", at.lost
        return
    marked = at.target._replace(rows=_over(at.target.rows, at.mover), epoch=at.target_at)
    yield "", at.to("note", target=marked, sums=_carried(at.mover), taken=(), rows=())


def _note(at: Step) -> Steps:
    """The evidence goes to the registry while the fence is held: whoever recovers has no other."""
    following = "close" if at.rules.fence_before_registry else "switch"
    if not at.has_the_registry:
        yield "lost", at.lost
    elif at.rules.evidence_before_close:
        yield "", at.to(following)._replace(evidence=at.mover.sums)
    else:
        yield "", at.to(following)


def _close(at: Step) -> Steps:
    assert at.source
    following = "switch" if at.rules.fence_before_registry else "leave"
    if not at.has_lock:
        yield "the lock is gone", at.lost
        return
    yield "", at.to(following, source=at.source._replace(mode="moved", capture=False, outbox=(), locked_by=0))
    if at.rules.fence_before_registry:
        yield "too late", at.ready(source=at.source._replace(locked_by=0))


def _switch(at: Step) -> Steps:
    """The commit point."""
    if not at.has_the_registry or at.state.at != at.source_at:
        yield "lost", at.lost
        return
    after = at.to("leave" if at.rules.fence_before_registry else "close")
    evidence = after.evidence if at.rules.evidence_before_close else at.mover.sums
    yield "", after._replace(at=at.target_at, phase="switched", evidence=evidence)


def _leave(at: Step) -> Steps:
    source = at.source
    assert source
    if not at.may_claim(source):
        yield "lost", at.lost
    elif not source.locked_by:
        left = source._replace(mode="moved", epoch=at.target_at, mover=at.mover.number)
        yield "", at.to("open" if at.rules.leave_before_open else "confirm", source=left)
        if not at.rules.leave_before_open:
            yield "later", at.to("open")


def _open(at: Step) -> Steps:
    if not at.may_claim(at.target):
        yield "lost", at.lost
    else:
        assert at.target
        opened = at.target._replace(mode="rw", epoch=at.target_at, mover=at.mover.number)
        yield "", at.to("confirm" if at.rules.leave_before_open else "leave", target=opened)


def _confirm(at: Step) -> Steps:
    assert at.source
    if at.state.move == at.mover.move and at.has_the_registry and at.source.rows != at.state.evidence:
        raise Broken(NOT_EVIDENCE)
    yield "", at.to("retain")


def _retain(at: Step) -> Steps:
    after = without(at.state, at.mover)
    if at.has_the_registry and at.state.move == at.mover.move:
        yield "", after._replace(phase="ended")
    else:
        yield "lost", after


def _call_off(at: Step) -> Steps:
    source = at.source
    assert source
    if not at.may_claim(source):
        yield "lost", at.lost
    elif not source.locked_by:
        thawed = source._replace(mode="rw", capture=False, mover=at.mover.number)
        yield "", at.to("clear", source=thawed)


def _clear(at: Step) -> Steps:
    if at.target is not None and not at.may_claim(at.target):
        yield "lost", at.lost
    else:
        yield "", dropped(at.to("cancel"), at.target_at)


def _cancel(at: Step) -> Steps:
    after = without(at.state, at.mover)
    if at.has_the_registry:
        yield "", after._replace(phase="cancelled")
    else:
        yield "lost", after


STEPS: dict[str, Callable[[Step], Steps]] = {
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
