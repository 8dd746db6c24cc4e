"""The protocol of a move, searched through: it holds, and each rule that is taken out of it is missed."""

from __future__ import annotations

import pytest

from tests.protocol.search import LOST, NEVER_WRITABLE, STALE, TWO_WRITABLE, search
from tests.protocol.state import DIFFERS, NOT_EVIDENCE, Rules, State

BROKEN = {
    "fence_before_registry": LOST,
    "lock_at_the_last_drain": LOST,
    "last_cycle_under_the_lock": LOST,
    "fence_at_the_source": LOST,
    "mover_numbers": DIFFERS,
    "numbers_only_rise": LOST,
    "target_closed_until_the_switch": TWO_WRITABLE,
    "capture_before_snapshot": DIFFERS,
    "capture_waits_for_writers": DIFFERS,
    "apply_before_forget": DIFFERS,
    "forget_by_entry": DIFFERS,
    "verify_takes_all": DIFFERS,
    "recovery_asks_the_registry": LOST,
    "direction_after_the_claim": LOST,
    "mark_needs_a_closed_source": LOST,
    "leave_before_open": STALE,
    "evidence_before_close": NOT_EVIDENCE,
    "cancel_ends_at_the_switch": LOST,
    "lock_ends_with_its_mover": NEVER_WRITABLE,
}
"""Each rule, and what comes of it when it is broken."""

MORE = {"forget_by_entry": State(writes=2), "cancel_ends_at_the_switch": State(faults=2)}
"""What it takes to see it, where one write and one fault do not show it."""

EVERYTHING = {
    "a mover starts",
    "another mover starts",
    "mover : is killed",
    "mover : its transaction is ended",
    "mover : look, closed and marked",
    "mover : begin, cancelled",
    "mover : provision, there",
    "mover : copy, lost",
    "mover : apply, lost",
    "mover : apply, refused",
    "mover : forget, lost",
    "mover : lock, busy",
    "mover : last, the lock is gone",
    "mover : note, lost",
    "mover : close, the lock is gone",
    "mover : close, too late",
    "mover : switch, lost",
    "mover : leave, lost",
    "mover : open, lost",
    "mover : cancel",
    "mover : retain",
    "portal  asks the registry",
}
"""What a search has to come across, so that it proves something."""


def test_the_protocol_holds_through_two_writes_and_a_fault() -> None:
    found = search(Rules(), State(writes=2))
    assert found.broken is None, found.path
    assert found.states > 50_000
    assert found.happened >= EVERYTHING


def test_the_protocol_holds_through_a_move_back() -> None:
    found = search(Rules(moves=2), State())
    assert found.broken is None, found.path
    assert "somebody asks for the way back" in found.happened


@pytest.mark.parametrize("rule", BROKEN)
def test_a_rule_that_is_broken_is_missed(rule: str) -> None:
    found = search(Rules(**{rule: False}), MORE.get(rule, State()))
    assert found.broken == BROKEN[rule], found.path


def test_every_rule_is_broken_once() -> None:
    assert set(BROKEN) == {*Rules.__dataclass_fields__} - {"moves"}
