"""What may be called of HubSpot: a budget for each account and kind of call, shared by all workers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from awssome.database.registry.tables import hubspot_budgets
from awssome.domain import budgets
from awssome.domain.budgets import Ledger, Limit, Slice, Usage


@dataclass(frozen=True)
class Exchange:
    """What a worker gets for what it hands in.

    :ivar at: the database's time, by which the slice is to be read.
    :ivar slice: None when nothing was asked for.
    """

    at: datetime
    slice: Slice | None


def exchange(
    connection: Connection,
    portal_id: int,
    kind: str,
    limit: Limit,
    *,
    usage: Usage | None = None,
    calls: int = 0,
    urgent: bool = False,
    patience: timedelta = timedelta.max,
) -> Exchange:
    """Hand in what became of one slice of the account's budget, and reserve the next.

    :param kind: `general` or `search`; each has a budget of its own, only a limit for the day is common to them.
    :param calls: how many to reserve; 0: none.
    :param urgent: see `domain.budgets.reserve`; so `patience`.
    """
    b = hubspot_budgets.c
    mine = (b.portal_id == portal_id, b.kind == kind)
    # The row is locked before the clock is read, so that who comes later also reads a later time.
    fresh = insert(hubspot_budgets).values(portal_id=portal_id, kind=kind, next_at=func.clock_timestamp())
    locked = fresh.on_conflict_do_update(index_elements=[b.portal_id, b.kind], set_={"next_at": b.next_at})
    row = connection.execute(
        locked.returning(
            b.slots, b.max_calls, b.window_ms, b.blocked_until, b.day, b.day_calls, func.clock_timestamp().label("at")
        )
    ).one()
    ledger = Ledger(
        slots=tuple(row.slots or ()),
        allowed=row.max_calls,
        window_seconds=None if row.window_ms is None else row.window_ms / 1000,
        blocked_until=row.blocked_until,
        day=row.day,
        day_calls=row.day_calls or 0,
    )
    taken = None
    if usage is not None:
        ledger = budgets.settle(ledger, row.at, limit, usage)
    if calls:
        others = _day_calls_of_others(connection, portal_id, kind, row.at) if limit.a_day is not None else 0
        ledger, taken = budgets.reserve(
            ledger, row.at, limit, calls, urgent=urgent, patience=patience, day_calls_of_others=others
        )
    values = {
        "slots": list(ledger.slots),
        "blocked_until": ledger.blocked_until,
        "day": ledger.day,
        "day_calls": ledger.day_calls,
        "next_at": taken.starts[0] if taken and taken.starts else row.at,
    }
    if usage is not None and usage.told is not None:
        values |= {
            "max_calls": ledger.allowed,
            "window_ms": round((ledger.window_seconds or 0) * 1000),
        }
    if usage is not None and usage.rest is not None:
        values["limited"] = func.coalesce(b.limited, 0) + 1
    connection.execute(update(hubspot_budgets).where(*mine).values(values))
    return Exchange(row.at, taken)


def _day_calls_of_others(connection: Connection, portal_id: int, kind: str, at: datetime) -> int:
    b = hubspot_budgets.c
    return int(
        connection.scalar(
            select(func.coalesce(func.sum(b.day_calls), 0)).where(
                b.portal_id == portal_id, b.kind != kind, b.day == at.date()
            )
        )
        or 0
    )
