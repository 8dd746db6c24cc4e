"""The navigation, and the command palette that finds a tenant, server, move or page."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from awssome.management import operations
from awssome.management.pages.guard import AtDesk

NAVIGATION = (
    ("Home", "/", "home"),
    ("Tenants", "/tenants", "tenant"),
    ("Servers", "/servers", "server"),
    ("Moves", "/moves", "move"),
    ("Syncs", "/syncs", "sync"),
    ("Jobs", "/jobs", "jobs"),
    ("Alerts", "/alerts", "alert"),
    ("Audit log", "/audit", "audit"),
    ("Operators", "/operators", "key"),
)

router = APIRouter()


@router.get("/palette")
def palette(request: Request, desk: AtDesk, q: str = "") -> Response:
    """What the words typed so far may mean: pages first, then what the registry knows."""
    words = q.strip()
    items = [
        {"label": label, "href": href, "icon": icon, "kind": "page"}
        for label, href, icon in NAVIGATION
        if words.lower() in label.lower()
    ]
    if words:
        with desk.registry.begin() as connection:
            found = operations.find(connection, words)
        items += [
            {"label": hit["label"], "href": hit["url"], "icon": hit["kind"], "kind": hit["kind"]} for hit in found
        ]
    return desk.pages.render(request, "palette.html", items=items, query=words)
