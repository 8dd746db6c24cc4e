"""A deal registration: a row shaped after an AWS ACE opportunity, its limits and its readiness.

Names, enumerations and lengths follow AWS Partner Central Selling API 2022-07-26 (CreateOpportunity).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

from awssome.domain.errors import Code, Refused


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


OPPORTUNITY_TYPES = ("Net New Business", "Flat Renewal", "Expansion")

DELIVERY_MODELS = (
    "SaaS or PaaS",
    "BYOL or AMI",
    "Managed Services",
    "Professional Services",
    "Resell",
    "Other",
)

INDUSTRIES = (
    "Aerospace",
    "Agriculture",
    "Automotive",
    "Computers and Electronics",
    "Consumer Goods",
    "Education",
    "Energy - Oil and Gas",
    "Energy - Power and Utilities",
    "Financial Services",
    "Gaming",
    "Government",
    "Healthcare",
    "Hospitality",
    "Life Sciences",
    "Manufacturing",
    "Marketing and Advertising",
    "Media and Entertainment",
    "Mining",
    "Non-Profit Organization",
    "Professional Services",
    "Real Estate and Construction",
    "Retail",
    "Software and Internet",
    "Telecommunications",
    "Transportation and Logistics",
    "Travel",
    "Wholesale and Distribution",
    "Other",
)


@dataclass(frozen=True)
class Field:
    """One field that a user may see and edit.

    `kind` is text, long, money, currency, date, choice or url; `limit` counts characters; `needed` means that AWS does
    not take the registration without it.
    """

    name: str
    label: str
    kind: str
    limit: int = 255
    needed: bool = False
    choices: tuple[str, ...] = ()
    hint: str = ""
    at_least: int = 0


FIELDS: tuple[Field, ...] = (
    Field("title", "Title", "text", 255, needed=True, hint="What you call this deal."),
    Field("stage", "Stage", "choice", 40, needed=True, choices=tuple(Stage)),
    Field(
        "customer_company", "Customer", "text", 120, needed=True, hint="The company that buys, up to 120 characters."
    ),
    Field("customer_website", "Customer's website", "url", 255, needed=True, hint="Like https://example.com."),
    Field("customer_industry", "Industry", "choice", 40, needed=True, choices=INDUSTRIES),
    Field("customer_country", "Country", "text", 2, needed=True, hint="Two letters, like US or DE."),
    Field("customer_postal_code", "Postal code", "text", 20, needed=True),
    Field(
        "business_problem",
        "Business problem",
        "long",
        2000,
        needed=True,
        hint="What the customer wants to solve, 20 to 2,000 characters.",
        at_least=20,
    ),
    Field("use_case", "Use case", "text", 120),
    Field("opportunity_type", "Type", "choice", 32, needed=True, choices=OPPORTUNITY_TYPES),
    Field("delivery_model", "Delivery model", "choice", 40, needed=True, choices=DELIVERY_MODELS),
    Field("target_close_date", "Close date", "date", 10, needed=True, hint="A day that is not past."),
    Field("deal_amount", "Deal amount", "money", 20, hint="What the deal is worth to you, as HubSpot has it."),
    Field("deal_currency", "Currency", "currency", 3, hint="Three letters, like USD."),
    Field(
        "expected_aws_spend",
        "Expected AWS spend a month",
        "money",
        20,
        needed=True,
        hint="What the customer will spend with AWS each month, in USD.",
    ),
    Field("next_steps", "Next steps", "text", 255),
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
_COUNTRY = re.compile(r"[A-Z]{2}\Z")
_WEBSITE = re.compile(r"https?://[^\s/]+\.[^\s]+\Z")


def readiness(values: Mapping[str, Any], today: date) -> dict[str, str]:
    """What AWS would still ask for: field name -> what to fill in. Empty: ready.

    :param values: the registration's fields by name; missing and None are the same.
    :param today: a target close date before it is past.
    """
    missing: dict[str, str] = {}
    for field in FIELDS:
        value = values.get(field.name)
        if field.needed and value in (None, ""):
            missing[field.name] = f"{field.label} is missing."
        elif value and len(str(value)) < field.at_least:
            missing[field.name] = f"{field.label} needs at least {field.at_least} characters."
    close = values.get("target_close_date")
    open_deal = values.get("stage") not in (Stage.LAUNCHED, Stage.CLOSED_LOST)
    if isinstance(close, date) and close < today and open_deal:
        missing["target_close_date"] = f"{close.isoformat()} is past; AWS wants a day to come."
    if values.get("stage") == Stage.PROSPECT:
        missing["stage"] = "AWS takes a registration from stage Qualified on."
    return missing


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
    """One text as the field's type.

    :raises ValueError: with a sentence for the user.
    """
    if "\x00" in text:
        raise ValueError(f"{field.label} holds a character that cannot be stored.")
    if field.kind == "money":
        return parse_amount(text)
    if field.kind == "date":
        return _parse_date(text)
    if len(text.encode("utf-16-le")) // 2 > field.limit:
        raise ValueError(f"{field.label} has {len(text):,} characters; at most {field.limit:,} fit.")
    if field.kind == "choice" and text not in field.choices:
        raise ValueError(f"Choose one of the values of {field.label}.")
    if field.kind == "currency" and not _CURRENCY.match(text):
        raise ValueError("Use a currency code of three capital letters, like USD.")
    if field.kind == "url" and not _WEBSITE.match(text):
        raise ValueError("Use a web address that begins with https:// or http://.")
    if field.name == "customer_country" and not _COUNTRY.match(text):
        raise ValueError("Use two capital letters, like US or DE.")
    if field.kind != "long":
        text = " ".join(text.split())
    return text


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
