"""Names of paid tenants in DNS: a row for each, from the wish until the name is gone again."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from awssome.database.registry.tables import hosts, tenants
from awssome.domain.addresses import Addresses
from awssome.domain.tenants import TenantState, Tier
from awssome.domain.times import now

AT_ONCE = 50
"""Names that are begun, and looked at, in one round: Route 53 takes five calls a second of an account."""

_named = (tenants.c.tier == Tier.PAID) & tenants.c.state.in_((TenantState.ACTIVE, TenantState.SUSPENDED))


def match(connection: Connection, addresses: Addresses) -> None:
    """Write down which names are wanted and which are not any more: a paid tenant has one, any other has none."""
    there = select(hosts.c.tenant_id).where(hosts.c.tenant_id == tenants.c.id).exists()
    for row in connection.execute(select(tenants.c.id, tenants.c.slug).where(_named, ~there).limit(AT_ONCE)).all():
        name = f"{row.slug}.{addresses.domain}"
        wish = insert(hosts).values(tenant_id=row.id, name=name, state="wanted", asked_at=now())
        connection.execute(wish.on_conflict_do_nothing())
    owner_named = select(tenants.c.id).where(tenants.c.id == hosts.c.tenant_id, _named).exists()
    for state, other, which in (
        ("removing", hosts.c.state != "removing", ~owner_named),
        ("wanted", hosts.c.state == "removing", owner_named),
    ):
        turned = update(hosts).where(other, which)
        connection.execute(turned.values(state=state, change=None, problem=None, asked_at=now()))


def unsettled(connection: Connection) -> list[Any]:
    """Rows with which something is to be done; the longest asked for first."""
    query = select(hosts).where(hosts.c.state != "insync").order_by(hosts.c.asked_at).limit(AT_ONCE)
    return list(connection.execute(query))


def turn(connection: Connection, row: Any, **values: Any) -> None:
    """Change a row, if it is still in the state in which it was found."""
    connection.execute(
        update(hosts).where(hosts.c.tenant_id == row.tenant_id, hosts.c.state == row.state).values(**values)
    )


def forget(connection: Connection, row: Any) -> None:
    """The name is gone from DNS."""
    connection.execute(delete(hosts).where(hosts.c.tenant_id == row.tenant_id, hosts.c.state == "removing"))


def of_tenant(connection: Connection, tenant_id: UUID) -> Any:
    """The tenant's name in DNS; None when it has none."""
    return connection.execute(select(hosts).where(hosts.c.tenant_id == tenant_id)).first()
