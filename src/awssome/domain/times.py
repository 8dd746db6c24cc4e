"""The clock and the keys that carry it."""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime
from uuid import UUID


def now() -> datetime:
    """The present in UTC, to the microsecond."""
    return datetime.now(UTC)


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562, section 5.7): 48 bits of Unix milliseconds, 12 of the millisecond's fraction (section 6.2,
    method 3), then 62 random bits. Sorts by time, also what one process makes within a millisecond."""
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    value = (milliseconds << 80) | ((rest * 4096 // 1_000_000) << 64) | int.from_bytes(_RANDOM.take(8), "big")
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return UUID(int=value)


class _Random:
    """Random bytes of the system's, fetched for many keys at a time: a page of deals needs hundreds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left = b""

    def take(self, count: int) -> bytes:
        """So many that nobody else gets."""
        with self._lock:
            if len(self._left) < count:
                self._left = os.urandom(2_048)
            taken, self._left = self._left[:count], self._left[count:]
            return taken


def _anew() -> None:
    """A process that was forked has bytes of its own."""
    global _RANDOM
    _RANDOM = _Random()


_RANDOM = _Random()
os.register_at_fork(after_in_child=_anew)
