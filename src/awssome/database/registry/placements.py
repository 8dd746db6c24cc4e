"""Placements: where a tenant's data is, was and will be. The row is written before any object is made."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, ScalarSelect, Text, and_, cast, func, or_, select, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from awssome.database.registry.tables import moves, placements, restores, servers, tenants
from awssome.domain.archives import RESTORES_UNDER_WAY
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import UNDER_WAY, Phase
from awssome.domain.secrets import OLDEST, Keys
from awssome.domain.tenants import EngineName, Placement, PlacementState, TenantState, Tier, new_schema_name
from awssome.domain.times import new_id, now


def create(connection: Connection, tenant_id: UUID, server_id: UUID, key_id: str | None = None) -> UUID:
    """A new placement with an opaque schema name of its own.

    :param key_id: the secret key of its login's password; None: that of the tenant's placement before.
    """
    placement_id = new_id()
    connection.execute(
        insert(placements).values(
            id=placement_id,
            tenant_id=tenant_id,
            server_id=server_id,
            schema_name=new_schema_name(),
            secret_version=1,
            key_id=key_id or func.coalesce(_last_key(tenant_id), OLDEST),
            state=PlacementState.NEW,
            created_at=now(),
        )
    )
    return placement_id


def current(connection: Connection, keys: Keys, tenant_id: UUID) -> Placement:
    """Where the tenant's data is now. :raises Refused: UNAVAILABLE while it is nowhere."""
    row = connection.execute(
        _rows().join(tenants, tenants.c.placement_id == placements.c.id).where(tenants.c.id == tenant_id)
    ).first()
    if row is None:
        raise Refused(Code.UNAVAILABLE, "The workspace is not ready yet.", "Try again in a minute.", retry_after=5)
    return _placement(keys, row)


def find(connection: Connection, keys: Keys, placement_id: UUID) -> Placement:
    """One placement, current or not; its epoch is the tenant's."""
    row = connection.execute(
        _rows().join(tenants, tenants.c.id == placements.c.tenant_id).where(placements.c.id == placement_id)
    ).one()
    return _placement(keys, row)


def name_key(connection: Connection, key_id: str) -> None:
    """Placements whose login is closed or gone name this key from now on: their passwords open nothing."""
    shut = placements.c.state.in_((PlacementState.RETAINED, PlacementState.DROPPED))
    connection.execute(update(placements).where(shut, placements.c.key_id != key_id).values(key_id=key_id))


def under_other_keys(connection: Connection, key_ids: Collection[str]) -> int:
    """How many placements need another secret key than the one with these names."""
    query = select(func.count()).select_from(placements).where(placements.c.key_id.not_in(list(key_ids)))
    return connection.scalar(query) or 0


def key_of(connection: Connection, placement_id: UUID) -> str:
    """The name of the secret key that the placement's password is derived from."""
    return str(connection.execute(select(placements.c.key_id).where(placements.c.id == placement_id)).scalar_one())


def secret_version(connection: Connection, placement_id: UUID) -> int:
    """The version of the placement's secret."""
    query = select(placements.c.secret_version).where(placements.c.id == placement_id)
    return int(connection.execute(query).scalar_one())


def to_rotate(connection: Connection, after: UUID | None, limit: int) -> list[Any]:
    """id, tenant_id and secret_version of the placements of active tenants, by tenant, from one batch to the next."""
    query = (
        select(placements.c.id, placements.c.tenant_id, placements.c.secret_version)
        .join(tenants, tenants.c.placement_id == placements.c.id)
        .where(tenants.c.state == TenantState.ACTIVE)
        .order_by(tenants.c.id)
        .limit(limit)
    )
    return list(connection.execute(query if after is None else query.where(tenants.c.id > after)))


def rotated(connection: Connection, placement_id: UUID, version: int, key_id: str) -> bool:
    """The login has the password of this version now. False when it was not the version that follows."""
    changed = connection.execute(
        update(placements)
        .where(placements.c.id == placement_id, placements.c.secret_version == version - 1)
        .values(secret_version=version, key_id=key_id)
    )
    return changed.rowcount == 1


def server_of(connection: Connection, placement_id: UUID) -> UUID:
    """The server a placement is on."""
    found: UUID = connection.execute(select(placements.c.server_id).where(placements.c.id == placement_id)).scalar_one()
    return found


