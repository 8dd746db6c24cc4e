"""A deal registration: a row shaped after an AWS ACE opportunity, its fields, and how their texts are read.

What AWS takes in them is in `domain.ace`; whether AWS would take the whole of it is for `domain.readiness` to say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Any

from awssome.domain.ace import COUNTRIES, RULES, Rule
from awssome.domain.errors import Code, Refused
from awssome.domain.texts import storable, units


class Stage(StrEnum):
    """LifeCycle.Stage of an opportunity, to the letter."""

    PROSPECT = "Prospect"
    QUALIFIED = "Qualified"
    TECHNICAL_VALIDATION = "Technical Validation"
    BUSINESS_VALIDATION = "Business Validation"
    COMMITTED = "Committed"
    LAUNCHED = "Launched"
    CLOSED_LOST = "Closed Lost"


OPEN_STAGES = tuple(stage for stage in Stage if stage not in (Stage.LAUNCHED, Stage.CLOSED_LOST))


class Source(StrEnum):
    """Where a registration came from."""

    HUBSPOT = "hubspot"
    MANUAL = "manual"


@dataclass(frozen=True)
class Field:
    """One field that a user may see and edit.

    `kind` is text, long, money, currency, date, whole, choice, choices, country or url. What AWS takes is in `rule`.
    """

    name: str
    label: str
    kind: str
    hint: str = ""

    @cached_property
    def rule(self) -> Rule:
        """AWS' rule for it; an empty one for what AWS is not told."""
        return RULES.get(self.name, _UNTOLD)

    @cached_property
    def limit(self) -> int:
        """How many characters fit."""
        return self.rule.longest

    @cached_property
    def needed(self) -> bool:
        """Whether AWS never takes the registration without it."""
        return self.rule.needed

    @cached_property
    def choices(self) -> tuple[str, ...]:
        """The values it may have; none: any."""
        return tuple(Stage) if self.name == "stage" else self.rule.choices


_UNTOLD = Rule("")

FIELDS: tuple[Field, ...] = (
    Field("title", "Title", "text", "What you call this deal."),
    Field("stage", "Stage", "choice"),
    Field("target_close_date", "Close date", "date", "A day that is not past."),
    Field("closed_lost_reason", "Reason for the loss", "choice", "For deals in stage Closed Lost."),
    Field("deal_amount", "Deal amount", "money", "What the deal is worth to you. AWS is not told."),
    Field("deal_currency", "Currency", "currency", "Three letters, like USD."),
    Field("next_steps", "Next steps", "text"),
    Field("customer_company", "Customer", "text", "The company that buys, up to 120 characters."),
    Field("customer_website", "Customer's website", "url", "Like https://example.com."),
    Field("customer_industry", "Industry", "choice"),
    Field("customer_other_industry", "Other industry", "text", "Where the industry is Other."),
    Field("customer_country", "Country", "country"),
    Field("customer_state", "State or region", "text", "In the United States the state's full name, like California."),
    Field("customer_city", "City", "text"),
    Field("customer_postal_code", "Postal code", "text"),
    Field("customer_street", "Street", "text"),
    Field("customer_aws_account", "Customer's AWS account", "text", "Twelve digits, if you know them."),
    Field("customer_duns", "Customer's DUNS number", "text", "Nine digits, if you know them."),
    Field("national_security", "National security", "choice", "Yes only for customers of industry Government."),
    Field(
        "business_problem",
        "Business problem",
        "long",
        "What the customer wants to solve and how you help, 20 to 2,000 characters.",
    ),
    Field("use_case", "Use case", "choice"),
    Field("opportunity_type", "Type", "choice"),
    Field("delivery_model", "Delivery model", "choice"),
    Field("sales_activities", "Sales activities", "choices", "What you have done with the customer so far."),
    Field(
        "expected_aws_spend", "Expected AWS spend a month", "money", "What the customer will spend with AWS each month."
    ),
    Field("aws_spend_currency", "Currency of the AWS spend", "choice"),
    Field("contract_months", "Contract length", "whole", "In months, 1 to 144."),
    Field("involvement", "What you want from AWS", "choice", "To sell together, or only to be seen."),
    Field("visibility", "Visibility", "choice"),
    Field("primary_needs", "Help you need from AWS", "choices", "Where AWS is to sell with you."),
    Field("solution_id", "Solution", "text", "Its id in Partner Central, like S-0012345."),
    Field("additional_comments", "Comments for AWS", "text"),
)

FIELD: dict[str, Field] = {field.name: field for field in FIELDS}

SCALE = 4
"""Digits after the point that amounts are stored with; 15 before it."""

FIRST_YEAR = 1753
"""Days are from this year on: the first that every part of SQL Server knows."""

LARGEST = Decimal(10) ** 15
"""Amounts are smaller than this."""

# Groups of three digits or none at all; HubSpot writes large numbers as 1.5E7.
_AMOUNT = re.compile(r"[+-]?(?=\.?[0-9])([0-9]{1,3}([,\u00a0][0-9]{3})+|[0-9]*)(\.[0-9]*)?([eE][+-]?[0-9]{1,2})?")
_CURRENCY = re.compile(r"[A-Z]{3}\Z")
_WEBSITE = re.compile(r"(https?://)?[^\s/:?#]+\.[^\s]+\Z")
_WHOLE = re.compile(r"[0-9]{1,9}\Z")
_OTHER_NAMES = {
    "UK": "GB",
    "USA": "US",
    "United States of America": "US",
    "The Netherlands": "NL",
    "Czech Republic": "CZ",
}


