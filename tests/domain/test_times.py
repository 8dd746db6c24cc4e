"""Keys that carry the clock."""

from __future__ import annotations

from awssome.domain.times import new_id


def test_keys_of_one_process_sort_as_they_were_made() -> None:
    made = [new_id() for _ in range(2_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {(key.version, key.variant) for key in made} == {(7, made[0].variant)}
