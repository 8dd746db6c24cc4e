"""Asking for rotations of secrets, and waiting for them with a bar."""

from __future__ import annotations

from awssome.cli.output import poll, progress
from awssome.control.client import Control
from awssome.domain.errors import Code, Refused

SECONDS = 3600.0


def ask_for_rotations(api: Control, ref: str | None) -> int:
    """Ask for one tenant's, or batch by batch for everybody's; how many were asked for."""
    if ref is not None:
        api.rotate(ref)
        return 1
    batch = api.rotate_batch(None)
    asked = batch.asked
    while batch.next is not None:
        batch = api.rotate_batch(batch.next)
        asked += batch.asked
    return asked


def until_rotated(api: Control, asked: int) -> int:
    """Wait until none is left. How many were given up.

    :raises Refused: UNAVAILABLE when some are left after an hour.
    """
    failed_before = api.rotations().failed
    with progress() as bar:
        task = bar.add_task("Logins", total=asked)

        def look() -> int:
            left = api.rotations().left
            bar.update(task, completed=max(0, asked - left))
            return left

        if poll(look, lambda left: not left, seconds=SECONDS) is None:
            raise Refused(
                Code.UNAVAILABLE,
                "After an hour some logins still have their old password.",
                "Workers go on with them; the page Jobs says what keeps them.",
            )
    return api.rotations().failed - failed_before