def parse_form(form: Mapping[str, str]) -> dict[str, Any]:
    """A form's texts as typed values, by field name; only the fields that the form holds.

    :raises Refused: INVALID with every field that cannot be taken, before the database rounds or cuts anything.
    """
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for field in FIELDS:
        if field.name not in form:
            continue
        text = form[field.name].strip()
        try:
            values[field.name] = parse_value(field, text) if text else None
        except ValueError as error:
            problems[field.name] = str(error)
    if not values.get("title") and "title" in form and "title" not in problems:
        problems["title"] = "Enter a title."
    if not values.get("stage") and "stage" in form and "stage" not in problems:
        problems["stage"] = "Choose a stage."
    if problems:
        raise Refused(Code.INVALID, "The deal was not saved. Some fields need another value.", fields=problems)
    return values


def parse_value(field: Field, text: str) -> Any:
    """One text as the field's type; of `choices` a list, written with semicolons in between.

    :raises ValueError: with a sentence for the user.
    """
    if storable(text) != text:
        raise ValueError(f"{field.label} holds a character that cannot be stored.")
    if field.kind == "money":
        return parse_amount(text)
    if field.kind == "date":
        return _parse_date(text)
    if field.kind == "whole":
        return _parse_whole(field, text)
    if field.kind == "choices":
        found = {_parse_choice(field, part.strip()) for part in text.split(";") if part.strip()}
        return [choice for choice in field.choices if choice in found] or None
    if units(text) > field.limit:
        raise ValueError(f"{field.label} has {len(text):,} characters; at most {field.limit:,} fit.")
    if field.kind == "country":
        return _parse_country(text)
    if field.choices:
        return _parse_choice(field, text)
    if field.kind == "currency" and not _CURRENCY.match(text):
        raise ValueError("Use a currency code of three capital letters, like USD.")
    if field.kind == "url" and not _WEBSITE.match(text):
        raise ValueError("Use a web address like https://example.com.")
    if field.rule.pattern and not field.rule.pattern.fullmatch(text):
        raise ValueError(f"{field.label} looks like {field.rule.like}.")
    return text if field.kind == "long" else " ".join(text.split())


def as_text(value: Any) -> str | None:
    """A field's value as text that `parse_value` reads: plain amounts, days as 2027-03-31, lists with semicolons."""
    if value is None or type(value) is str:  # most are
        return value
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, list):
        return "; ".join(value)
    return value.isoformat() if isinstance(value, date) else str(value)


def same_choice(text: str) -> str:
    """What two spellings of one choice have in common: case and blanks do not count."""
    return "".join(text.split()).casefold()


def parse_amount(text: str) -> Decimal:
    """An exact, plain decimal with at most 15 digits before and 4 after the point.

    A comma only groups thousands: `1250,50` is refused, for it would be read as a hundred times what was meant.

    :raises ValueError: with a sentence for the user; nothing is ever rounded.
    """
    text = text.strip()
    if not _AMOUNT.fullmatch(text):
        raise ValueError(f"“{text[:40]}” is not an amount. Use digits and a point, like 1250.50.")
    amount = Decimal(text.replace(",", "").replace("\u00a0", ""))
    if abs(amount) >= LARGEST:
        raise ValueError("This amount is too large.")
    exact = amount.quantize(Decimal(1).scaleb(-SCALE))
    if exact != amount:
        raise ValueError(f"An amount has at most {SCALE} digits after the point.")
    return exact


def _parse_date(text: str) -> date:
    try:
        day = date.fromisoformat(text[:10])
    except ValueError:
        raise ValueError("Use a date like 2027-03-31.") from None
    if day.year < FIRST_YEAR:
        raise ValueError(f"Use a year from {FIRST_YEAR} on.")
    return day


def _parse_whole(field: Field, text: str) -> int:
    if not _WHOLE.match(text) or not field.rule.least <= int(text) <= field.rule.longest:
        raise ValueError(f"{field.label} is a whole number from {field.rule.least} to {field.rule.longest}.")
    return int(text)


def _parse_choice(field: Field, text: str) -> str:
    found = _CHOICES[field.name].get(same_choice(text))
    if found is None:
        raise ValueError(f"“{text[:40]}” is none of the values of {field.label}.")
    return found


def _parse_country(text: str) -> str:
    found = _COUNTRY_CODES.get(same_choice(text))
    if found is None:
        raise ValueError(f"“{text[:40]}” is no country that AWS knows. Use two letters, like US or DE.")
    return found


_COUNTRY_CODES = {
    same_choice(spelled): code
    for spelled, code in (
        *((code, code) for code in COUNTRIES),
        *((name, code) for code, name in COUNTRIES.items()),
        *_OTHER_NAMES.items(),
    )
}
_CHOICES = {field.name: {same_choice(choice): choice for choice in field.choices} for field in FIELDS if field.choices}
