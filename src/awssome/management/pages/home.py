"""Is the platform well, and what needs an operator?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from awssome.domain.tenants import Tier
from awssome.domain.times import now
from awssome.management import operations
from awssome.management.pages.guard import AtDesk
from awssome.management.pages.rows import (
    move_address,
    nearly_full,
    server_address,
    server_row,
    takes_tenants,
    tenant_address,
)
from awssome.web import charts
from awssome.web.formats import number, plural

FIRST_NEEDS = 10
"""So many things that need somebody are shown at first."""

router = APIRouter()


@router.get("/")
def home(request: Request, desk: AtDesk, all: str = "") -> Response:
    """The figures, what waits for somebody, and the load of the servers."""
    with desk.registry.begin() as connection:
        figures = operations.overview(connection)
    signups = figures["signups"]
    needs = sorted(_needs(figures), key=lambda need: (need["tone"] != "bad", need["since"] or now()))
    growth = [(f"{day.day} {day:%b}", count) for day, count in signups] if any(count for _, count in signups) else []
    free, paid = (sum(figures["tenants"].get(tier, {}).values()) for tier in Tier)
    return desk.pages.render(
        request,
        "home.html",
        figures=figures,
        free=free,
        paid=paid,
        signed_up=sum(count for _, count in signups),
        today=signups[-1][1],
        queues=[{"queue": queue, **counts} for queue, counts in figures["jobs"].items()],
        waiting=sum(counts["waiting"] for counts in figures["jobs"].values()),
        failed=sum(counts["failed"] for counts in figures["jobs"].values()),
        needs=needs,
        shown=needs if all else needs[:FIRST_NEEDS],
        spark=charts.spark_line([count for _, count in growth]),
        growth=charts.months(growth, columns=("Day", "Sign-ups")),
        servers=[server_row(server) for server in figures["servers"]],
    )


def _needs(figures: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What waits for an operator, each with the page where it can be settled."""
    for tenant in figures["upgrade_requests"]:
        detail = f"asked by {tenant.owner}"
        yield _need(
            "Upgrade requested", tenant.company, tenant_address(tenant.slug), detail, tenant.upgrade_requested_at
        )
    for tenant in figures["troubled"]:
        yield _need("Tenant", tenant.company, tenant_address(tenant.slug), tenant.problem, tenant.created_at, bad=True)
    for move in figures["moves_failed"]:
        route = f"{move.company}: {move.source} → {move.target}"
        yield _need("Failed move", route, move_address(move), move.problem, move.requested_at, bad=True)
    if not any(takes_tenants(server) for server in figures["servers"]):
        yield _need("No open pool", "Servers", "/servers", "Nobody can sign up until a pool is open.", bad=True)
    for server in figures["servers"]:
        href = server_address(server.name)
        if server.problem:
            yield _need("Server", server.name, href, server.problem, bad=True)
        elif nearly_full(server):
            detail = f"{plural(server.free, 'place')} left of {number(server.capacity)}"
            yield _need("Nearly full" if server.free else "Full", server.name, href, detail)


def _need(
    what: str, about: str, href: str, detail: str | None, since: datetime | None = None, *, bad: bool = False
) -> dict[str, Any]:
    tone, icon = ("bad", "cross") if bad else ("warn", "warning")
    return {"what": what, "tone": tone, "icon": icon, "about": about, "href": href, "detail": detail, "since": since}
