"""The forms of the mapping: what they show, and what somebody chose in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.datastructures import FormData

from awssome.domain.choices import FROM_STAGE, OTHERWISE, FieldMapping, StageMapping, days_from_today, default_stages
from awssome.domain.deals import FIELD, Field, Stage, same_choice
from awssome.domain.definitions import Pipeline, PipelineStage, Property
from awssome.domain.readiness import readiness
from awssome.portal.deal_form import GROUPS, options

EMPTY = "(leave empty)"
"""What people choose for a value of HubSpot's that shall leave the field empty."""

ANY_OTHER = "(any other value)"
"""What stands for `OTHERWISE` in the form."""

SKIP = "skip"

_FITTING = {"money": ("number",), "whole": ("number",), "date": ("date", "datetime")}
_VALUES_SHOWN = 200
_ASKED_FOR = {need.field for need in readiness({}, date.max)}
_OF_A_FIELD = ("property.", "default.", "from.", "to.")
_LONGEST_VERSION = 64


@dataclass(frozen=True)
class SentFields:
    """The form of the fields as it came back.

    :ivar fields: what was chosen; empty where the person may not choose.
    :ivar version: of the mapping that the form was made from.
    :ivar deal_id: the deal to try it on.
    :ivar inputs: (name, text) of what was chosen, to be sent once more.
    """

    fields: Mapping[str, FieldMapping]
    version: str
    deal_id: str
    inputs: Sequence[tuple[str, str]]


async def sent_fields(request: Request) -> SentFields:
    """A dependency: the form as it was sent. A coroutine, because the framework reads bodies in no other way."""
    form = await request.form()
    fields = {name: _sent_field(form, FIELD[name]) for name in names() if f"property.{name}" in form}
    address = _text(form, "deal").strip() or _text(form, "picked")
    deal_id = address.partition("?")[0].rstrip("/").rpartition("/")[2]
    inputs = [
        (name, text) for name, text in form.multi_items() if isinstance(text, str) and name.startswith(_OF_A_FIELD)
    ]
    return SentFields(fields, _text(form, "version")[:_LONGEST_VERSION], deal_id, inputs)


Fields = Annotated[SentFields, Depends(sent_fields)]


@dataclass(frozen=True)
class SentStages:
    """The form of the stages as it came back. :ivar stages: what each becomes: a stage, `SKIP`, or "" by default."""

    stages: Mapping[tuple[str, str], str]
    version: str


async def sent_stages(request: Request) -> SentStages:
    """A dependency: as `sent_fields`."""
    form = await request.form()
    keys = zip(form.getlist("pipeline"), form.getlist("stage"), form.getlist("becomes"), strict=False)
    stages = {(str(pipeline), str(stage)): str(to) for pipeline, stage, to in keys}
    return SentStages(stages, _text(form, "version")[:_LONGEST_VERSION])


Stages = Annotated[SentStages, Depends(sent_stages)]


def names() -> list[str]:
    """The fields that can be mapped, in the order of the form."""
    return [name for _, group in GROUPS for name in group if name != "stage"]


def groups(
    fields: Mapping[str, FieldMapping], properties: Iterable[Property], errors: Mapping[str, str]
) -> list[tuple[str, list[dict[str, Any]]]]:
    """What the template shows of each field, in groups with headings."""
    known = {each.name: each for each in properties}
    return [
        (heading, [_shown(FIELD[name], fields.get(name, FieldMapping()), known, errors) for name in group])
        for heading, group in ((head, [name for name in group if name != "stage"]) for head, group in GROUPS)
    ]


def unknown_properties(
    fields: Mapping[str, FieldMapping], before: Mapping[str, FieldMapping], properties: Iterable[Property]
) -> dict[str, str]:
    """Fields that were given a property that HubSpot does not have -> what to do about it."""
    known = {each.name for each in properties}
    return {
        name: f"Your HubSpot account has no property “{mapping.property[:60]}”. Take one of the list."
        for name, mapping in fields.items()
        if mapping.property
        and mapping.property not in known
        and mapping.property != before.get(name, FieldMapping()).property
    }


def pipelines(
    found: Iterable[Pipeline], chosen: Mapping[tuple[str, str], StageMapping]
) -> list[tuple[Pipeline, list[dict[str, Any]]]]:
    """What the template shows of each stage, by pipeline."""
    found = tuple(found)
    suggested = default_stages(found)
    return [(one, [_shown_stage(one, stage, suggested, chosen) for stage in one.stages]) for one in found]


def _sent_field(form: FormData, field: Field) -> FieldMapping:
    name = field.name
    default: str | None = _text(form, f"default.{name}").strip() or None
    if default and field.kind == "date":
        default = f"+{default.removeprefix('+')}"
    values: dict[str, str] = {}
    for source, to in zip(form.getlist(f"from.{name}"), form.getlist(f"to.{name}"), strict=False):
        source, to = str(source).strip(), str(to).strip()
        if source and to:
            key = OTHERWISE if source == ANY_OTHER else source
            values[key] = "" if to == EMPTY else _as_choice(field, to)
    return FieldMapping(_text(form, f"property.{name}").strip() or None, default, values)


