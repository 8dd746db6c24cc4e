"""What operators see of use, load and alerts; the central API and the pages both call these."""

from __future__ import annotations

from typing import Any

from awssome.control import messages as m
from awssome.database import Connection
from awssome.database.registry import alerts, servers, tenants, usage, watch
from awssome.database.registry.alerts import Standing
from awssome.domain.alerts.rules import RULE
from awssome.domain.forecast import WINDOW_DAYS
from awssome.domain.tenants import Tier
from awssome.domain.times import now
from awssome.management import views

CONSUMERS = 20
"""So many tenants of a server are shown with what they use."""


def standing(connection: Connection) -> list[m.AlertOut]:
    """What is wrong now, errors first, then the oldest."""
    names = {row.id: row.name for row in servers.every(connection)}
    return [_standing(alert, names) for alert in alerts.standing(connection, now())]


def alert_page(connection: Connection, after: str = "", before: str = "", limit: int = 50) -> m.AlertPage:
    """What is wrong now, and a page of what is over."""
    page = alerts.cleared(connection, after=after, before=before, limit=limit)
    return m.AlertPage(
        open=standing(connection),
        cleared=[_cleared(row) for row in page.rows],
        next=page.after,
        previous=page.before,
    )


def server_detail(connection: Connection, name: str, sort: str = "-bytes") -> m.ServerDetail:
    """One server with its load, forecast and heaviest tenants.

    :param sort: one of `usage.SORTS`, falling with a `-` in front.
    :raises Refused: NOT_FOUND; INVALID for another order.
    """
    row, at = servers.by_name(connection, name), now()
    seen, foretold = usage.latest(connection, row.id), watch.fill(connection, row, at)
    return m.ServerDetail(
        **views.server(row).model_dump(),
        silence=row.silence,
        load=_load(seen) if seen else None,
        forecast=m.ForecastOut(a_day=foretold.a_day, full_on=foretold.full_on) if foretold else None,
        days=[
            m.DayLoad(day=day.day, tenants=day.tenants, retained=day.retained, bytes=day.bytes)
            for day in usage.server_days(connection, row.id, at.date(), WINDOW_DAYS)
        ],
        consumers=[_consumer(found) for found in usage.consumers(connection, row.id, sort, CONSUMERS)],
        alerts=[alert for alert in standing(connection) if alert.server == row.name],
    )


def tenant_use(connection: Connection, ref: str) -> m.TenantUse:
    """What a tenant uses, and its last days. :raises Refused: NOT_FOUND."""
    tenant = tenants.by_ref(connection, ref)
    seen = usage.of_tenant(connection, tenant.id)
    return m.TenantUse(
        at=seen.at if seen else None,
        rows=seen.rows if seen else 0,
        bytes=seen.bytes if seen else 0,
        connections=seen.connections if seen else 0,
        statements=seen.statements if seen else None,
        statement_seconds=_seconds(seen.statement_ms) if seen else None,
        days=[
            m.DayUse(
                day=day.day,
                rows=day.rows,
                bytes=day.bytes,
                statements=day.statements,
                statement_seconds=_seconds(day.statement_ms),
            )
            for day in usage.tenant_days(connection, tenant.id, now().date(), WINDOW_DAYS)
        ],
    )


def _standing(alert: Standing, names: dict[Any, str]) -> m.AlertOut:
    finding, rule = alert.finding, RULE[alert.finding.rule]
    return m.AlertOut(
        rule=rule.name,
        title=rule.title,
        severity=finding.severity,
        about=finding.about,
        path=finding.path,
        message=finding.message,
        meaning=rule.meaning,
        advice=rule.advice,
        server=names.get(finding.server_id),
        tenant=finding.tenant.company if finding.tenant else None,
        tenant_slug=finding.tenant.slug if finding.tenant else None,
        opened_at=alert.opened_at,
        mailed_at=alert.mailed_at,
        cleared_at=None,
    )


def _cleared(row: Any) -> m.AlertOut:
    """A rule may be gone since."""
    rule = RULE.get(row.rule)
    return m.AlertOut(
        rule=row.rule,
        title=rule.title if rule else row.rule,
        severity=row.severity,
        about=row.detail["about"],
        path=row.detail["path"],
        message=row.message,
        meaning=rule.meaning if rule else "",
        advice=rule.advice if rule else "",
        server=row.server,
        tenant=row.company,
        tenant_slug=row.slug,
        opened_at=row.opened_at,
        mailed_at=row.mailed_at,
        cleared_at=row.cleared_at,
    )


def _load(seen: Any) -> m.LoadOut:
    return m.LoadOut(
        at=seen.at,
        bytes=seen.bytes,
        rows=seen.rows,
        connections=seen.connections,
        connection_limit=seen.connection_limit,
        longest_s=seen.longest_s,
        blocked=seen.blocked,
    )


def _consumer(row: Any) -> m.Consumer:
    return m.Consumer(
        company=row.company,
        slug=row.slug,
        tier=Tier(row.tier),
        state=row.state,
        rows=row.rows,
        bytes=row.bytes,
        connections=row.connections,
        statements=row.statements,
        statement_seconds=_seconds(row.statement_ms),
    )


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
