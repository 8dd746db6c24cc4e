"""Amounts as people and HubSpot write them: read exactly, or refused."""

from __future__ import annotations

from decimal import Decimal

import pytest

from awssome.domain.deals import parse_amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1250.50", "1250.5"),
        ("1,250.50", "1250.5"),
        ("30,325,121.03", "30325121.03"),
        ("1\u00a0250", "1250"),
        (" -1.5 ", "-1.5"),
        (".5", "0.5"),
        ("7.", "7"),
        ("1.5E7", "15000000"),
        ("999999999999999.9999", "999999999999999.9999"),
    ],
)
def test_an_amount_is_read_exactly(text: str, amount: str) -> None:
    assert parse_amount(text) == Decimal(amount)


@pytest.mark.parametrize(
    "text",
    [
        *("1250,50", "1,25", "1250,500", ",500", "1,2500", "1,,250", "1.250,50", "1,250,", "1.5,000"),
        *("1_250", "1 250", "NaN", "Infinity", "-", ".", "", "E5", "1E999999999", "١٢", "$5", "1.5.0"),
        *("1000000000000000", "0.00001"),
    ],
)
def test_what_could_be_meant_otherwise_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"amount"):
        parse_amount(text)
