"""What pages say of a move."""

from __future__ import annotations

from awssome.domain.moves import STEPS


def test_the_last_step_promises_no_more_than_is_done() -> None:
    assert STEPS[-1] == ("drop", "Drop the source")
