"""The portal as an application: its parts, its routes, its hosts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.requests import Request

from awssome.control.client import Control
from awssome.database.sessions import Sessions
from awssome.domain.addresses import Addresses
from awssome.domain.limits import LIMITS, Limits
from awssome.domain.tenants import Tier
from awssome.portal import (
    account,
    deals,
    exports,
    home,
    hubspot_connection,
    inbox,
    mapping,
    marketplace,
    metrics,
    people,
    picks,
    plan,
    returning,
    sign_in,
    sign_up,
    syncs,
    workspaces,
)
from awssome.portal.admission import Admission
from awssome.portal.context import AskAgain, Contexts
from awssome.portal.guard import SESSION_COOKIE, Elsewhere, Parts, caller, send_elsewhere
from awssome.portal.hosts import Hosts
from awssome.portal.limiter import Limiter
from awssome.portal.marks import FormMarks
from awssome.web import Pages, furnish
from awssome.web.errors import StandingAnswers
from awssome.web.states import State

STATES = {
    "incomplete": State("Incomplete", "warn", "warning"),
    "hubspot_connected": State("✓ HubSpot Connected", "good", "link"),
    "hubspot_reconnect": State("Reconnect needed", "bad", "warning"),
    "hubspot_none": State("Not connected", "neutral", "link"),
    "not_for_aws": State("Not for AWS", "neutral", "cross"),
    "not_submitted": State("not submitted", "neutral", "clock"),
    "owner": State("Owner", "accent", "key"),
    "admin": State("Admin", "neutral", "settings"),
    "member": State("Member", "neutral", "people"),
    "viewer": State("Viewer", "neutral", "dot"),
    "retained": State("Deleted", "neutral", "trash"),
    "left_out": State("Left out", "warn", "warning"),
    "skipped": State("Left out by your mapping", "neutral", "filter"),
    "would_create": State("Would come in", "good", "plus"),
    "would_update": State("Would change", "accent", "edit"),
    "retrying": State("Being tried again", "accent", "running"),
    "import": State("Sync", "neutral", "sync"),
    "preview": State("Preview", "neutral", "search"),
    "retry": State("Retry", "neutral", "back"),
    "parked": State("Waiting", "warn", "clock"),
    "deal_here": State("Imported", "good", "check"),
    "deal_picked": State("Picked", "accent", "check"),
    "deal_open": State("Open", "neutral", "dot"),
    "deal_closed": State("Closed", "neutral", "lock"),
    "expired": State("No longer kept", "neutral", "cross"),
}


@dataclass(frozen=True)
class Options:
    """What the portal is made of.

    :ivar control: the central API, with the portal's service token.
    :ivar sessions: opens the tenants' sessions; the portal has no credential of its own.
    :ivar addresses: the domain that it serves.
    :ivar hubspot_origin: scheme and host of HubSpot's own pages: the consent page, and the deals that we link to.
    :ivar clock: the present time as pages see it; screenshots stop it.
    :ivar limits: what a tenant of each tier may take; benchmarks lift them.
    :ivar metrics_token: opens /metrics; "" keeps it shut.
    """

    control: Control
    sessions: Sessions
    addresses: Addresses
    hubspot_origin: str = "https://app.hubspot.com"
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    limits: Mapping[Tier, Limits] = field(default_factory=lambda: LIMITS)
    metrics_token: str = field(default="", repr=False)


def create(options: Options) -> FastAPI:
    """The portal."""
    app = FastAPI(title="Awssome", openapi_url=None, docs_url=None, redoc_url=None)
    pages = Pages(
        Path(__file__).parent / "templates", app="portal", context=_everywhere, states=STATES, clock=options.clock
    )
    contexts, limiter = Contexts(options.control, options.sessions), Limiter()
    app.state.parts = Parts(
        control=options.control,
        contexts=contexts,
        pages=pages,
        addresses=options.addresses,
        hubspot_origin=options.hubspot_origin.rstrip("/"),
        clock=options.clock,
        limits=options.limits,
        limiter=limiter,
    )
    figures = metrics.metrics_of(options.sessions)
    app.get("/healthz")(health)
    app.include_router(metrics.router(figures, options.metrics_token))
    rooms = (
        home,
        sign_up,
        sign_in,
        returning,
        workspaces,
        deals,
        hubspot_connection,
        syncs,
        mapping,
        inbox,
        picks,
        plan,
        marketplace,
        people,
        exports,
        account,
    )
    for module in rooms:
        app.include_router(module.router)
    for kind in (Elsewhere, AskAgain):
        app.add_exception_handler(kind, send_elsewhere)
    app.add_middleware(Hosts, addresses=options.addresses)
    own_hosts = f"{options.addresses.scheme}://*.{options.addresses.domain}{options.addresses.suffix}"
    bare = options.addresses.url(options.addresses.bare()).rstrip("/")
    furnish(
        app,
        pages,
        session_cookie=SESSION_COOKIE,
        form_targets=(*_hubspot(options.hubspot_origin.rstrip("/")), bare, own_hosts),
        metrics=figures,
        gate=Middleware(
            Admission,
            contexts=contexts,
            limits=options.limits,
            limiter=limiter,
            answers=StandingAnswers(pages, plain=(".csv",)),
        ),
    )
    return app


def _hubspot(origin: str) -> tuple[str, ...]:
    """Where HubSpot's pages are: an account's may be in another region, on a host of its own."""
    return (origin, "https://*.hubspot.com") if origin.endswith(".hubspot.com") else (origin,)


def health() -> dict[str, str]:
    """That this process serves. Whether the central API answers is not asked: tenants outlive it."""
    return {"status": "ok"}


def _everywhere(request: Request) -> Mapping[str, Any]:
    """What each page finds, as far as it is known: who is signed in and in which tenant."""
    me = getattr(request.state, "tenant_context", None)
    return {
        "person": getattr(request.state, "person", None),
        "me": me,
        "marks": FormMarks(request, me),
        "has_session": bool(caller(request).session),
    }
