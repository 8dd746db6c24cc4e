"""What a tenant chooses of its mapping: where fields come from, what stages become; and what holds by default."""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass, field
from decimal import Decimal

from awssome.domain.deals import FIELD, Stage, parse_value
from awssome.domain.definitions import PIPELINE, Pipeline, PipelineStage
from awssome.domain.errors import Code, Refused
from awssome.domain.texts import storable

LONGEST_SOURCE = 255
"""Of a value of HubSpot's in a value map."""

FROM_STAGE = "by stage"
"""Default of the sales activities: what the stage says has been done."""

OTHERWISE = "*"
"""Key of a value map: what any other value becomes."""


@dataclass(frozen=True)
class FieldMapping:
    """Where a registration field comes from.

    :ivar property: the HubSpot property that feeds it; None: nothing does.
    :ivar default: its value, as text, where HubSpot has none. Of the close date `+30`: days from today, also where
        HubSpot's is past and the deal is open. Of the sales activities also `FROM_STAGE`.
    :ivar values: for enumerations: HubSpot's value -> ours, "" for leaving it empty.
    """

    property: str | None = None
    default: str | None = None
    values: AnyMapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StageMapping:
    """What a stage of a HubSpot pipeline becomes.

    :ivar stage: None: deals in it are left out.
    """

    stage: Stage | None


DEFAULT_FIELDS: dict[str, FieldMapping] = {
    "title": FieldMapping("dealname"),
    "target_close_date": FieldMapping("closedate"),
    "deal_amount": FieldMapping("amount"),
    "deal_currency": FieldMapping("deal_currency_code"),
    "opportunity_type": FieldMapping(
        "dealtype", values={"newbusiness": "Net New Business", "existingbusiness": "Expansion"}
    ),
    "business_problem": FieldMapping("description"),
    "closed_lost_reason": FieldMapping("closed_lost_reason", values={OTHERWISE: "Other"}),
    "national_security": FieldMapping(default="No"),
    "delivery_model": FieldMapping(default="SaaS or PaaS"),
    "sales_activities": FieldMapping(default=FROM_STAGE),
    "aws_spend_currency": FieldMapping(default="USD"),
    "involvement": FieldMapping(default="Co-Sell"),
    "visibility": FieldMapping(default="Full"),
    "primary_needs": FieldMapping(default="Co-Sell - Deal Support"),
}
"""Where fields come from unless the tenant says otherwise; those that are not named come from nowhere."""

DEFAULT_STAGES: dict[str, Stage] = {
    "appointmentscheduled": Stage.PROSPECT,
    "qualifiedtobuy": Stage.QUALIFIED,
    "presentationscheduled": Stage.TECHNICAL_VALIDATION,
    "decisionmakerboughtin": Stage.BUSINESS_VALIDATION,
    "contractsent": Stage.BUSINESS_VALIDATION,
    "closedwon": Stage.COMMITTED,
    "closedlost": Stage.CLOSED_LOST,
}
"""The stages of HubSpot's pipeline `default` -> stage."""

ACTIVITIES: dict[Stage, list[str]] = {
    Stage.PROSPECT: ["Initialized discussions with customer"],
    Stage.QUALIFIED: ["Customer has shown interest in solution"],
    Stage.TECHNICAL_VALIDATION: ["In evaluation / planning stage"],
    Stage.BUSINESS_VALIDATION: ["Agreed on solution to Business Problem"],
    Stage.COMMITTED: ["SOW Signed"],
    Stage.LAUNCHED: ["SOW Signed"],
}
"""What AWS' description of a stage says has been done with the customer."""


def default_stages(pipelines: Iterable[Pipeline]) -> dict[tuple[str, str], StageMapping]:
    """What stages become unless the tenant says otherwise.

    By their ids in the pipeline `default`, in all others by what HubSpot says of them: closed or not, and the chance to
    win. Stages of which it says nothing are not named.
    """
    found = {(PIPELINE, stage): StageMapping(to) for stage, to in DEFAULT_STAGES.items()}
    for pipeline in pipelines:
        for stage in pipeline.stages:
            likely = _likely(stage)
            if likely and (pipeline.id, stage.id) not in found:
                found[pipeline.id, stage.id] = StageMapping(likely)
    return found


def days_from_today(default: str) -> int | None:
    """The days of a close date's default like `+30`; None if it is none."""
    return int(default) if re.fullmatch(r"\+[0-9]{1,3}", default) else None


def checked(name: str, mapping: FieldMapping) -> FieldMapping:
    """The mapping of one field as it is to be kept.

    :raises Refused: INVALID when no such field, property, default or value is possible.
    """
    problem = _problem(name, mapping)
    if problem:
        raise Refused(Code.INVALID, f"The mapping was not saved. {problem}", fields={name: problem})
    return mapping


def hangs_on_deal(name: str, default: str) -> bool:
    """Whether a default is another one for each deal, so that it is no value of the field."""
    return name == "target_close_date" or (name == "sales_activities" and default == FROM_STAGE)


_STEPS = (
    (Decimal("0.2"), Stage.PROSPECT),
    (Decimal("0.4"), Stage.QUALIFIED),
    (Decimal("0.6"), Stage.TECHNICAL_VALIDATION),
)


def _likely(stage: PipelineStage) -> Stage | None:
    """By the chance to win, after the example of HubSpot's own pipeline: 0.2, 0.4, 0.6 and above."""
    if stage.probability is None:
        return None
    if stage.closed:
        return Stage.COMMITTED if stage.probability == 1 else Stage.CLOSED_LOST
    return next((to for most, to in _STEPS if stage.probability <= most), Stage.BUSINESS_VALIDATION)


def _problem(name: str, mapping: FieldMapping) -> str | None:
    if name not in FIELD or name == "stage":
        return "There is no such field."
    one = FIELD[name]
    if mapping.property is not None and not (mapping.property and len(mapping.property) <= 100):
        return f"{one.label} comes from a property that cannot be."
    if mapping.default is not None:
        if name == "target_close_date" and days_from_today(mapping.default) is None:
            return "The days from today are a number from 0 to 999."
        if not hangs_on_deal(name, mapping.default):
            try:
                parse_value(one, mapping.default)
            except ValueError as error:
                return str(error)
    for source, becomes in mapping.values.items():
        if storable(source) != source or len(source) > LONGEST_SOURCE or not source:
            return f"{one.label} cannot be mapped from a value like that."
        if becomes and becomes not in one.choices:
            return f"“{becomes[:40]}” is none of the values of {one.label}."
    return None
