"""What there is in the model of a move, and the rules of the protocol."""

from __future__ import annotations

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


def with_mover(state: State, mover: Mover) -> State:
    return state._replace(movers=tuple(sorted((*state.movers, mover))))


def without(state: State, mover: Mover) -> State:
    left = list(state.movers)
    left.remove(mover)
    return state._replace(movers=tuple(left))


def let_go(state: State, number: int) -> State:
    places = tuple(
        place._replace(locked_by=0) if place and place.locked_by == number else place for place in state.places
    )
    return state._replace(places=places)


def dropped(state: State, at: int) -> State:
    return state._replace(places=tuple(None if number == at else place for number, place in enumerate(state.places)))
