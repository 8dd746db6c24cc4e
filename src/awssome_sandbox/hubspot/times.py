"""Times as HubSpot writes them: ISO 8601 in UTC with milliseconds and a Z."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> str:
    """This moment."""
    return _written(datetime.now(UTC))


def moment(text: str) -> str:
    """A time that somebody gave, as milliseconds since the epoch or in ISO 8601, the way HubSpot writes it.

    :raises ValueError: when it is neither; OverflowError when it lies outside the calendar.
    """
    if text.lstrip("-").isdigit():
        seconds, milliseconds = divmod(int(text), 1000)
        return _written(datetime.fromtimestamp(seconds, UTC).replace(microsecond=milliseconds * 1000))
    given = datetime.fromisoformat(text)
    return _written(given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC))


def _written(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
