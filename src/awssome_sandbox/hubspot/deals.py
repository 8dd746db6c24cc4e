"""Reading deals: pages, single ones, batches, searches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from awssome_sandbox.hubspot import associations, history, times
from awssome_sandbox.hubspot.definitions import ALWAYS_RETURNED, SEARCH_RETURNED
from awssome_sandbox.hubspot.errors import invalid, missing_deals, not_found
from awssome_sandbox.hubspot.gate import admit
from awssome_sandbox.hubspot.portals import Deal, Portal, deal_answer
from awssome_sandbox.hubspot.wire import Call, Sandbox

PAGE_DEFAULT, PAGE_MAX, BATCH_MAX = 10, 100, 100
WITH_HISTORY_MAX = 50
"""Deals of a page or a batch at most when properties' history is asked for."""
READ = ("crm.objects.deals.read",)


def list_deals(sandbox: Sandbox, call: Call) -> Response:
    """A page of deals by id, live or archived."""
    caller = admit(sandbox, call, READ)
    limit, wanted = call.whole("limit", PAGE_DEFAULT), _wanted(call)
    most = WITH_HISTORY_MAX if wanted.history else PAGE_MAX
    if not 1 <= limit <= most:
        raise invalid(f"Invalid limit {limit}: a page has 1 to {most} deals{_history_clause(wanted)}.")
    archived, cursor = call.flag("archived"), call.query.get("after", "")
    page = caller.portal.page(cursor, limit, archived=archived, with_holes=sandbox.faults.short_list_pages)
    body: dict[str, Any] = {"results": [told(caller.portal, deal, wanted) for deal in page.deals]}
    if page.after is not None:
        query = [(key, value) for key, value in call.query.multi_items() if key != "after"]
        link = call.url.replace(query=urlencode([*query, ("after", page.after)]))
        body["paging"] = {"next": {"after": page.after, "link": str(link)}}
    return caller.answer(body)


def get_deal(sandbox: Sandbox, call: Call) -> Response:
    """One deal; a merged id answers with the deal it became part of."""
    caller = admit(sandbox, call, READ)
    _check_id_property(call.query.get("idProperty"))
    deal = _deal(caller.portal, call.path["id"], archived=call.flag("archived"))
    if deal is None:
        raise not_found()
    return caller.answer(told(caller.portal, deal, _wanted(call)))


def batch_read_deals(sandbox: Sandbox, call: Call) -> Response:
    """The deals of up to 100 ids; 207 when some of them are not there."""
    caller = admit(sandbox, call, READ)
    started = times.now()
    body = call.json()
    ids = call.inputs()
    wanted = Wanted(_returned(_names(body)), _names(body, "propertiesWithHistory"))
    most = WITH_HISTORY_MAX if wanted.history else BATCH_MAX
    if len(ids) > most:
        raise invalid(f"A batch has {most} inputs at most{_history_clause(wanted)}.")
    _check_id_property(body.get("idProperty"))
    found: dict[int, Deal] = {}
    missing = []
    for id_ in dict.fromkeys(ids):
        deal = _deal(caller.portal, id_, archived=call.flag("archived"))
        if deal:
            found[deal.id] = deal
        else:
            missing.append(id_)
    results = [told(caller.portal, deal, wanted) for deal in found.values()]
    answer = {"status": "COMPLETE", "results": results, "startedAt": started, "completedAt": times.now()}
    return caller.answer({**answer, **missing_deals(missing)}, 207) if missing else caller.answer(answer)


def search_deals(sandbox: Sandbox, call: Call) -> Response:
    """The live deals that match; see `search`."""
    caller = admit(sandbox, call, READ, search=True)
    query = call.json()
    page = sandbox.search(caller.portal, query)
    names = _names(query)
    wanted = Wanted(_returned(names) if names else [*ALWAYS_RETURNED, *SEARCH_RETURNED])
    body: dict[str, Any] = {
        "total": page.total,
        "results": [told(caller.portal, deal, wanted) for deal in page.deals],
    }
    if page.after is not None:
        body["paging"] = {"next": {"after": page.after}}
    return caller.answer(body)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a call asks to be told of each deal."""

    properties: Sequence[str]
    history: Sequence[str] = ()
    associations: Sequence[str] = ()


def told(portal: Portal, deal: Deal, wanted: Wanted) -> dict[str, Any]:
    """A deal as the CRM API tells it, with its history and its associations if they are wanted."""
    answer = deal_answer(portal, deal, wanted.properties)
    if wanted.history:
        answer["propertiesWithHistory"] = history.of(portal, deal, wanted.history)
    if wanted.associations and (linked := associations.beside(deal, wanted.associations)):
        answer["associations"] = linked
    return answer


def _wanted(call: Call) -> Wanted:
    return Wanted(_returned(call.names("properties")), call.names("propertiesWithHistory"), call.names("associations"))


def _returned(names: list[str]) -> list[str]:
    """The properties to return: those asked for, and the three that always come along."""
    return list(dict.fromkeys([*ALWAYS_RETURNED, *names]))


def _names(body: dict[str, Any], key: str = "properties") -> list[str]:
    names = body.get(key) or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise invalid(f"Invalid input JSON: {key} must be a list of names.")
    return names


def _deal(portal: Portal, id_: str, *, archived: bool) -> Deal | None:
    return portal.find(int(id_), archived=archived) if id_.isdigit() else None


def _check_id_property(name: str | None) -> None:
    if name not in (None, "hs_object_id"):
        raise invalid(f'Property "{name}" is not a unique identifier of deals.')


def _history_clause(wanted: Wanted) -> str:
    return " when property history is requested" if wanted.history else ""
