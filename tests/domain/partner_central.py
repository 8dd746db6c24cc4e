"""AWS' own model of an opportunity, as botocore carries it, and a check by it of what goes into a request.

botocore itself checks neither enumerations nor patterns of what it sends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any

import botocore.session
from botocore.model import ServiceModel, Shape

from awssome.domain.ace import RULES


@cache
def model() -> ServiceModel:
    """The service, as the SDK knows it."""
    return botocore.session.get_session().get_service_model("partnercentral-selling")


@cache
def shape_of(member: str) -> Shape:
    """The shape at a rule's `member`, such as `Customer.Account.CompanyName`."""
    if member == "RelatedEntityIdentifier":
        return model().shape_for("SolutionIdentifier")
    if member.startswith("AwsSubmission."):
        shape = model().shape_for("StartEngagementFromOpportunityTaskRequest")
    else:
        shape = model().operation_model("CreateOpportunity").input_shape
    for part in member.split("."):
        shape = shape.members[part.removesuffix("[]")]
        if part.endswith("[]"):
            shape = shape.member
    return shape


def faults(values: Mapping[str, Any]) -> dict[str, list[str]]:
    """Registration fields whose values AWS' model refuses -> why. What is empty is not sent."""
    found: dict[str, list[str]] = {}
    for name, rule in RULES.items():
        value = values.get(name)
        for one in value if isinstance(value, list) else [value]:
            if one not in (None, "") and (wrong := list(_wrong(shape_of(rule.member), _sent(one)))):
                found.setdefault(name, []).extend(wrong)
    return found


def _sent(value: Any) -> str:
    """A value as it goes into the request."""
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return value.isoformat() if isinstance(value, date) else str(value)


def _wrong(shape: Shape, text: str) -> Iterator[str]:
    rules = shape.metadata
    if "enum" in rules and text not in rules["enum"]:
        yield "enum"
    if "pattern" in rules and not re.fullmatch(rules["pattern"], text):
        yield "pattern"
    if len(text) > rules.get("max", len(text)) or len(text) < rules.get("min", 0):
        yield "length"
