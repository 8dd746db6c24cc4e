"""Asking for rotations of secrets and of keys, and waiting for them with a bar."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from awssome.cli.output import poll, progress
from awssome.control.client import Control
from awssome.control.messages import RotationBatch, RotationProgress
from awssome.domain.errors import Code, Refused

SECONDS = 3600.0


def ask_for_rotations(api: Control, ref: str | None) -> int:
    """Ask for one tenant's, or batch by batch for everybody's; how many were asked for."""
    if ref is not None:
        api.rotate(ref)
        return 1
    return ask_in_batches(api.rotate_batch)


def ask_in_batches(ask: Callable[[UUID | None], RotationBatch]) -> int:
    """Ask batch by batch, until there are no more; how many were asked for."""
    batch = ask(None)
    asked = batch.asked
    while batch.next is not None:
        batch = ask(batch.next)
        asked += batch.asked
    return asked


def until_rotated(look_up: Callable[[], RotationProgress], asked: int, what: str) -> int:
    """Wait until none is left. How many were given up.

    :param what: what is rotated, in the plural.
    :raises Refused: UNAVAILABLE when some are left after an hour.
    """
    failed_before = look_up().failed
    with progress() as bar:
        task = bar.add_task(what.capitalize(), total=asked)

        def look() -> int:
            left = look_up().left
            bar.update(task, completed=max(0, asked - left))
            return left

        if poll(look, lambda left: not left, seconds=SECONDS) is None:
            raise Refused(
                Code.UNAVAILABLE,
                f"After an hour some {what} are not rotated.",
                "Workers go on with them; the page Jobs says what keeps them.",
            )
    return look_up().failed - failed_before
