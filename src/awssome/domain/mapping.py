"""From a HubSpot deal to the fields of a deal registration.

HubSpot gives every property as a string or null; times are ISO 8601 in UTC. What cannot be taken is left empty and
reported as an `Issue`, never guessed and never rounded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from awssome.domain.deals import FIELD, Stage, parse_amount, parse_value

PROPERTIES = (
    "dealname",
    "amount",
    "deal_currency_code",
    "closedate",
    "createdate",
    "dealstage",
    "pipeline",
    "dealtype",
    "description",
    "hs_is_closed",
    "hs_lastmodifieddate",
    "hs_object_id",
)
"""The properties of a HubSpot deal that a sync asks for."""

DEFAULT_FIELDS: dict[str, str] = {
    "title": "dealname",
    "deal_amount": "amount",
    "deal_currency": "deal_currency_code",
    "target_close_date": "closedate",
    "opportunity_type": "dealtype",
    "business_problem": "description",
}
"""Registration field -> HubSpot property, unless the tenant's field mapping says otherwise."""

DEFAULT_STAGES: dict[str, Stage] = {
    "appointmentscheduled": Stage.PROSPECT,
    "qualifiedtobuy": Stage.QUALIFIED,
    "presentationscheduled": Stage.TECHNICAL_VALIDATION,
    "decisionmakerboughtin": Stage.BUSINESS_VALIDATION,
    "contractsent": Stage.BUSINESS_VALIDATION,
    "closedwon": Stage.COMMITTED,
    "closedlost": Stage.CLOSED_LOST,
}
"""The stages of HubSpot's default pipeline -> stage; other pipelines are the tenant's to map."""

OPPORTUNITY_TYPE: dict[str, str] = {"newbusiness": "Net New Business", "existingbusiness": "Expansion"}


@dataclass(frozen=True)
class Issue:
    """Something about one deal that the user should know or do."""

    field: str
    reason: str
    advice: str


@dataclass(frozen=True)
class Mapped:
    """What a HubSpot deal becomes."""

    values: dict[str, Any]
    issues: list[Issue] = field(default_factory=list)


def map_deal(properties: Mapping[str, str | None], stages: Mapping[tuple[str, str], Stage]) -> Mapped:
    """The registration fields of one HubSpot deal.

    :param properties: the deal's properties as HubSpot sends them.
    :param stages: the tenant's stage mapping, by (pipeline id, stage id).
    """
    values: dict[str, Any] = {}
    issues: list[Issue] = []
    for name, source in DEFAULT_FIELDS.items():
        text = (properties.get(source) or "").strip()
        values[name] = None
        if not text:
            continue
        try:
            values[name] = _convert(name, text)
        except ValueError as error:
            issues.append(Issue(name, str(error), f"Change it in HubSpot, or set {FIELD[name].label.lower()} here."))
    if not values["title"]:
        values["title"] = f"Deal {properties.get('hs_object_id') or 'without a name'}"
        issues.append(Issue("title", "The deal has no name in HubSpot.", "Give it a name in HubSpot or here."))
    values["stage"] = _stage(properties, stages, issues)
    return Mapped(values, issues)


def modified_at(properties: Mapping[str, str | None]) -> datetime | None:
    """`hs_lastmodifieddate` in UTC, or None when HubSpot sent none that can be read."""
    text = properties.get("hs_lastmodifieddate")
    if not text:
        return None
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
    except ValueError:
        return None


def source_hash(values: Mapping[str, Any]) -> bytes:
    """A digest of mapped values: equal digests mean that HubSpot brought nothing new for the registration."""
    plain = json.dumps({key: None if value is None else str(value) for key, value in values.items()}, sort_keys=True)
    return hashlib.sha256(plain.encode()).digest()


def _convert(name: str, text: str) -> Any:
    if name == "title":
        return _cut(" ".join(text.split()), FIELD["title"].limit)
    if name == "business_problem":
        return _cut(text.replace("\x00", ""), FIELD["business_problem"].limit)
    if name == "opportunity_type":
        return OPPORTUNITY_TYPE.get(text)
    if name == "deal_amount":
        return parse_amount(text)
    return parse_value(FIELD[name], text)


def _cut(text: str, limit: int) -> str:
    """The text, shortened to `limit` UTF-16 units (what nvarchar counts) with an ellipsis."""
    if len(text.encode("utf-16-le")) // 2 <= limit:
        return text
    return text.encode("utf-16-le")[: (limit - 1) * 2].decode("utf-16-le", "ignore") + "…"


def _stage(properties: Mapping[str, str | None], stages: Mapping[tuple[str, str], Stage], issues: list[Issue]) -> Stage:
    pipeline, stage = properties.get("pipeline") or "default", properties.get("dealstage") or ""
    known = stages.get((pipeline, stage)) or DEFAULT_STAGES.get(stage)
    if known:
        return known
    if stage:
        reason = f"Stage “{stage}” of pipeline “{pipeline}” has no AWS stage yet; it came in as Prospect."
        issues.append(Issue("stage", reason, "Set the stage of this deal."))
    return Stage.PROSPECT
