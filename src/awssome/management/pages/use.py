"""What is used, as tables, tiles and charts show it; and the page of a server's heaviest tenants."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from awssome.control.messages import Consumer, DayLoad, DayUse, ServerDetail, TenantUse
from awssome.database.registry.usage import SORTS
from awssome.domain.times import now
from awssome.management import watching
from awssome.management.pages.guard import AtDesk
from awssome.management.pages.rows import server_row, tenant_address
from awssome.web import charts
from awssome.web.formats import day, plural, relative, size
from awssome.web.tables import Listing, Order

ROOM = 10
"""Days that a chart has space for at least."""

router = APIRouter()


@router.get("/servers/{name}/consumers")
def consumers(request: Request, desk: AtDesk, name: str) -> Response:
    """The tenants that use most of a server, by what the address asks for (?sort=)."""
    order = Order.of(request, SORTS, "-bytes")
    with desk.registry.begin() as connection:
        server = watching.server_detail(connection, name, str(order))
    listing = Listing.of(request, [consumer_row(consumer) for consumer in server.consumers], order=order)
    return desk.pages.render(
        request, "consumers.html", server=server, row=server_row(server), listing=listing, seen=seen(server)
    )


def consumer_row(consumer: Consumer) -> dict[str, Any]:
    """A tenant's line in a table of use."""
    return {**consumer.model_dump(), "href": tenant_address(consumer.slug)}


def seen(server: ServerDetail) -> str:
    """When figures were collected, in words."""
    return f"collected {relative(server.load.at, now())}" if server.load else "no figures yet"


def full_in_words(server: ServerDetail) -> str:
    """When a pool will be full."""
    if server.forecast is None:
        return "a forecast takes three days of figures"
    if server.forecast.full_on is None:
        return "at this rate never full" if server.forecast.a_day <= 0 else "at this rate not full for years"
    return f"at this rate full on {day(server.forecast.full_on)}"


def server_growth(server: ServerDetail) -> dict[str, charts.Chart]:
    """Places taken and data, by day."""
    return {
        "places": charts.months(
            [(_label(each.day), each.tenants + each.retained) for each in server.days],
            columns=("Day", "Places taken"),
            room=ROOM,
        ),
        "data": _data(server.days),
    }


def tenant_use_view(use: TenantUse) -> dict[str, Any]:
    """What a tenant's page shows of its use."""
    return {
        **use.model_dump(exclude={"days"}),
        "about": f"collected {relative(use.at, now())}" if use.at else "",
        "growth": _data(use.days),
    }


def connections_in_words(server: ServerDetail) -> str:
    """The note below a server's connections."""
    if server.load is None:
        return "no figures yet"
    limit = "without a limit" if server.load.connection_limit is None else f"of {server.load.connection_limit:,}"
    return f"{limit}, {plural(server.load.blocked, 'session')} blocked" if server.load.blocked else limit


def _data(days: Sequence[DayLoad] | Sequence[DayUse]) -> charts.Chart:
    figures = [(_label(each.day), each.bytes) for each in days]
    return charts.months(figures, columns=("Day", "Data"), shown=_size, room=ROOM)


def _label(value: date) -> str:
    return f"{value.day} {value:%b}"


def _size(value: charts.Figure) -> str:
    return size(int(value))
