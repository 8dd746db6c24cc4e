"""Looking after embedded servers: one that was killed is started again by whoever of its users sees it first."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog

from awssome.database.embedded import Handle
from awssome.domain.errors import Refused

LOOK_SECONDS = 0.5
"""How often each server is looked at: its pid file is read, and nothing is asked of it."""

_log = structlog.get_logger(__name__)


@contextmanager
def looked_after(handles: Sequence[Handle]) -> Iterator[None]:
    """For the length of the block, by a thread for each server. The block is left before the handles are released."""
    over = threading.Event()
    threads = [threading.Thread(target=_look_after, args=(handle, over), daemon=True) for handle in handles]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()  # one that is starting a server ends with that: `release` waits for it


def _look_after(handle: Handle, over: threading.Event) -> None:
    directory = handle.cluster.directory
    while not over.wait(LOOK_SECONDS):
        try:
            if handle.revive():
                _log.warning("embedded.started_again", directory=str(directory))
        except Refused as refused:
            _log.error("embedded.not_started", directory=str(directory), reason=refused.message)
            over.wait(LOOK_SECONDS * 10)
