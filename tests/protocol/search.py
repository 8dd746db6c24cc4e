"""Every state that the model of a move can come to: what holds in each, and whether each has a way out."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from tests.protocol.model import moves
from tests.protocol.state import DIFFERS, NOT_EVIDENCE, Broken, Move, Rules, State

TWO_WRITABLE = "two places take writes"
LOST = "the tenant's place lacks an acknowledged write"
STALE = "a reader with a stale placement reads a place that lacks an acknowledged write"
NEVER_WRITABLE = "no place ever takes writes again"
NEVER_ENDS = "the move never ends"


@dataclass(frozen=True)
class Found:
    """What a search came to.

    :ivar happened: the names of all that happened, without the movers' numbers.
    :ivar broken: what does not hold; None: the protocol holds.
    :ivar path: the shortest way there.
    """

    states: int
    happened: frozenset[str]
    broken: str | None = None
    path: tuple[str, ...] = ()


def search(rules: Rules, start: State) -> Found:
    """Go through every state that can be reached, breadth first; then look whether each of them has a way out."""
    seen = _Seen(start)
    todo = deque([start])
    while todo:
        state = todo.popleft()
        try:
            for move in moves(state, rules):
                if seen.add(state, move):
                    check(move.state)
                    todo.append(move.state)
        except Broken as broken:
            return seen.found(broken.args[0], state if broken.args[0] in (DIFFERS, NOT_EVIDENCE) else move.state)
    for never, reached in GOALS.items():
        stuck = seen.without_a_way(lambda state, reached=reached: reached(state, rules))  # type: ignore[misc]
        if stuck is not None:
            return seen.found(never, stuck)
    return seen.found()


class _Seen:
    """The states that a search has come to, by number, with the first way to each and every way back."""

    def __init__(self, start: State) -> None:
        self._numbers = {start: 0}
        self._came: list[tuple[int, str]] = [(0, "")]
        self._before: list[list[int]] = [[]]
        self._happened: set[str] = set()

    def add(self, state: State, move: Move) -> bool:
        """Whether the move leads to a state that is new."""
        here, there = self._numbers[state], self._numbers.get(move.state)
        new = there is None
        if there is None:
            there = self._numbers[move.state] = len(self._came)
            self._came.append((here, move.name))
            self._before.append([])
        if not move.fault:
            self._before[there].append(here)
        self._happened.add(move.name)
        return new

    def found(self, broken: str | None = None, at: State | None = None) -> Found:
        number, names = self._numbers[at] if at else 0, []
        while number:
            number, name = self._came[number]
            names.append(name)
        return Found(
            len(self._numbers),
            frozenset(re.sub(r"\d", "", name) for name in self._happened),
            broken,
            tuple(reversed(names)),
        )

    def without_a_way(self, goal: Callable[[State], bool]) -> State | None:
        """The first state from which no such state can be reached without a further fault."""
        has_one = {number for state, number in self._numbers.items() if goal(state)}
        todo = deque(has_one)
        while todo:
            for before in self._before[todo.popleft()]:
                if before not in has_one:
                    has_one.add(before)
                    todo.append(before)
        return next((state for state, number in self._numbers.items() if number not in has_one), None)


def check(state: State) -> None:
    """What holds in every state. :raises Broken:"""
    open_places = [place for place in state.places if place and place.mode == "rw"]
    if len(open_places) > 1:
        raise Broken(TWO_WRITABLE)
    here = state.places[state.at]
    if here is None or here.rows != state.acknowledged:
        raise Broken(LOST)
    for portal in state.portals:
        place = state.places[portal.cached]
        if place and place.epoch == portal.cached and place.rows != state.acknowledged:
            raise Broken(STALE)


def _takes_writes(state: State, rules: Rules) -> bool:
    place = state.places[state.at]
    return place is not None and place.mode == "rw" and not place.locked_by


def _has_ended(state: State, rules: Rules) -> bool:
    return state.phase == "cancelled" or (state.phase == "ended" and state.move == rules.moves - 1)


GOALS: dict[str, Callable[[State, Rules], bool]] = {NEVER_WRITABLE: _takes_writes, NEVER_ENDS: _has_ended}
"""From every state such a state has to be reachable without a further fault; else what the key says is so."""
