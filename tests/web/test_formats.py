"""Numbers, amounts and times as people read them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from awssome.web import formats

NOW = datetime(2026, 11, 22, 14, 5, 9, tzinfo=UTC)


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        (Decimal("120000"), "USD", "$120,000"),
        (Decimal("120000.00"), "USD", "$120,000"),
        (Decimal("1E+5"), "EUR", "€100,000"),
        (Decimal("1200.5"), "USD", "$1,200.50"),
        (Decimal("-0.05"), "GBP", "−£0.05"),
        (Decimal("0.125"), "USD", "$0.125"),
        (Decimal("9999999999999999.99"), "USD", "$9,999,999,999,999,999.99"),
        (5000, "JPY", "¥5,000"),
        (Decimal("1.5"), "KWD", "KWD 1.500"),
        (None, "USD", "–"),
    ],
)
def test_money_is_exact(amount: Decimal | int | None, currency: str, shown: str) -> None:
    assert plain(formats.money(amount, currency)) == shown


def test_money_in_full_shows_the_minor_unit_of_its_currency() -> None:
    assert formats.money(5, "USD", full=True) == "$5.00"
    assert formats.money(5, "JPY", full=True) == "¥5"


def test_money_refuses_a_float() -> None:
    with pytest.raises(TypeError):
        formats.money(1.5, "USD")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 ms"),
        (0.0224, "22 ms"),
        (0.0996, "0.1 s"),
        (0.44, "0.4 s"),
        (3, "3 s"),
        (33.2, "33 s"),
        (59.6, "1 min"),
        (250, "4 min 10 s"),
        (7500, "2 h 5 min"),
        (timedelta(days=29, hours=23, minutes=59), "29 d 23 h"),
        (None, "–"),
    ],
)
def test_a_duration_has_two_units_at_most(seconds: float | timedelta | None, shown: str) -> None:
    assert plain(formats.duration(seconds)) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_449_000, "1.4 MB"),
        (999_960_000, "1.0 GB"),
        (10**17, "100000 TB"),
    ],
)
def test_sizes_are_decimal(count: int, shown: str) -> None:
    assert plain(formats.size(count)) == shown


@pytest.mark.parametrize(
    ("ago", "shown"),
    [
        (timedelta(seconds=44), "just now"),
        (timedelta(seconds=45), "1 min ago"),
        (timedelta(minutes=59, seconds=59), "59 min ago"),
        (timedelta(hours=23), "23 h ago"),
        (timedelta(days=1), "yesterday"),
        (timedelta(days=3, hours=5), "3 days ago"),
        (timedelta(days=8), "14 Nov 2026"),
        (timedelta(seconds=-5), "in a moment"),
        (timedelta(hours=-2), "in 2 h"),
        (timedelta(days=-1), "tomorrow"),
        (timedelta(days=-6), "in 6 days"),
    ],
)
def test_relative_times(ago: timedelta, shown: str) -> None:
    assert formats.relative(NOW - ago, NOW) == shown


def test_a_moment_is_told_in_utc_and_says_so() -> None:
    berlin = timezone(timedelta(hours=1))
    assert formats.moment(datetime(2026, 11, 22, 0, 30, tzinfo=berlin)) == "21 Nov 2026, 23:30:00 UTC"


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        formats.moment(datetime(2026, 11, 22, 14, 5))


def test_small_words() -> None:
    assert [formats.plural(count, "deal") for count in (0, 1, 1234)] == ["0 deals", "1 deal", "1,234 deals"]
    assert formats.plural(2, "entry", "entries") == "2 entries"
    assert plain(formats.percent(Decimal("0.283"))) == "28 %"
    assert formats.number(1234.567, 1) == "1,234.6"
    assert formats.day(date(2026, 12, 2)) == "2 Dec 2026"
