"""The inbox: deals that could not be imported, why, and what somebody can do about each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from awssome.control import messages as m
from awssome.database import Connection
from awssome.database.tenant import failures, hubspot
from awssome.database.tenant.failures import Failure
from awssome.domain.errors import Code, Refused
from awssome.domain.syncs import FailureState, SyncKind
from awssome.portal.deals import label_of, short
from awssome.portal.guard import ActingMember, Viewer, parts
from awssome.web.formats import plural
from awssome.web.tables import Listing

router = APIRouter()

PAGE = 50

_FURTHEST = 1_000_000_000
_ID = re.compile(r"[!-~]{1,32}")

_SHOWN = {
    "": ("Waiting", failures.WAITING),
    "dismissed": ("Dismissed", (FailureState.DISMISSED,)),
    "resolved": ("Resolved", (FailureState.RESOLVED,)),
}
"""What the address asks for: how it is called, and which states it means."""


@router.get("/hubspot/inbox")
def show(request: Request, me: Viewer, after: int = 0) -> Response:
    """The deals that wait, or those that somebody or a sync is done with."""
    start, asked = min(max(after, 0), _FURTHEST), request.query_params.get("show", "")
    states = _SHOWN.get(asked, _SHOWN[""])[1]

    def read(connection: Connection) -> tuple[list[Failure], Mapping[FailureState, int]]:
        known = hubspot.connection(connection)
        if known is None:
            return [], dict.fromkeys(FailureState, 0)
        found = failures.find(connection, known.portal_id, states, limit=PAGE, offset=start)
        return found, failures.count(connection, known.portal_id)

    found, counts = me.read(read)
    total = sum(counts[state] for state in states)
    listing = Listing.of(
        request,
        [_row(request, one) for one in found],
        total=total,
        after=str(start + PAGE) if start + PAGE < total else None,
        before=str(max(start - PAGE, 0)) if start else None,
    )
    return parts(request).pages.render(
        request,
        "inbox.html",
        listing=listing,
        options=[(value, f"{name} ({sum(counts[one] for one in each):,})") for value, (name, each) in _SHOWN.items()],
        waiting=sum(counts[state] for state in failures.WAITING),
        done=asked == "resolved",
        dismissed=asked == "dismissed",
    )


Selected = Annotated[list[str] | None, Form()]


@router.post("/hubspot/inbox")
def act(request: Request, me: ActingMember, do: Annotated[str, Form()] = "", selected: Selected = None) -> Response:
    """Try the selected deals again, or tell of them no more. `do`: retry, all or dismiss."""
    pages, chosen = parts(request).pages, [one for one in selected or [] if _ID.fullmatch(one)][:500]
    if do == "dismiss" and chosen:
        done = me.write(lambda connection: _dismiss(connection, chosen, me.person.email))
        return pages.redirect(request, "/hubspot/inbox", "success", f"{plural(done, 'deal')} dismissed.")
    if do == "all" or (do == "retry" and chosen):
        body = m.StartSync(kind=SyncKind.RETRY, deal_ids=None if do == "all" else chosen)
        try:
            started = parts(request).control.start_sync(me.person.caller, body)
        except Refused as refused:
            if refused.code is not Code.CONFLICT:
                raise
            return pages.redirect(request, "/hubspot/inbox", "warning", refused.whole)
        if started.kind is not SyncKind.RETRY:
            text = "Another run is under way. Try these deals again when it has ended."
            return pages.redirect(request, "/hubspot/inbox", "warning", text)
        return pages.redirect(request, "/hubspot", "info", "The deals are tried again.")
    return pages.redirect(request, "/hubspot/inbox", "info", "No deal was selected, so nothing was changed.")


def waiting(connection: Connection) -> int:
    """How many deals of the account that is connected wait in the inbox."""
    known = hubspot.connection(connection)
    if known is None:
        return 0
    return sum(failures.count(connection, known.portal_id, failures.WAITING).values())


def _dismiss(connection: Connection, deal_ids: list[str], by: str) -> int:
    known = hubspot.connection(connection)
    return failures.dismiss(connection, known.portal_id, deal_ids, by) if known else 0


def _row(request: Request, one: Failure) -> dict[str, Any]:
    return {
        "deal_id": one.deal_id,
        "title": short(one.title or f"Deal {one.deal_id}"),
        "url": f"{parts(request).hubspot_origin}/contacts/{one.portal_id}/record/0-3/{one.deal_id}",
        "here": f"/deals/{one.registration_id}" if one.registration_id else None,
        "field": label_of(one.field) if one.field else None,
        "value": short(one.value) if one.value else None,
        "reason": one.reason,
        "advice": one.advice,
        "attempts": one.attempts,
        "last_at": one.last_at,
        "report": f"/hubspot/syncs/{one.last_sync_id}",
        "retrying": one.state is FailureState.RETRYING,
        "resolved_at": one.resolved_at,
        "resolved_by": one.resolved_by,
    }
