"""The CRM API: deals, pipelines, properties, owners, the account."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response
from starlette.routing import Route

from awssome_sandbox.hubspot.definitions import (
    ALWAYS_RETURNED,
    DOLLARS,
    SEARCH_RETURNED,
    pipelines_answer,
    properties_answer,
)
from awssome_sandbox.hubspot.errors import invalid, missing_deals, not_found
from awssome_sandbox.hubspot.gate import admit
from awssome_sandbox.hubspot.portals import Deal, Portal, deal_answer
from awssome_sandbox.hubspot.times import now
from awssome_sandbox.hubspot.wire import Call, Sandbox, answer, endpoint

DATED_VERSIONS = ("2026-03", "2026-09")
PAGE_DEFAULT, PAGE_MAX, BATCH_MAX = 10, 100, 100
DEALS = ("crm.objects.deals.read",)


def routes(sandbox: Sandbox) -> list[Route]:
    """Every CRM route in every version; v3 has the version at another place in the path."""
    places = [(f"/crm/objects/{v}", f"/crm/{{}}/{v}", f"/account-info/{v}") for v in DATED_VERSIONS]
    places.append(("/crm/v3/objects", "/crm/v3/{}", "/account-info/v3"))
    table = []
    for objects, definitions, account in places:
        for deals in (f"{objects}/deals", f"{objects}/0-3"):
            table += [
                endpoint(sandbox, "deals.list", "GET", deals, list_deals),
                endpoint(sandbox, "deals.search", "POST", f"{deals}/search", search_deals),
                endpoint(sandbox, "deals.batch_read", "POST", f"{deals}/batch/read", batch_read_deals),
                endpoint(sandbox, "deals.get", "GET", f"{deals}/{{id}}", get_deal),
            ]
        for kind in ("deals", "0-3"):
            table += [
                endpoint(sandbox, "pipelines", "GET", f"{definitions.format('pipelines')}/{kind}", list_pipelines),
                endpoint(sandbox, "properties", "GET", f"{definitions.format('properties')}/{kind}", list_properties),
            ]
        table += [
            endpoint(sandbox, "owners", "GET", definitions.format("owners"), list_owners),
            endpoint(sandbox, "account", "GET", f"{account}/details", account_details),
        ]
    return table


def list_deals(sandbox: Sandbox, call: Call) -> Response:
    """A page of deals by id, live or archived."""
    caller = admit(sandbox, call, DEALS)
    limit = _whole(call, "limit", PAGE_DEFAULT)
    if not 1 <= limit <= PAGE_MAX:
        raise invalid(f"Invalid limit {limit}: a page has 1 to {PAGE_MAX} deals.")
    archived = _archived(call)
    deals, after = caller.portal.page(_whole(call, "after", 0), limit, archived=archived)
    body: dict[str, Any] = {"results": _told(caller.portal, deals, _wanted(call.query.getlist("properties")))}
    if after is not None:
        query = [(key, value) for key, value in call.query.multi_items() if key != "after"]
        link = call.url.replace(query=urlencode([*query, ("after", after)]))
        body["paging"] = {"next": {"after": str(after), "link": str(link)}}
    return caller.answer(body)


def get_deal(sandbox: Sandbox, call: Call) -> Response:
    """One deal; a merged id answers with the deal it became part of."""
    caller = admit(sandbox, call, DEALS)
    deal = _deal(caller.portal, call.path["id"], archived=_archived(call))
    if deal is None:
        raise not_found()
    return caller.answer(deal_answer(caller.portal, deal, _wanted(call.query.getlist("properties"))))


def batch_read_deals(sandbox: Sandbox, call: Call) -> Response:
    """The deals of up to 100 ids; 207 when some of them are not there."""
    caller = admit(sandbox, call, DEALS)
    started = now()
    body = call.json()
    inputs = body.get("inputs")
    if not isinstance(inputs, list) or not all(isinstance(item, dict) and "id" in item for item in inputs):
        raise invalid("Invalid input JSON: inputs must be a list of objects with an id.")
    if len(inputs) > BATCH_MAX:
        raise invalid(f"A batch has {BATCH_MAX} inputs at most.")
    if body.get("idProperty") not in (None, "hs_object_id"):
        raise invalid(f'Property "{body["idProperty"]}" is not a unique identifier of deals.')
    found: dict[int, Deal] = {}
    missing = []
    for id_ in dict.fromkeys(str(item["id"]) for item in inputs):
        deal = _deal(caller.portal, id_, archived=_archived(call))
        if deal:
            found[deal.id] = deal
        else:
            missing.append(id_)
    results = _told(caller.portal, list(found.values()), _wanted(_names(body)))
    told = {"status": "COMPLETE", "results": results, "startedAt": started, "completedAt": now()}
    return caller.answer({**told, **missing_deals(missing)}, 207) if missing else caller.answer(told)


def search_deals(sandbox: Sandbox, call: Call) -> Response:
    """The live deals that match; see `search`."""
    caller = admit(sandbox, call, DEALS, search=True)
    query = call.json()
    page = sandbox.searches.page(caller.portal, query, with_holes=sandbox.faults.short_search_pages)
    names = _names(query)
    wanted = _wanted(names) if names else [*ALWAYS_RETURNED, *SEARCH_RETURNED]
    body: dict[str, Any] = {"total": page.total, "results": _told(caller.portal, page.deals, wanted)}
    if page.after is not None:
        body["paging"] = {"next": {"after": page.after}}
    return caller.answer(body)


def list_pipelines(sandbox: Sandbox, call: Call) -> Response:
    """The deal pipelines and their stages."""
    return admit(sandbox, call, DEALS).answer(pipelines_answer())


def list_properties(sandbox: Sandbox, call: Call) -> Response:
    """The definitions of the deals' properties."""
    return admit(sandbox, call, DEALS).answer(properties_answer())


