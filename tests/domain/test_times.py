"""Keys that carry the clock."""

from __future__ import annotations

import os

from awssome.domain.times import new_id


def test_keys_of_one_process_sort_as_they_were_made() -> None:
    made = [new_id() for _ in range(2_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {(key.version, key.variant) for key in made} == {(7, made[0].variant)}


def test_a_forked_process_makes_other_keys() -> None:
    new_id()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, new_id().bytes)
        os._exit(0)
    os.waitpid(child, 0)
    ours, theirs = new_id().bytes, os.read(reader, 16)
    assert ours[8:] != theirs[8:]
    os.close(reader)
    os.close(writer)
