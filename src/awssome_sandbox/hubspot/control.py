"""The sandbox's own API under `/_sandbox/`: faults, tokens, deals and counts, for tests and for the curious.

Every body and answer is JSON. Nothing of this exists in the real service.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from awssome_sandbox.hubspot.definitions import PROPERTIES
from awssome_sandbox.hubspot.errors import invalid, not_found
from awssome_sandbox.hubspot.faults import Faults
from awssome_sandbox.hubspot.portals import Deal, Portal, deal_answer
from awssome_sandbox.hubspot.seed import truth_of
from awssome_sandbox.hubspot.showing import show
from awssome_sandbox.hubspot.wire import Call, Handler, Sandbox, answer, endpoint


def routes(sandbox: Sandbox) -> list[Route]:
    """The start page and the control API."""
    table: list[tuple[str, str, Handler]] = [
        ("GET", "/", start_page),
        ("GET", "/_sandbox/stats", stats),
        ("DELETE", "/_sandbox/stats", forget_stats),
        ("GET", "/_sandbox/faults", faults),
        ("POST", "/_sandbox/faults", order_faults),
        ("DELETE", "/_sandbox/faults", clear_faults),
        ("POST", "/_sandbox/tokens/expire", expire_tokens),
        ("POST", "/_sandbox/tokens/revoke", revoke_tokens),
        ("POST", "/_sandbox/tokens/rotation", set_rotation),
        ("POST", "/_sandbox/codes/expire", expire_codes),
        ("POST", "/_sandbox/uninstall", uninstall),
        ("GET", "/_sandbox/portals", portals),
        ("GET", "/_sandbox/truth/{portal_id:int}", truth),
        ("POST", "/_sandbox/deals", create_deal),
        ("POST", "/_sandbox/deals/merge", merge_deals),
        ("PATCH", "/_sandbox/deals/{id:int}", edit_deal),
        ("DELETE", "/_sandbox/deals/{id:int}", delete_deal),
        ("POST", "/_sandbox/deals/{id:int}/archive", archive_deal),
        ("POST", "/_sandbox/deals/{id:int}/restore", restore_deal),
    ]
    return [endpoint(sandbox, "control", method, path, handler, faulty=False) for method, path, handler in table]


def start_page(sandbox: Sandbox, _call: Call) -> Response:
    """Which accounts and apps there are, and what was called."""
    return show(
        "hubspot/start.html",
        sandbox,
        apps=sandbox.oauth.apps.values(),
        installs=[install for install in sandbox.oauth.installs.values() if install.refresh_token],
        limited=sandbox.limits is not None,
        calls=_stats(sandbox)["endpoints"],
    )


def stats(sandbox: Sandbox, _call: Call) -> Response:
    """`{"calls", "rate_limited", "endpoints": {NAME: {STATUS: calls}}}`, the control API's own calls left out."""
    return answer(_stats(sandbox))


def forget_stats(sandbox: Sandbox, _call: Call) -> Response:
    """Count from zero again."""
    sandbox.calls.clear()
    return answer(_stats(sandbox))


def faults(sandbox: Sandbox, _call: Call) -> Response:
    """The faults in force."""
    return answer(asdict(sandbox.faults))


def order_faults(sandbox: Sandbox, call: Call) -> Response:
    """Order faults, all optional: `{"latency_ms", "index_lag_ms", "short_search_pages", "short_list_pages",
    "unreliable_order", "mix", "seed", "fail": [{"status", "category", "retry_after"}], "drop": [{"when"}],
    "spoil": [{"how", "seconds", "fields", "ids"}]}`; each item of a list with `endpoint`, and `times` or `rate`.
    `faults` says what they mean."""
    sandbox.faults.order(call.json())
    return faults(sandbox, call)


def clear_faults(sandbox: Sandbox, call: Call) -> Response:
    """No faults any more."""
    sandbox.faults = Faults()
    return faults(sandbox, call)


def expire_tokens(sandbox: Sandbox, _call: Call) -> Response:
    """Let all access tokens be expired; those of private apps never are."""
    return answer({"expired": sandbox.oauth.expire_access_tokens()})


def revoke_tokens(sandbox: Sandbox, call: Call) -> Response:
    """Revoke the refresh tokens of `{"portal_id"}`, or all."""
    return answer({"revoked": sandbox.oauth.revoke_refresh_tokens(call.json().get("portal_id"))})


