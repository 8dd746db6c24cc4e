"""From a HubSpot deal to the fields of a deal registration, by the tenant's mapping.

HubSpot gives every property as a string or null; times are ISO 8601 in UTC. What cannot be taken is left empty, or cut
where it is text that only grows too long, and reported as an `Issue` with HubSpot's value: nothing is guessed, nothing
is rounded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any

from awssome.domain.choices import (
    ACTIVITIES,
    DEFAULT_FIELDS,
    FROM_STAGE,
    OTHERWISE,
    FieldMapping,
    StageMapping,
    days_from_today,
    default_stages,
    hangs_on_deal,
)
from awssome.domain.deals import FIELD, FIELDS, Field, Stage, as_text, parse_value, same_choice
from awssome.domain.definitions import PIPELINE, Account
from awssome.domain.texts import fitting, storable, units

PROPERTIES = (
    "dealname",
    "createdate",
    "dealstage",
    "pipeline",
    "hs_is_closed",
    "hs_is_closed_won",
    "hs_lastmodifieddate",
    "hs_object_id",
)
"""The properties of a HubSpot deal that are needed whatever the mapping says."""

LONGEST_VALUE = 255
"""Of HubSpot's value, as an issue quotes it."""


class MappingCode(StrEnum):
    """Why a value of HubSpot's was not taken over as it is."""

    CUT = "cut"
    """Too long, and cut."""

    NAMELESS = "nameless"
    """The deal has no name."""

    UNKNOWN_STAGE = "unknown_stage"
    """The stage is mapped to none of AWS'."""

    UNKNOWN_VALUE = "unknown_value"
    """No value map tells what it becomes."""

    UNREADABLE = "unreadable"
    """It has not the form that the field wants."""


@dataclass(frozen=True)
class Issue:
    """Something about one deal that the user should know or do.

    :ivar value: HubSpot's, as far as it goes.
    """

    field: str
    reason: str
    advice: str
    code: MappingCode
    value: str = ""


@dataclass(frozen=True)
class Mapped:
    """What a HubSpot deal becomes.

    :ivar values: every field of the registration.
    :ivar defaulted: the fields that hold a default, because HubSpot has no value.
    :ivar skipped: why the deal is to be left out; "" if it is not.
    :ivar digest: equal for the same deal by the same mapping: HubSpot brought nothing new. A date that is counted from
        today does not change it before it is past.
    """

    values: dict[str, Any]
    issues: list[Issue]
    defaulted: frozenset[str]
    skipped: str
    digest: bytes


@dataclass(frozen=True)
class Mapping:
    """A tenant's mapping, the defaults included.

    :ivar fields: by registration field.
    :ivar stages: by (pipeline id, stage id).
    :ivar today: for close dates that are past.
    """

    fields: AnyMapping[str, FieldMapping]
    stages: AnyMapping[tuple[str, str], StageMapping]
    account: Account = field(default_factory=Account)
    today: date = field(default_factory=lambda: datetime.now(UTC).date())

    @classmethod
    def of(
        cls,
        fields: AnyMapping[str, FieldMapping],
        stages: AnyMapping[tuple[str, str], StageMapping],
        account: Account,
        today: date,
    ) -> Mapping:
        """The mapping of a tenant that has chosen these fields and stages; all else is as it is by default."""
        return cls(
            {**DEFAULT_FIELDS, **fields},
            {**default_stages(account.pipelines), **stages},
            account,
            today,
        )

    @cached_property
    def properties(self) -> tuple[str, ...]:
        """The HubSpot properties that have to be read."""
        mapped = (self.fields[name].property for name in FIELD if name in self.fields)
        return tuple(dict.fromkeys((*PROPERTIES, *(each for each in mapped if each))))

    @cached_property
    def digest(self) -> bytes:
        """Equal for mappings that make the same of every deal, whatever day it is."""
        fields = {
            name: [each.property, each.default, dict(each.values)]
            for name, each in self.fields.items()
            if each != FieldMapping()
        }
        stages = [[*key, each.stage] for key, each in sorted(self.stages.items())]
        return _digest([fields, stages, self.account.currency, self.account.time_zone])

    @cached_property
    def _fed(self) -> list[tuple[Field, str, dict[str, str]]]:
        """The fields that a property feeds, the property, and the value map."""
        return [
            (
                one,
                mapping.property,
                {key if key == OTHERWISE else same_choice(key): value for key, value in mapping.values.items()},
            )
            for one in FIELDS
            if one.name != "stage" and (mapping := self.fields.get(one.name)) and mapping.property
        ]

    @cached_property
    def _defaults(self) -> dict[str, Any]:
        """Every field with its default, but for those that hang on the deal."""
        found: dict[str, Any] = {one.name: None for one in FIELDS}
        for name, mapping in self.fields.items():
            if name in FIELD and mapping.default and not hangs_on_deal(name, mapping.default):
                try:
                    found[name] = parse_value(FIELD[name], mapping.default)
                except ValueError:  # stored before its choices changed
                    continue
        return found

    @cached_property
    def _names(self) -> dict[tuple[str, str], str]:
        """How people call the stages."""
        return {
            (pipeline.id, stage.id): f"“{stage.label}” of pipeline “{pipeline.label}”"
            for pipeline in self.account.pipelines
            for stage in pipeline.stages
        }

    @cached_property
    def _days(self) -> int | None:
        """How many days from today a close date is that is past or missing."""
        default = self.fields.get("target_close_date", FieldMapping()).default
        return days_from_today(default) if default else None


