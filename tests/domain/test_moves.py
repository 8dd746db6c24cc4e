"""What pages say of moves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from awssome.domain.moves import LEAST_SECONDS, STEPS, USUAL_ROWS_A_SECOND, expected_seconds

PAST = st.lists(st.tuples(st.integers(0, 10**8), st.floats(0, 10**5)))


def test_the_last_step_promises_no_more_than_is_done() -> None:
    assert STEPS[-1] == ("drop", "Archive and drop the source")


def test_without_a_past_a_move_takes_what_is_usual() -> None:
    assert expected_seconds(0, []) == LEAST_SECONDS
    assert expected_seconds(int(USUAL_ROWS_A_SECOND), []) == LEAST_SECONDS + 1
    assert expected_seconds(100_000, [(12, 9.0), (50_000, 0.0)]) == expected_seconds(100_000, []), "these say nothing"


def test_earlier_moves_tell_how_fast_rows_travel() -> None:
    assert expected_seconds(30_000, [(10_000, 10.0), (20_000, 5.0), (3, 60.0)]) == LEAST_SECONDS + 15


@given(st.integers(0, 10**8), PAST)
def test_more_rows_never_take_less_time(rows: int, past: list[tuple[int, float]]) -> None:
    assert LEAST_SECONDS <= expected_seconds(rows, past) <= expected_seconds(rows + 1, past)