def _as_choice(field: Field, text: str) -> str:
    """The choice that is meant, by its value or its words; the text itself if there is none, to be refused."""
    meant = {same_choice(spelled): value for value, words in options(field) for spelled in (value, words)}
    return meant.get(same_choice(text), text)


def _shown(
    field: Field, mapping: FieldMapping, known: Mapping[str, Property], errors: Mapping[str, str]
) -> dict[str, Any]:
    source, needed = known.get(mapping.property or ""), field.name in _ASKED_FOR
    return {
        "name": field.name,
        "label": field.label,
        "needed": needed,
        "plain": not (needed or mapping != FieldMapping() or field.name in errors),
        "hint": "" if mapping.property or mapping.default or not needed else "Typed in by hand, deal by deal.",
        "property": mapping.property or "",
        "property_hint": _property_hint(source),
        "warning": _warning(field, mapping, source, bool(known)),
        "error": errors.get(field.name, ""),
        "default": _default(field, mapping) | ({"hint": "Optional."} if source else {}),
        "values": _values(field, mapping, source) if field.choices and mapping.property else [],
        "choices": [words for _, words in options(field)] if field.choices else [],
    }


def _property_hint(source: Property | None) -> str:
    return f"{source.label}, {source.type}" if source else ""


def _warning(field: Field, mapping: FieldMapping, source: Property | None, anything_known: bool) -> str:
    if mapping.property and source is None and anything_known:
        return f"HubSpot has no property “{mapping.property}” any more."
    wanted = _FITTING.get(field.kind)
    if source is not None and wanted and source.type not in wanted:
        return f"This is {_a(source.type)}. What cannot be read as {_a(wanted[0])} is reported and left empty."
    return ""


def _a(kind: str) -> str:
    return f"an {kind}" if kind[:1] in "aeiou" else f"a {kind}"


def _default(field: Field, mapping: FieldMapping) -> dict[str, Any]:
    """The arguments of `ui.field` for the default."""
    given: dict[str, Any] = {"label": "Where HubSpot has nothing", "value": mapping.default or "", "type": "text"}
    if field.kind == "date":
        days = days_from_today(mapping.default or "")
        given |= {"label": "Where it is missing or past: days from today", "type": "number", "min": 0, "max": 999}
        given["value"] = "" if days is None else str(days)
    elif field.choices:
        given["type"] = "select"
        given["options"] = [("", "Nothing")]
        if field.name == "sales_activities":
            given["options"] += [(FROM_STAGE, "What the stage says")]
        given["options"] += options(field)
        if mapping.default and mapping.default not in dict(given["options"]):
            given["options"] += [(mapping.default, mapping.default)]
    elif field.kind == "long":
        given |= {"type": "textarea", "rows": 2}
    return given


def _values(field: Field, mapping: FieldMapping, source: Property | None) -> list[dict[str, str]]:
    """The lines of the value map: HubSpot's options, what was mapped besides, an empty line, and any other value."""
    words = dict(options(field))
    labels = dict(source.options[:_VALUES_SHOWN]) if source else {}
    listed = [*labels, *(value for value in mapping.values if value not in labels and value != OTHERWISE)]
    lines = [
        {"value": value, "label": labels.get(value, ""), "fixed": "yes" if value in labels else "", "to": ""}
        for value in listed
    ]
    if not labels:
        lines.append({"value": "", "label": "", "fixed": "", "to": ""})
    lines.append({"value": OTHERWISE, "label": "", "fixed": "yes", "to": ""})
    for line in lines:
        to = mapping.values.get(line["value"])
        line["to"] = "" if to is None else words.get(to, to) if to else EMPTY
        if line["value"] == OTHERWISE:
            line["value"] = ANY_OTHER
    return lines


def _shown_stage(
    pipeline: Pipeline,
    stage: PipelineStage,
    suggested: Mapping[tuple[str, str], StageMapping],
    chosen: Mapping[tuple[str, str], StageMapping],
) -> dict[str, Any]:
    key = (pipeline.id, stage.id)
    own, suggestion = chosen.get(key), suggested.get(key)
    by_default = f"{suggestion.stage} (suggested)" if suggestion else "Prospect (not mapped, reported)"
    about = "closed" if stage.closed else "open"
    if stage.probability is not None:
        about += f", {stage.probability * 100:.0f} % likely to be won"
    return {
        "key": key,
        "label": stage.label,
        "about": about,
        "value": "" if own is None else own.stage or SKIP,
        "options": [("", by_default), *((each, str(each)) for each in Stage), (SKIP, "Leave these deals out")],
        "unmapped": own is None and suggestion is None,
    }


def _text(form: FormData, name: str) -> str:
    value = form.get(name)
    return value if isinstance(value, str) else ""


def as_choices(stages: Mapping[tuple[str, str], str]) -> dict[tuple[str, str], StageMapping]:
    """What was chosen in the form of the stages, as it is shown again; what is no stage counts as not chosen."""
    known = {str(stage): StageMapping(stage) for stage in Stage} | {SKIP: StageMapping(None)}
    return {key: known[to] for key, to in stages.items() if to in known}
