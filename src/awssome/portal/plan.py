"""The plan: what it allows and what is used, changing it, and the move that follows, with its progress and evidence."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import RedirectResponse, Response

from awssome.control.client import Caller
from awssome.control.messages import MoveOut, TenantOut, WayBack
from awssome.database import Connection
from awssome.database.tenant import hubspot, imports
from awssome.domain.errors import Code, Refused
from awssome.domain.instances import USUAL
from awssome.domain.moves import AT_ITS_TARGET, OWNERS, UNDER_WAY, MoveKind, Phase
from awssome.domain.tenants import FREE_DEALS, ServerKind, Tier
from awssome.domain.tiers import after_downgrade
from awssome.portal.context import TenantContext
from awssome.portal.guard import ActingOwner, Looks, parts
from awssome.web.formats import duration, plural

router = APIRouter()

Viewer = Annotated[TenantContext, Depends(Looks(fresh=True))]

_KINDS = {
    MoveKind.UPGRADE: "Upgrade",
    MoveKind.ROLLBACK: "Rollback",
    MoveKind.DOWNGRADE: "Change to the free plan",
    MoveKind.REBALANCE: "Move to another server",
}
_STEP = {"done": "done", "now": "now", "todo": "waiting", "failed": "failed"}

_WORDS = {
    "claim": "Begin",
    "server": "Get the server ready",
    "prepare": "Make the place for your data",
    "capture": "Note what changes from here on",
    "copy": "Copy every table",
    "catch_up": "Carry over what changed meanwhile",
    "verify": "Count and compare every table",
    "cut_over": "Pause saving and change over",
    "open": "Open the new place",
    "confirm": "Compare what was left behind once more",
    "retain": "Keep the old copy for the way back",
    "drop": "Archive the old copy and remove it",
}
"""The steps of a move for people who do not run databases."""

_PLACES = {ServerKind.POOL: "the shared server", ServerKind.DEDICATED: "your own server"}

_LONG = timedelta(minutes=40)
"""After so long AWS takes longer than usual to make a database server."""

_ON_THE_WAY = 9
"""So many steps of a move come before a tenant is where it goes; the others follow behind its back."""


@router.get("/plan")
def show(request: Request, me: Viewer) -> Response:
    """Free and paid side by side, and what is under way."""
    return _page(request, me)


@router.get("/plan/progress")
def progress(request: Request, me: Viewer) -> Response:
    """The move as a piece of the page."""
    return parts(request).pages.render(request, "plan_progress.html", polled=True, **_move(request, me))


@router.post("/plan/upgrade")
def upgrade(request: Request, me: ActingOwner) -> Response:
    """Ask for the paid plan; an operator, or what AWS Marketplace confirms, grants it."""
    return _act(request, me, parts(request).control.request_upgrade)


@router.post("/plan/withdraw")
def withdraw(request: Request, me: ActingOwner) -> Response:
    """No longer ask for it."""
    return _act(request, me, parts(request).control.withdraw_upgrade, "You no longer ask for the paid plan.")


@router.post("/plan/cancel")
def cancel(request: Request, me: ActingOwner, move: Annotated[UUID, Form()]) -> Response:
    """Call the move off, until it switches."""
    control = parts(request).control
    return _act(
        request,
        me,
        lambda caller: control.cancel_own_move(caller, move),
        "The move is called off. Your data stays where it is.",
    )


@router.post("/plan/rollback")
def roll_back(request: Request, me: ActingOwner, confirm: Annotated[str, Form()] = "") -> Response:
    """Go back to where the last move came from; the workspace's name is typed first."""
    return _act(request, me, parts(request).control.roll_back, confirm=confirm)


@router.post("/plan/downgrade")
def downgrade(request: Request, me: ActingOwner, confirm: Annotated[str, Form()] = "") -> Response:
    """Go to the free plan; the workspace's name is typed first."""
    return _act(request, me, parts(request).control.downgrade, confirm=confirm)


def _act(
    request: Request, me: TenantContext, act: Callable[[Caller], None], done: str = "", *, confirm: str | None = None
) -> Response:
    """:param confirm: what was typed where the workspace's name is asked for; None: it is not."""
    try:
        if confirm is not None and confirm.strip() != me.tenant.company:
            raise Refused(
                Code.INVALID,
                "The name was not typed as it stands. Nothing was changed.",
                f"Type “{me.tenant.company}” to go on.",
            )
        act(me.person.caller)
    except Refused as refused:
        return _page(request, me, refused)
    me.forget()
    if done:
        return parts(request).pages.redirect(request, "/plan", "success", done)
    return RedirectResponse("/plan", 303)


def _page(request: Request, me: TenantContext, refused: Refused | None = None) -> Response:
    imported, here = me.read(_use)
    return parts(request).pages.render(
        request,
        "plan.html",
        refused.status if refused else 200,
        refused=refused,
        imports=imported,
        limit=FREE_DEALS,
        paid=me.tenant.tier is Tier.PAID,
        after=after_downgrade(here, imported),
        **_move(request, me),
    )


