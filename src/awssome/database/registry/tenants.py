"""Tenants: found, created, changed."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, CompoundSelect, Select, and_, case, func, or_, select, union, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from awssome.database.keyset import Key, Keyset, Page
from awssome.database.registry.tables import accounts, memberships, moves, placements, servers, tenants
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import UNDER_WAY, MoveKind
from awssome.domain.secrets import OLDEST, new_token
from awssome.domain.tenants import AWAY, RESERVED_SLUGS, Role, TenantState, Tier, check_transition, slug_from
from awssome.domain.times import new_id, now

_KEYS = {
    "created": Key(tenants.c.created_at, datetime.fromisoformat),
    "company": Key(func.lower(tenants.c.company), str),
    "tier": Key(tenants.c.tier, str),
    "state": Key(tenants.c.state, str),
}

_SEEN_EVERY = timedelta(hours=1)

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
    seen_at: datetime | None
    retain_until: datetime | None


def create(connection: Connection, company: str) -> Tenant:
    """A free tenant in state pending, with a slug of its own and an ExternalId for its AWS role."""
    for slug in _slugs(slug_from(company)):
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
    """Set columns of the tenant; its state is changed by `turn`."""
    connection.execute(update(tenants).where(tenants.c.id == tenant_id).values(**values))


def with_data_key(connection: Connection, after: UUID | None, limit: int, *, but: Collection[str] = ()) -> list[UUID]:
    """Active tenants that have a data key, by id, from one batch to the next.

    :param but: those are left out whose key is wrapped by one of these.
    """
    t = tenants.c
    query = select(t.id).where(t.state == TenantState.ACTIVE, _has_data_key(but)).order_by(t.id).limit(limit)
    return list(connection.scalars(query if after is None else query.where(t.id > after)))


def count_data_keys(connection: Connection, *, but: Collection[str]) -> int:
    """How many tenants with a workspace have a data key that none of these wraps."""
    query = select(func.count()).select_from(tenants).where(tenants.c.placement_id.is_not(None), _has_data_key(but))
    return int(connection.execute(query).scalar_one())


def turn(connection: Connection, tenant_id: UUID, after: TenantState, **values: Any) -> None:
    """Take the tenant to another state, and set other columns with it.

    :raises Refused: CONFLICT when no such step is in a tenant's life (`domain.tenants.TRANSITIONS`).
    """
    check_transition(find(connection, tenant_id, lock=True).state, after)
    change(connection, tenant_id, state=after, **values)


def has_role(connection: Connection, arn: str, *, but: UUID) -> bool:
    """Whether another tenant has this AWS role."""
    return bool(
        connection.scalar(select(select(tenants.c.id).where(tenants.c.role_arn == arn, tenants.c.id != but).exists()))
    )


def note_seen(connection: Connection, tenant: Tenant) -> None:
    """Somebody of the tenant's is there. Written down at most once an hour, whatever the number of requests."""
    at = now()
    if tenant.seen_at is None or tenant.seen_at < at - _SEEN_EVERY:
        change(connection, tenant.id, seen_at=at)


def switch_placement(connection: Connection, tenant_id: UUID, source: UUID, target: UUID, epoch: int) -> bool:
    """The commit point of a move: compare (source, epoch) and set (target, epoch + 1). False when it was not so.

    A downgrade has the tenant on the free tier from the same instant on: no other move touches the tier.
    """
    mine = select(moves.c.id).where(moves.c.tenant_id == tenant_id, moves.c.target_id == target)
    downgrade = mine.where(moves.c.kind == MoveKind.DOWNGRADE).exists()
    changed = connection.execute(
        update(tenants)
        .where(tenants.c.id == tenant_id, tenants.c.placement_id == source, tenants.c.epoch == epoch)
        .values(placement_id=target, epoch=epoch + 1, tier=case((downgrade, Tier.FREE), else_=tenants.c.tier))
    )
    return changed.rowcount == 1


