"""Subscriptions in AWS Marketplace that are bound to tenants: each to one, as AWS has last told of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from awssome.database.registry.tables import entitlements, tenants
from awssome.domain.tenants import TenantState, Tier
from awssome.domain.times import now


@dataclass(frozen=True)
class Bound:
    """A subscription of a tenant.

    :ivar customer: the AWS account that pays.
    """

    product: str
    customer: str
    tenant_id: UUID
    expires_at: datetime | None


def bind(connection: Connection, product: str, customer: str, license: str, tenant_id: UUID, by: str) -> bool:
    """Bind the account's subscription to the tenant, for good. False when it is another tenant's."""
    fresh = insert(entitlements).values(
        product=product,
        customer=customer,
        license=license or None,
        tenant_id=tenant_id,
        state="bound",
        bound_at=now(),
        bound_by=by,
    )
    connection.execute(fresh.on_conflict_do_nothing())
    e = entitlements.c
    mine = select(e.tenant_id).where(e.product == product, e.customer == customer).with_for_update()
    return bool(connection.execute(mine).scalar_one() == tenant_id)


def settle(
    connection: Connection,
    bound: Bound,
    *,
    active: bool,
    dimension: str | None,
    expires_at: datetime | None,
    problem: str | None,
) -> bool:
    """What AWS says now. False when that was known already, whenever AWS was asked last."""
    e = entitlements.c
    mine = (e.product == bound.product, e.customer == bound.customer)
    state = "active" if active else "ended"
    before = connection.execute(select(e.state, e.problem).where(*mine).with_for_update()).one()
    values: dict[str, Any] = {"state": state, "problem": problem, "verified_at": now(), "expires_at": expires_at}
    if dimension is not None:
        values["dimension"] = dimension
    connection.execute(update(entitlements).where(*mine).values(values))
    return (before.state, before.problem) != (state, problem)


def due(connection: Connection, product: str, before: datetime, limit: int) -> list[Bound]:
    """Subscriptions of the product that AWS was last asked about before then.

    In any order, each time another one: one that AWS has no answer for keeps none of the others waiting for ever.
    """
    e = entitlements.c
    asked = func.coalesce(e.verified_at, e.bound_at)
    query = (
        select(e.product, e.customer, e.tenant_id, e.expires_at)
        .where(e.product == product, asked < before)
        .order_by(func.random())
    )
    return [Bound(**row._mapping) for row in connection.execute(query.limit(limit))]


def active(connection: Connection, tenant_id: UUID) -> bool:
    """Whether somebody pays for the tenant by a subscription, as far as AWS has told."""
    e = entitlements.c
    found = connection.scalar(select(e.tenant_id).where(e.tenant_id == tenant_id, e.state == "active").limit(1))
    return found is not None


def in_doubt(connection: Connection) -> list[Any]:
    """id, slug and company of tenants that an operator has to look at, with the problem of their subscription."""
    e = entitlements.c
    query = (
        select(tenants.c.id, tenants.c.slug, tenants.c.company, e.problem)
        .join(entitlements, e.tenant_id == tenants.c.id)
        .where(e.problem.is_not(None), tenants.c.state != TenantState.DELETED)
        .where((e.state != "ended") | (tenants.c.tier == Tier.PAID))
        .order_by(tenants.c.slug)
    )
    return list(connection.execute(query.limit(50)))
