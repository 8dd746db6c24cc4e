"""What servers refused, from their logs into the audit log: each line once, whatever dies in between."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ARRAY, Text, any_, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from awssome.database.engine import LogReading
from awssome.database.registry import audit
from awssome.database.registry.audit import Actor
from awssome.database.registry.tables import placements, server_logs, servers
from awssome.domain.refusals import Repeated, summed
from awssome.domain.times import now

ACTION = "database.refused"

LINES = 20
"""Lines of one tenant from one reading, about a minute's; one more counts the rest. All logins that are no tenant's
share another twenty. A flood must not fill the audit log."""


@dataclass(frozen=True)
class Claim:
    """The right to read a server's log on from a position, until the transaction ends."""

    server_id: UUID
    server: str
    position: str


def claim(connection: Connection, server: str) -> Claim | None:
    """Claim the log of the server of this name; None while somebody else reads it, or when there is no such server."""
    server_id = connection.scalar(select(servers.c.id).where(servers.c.name == server))
    if server_id is None:
        return None
    connection.execute(
        insert(server_logs).values(server_id=server_id, position="", read_at=now()).on_conflict_do_nothing()
    )
    query = select(server_logs.c.position).where(server_logs.c.server_id == server_id)
    position = connection.scalar(query.with_for_update(skip_locked=True))
    return None if position is None else Claim(server_id, server, position)


def keep(connection: Connection, claimed: Claim, reading: LogReading) -> int:
    """Write what was found to the audit log, and the position with it; in the transaction of `claim`.

    :returns: the number of lines written.
    """
    connection.execute(
        update(server_logs)
        .where(server_logs.c.server_id == claimed.server_id)
        .values(position=reading.position, read_at=now())
    )
    found = summed(reading.refusals)
    owners = _owners(connection, claimed.server_id, {each.one.login for each in found})
    by_tenant: dict[UUID | None, list[Repeated]] = defaultdict(list)
    for each in found:
        by_tenant[owners.get(each.one.login)].append(each)
    lines = sum(_write(connection, claimed.server, tenant_id, each) for tenant_id, each in by_tenant.items())
    if reading.skipped:
        audit.record(connection, audit.SYSTEM, "database.log_skipped", server=claimed.server, bytes=reading.skipped)
        lines += 1
    return lines


def _owners(connection: Connection, server_id: UUID, logins: Iterable[str]) -> dict[str, UUID]:
    """Whose logins these are, or were."""
    query = select(placements.c.schema_name, placements.c.tenant_id).where(
        placements.c.server_id == server_id, placements.c.schema_name == any_(literal(sorted(logins), ARRAY(Text)))
    )
    return {row.schema_name: row.tenant_id for row in connection.execute(query)}


def _write(connection: Connection, server: str, tenant_id: UUID | None, found: list[Repeated]) -> int:
    for each in found[:LINES]:
        one = each.one
        told = {"kind": one.kind, "command": one.command, "what": one.what, "code": one.code}
        audit.record(
            connection,
            Actor(one.login, one.address),
            ACTION,
            tenant_id,
            **{name: value for name, value in told.items() if value},
            count=each.count,
            server=server,
            first=each.first,
            last=each.last,
        )
    rest = found[LINES:]
    if rest:
        count = sum(each.count for each in rest)
        actor = Actor(rest[0].one.login) if tenant_id else Actor("logins of no tenant")
        audit.record(connection, actor, ACTION, tenant_id, kind="more of them", count=count, server=server)
    return len(found[:LINES]) + bool(rest)
