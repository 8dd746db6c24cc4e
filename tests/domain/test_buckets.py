"""Buckets: a burst, and then no more than the sustained rate."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awssome.domain.buckets import Bucket, admit

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

# Seconds between two calls: a crowd that does not wait, a steady stream, or pauses that fill the bucket again.
gaps = st.one_of(st.just(0.0), st.floats(0.0, 0.2), st.floats(0.0, 15.0))


@given(
    quarters=st.integers(1, 2000),
    burst=st.integers(1, 40),
    milliseconds=st.integers(100, 60_000),
    pattern=st.lists(gaps, min_size=1, max_size=300),
)
def test_a_window_holds_the_burst_and_what_flows_in(
    quarters: int, burst: int, milliseconds: int, pattern: list[float]
) -> None:
    bucket, now, through = Bucket(START), START, list[datetime]()
    for gap in pattern:
        now += timedelta(seconds=gap)
        bucket, wait = admit(bucket, now, quarters / 4, burst)
        through += [now] * (not wait)
    window = timedelta(milliseconds=milliseconds)
    most = max(sum(first <= moment <= first + window for moment in through) for first in through)
    assert most <= burst + milliseconds * quarters // 4000


def test_a_rested_caller_makes_a_burst_and_is_told_when_to_come_again() -> None:
    bucket, waits = Bucket(START - timedelta(hours=1)), []
    for _ in range(6):
        bucket, wait = admit(bucket, START, rate_per_s=10, burst=4)
        waits.append(wait)
    assert waits == pytest.approx([0, 0, 0, 0, 0.1, 0.1])
    _, wait = admit(bucket, START + timedelta(seconds=0.1), rate_per_s=10, burst=4)
    assert wait == 0.0


def test_a_clock_that_steps_back_gives_no_second_burst() -> None:
    bucket = Bucket(START)
    for _ in range(4):
        bucket, _ = admit(bucket, START, rate_per_s=10, burst=4)
    _, wait = admit(bucket, START - timedelta(seconds=2), rate_per_s=10, burst=4)
    assert wait == pytest.approx(2.1)


@pytest.mark.parametrize(("rate", "burst"), [(1, 0), (0, 4), (-1, 4), (math.nan, 4)])
def test_a_bucket_that_can_never_let_a_call_through_is_refused(rate: float, burst: int) -> None:
    with pytest.raises(ValueError, match="positive rate"):
        admit(Bucket(START), START, rate, burst)
