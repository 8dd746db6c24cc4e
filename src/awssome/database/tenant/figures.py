"""Figures made of a tenant's deals: how many, in which stage, worth what, closing when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from sqlalchemy import case, extract, func, select, true
from sqlalchemy.engine import Connection

from awssome.database.schema import deal_registrations
from awssome.database.tenant.deals import ready_on
from awssome.domain.deals import OPEN_STAGES, Stage


@dataclass(frozen=True)
class Summary:
    """Counts of the deals that are not archived. :ivar waiting: not ready, and not lost either."""

    deals: int
    ready: int
    waiting: int


@dataclass(frozen=True)
class MonthValue:
    """What the deals that close in a month are worth, in one currency."""

    year: int
    month: int
    currency: str
    amount: Decimal
    deals: int


def by_stage(connection: Connection) -> dict[Stage, int]:
    """How many deals are in each stage, all stages named, archived deals left out."""
    query = (
        select(deal_registrations.c.stage, func.count())
        .where(deal_registrations.c.archived_at.is_(None))
        .group_by(deal_registrations.c.stage)
    )
    found = {row[0]: row[1] for row in connection.execute(query)}
    return {stage: found.get(stage, 0) for stage in Stage}


def by_month(connection: Connection, first: date, last: date) -> list[MonthValue]:
    """What deals that close from `first` to `last` are worth, by month and currency; lost and archived ones apart."""
    close, currency = deal_registrations.c.target_close_date, deal_registrations.c.deal_currency
    year, month = extract("year", close), extract("month", close)
    query = (
        select(year, month, currency, func.sum(deal_registrations.c.deal_amount), func.count())
        .where(
            deal_registrations.c.archived_at.is_(None),
            deal_registrations.c.stage != Stage.CLOSED_LOST,
            deal_registrations.c.deal_amount.is_not(None),
            close.between(first, last),
        )
        .group_by(year, month, currency)
        .order_by(year, month, currency)
    )
    return [MonthValue(int(y), int(m), unit or "", amount, n) for y, m, unit, amount, n in connection.execute(query)]


def open_value(connection: Connection) -> dict[str, Decimal]:
    """What the open deals are worth, by currency; the one with most deals first."""
    amount, currency = deal_registrations.c.deal_amount, deal_registrations.c.deal_currency
    query = (
        select(currency, func.sum(amount))
        .where(
            deal_registrations.c.archived_at.is_(None),
            deal_registrations.c.stage.in_(OPEN_STAGES),
            amount.is_not(None),
        )
        .group_by(currency)
        .order_by(func.count().desc(), currency)
    )
    return {unit or "": total for unit, total in connection.execute(query)}


def summary(connection: Connection, *, today: date) -> Summary:
    """The counts that the first page shows."""
    ready, lost = ready_on(today) == true(), deal_registrations.c.stage == Stage.CLOSED_LOST
    query = select(
        func.count(),
        func.coalesce(func.sum(case((ready, 1), else_=0)), 0),
        func.coalesce(func.sum(case((ready, 0), (lost, 0), else_=1)), 0),
    ).where(deal_registrations.c.archived_at.is_(None))
    return Summary(*(int(count) for count in connection.execute(query).one()))
