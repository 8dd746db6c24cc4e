"""The form of a deal: what it shows, what somebody typed into it, and what they meant to change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request

from awssome.database.tenant.deals import Deal
from awssome.domain.ace import COUNTRIES
from awssome.domain.deals import FIELD, Field, as_text

GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "Deal",
        (
            "title",
            "stage",
            "target_close_date",
            "closed_lost_reason",
            "deal_amount",
            "deal_currency",
            "next_steps",
        ),
    ),
    (
        "Customer",
        (
            "customer_company",
            "customer_website",
            "customer_industry",
            "customer_other_industry",
            "customer_country",
            "customer_state",
            "customer_city",
            "customer_postal_code",
            "customer_street",
            "customer_aws_account",
            "customer_duns",
            "national_security",
        ),
    ),
    (
        "Project",
        (
            "opportunity_type",
            "use_case",
            "delivery_model",
            "contract_months",
            "expected_aws_spend",
            "aws_spend_currency",
            "business_problem",
            "sales_activities",
        ),
    ),
    ("AWS", ("involvement", "visibility", "solution_id", "additional_comments", "primary_needs")),
)
"""Every field, in the order in which a person thinks of them."""

_TYPES = {
    "long": "textarea",
    "money": "money",
    "date": "date",
    "choice": "select",
    "country": "select",
    "choices": "checks",
    "whole": "number",
}


@dataclass(frozen=True)
class Submitted:
    """A form that came back.

    :ivar typed: the texts in it, by field.
    :ivar shown: the texts that it was opened with; empty for a new deal.
    """

    typed: Mapping[str, str]
    shown: Mapping[str, str] = field(default_factory=dict)

    def altered(self, present: Mapping[str, str]) -> dict[str, str]:
        """The fields that the person meant to change: those that are not as the form showed them.

        What a browser does to line ends is no change, nor is what other people did meanwhile.

        :param present: the texts of the deal now, for a form that does not tell what it showed.
        """
        before = {**present, **self.shown}
        return {name: text for name, text in self.typed.items() if _plain(text) != _plain(before.get(name, ""))}


async def submitted(request: Request) -> Submitted:
    """A dependency: the form as it was sent. A coroutine, because the framework reads bodies in no other way."""
    form = await request.form()
    texts = {name: value for name in (*FIELD, "shown") if isinstance(value := form.get(name), str)}
    for name in _MANY & texts.keys():
        # Each is sent by itself, after an empty one that tells that the form had the field.
        texts[name] = "; ".join(each for each in form.getlist(name) if isinstance(each, str) and each)
    return Submitted({name: text for name, text in texts.items() if name != "shown"}, _read(texts.get("shown", "")))


_MANY = {name for name, field in FIELD.items() if field.kind == "choices"}

Sent = Annotated[Submitted, Depends(submitted)]


def as_typed(deal: Deal) -> dict[str, str]:
    """The deal's fields as the texts that a form holds."""
    return {name: as_text(value) or "" for name, value in deal.values.items()}


def as_shown(texts: Mapping[str, str]) -> str:
    """The hidden field that tells later what the form was opened with."""
    return json.dumps(dict(texts), ensure_ascii=False)


def groups(
    texts: Mapping[str, str], errors: Mapping[str, str], notes: Mapping[str, str]
) -> list[tuple[str, list[dict[str, Any]]]]:
    """The arguments of `ui.field` for each field, in groups with headings.

    :param notes: what to say at single fields, in place of their hints.
    """
    return [
        (
            heading,
            [_field(FIELD[name], texts.get(name, ""), errors.get(name, ""), notes.get(name, "")) for name in names],
        )
        for heading, names in GROUPS
    ]


def _field(field: Field, text: str, error: str, note: str) -> dict[str, Any]:
    given: dict[str, Any] = {
        "name": field.name,
        "label": field.label,
        "value": text,
        "type": _TYPES.get(field.kind, "text"),
        "hint": note or _hint(field),
        "error": error,
        "required": field.name in ("title", "stage"),
    }
    if field.choices:
        blank = [] if field.name == "stage" or field.kind == "choices" else [("", "Not chosen")]
        given["options"] = blank + options(field)
        # What is stored but not offered stays in the form, so that it is not emptied unseen.
        if field.kind != "choices" and text and text not in dict(given["options"]):
            given["options"] += [(text, f"{text} (not known to AWS)")]
    if field.kind == "choices":
        given["value"] = [part.strip() for part in text.split(";")]
    if field.kind == "url":
        given["inputmode"] = "url"
    if field.kind == "whole":
        given["min"], given["max"] = field.rule.least, field.rule.longest
    if field.kind == "long":
        given["rows"] = 6
    return given


def options(field: Field) -> list[tuple[str, str]]:
    """The choices of a field with their words."""
    return [(str(choice), COUNTRIES[choice] if field.kind == "country" else str(choice)) for choice in field.choices]


def _hint(field: Field) -> str:
    asked = "AWS asks for it." if field.needed and field.name not in ("title", "stage") else ""
    return f"{field.hint} {asked}".strip()


def _plain(text: str) -> str:
    return "\n".join(text.strip().splitlines())


def _read(shown: str) -> dict[str, str]:
    try:
        found = json.loads(shown)
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: text for name, text in found.items() if name in FIELD and isinstance(text, str)}
