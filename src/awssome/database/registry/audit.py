"""The audit log: append-only, sealed in hash-chained batches."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select, text
from sqlalchemy.engine import Connection

from awssome.database.keyset import Page, newest_first
from awssome.database.registry.tables import audit_log, audit_seals, tenants
from awssome.domain.times import now


@dataclass(frozen=True)
class Actor:
    """Who does something, from where, under which reference id."""

    name: str
    address: str | None = None
    reference: str | None = None


SYSTEM = Actor("platform")


def record(connection: Connection, actor: Actor, action: str, tenant_id: UUID | None = None, **detail: Any) -> None:
    """One line: `action` is a noun and a verb, like `session.created`; no secret ever goes into `detail`."""
    connection.execute(
        insert(audit_log).values(
            at=now(),
            actor=_storable(actor.name)[:254],
            action=action,
            tenant_id=tenant_id,
            address=actor.address or None,
            reference=actor.reference or None,
            detail={key: _storable(value) for key, value in json.loads(json.dumps(detail, default=str)).items()},
        )
    )


def page(
    connection: Connection,
    *,
    search: str = "",
    tenant_id: UUID | None = None,
    after: str = "",
    before: str = "",
    limit: int = 50,
) -> Page[Any]:
    """Lines, newest first, with the tenant's company."""
    query = select(audit_log, tenants.c.company).outerjoin(tenants, tenants.c.id == audit_log.c.tenant_id)
    if search:
        like = f"%{_escaped(search)}%"
        query = query.where(
            audit_log.c.actor.ilike(like) | audit_log.c.action.ilike(like) | tenants.c.company.ilike(like)
        )
    if tenant_id:
        query = query.where(audit_log.c.tenant_id == tenant_id)
    return newest_first(connection, query, audit_log.c.id, int, after=after, before=before, limit=limit)


def seal(connection: Connection) -> int:
    """Chain every line since the last seal into one digest; returns how many lines.

    The lock waits for every transaction that is writing a line and keeps new ones out for the moment, so that no line
    can appear below a sealed one later. When it is not to be had soon, the next sweep tries again.
    """
    connection.execute(text("SET LOCAL lock_timeout = '3s'"))
    connection.execute(text("LOCK TABLE audit_seals IN EXCLUSIVE MODE"))
    connection.execute(text("LOCK TABLE audit_log IN SHARE MODE"))
    last = connection.execute(select(audit_seals).order_by(audit_seals.c.last_id.desc()).limit(1)).first()
    after, previous = (last.last_id, last.digest) if last else (0, b"")
    rows = list(_lines(connection, after, None))
    if not rows:
        return 0
    connection.execute(
        insert(audit_seals).values(
            first_id=rows[0].id, last_id=rows[-1].id, digest=_chain(previous, rows), sealed_at=now()
        )
    )
    return len(rows)


@dataclass(frozen=True)
class Verification:
    """Whether the sealed part of the log is as it was sealed."""

    sealed_until: int
    ok: bool
    first_bad: int | None


def verify(connection: Connection) -> Verification:
    """Recompute every seal from the lines."""
    previous, reached = b"", 0
    for sealed in connection.execute(select(audit_seals).order_by(audit_seals.c.last_id)):
        rows = list(_lines(connection, reached, sealed.last_id))
        if _chain(previous, rows) != sealed.digest:
            return Verification(reached, False, sealed.first_id)
        previous, reached = sealed.digest, sealed.last_id
    return Verification(reached, True, None)


def _lines(connection: Connection, after: int, until: int | None) -> Any:
    query = select(audit_log).where(audit_log.c.id > after).order_by(audit_log.c.id)
    if until is not None:
        query = query.where(audit_log.c.id <= until)
    return connection.execute(query)


def _storable(value: Any) -> Any:
    """Text without NUL, which PostgreSQL has no place for: what was refused may have been sent with it."""
    return value.replace("\x00", "") if isinstance(value, str) else value


def _chain(previous: bytes, rows: list[Any]) -> bytes:
    running = hashlib.sha256(previous)
    for row in rows:
        who = [row.actor, str(row.address), str(row.reference)]
        line = [row.id, row.at.isoformat(), *who, row.action, str(row.tenant_id), row.detail]
        running.update(json.dumps(line, sort_keys=True, default=str).encode())
    return running.digest()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
