"""Numbers, amounts, times and lengths of time as people read them. Each is also a Jinja filter of the same name."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

NOTHING = "\N{EN DASH}"

_SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}
_MINOR_DIGITS = {"JPY": 0, "KRW": 0, "CLP": 0, "ISK": 0, "VND": 0, "BHD": 3, "JOD": 3, "KWD": 3, "OMR": 3, "TND": 3}
_MINUS = "\N{MINUS SIGN}"
_NO_BREAK = "\N{NO-BREAK SPACE}"


def number(value: int | float | Decimal | None, digits: int | None = None) -> str:
    """1234567 as `1,234,567`; with `digits`, rounded to that many decimals."""
    if value is None:
        return NOTHING
    return f"{value:,}" if digits is None else f"{value:,.{digits}f}"


def percent(part: float | Decimal | None, digits: int = 0) -> str:
    """0.283 as `28 %`."""
    return NOTHING if part is None else f"{float(part) * 100:.{digits}f}{_NO_BREAK}%"


def money(amount: Decimal | int | None, currency: str, full: bool = False) -> str:
    """The exact amount with its currency: `$1,200.50`, `CHF 90`. Never rounds.

    :param full: show the minor unit also when it is zero, so that a column lines up.
    :raises TypeError: for a float, which cannot hold an exact amount.
    """
    if amount is None:
        return NOTHING
    if isinstance(amount, float):
        raise TypeError("an amount of money is a Decimal or an int, never a float")
    digits = minor_digits(amount, currency, full)
    text = f"{abs(Decimal(amount)):,.{digits}f}"
    unit = _SYMBOLS.get(currency, f"{currency}{_NO_BREAK}")
    sign = _MINUS if amount < 0 else ""
    return f"{sign}{unit}{text}"


def minor_digits(amount: Decimal | int, currency: str, full: bool = False) -> int:
    """How many decimals show the amount exactly: none if it is whole (unless `full`), else at least the currency's."""
    exact = Decimal(amount).normalize()
    decimals = max(0, -int(exact.as_tuple().exponent))
    return max(decimals, _MINOR_DIGITS.get(currency, 2)) if decimals or full else 0


def size(count: int | None) -> str:
    """Bytes in decimal units: `532 B`, `1.4 MB`."""
    if count is None:
        return NOTHING
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(value) < 999.5 or unit == "TB":
            return f"{value:.0f}{_NO_BREAK}{unit}" if unit == "B" or value >= 99.95 else f"{value:.1f}{_NO_BREAK}{unit}"
        value /= 1000
    raise AssertionError("the last unit takes every value")


def duration(length: float | timedelta | None) -> str:
    """Seconds or a timedelta in two units at most: `22 ms`, `0.4 s`, `33 s`, `4 min 10 s`, `2 h 5 min`, `29 d 23 h`."""
    if length is None:
        return NOTHING
    seconds = length.total_seconds() if isinstance(length, timedelta) else float(length)
    if seconds < 0.0995:
        return _joined((round(seconds * 1000), "ms"))
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + f"{_NO_BREAK}s"
    whole = round(seconds)
    if whole < 60:
        return _joined((whole, "s"))
    if whole < 3600:
        return _joined((whole // 60, "min"), (whole % 60, "s"))
    if whole < 86_400:
        return _joined((whole // 3600, "h"), (whole % 3600 // 60, "min"))
    return _joined((whole // 86_400, "d"), (whole % 86_400 // 3600, "h"))


def day(value: date | None) -> str:
    """`22 Dec 2026`."""
    return NOTHING if value is None else f"{value.day} {value:%b %Y}"


def moment(value: datetime | None) -> str:
    """The exact time with its zone: `22 Dec 2026, 14:05:09 UTC`."""
    if value is None:
        return NOTHING
    return f"{day(in_utc(value))}, {in_utc(value):%H:%M:%S} UTC"


def relative(value: datetime | None, now: datetime) -> str:
    """How long ago or ahead: `just now`, `4 min ago`, `in 2 h`, `yesterday`, `3 days ago`; past a week, the day.

    The script keeps pages up to date by the same rules (`relative` in awssome.js).
    """
    if value is None:
        return NOTHING
    seconds = round((now - in_utc(value)).total_seconds())
    past, length = seconds >= 0, abs(seconds)
    if length < 45:
        return "just now" if past else "in a moment"
    if length < 3600:
        text = f"{max(1, length // 60)} min"
    elif length < 86_400:
        text = f"{length // 3600} h"
    elif length < 2 * 86_400:
        return "yesterday" if past else "tomorrow"
    elif length < 7 * 86_400:
        text = f"{length // 86_400} days"
    else:
        return day(in_utc(value))
    return f"{text} ago" if past else f"in {text}"


def plural(count: int, singular: str, many: str | None = None) -> str:
    """`1 deal`, `3 deals`, `2 entries` (the last with `many="entries"`)."""
    return f"{number(count)} {singular if count == 1 else many or singular + 's'}"


def in_utc(value: datetime) -> datetime:
    """The same instant in UTC; raises ValueError for a time without a zone, whose instant nobody knows."""
    if value.tzinfo is None:
        raise ValueError("a time needs a zone")
    return value.astimezone(UTC)


def _joined(*parts: tuple[int, str]) -> str:
    shown = [part for part in parts if part[0]] or [parts[0]]
    return " ".join(f"{value}{_NO_BREAK}{unit}" for value, unit in shown)
