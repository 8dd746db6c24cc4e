"""The plan: what it allows, what is used, the upgrade and its progress, and where the data is."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from awssome.control.messages import MoveOut, TenantOut
from awssome.database.tenant import hubspot
from awssome.domain.moves import UNDER_WAY, MoveKind, Phase
from awssome.domain.tenants import FREE_DEALS, Tier
from awssome.portal.context import TenantContext
from awssome.portal.guard import ActingOwner, Looks, parts
from awssome.web.formats import duration

router = APIRouter()

Viewer = Annotated[TenantContext, Depends(Looks(fresh=True))]

_KINDS = {MoveKind.UPGRADE: "Upgrade", MoveKind.ROLLBACK: "Rollback"}
_STEP = {"done": "done", "now": "now", "todo": "waiting", "failed": "failed"}


@router.get("/plan")
def show(request: Request, me: Viewer) -> Response:
    """Free and paid side by side, and what is under way."""
    connection = me.read(hubspot.connection)
    return parts(request).pages.render(
        request,
        "plan.html",
        imports=connection.imports if connection else 0,
        limit=FREE_DEALS,
        paid=me.tenant.tier is Tier.PAID,
        **_upgrade(me.tenant),
    )


@router.get("/plan/progress")
def progress(request: Request, me: Viewer) -> Response:
    """The upgrade as a piece of the page."""
    return parts(request).pages.render(request, "plan_progress.html", polled=True, **_upgrade(me.tenant))


@router.post("/plan/upgrade")
def upgrade(request: Request, me: ActingOwner) -> Response:
    """Ask for the paid plan; an operator grants it."""
    parts(request).control.request_upgrade(me.person.caller)
    me.forget()
    return RedirectResponse("/plan", 303)


def _upgrade(tenant: TenantOut) -> dict[str, Any]:
    move = tenant.move
    return {
        "tenant": tenant,
        "requested": tenant.tier is Tier.FREE and tenant.upgrade_requested_at is not None,
        "moving": move is not None and move.phase in UNDER_WAY,
        "move": move,
        "moved": move is not None and move.phase in (Phase.RETAINING, Phase.DROPPING, Phase.DROPPED),
        "rollback_until": move.retain_until if move and move.phase is Phase.RETAINING else None,
        "what": _KINDS.get(move.kind, "Move") if move else "Upgrade",
        "steps": _steps(move) if move else [],
    }


def _steps(move: MoveOut) -> list[dict[str, Any]]:
    return [
        {
            "name": step["label"],
            "state": _STEP.get(str(step["state"]), "waiting"),
            "time": duration(step["seconds"]) if step.get("seconds") is not None else "",
        }
        for step in move.steps
    ]