def of_tenant(connection: Connection, tenant_id: UUID) -> list[Any]:
    """Every placement of the tenant with its server's name, newest first."""
    return list(
        connection.execute(
            select(placements, servers.c.name.label("server"))
            .join(servers, servers.c.id == placements.c.server_id)
            .where(placements.c.tenant_id == tenant_id)
            .order_by(placements.c.created_at.desc())
        )
    )


def on_server(connection: Connection, server_id: UUID) -> list[Any]:
    """Every placement there, dropped ones too, as the doctor compares it: id, tenant_id, schema_name, state, revision,
    and of its tenant slug, tenant_state and epoch; whether it lives there (`current`), is being moved or restored
    (`carried`), and will never live there (`abandoned`). One query, whatever their number.
    """
    moving = select(moves.c.id).where(moves.c.tenant_id == placements.c.tenant_id, moves.c.phase.in_(UNDER_WAY))
    restoring = select(restores.c.id).where(
        restores.c.tenant_id == placements.c.tenant_id, restores.c.state.in_(RESTORES_UNDER_WAY)
    )
    return list(
        connection.execute(
            select(
                placements.c.id,
                placements.c.tenant_id,
                placements.c.schema_name,
                placements.c.state,
                placements.c.revision,
                tenants.c.slug,
                tenants.c.state.label("tenant_state"),
                tenants.c.epoch,
                (tenants.c.placement_id == placements.c.id).is_(true()).label("current"),
                or_(moving.exists(), restoring.exists()).label("carried"),
                _abandoned().label("abandoned"),
            )
            .join(tenants, tenants.c.id == placements.c.tenant_id)
            .where(placements.c.server_id == server_id)
            .order_by(placements.c.schema_name)
        )
    )


def tenants_of(connection: Connection, server_id: UUID, schemas: Sequence[str]) -> dict[str, tuple[UUID, Tier]]:
    """Whose these schemas of a server are: schema -> tenant and tier."""
    rows = connection.execute(
        select(placements.c.schema_name, tenants.c.id, tenants.c.tier)
        .join(tenants, tenants.c.id == placements.c.tenant_id)
        .where(placements.c.server_id == server_id, placements.c.schema_name.in_(schemas))
    )
    return {row.schema_name: (row.id, Tier(row.tier)) for row in rows}


def known(connection: Connection, names: Collection[str]) -> set[str]:
    """Which of these schemas a placement on any server names that was not dropped."""
    query = select(placements.c.schema_name).where(
        placements.c.schema_name.in_(list(names)), placements.c.state != PlacementState.DROPPED
    )
    return set(connection.scalars(query))


def mark(
    connection: Connection,
    placement_id: UUID,
    state: PlacementState,
    *,
    revision: str | None = None,
    retain_until: datetime | None = None,
) -> None:
    """Set the state, and the revision when the tables were made."""
    values: dict[str, Any] = {"state": state, "retain_until": retain_until}
    if revision:
        values["revision"] = revision
    connection.execute(update(placements).where(placements.c.id == placement_id).values(**values))


def note_revision(connection: Connection, placement_id: UUID, revision: str) -> None:
    """The tables of this placement are at this revision now."""
    connection.execute(update(placements).where(placements.c.id == placement_id).values(revision=revision))


def is_dropped(connection: Connection, placement_id: UUID) -> bool:
    """Whether nothing of the placement is left on its server."""
    query = select(placements.c.state).where(placements.c.id == placement_id)
    return bool(connection.scalar(query) == PlacementState.DROPPED)


def is_abandoned(connection: Connection, placement_id: UUID) -> bool:
    """Whether the placement was begun, and nobody will ever live there."""
    return connection.scalar(select(placements.c.id).where(placements.c.id == placement_id, _abandoned())) is not None


def _abandoned() -> ColumnElement[bool]:
    """No tenant is to live there, and no move or restore that may still go on leads there."""
    ended, here = (Phase.DROPPED, Phase.CANCELLED), placements.c.id
    somebody = (
        select(tenants.c.id).where(tenants.c.placement_id == here),
        select(moves.c.id).where(moves.c.target_id == here, moves.c.phase.not_in(ended)),
        select(restores.c.id).where(restores.c.target_id == here, restores.c.state.in_(RESTORES_UNDER_WAY)),
    )
    return and_(placements.c.state == PlacementState.NEW, *(~each.correlate(placements).exists() for each in somebody))


