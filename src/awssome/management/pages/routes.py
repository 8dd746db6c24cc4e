"""The pages as one piece: templates, words of state, navigation, routes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request

from awssome.domain.archives import LARGEST_UPLOAD
from awssome.management.pages import (
    alerts,
    archives,
    audit,
    guard,
    home,
    jobs,
    lifecycle,
    moves,
    operators,
    palette,
    servers,
    sign_in,
    syncs,
    tenants,
    use,
)
from awssome.web import Pages, furnish
from awssome.web.metrics import Metrics
from awssome.web.states import State
from awssome.workflows.services import Services

TEMPLATES = Path(__file__).parents[1] / "templates"

STATES = {
    # phases of a move
    "requested": State("Requested", "neutral", "clock"),
    "provisioning": State("Provisioning", "accent", "running"),
    "copying": State("Copying", "accent", "running"),
    "verifying": State("Verifying", "accent", "running"),
    "cutting_over": State("Cutting over", "accent", "running"),
    "switched": State("Opening the target", "accent", "running"),
    "retaining": State("Done, source kept", "good", "check"),
    "dropping": State("Dropping the source", "accent", "running"),
    "dropped": State("Done, source dropped", "good", "check"),
    # servers that AWS makes
    "instance_wanted": State("Asked for at AWS", "accent", "running"),
    "instance_creating": State("AWS is making it", "accent", "running"),
    "instance_preparing": State("Being prepared", "accent", "running"),
    "instance_failed": State("Not made", "bad", "cross"),
    "instance_retiring": State("Being taken away", "neutral", "archive"),
    "instance_deleting": State("AWS is deleting it", "neutral", "archive"),
    "instance_deleted": State("Deleted, last snapshot kept", "neutral", "archive"),
    # placements
    "new": State("Being made", "accent", "running"),
    "retained": State("Kept", "neutral", "archive"),
    # archives and restores
    "loading": State("Loading", "accent", "running"),
    "verified": State("Verified", "accent", "running"),
    "expired": State("No longer kept", "neutral", "cross"),
    # HubSpot
    "none": State("Not connected", "neutral", "cross"),
    "reconnect": State("Reconnect", "warn", "warning"),
    # jobs
    "todo": State("Waiting", "neutral", "clock"),
    "doing": State("Running", "accent", "running"),
    "aborting": State("Stopping", "warn", "pause"),
    "aborted": State("Stopped", "neutral", "cross"),
}


def install(app: FastAPI, services: Services, metrics: Metrics) -> None:
    """Furnish the application and put the operators' pages on it."""
    pages = Pages(TEMPLATES, app="management", context=_context, states=STATES)
    app.state.services, app.state.pages = services, pages
    uploads = {r"/api/v1/tenants/[^/]+/archives/uploads": LARGEST_UPLOAD + 1}
    furnish(app, pages, session_cookie=guard.SESSION_COOKIE, larger_bodies=uploads, metrics=metrics)
    rooms = (
        sign_in,
        home,
        tenants,
        archives,
        servers,
        use,
        lifecycle,
        moves,
        syncs,
        jobs,
        alerts,
        audit,
        operators,
        palette,
    )
    for room in rooms:
        app.include_router(room.router)


def _context(request: Request) -> Mapping[str, Any]:
    return {"operator": guard.known_operator(request), "navigation": palette.NAVIGATION}
