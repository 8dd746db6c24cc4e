"""What tenants use, how servers fare, and what is wrong."""

from __future__ import annotations

from datetime import date, datetime

from pydantic import Field

from awssome.control.messages.base import Body
from awssome.control.messages.servers import ServerRow
from awssome.domain.alerts import Severity
from awssome.domain.tenants import Tier


class AlertOut(Body):
    """Something that operators have to be told of."""

    rule: str
    title: str
    severity: Severity
    about: str
    path: str = Field(description="the subject's page in the management portal")
    message: str
    meaning: str
    advice: str
    server: str | None
    tenant: str | None = Field(description="company of the tenant behind it")
    tenant_slug: str | None
    opened_at: datetime | None = Field(description="none: found just now, and not written down yet")
    mailed_at: datetime | None
    cleared_at: datetime | None


class AlertPage(Body):
    """What is wrong now, and one page of what is over, newest first."""

    open: list[AlertOut]
    cleared: list[AlertOut]
    next: str | None
    previous: str | None = None


class Consumer(Body):
    """A tenant's use of a server; statements are today's (UTC), none where the server does not count."""

    company: str
    slug: str
    tier: Tier
    state: str
    rows: int
    bytes: int
    connections: int
    statements: int | None
    statement_seconds: float | None


class LoadOut(Body):
    """How a server fared when it was looked at."""

    at: datetime
    bytes: int
    rows: int
    connections: int
    connection_limit: int | None
    longest_s: float | None
    blocked: int


class ForecastOut(Body):
    """When a pool is full, if it goes on as in the last 30 days."""

    a_day: float
    full_on: date | None = Field(description="none: not in sight")


class DayLoad(Body):
    """A server at the end of a day."""

    day: date
    tenants: int
    retained: int
    bytes: int


class ServerDetail(ServerRow):
    """One server, with what is used and when it is full. Nothing was seen yet where `load` is none."""

    silence: str | None
    load: LoadOut | None
    forecast: ForecastOut | None
    days: list[DayLoad]
    consumers: list[Consumer]
    alerts: list[AlertOut]


class DayUse(Body):
    """A tenant at the end of a day, with the day's statements."""

    day: date
    rows: int
    bytes: int
    statements: int | None
    statement_seconds: float | None


class TenantUse(Body):
    """What one tenant uses where it is, and its last 30 days. Nothing was seen yet where `at` is none."""

    at: datetime | None
    rows: int
    bytes: int
    connections: int
    statements: int | None
    statement_seconds: float | None
    days: list[DayUse]
