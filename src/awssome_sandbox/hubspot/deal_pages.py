"""Pages to look at an account's deals and change them by hand, at the addresses that they have in HubSpot.

Values are shown raw, as the API tells them: strings and nulls. Every form works without JavaScript, and writes the one
property that it is about, so that whoever else changes the deal meanwhile is not overwritten.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from awssome_sandbox.hubspot import history
from awssome_sandbox.hubspot.changes import USER, Source
from awssome_sandbox.hubspot.definitions import ALWAYS_RETURNED, PIPELINE_OF, PIPELINES, PROPERTIES, READ_ONLY, STAGES
from awssome_sandbox.hubspot.errors import HubSpotError, InvalidValues, invalid, not_found
from awssome_sandbox.hubspot.portals import Deal, Portal, deal_answer
from awssome_sandbox.hubspot.showing import page, portal_of, show
from awssome_sandbox.hubspot.wire import Call, Handler, Sandbox

PAGE, CANDIDATES = 25, 10
DONE = {
    "created": "The deal is created.",
    "changed": "The change is saved.",
    "archived": "The deal is archived. Its last modified date stays as it was.",
    "restored": "The deal is restored.",
    "merged": "The deals are merged. Their old ids lead here.",
    "deleted": "The deal is deleted for good.",
}
_LIST, _RECORD = "/contacts/{portal_id:int}/objects/0-3", "/contacts/{portal_id:int}/record/0-3/{id:int}"


def routes(sandbox: Sandbox) -> list[Route]:
    """The list, a deal, and a page for each way to change one."""
    table: list[tuple[str, str, Handler]] = [
        ("GET", _LIST, list_page),
        ("GET", f"{_LIST}/new", new_page),
        ("POST", f"{_LIST}/new", create),
        ("GET", _RECORD, deal_page),
        ("GET", f"{_RECORD}/change/{{name}}", change_page),
        ("POST", f"{_RECORD}/change/{{name}}", change),
        ("POST", f"{_RECORD}/archive", archive),
        ("POST", f"{_RECORD}/restore", restore),
        ("GET", f"{_RECORD}/delete", delete_page),
        ("POST", f"{_RECORD}/delete", delete),
        ("GET", f"{_RECORD}/merge", merge_page),
        ("POST", f"{_RECORD}/merge", merge),
    ]
    return [page(sandbox, method, path, handler) for method, path, handler in table]


def list_page(sandbox: Sandbox, call: Call) -> Response:
    """Deals, newest first: `state` is live, archived or merged, `q` words or an id, `before` the id to go on below."""
    portal = portal_of(sandbox, call)
    state = call.query.get("state", "live")
    ids = {"live": portal.live_ids, "archived": portal.archived_ids, "merged": sorted(portal.merged)}.get(state)
    if ids is None:
        raise not_found(f"Deals are live, archived or merged, not {state}.")
    words = call.query.get("q", "").strip()
    found = _matching(portal, ids, words)
    before = call.query.get("before", "")
    end = (bisect_left(found, int(before[:20])) if before.isdecimal() else 0) or len(found)
    start = max(0, end - PAGE)
    newer = found[end + PAGE] if end + PAGE < len(found) else "" if end < len(found) else None
    return show(
        "hubspot/deals.html",
        sandbox,
        portal=portal,
        state=state,
        q=words,
        rows=[_row(portal, id_) for id_ in reversed(found[start:end])],
        first=len(found) - end + 1,
        last=len(found) - start,
        total=len(found),
        newer=newer,
        older=found[start] if start else None,
        done=DONE.get(call.query.get("done", "")),
    )


def deal_page(sandbox: Sandbox, call: Call) -> Response:
    """A deal with every property and all that happened to it; an id that was merged away shows what it became."""
    portal, deal = _deal(sandbox, call)
    return show(
        "hubspot/deal.html",
        sandbox,
        portal=portal,
        deal=deal,
        name=deal.entered.get("dealname"),
        asked=call.path["id"],
        properties=[_property(portal, deal, name) for name in PROPERTIES],
        changes=[(change, _by(sandbox, portal, change.by)) for change in reversed(deal.changes)],
        raw=json.dumps(deal_answer(portal, deal, PROPERTIES), indent=2, ensure_ascii=False),
        done=DONE.get(call.query.get("done", "")),
    )


def new_page(sandbox: Sandbox, call: Call) -> Response:
    """The form of a new deal."""
    return _new(sandbox, call, {"dealstage": PIPELINES[0].stages[0].id})


def create(sandbox: Sandbox, call: Call) -> Response:
    """Add the deal, or show the form again with what is wrong with it."""
    portal = portal_of(sandbox, call)
    form = call.form()
    given = {name: _value(form, name) for name in _fields() if name in form}
    try:
        deal = portal.create({name: value for name, value in given.items() if value}, USER)
    except InvalidValues as error:
        return _new(sandbox, call, given, error)
    return _to(portal, deal, "created")


def change_page(sandbox: Sandbox, call: Call) -> Response:
    """The form of one property."""
    portal, deal = _deal(sandbox, call)
    return _change(sandbox, call, portal.value(deal, _name(call)))


def change(sandbox: Sandbox, call: Call) -> Response:
    """Change one property, or show its form again with what is wrong."""
    portal, deal = _deal(sandbox, call)
    name = _name(call)
    value = _value(call.form(), name)
    try:
        portal.edit(deal.id, {name: value}, USER)
    except InvalidValues as error:
        return _change(sandbox, call, value, error)
    return _to(portal, deal, "changed")


def archive(sandbox: Sandbox, call: Call) -> Response:
    """Archive a live deal."""
    portal = portal_of(sandbox, call)
    return _to(portal, portal.archive(call.path["id"], USER), "archived")


def restore(sandbox: Sandbox, call: Call) -> Response:
    """Bring an archived deal back."""
    portal = portal_of(sandbox, call)
    return _to(portal, portal.restore(call.path["id"], USER), "restored")


def delete_page(sandbox: Sandbox, call: Call) -> Response:
    """Ask before a deal is taken away for good."""
    portal, deal = _deal(sandbox, call)
    return show("hubspot/deal_delete.html", sandbox, portal=portal, deal=deal, name=deal.entered.get("dealname"))


def delete(sandbox: Sandbox, call: Call) -> Response:
    """Take a deal away for good."""
    portal = portal_of(sandbox, call)
    portal.delete(call.path["id"])
    return RedirectResponse(f"/contacts/{portal.id}/objects/0-3?done=deleted", 303)


def merge_page(sandbox: Sandbox, call: Call) -> Response:
    """Choose the deal to merge with: `q` searches."""
    return _merge(sandbox, call)


def merge(sandbox: Sandbox, call: Call) -> Response:
    """Merge the deal with the `other` one, or show the choice again with what is wrong."""
    portal, deal = _deal(sandbox, call)
    other = call.form().get("other", "").strip()
    try:
        survivor = portal.merge(deal.id, int(other[:20]) if other.isdecimal() else 0, USER)
    except HubSpotError as error:
        return _merge(sandbox, call, error)
    return _to(portal, survivor, "merged")


def _new(sandbox: Sandbox, call: Call, given: dict[str, str | None], error: InvalidValues | None = None) -> Response:
    portal = portal_of(sandbox, call)
    problems = _problems(error)
    fields = [_field(portal, name, given.get(name), problems.get(name)) for name in _fields()]
    return show("hubspot/deal_new.html", sandbox, error.status if error else 200, portal=portal, fields=fields)


def _change(sandbox: Sandbox, call: Call, value: str | None, error: InvalidValues | None = None) -> Response:
    portal, deal = _deal(sandbox, call)
    name = _name(call)
    return show(
        "hubspot/deal_change.html",
        sandbox,
        error.status if error else 200,
        portal=portal,
        deal=deal,
        field=_field(portal, name, value, _problems(error).get(name)),
    )


def _merge(sandbox: Sandbox, call: Call, error: HubSpotError | None = None) -> Response:
    portal, deal = _deal(sandbox, call)
    if deal.archived_at:
        raise invalid("An archived deal cannot be merged. Restore it first.")
    words = call.query.get("q", "").strip()
    found = [id_ for id_ in _matching(portal, portal.live_ids, words) if id_ != deal.id]
    return show(
        "hubspot/deal_merge.html",
        sandbox,
        error.status if error else 200,
        portal=portal,
        deal=deal,
        name=deal.entered.get("dealname"),
        q=words,
        candidates=[_row(portal, id_) for id_ in reversed(found[-CANDIDATES:])],
        total=len(found),
        problem="Choose a live deal other than this one." if error else None,
    )


def _deal(sandbox: Sandbox, call: Call) -> tuple[Portal, Deal]:
    portal, id_ = portal_of(sandbox, call), call.path["id"]
    deal = portal.find(id_, archived=False) or portal.find(id_, archived=True)
    if deal is None:
        raise not_found(f"{portal.domain} has no deal {id_}.")
    return portal, deal


def _name(call: Call) -> str:
    name: str = call.path["name"]
    if name not in _fields():
        raise not_found(f"Deals have no property “{name}” that can be changed by itself.")
    return name


def _matching(portal: Portal, ids: Sequence[int], words: str) -> Sequence[int]:
    """The ids whose deal has all the words in its name, or the one that is named."""
    if not words:
        return ids
    wanted = words.lower().split()

    def matches(id_: int) -> bool:
        deal = portal.deals.get(id_)
        name = deal.entered.get("dealname", "").lower() if deal else ""
        return words == str(id_) or all(word in name for word in wanted)

    return [id_ for id_ in ids if matches(id_)]


def _row(portal: Portal, id_: int) -> dict[str, Any]:
    deal = portal.deals.get(id_)
    if deal is None:
        survivor = portal.find(id_, archived=False) or portal.find(id_, archived=True)
        return {"id": id_, "survivor": survivor}
    stage = STAGES.get(deal.entered.get("dealstage", ""))
    return {
        "id": id_,
        "name": deal.entered.get("dealname"),
        "stage": stage.label if stage else None,
        "pipeline": PIPELINE_OF[stage.id].label if stage else None,
        "amount": deal.entered.get("amount"),
        "currency": deal.entered.get("deal_currency_code"),
        "closes": deal.entered.get("closedate", "")[:10],
        "modified": deal.entered["hs_lastmodifieddate"],
    }


def _property(portal: Portal, deal: Deal, name: str) -> dict[str, Any]:
    value = portal.value(deal, name)
    calculated = PROPERTIES[name].calculated or name in ALWAYS_RETURNED
    told = [] if calculated else history.versions(portal, deal, name)
    return {
        "name": name,
        "label": PROPERTIES[name].label,
        "value": value,
        "raw": json.dumps(value, ensure_ascii=False),
        "since": told[0].at if told else None,
        "editable": name in _fields() and not deal.archived_at,
    }


def _fields() -> list[str]:
    """The properties that a person can set; the pipeline comes with the stage."""
    first = ("dealname", "dealstage", "amount", "deal_currency_code", "closedate")
    rest = [name for name in PROPERTIES if name not in READ_ONLY and name not in (*first, "pipeline")]
    return [*first, *rest]


def _field(portal: Portal, name: str, value: str | None, problem: str | None) -> dict[str, Any]:
    definition = PROPERTIES[name]
    groups: list[tuple[str, list[tuple[str, str]]]] = []
    if name == "dealstage":
        groups = [(known.label, [(stage.id, stage.label) for stage in known.stages]) for known in PIPELINES]
    elif name == "hubspot_owner_id":
        owners = [(str(person.id), f"{person.first_name} {person.last_name}") for person in portal.people]
        groups = [("", owners)]
    elif definition.options:
        groups = [("", list(definition.options))]
    return {
        "name": name,
        "label": definition.label,
        "type": definition.type,
        "long": definition.field == "textarea",
        "groups": groups,
        "value": value or "",
        "problem": problem,
    }


def _value(form: dict[str, str], name: str) -> str | None:
    """What a form says of a property; browsers send line ends as two characters, HubSpot keeps one."""
    return form.get(name, "").replace("\r\n", "\n") or None


def _problems(error: InvalidValues | None) -> dict[str, str]:
    return {problem["name"]: problem["message"] for problem in error.problems} if error else {}


def _by(sandbox: Sandbox, portal: Portal, by: Source) -> str:
    if by.type == "CRM_UI":
        return portal.people[0].email
    if by.type == "INTEGRATION":
        names = [app.client_id for app in sandbox.oauth.apps.values() if str(app.id) == by.id]
        return f"the app {names[0]}" if names else f"the private app {by.id}"
    return "the control API"


def _to(portal: Portal, deal: Deal, done: str) -> Response:
    return RedirectResponse(f"/contacts/{portal.id}/record/0-3/{deal.id}?done={done}", 303)