def _use(connection: Connection) -> tuple[int, int]:
    """Deals that ever came in from HubSpot, and those of the account that are here now."""
    known = hubspot.connection(connection)
    return (known.imports, imports.count_live(connection, known.portal_id)) if known else (0, 0)


def _move(request: Request, me: TenantContext) -> dict[str, Any]:
    tenant, move, back = me.tenant, me.tenant.move, me.tenant.way_back
    owner = me.may("owner")
    mine = move is not None and move.kind in OWNERS and owner
    return {
        "tenant": tenant,
        "requested": tenant.tier is Tier.FREE and tenant.upgrade_requested_at is not None,
        "waits_for_server": _waits_for_server(tenant),
        "moving": move is not None and move.phase in UNDER_WAY,
        "move": move,
        "moved": move is not None and move.phase in AT_ITS_TARGET,
        "cancellable": mine and move is not None and move.phase in UNDER_WAY and "cancel" in move.actions,
        "back": back,
        "reversible": back is not None and back.kind in OWNERS and owner,
        "what": _KINDS[move.kind] if move else "Upgrade",
        "source": _source(move) if move else "",
        "target": _target(move) if move else "",
        "back_to": _source(back) if back else "",
        "back_from": _target(back) if back else "",
        "steps": [_step(move, step) for step in move.steps] if move else [],
        "bar": _bar(move) if move else None,
        "expected": _expected(move, parts(request).clock()) if move else "",
    }


def _waits_for_server(tenant: TenantOut) -> bool:
    """Paid for, not on a server of its own, and nothing brings it there yet. Who went back wanted to be there."""
    move = tenant.move
    elsewhere = move is not None and (move.phase in UNDER_WAY or move.phase in (Phase.FAILED, Phase.CANCELLED))
    went_back = move is not None and move.kind is MoveKind.ROLLBACK
    return tenant.tier is Tier.PAID and tenant.server_kind == "pool" and not elsewhere and not went_back


def _source(move: MoveOut | WayBack) -> str:
    return _place(move, move.source, move.source_kind)


def _target(move: MoveOut | WayBack) -> str:
    return _place(move, move.target, move.target_kind)


def _place(move: MoveOut | WayBack, name: str, kind: ServerKind) -> str:
    """One end of the move, for people who do not know servers by name; named where both ends are alike."""
    return _PLACES[kind] if move.source_kind is not move.target_kind else f"{_PLACES[kind]} {name}"


def _step(move: MoveOut, step: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": _WORDS.get(step["key"], step["label"]),
        "state": _STEP.get(str(step["state"]), "waiting"),
        "time": duration(step["seconds"]) if step.get("seconds") is not None else "",
        "detail": _detail(move, step),
    }


def _detail(move: MoveOut, step: dict[str, Any]) -> str:
    rows = step.get("rows")
    if step["key"] == "copy" and rows is not None:
        return f"{plural(rows, 'row')} copied"
    if step["key"] == "catch_up" and rows is not None:
        return f"{plural(rows, 'change')} carried over"
    if step["key"] == "cut_over" and move.write_pause_ms is not None:
        return f"Saving paused for {duration(move.write_pause_ms / 1000)}"
    return ""


def _bar(move: MoveOut) -> dict[str, Any]:
    """What the bar shows: rows while they are copied, else steps; no end while a server is being made."""
    step: dict[str, Any] = next((step for step in move.steps if step["state"] == "now"), {})
    if move.making is not None:
        return {"label": "Your server is being made", "done": 0, "total": None, "unit": ""}
    if step.get("key") == "copy" and step.get("rows") is not None:
        total = max(step["rows"], move.expected_rows or 0)
        return {"label": "Rows copied", "done": step["rows"], "total": total, "unit": "rows"}
    done = sum(1 for step in move.steps[:_ON_THE_WAY] if step["state"] == "done")
    return {"label": "Steps done", "done": done, "total": _ON_THE_WAY, "unit": "steps"}


def _expected(move: MoveOut, at: datetime) -> str:
    """How long it takes, as far as anybody can tell."""
    if move.making is not None:
        so_far = at - move.making.since
        passed = f"{max(1, round(so_far.total_seconds() / 60))} min so far"
        if move.making.stuck:
            return (
                f"AWS has not made your server yet ({passed}). The operators know, and it is tried again. "
                "You work on as before."
            )
        if so_far > _LONG:
            return f"AWS takes longer than usual to make your server: {passed}. You work on as before."
        return f"AWS is making your server: {passed}, usually {USUAL}. You work on as before."
    began = next((datetime.fromisoformat(step["at"]) for step in move.steps if step.get("at")), None)
    if began is None:
        return "It begins in a moment."
    if move.expected_seconds is None:
        return ""
    passed_seconds = max(0.0, (at - began).total_seconds())
    if passed_seconds > 2 * move.expected_seconds:
        return f"It takes longer than expected: {duration(passed_seconds)} so far. You work on as before."
    return f"Takes about {duration(move.expected_seconds)}; {duration(passed_seconds)} so far."
