"""Is the platform well, and what needs an operator?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from awssome.control.messages import AlertOut
from awssome.domain.tenants import Tier
from awssome.domain.times import now
from awssome.management import operations, watching
from awssome.management.pages.alerts import alert_row
from awssome.management.pages.guard import AtDesk
from awssome.management.pages.rows import server_row, tenant_address
from awssome.web import charts

FIRST_NEEDS = 10
"""So many things that need somebody are shown at first."""

router = APIRouter()


@router.get("/")
def home(request: Request, desk: AtDesk, all: str = "") -> Response:
    """The figures, what waits for somebody, and the load of the servers."""
    with desk.registry.begin() as connection:
        figures = operations.overview(connection)
        alerts = watching.standing(connection)
    signups = figures["signups"]
    needs = sorted(_needs(figures, alerts), key=lambda need: (need["tone"] != "bad", need["since"] or now()))
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


def _needs(figures: dict[str, Any], alerts: list[AlertOut]) -> Iterator[dict[str, Any]]:
    """What waits for an operator, each with the page where it can be settled."""
    for tenant in figures["upgrade_requests"]:
        yield {
            "what": "Upgrade requested",
            "tone": "warn",
            "icon": "warning",
            "about": tenant.company,
            "href": tenant_address(tenant.slug),
            "detail": f"asked by {tenant.owner}",
            "since": tenant.upgrade_requested_at,
        }
    for row in map(alert_row, alerts):
        yield {**row, "what": row["title"], "detail": row["message"], "since": row["opened_at"]}
