"""What tenants use and how servers fare: one row a placement and day, one row a server and look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select, delete, func, select, text, true, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.engine import Connection

from awssome.database.engine import SchemaUse, ServerLoad
from awssome.database.registry.tables import placement_usage, placements, server_usage, servers, tenants
from awssome.domain.errors import Code, Refused

PLACEMENT_DAYS, SERVER_DAYS = 400, 35
"""How long rows are kept: a year of days to compare with, and the window of the forecast."""

SORTS = {
    "bytes": placement_usage.c.bytes,
    "rows": placement_usage.c.rows,
    "connections": placement_usage.c.connections,
    "statements": placement_usage.c.statements,
    "statement_seconds": placement_usage.c.statement_ms,
}
"""By what tenants are sorted."""


@dataclass(frozen=True)
class DayUse:
    """A tenant's use at the end of a day; statements are those of the day."""

    day: date
    rows: int
    bytes: int
    statements: int | None
    statement_ms: float | None


@dataclass(frozen=True)
class DayLoad:
    """A server's load at the end of a day."""

    day: date
    tenants: int
    retained: int
    bytes: int

    @property
    def taken(self) -> int:
        """Places taken; a kept copy takes one."""
        return self.tenants + self.retained


def store(connection: Connection, server_id: UUID, uses: Sequence[SchemaUse], load: ServerLoad, at: datetime) -> None:
    """Write down what was seen at `at`. Nothing when something later is written down already.

    Servers count statements without end; what is kept is the day's. The counter of a placement is compared with what
    was seen before. Where the server has begun to count anew since, everything counts; where the counter is lower
    without that, the server has forgotten some statements, and nothing does.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": f"usage:{server_id}"})
    if connection.scalar(
        select(server_usage.c.at).where(server_usage.c.server_id == server_id, server_usage.c.at >= at)
    ):
        return
    seen = {
        "server_id": server_id,
        "at": at,
        "day": at.date(),
        "counted_since": load.counted_since,
        "schemas": [use.schema for use in uses],
        "rows": [use.rows for use in uses],
        "bytes": [use.bytes for use in uses],
        "connections": [use.connections for use in uses],
        "counters": [use.statements for use in uses],
        "counters_ms": [use.statement_ms for use in uses],
    }
    told = connection.execute(_STORE, seen).one()
    places = connection.execute(
        select(
            func.count().filter(placements.c.state.in_(("new", "active"))).label("tenants"),
            func.count().filter(placements.c.state == "retained").label("retained"),
        ).where(placements.c.server_id == server_id)
    ).one()
    connection.execute(
        server_usage.insert().values(
            server_id=server_id,
            at=at,
            tenants=places.tenants,
            retained=places.retained,
            rows=sum(use.rows for use in uses),
            bytes=load.bytes,
            connections=load.connections,
            connection_limit=load.connection_limit,
            statements=told.statements,
            statement_ms=told.statement_ms,
            longest_s=load.longest_s,
            longest_by=load.longest_by,
            blocked=load.blocked,
            blocked_by=load.blocked_by,
        )
    )
    connection.execute(update(servers).where(servers.c.id == server_id).values(silent_since=None, silence=None))


def note_silence(connection: Connection, server_id: UUID, why: str, at: datetime) -> None:
    """The server did not answer at `at`; since when it has been so is kept. Nothing when it has answered since."""
    answered = select(server_usage.c.at).where(server_usage.c.server_id == server_id, server_usage.c.at >= at)
    connection.execute(
        update(servers)
        .where(servers.c.id == server_id, ~answered.exists())
        .values(silent_since=func.coalesce(servers.c.silent_since, at), silence=why[:500])
    )


def latest(connection: Connection, server_id: UUID) -> Any | None:
    """The newest row of `server_usage`; None before the first look."""
    return connection.execute(_newest().where(servers.c.id == server_id)).first()


def latest_of_all(connection: Connection) -> dict[UUID, Any]:
    """The newest row of each server that was looked at."""
    return {row.server_id: row for row in connection.execute(_newest())}


def consumers(connection: Connection, server_id: UUID, sort: str = "-bytes", limit: int = 20) -> list[Any]:
    """The tenants that use most of a server, as of its newest look: id, slug, company, tier and the figures.

    :param sort: one of `SORTS`, falling with a `-` in front.
    :raises Refused: INVALID for another one.
    """
    if sort.removeprefix("-") not in SORTS:
        raise Refused(Code.INVALID, f"Cannot sort by “{sort[:30]}”.", "Use one of: " + ", ".join(SORTS) + ".")
    column = SORTS[sort.removeprefix("-")]
    seen = latest(connection, server_id)
    if seen is None:
        return []
    return list(
        connection.execute(
            select(tenants.c.id, tenants.c.slug, tenants.c.company, tenants.c.tier, placements.c.state, placement_usage)
            .join(placements, placements.c.id == placement_usage.c.placement_id)
            .join(tenants, tenants.c.id == placements.c.tenant_id)
            .where(placements.c.server_id == server_id, placement_usage.c.day == seen.at.date())
            .where(placement_usage.c.at == seen.at)
            .order_by(column.desc().nulls_last() if sort.startswith("-") else column.asc().nulls_last(), tenants.c.slug)
            .limit(limit)
        )
    )


def server_days(connection: Connection, server_id: UUID, today: date, days: int) -> list[DayLoad]:
    """The server's load at the end of each of the last days, oldest first; days without a look are missing.

    One look-up in an index for each day, however many looks there were.
    """
    rows = connection.execute(_SERVER_DAYS, {"server_id": server_id, "today": today, "days": days})
    return [DayLoad(row.day, row.tenants, row.retained, row.bytes) for row in rows]


def tenant_days(connection: Connection, tenant_id: UUID, today: date, days: int) -> list[DayUse]:
    """The tenant's use at the end of each of the last days, oldest first, where it lived at the time."""
    rows = connection.execute(
        select(placement_usage)
        .ext(distinct_on(placement_usage.c.day))
        .join(placements, placements.c.id == placement_usage.c.placement_id)
        .where(placements.c.tenant_id == tenant_id, placement_usage.c.day > today - timedelta(days=days))
        .order_by(placement_usage.c.day, placement_usage.c.at.desc(), placements.c.created_at.desc())
    )
    return [DayUse(row.day, row.rows, row.bytes, row.statements, row.statement_ms) for row in rows]


