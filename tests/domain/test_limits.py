"""The limits that the documents name are those that hold."""

from __future__ import annotations

import re
from pathlib import Path

from awssome.database.postgresql.server import LOGIN_CONNECTIONS
from awssome.domain.limits import GRACE_SECONDS, LIMITS, TRANSACTION_SECONDS, VISITOR, VISITORS, Pace
from awssome.domain.tenants import Tier
from awssome.portal.admission import BODY_SECONDS

SECURITY = Path(__file__).parents[2] / "docs" / "security.md"


def rows(text: str, heading: str) -> dict[str, tuple[str, ...]]:
    """A table of the document: first cell -> the others."""
    table = text[text.index(heading) :].partition("\n\n")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {name: tuple(values) for name, *values in cells[2:]}


def shown(pace: Pace) -> tuple[str, str, str]:
    return f"{pace.per_second:,}", f"{pace.burst:,}", f"{pace.at_once:,}"


def test_the_documented_limits_are_those_that_hold() -> None:
    text = SECURITY.read_text()
    tiers = [LIMITS[tier] for tier in (Tier.FREE, Tier.PAID)]
    told = rows(text, "| for one tenant | free | paid |")
    assert [*told.values()] == [
        *zip(*(shown(limits.requests) for limits in tiers), strict=True),
        tuple(f"{limits.connections:,}" for limits in tiers),
        tuple(f"{limits.statement_seconds:,}" for limits in tiers),
        tuple(f"{limits.export_rows:,}" for limits in tiers),
    ]
    visitors = rows(text, "| for visitors | one network address | all together |")
    assert [*visitors.values()] == [*zip(shown(VISITOR), shown(VISITORS), strict=True)]
    plain = re.sub(r"\s+", " ", text)
    assert f"login's own limit of {LOGIN_CONNECTIONS} connections" in plain
    assert f"what is {GRACE_SECONDS} s over the tier's limit" in plain
    assert f"has been open for {TRANSACTION_SECONDS} s" in plain
    assert f"has to be there within {BODY_SECONDS:g} s" in plain


def test_the_paid_tier_has_no_less_of_anything() -> None:
    free, paid = LIMITS[Tier.FREE], LIMITS[Tier.PAID]
    assert all(
        getattr(paid, name) >= getattr(free, name) for name in ("connections", "statement_seconds", "export_rows")
    )
    assert all(
        getattr(paid.requests, name) >= getattr(free.requests, name) for name in ("per_second", "burst", "at_once")
    )


def test_one_address_cannot_have_all_that_visitors_have_at_once() -> None:
    assert VISITOR.at_once < VISITORS.at_once


def test_no_request_that_is_let_in_waits_for_a_connection_of_its_own_tenant() -> None:
    for limits in LIMITS.values():
        assert limits.requests.at_once <= limits.connections <= LOGIN_CONNECTIONS