def list_owners(sandbox: Sandbox, call: Call) -> Response:
    """The people who can own deals."""
    caller = admit(sandbox, call, ("crm.objects.owners.read",))
    since = "2023-02-01T09:00:00.000Z"
    owners = [
        {
            "id": str(person.id),
            "email": person.email,
            "type": "PERSON",
            "firstName": person.first_name,
            "lastName": person.last_name,
            "userId": person.user_id,
            "userIdIncludingInactive": person.user_id,
            "createdAt": since,
            "updatedAt": since,
            "archived": False,
        }
        for person in caller.portal.people
    ]
    return caller.answer({"results": owners})


def account_details(sandbox: Sandbox, call: Call) -> Response:
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


def unknown(_sandbox: Sandbox, _call: Call) -> Response:
    """No route is at this address."""
    error = not_found()
    return answer(error.body, error.status)


def _told(portal: Portal, deals: list[Deal], names: list[str]) -> list[dict[str, Any]]:
    return [deal_answer(portal, deal, names) for deal in deals]


def _deal(portal: Portal, id_: str, *, archived: bool) -> Deal | None:
    return portal.find(int(id_), archived=archived) if id_.isdigit() else None


def _wanted(names: list[str]) -> list[str]:
    """The properties to return: those asked for, in one list or several, and the three that always come along."""
    asked = [name.strip() for group in names for name in group.split(",") if name.strip()]
    return list(dict.fromkeys([*ALWAYS_RETURNED, *asked]))


def _names(body: dict[str, Any]) -> list[str]:
    names = body.get("properties") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise invalid("Invalid input JSON: properties must be a list of names.")
    return names


def _whole(call: Call, name: str, default: int) -> int:
    text = call.query.get(name, "")
    if text and not text.isdigit():
        raise invalid(f'Invalid {name} "{text}": it must be a number.')
    return int(text) if text else default


def _archived(call: Call) -> bool:
    return call.query.get("archived", "false").lower() == "true"
