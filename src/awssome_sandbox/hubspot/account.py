"""What an account has set up: pipelines, properties, owners, and the account itself."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from awssome_sandbox.hubspot import times
from awssome_sandbox.hubspot.definitions import (
    DOLLARS,
    PIPELINES,
    PROPERTIES,
    PROPERTY_GROUP,
    pipeline_answer,
    property_answer,
)
from awssome_sandbox.hubspot.errors import not_found
from awssome_sandbox.hubspot.gate import admit
from awssome_sandbox.hubspot.portals import Person
from awssome_sandbox.hubspot.wire import Call, Sandbox

DEALS = ("crm.objects.deals.read",)
OWNERS = ("crm.objects.owners.read",)
_OWNERS_PAGE, _OWNERS_PAGE_MAX = 100, 500
_SINCE = "2023-02-01T09:00:00.000Z"


def list_pipelines(sandbox: Sandbox, call: Call) -> Response:
    """The deal pipelines and their stages."""
    return admit(sandbox, call, DEALS).answer({"results": _pipelines()})


def get_pipeline(sandbox: Sandbox, call: Call) -> Response:
    """One pipeline with its stages."""
    return admit(sandbox, call, DEALS).answer(_named(_pipelines(), "id", call.path["id"]))


def list_stages(sandbox: Sandbox, call: Call) -> Response:
    """The stages of one pipeline."""
    caller = admit(sandbox, call, DEALS)
    return caller.answer({"results": _named(_pipelines(), "id", call.path["id"])["stages"]})


def get_stage(sandbox: Sandbox, call: Call) -> Response:
    """One stage of a pipeline."""
    caller = admit(sandbox, call, DEALS)
    return caller.answer(_named(_named(_pipelines(), "id", call.path["id"])["stages"], "id", call.path["stage"]))


def list_properties(sandbox: Sandbox, call: Call) -> Response:
    """The definitions of the deals' properties; none of them is archived."""
    caller = admit(sandbox, call, DEALS)
    return caller.answer({"results": [] if call.flag("archived") else _properties()})


def get_property(sandbox: Sandbox, call: Call) -> Response:
    """The definition of one property."""
    caller = admit(sandbox, call, DEALS)
    return caller.answer(_named(_properties(), "name", call.path["name"]))


def batch_read_properties(sandbox: Sandbox, call: Call) -> Response:
    """The definitions of the named properties."""
    caller = admit(sandbox, call, DEALS)
    started = times.now()
    names = call.inputs("name")
    found = [definition for definition in _properties() if definition["name"] in names]
    return caller.answer({"status": "COMPLETE", "results": found, "startedAt": started, "completedAt": times.now()})


def list_groups(sandbox: Sandbox, call: Call) -> Response:
    """The groups in which HubSpot shows the properties."""
    caller = admit(sandbox, call, DEALS)
    group = {"name": PROPERTY_GROUP, "label": "Deal information", "displayOrder": 0, "archived": False}
    return caller.answer({"results": [group]})


def list_owners(sandbox: Sandbox, call: Call) -> Response:
    """A page of the people who can own deals; none of them is archived."""
    caller = admit(sandbox, call, OWNERS)
    limit = min(call.whole("limit", _OWNERS_PAGE), _OWNERS_PAGE_MAX)
    after, email = call.whole("after", 0), call.query.get("email")
    people = [
        p for p in caller.portal.people if not call.flag("archived") and p.id > after and email in (None, p.email)
    ]
    body: dict[str, Any] = {"results": [_owner(person) for person in people[:limit]]}
    if len(people) > limit > 0:
        last = str(people[limit - 1].id)
        query = [(key, value) for key, value in call.query.multi_items() if key != "after"]
        body["paging"] = {
            "next": {"after": last, "link": str(call.url.replace(query=urlencode([*query, ("after", last)])))}
        }
    return caller.answer(body)


def get_owner(sandbox: Sandbox, call: Call) -> Response:
    """One owner, by the owner's id or by the user's."""
    caller = admit(sandbox, call, OWNERS)
    by_user = call.query.get("idProperty") == "userId"
    for person in caller.portal.people:
        if call.path["id"] == str(person.user_id if by_user else person.id):
            return caller.answer(_owner(person))
    raise not_found()


def details(sandbox: Sandbox, call: Call) -> Response:
    """What the portal is: its number, currency and time zone."""
    caller = admit(sandbox, call, ("oauth",))
    portal = caller.portal
    sign, hours = portal.utc_offset[0], int(portal.utc_offset[1:3])
    return caller.answer(
        {
            "portalId": portal.id,
            "accountType": "STANDARD",
            "timeZone": portal.time_zone,
            "companyCurrency": portal.currency,
            "additionalCurrencies": [code for code in DOLLARS if code != portal.currency],
            "utcOffset": portal.utc_offset,
            "utcOffsetMilliseconds": (-1 if sign == "-" else 1) * hours * 3_600_000,
            "uiDomain": "app.hubspot.com",
            "dataHostingLocation": "na1",
        }
    )


def daily_usage(sandbox: Sandbox, call: Call) -> Response:
    """How much of the day's calls the account's private apps have used; there is no such figure for OAuth apps."""
    caller = admit(sandbox, call, ("oauth",))
    day = sandbox.limits.day_of(caller.portal) if sandbox.limits else None
    if day is None:
        return caller.answer({"results": []})
    usage = {
        "name": "private-apps-api-calls-daily",
        "usageLimit": day.calls,
        "currentUsage": day.used,
        "collectedAt": times.now(),
        "fetchStatus": "SUCCESS",
        "resetsAt": day.ends.isoformat(),
    }
    return caller.answer({"results": [usage]})


def _pipelines() -> list[dict[str, Any]]:
    return [pipeline_answer(pipeline, order) for order, pipeline in enumerate(PIPELINES)]


def _properties() -> list[dict[str, Any]]:
    return [property_answer(definition, order) for order, definition in enumerate(PROPERTIES.values())]


def _named(things: list[dict[str, Any]], key: str, wanted: str) -> dict[str, Any]:
    for thing in things:
        if thing[key] == wanted:
            return thing
    raise not_found()


def _owner(person: Person) -> dict[str, Any]:
    return {
        "id": str(person.id),
        "email": person.email,
        "type": "PERSON",
        "firstName": person.first_name,
        "lastName": person.last_name,
        "userId": person.user_id,
        "userIdIncludingInactive": person.user_id,
        "createdAt": _SINCE,
        "updatedAt": _SINCE,
        "archived": False,
    }
