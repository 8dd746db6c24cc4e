"""What a downgrade comes to is said before, in numbers and in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awssome.domain.tiers import Downgrade, after_downgrade


@pytest.mark.parametrize(
    ("here", "expected"),
    [
        (0, Downgrade(followed=0, unfollowed=0, places=10)),
        (9, Downgrade(followed=9, unfollowed=0, places=1)),
        (10, Downgrade(followed=10, unfollowed=0, places=0)),
        (11, Downgrade(followed=10, unfollowed=1, places=0)),
        (250, Downgrade(followed=10, unfollowed=240, places=0)),
    ],
)
def test_ten_deals_stay_in_step_with_hubspot(here: int, expected: Downgrade) -> None:
    assert after_downgrade(here, imported=here) == expected


def test_deals_that_are_gone_count_among_those_that_came_in() -> None:
    assert after_downgrade(here=4, imported=12) == Downgrade(followed=4, unfollowed=0, places=0)


@given(here=st.integers(0, 100_000), gone=st.integers(0, 100_000))
def test_no_deal_is_lost_and_the_words_name_the_numbers(here: int, gone: int) -> None:
    after = after_downgrade(here, here + gone)
    assert after.followed + after.unfollowed == here
    assert after.followed + after.places <= 10
    words = " ".join(after.words)
    assert "Nothing is deleted." in words
    assert (f"The other {after.unfollowed:,} stay here" in words) == (after.unfollowed > 1)
    assert ("No more deals come in" in words) == (after.places == 0)


def test_words_for_few_and_for_many() -> None:
    assert after_downgrade(0, 0).words[:2] == ("No HubSpot deal is here.", "10 deals can come in from HubSpot.")
    assert after_downgrade(1, 9).words[:2] == (
        "Your HubSpot deal stays in step with HubSpot.",
        "1 deal more can come in from HubSpot.",
    )
    assert after_downgrade(250, 250).words == (
        "The 10 deals that came in first stay in step with HubSpot.",
        "The other 240 stay here, to read, edit and export, but no longer follow HubSpot.",
        "No more deals come in from HubSpot.",
        "Nothing is deleted. If you upgrade again, the next sync catches up with everything.",
    )
