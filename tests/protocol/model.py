"""The protocol of a move as a state machine; tests/protocol/search.py goes through all that it can do.

Three places, the second and third made by a move and by a move back; two portals, each with what it remembers of the
registry and at most one write under way; two movers, each of which may be killed between any two transactions, or
sleep through anything and wake up. One transaction of the product is one step here. `Rules` are the protocol; each of
its fields can be broken, and tests/protocol/test_model.py shows that the search finds what comes of it.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.protocol.state import Move, Portal, Rules, State, let_go, without
from tests.protocol.steps import STEPS, Step, started


def moves(state: State, rules: Rules) -> Iterator[Move]:
    """Everything that can happen next."""
    yield from _portals(state, rules)
    yield from _operators(state, rules)
    yield from _faults(state, rules)
    under_way = state.phase not in ("ended", "cancelled")
    if under_way and not state.movers:
        yield Move("a mover starts", started(state, rules))
    elif under_way and len(state.movers) < 2 and state.faults:
        yield Move("another mover starts", started(state._replace(faults=state.faults - 1), rules), fault=True)
    for mover in state.movers:
        for name, after in STEPS[mover.step](Step(state, mover, rules)):
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
        unlocked = let_go(less, mover.number) if rules.lock_ends_with_its_mover else less
        yield Move(f"mover {mover.number}: is killed", without(unlocked, mover), fault=True)
        if unlocked.places != less.places:
            yield Move(f"mover {mover.number}: its transaction is ended", unlocked, fault=True)


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