def behind(
    connection: Connection, older: Sequence[str], *, server: str | None = None, tenant: str | None = None
) -> list[Any]:
    """The live placements whose tables are at one of these revisions, server by server and oldest first: id, tenant_id,
    slug, schema_name, revision, server_id, server, engine. One query, whatever their number.

    :param server: only those on the server of this name.
    :param tenant: only those of the tenant with this slug or id.
    """
    query = (
        select(
            placements.c.id,
            placements.c.tenant_id,
            tenants.c.slug,
            placements.c.schema_name,
            placements.c.revision,
            placements.c.server_id,
            servers.c.name.label("server"),
            servers.c.engine,
        )
        .join(servers, servers.c.id == placements.c.server_id)
        .join(tenants, tenants.c.id == placements.c.tenant_id)
        .where(_behind(older))
        .order_by(servers.c.name, placements.c.revision, placements.c.id)
    )
    if server is not None:
        query = query.where(servers.c.name == server)
    if tenant is not None:
        query = query.where(or_(tenants.c.slug == tenant, cast(tenants.c.id, Text) == tenant.lower()))
    return list(connection.execute(query))


def is_behind(place: Any, older: Sequence[str]) -> bool:
    """Whether a row of `of_tenant` or `on_server` is live, and its tables are at one of these revisions."""
    return place.state in _LIVE and place.revision in older


def count_behind(connection: Connection, older: Sequence[str], server_id: UUID) -> tuple[int, int]:
    """How many placements on the server are behind, and how many of those could not be migrated."""
    query = select(func.count(), func.count(placements.c.problem))
    behind, failing = connection.execute(query.where(placements.c.server_id == server_id, _behind(older))).one()
    return behind, failing


def note_migrated(connection: Connection, placement_ids: Iterable[UUID], revision: str, older: Sequence[str]) -> None:
    """The tables of these placements are at `revision` now, unless somebody has brought them further since."""
    connection.execute(
        update(placements)
        .where(placements.c.id.in_(list(placement_ids)), placements.c.revision.in_(older))
        .values(revision=revision, problem=None)
    )


def note_problem(
    connection: Connection, placement_ids: Iterable[UUID], problem: str, older: Sequence[str]
) -> set[UUID]:
    """Why these could not be migrated; those of them that are still there and behind."""
    return set(
        connection.scalars(
            update(placements)
            .where(placements.c.id.in_(list(placement_ids)), _behind(older))
            .values(problem=problem[:500])
            .returning(placements.c.id)
        )
    )


_LIVE = (PlacementState.ACTIVE, PlacementState.RETAINED)


def _behind(older: Sequence[str]) -> ColumnElement[bool]:
    return and_(placements.c.revision.in_(older), placements.c.state.in_(_LIVE))


def _last_key(tenant_id: UUID) -> ScalarSelect[str]:
    newest = select(placements.c.key_id).where(placements.c.tenant_id == tenant_id)
    return newest.order_by(placements.c.created_at.desc()).limit(1).scalar_subquery()


def _rows() -> Any:
    return select(
        placements.c.id,
        placements.c.tenant_id,
        placements.c.schema_name,
        placements.c.secret_version,
        placements.c.key_id,
        tenants.c.epoch,
        tenants.c.tier,
        servers.c.name,
        servers.c.engine,
        servers.c.host,
        servers.c.port,
        servers.c.database,
    ).join(servers, servers.c.id == placements.c.server_id)


def _placement(keys: Keys, row: Any) -> Placement:
    return Placement(
        tenant_id=row.tenant_id,
        placement_id=row.id,
        engine=EngineName(row.engine),
        host=row.host,
        port=row.port,
        database=row.database,
        schema=row.schema_name,
        epoch=row.epoch,
        secret_version=row.secret_version,
        password=keys.login_password(row.tenant_id, row.name, row.schema_name, row.secret_version, row.key_id),
        tier=Tier(row.tier),
    )