def settle(connection: Connection, tenant_id: UUID, target: UUID, epoch: int) -> bool:
    """A tenant that has no placement gets one, and is active: compare (none, epoch) and set (target, epoch + 1).

    False when it was not so.
    """
    changed = connection.execute(
        update(tenants)
        .where(
            tenants.c.id == tenant_id,
            tenants.c.placement_id.is_(None),
            tenants.c.epoch == epoch,
            tenants.c.state.in_(AWAY),
        )
        .values(
            placement_id=target,
            epoch=epoch + 1,
            state=TenantState.ACTIVE,
            seen_at=now(),
            retain_until=None,
            problem=None,
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
    server_id = None
    if server:
        # As a value of its own: PostgreSQL knows how many live there, and with which table to begin.
        server_id = connection.scalar(select(servers.c.id).where(servers.c.name == server))
        if server_id is None:
            return Page((), None, None), 0
    query = rows_query().where(*_conditions(search, tier, state, server_id))
    total = connection.scalar(query.with_only_columns(func.count(), maintain_column_froms=True)) or 0
    order = Keyset(_KEYS[sort.lstrip("-")], tenants.c.id, descending=sort.startswith("-"))
    return order.page(connection, query, lambda row: row, after=after, before=before, limit=limit), total


def rows_query() -> Select[Any]:
    """Tenants with the server they are on, their first owner's address, and whether a move is carrying them."""
    owner = (
        select(accounts.c.email)
        .join(memberships, memberships.c.account_id == accounts.c.id)
        .where(memberships.c.tenant_id == tenants.c.id, memberships.c.role == Role.OWNER)
        .order_by(memberships.c.created_at)
        .limit(1)
        .scalar_subquery()
    )
    return (
        select(
            tenants,
            servers.c.name.label("server"),
            servers.c.engine,
            servers.c.kind,
            owner.label("owner"),
            _moving().label("moving"),
        )
        .outerjoin(placements, placements.c.id == tenants.c.placement_id)
        .outerjoin(servers, servers.c.id == placements.c.server_id)
    )


def identified(tenant_id: UUID) -> ColumnElement[bool]:
    """A condition for `rows_query`: this tenant."""
    return tenants.c.id == tenant_id


def _slugs(wanted: str) -> Iterator[str]:
    """The name, then with a number; a name that many have soon ends at random, so that nobody counts through them."""
    yield wanted
    stem = wanted[:33].rstrip("-")
    for number in range(2, 6):
        yield f"{stem}-{number}"
    for _ in range(5):
        yield f"{stem}-{secrets.token_hex(3)}"


def _conditions(search: str, tier: str, state: str, server_id: UUID | None) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if search:
        conditions.append(tenants.c.id.in_(_found(search)))
    if server_id:
        conditions.append(placements.c.server_id == server_id)
    if tier:
        conditions.append(tenants.c.tier == tier)
    if state in (TenantState.ACTIVE, TenantState.MOVING):
        conditions.append(tenants.c.state == TenantState.ACTIVE)
        conditions.append(_moving() if state == TenantState.MOVING else ~_moving())
    elif state:
        conditions.append(tenants.c.state == state)
    elif not search:
        conditions.append(tenants.c.state != TenantState.DELETED)
    return conditions


def _moving() -> ColumnElement[bool]:
    """Whether a move is carrying the tenant of the outer query; an index holds just those moves."""
    under_way = select(moves.c.id).where(moves.c.tenant_id == tenants.c.id, moves.c.phase.in_(UNDER_WAY))
    return under_way.correlate(tenants).exists()


def _found(search: str) -> CompoundSelect[Any]:
    """Ids of the tenants that a search means, each way to them by an index of its own.

    By a part of company, slug or a member's address; by the whole id, or schema of a placement, present or past.
    """
    like = "%" + search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    word = search.strip()
    try:
        named = select(tenants.c.id).where(tenants.c.id == UUID(word))
    except ValueError:
        named = select(placements.c.tenant_id).where(placements.c.schema_name == word)
    return union(
        select(tenants.c.id).where(tenants.c.company.ilike(like)),
        select(tenants.c.id).where(tenants.c.slug.ilike(like)),
        select(memberships.c.tenant_id)
        .join(accounts, accounts.c.id == memberships.c.account_id)
        .where(accounts.c.email.ilike(like)),
        named,
    )


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
        seen_at=row.seen_at,
        retain_until=row.retain_until,
    )


def _has_data_key(but: Collection[str]) -> ColumnElement[bool]:
    """A row from before keys were noted has one if the tenant was ever connected, under the oldest secret key."""
    t = tenants.c
    wrapped = or_(t.data_key_under.is_not(None), t.hubspot_portal_id.is_not(None))
    return and_(wrapped, func.coalesce(t.data_key_under, OLDEST).not_in(but))
