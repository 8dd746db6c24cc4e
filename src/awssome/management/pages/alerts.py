"""Alerts: what is wrong now, what was, and the rules."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from awssome.control.messages import AlertOut
from awssome.domain.alerts import RULES, Severity
from awssome.management import watching
from awssome.management.pages.guard import AtDesk
from awssome.management.pages.rows import tenant_address
from awssome.web.tables import Listing

FIRST_OPEN = 100
"""So many open alerts are shown at first."""

router = APIRouter()


@router.get("/alerts")
def alerts(request: Request, desk: AtDesk, after: str = "", before: str = "", all: str = "") -> Response:
    """Open alerts by severity and age; cleared ones by page; the rules."""
    with desk.registry.begin() as connection:
        page = watching.alert_page(connection, after, before)
    cleared = Listing.of(request, [alert_row(alert) for alert in page.cleared], after=page.next, before=page.previous)
    shown = page.open if all else page.open[:FIRST_OPEN]
    return desk.pages.render(
        request,
        "alerts.html",
        open=page.open,
        shown=[alert_row(alert) for alert in shown],
        cleared=cleared,
        rules=RULES,
    )


def alert_row(alert: AlertOut) -> dict[str, Any]:
    """An alert's line in a table, and in what needs somebody on the home page."""
    bad = alert.severity is Severity.ERROR
    lasted = alert.cleared_at - alert.opened_at if alert.cleared_at and alert.opened_at else None
    return {
        **alert.model_dump(),
        "href": alert.path,
        "tone": "bad" if bad else "warn",
        "icon": "error" if bad else "warning",
        "tenant_href": tenant_address(alert.tenant_slug) if alert.tenant_slug else None,
        "lasted": lasted,
    }
