"""The clock and the keys that carry it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from uuid import UUID


def now() -> datetime:
    """The present in UTC, to the microsecond."""
    return datetime.now(UTC)


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562, section 5.7): 48 bits of Unix milliseconds, then 74 random bits. Sorts by time."""
    milliseconds = int(datetime.now(UTC).timestamp() * 1000)
    value = (milliseconds << 80) | int.from_bytes(os.urandom(10), "big")
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return UUID(int=value)
