"""Closing one place for writes and opening another: what moves and restores do to fences."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy.exc import DBAPIError

from awssome.database.engine import FenceBusy, Server, TableSum
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import FenceMode

FREEZE_TRIES = 10
"""How often writes are asked to pause while long writers hold the fence, before it is given up and they go on."""


CAPTURE_TRIES = 60
"""How often it is tried to note writes, while long ones hold the fence; two minutes in all."""


def freeze(server: Server, schema: str, mover: int, epoch: int, asking: Callable[[], None]) -> None:
    """Pause writes; nothing if somebody who was killed has done so.

    :param asking: called before each try: from then on writes may pause.
    :raises Refused: UNAVAILABLE when long writers do not let the fence go.
    """
    fence = server.fence(schema)
    if fence is not None and (fence.mode, fence.epoch) == (FenceMode.MOVED, epoch):
        return
    for attempt in range(1, FREEZE_TRIES + 1):
        asking()
        try:
            server.set_fence(schema, mover, mode=FenceMode.MOVED, epoch=epoch, timeout_ms=500)
            return
        except FenceBusy:
            if attempt == FREEZE_TRIES:
                raise Refused(
                    Code.UNAVAILABLE, "Long writes kept writes from being paused. It is tried again."
                ) from None
            time.sleep(0.1 * attempt)  # let writers that queued behind us through before asking again


def note_writes(server: Server, schema: str, mover: int, look: Callable[[], None]) -> None:
    """Have every write noted from here on.

    :param look: called before each try; what it raises ends this.
    :raises Refused: UNAVAILABLE when long writers do not let the fence go.
    """
    for attempt in range(1, CAPTURE_TRIES + 1):
        look()
        with suppress(FenceBusy):
            server.capture(schema, mover, on=True, timeout_ms=200)
            return
        time.sleep(min(0.1 * attempt, 2.0))  # let writers that queued behind us through before asking again
    raise Refused(Code.UNAVAILABLE, "Long writes kept the move from noting what is written. It is tried again.")


def admit(server: Server, schema: str, mover: int, epoch: int) -> None:
    """Open a schema for writes. One that is open already has writers; they need not be waited for."""
    fence = server.fence(schema)
    if fence is None or (fence.mode, fence.epoch) != (FenceMode.RW, epoch):
        server.set_fence(schema, mover, mode=FenceMode.RW, epoch=epoch)


def leave(server: Server, schema: str, mover: int, epoch: int) -> None:
    """Send whoever still comes to a schema back to the registry: the tenant is elsewhere from this epoch on."""
    server.claim(schema, mover)
    server.set_fence(schema, mover, mode=FenceMode.MOVED, epoch=epoch)


def compared(source: TableSum, target: TableSum) -> dict[str, object]:
    """A table's evidence, as the registry keeps it."""
    return {
        "rows": source.rows,
        "source": source.checksum,
        "target_rows": target.rows,
        "target": target.checksum,
        "equal": source == target,
    }


def passes(error: BaseException) -> bool:
    """Whether another try may not meet the error: a server that was away, a connection to the registry that was lost,
    or a worker that was stopped, led to it."""
    away = isinstance(error, FenceBusy) or (isinstance(error, Refused) and error.code is Code.UNAVAILABLE)
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    return away or lost or not isinstance(error, Exception)
