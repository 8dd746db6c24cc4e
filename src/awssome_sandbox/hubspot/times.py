"""Moments as HubSpot writes them: ISO 8601 in UTC, with milliseconds and a Z. Text of that form sorts by time."""

from __future__ import annotations

from datetime import UTC, datetime

LENGTH = len("2026-01-01T00:00:00.000Z")


def now() -> str:
    """This moment."""
    return iso(datetime.now(UTC))


def iso(moment: datetime) -> str:
    """A moment with a time zone."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parsed(text: str) -> str:
    """A moment given as milliseconds since the epoch or in ISO 8601 (UTC unless it says otherwise), in the one form.

    :raises ValueError: for text that is no moment; OverflowError for one that no calendar holds.
    """
    if text.lstrip("-").isdigit():
        seconds, milliseconds = divmod(int(text), 1000)
        return iso(datetime.fromtimestamp(seconds, UTC).replace(microsecond=milliseconds * 1000))
    moment = datetime.fromisoformat(text)
    return iso(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def milliseconds(text: str) -> int:
    """A moment in milliseconds since the epoch, as the oldest versions of the API count."""
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * 1000 + moment.microsecond // 1000
