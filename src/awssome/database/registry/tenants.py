"""Tenants: found, created, changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from awssome.database.keyset import Key, Keyset, Page
from awssome.database.registry.tables import accounts, memberships, placements, servers, tenants
from awssome.domain.errors import Code, Refused
from awssome.domain.secrets import new_token
from awssome.domain.tenants import RESERVED_SLUGS, Role, TenantState, Tier, slug_from
from awssome.domain.times import new_id, now

_KEYS = {
    "created": Key(tenants.c.created_at, datetime.fromisoformat),
    "company": Key(func.lower(tenants.c.company), str),
    "tier": Key(tenants.c.tier, str),
    "state": Key(tenants.c.state, str),
}

SORTS = ("created", "-created", "company", "-company", "tier", "-tier", "state", "-state")


@dataclass(frozen=True)
class Tenant:
    """A row of `tenants`."""

    id: UUID
    slug: str
    company: str
    tier: Tier
    state: TenantState
    external_id: str
    aws_choice: str
    role_arn: str | None
    role_verified_at: datetime | None
    placement_id: UUID | None
    epoch: int
    hubspot_state: str
    hubspot_portal_id: int | None
    hubspot_domain: str | None
    upgrade_requested_at: datetime | None
    problem: str | None
    created_at: datetime


def create(connection: Connection, company: str) -> Tenant:
    """A free tenant in state pending, with a slug of its own and an ExternalId for its AWS role."""
    wanted = slug_from(company)
    for number in range(1, 1000):
        slug = wanted if number == 1 else f"{wanted[:36]}-{number}"
        if slug in RESERVED_SLUGS:
            continue
        row = connection.execute(
            insert(tenants)
            .values(
                id=new_id(),
                slug=slug,
                company=company,
                tier=Tier.FREE,
                state=TenantState.PENDING,
                external_id=new_token(),
                epoch=0,
                created_at=now(),
            )
            .on_conflict_do_nothing(index_elements=["slug"])
            .returning(tenants)
        ).first()
        if row is not None:
            return _tenant(row)
    raise Refused(Code.CONFLICT, "Too many workspaces have this company's name.", "Choose a longer name.")


def find(connection: Connection, tenant_id: UUID, *, lock: bool = False) -> Tenant:
    """The tenant. :raises Refused: NOT_FOUND."""
    query = select(tenants).where(tenants.c.id == tenant_id)
    row = connection.execute(query.with_for_update() if lock else query).first()
    if row is None:
        raise Refused(Code.NOT_FOUND, "There is no such tenant.")
    return _tenant(row)


def by_slug(connection: Connection, slug: str) -> Tenant | None:
    """The tenant with this slug."""
    row = connection.execute(select(tenants).where(tenants.c.slug == slug)).first()
    return _tenant(row) if row else None


def by_ref(connection: Connection, ref: str, *, lock: bool = False) -> Tenant:
    """The tenant by id or slug. :raises Refused: NOT_FOUND."""
    try:
        return find(connection, UUID(ref), lock=lock)
    except ValueError:
        found = by_slug(connection, ref)
    if found is None:
        raise Refused(Code.NOT_FOUND, f"There is no tenant “{ref[:60]}”.", "`awssome tenant list` names them.")
    return find(connection, found.id, lock=lock)


def change(connection: Connection, tenant_id: UUID, **values: Any) -> None:
    """Set columns of the tenant."""
    connection.execute(update(tenants).where(tenants.c.id == tenant_id).values(**values))


def has_role(connection: Connection, arn: str, *, but: UUID) -> bool:
    """Whether another tenant has this AWS role."""
    return bool(
        connection.scalar(select(select(tenants.c.id).where(tenants.c.role_arn == arn, tenants.c.id != but).exists()))
    )


def forget_unconfirmed(connection: Connection, account_id: UUID, *, but: UUID) -> None:
    """Delete pending tenants of other sign-ups with the account's address: only one of them was confirmed."""
    mine = select(memberships.c.tenant_id).where(
        memberships.c.account_id == account_id, memberships.c.role == Role.OWNER
    )
    connection.execute(
        update(tenants)
        .where(
            tenants.c.id.in_(mine),
            tenants.c.id != but,
            tenants.c.state == TenantState.PENDING,
            tenants.c.placement_id.is_(None),
        )
        .values(state=TenantState.DELETED)
    )


def switch_placement(connection: Connection, tenant_id: UUID, source: UUID, target: UUID, epoch: int) -> bool:
    """The commit point of a move: compare (source, epoch) and set (target, epoch + 1). False when it was not so."""
    changed = connection.execute(
        update(tenants)
        .where(tenants.c.id == tenant_id, tenants.c.placement_id == source, tenants.c.epoch == epoch)
        .values(placement_id=target, epoch=epoch + 1)
    )
    return changed.rowcount == 1


