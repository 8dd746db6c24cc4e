"""What may be called of HubSpot: a budget for each account and kind of call, shared by all workers."""

from __future__ import annotations

from sqlalchemy import func, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from awssome.database.registry.tables import hubspot_budgets
from awssome.domain import budgets
from awssome.domain.budgets import Bucket


def reserve(connection: Connection, portal_id: int, kind: str, calls: int, *, rate_per_s: float, burst: int) -> float:
    """Reserve calls that are made together in the account's budget, which all workers share.

    :param kind: `general` or `search`; each has a budget of its own.
    :returns: seconds to wait until they may be made.
    """
    b = hubspot_budgets.c
    # The row is locked before the clock is read, so that who comes later also reads a later time.
    fresh = insert(hubspot_budgets).values(portal_id=portal_id, kind=kind, next_at=func.clock_timestamp())
    locked = fresh.on_conflict_do_update(index_elements=[b.portal_id, b.kind], set_={"next_at": b.next_at})
    next_at, at = connection.execute(locked.returning(b.next_at, func.clock_timestamp())).one()
    bucket, wait = budgets.reserve(Bucket(next_at), at, calls, rate_per_s, burst)
    connection.execute(
        update(hubspot_budgets).where(b.portal_id == portal_id, b.kind == kind).values(next_at=bucket.next_at)
    )
    return wait