def map_deal(properties: AnyMapping[str, str | None], mapping: Mapping) -> Mapped:
    """What one HubSpot deal becomes. It raises nothing, whatever HubSpot sends.

    :param properties: the deal's properties as HubSpot sends them, at least `mapping.properties`.
    """
    deal = _Deal(properties, mapping)
    deal.take_stage()
    for one, source, values in mapping._fed:
        deal.take(one, source, values)
    return deal.mapped()


def modified_at(properties: AnyMapping[str, str | None]) -> datetime | None:
    """`hs_lastmodifieddate` in UTC, or None when HubSpot sent none that can be read."""
    try:
        return _instant(properties.get("hs_lastmodifieddate") or "")
    except ValueError:
        return None


class _Deal:
    """A deal that is being mapped."""

    def __init__(self, properties: AnyMapping[str, str | None], mapping: Mapping) -> None:
        self._properties = properties
        self._mapping = mapping
        self._values = dict(mapping._defaults)
        self._defaulted = {name for name, value in self._values.items() if value is not None}
        self._issues: list[Issue] = []
        self._skipped = ""
        self._step: int | None = None

    def take_stage(self) -> None:
        """The stage, which comes from the stage mapping."""
        key = (self._text("pipeline") or PIPELINE, self._text("dealstage"))
        found = self._mapping.stages.get(key)
        name = self._mapping._names.get(key, f"“{key[1]}” of pipeline “{key[0]}”")
        if found is not None and found.stage is None:
            self._skipped = f"Your stage mapping leaves out deals in stage {name}."
        stage = found.stage if found else None
        if stage is None:
            stage = self._unmapped_stage()
            if not self._skipped and key[1]:
                reason = f"Stage {name} has no AWS stage yet; the deal came in as {stage}."
                advice = "Choose one under HubSpot, Mapping, Stages."
                self._report("stage", reason, advice, MappingCode.UNKNOWN_STAGE, key[1])
        self._values["stage"] = stage
        self._defaulted.discard("stage")

    def take(self, one: Field, source: str, values: AnyMapping[str, str]) -> None:
        """One field from the property that feeds it."""
        text = self._text(source)
        if not text or (one.name == "closed_lost_reason" and not self._lost):
            return
        try:
            value = self._chosen(one, text, values) if one.choices else self._read(one, text)
        except ValueError as error:
            self._values[one.name] = None
            self._defaulted.discard(one.name)
            advice = f"Change it in HubSpot, or set {one.label.lower()} here."
            self._report(one.name, str(error), advice, MappingCode.UNREADABLE, text)
            return
        self._values[one.name] = value
        self._defaulted.discard(one.name)

    def mapped(self) -> Mapped:
        """The whole of it, with what hangs on other fields."""
        if not self._values["title"]:
            self._values["title"] = fitting(
                f"Deal {self._text('hs_object_id') or 'without a name'}", FIELD["title"].limit
            )
            reason, advice = "The deal has no name in HubSpot.", "Give it a name in HubSpot or here."
            self._report("title", reason, advice, MappingCode.NAMELESS, "")
        if self._values["deal_amount"] is not None and self._values["deal_currency"] is None:
            self._take_currency()
        if not self._lost:  # nor by default
            self._values["closed_lost_reason"] = None
            self._defaulted.discard("closed_lost_reason")
        self._take_activities()
        self._put_off()
        stable = {name: as_text(value) for name, value in self._values.items() if value is not None}
        if self._step is not None:
            stable["target_close_date"] = f"in {self._mapping._days} days, {self._step}"
        return Mapped(
            self._values, self._issues, frozenset(self._defaulted), self._skipped, _digest([stable, self._skipped])
        )

    @property
    def _lost(self) -> bool:
        return self._values["stage"] is Stage.CLOSED_LOST

    def _text(self, name: str) -> str:
        value = self._properties.get(name)
        return storable(str(value)).strip() if value is not None else ""

    def _unmapped_stage(self) -> Stage:
        """The stage of a deal whose own has none: HubSpot's word on whether it is closed counts."""
        if self._text("hs_is_closed") != "true":
            return Stage.PROSPECT
        return Stage.COMMITTED if self._text("hs_is_closed_won") == "true" else Stage.CLOSED_LOST

    def _read(self, one: Field, text: str) -> Any:
        if one.kind == "date":
            return self._day(one, text)
        if one.kind in ("text", "long") and one.rule.pattern is None:
            if one.kind == "text":
                text = " ".join(text.split())
            if units(text) > one.limit and one.name in _MAY_BE_CUT:
                reason = f"{one.label} has {len(text):,} characters in HubSpot; it was cut to {one.limit:,}."
                self._report(one.name, reason, "Shorten it in HubSpot or here.", MappingCode.CUT, text)
                return fitting(text, one.limit)
        return parse_value(one, text)

    def _day(self, one: Field, text: str) -> date:
        """The day that HubSpot shows for an instant: the one in the account's time zone."""
        if "T" in text:
            try:
                text = _instant(text).astimezone(self._mapping.account.zone).date().isoformat()
            except (ValueError, OverflowError):
                raise ValueError(f"“{text[:40]}” is not a date.") from None
        return parse_value(one, text)  # type: ignore[no-any-return]

    def _chosen(self, one: Field, text: str, values: AnyMapping[str, str]) -> Any:
        """The choice, or choices, that HubSpot's value becomes."""
        many = one.kind == "choices"
        found: list[str] = []
        for part in filter(None, (each.strip() for each in text.split(";"))) if many else (text,):
            becomes = values.get(same_choice(part), values.get(OTHERWISE))
            try:
                own = None if same_choice(part) in values else parse_value(one, part)
            except ValueError:
                own = None
            if own is not None:
                found += own if many else [own]
            elif becomes is None:
                reason = f"HubSpot's “{part[:80]}” is mapped to no value of {one.label}; the field was left empty."
                if many:
                    reason = f"HubSpot's “{part[:80]}” is mapped to no value of {one.label}; it was left out."
                advice = f"Map it under HubSpot, Mapping, or set {one.label.lower()} here."
                self._report(one.name, reason, advice, MappingCode.UNKNOWN_VALUE, part)
            elif becomes:
                taken = parse_value(one, becomes)
                found += taken if many else [taken]
        if many:
            return [choice for choice in one.choices if choice in found] or None
        return found[0] if found else None

    def _take_currency(self) -> None:
        currency = self._mapping.account.currency
        if currency and not any(issue.field == "deal_currency" for issue in self._issues):
            try:
                self._values["deal_currency"] = parse_value(FIELD["deal_currency"], currency)
            except ValueError:
                return

    def _take_activities(self) -> None:
        mapping = self._mapping.fields.get("sales_activities", FieldMapping())
        untold = not (mapping.property and self._text(mapping.property))
        if mapping.default == FROM_STAGE and untold and self._values["stage"] in ACTIVITIES:
            self._values["sales_activities"] = list(ACTIVITIES[self._values["stage"]])
            self._defaulted.add("sales_activities")

    def _put_off(self) -> None:
        """A close date of an open deal that is past or missing becomes one to come, where the tenant wants that."""
        days, today, close = self._mapping._days, self._mapping.today, self._values["target_close_date"]
        unread = any(issue.field == "target_close_date" for issue in self._issues)
        open_deal = self._values["stage"] not in (Stage.LAUNCHED, Stage.CLOSED_LOST)
        if days is None or unread or not open_deal or (close is not None and close >= today):
            return
        self._step = (today - (close or date(1970, 1, 1))).days // max(days, 1)
        self._values["target_close_date"] = today + timedelta(days=days)
        self._defaulted.add("target_close_date")

    def _report(self, name: str, reason: str, advice: str, code: MappingCode, value: str) -> None:
        self._issues.append(Issue(name, reason, advice, code, fitting(value, LONGEST_VALUE)))


_MAY_BE_CUT = frozenset({"title", "business_problem", "next_steps", "additional_comments"})
"""Texts for people, in which an end that is missing does no harm."""


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _digest(what: Any) -> bytes:
    return hashlib.sha256(_CANONICAL.encode(what).encode()).digest()


_CANONICAL = json.JSONEncoder(sort_keys=True)
