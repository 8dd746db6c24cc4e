"""Every component with much, little and no data in both layouts: an application for ourselves, not of the product.

`python -m tests.web.gallery` serves it on loopback; the tests walk it in a real browser.
"""

from __future__ import annotations

import socket
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Form, Request
from fastapi.responses import HTMLResponse, Response

from awssome.domain.errors import Code, Refused
from awssome.web import Pages, charts, furnish
from awssome.web.formats import money, number
from awssome.web.tables import Listing, Order

NOW = datetime(2026, 11, 22, 14, 5, 9, tzinfo=UTC)
SESSION_COOKIE = "awssome_gallery"
TEMPLATES = Path(__file__).parent / "gallery_templates"
STAGES = [
    "Prospect",
    "Qualified",
    "Technical Validation",
    "Business Validation",
    "Committed",
    "Launched",
    "Closed Lost",
]
_CUSTOMERS = [
    "Fabrikam", "Contoso", "Tailspin Toys", "Adatum", "Wingtip", "Bäckerei Müller & Söhne GmbH", "東京データ株式会社",
    "Alpine Ski House", "Proseware", "Lucerne Publishing", "Litware", "Woodgrove Bank",
]  # fmt: skip
_PROJECTS = [
    "data platform",
    "migration wave 2",
    "analytics",
    "security review",
    "renewal",
    "contact centre with voice",
]


def create() -> FastAPI:
    """The gallery as an application, furnished as the product's applications are."""
    app = FastAPI(openapi_url=None)
    pages = Pages(TEMPLATES, app="gallery", clock=lambda: NOW)
    furnish(app, pages, session_cookie=SESSION_COOKIE, form_targets=("https://app.hubspot.com",))
    polls = {"count": 0}

    @app.get("/")
    def home(request: Request, layout: str = "top") -> HTMLResponse:
        polls["count"] = 0
        return pages.render(request, "home.html", layout=layout, months=_months(24), stages=_stages(), **_home())

    @app.get("/nothing")
    def nothing(request: Request, layout: str = "top") -> HTMLResponse:
        values: dict[str, Any] = {"months": _months(0), "stages": charts.bars([], columns=("Stage", "Deals"))}
        return pages.render(request, "nothing.html", layout=layout, listing=_listing(request, 0), **values)

    @app.get("/table")
    def table(request: Request, layout: str = "top", rows: int = 50) -> HTMLResponse:
        return pages.render(request, "table.html", layout=layout, listing=_listing(request, rows))

    @app.get("/forms")
    def forms(request: Request, layout: str = "top") -> HTMLResponse:
        return pages.render(request, "forms.html", layout=layout, errors={}, values={})

    @app.post("/forms")
    def send_form(request: Request, email: str = Form(""), amount: str = Form(""), layout: str = "top") -> Response:
        errors = {"email": "Enter an e-mail address, such as anna@example.com"} if "@" not in email else {}
        if not amount.replace(".", "").isdecimal():
            errors["amount"] = "Enter an amount in digits, such as 1200.50"
        if errors:
            values = {"email": email, "amount": amount}
            return pages.render(request, "forms.html", 422, layout=layout, errors=errors, values=values)
        return pages.redirect(request, "/forms", text=f"Saved {email} <b>as it is</b>.")

    @app.get("/move")
    def move(request: Request, layout: str = "side") -> HTMLResponse:
        return pages.render(request, "move.html", layout=layout, **_move())

    @app.get("/sign-in")
    def sign_in(request: Request) -> HTMLResponse:
        return pages.render(request, "sign_in.html")

    @app.get("/progress")
    def progress(request: Request) -> HTMLResponse:
        polls["count"] += 1
        return pages.render(request, "progress.html", done=60 * polls["count"], finished=polls["count"] >= 4)

    @app.get("/palette")
    def palette(request: Request, q: str = "") -> HTMLResponse:
        known = [
            {"label": "Northwind Cloud", "href": "/?layout=side", "icon": "tenant", "kind": "tenant", "detail": "paid"},
            {"label": "pool-1", "href": "/table?layout=side", "icon": "server", "kind": "server"},
            {"label": "Moves", "href": "/move", "icon": "move", "kind": "page"},
        ]
        found = [item for item in known if q.lower() in item["label"].lower()]
        return pages.render(request, "palette.html", items=found, query=q)

    @app.get("/refused")
    def refused() -> None:
        raise Refused(
            Code.CONFLICT,
            "A sync is running already, started 2 minutes ago by anna@example.com. Nothing was changed.",
            "Wait until it has ended, then sync again.",
        )

    @app.get("/private")
    def private() -> None:
        raise Refused(Code.UNAUTHENTICATED, "You are not signed in.")

    @app.get("/defect")
    def defect() -> None:
        raise RuntimeError("the password is swordfish")

    @app.get("/api/defect")
    def api_defect() -> None:
        raise RuntimeError("the password is swordfish")

    @app.get("/api/items/{item}")
    def api_item(item: int, limit: int) -> dict[str, int]:
        raise Refused(Code.LIMITED, f"Item {item} was asked for too often.", f"Ask {limit} times.", retry_after=2.5)

    return app


