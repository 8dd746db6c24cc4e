"""Servers that AWS makes: a row of `instances` beside the server's own, from the order to the last snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.engine import Connection

from awssome.database.registry.tables import instances, placements, servers, tenants
from awssome.domain.instances import Blueprint, InstanceState, identifier
from awssome.domain.tenants import EngineName, PlacementState, ServerKind, TenantState
from awssome.domain.times import new_id, now


@dataclass(frozen=True)
class Instance:
    """A row, with what the server's own row says.

    :ivar name: of the server, and the instance's identifier in AWS.
    :ivar host: "" until it was available.
    :ivar secret: ARN of its administrator's secret.
    :ivar snapshot: name of the last snapshot.
    """

    server_id: UUID
    tenant_id: UUID
    name: str
    engine: EngineName
    host: str
    port: int
    state: InstanceState
    tags: dict[str, str]
    secret: str | None
    snapshot: str | None
    requested_at: datetime
    available_at: datetime | None


def order(connection: Connection, blueprint: Blueprint, tenant_id: UUID) -> UUID:
    """A dedicated server for the tenant that AWS is to make; closed, and nowhere yet."""
    server_id = new_id()
    name = identifier(tenant_id, server_id)
    connection.execute(
        insert(servers).values(
            id=server_id,
            name=name,
            kind=ServerKind.DEDICATED,
            engine=blueprint.runs,
            host="",
            port=0,
            database="",
            admin_url=b"",
            open=False,
            capacity=1,
            tenant_id=tenant_id,
            created_at=now(),
        )
    )
    connection.execute(
        insert(instances).values(
            server_id=server_id,
            identifier=name,
            tenant_id=tenant_id,
            state=InstanceState.WANTED,
            tags=blueprint.tags(tenant_id, server_id),
            requested_at=now(),
        )
    )
    return server_id


def count(connection: Connection, tenant_id: UUID) -> int:
    """Instances that were ordered for the tenant and are not gone yet."""
    query = select(func.count()).where(instances.c.tenant_id == tenant_id, instances.c.state != InstanceState.DELETED)
    return int(connection.execute(query).scalar_one())


def find(connection: Connection, server_id: UUID, *, lock: bool = False) -> Instance | None:
    """The instance behind a server; None for a server that AWS did not make."""
    query = _rows().where(instances.c.server_id == server_id)
    row = connection.execute(query.with_for_update(of=instances) if lock else query).first()
    return _instance(row) if row else None


def turn(connection: Connection, instance: Instance, state: InstanceState, **values: Any) -> bool:
    """From the state in hand to another. False when somebody else has turned it since."""
    turned = update(instances).where(instances.c.server_id == instance.server_id, instances.c.state == instance.state)
    return connection.execute(turned.values(state=state, **values)).rowcount == 1


def tell(connection: Connection, server_id: UUID, problem: str | None) -> None:
    """What is in AWS's way, for operators; None: nothing."""
    cut = problem[:500] if problem else None
    connection.execute(update(servers).where(servers.c.id == server_id).values(problem=cut))


def needless(connection: Connection) -> list[Instance]:
    """Instances on whose server nothing of the tenant is left, nor will be. Both rows of each are locked."""
    kept = select(placements.c.id).where(
        placements.c.server_id == instances.c.server_id, placements.c.state != PlacementState.DROPPED
    )
    query = _rows().where(instances.c.state.not_in(_LEAVING), ~kept.exists())
    locked = [row.server_id for row in connection.execute(query.with_for_update(skip_locked=True))]
    # Somebody may have come back to one between the look and the lock; now nobody can.
    return [_instance(row) for row in connection.execute(query.where(instances.c.server_id.in_(locked)))]


def identifiers(connection: Connection) -> set[str]:
    """Of all instances that are not gone from AWS, as far as we know."""
    there = select(instances.c.identifier).where(instances.c.state != InstanceState.DELETED)
    return set(connection.scalars(there))


def leaving(connection: Connection) -> list[Instance]:
    """Instances that are being taken away."""
    query = _rows().where(instances.c.state.in_((InstanceState.RETIRING, InstanceState.DELETING)))
    return [_instance(row) for row in connection.execute(query)]


def of_the_erased(connection: Connection) -> list[Instance]:
    """Instances that are gone and left a last snapshot, of tenants that are erased."""
    erased = select(tenants.c.id).where(tenants.c.id == instances.c.tenant_id, tenants.c.state == TenantState.DELETED)
    query = _rows().where(
        instances.c.state == InstanceState.DELETED, instances.c.snapshot.is_not(None), erased.exists()
    )
    return [_instance(row) for row in connection.execute(query)]


_LEAVING = (InstanceState.RETIRING, InstanceState.DELETING, InstanceState.DELETED)


def _rows() -> Any:
    return select(instances, servers.c.engine, servers.c.host, servers.c.port).join(
        servers, servers.c.id == instances.c.server_id
    )


def _instance(row: Any) -> Instance:
    return Instance(
        server_id=row.server_id,
        tenant_id=row.tenant_id,
        name=row.identifier,
        engine=EngineName(row.engine),
        host=row.host,
        port=row.port,
        state=InstanceState(row.state),
        tags=row.tags,
        secret=row.secret,
        snapshot=row.snapshot,
        requested_at=row.requested_at,
        available_at=row.available_at,
    )
