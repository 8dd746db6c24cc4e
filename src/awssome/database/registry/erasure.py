"""Erasing what the registry knows of tenants that are gone, and of people who belong to no other.

A row stays, since placements, moves and the audit log name it; nothing in it says whose it was.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, Text, cast, delete, func, select, update
from sqlalchemy.engine import Connection

from awssome.database.registry import tenants as registered
from awssome.database.registry.tables import (
    accounts,
    alerts,
    email_links,
    entitlements,
    handovers,
    last_syncs,
    memberships,
    moves,
    oauth_states,
    restores,
    sessions,
    tenants,
)
from awssome.domain.tenants import Role, TenantState


def forget_tenant(connection: Connection, tenant_id: UUID) -> None:
    """The tenant is deleted: its name is free for others, its people have left it.

    Accounts that belong to nothing else go with it, save those of operators: with such an account nobody could do
    anything, not even sign up again.

    :raises Refused: CONFLICT when the tenant's life knows no such step.
    """
    gone = f"deleted-{tenant_id.hex}"
    registered.turn(
        connection,
        tenant_id,
        TenantState.DELETED,
        slug=gone,
        company="Deleted workspace",
        external_id=gone,
        role_arn=None,
        role_verified_at=None,
        placement_id=None,
        hubspot_state="none",
        hubspot_portal_id=None,
        hubspot_domain=None,
        upgrade_requested_at=None,
        upgrade_requested_by=None,
        problem=None,
        retain_until=None,
    )
    people = list(connection.scalars(select(memberships.c.account_id).where(memberships.c.tenant_id == tenant_id)))
    for table in (
        memberships,
        email_links,
        handovers,
        oauth_states,
        last_syncs,
        entitlements,
        alerts,
    ):  # alerts tell of it by its company
        connection.execute(delete(table).where(table.c.tenant_id == tenant_id))
    connection.execute(update(sessions).where(sessions.c.tenant_id == tenant_id).values(tenant_id=None))
    keys = cast(["steps", "verify", "keys"], ARRAY(Text))  # of rows that differed: ids of deals, names of stages
    told = update(moves).where(moves.c.tenant_id == tenant_id)
    connection.execute(told.values(evidence=moves.c.evidence.op("#-")(keys)))
    for table in (moves, restores):
        connection.execute(update(table).where(table.c.tenant_id == tenant_id).values(requested_by=""))
    _forget_accounts(connection, people)


def forget_unconfirmed(connection: Connection, account_id: UUID, *, but: UUID) -> None:
    """Delete pending tenants of other sign-ups with the account's address: only one of them was confirmed."""
    mine = select(memberships.c.tenant_id).where(
        memberships.c.account_id == account_id, memberships.c.role == Role.OWNER
    )
    others = select(tenants.c.id).where(
        tenants.c.id.in_(mine),
        tenants.c.id != but,
        tenants.c.state == TenantState.PENDING,
        tenants.c.placement_id.is_(None),
    )
    for tenant_id in list(connection.scalars(others)):
        forget_tenant(connection, tenant_id)


def left_pending(connection: Connection, before: datetime, limit: int) -> list[UUID]:
    """Tenants whose workspace was never made, and at which nobody has looked since `before`; locked."""
    last = func.coalesce(tenants.c.seen_at, tenants.c.created_at)
    return list(
        connection.scalars(
            select(tenants.c.id)
            .where(tenants.c.state == TenantState.PENDING, tenants.c.created_at < before, last < before)
            .order_by(tenants.c.created_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    )


def _forget_accounts(connection: Connection, people: list[UUID]) -> None:
    elsewhere = select(memberships.c.account_id).where(memberships.c.account_id == accounts.c.id).exists()
    alone = select(accounts.c.id).where(accounts.c.id.in_(people), ~accounts.c.operator, ~elsewhere)
    ids = list(connection.scalars(alone))
    for table in (sessions, email_links, handovers):
        connection.execute(delete(table).where(table.c.account_id.in_(ids)))
    asked = tenants.c.upgrade_requested_by.in_(ids)
    connection.execute(update(tenants).where(asked).values(upgrade_requested_by=None))
    connection.execute(delete(accounts).where(accounts.c.id.in_(ids)))
