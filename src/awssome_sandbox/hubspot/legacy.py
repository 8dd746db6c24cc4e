"""Addresses of versions 1 and 2 that public extractors still call. HubSpot has announced their end; the product calls
none of them.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from awssome_sandbox.hubspot import history, times
from awssome_sandbox.hubspot.definitions import PIPELINES, PROPERTIES, old_definition, pipeline_answer, property_answer
from awssome_sandbox.hubspot.errors import not_found
from awssome_sandbox.hubspot.gate import admit
from awssome_sandbox.hubspot.portals import Deal, Portal
from awssome_sandbox.hubspot.wire import Call, Handler, Sandbox

READ = ("crm.objects.deals.read",)
_PAGE, _PAGE_MAX, _RECENT_MAX = 100, 250, 10_000


def list_properties(sandbox: Sandbox, call: Call) -> Response:
    """The definitions of properties as a bare list."""
    caller = admit(sandbox, call, READ)
    definitions = [property_answer(definition, order) for order, definition in enumerate(PROPERTIES.values())]
    return caller.answer([old_definition(definition) for definition in definitions])


def list_pipelines(sandbox: Sandbox, call: Call) -> Response:
    """The pipelines as a bare list; probabilities are numbers here."""
    caller = admit(sandbox, call, READ)
    return caller.answer(
        [
            {
                "pipelineId": pipeline.id,
                "label": pipeline.label,
                "active": True,
                "displayOrder": order,
                "staticDefault": pipeline.id == "default",
                "stages": [
                    {
                        "stageId": stage.id,
                        "label": stage.label,
                        "probability": float(stage.probability),
                        "active": True,
                        "displayOrder": place,
                        "closedWon": stage.closed and stage.probability == "1.0",
                    }
                    for place, stage in enumerate(pipeline.stages)
                ],
            }
            for order, pipeline in enumerate(PIPELINES)
        ]
    )


def list_pipelines_with_metadata(sandbox: Sandbox, call: Call) -> Response:
    """The pipelines as the API for pipelines of version 1 tells them."""
    caller = admit(sandbox, call, READ)
    told = [pipeline_answer(pipeline, order) for order, pipeline in enumerate(PIPELINES)]

    def both(thing: dict[str, Any]) -> dict[str, Any]:
        moments = {name: times.milliseconds(thing[name]) for name in ("createdAt", "updatedAt")}
        return {"label": thing["label"], "displayOrder": thing["displayOrder"], "active": True, **moments}

    return caller.answer(
        {
            "results": [
                {
                    "pipelineId": pipeline["id"],
                    "objectType": "DEAL",
                    "objectTypeId": "0-3",
                    "default": pipeline["id"] == "default",
                    **both(pipeline),
                    "stages": [
                        {"stageId": stage["id"], "metadata": stage["metadata"], **both(stage)}
                        for stage in pipeline["stages"]
                    ],
                }
                for pipeline in told
            ]
        }
    )


def list_deals(sandbox: Sandbox, call: Call) -> Response:
    """A page of live deals by id; `offset` is the last id of the page before."""
    caller = admit(sandbox, call, READ)
    limit = min(max(1, call.whole("limit", _PAGE)), _PAGE_MAX)
    page = caller.portal.page(str(call.whole("offset", 0)), limit, archived=False)
    deals = [_old_deal(caller.portal, deal, call) for deal in page.deals]
    offset = page.deals[-1].id if page.deals else 0
    return caller.answer({"deals": deals, "hasMore": page.after is not None, "offset": offset})


def recent(property_: str) -> Handler:
    """The handler of live deals by when they were modified or created, the newest first, 10,000 at most."""

    def read(sandbox: Sandbox, call: Call) -> Response:
        caller = admit(sandbox, call, READ)
        count, offset = min(max(1, call.whole("count", _PAGE)), _PAGE), call.whole("offset", 0)
        since = {"propertyName": property_, "operator": "GTE", "value": str(call.whole("since", 0))}
        sort = {"propertyName": property_, "direction": "DESCENDING"}
        query = {"filters": [since], "sorts": [sort], "limit": count, "after": str(offset)}
        page = sandbox.search(caller.portal, query)
        deals = [_old_deal(caller.portal, deal, call, everything=True) for deal in page.deals]
        more = page.after is not None and int(page.after) < _RECENT_MAX
        return caller.answer({"results": deals, "hasMore": more, "offset": offset + len(deals), "total": page.total})

    return read


def get_deal(sandbox: Sandbox, call: Call) -> Response:
    """One live deal."""
    caller = admit(sandbox, call, READ)
    deal = caller.portal.find(int(call.path["id"]), archived=False) if call.path["id"].isdigit() else None
    if deal is None:
        raise not_found()
    return caller.answer(_old_deal(caller.portal, deal, call, everything=True))


ADDRESSES: list[tuple[str, str, str, Handler]] = [
    ("legacy", "GET", "/properties/v1/{kind:deals}/properties", list_properties),
    ("legacy", "GET", "/properties/v2/{kind:deals}/properties", list_properties),
    ("legacy", "GET", "/deals/v1/pipelines", list_pipelines),
    ("legacy", "GET", "/crm-pipelines/v1/pipelines/{kind:deals}", list_pipelines_with_metadata),
    ("legacy", "GET", "/deals/v1/deal/paged", list_deals),
    ("legacy", "GET", "/deals/v1/deal/recent/modified", recent("hs_lastmodifieddate")),
    ("legacy", "GET", "/deals/v1/deal/recent/created", recent("createdate")),
    ("legacy", "GET", "/deals/v1/deal/{id}", get_deal),
]


def _old_deal(portal: Portal, deal: Deal, call: Call, *, everything: bool = False) -> dict[str, Any]:
    everything = everything or call.flag("includeAllProperties")
    names = list(PROPERTIES) if everything else [*call.names("properties"), "hs_object_id"]
    linked = everything or call.flag("includeAssociations")
    return {
        "portalId": portal.id,
        "dealId": deal.id,
        "isDeleted": False,
        "associations": {
            "associatedVids": list(deal.contacts) if linked else [],
            "associatedCompanyIds": list(deal.companies[:1]) if linked else [],
            "associatedDealIds": [],
            "associatedTicketIds": [],
        },
        "properties": {name: _old_value(portal, deal, name) for name in names if _has(portal, deal, name)},
        "imports": [],
        "stateChanges": [],
    }


def _has(portal: Portal, deal: Deal, name: str) -> bool:
    return name in PROPERTIES and portal.value(deal, name) is not None


def _old_value(portal: Portal, deal: Deal, name: str) -> dict[str, Any]:
    """A value with when it came; moments are in milliseconds since the epoch."""
    change = history.versions(portal, deal, name)[0]
    is_moment = PROPERTIES[name].type == "datetime"
    at = change.value if name == "hs_lastmodifieddate" and change.value else change.at
    return {
        "value": str(times.milliseconds(change.value)) if is_moment and change.value else change.value,
        "timestamp": times.milliseconds(at),
        "source": "CALCULATED" if PROPERTIES[name].calculated else "CRM_UI",
        "sourceId": None,
        "versions": [],
    }