def settle(connection: Connection, tenant_id: UUID, target: UUID, epoch: int) -> bool:
    """A tenant that has no placement gets one, and is active: compare (none, epoch) and set (target, epoch + 1).

    One that was deleted is connected to no HubSpot account: another tenant may be since. False when it was not so.
    """
    deleted = tenants.c.state == TenantState.DELETED
    changed = connection.execute(
        update(tenants)
        .where(tenants.c.id == tenant_id, tenants.c.placement_id.is_(None), tenants.c.epoch == epoch)
        .values(
            placement_id=target,
            epoch=epoch + 1,
            state=TenantState.ACTIVE,
            retain_until=None,
            problem=None,
            hubspot_state=case((deleted, "none"), else_=tenants.c.hubspot_state),
            hubspot_portal_id=case((deleted, None), else_=tenants.c.hubspot_portal_id),
            hubspot_domain=case((deleted, None), else_=tenants.c.hubspot_domain),
        )
    )
    return changed.rowcount == 1


def page(
    connection: Connection,
    *,
    search: str = "",
    sort: str = "-created",
    after: str = "",
    before: str = "",
    limit: int = 50,
    tier: str = "",
    state: str = "",
    server: str = "",
) -> tuple[Page[Any], int]:
    """A page and how many there are in all. Rows carry server, engine and the first owner's address."""
    if sort not in SORTS:
        raise Refused(Code.INVALID, f"Cannot sort by “{sort[:30]}”.", "Use one of: " + ", ".join(SORTS) + ".")
    query = rows_query().where(*_conditions(search, tier, state, server))
    total = connection.scalar(query.with_only_columns(func.count(), maintain_column_froms=True)) or 0
    order = Keyset(_KEYS[sort.lstrip("-")], tenants.c.id, descending=sort.startswith("-"))
    return order.page(connection, query, lambda row: row, after=after, before=before, limit=limit), total


def rows_query() -> Select[Any]:
    """Tenants with the server they are on and their first owner's address."""
    owner = (
        select(accounts.c.email)
        .join(memberships, memberships.c.account_id == accounts.c.id)
        .where(memberships.c.tenant_id == tenants.c.id, memberships.c.role == Role.OWNER)
        .order_by(memberships.c.created_at)
        .limit(1)
        .scalar_subquery()
    )
    return (
        select(tenants, servers.c.name.label("server"), servers.c.engine, servers.c.kind, owner.label("owner"))
        .outerjoin(placements, placements.c.id == tenants.c.placement_id)
        .outerjoin(servers, servers.c.id == placements.c.server_id)
    )


def identified(tenant_id: UUID) -> ColumnElement[bool]:
    """A condition for `rows_query`: this tenant."""
    return tenants.c.id == tenant_id


def _conditions(search: str, tier: str, state: str, server: str) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if search:
        like = "%" + search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        member = (
            select(memberships.c.tenant_id)
            .join(accounts, accounts.c.id == memberships.c.account_id)
            .where(memberships.c.tenant_id == tenants.c.id, accounts.c.email.ilike(like))
            .exists()
        )
        conditions.append(
            or_(tenants.c.company.ilike(like), tenants.c.slug.ilike(like), member, _named(search.strip()))
        )
    if server:
        conditions.append(servers.c.name == server)
    if tier:
        conditions.append(tenants.c.tier == tier)
    if state:
        conditions.append(tenants.c.state == state)
    elif not search:
        conditions.append(and_(tenants.c.state != TenantState.DELETED))
    return conditions


def _named(word: str) -> ColumnElement[bool]:
    """Whether the word is the tenant's id, or the schema of one of its placements, present or past."""
    try:
        return tenants.c.id == UUID(word)
    except ValueError:
        found = select(placements.c.id).where(placements.c.tenant_id == tenants.c.id, placements.c.schema_name == word)
        return found.correlate(tenants).exists()


def _tenant(row: Any) -> Tenant:
    return Tenant(
        id=row.id,
        slug=row.slug,
        company=row.company,
        tier=Tier(row.tier),
        state=TenantState(row.state),
        external_id=row.external_id,
        aws_choice=row.aws_choice,
        role_arn=row.role_arn,
        role_verified_at=row.role_verified_at,
        placement_id=row.placement_id,
        epoch=row.epoch,
        hubspot_state=row.hubspot_state,
        hubspot_portal_id=row.hubspot_portal_id,
        hubspot_domain=row.hubspot_domain,
        upgrade_requested_at=row.upgrade_requested_at,
        problem=row.problem,
        created_at=row.created_at,
    )
