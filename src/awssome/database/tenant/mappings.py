"""How HubSpot's deals become registrations: the tenant's field and stage mapping, and what the HubSpot account defines.

Only what the tenant has chosen is stored; all else is as it is by default (`domain.mapping`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping as AnyMapping
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import Connection

from awssome.database.schema import field_mappings, hubspot_accounts, stage_mappings
from awssome.domain.choices import DEFAULT_FIELDS, FieldMapping, StageMapping
from awssome.domain.deals import FIELD, Stage
from awssome.domain.definitions import Account, Pipeline, PipelineStage, Property
from awssome.domain.errors import Code, Refused
from awssome.domain.mapping import Mapping
from awssome.domain.times import now

SKIP = "skip"

_a, _f, _s = hubspot_accounts.c, field_mappings.c, stage_mappings.c


@dataclass(frozen=True)
class Chosen:
    """What the tenant has chosen, the defaults left out.

    :ivar version: changes with every change; who saves names the one that they saw.
    """

    fields: AnyMapping[str, FieldMapping]
    stages: AnyMapping[tuple[str, str], StageMapping]
    version: str


@dataclass(frozen=True)
class Definitions:
    """What the HubSpot account defines. :ivar defined_at: when HubSpot was asked for it last; None: never."""

    account: Account
    properties: tuple[Property, ...]
    defined_at: datetime | None


def load(connection: Connection, portal_id: int, today: date | None = None) -> Mapping:
    """The mapping by which deals of the HubSpot account become registrations.

    :param today: for close dates that are past; now, if not given.
    """
    found, choice = definitions(connection, portal_id), chosen(connection)
    account = found.account if found else Account()
    return Mapping.of(choice.fields, choice.stages, account, today or now().astimezone(account.zone).date())


def chosen(connection: Connection) -> Chosen:
    """What the tenant has chosen. What is stored and cannot be meant any more counts as not chosen."""
    fields = {
        row.field: FieldMapping(row.property, row.default_value, row.value_map or {})
        for row in connection.execute(select(_f.field, _f.property, _f.default_value, _f.value_map))
        if row.field in FIELD and row.field != "stage"
    }
    rows = connection.execute(select(_s.pipeline, _s.hubspot_stage, _s.stage, _s.action))
    stages = {
        (row.pipeline, row.hubspot_stage): StageMapping(None if row.action == SKIP else Stage(row.stage))
        for row in rows
        if row.action == SKIP or row.stage in list(Stage)
    }
    return Chosen(fields, stages, _version(fields, stages))


def definitions(connection: Connection, portal_id: int) -> Definitions | None:
    """What the HubSpot account defines, as it was when it was asked last; None when nothing is known of it."""
    query = select(_a.currency, _a.time_zone, _a.pipelines, _a.properties, _a.defined_at)
    row = connection.execute(query.where(_a.portal_id == portal_id)).first()
    if row is None:
        return None
    account = Account(row.currency, row.time_zone, tuple(_pipeline(each) for each in row.pipelines or ()))
    return Definitions(account, tuple(_property(each) for each in row.properties or ()), row.defined_at)


def define(
    connection: Connection,
    portal_id: int,
    pipelines: Sequence[Pipeline],
    properties: Sequence[Property],
    *,
    at: datetime,
) -> None:
    """Keep what the HubSpot account defines, beside what `hubspot.keep_account` keeps of it.

    :param at: when HubSpot was asked.
    """
    connection.execute(
        update(hubspot_accounts)
        .where(_a.portal_id == portal_id)
        .values(
            pipelines=[_as_json(each) for each in pipelines],
            properties=[[each.name, each.label, each.type, each.options] for each in properties],
            defined_at=at,
            updated_at=at,
        )
    )


def save_fields(
    connection: Connection, portal_id: int, version: str, fields: AnyMapping[str, FieldMapping], actor: str
) -> list[str]:
    """Take over the mapping of these fields, checked by `domain.mapping.checked`; the others stay as they are.

    :param version: what the person saw.
    :returns: the fields that are mapped otherwise than before.
    :raises Refused: CONFLICT when somebody else has changed the mapping since.
    """
    before = _held(connection, portal_id, version)
    changed = {name: mapping for name, mapping in fields.items() if mapping != before.fields.get(name, _default(name))}
    connection.execute(delete(field_mappings).where(_f.field.in_(list(changed))))
    at = now()
    rows = [
        {
            "field": name,
            "property": mapping.property,
            "default_value": mapping.default,
            "value_map": dict(mapping.values) or None,
            "updated_at": at,
            "updated_by": actor,
        }
        for name, mapping in changed.items()
        if mapping != _default(name)
    ]
    if rows:
        connection.execute(insert(field_mappings), rows)
    return sorted(changed)


def save_stages(
    connection: Connection,
    portal_id: int,
    version: str,
    stages: AnyMapping[tuple[str, str], StageMapping | None],
    actor: str,
) -> list[str]:
    """Take over what stages become; None: as by default. Stages that are not named stay as they are.

    :param version: what the person saw.
    :returns: "pipeline/stage" of each that is mapped otherwise than before.
    :raises Refused: CONFLICT when somebody else has changed the mapping since.
    """
    before = _held(connection, portal_id, version)
    changed = {key: mapping for key, mapping in stages.items() if mapping != before.stages.get(key)}
    for pipeline, stage in changed:
        connection.execute(delete(stage_mappings).where(_s.pipeline == pipeline, _s.hubspot_stage == stage))
    at = now()
    rows = [
        {
            "pipeline": pipeline,
            "hubspot_stage": stage,
            "stage": mapping.stage or Stage.PROSPECT,
            "action": None if mapping.stage else SKIP,
            "updated_at": at,
            "updated_by": actor,
        }
        for (pipeline, stage), mapping in changed.items()
        if mapping is not None
    ]
    if rows:
        connection.execute(insert(stage_mappings), rows)
    return sorted("/".join(key) for key in changed)


def _held(connection: Connection, portal_id: int, version: str) -> Chosen:
    """What is chosen now, held until the transaction ends.

    :raises Refused: CONFLICT when it is not what the person saw, or nothing is known of the HubSpot account.
    """
    known = (_a.portal_id == portal_id, _a.defined_at.is_not(None))
    hold = update(hubspot_accounts).where(*known).values(updated_at=now())
    if not connection.execute(hold).rowcount:
        raise Refused(
            Code.CONFLICT,
            "Nothing is known yet of your HubSpot account. The mapping was not saved.",
            "Press Refresh from HubSpot, then save again.",
        )
    found = chosen(connection)
    if found.version != version:
        raise Refused(
            Code.CONFLICT,
            "Somebody else has changed the mapping since you opened it. Your changes are not saved yet.",
            "What you chose is kept below. Look at it, then save again.",
        )
    return found


def _default(name: str) -> FieldMapping:
    return DEFAULT_FIELDS.get(name, FieldMapping())


def _version(fields: AnyMapping[str, FieldMapping], stages: AnyMapping[tuple[str, str], StageMapping]) -> str:
    plain = [
        {name: [each.property, each.default, dict(each.values)] for name, each in fields.items()},
        [[*key, each.stage] for key, each in sorted(stages.items())],
    ]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:32]


def _as_json(pipeline: Pipeline) -> dict[str, Any]:
    return {
        "id": pipeline.id,
        "label": pipeline.label,
        "stages": [
            {
                "id": stage.id,
                "label": stage.label,
                "closed": stage.closed,
                "probability": None if stage.probability is None else str(stage.probability),
            }
            for stage in pipeline.stages
        ],
    }


def _pipeline(stored: Any) -> Pipeline:
    stages = [
        PipelineStage(each["id"], each["label"], each["closed"], _probability(each["probability"]))
        for each in stored["stages"]
    ]
    return Pipeline(stored["id"], stored["label"], tuple(stages))


def _probability(text: str | None) -> Decimal | None:
    try:
        return None if text is None else Decimal(text)
    except InvalidOperation:
        return None


def _property(stored: Any) -> Property:
    name, label, kind, options = stored
    return Property(name, label, kind, tuple((value, text) for value, text in options))
