"""Picking the deals that the free tier imports: HubSpot's deals with search and pages, and what is picked of them."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from awssome.control import messages as m
from awssome.database import Connection
from awssome.database.tenant import hubspot, picks
from awssome.database.tenant.hubspot import HubSpotConnection
from awssome.database.tenant.picks import Pick
from awssome.domain.deals import parse_amount
from awssome.domain.errors import Code, Refused
from awssome.domain.syncs import ConnectionState
from awssome.domain.tenants import imports_allowed
from awssome.portal.context import TenantContext
from awssome.portal.guard import ActingMember, Member, parts
from awssome.web.formats import plural
from awssome.web.tables import Listing

router = APIRouter()

_ID = re.compile(r"[0-9]{1,20}")


@router.get("/hubspot/picks")
def show(request: Request, me: Member) -> Response:
    """HubSpot's deals, and what is picked of them."""
    return _page(request, me)


Selected = Annotated[list[str] | None, Form()]


@router.post("/hubspot/picks")
def change(
    request: Request,
    me: ActingMember,
    selected: Selected = None,
    remove: Annotated[str, Form()] = "",
    clear: Annotated[str, Form()] = "",
) -> Response:
    """Pick the selected deals, take one away, or leave the choice to the rule again."""
    add = [one for one in selected or [] if _ID.fullmatch(one)][:100]
    body = m.Picks(add=add, remove=[remove] if _ID.fullmatch(remove) else [], clear=bool(clear))
    try:
        parts(request).control.pick_deals(me.person.caller, body)
    except Refused as refused:
        if refused.code not in (Code.INVALID, Code.CONFLICT):
            raise
        return _page(request, me, refused)
    if clear:
        text = "The rule decides: open deals first, oldest first."
    elif remove:
        text = "The deal is no longer picked."
    else:
        text = f"{plural(len(body.add), 'deal')} picked. They come in with the next sync."
    return parts(request).pages.redirect(request, "/hubspot/picks", "success", text)


def _page(request: Request, me: TenantContext, refused: Refused | None = None) -> Response:
    def read(connection: Connection) -> tuple[HubSpotConnection | None, list[Pick]]:
        known = hubspot.connection(connection)
        return known, picks.find(connection, known.portal_id) if known else []

    known, chosen = me.read(read)
    limit = imports_allowed(me.tenant.tier)
    if known is None or known.state is not ConnectionState.CONNECTED or limit is None:
        return RedirectResponse("/hubspot", 303)
    query = request.query_params
    found: m.DealPage | None = None
    try:
        found = parts(request).control.hubspot_deals(
            me.person.caller, query.get("q", "").strip()[:200], query.get("after", "")[:255]
        )
    except Refused as told:
        if told.code is Code.UNAUTHENTICATED:
            raise
        refused = refused or told
    waiting = [one for one in chosen if not one.imported]
    listing = Listing.of(
        request,
        [_row(one) for one in found.deals] if found else [],
        total=found.total if found else None,
        after=found.after if found else None,
    )
    return parts(request).pages.render(
        request,
        "picks.html",
        refused.status if refused else 200,
        listing=listing,
        reachable=found is not None,
        chosen=chosen,
        waiting=waiting,
        taken=known.imports,
        limit=limit,
        free=max(0, limit - known.imports - len(waiting)),
        refused=refused,
    )


def _row(deal: m.DealRow) -> dict[str, Any]:
    return {
        "deal_id": deal.deal_id,
        "title": deal.title,
        "stage": deal.stage or None,
        "amount": _amount(deal.amount),
        "currency": deal.currency or "",
        "created_at": deal.created_at,
        "state": _state(deal),
        "pick": "" if deal.imported or deal.picked else deal.deal_id,
    }


def _state(deal: m.DealRow) -> str:
    if deal.imported:
        return "deal_here"
    if deal.picked:
        return "deal_picked"
    return "deal_closed" if deal.closed else "deal_open"


def _amount(text: str | None) -> Decimal | None:
    """The amount, where it can be read exactly."""
    try:
        return parse_amount(text) if text else None
    except ValueError:
        return None
