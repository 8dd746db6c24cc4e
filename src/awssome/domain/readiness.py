"""Whether AWS would take a registration as it is, by the rules of an ACE opportunity, field by field.

Looked at are the values as they are stored, wherever they came from: a form refuses what does not fit a field, but an
enumeration may have changed since, and some rules hang on two fields. A solution and the deal's HubSpot id (at most 32
characters where AWS takes 64) go along when it is submitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from awssome.domain.ace import STATES, AceCode, Rule
from awssome.domain.deals import FIELDS, Field, Stage

CENTS = Decimal("0.01")


@dataclass(frozen=True)
class Need:
    """Something that AWS would refuse.

    :ivar code: the code that AWS gives for it.
    :ivar text: what to fill in, for the user.
    """

    field: str
    code: AceCode
    text: str


def readiness(values: Mapping[str, Any], today: date) -> list[Need]:
    """What AWS would still ask for, at most one thing a field, in the order of the fields. Empty: ready.

    :param values: the registration's fields by name; missing, None and empty are the same.
    :param today: a target close date before it is past.
    """
    return list(_needs(values, today))


def is_ready(values: Mapping[str, Any], today: date) -> bool:
    """Whether `readiness` would be empty; told as soon as anything is found."""
    return next(_needs(values, today), None) is None


def _needs(values: Mapping[str, Any], today: date) -> Iterator[Need]:
    given = {name: value for name, value in values.items() if value not in (None, "", [])}
    for field in FIELDS:
        need = _look(field, given, today)
        if need is not None:
            yield need


def _look(field: Field, given: Mapping[str, Any], today: date) -> Need | None:
    value = given.get(field.name)
    if value is None:
        reason = "" if field.needed else _why_needed(field.name, given)
        if reason is None:
            return None
        text = f"{'Choose' if field.choices else 'Fill in'} {_named(field)}{reason}."
        return Need(field.name, AceCode.REQUIRED_FIELD_MISSING, text)
    return _form(field, field.rule, value) or _sense(field, value, given, today)


def _why_needed(name: str, given: Mapping[str, Any]) -> str | None:
    """The end of the sentence that asks for a field that is needed beside others only; None if AWS does without."""
    match name:
        case "customer_website" if given.get("national_security") != "Yes":
            return ""
        case "customer_other_industry" if given.get("customer_industry") == "Other":
            return ", because the industry is Other"
        case "customer_state" if given.get("customer_country") == "US":
            return ", which AWS wants of customers in the United States"
        case "closed_lost_reason" if given.get("stage") == Stage.CLOSED_LOST:
            return ", because the deal is lost"
        case "aws_spend_currency" if "expected_aws_spend" in given:
            return ""
        case "primary_needs" if given.get("involvement") == "Co-Sell":
            return ", because AWS is to sell with you"
    return None


def _form(field: Field, rule: Rule, value: Any) -> Need | None:
    """What is wrong with a value by itself."""
    if field.choices:
        unknown = [one for one in (value if isinstance(value, list) else [value]) if one not in field.choices]
        if unknown:
            text = f"Choose one of the values of {_named(field)}: AWS does not know “{str(unknown[0])[:40]}”."
            return Need(field.name, AceCode.INVALID_ENUM_VALUE, text)
    elif isinstance(value, Decimal):
        return _amount(field, value)
    elif isinstance(value, str):
        return _text(field, rule, value)
    elif isinstance(value, int) and not rule.least <= value <= rule.longest:
        text = f"{field.label} is from {rule.least} to {rule.longest}."
        return Need(field.name, AceCode.VALUE_OUT_OF_RANGE, text)
    return None


def _text(field: Field, rule: Rule, value: str) -> Need | None:
    if len(value) < rule.least:
        text = f"{field.label} needs at least {rule.least} characters; it has {len(value)}."
    elif len(value) > rule.longest:
        text = f"{field.label} has {len(value):,} characters; AWS takes {rule.longest:,}."
    elif rule.pattern and not rule.pattern.fullmatch(value):
        text = f"{field.label} looks like {rule.like}."
    else:
        return None
    return Need(field.name, AceCode.INVALID_STRING_FORMAT, text)


def _amount(field: Field, value: Decimal) -> Need | None:
    if not field.rule.member:
        return None
    if value < 0:
        return Need(field.name, AceCode.VALUE_OUT_OF_RANGE, f"{field.label} cannot be less than nothing.")
    if value != value.quantize(CENTS):
        return Need(
            field.name, AceCode.INVALID_STRING_FORMAT, f"{field.label} has at most two digits behind the point."
        )
    return None


def _sense(field: Field, value: Any, given: Mapping[str, Any], today: date) -> Need | None:
    """What is wrong with a value beside the others."""
    stage = given.get("stage")
    match field.name:
        case "stage" if value == Stage.PROSPECT:
            code, text = AceCode.INVALID_RESOURCE_STATE, "AWS takes a deal from stage Qualified on."
        case "stage" if value == Stage.CLOSED_LOST:
            code, text = AceCode.INVALID_RESOURCE_STATE, "AWS takes no deal that was lost before it was submitted."
        case "target_close_date" if value < today and stage not in (Stage.LAUNCHED, Stage.CLOSED_LOST):
            code, text = AceCode.INVALID_VALUE, f"{value.isoformat()} is past; AWS wants a day to come."
        case "national_security" if value == "Yes" and given.get("customer_industry") != "Government":
            code, text = AceCode.INVALID_VALUE, "Yes goes with customers of industry Government only."
        case "customer_state" if given.get("customer_country") == "US" and value not in STATES.values():
            code, text = AceCode.INVALID_ENUM_VALUE, "Write the state's full name, like California."
        case "closed_lost_reason" if stage != Stage.CLOSED_LOST:
            code, text = AceCode.INVALID_VALUE, "A reason for the loss goes with stage Closed Lost. Empty it."
        case "customer_other_industry" if given.get("customer_industry") != "Other":
            code, text = AceCode.INVALID_VALUE, "Another industry goes with industry Other. Empty it."
        case _:
            return None
    return Need(field.name, code, text)


def _named(field: Field) -> str:
    """The field's label within a sentence; names stay as they are."""
    return field.label if field.label[:2].isupper() else field.label[0].lower() + field.label[1:]
