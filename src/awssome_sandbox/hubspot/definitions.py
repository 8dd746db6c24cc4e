"""What a HubSpot account defines about its deals: pipelines with their stages, properties, currencies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_DEFINED_AT = "2023-02-01T09:00:00.000Z"


@dataclass(frozen=True, slots=True)
class Stage:
    """A pipeline's stage; `probability` is HubSpot's string, and a closed stage is won when it is "1.0"."""

    id: str
    label: str
    probability: str
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A deal pipeline. Only the built-in one has a readable id; those that customers add are numbered."""

    id: str
    label: str
    stages: tuple[Stage, ...]


PIPELINES = (
    Pipeline(
        "default",
        "Sales Pipeline",
        (
            Stage("appointmentscheduled", "Appointment Scheduled", "0.2"),
            Stage("qualifiedtobuy", "Qualified To Buy", "0.4"),
            Stage("presentationscheduled", "Presentation Scheduled", "0.6"),
            Stage("decisionmakerboughtin", "Decision Maker Bought-In", "0.8"),
            Stage("contractsent", "Contract Sent", "0.9"),
            Stage("closedwon", "Closed Won", "1.0", closed=True),
            Stage("closedlost", "Closed Lost", "0.0", closed=True),
        ),
    ),
    Pipeline(
        "812704591",
        "Partner co-sell",
        (
            Stage("1193847201", "Identified", "0.1"),
            Stage("1193847202", "Joint discovery", "0.3"),
            Stage("1193847203", "Proof of concept", "0.5"),
            Stage("1193847204", "Negotiation", "0.8"),
            Stage("1193847205", "Won", "1.0", closed=True),
            Stage("1193847206", "Lost", "0.0", closed=True),
        ),
    ),
    Pipeline(
        "812704777",
        "Verlängerungen (EMEA)",
        (
            Stage("1193850010", "In 90 Tagen fällig", "0.7"),
            Stage("1193850011", "Angebot verschickt", "0.85"),
            Stage("1193850012", "Verlängert", "1.0", closed=True),
            Stage("1193850013", "Gekündigt", "0.0", closed=True),
        ),
    ),
)

STAGES = {stage.id: stage for pipeline in PIPELINES for stage in pipeline.stages}
PIPELINE_OF = {stage.id: pipeline for pipeline in PIPELINES for stage in pipeline.stages}

DOLLARS = {"USD": 1.0, "EUR": 1.08, "GBP": 1.27, "JPY": 0.0067, "CHF": 1.13}
"""What one unit of a currency is worth: the fixed rates by which amounts are shown in the company's currency."""


@dataclass(frozen=True, slots=True)
class Property:
    """A deal property; `type` is HubSpot's: string, number, datetime, enumeration or bool."""

    name: str
    label: str
    type: str
    field: str
    calculated: bool = False
    options: tuple[tuple[str, str], ...] = ()


_TRUE_FALSE = (("true", "True"), ("false", "False"))

PROPERTIES = {
    definition.name: definition
    for definition in (
        Property("amount", "Amount", "number", "number"),
        Property("amount_in_home_currency", "Amount in company currency", "number", "number", calculated=True),
        Property("closed_lost_reason", "Closed Lost Reason", "string", "textarea"),
        Property("closedate", "Close Date", "datetime", "date"),
        Property("createdate", "Create Date", "datetime", "date"),
        Property("deal_currency_code", "Currency", "enumeration", "select", options=tuple((c, c) for c in DOLLARS)),
        Property("dealname", "Deal Name", "string", "text"),
        Property(
            "dealstage", "Deal Stage", "enumeration", "radio", options=tuple((s.id, s.label) for s in STAGES.values())
        ),
        Property(
            "dealtype",
            "Deal Type",
            "enumeration",
            "radio",
            options=(("newbusiness", "New Business"), ("existingbusiness", "Existing Business")),
        ),
        Property("description", "Deal Description", "string", "textarea"),
        Property("hs_deal_stage_probability", "Deal probability", "number", "number", calculated=True),
        Property(
            "hs_is_closed", "Is Deal Closed?", "bool", "calculation_read_time", calculated=True, options=_TRUE_FALSE
        ),
        Property(
            "hs_is_closed_won", "Is Closed Won", "bool", "calculation_read_time", calculated=True, options=_TRUE_FALSE
        ),
        Property("hs_lastmodifieddate", "Last Modified Date", "datetime", "date"),
        Property("hs_merged_object_ids", "Merged Deal IDs", "enumeration", "checkbox"),
        Property("hs_object_id", "Record ID", "number", "number"),
        Property("hubspot_owner_id", "Deal owner", "enumeration", "select"),
        Property("pipeline", "Pipeline", "enumeration", "select", options=tuple((p.id, p.label) for p in PIPELINES)),
    )
}

READ_ONLY = {"createdate", "hs_lastmodifieddate", "hs_merged_object_ids", "hs_object_id"} | {
    definition.name for definition in PROPERTIES.values() if definition.calculated
}

ALWAYS_RETURNED = ("createdate", "hs_lastmodifieddate", "hs_object_id")
PROPERTY_GROUP = "dealinformation"
SEARCH_RETURNED = ("amount", "closedate", "dealname", "dealstage", "pipeline")


def pipeline_answer(pipeline: Pipeline, order: int) -> dict[str, Any]:
    """A pipeline with its stages, as the API tells it."""
    return {
        "id": pipeline.id,
        "label": pipeline.label,
        "displayOrder": order,
        "stages": [
            {
                "id": stage.id,
                "label": stage.label,
                "displayOrder": place,
                "metadata": {"isClosed": str(stage.closed).lower(), "probability": stage.probability},
                "createdAt": _DEFINED_AT,
                "updatedAt": _DEFINED_AT,
                "archived": False,
                "writePermissions": "CRM_PERMISSIONS_ENFORCEMENT",
            }
            for place, stage in enumerate(pipeline.stages)
        ],
        "createdAt": _DEFINED_AT,
        "updatedAt": _DEFINED_AT,
        "archived": False,
    }


def property_answer(definition: Property, order: int) -> dict[str, Any]:
    """A property's definition, as the API tells it."""
    read_only = definition.name in READ_ONLY
    return {
        "name": definition.name,
        "label": definition.label,
        "type": definition.type,
        "fieldType": definition.field,
        "description": "",
        "groupName": PROPERTY_GROUP,
        "options": [
            {"label": label, "value": value, "displayOrder": place, "hidden": False}
            for place, (value, label) in enumerate(definition.options)
        ],
        "displayOrder": order,
        "calculated": definition.calculated,
        "externalOptions": definition.name == "hubspot_owner_id",
        "hasUniqueValue": False,
        "hidden": False,
        "hubspotDefined": True,
        "formField": False,
        "archived": False,
        "createdAt": _DEFINED_AT,
        "updatedAt": _DEFINED_AT,
        "modificationMetadata": {"archivable": False, "readOnlyDefinition": True, "readOnlyValue": read_only},
    }


def old_definition(definition: dict[str, Any]) -> dict[str, Any]:
    """The same as versions 1 and 2 tell it."""
    kept = ("name", "label", "description", "groupName", "type", "fieldType", "options", "displayOrder", "calculated")
    return {
        **{name: definition[name] for name in kept},
        "readOnlyValue": definition["modificationMetadata"]["readOnlyValue"],
        "readOnlyDefinition": True,
        "hidden": False,
        "mutableDefinitionNotDeletable": True,
        "deleted": False,
        "hubspotDefined": True,
    }
