"""The form of a deal: what it shows, what somebody typed into it, and what they meant to change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request

from awssome.database.tenant.deals import Deal, as_text
from awssome.domain.deals import FIELD, Field

GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Deal", ("title", "stage", "target_close_date", "deal_amount", "deal_currency", "next_steps")),
    (
        "Customer",
        ("customer_company", "customer_website", "customer_industry", "customer_country", "customer_postal_code"),
    ),
    ("What AWS asks", ("opportunity_type", "delivery_model", "expected_aws_spend", "use_case", "business_problem")),
)
"""Every field, in the order in which a person thinks of them."""

_TYPES = {"long": "textarea", "money": "money", "date": "date", "choice": "select"}


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
    return Submitted({name: text for name, text in texts.items() if name != "shown"}, _read(texts.get("shown", "")))


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
    if field.kind == "choice":
        blank = [] if field.name == "stage" else [("", "Not chosen")]
        given["options"] = blank + [(str(choice), str(choice)) for choice in field.choices]
    if field.kind == "url":
        given["inputmode"] = "url"
    if field.kind == "long":
        given["rows"] = 6
    return given


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
