"""The platform at a moment: the picture that alerts are judged by, and its figures. A few queries, and one a pool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.engine import Connection

from awssome.database.registry import entitlements, usage
from awssome.database.registry import figures as platform
from awssome.database.registry import servers as registered
from awssome.database.registry.tables import hubspot_budgets, placement_usage, placements, tenants
from awssome.domain.alerts.checks import CONNECTION_SHARE
from awssome.domain.alerts.picture import MoveNow, Picture, QueueNow, ServerNow, TenantRef
from awssome.domain.figures import HEAVIEST, Figure, Unit
from awssome.domain.forecast import WINDOW_DAYS, Forecast, forecast
from awssome.domain.instances import InstanceState
from awssome.domain.tenants import PlacementState, ServerKind, TenantState


def picture(connection: Connection, at: datetime) -> Picture:
    """What the rules look at."""
    return Picture(
        at=at,
        servers=_servers(connection, at),
        moves=[
            _move(row, failed=what == "failed")
            for what in ("failed", "under_way")
            for row in platform.moves_in(connection, what)
        ],
        kept=[_move(row, failed=False) for row in platform.moves_in(connection, "kept")],
        queues=[QueueNow(row.queue, row.failed, float(row.waiting_s)) for row in connection.execute(_QUEUES)],
        reconnects=[
            _tenant(row)
            for row in connection.execute(
                select(tenants.c.id, tenants.c.slug, tenants.c.company)
                .where(tenants.c.hubspot_state == "reconnect", tenants.c.state == TenantState.ACTIVE)
                .order_by(tenants.c.slug)
            )
        ],
        stuck=[(_tenant(row), row.problem) for row in platform.troubled(connection)],
        subscriptions=[(_tenant(row), row.problem) for row in entitlements.in_doubt(connection)],
        unsealed_s=float(connection.scalar(_UNSEALED) or 0),
    )


def fill(connection: Connection, row: Any, at: datetime) -> Forecast | None:
    """When a pool is full, by its last days. :param row: of `registry.servers`."""
    if row.kind != ServerKind.POOL:
        return None
    days = usage.server_days(connection, row.id, at.date(), WINDOW_DAYS)
    return forecast([(day.day, day.taken) for day in days], row.capacity, at.date())


def figures(connection: Connection, at: datetime) -> Iterator[Figure]:
    """By tier, by server, and of the heaviest tenants: what goes to CloudWatch, too, where each figure is paid for."""
    yield from _by_tier(connection)
    seen = usage.latest_of_all(connection)
    for row in registered.every(connection):
        yield from _by_server(row, seen.get(row.id), at)
    yield from _of_the_heaviest(connection)
    yield from _of_hubspot(connection, at)


def queue_figures(connection: Connection) -> Iterator[Figure]:
    """By queue of jobs."""
    for row in connection.execute(_QUEUES):
        labels = {"queue": row.queue}
        yield Figure("jobs_waiting", "Jobs that wait", row.waiting, labels=labels)
        yield Figure("jobs_running", "Jobs that run", row.running, labels=labels)
        yield Figure("jobs_failed", "Jobs that failed within a day", row.failed, labels=labels)
        yield Figure(
            "jobs_oldest_waiting_seconds",
            "How long a job has been waiting that could run",
            float(row.waiting_s),
            Unit.SECONDS,
            labels,
        )


def _by_tier(connection: Connection) -> Iterator[Figure]:
    for row in platform.tenants_by_tier(connection):
        yield Figure("tenants", "Tenants", row.count, labels={"tier": row.tier, "state": row.state})
    use = select(
        tenants.c.tier,
        func.coalesce(func.sum(placement_usage.c.rows), 0).label("rows"),
        func.coalesce(func.sum(placement_usage.c.bytes), 0).label("bytes"),
        func.coalesce(func.sum(placement_usage.c.connections), 0).label("connections"),
    )
    current = tenants.c.placement_id == placement_usage.c.placement_id
    for row in connection.execute(
        use.join(placement_usage, current).where(placement_usage.c.day == _newest_day()).group_by(tenants.c.tier)
    ):
        labels = {"tier": row.tier}
        yield Figure("tier_rows", "Rows of a tier's tenants", int(row.rows), labels=labels)
        yield Figure("tier_bytes", "Bytes of a tier's tenants", int(row.bytes), Unit.BYTES, labels)
        yield Figure("tier_connections", "Connections of a tier's tenants", int(row.connections), labels=labels)


def _of_hubspot(connection: Connection, at: datetime) -> Iterator[Figure]:
    b = hubspot_budgets.c
    today = func.coalesce(func.sum(b.day_calls).filter(b.day == at.date()), 0)
    refused = func.coalesce(func.sum(b.limited), 0)
    row = connection.execute(select(today.label("today"), refused.label("refused"))).one()
    yield Figure("hubspot_calls_today", "Calls to HubSpot since midnight, UTC", int(row.today))
    yield Figure("hubspot_calls_refused", "Calls that HubSpot ever refused for its limit", int(row.refused))


def _by_server(row: Any, seen: Any | None, at: datetime) -> Iterator[Figure]:
    labels = {"server": row.name}
    answers = 0 if row.silent_since else 1
    yield Figure("server_up", "Whether the server answered when it was looked at", answers, labels=labels)
    yield Figure("server_tenants", "Tenants on the server", row.tenants, labels=labels)
    yield Figure("server_places_taken", "Places taken, with kept copies", row.tenants + row.retained, labels=labels)
    yield Figure("server_capacity", "Places of the server", row.capacity, labels=labels)
    if seen is None:
        return
    age = (at - seen.at).total_seconds()
    yield Figure("server_figures_age_seconds", "How old the server's figures are", age, Unit.SECONDS, labels)
    yield Figure("server_bytes", "Bytes of the server's database", seen.bytes, Unit.BYTES, labels)
    yield Figure("server_rows", "Rows of the server's tenants", seen.rows, labels=labels)
    yield Figure("server_connections", "Connections in use", seen.connections, labels=labels)
    if seen.connection_limit is not None:
        yield Figure("server_connection_limit", "Connections there may be", seen.connection_limit, labels=labels)
    yield Figure("server_blocked_sessions", "Sessions that wait for a lock", seen.blocked, labels=labels)
    if seen.longest_s is not None:
        yield Figure(
            "server_longest_statement_seconds",
            "How long a tenant's statement has been running",
            seen.longest_s,
            Unit.SECONDS,
            labels,
        )


def _of_the_heaviest(connection: Connection) -> Iterator[Figure]:
    """By bytes: who is heaviest by load changes by the minute, and each newcomer would be a metric of its own."""
    heaviest = (
        select(tenants.c.slug, placement_usage)
        .join(tenants, tenants.c.placement_id == placement_usage.c.placement_id)
        .where(placement_usage.c.day == _newest_day())
        .order_by(placement_usage.c.bytes.desc())
        .limit(HEAVIEST)
    )
    for row in connection.execute(heaviest):
        labels = {"tenant": row.slug}
        yield Figure("tenant_rows", "Rows of one of the heaviest tenants", row.rows, labels=labels)
        yield Figure("tenant_bytes", "Bytes of one of the heaviest tenants", row.bytes, Unit.BYTES, labels)
        yield Figure("tenant_connections", "Connections of one of the heaviest tenants", row.connections, labels=labels)
        if row.statement_ms is not None:
            seconds = row.statement_ms / 1000
            yield Figure(
                "tenant_statement_seconds", "Time of a tenant's statements today", seconds, Unit.SECONDS, labels
            )


def _newest_day() -> Any:
    return select(func.max(placement_usage.c.day)).scalar_subquery()


def _servers(connection: Connection, at: datetime) -> list[ServerNow]:
    seen = usage.latest_of_all(connection)
    logins = {login for row in seen.values() for login in (row.longest_by, row.blocked_by) if login}
    known = _by_login(connection, logins)
    found = []
    for row in registered.every(connection):
        server = ServerNow(
            id=row.id,
            name=row.name,
            kind=ServerKind(row.kind),
            open=row.open and row.drain_to_count is None,  # what is being drained takes no tenants either
            capacity=row.capacity,
            taken=row.tenants + row.retained,
            created_at=row.created_at,
            problem=row.problem,
            full_on=_full_on(connection, row, at),
            silent_since=row.silent_since,
            silence=row.silence,
            instance=InstanceState(row.instance) if row.instance else None,
        )
        if look := seen.get(row.id):
            server = replace(
                server,
                seen_at=look.at,
                connections=look.connections,
                connection_limit=look.connection_limit,
                busiest=_busiest(connection, look),
                longest_s=look.longest_s,
                longest_by=known.get(look.longest_by),
                blocked=look.blocked,
                blocked_by=known.get(look.blocked_by),
            )
        found.append(server)
    return found


def _full_on(connection: Connection, row: Any, at: datetime) -> date | None:
    foretold = fill(connection, row, at)
    return foretold.full_on if foretold else None


def _busiest(connection: Connection, look: Any) -> tuple[TenantRef, int] | None:
    """Asked for only where it may have to be told."""
    if not look.connection_limit or look.connections / look.connection_limit < CONNECTION_SHARE.clears:
        return None
    most = usage.consumers(connection, look.server_id, "-connections", limit=1)
    return (_tenant(most[0]), most[0].connections) if most and most[0].connections else None


def _by_login(connection: Connection, logins: set[str]) -> Mapping[str | None, TenantRef]:
    if not logins:
        return {}
    found = connection.execute(
        select(tenants.c.id, tenants.c.slug, tenants.c.company, placements.c.schema_name)
        .join(placements, placements.c.tenant_id == tenants.c.id)
        .where(placements.c.schema_name.in_(logins), placements.c.state != PlacementState.DROPPED)
    )
    return {row.schema_name: _tenant(row) for row in found}


def _tenant(row: Any) -> TenantRef:
    return TenantRef(row.id, row.slug, row.company)


def _move(row: Any, *, failed: bool) -> MoveNow:
    return MoveNow(
        id=row.id,
        tenant=TenantRef(row.tenant_id, str(row.tenant_id), row.company),
        route=f"{row.source} → {row.target}",
        failed=failed,
        requested_at=row.requested_at,
        problem=row.problem,
    )


# A job whose lock another one holds waits for its turn, not for a worker.
_QUEUES = text(
    """
    WITH oldest AS (
        SELECT DISTINCT ON (j.queue_name) j.queue_name,
            extract(epoch FROM now() - coalesce(j.scheduled_at, e.at)) AS waits
        FROM procrastinate_jobs j LEFT JOIN procrastinate_events e ON e.job_id = j.id AND e.type = 'deferred'
        WHERE j.status = 'todo' AND coalesce(j.scheduled_at, now()) <= now() AND NOT EXISTS (
            SELECT FROM procrastinate_jobs held WHERE held.lock = j.lock AND held.status = 'doing')
        ORDER BY j.queue_name, coalesce(j.scheduled_at, e.at)
    )
    SELECT j.queue_name AS queue,
        count(*) FILTER (WHERE j.status = 'todo') AS waiting,
        count(*) FILTER (WHERE j.status = 'doing') AS running,
        count(*) FILTER (WHERE j.status = 'failed' AND EXISTS (
            SELECT FROM procrastinate_events e
            WHERE e.job_id = j.id AND e.type = 'failed' AND e.at > now() - interval '1 day')) AS failed,
        greatest(coalesce(max(o.waits), 0), 0) AS waiting_s
    FROM procrastinate_jobs j LEFT JOIN oldest o ON o.queue_name = j.queue_name
    GROUP BY j.queue_name ORDER BY j.queue_name
    """
)

_UNSEALED = text(
    "SELECT extract(epoch FROM now() - min(at)) FROM audit_log "
    "WHERE id > coalesce((SELECT max(last_id) FROM audit_seals), 0)"
)
