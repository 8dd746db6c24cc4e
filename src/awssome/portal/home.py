"""The first page: for visitors what Awssome does, for a tenant's people how things stand and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from awssome.database import Connection
from awssome.database.tenant import deals, figures, hubspot, syncs
from awssome.database.tenant.figures import MonthValue, Summary
from awssome.database.tenant.hubspot import HubSpotConnection
from awssome.database.tenant.syncs import Sync
from awssome.domain.deals import Stage
from awssome.domain.errors import Code, Refused
from awssome.domain.syncs import ConnectionState, SyncState
from awssome.domain.tenants import Role, Tier
from awssome.portal import inbox, marketplace
from awssome.portal.context import TenantContext
from awssome.portal.deal_rows import Row, rows
from awssome.portal.guard import Looks, caller, parts, today
from awssome.portal.syncs import is_late
from awssome.web.charts import Chart, Figure, bars, months
from awssome.web.formats import money, number, plural

router = APIRouter()

_LOOKS = Looks()
_MONTHS_BACK, _MONTHS = 5, 12


@router.get("/")
def show(request: Request) -> Response:
    """The start page for visitors, the home page for people of a tenant."""
    if caller(request).session:
        try:
            return _home(request, _LOOKS(request))
        except Refused as refused:
            if refused.code is not Code.UNAUTHENTICATED:
                raise
    addresses = parts(request).addresses
    if addresses.label(request.headers["host"]) != addresses.label(addresses.shared()):
        return RedirectResponse("/sign-in", 303)
    return parts(request).pages.render(request, "start.html")


@dataclass(frozen=True)
class _Standing:
    """How things stand in a tenant, of one instant."""

    summary: Summary
    stages: Mapping[Stage, int]
    values: Sequence[MonthValue]
    worth: Mapping[str, Decimal]
    recent: Sequence[Row]
    connection: HubSpotConnection | None
    sync: Sync | None
    inbox: int


def _home(request: Request, me: TenantContext) -> Response:
    day = today(request)
    first = _month(day, -_MONTHS_BACK)
    last = _month(first, _MONTHS) - timedelta(days=1)

    def read(connection: Connection) -> _Standing:
        return _Standing(
            figures.summary(connection, today=day),
            figures.by_stage(connection),
            figures.by_month(connection, first, last),
            figures.open_value(connection),
            rows(deals.recent(connection, today=day)),
            hubspot.connection(connection),
            syncs.latest(connection, imports=True),
            inbox.waiting(connection),
        )

    standing = me.read(read)
    main, *others = list(standing.worth) or ["USD"]
    return parts(request).pages.render(
        request,
        "home.html",
        standing=standing,
        arrived=_may_use_subscription(request, me),
        step=_next_step(me, standing),
        connected=_connected(standing),
        first_time=not standing.summary.deals and _unconnected(standing.connection),
        stages=_stage_chart(standing.stages),
        months=_month_chart(standing.values, first, main),
        late=is_late(standing.sync, parts(request).clock()),
        sync_note=_sync_note(standing.sync),
        open_value=_whole(standing.worth.get(main, Decimal(0)), main),
        further_value=", ".join(_whole(standing.worth[unit], unit) for unit in others),
        currency=main,
    )


@dataclass(frozen=True)
class _Step:
    """The one thing to do next."""

    kind: str
    title: str
    text: str
    href: str
    action: str


def _may_use_subscription(request: Request, me: TenantContext) -> bool:
    """Whether somebody came from AWS Marketplace, and had to sign up before."""
    return bool(marketplace.waiting(request)) and me.may(Role.OWNER) and me.tenant.tier is Tier.FREE


def _next_step(me: TenantContext, standing: _Standing) -> _Step | None:
    connection, sync = standing.connection, standing.sync
    waiting = standing.summary.waiting
    if connection is not None and connection.state is ConnectionState.RECONNECT:
        text = "HubSpot no longer lets Awssome in. Your deals are as they were; new ones do not come in."
        return _Step("warning", "Connect HubSpot again.", text, "/hubspot", "Reconnect")
    if not _connected(standing):
        text = "Then your deals come in with one click. Awssome only reads them, HubSpot is never changed."
        return _Step("info", "Connect HubSpot.", text, "/hubspot", "Connect HubSpot")
    if sync is None:
        text = "HubSpot is connected. Bring your deals in."
        return _Step("info", "Sync your deals.", text, "/hubspot", "Go to HubSpot")
    if sync.state is SyncState.FAILED:
        text = sync.problem or "It could not be finished. Deals that came in before are kept."
        return _Step("warning", "The last sync did not finish.", text, f"/hubspot/syncs/{sync.id}", "See why")
    if standing.inbox:
        title = f"{plural(standing.inbox, 'deal')} could not be imported."
        text = "The others came in. Each of these waits with its reason, and can be tried again."
        return _Step("warning", title, text, "/hubspot/inbox", "Open the inbox")
    if waiting:
        title = f"{plural(waiting, 'deal needs', 'deals need')} an answer before AWS can take {_them(waiting)}."
        return _Step("warning", title, "Nothing is lost meanwhile.", "/deals?readiness=incomplete", "Answer")
    if me.tenant.aws_choice != "linked":
        text = "Deals are sent to AWS through a role in your account, later. You can set it up now."
        return _Step("info", "Link your AWS account.", text, "/people#aws", "Link AWS")
    return None


def _sync_note(sync: Sync | None) -> str:
    if sync is None:
        return "none yet"
    if sync.open:
        return "under way"
    if sync.state is SyncState.CANCELLED:
        return "ended by somebody"
    if sync.state is SyncState.FAILED or sync.available is None:
        return "did not finish"
    return f"{number(sync.imported)} of {plural(sync.available, 'deal')}"


def _connected(standing: _Standing) -> bool:
    return standing.connection is not None and standing.connection.state is ConnectionState.CONNECTED


def _unconnected(connection: HubSpotConnection | None) -> bool:
    return connection is None or connection.state is ConnectionState.DISCONNECTED


def _stage_chart(stages: Mapping[Stage, int]) -> Chart:
    counts = [(str(stage), count) for stage, count in stages.items()] if any(stages.values()) else []
    links = [f"/deals?stage={stage}" for stage in stages]
    return bars(counts, columns=("Stage", "Deals"), links=links)


def _month_chart(values: Sequence[MonthValue], first: date, currency: str) -> Chart:
    amounts = {(each.year, each.month): each.amount for each in values if each.currency == currency}
    shown = [_month(first, offset) for offset in range(_MONTHS)] if amounts else []
    columns: list[tuple[str, Figure]] = [
        (f"{month:%b ’%y}" if month.month == 1 else f"{month:%b}", amounts.get((month.year, month.month), Decimal(0)))
        for month in shown
    ]
    return months(columns, columns=("Month", "Value"), shown=partial(_amount, currency), scale=_short)


def _amount(currency: str, figure: Figure) -> str:
    return money(figure, currency)


def _whole(amount: Decimal, currency: str) -> str:
    """A sum in whole units, as one glances at it; each deal shows its exact amount."""
    return money(amount.quantize(Decimal(1)) if abs(amount) >= 1000 else amount, currency)


def _short(figure: Figure) -> str:
    for size, unit in ((10**9, "bn"), (10**6, "m"), (10**3, "k")):
        if figure >= size:
            return f"{number((Decimal(figure) / size).normalize() + 0)}{unit}"
    return number(figure)


def _month(day: date, offset: int) -> date:
    """The first day of the month that is `offset` months away."""
    position = day.year * 12 + day.month - 1 + offset
    return date(position // 12, position % 12 + 1, 1)


def _them(count: int) -> str:
    return "it" if count == 1 else "them"