def deal(position: int) -> dict[str, Any]:
    """One of any number of invented deals, always the same for the same position."""
    cents = Decimal((position * 7919) % 400_000) * (Decimal("0.75") if position % 9 == 4 else 1)
    return {
        "id": f"d{position}",
        "title": f"{_CUSTOMERS[position % 12]} {_PROJECTS[position % 6]}",
        "url": f"/table?deal={position}",
        "customer": _CUSTOMERS[position % 12],
        "stage": STAGES[position % 7],
        "amount": None if position % 11 == 10 else cents,
        "currency": ("USD", "EUR", "CHF")[position % 3 if position % 4 == 0 else 0],
        "close_date": date(2026, 12, 1) + timedelta(days=position * 3),
        "readiness": ("ready", "ready", "incomplete", "ready", "not_submitted")[position % 5],
        "source": ("HubSpot", "You")[position % 6 == 5],
        "changed": NOW - timedelta(minutes=4 ** min(position, 8) + position * 13),
    }


def _listing(request: Request, rows: int) -> Listing:
    order = Order.of(request, {"title", "amount", "close_date", "changed"}, "-changed")
    found = [row for row in map(deal, range(rows)) if request.query_params.get("q", "").lower() in row["title"].lower()]
    stage = request.query_params.get("stage")
    found = [row for row in found if not stage or row["stage"] == stage]
    many = rows >= 50
    return Listing.of(request, found, order=order, total=1234 if many else len(found), after="k50" if many else None)


def _stages() -> charts.Chart:
    figures = [(stage, count) for stage, count in zip(STAGES, (12, 31, 8, 0, 5, 2, 17), strict=True)]
    return charts.bars(figures, columns=("Stage", "Deals"), links=[f"/table?stage={stage}" for stage in STAGES])


def _months(count: int) -> charts.Chart:
    names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    figures = [(names[(position + 11) % 12], Decimal(20_000 + position * 9_173 % 170_000)) for position in range(count)]
    return charts.months(
        figures,
        columns=("Month", "Value"),
        shown=lambda value: money(Decimal(value), "USD"),
        scale=lambda value: f"${number(Decimal(value) / 1000, 0)}k",
    )


def _home() -> dict[str, Any]:
    return {
        "recent": [deal(position) for position in range(6)],
        "spark": charts.spark_line([3, 4, 4, 6, 5, 8, 9, 9, 12, 11, 14]),
        "events": [
            {"at": NOW - timedelta(minutes=4), "title": "Stage changed from Prospect to Qualified", "who": "HubSpot",
             "icon": "sync", "tone": "accent"},
            {"at": NOW - timedelta(hours=3), "title": "Close date set to 22 Dec 2026", "who": "anna@example.com",
             "icon": "edit", "detail": "It was 1 Mar 2026, which is in the past."},
            {"at": NOW - timedelta(days=1, hours=2), "title": "Could not be read: no industry", "icon": "warning",
             "tone": "warn"},
            {"at": NOW - timedelta(days=40), "title": "Imported from HubSpot", "icon": "download", "tone": "good"},
        ],
    }  # fmt: skip


def _move() -> dict[str, Any]:
    tables = [
        "deal_registrations",
        "deal_events",
        "hubspot_tokens",
        "hubspot_mappings",
        "field_mappings",
        "sync_history",
    ]
    evidence: list[dict[str, Any]] = [
        {
            "name": name,
            "source_rows": 41_280 // (position + 1),
            "target_rows": 41_280 // (position + 1),
            "source_checksum": f"{position + 10:x}f3a5be01c2d44e8a9b7c21e",
            "target_checksum": f"{position + 10:x}f3a5be01c2d44e8a9b7c21e",
        }
        for position, name in enumerate(tables)
    ]
    evidence[4]["target_checksum"] = "00000000000000000000c21f"
    evidence[5]["target_checksum"], evidence[5]["target_rows"] = None, None
    return {
        "evidence": evidence,
        "steps": [
            {"name": "Claim and provision", "state": "done", "time": "33 s"},
            {"name": "Prepare and capture", "state": "done", "time": "0.4 s"},
            {"name": "Copy 102,387 rows", "state": "done", "time": "3.1 s"},
            {"name": "Catch up", "state": "paused", "detail": "Paused by olga@example.com", "time": "31 keys left"},
            {"name": "Verify", "state": "failed", "detail": "field_mappings differs: 1 row", "time": "2.4 s"},
            {"name": "Retain the source, 30 days", "state": "now", "time": "29 d 23 h left"},
            {"name": "Drop the source", "state": "waiting", "time": "22 Dec"},
        ],
        "started": NOW - timedelta(minutes=2),
        "until": NOW + timedelta(days=5),
    }


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
        uvicorn.Server(uvicorn.Config(create(), access_log=False)).run(sockets=[listener])
