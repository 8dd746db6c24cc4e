"""Placements: where a tenant's data is, was and will be. The row is written before any object is made."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from awssome.database.registry.tables import placements, servers, tenants
from awssome.domain.errors import Code, Refused
from awssome.domain.secrets import KEY_ID, Keys
from awssome.domain.tenants import EngineName, Placement, PlacementState, Tier, new_schema_name
from awssome.domain.times import new_id, now


def create(connection: Connection, tenant_id: UUID, server_id: UUID) -> UUID:
    """A new placement with an opaque schema name of its own."""
    placement_id = new_id()
    connection.execute(
        insert(placements).values(
            id=placement_id,
            tenant_id=tenant_id,
            server_id=server_id,
            schema_name=new_schema_name(),
            secret_version=1,
            key_id=KEY_ID,
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
    """id, schema_name, state, revision and the tenant's slug of every placement there that was not dropped."""
    return list(
        connection.execute(
            select(placements.c.id, placements.c.schema_name, placements.c.state, placements.c.revision, tenants.c.slug)
            .join(tenants, tenants.c.id == placements.c.tenant_id)
            .where(placements.c.server_id == server_id, placements.c.state != PlacementState.DROPPED)
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


def behind(connection: Connection, revision: str) -> list[UUID]:
    """The live placements whose tables are not at this revision; one query, whatever their number."""
    return list(
        connection.scalars(
            select(placements.c.id).where(
                placements.c.state.in_((PlacementState.ACTIVE, PlacementState.RETAINED)),
                placements.c.revision.is_distinct_from(revision),
            )
        )
    )


def _rows() -> Any:
    return select(
        placements.c.id,
        placements.c.tenant_id,
        placements.c.schema_name,
        placements.c.secret_version,
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
        password=keys.login_password(row.tenant_id, row.name, row.schema_name, row.secret_version),
        tier=Tier(row.tier),
    )