def set_rotation(sandbox: Sandbox, call: Call) -> Response:
    """Hand out a new refresh token at each refresh from now on, or not: `{"on": true}`."""
    sandbox.oauth.rotate = bool(call.json().get("on"))
    return answer({"on": sandbox.oauth.rotate})


def expire_codes(sandbox: Sandbox, _call: Call) -> Response:
    """Let all unspent codes be expired."""
    return answer({"expired": sandbox.oauth.expire_codes()})


def uninstall(sandbox: Sandbox, call: Call) -> Response:
    """Take an app out of a portal, as an administrator of HubSpot would: `{"client_id", "portal_id"}`; without a client
    id all apps."""
    body = call.json()
    client_ids = [body["client_id"]] if "client_id" in body else list(sandbox.oauth.apps)
    portal = _portal(sandbox, body)
    return answer({"uninstalled": sum(sandbox.oauth.uninstall(client_id, portal.id) for client_id in client_ids)})


def portals(sandbox: Sandbox, _call: Call) -> Response:
    """The portals and how many deals they have."""
    return answer({"portals": [_portal_facts(portal) for portal in sandbox.portals.values()]})


def truth(sandbox: Sandbox, call: Call) -> Response:
    """What a portal holds now, in the form of the truth file."""
    portal = _portal(sandbox, {"portal_id": call.path["portal_id"]})
    return Response("".join(truth_of(portal)), media_type="application/json;charset=utf-8")


def create_deal(sandbox: Sandbox, call: Call) -> Response:
    """Add a deal: `{"portal_id", "properties"}`; the first portal when none is named."""
    body = call.json()
    portal = _portal(sandbox, body)
    return _deal(portal, portal.create(_properties(body)), 201)


def edit_deal(sandbox: Sandbox, call: Call) -> Response:
    """Change a deal: `{"portal_id", "properties"}`."""
    body = call.json()
    portal = _portal(sandbox, body)
    return _deal(portal, portal.edit(call.path["id"], _properties(body)))


def delete_deal(sandbox: Sandbox, call: Call) -> Response:
    """Take a deal away for good: `{"portal_id"}`."""
    _portal(sandbox, call.json()).delete(call.path["id"])
    return Response(status_code=204)


def archive_deal(sandbox: Sandbox, call: Call) -> Response:
    """Delete a deal: `{"portal_id"}`."""
    portal = _portal(sandbox, call.json())
    return _deal(portal, portal.archive(call.path["id"]))


def restore_deal(sandbox: Sandbox, call: Call) -> Response:
    """Bring an archived deal back: `{"portal_id"}`."""
    portal = _portal(sandbox, call.json())
    return _deal(portal, portal.restore(call.path["id"]))


def merge_deals(sandbox: Sandbox, call: Call) -> Response:
    """Merge two deals into a new one: `{"portal_id", "ids": [primary, other]}`."""
    body = call.json()
    ids = body.get("ids")
    if not isinstance(ids, list) or len(ids) != 2 or not all(str(id_).isdecimal() for id_ in ids):
        raise invalid("ids must be the ids of two deals.")
    portal = _portal(sandbox, body)
    return _deal(portal, portal.merge(int(ids[0]), int(ids[1])))


def _portal(sandbox: Sandbox, body: dict[str, Any]) -> Portal:
    id_ = body.get("portal_id", sandbox.first_portal.id)
    if id_ not in sandbox.portals:
        raise not_found(f"There is no portal {id_}.")
    return sandbox.portals[id_]


def _properties(body: dict[str, Any]) -> dict[str, str | None]:
    properties = body.get("properties") or {}
    if not isinstance(properties, dict):
        raise invalid("properties must be an object.")
    return properties


def _deal(portal: Portal, deal: Deal, status: int = 200) -> Response:
    return answer(deal_answer(portal, deal, PROPERTIES), status)


def _portal_facts(portal: Portal) -> dict[str, Any]:
    live, archived = len(portal.live_ids), len(portal.archived_ids)
    return {"id": portal.id, "domain": portal.domain, "live": live, "archived": archived, "merged": len(portal.merged)}


def _stats(sandbox: Sandbox) -> dict[str, Any]:
    endpoints: dict[str, dict[str, int]] = {}
    for (name, status), count in sorted(sandbox.calls.items()):
        if name != "control":
            endpoints.setdefault(name, {})[str(status)] = count
    return {
        "calls": sum(sum(statuses.values()) for statuses in endpoints.values()),
        "rate_limited": sum(statuses.get("429", 0) for statuses in endpoints.values()),
        "endpoints": endpoints,
    }