def of_tenant(connection: Connection, tenant_id: UUID) -> Any | None:
    """What the tenant uses where it is now, as of the newest look."""
    return connection.execute(
        select(placement_usage)
        .join(tenants, tenants.c.placement_id == placement_usage.c.placement_id)
        .where(tenants.c.id == tenant_id)
        .order_by(placement_usage.c.day.desc())
        .limit(1)
    ).first()


def purge(connection: Connection, at: datetime) -> None:
    """Delete what is older than anybody looks back."""
    connection.execute(
        delete(placement_usage).where(placement_usage.c.day < at.date() - timedelta(days=PLACEMENT_DAYS))
    )
    of_each = server_usage.c.server_id.in_(select(servers.c.id))  # by the key, server by server
    connection.execute(delete(server_usage).where(of_each, server_usage.c.at < at - timedelta(days=SERVER_DAYS)))


def _newest() -> Select[Any]:
    looks = (
        select(server_usage)
        .where(server_usage.c.server_id == servers.c.id)
        .order_by(server_usage.c.at.desc())
        .limit(1)
        .correlate(servers)
        .lateral()
    )
    return select(looks).select_from(servers).join(looks, true())


_STORE = text(
    """
    WITH seen AS (
        SELECT p.id, p.created_at, s.*
        FROM unnest(CAST(:schemas AS text[]), CAST(:rows AS bigint[]), CAST(:bytes AS bigint[]),
            CAST(:connections AS integer[]), CAST(:counters AS bigint[]), CAST(:counters_ms AS float8[]))
            AS s (schema_name, rows, bytes, connections, counter, counter_ms)
        JOIN placements p USING (schema_name)
        WHERE p.server_id = :server_id AND p.state <> 'dropped'
    ), compared AS (
        SELECT seen.*, before.counter AS counter_before, before.counter_ms AS counter_ms_before, CASE
            WHEN before.counter IS NULL AND seen.created_at > :at - interval '1 day' THEN 'all'
            WHEN before.counter IS NOT NULL AND CAST(:counted_since AS timestamptz) > before.at THEN 'all'
            WHEN seen.counter >= before.counter THEN 'what came since'
            ELSE 'nothing'
        END AS counts
        FROM seen LEFT JOIN LATERAL (
            SELECT u.at, u.counter, u.counter_ms FROM placement_usage u
            WHERE u.placement_id = seen.id ORDER BY u.day DESC LIMIT 1
        ) before ON true
    ), counted AS (
        SELECT compared.*,
            CASE counts WHEN 'all' THEN counter WHEN 'nothing' THEN counter * 0
                ELSE counter - counter_before END AS statements,
            CASE counts WHEN 'all' THEN counter_ms WHEN 'nothing' THEN counter_ms * 0
                ELSE greatest(counter_ms - counter_ms_before, 0) END AS statement_ms
        FROM compared
    ), stored AS (
        INSERT INTO placement_usage AS u
            (placement_id, day, at, rows, bytes, connections, statements, statement_ms, counter, counter_ms)
        SELECT id, :day, :at, rows, bytes, connections, statements, statement_ms, counter, counter_ms FROM counted
        ON CONFLICT (placement_id, day) DO UPDATE SET at = excluded.at, rows = excluded.rows, bytes = excluded.bytes,
            connections = excluded.connections, counter = excluded.counter, counter_ms = excluded.counter_ms,
            statements = coalesce(u.statements + excluded.statements, excluded.statements, u.statements),
            statement_ms = coalesce(u.statement_ms + excluded.statement_ms, excluded.statement_ms, u.statement_ms)
    )
    SELECT sum(statements)::bigint AS statements, sum(statement_ms) AS statement_ms FROM counted
    """
)

_SERVER_DAYS = text(
    """
    SELECT d.day::date AS day, u.tenants, u.retained, u.bytes
    FROM generate_series(CAST(:today AS date) - (:days - 1), CAST(:today AS date), interval '1 day') AS d (day)
    CROSS JOIN LATERAL (
        SELECT tenants, retained, bytes FROM server_usage
        WHERE server_id = :server_id AND at >= d.day AT TIME ZONE 'UTC'
            AND at < (d.day + interval '1 day') AT TIME ZONE 'UTC'
        ORDER BY at DESC LIMIT 1
    ) u
    ORDER BY day
    """
)
