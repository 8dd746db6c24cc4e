"""What AWS would refuse of a registration: each rule, and beside AWS' own model."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awssome.domain.ace import RULES, AceCode
from awssome.domain.deals import FIELD, FIELDS, Stage, as_text, parse_value
from awssome.domain.readiness import readiness
from tests.domain.partner_central import faults

TODAY = date(2026, 11, 26)
COMPLETE: dict[str, Any] = {
    "title": "Fabrikam data platform",
    "stage": "Qualified",
    "customer_company": "Fabrikam",
    "customer_website": "https://fabrikam.example",
    "customer_industry": "Retail",
    "customer_country": "DE",
    "customer_postal_code": "10115",
    "business_problem": "They want their shop in the cloud before the season.",
    "opportunity_type": "Net New Business",
    "delivery_model": "SaaS or PaaS",
    "target_close_date": TODAY,
    "expected_aws_spend": Decimal("4200"),
    "aws_spend_currency": "USD",
    "use_case": "Database",
    "sales_activities": ["Customer has shown interest in solution"],
    "involvement": "Co-Sell",
    "primary_needs": ["Co-Sell - Deal Support"],
    "solution_id": "S-0012345",
}
MISSING, ENUM, FORM = AceCode.REQUIRED_FIELD_MISSING, AceCode.INVALID_ENUM_VALUE, AceCode.INVALID_STRING_FORMAT
VALUE, RANGE, STATE = AceCode.INVALID_VALUE, AceCode.VALUE_OUT_OF_RANGE, AceCode.INVALID_RESOURCE_STATE


def needs(**values: Any) -> list[tuple[str, AceCode]]:
    return [(need.field, need.code) for need in readiness({**COMPLETE, **values}, TODAY)]


def test_what_has_everything_is_ready() -> None:
    assert needs() == [] and faults(COMPLETE) == {}


@pytest.mark.parametrize("name", COMPLETE)
def test_everything_of_it_is_needed(name: str) -> None:
    for nothing in (None, "", []):
        found = {need.field: need for need in readiness({**COMPLETE, name: nothing}, TODAY)}
        assert found[name].code is MISSING
        assert FIELD[name].label[1:] in found[name].text


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # alone
        ({"title": "x" * 256}, [("title", FORM)]),
        ({"customer_company": "x" * 121}, [("customer_company", FORM)]),
        ({"customer_website": "a.b"}, [("customer_website", FORM)]),
        ({"customer_website": "x" * 256}, [("customer_website", FORM)]),
        ({"customer_industry": "Shops"}, [("customer_industry", ENUM)]),
        ({"customer_country": "XX"}, [("customer_country", ENUM)]),
        ({"customer_city": "x" * 256}, [("customer_city", FORM)]),
        ({"customer_street": "x" * 256}, [("customer_street", FORM)]),
        ({"customer_postal_code": "1" * 21}, [("customer_postal_code", FORM)]),
        ({"customer_aws_account": "12345678901"}, [("customer_aws_account", FORM)]),
        ({"customer_aws_account": "123456789012"}, []),
        ({"customer_duns": "12-345678"}, [("customer_duns", FORM)]),
        ({"business_problem": "Too short."}, [("business_problem", FORM)]),
        ({"business_problem": "x" * 2001}, [("business_problem", FORM)]),
        ({"use_case": "Cloud"}, [("use_case", ENUM)]),
        ({"use_case": "Migration/Database Migration"}, [("use_case", ENUM)]),
        ({"opportunity_type": "newbusiness"}, [("opportunity_type", ENUM)]),
        ({"delivery_model": "SaaS"}, [("delivery_model", ENUM)]),
        ({"sales_activities": ["Talked"]}, [("sales_activities", ENUM)]),
        ({"next_steps": "x" * 256}, [("next_steps", FORM)]),
        ({"additional_comments": "x" * 256}, [("additional_comments", FORM)]),
        ({"expected_aws_spend": Decimal("0.001")}, [("expected_aws_spend", FORM)]),
        ({"expected_aws_spend": Decimal("-1")}, [("expected_aws_spend", RANGE)]),
        ({"expected_aws_spend": Decimal("0")}, []),
        ({"deal_amount": Decimal("-0.0001"), "deal_currency": "XYZ"}, []),
        ({"aws_spend_currency": "GBP"}, [("aws_spend_currency", ENUM)]),
        ({"contract_months": 0}, [("contract_months", RANGE)]),
        ({"contract_months": 145}, [("contract_months", RANGE)]),
        ({"contract_months": 144}, []),
        ({"visibility": "Some"}, [("visibility", ENUM)]),
        ({"solution_id": "0012345"}, [("solution_id", FORM)]),
        # beside others
        ({"stage": "Prospect"}, [("stage", STATE)]),
        ({"stage": "Won"}, [("stage", ENUM)]),
        ({"stage": "Closed Lost", "closed_lost_reason": "Price"}, [("stage", STATE)]),
        ({"stage": "Closed Lost"}, [("stage", STATE), ("closed_lost_reason", MISSING)]),
        ({"closed_lost_reason": "Price"}, [("closed_lost_reason", VALUE)]),
        ({"closed_lost_reason": "Too dear"}, [("closed_lost_reason", ENUM)]),
        ({"customer_country": "US"}, [("customer_state", MISSING)]),
        ({"customer_country": "US", "customer_state": "CA"}, [("customer_state", ENUM)]),
        ({"customer_country": "US", "customer_state": "California"}, []),
        ({"customer_state": "Bayern"}, []),
        ({"customer_industry": "Other"}, [("customer_other_industry", MISSING)]),
        ({"customer_industry": "Other", "customer_other_industry": "Bakeries"}, []),
        ({"customer_other_industry": "Bakeries"}, [("customer_other_industry", VALUE)]),
        ({"national_security": "Yes"}, [("national_security", VALUE)]),
        ({"national_security": "Yes", "customer_industry": "Government", "customer_website": None}, []),
        ({"national_security": "No", "customer_website": None}, [("customer_website", MISSING)]),
        ({"involvement": "For Visibility Only", "primary_needs": None}, []),
        ({"target_close_date": TODAY - timedelta(days=1)}, [("target_close_date", VALUE)]),
        ({"target_close_date": TODAY - timedelta(days=1), "stage": "Launched"}, []),
    ],
)
def test_each_rule(values: dict[str, Any], expected: list[tuple[str, AceCode]]) -> None:
    assert needs(**values) == expected


_TEXTS = st.sampled_from(["", "a", "abcd", "x" * 20, "x" * 121, "x" * 256, "x" * 2001, "Ünï", "12", "123456789012"])
_OF_KIND: dict[str, st.SearchStrategy[Any]] = {
    "money": st.decimals(min_value=-10, max_value=10**14, places=4, allow_nan=False),
    "date": st.dates(date(1753, 1, 1), date(2100, 1, 1)),
    "whole": st.integers(-1, 200),
    "url": st.sampled_from(["a.b", "example.com", "https://example.com/a?b=c", "https://" + "x" * 250 + ".example"]),
}


@st.composite
def registrations(draw: st.DrawFn) -> dict[str, Any]:
    """Registrations as they may be stored: some fields as they should be, some anyhow, some empty."""
    values = dict(COMPLETE)
    for field in draw(st.lists(st.sampled_from(FIELDS), max_size=8, unique=True)):
        if field.kind == "choices":
            anyhow = st.lists(st.sampled_from((*field.choices, "no choice")), max_size=3, unique=True)
        elif field.choices:
            anyhow = st.sampled_from((*field.choices[:5], "no choice"))
        else:
            anyhow = _OF_KIND.get(field.kind, _TEXTS)
        values[field.name] = draw(st.none() | anyhow)
    return values


@given(registrations())
def test_whatever_awss_model_refuses_is_named(values: dict[str, Any]) -> None:
    needed = readiness(values, TODAY)
    named = {need.field for need in needed}
    assert faults(values).keys() <= named
    assert len(needed) == len(named), "one thing a field"


@given(registrations())
def test_what_is_ready_passes_awss_model(values: dict[str, Any]) -> None:
    if not readiness(values, TODAY):
        assert faults(values) == {}


@given(registrations())
def test_what_is_stored_well_is_read_back_as_it_was(values: dict[str, Any]) -> None:
    """Round trip of a field's text: what a form shows, and what is held back under an edit."""
    refused = {need.field for need in readiness(values, TODAY)}
    for name in RULES.keys() - refused - {"stage"}:
        value = values.get(name)
        if value not in (None, "", []):
            text = as_text(value)
            assert text is not None
            read = parse_value(FIELD[name], text)
            assert read == (sorted(value, key=FIELD[name].choices.index) if isinstance(value, list) else value)


def test_a_stage_is_one_of_aws() -> None:
    assert [need.field for need in readiness({**COMPLETE, "stage": Stage.LAUNCHED}, TODAY)] == []
