"""Changing deals through the CRM API: create, update, archive, merge, and batches of them.

They change what the pages and the control API change, through the same functions of `Portal`. When one value of a batch
is refused, nothing of it is done.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from starlette.responses import Response

from awssome_sandbox.hubspot import times
from awssome_sandbox.hubspot.changes import Source
from awssome_sandbox.hubspot.deals import BATCH_MAX
from awssome_sandbox.hubspot.definitions import ALWAYS_RETURNED, SEARCH_RETURNED
from awssome_sandbox.hubspot.errors import invalid, missing_deals, not_found
from awssome_sandbox.hubspot.gate import Caller, admit
from awssome_sandbox.hubspot.portals import Deal, Portal, deal_answer
from awssome_sandbox.hubspot.wire import Call, Sandbox

WRITE = ("crm.objects.deals.write",)
_COMPANY_TYPES, _CONTACT_TYPES = {5, 341}, {3}


def create(sandbox: Sandbox, call: Call) -> Response:
    """A new deal: `{"properties", "associations"}`; 201."""
    caller, by = _writer(sandbox, call)
    body = call.json()
    given = _given(body)
    deal = caller.portal.create(given, by, **_linked(body))
    return caller.answer(_told(caller.portal, deal, given), 201)


def update(sandbox: Sandbox, call: Call) -> Response:
    """Change the properties that are named: `{"properties"}`; an empty string empties one."""
    caller, by = _writer(sandbox, call)
    given = _given(call.json())
    deal = _live(caller.portal, call.path["id"])
    return caller.answer(_told(caller.portal, caller.portal.edit(deal.id, given, by), given))


def archive(sandbox: Sandbox, call: Call) -> Response:
    """Delete a deal; one that is not there is as good as deleted."""
    caller, by = _writer(sandbox, call)
    deal = _found(caller.portal, call.path["id"])
    if deal:
        caller.portal.archive(deal.id, by)
    return Response(status_code=204)


def merge(sandbox: Sandbox, call: Call) -> Response:
    """Merge two deals into a new one: `{"primaryObjectId", "objectIdToMerge"}`."""
    caller, by = _writer(sandbox, call)
    body = call.json()
    primary, other = (_live(caller.portal, body.get(name)) for name in ("primaryObjectId", "objectIdToMerge"))
    survivor = caller.portal.merge(primary.id, other.id, by)
    return caller.answer(_told(caller.portal, survivor, ("hs_merged_object_ids",)))


def batch_create(sandbox: Sandbox, call: Call) -> Response:
    """New deals: `{"inputs": [{"properties", "associations"}]}`; 201."""
    caller, by = _writer(sandbox, call)
    started = times.now()
    inputs = _inputs(call)
    given = [_given(item) for item in inputs]
    linked = [_linked(item) for item in inputs]
    for properties in given:
        caller.portal.check(properties)
    deals = [caller.portal.create(properties, by, **links) for properties, links in zip(given, linked, strict=True)]
    return caller.answer(_complete(caller, started, list(zip(inputs, deals, given, strict=True)), []), 201)


def batch_update(sandbox: Sandbox, call: Call) -> Response:
    """Change deals: `{"inputs": [{"id", "properties"}]}`; 207 when some of them are not there."""
    caller, by = _writer(sandbox, call)
    started = times.now()
    inputs = _inputs(call, with_ids=True)
    given = [_given(item) for item in inputs]
    deals = [_found(caller.portal, item["id"]) for item in inputs]
    found = [deal.id for deal in deals if deal]
    if len(set(found)) < len(found):
        raise invalid("Duplicate IDs found in batch input. IDs must be unique.")
    for deal, properties in zip(deals, given, strict=True):
        caller.portal.check(properties, deal)
    done = []
    for item, deal, properties in zip(inputs, deals, given, strict=True):
        if deal:
            done.append((item, caller.portal.edit(deal.id, properties, by), properties))
    missing = [str(item["id"]) for item, deal in zip(inputs, deals, strict=True) if not deal]
    return caller.answer(_complete(caller, started, done, missing), 207 if missing else 200)


def batch_archive(sandbox: Sandbox, call: Call) -> Response:
    """Delete deals: `{"inputs": [{"id"}]}`; those that are not there are as good as deleted."""
    caller, by = _writer(sandbox, call)
    for item in _inputs(call, with_ids=True):
        deal = _found(caller.portal, item["id"])
        if deal:
            caller.portal.archive(deal.id, by)
    return Response(status_code=204)


def _writer(sandbox: Sandbox, call: Call) -> tuple[Caller, Source]:
    caller = admit(sandbox, call, WRITE)
    return caller, Source("INTEGRATION", str(caller.token.install.app.id))


def _found(portal: Portal, id_: object) -> Deal | None:
    text = str(id_)
    return portal.find(int(text), archived=False) if text.isdecimal() and len(text) < 20 else None


def _live(portal: Portal, id_: object) -> Deal:
    deal = _found(portal, id_)
    if deal is None:
        raise not_found()
    return deal


def _inputs(call: Call, *, with_ids: bool = False) -> list[dict[str, Any]]:
    inputs = call.json().get("inputs")
    if not isinstance(inputs, list) or not inputs or not all(isinstance(item, dict) for item in inputs):
        raise invalid("Invalid input JSON: inputs must be a list of objects, one at least.")
    if with_ids and not all("id" in item for item in inputs):
        raise invalid("Invalid input JSON: each of the inputs must have an id.")
    if len(inputs) > BATCH_MAX:
        raise invalid(f"A batch has {BATCH_MAX} inputs at most.")
    return inputs


def _given(item: dict[str, Any]) -> dict[str, object]:
    """The properties of an input; numbers and booleans become the strings that they are kept as."""
    properties = item.get("properties")
    if not isinstance(properties, dict):
        raise invalid("Invalid input JSON: properties must be an object.")
    return {name: json.dumps(value) if isinstance(value, (int, float)) else value for name, value in properties.items()}


def _linked(item: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The companies and contacts that a new deal is to hang together with."""
    linked: dict[str, tuple[int, ...]] = {"companies": (), "contacts": ()}
    try:
        for association in item.get("associations") or []:
            id_, types = int(association["to"]["id"]), {each["associationTypeId"] for each in association["types"]}
            if not types or not (types <= _COMPANY_TYPES or types <= _CONTACT_TYPES):
                raise ValueError
            linked["companies" if types <= _COMPANY_TYPES else "contacts"] += (id_,)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise invalid(
            "Invalid input JSON: associations name an object and types by which deals are associated."
        ) from None
    return linked


def _told(portal: Portal, deal: Deal, given: Iterable[str]) -> dict[str, Any]:
    """A changed deal: what always comes along, what a search would tell, and what was given."""
    return deal_answer(portal, deal, dict.fromkeys((*ALWAYS_RETURNED, *SEARCH_RETURNED, *given)))


def _complete(
    caller: Caller, started: str, done: list[tuple[dict[str, Any], Deal, dict[str, object]]], missing: list[str]
) -> dict[str, Any]:
    results = []
    for item, deal, given in done:
        told = _told(caller.portal, deal, given)
        if "objectWriteTraceId" in item:
            told["objectWriteTraceId"] = item["objectWriteTraceId"]
        results.append(told)
    body: dict[str, Any] = {"status": "COMPLETE", "results": results, "startedAt": started, "completedAt": times.now()}
    return {**body, **missing_deals(missing)} if missing else body
