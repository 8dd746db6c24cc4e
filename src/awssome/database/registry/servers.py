"""Servers of the data plane, with their load."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import FromClause, Select, func, select, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from awssome.database.registry.tables import instances, placements, servers, tenants
from awssome.domain.errors import Code, Refused
from awssome.domain.instances import InstanceState
from awssome.domain.secrets import Keys
from awssome.domain.servers import free_places
from awssome.domain.tenants import POOL_LIMIT, EngineName, PlacementState, ServerKind
from awssome.domain.times import new_id, now

Row = Any
"""A server with its load: the columns of `servers`, `tenants` that live there, `retained` copies, `tenant` (company of
whom a dedicated one belongs to), `drain_server` (name of where a drain leads), `instance` (how far one is that AWS
makes; None for any other) and `instance_since` (when it was asked for)."""

_THERE = instances.c.state.is_(None) | (instances.c.state == InstanceState.AVAILABLE)
"""Of servers, joined to their instances: those that one can connect to."""

_MADE = select(instances.c.server_id).where(instances.c.server_id == servers.c.id).exists()
"""Of servers: those that AWS makes, for one tenant each."""


def register(
    connection: Connection,
    keys: Keys,
    *,
    name: str,
    kind: ServerKind,
    engine: EngineName,
    host: str,
    port: int,
    database: str,
    admin_url: str,
    capacity: int | None = None,
    open_now: bool = False,
) -> UUID:
    """A new server; closed until a worker has checked it, unless `open_now`. :raises Refused: CONFLICT: name taken."""
    row = connection.execute(
        insert(servers)
        .values(
            id=new_id(),
            name=name,
            kind=kind,
            engine=engine,
            host=host,
            port=port,
            database=database,
            admin_url=keys.seal_admin(admin_url),
            open=open_now,
            capacity=capacity or (1 if kind is ServerKind.DEDICATED else POOL_LIMIT[engine]),
            created_at=now(),
        )
        .on_conflict_do_nothing(index_elements=["name"])
        .returning(servers.c.id)
    ).first()
    if row is None:
        raise Refused(Code.CONFLICT, f"There is a server named “{name}” already.", "Choose another name.")
    found: UUID = row.id
    return found


def relocate(connection: Connection, keys: Keys, name: str, *, host: str, port: int, admin_url: str) -> None:
    """An embedded server listens on another port since its last start."""
    connection.execute(
        update(servers).where(servers.c.name == name).values(host=host, port=port, admin_url=keys.seal_admin(admin_url))
    )


def by_name(connection: Connection, name: str) -> Any:
    """The server's row with its load. :raises Refused: NOT_FOUND."""
    row = connection.execute(_rows().where(servers.c.name == name)).first()
    if row is None:
        raise Refused(Code.NOT_FOUND, f"There is no server “{name[:60]}”.", "`awssome server list` names them.")
    return row


def by_id(connection: Connection, server_id: UUID) -> Any:
    """The server's row with its load."""
    return connection.execute(_rows().where(servers.c.id == server_id)).one()


def of_placement(connection: Connection, placement_id: UUID) -> Any:
    """Name and kind of the server that a placement is on; no load, so that it costs the same whatever lives there."""
    return connection.execute(
        select(servers.c.name, servers.c.kind)
        .join(placements, placements.c.server_id == servers.c.id)
        .where(placements.c.id == placement_id)
    ).one()


def every(connection: Connection) -> list[Any]:
    """All servers with their load: `tenants` that live there, `retained` copies. Not those that AWS has deleted."""
    known = instances.c.state.is_(None) | (instances.c.state != InstanceState.DELETED)
    return list(connection.execute(_rows().where(known).order_by(servers.c.kind.desc(), servers.c.name)))


def there(connection: Connection) -> list[Any]:
    """Every server that one can connect to, with its load: not those that AWS is making or taking away."""
    return list(connection.execute(_rows().where(_THERE).order_by(servers.c.kind.desc(), servers.c.name)))


def ids(connection: Connection) -> list[UUID]:
    """Every server that one can connect to."""
    found = select(servers.c.id).outerjoin(instances, instances.c.server_id == servers.c.id).where(_THERE)
    return list(connection.scalars(found.order_by(servers.c.name)))


def change(connection: Connection, server_id: UUID, **values: Any) -> None:
    """Set columns of the server."""
    connection.execute(update(servers).where(servers.c.id == server_id).values(**values))


def admin_url(connection: Connection, keys: Keys, server_id: UUID) -> tuple[EngineName, str]:
    """(engine, administrator's URL in clear). Only workers call this.

    :raises Refused: UNAVAILABLE for a server that AWS has not made yet, or has deleted.
    """
    row = connection.execute(select(servers.c.engine, servers.c.admin_url).where(servers.c.id == server_id)).one()
    if not row.admin_url:
        raise Refused(Code.UNAVAILABLE, "This database server is not there.", "AWS makes it, or has deleted it.")
    return EngineName(row.engine), keys.unseal_admin(row.admin_url)


def reseal(connection: Connection, keys: Keys) -> None:
    """Seal every administrator's URL under the present secret key. Only workers call this."""
    sealed = select(servers.c.id, servers.c.admin_url).where(func.length(servers.c.admin_url) > 0)
    for row in connection.execute(sealed.with_for_update(key_share=True)):
        change(connection, row.id, admin_url=keys.seal_admin(keys.unseal_admin(row.admin_url)))


def emptiest_pool(connection: Connection, engine: EngineName | None = None, *, but: UUID | None = None) -> UUID:
    """The open pool with the fewest tenants that has a place.

    The pools are locked until the transaction ends, in which the placement is written: of two who want the last place,
    the second counts the first.

    :param engine: only pools of this engine.
    :param but: not this one.
    :raises Refused: UNAVAILABLE when there is none.
    """
    wanted = [servers.c.kind == ServerKind.POOL, servers.c.open, servers.c.drain_to_count.is_(None)]
    if engine is not None:
        wanted.append(servers.c.engine == engine)
    if but is not None:
        wanted.append(servers.c.id != but)
    pools = select(servers.c.id).where(*wanted)
    connection.execute(pools.order_by(servers.c.id).with_for_update(key_share=True))
    load = _load()
    with_room = pools.join(load, true()).where(load.c.live + load.c.kept < servers.c.capacity)
    found: UUID | None = connection.scalar(with_room.order_by(load.c.live, servers.c.name).limit(1))
    if found is None:
        raise Refused(Code.UNAVAILABLE, "No shared server has room for another workspace.", "Operators have been told.")
    return found


def free_dedicated(connection: Connection, tenant_id: UUID, engine: EngineName) -> UUID:
    """A registered dedicated server of the engine that nobody has, taken for this tenant. The tenant's own comes first.

    :raises Refused: UNAVAILABLE when all are taken.
    """
    row = connection.execute(
        select(servers.c.id)
        .where(servers.c.kind == ServerKind.DEDICATED, servers.c.open, servers.c.engine == engine)
        .where((servers.c.tenant_id.is_(None) & ~_MADE) | (servers.c.tenant_id == tenant_id))
        .order_by(servers.c.tenant_id.is_(None), servers.c.name)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
    if row is None:
        raise Refused(
            Code.UNAVAILABLE,
            "No dedicated server is free.",
            f"Register one with `awssome server add --kind dedicated --engine {engine}`.",
        )
    connection.execute(update(servers).where(servers.c.id == row.id).values(tenant_id=tenant_id))
    found: UUID = row.id
    return found


def take_dedicated(connection: Connection, name: str, tenant_id: UUID) -> UUID:
    """This dedicated server, taken for the tenant. :raises Refused: NOT_FOUND, or CONFLICT when it is not to be had."""
    row = by_name(connection, name)
    if row.kind != ServerKind.DEDICATED:
        raise Refused(Code.CONFLICT, f"Server “{name}” is a pool.", "Name a dedicated server.")
    if not row.open:
        raise Refused(Code.CONFLICT, f"Server “{name}” is closed.", "Name a server that is open.")
    taken = connection.execute(
        update(servers)
        .where(
            servers.c.id == row.id,
            servers.c.open,
            (servers.c.tenant_id.is_(None) & ~_MADE) | (servers.c.tenant_id == tenant_id),
        )
        .values(tenant_id=tenant_id)
    )
    if not taken.rowcount:
        raise Refused(Code.CONFLICT, f"Server “{name}” belongs to {row.tenant}.", "Name another dedicated server.")
    found: UUID = row.id
    return found


def take(connection: Connection, name: str, tenant_id: UUID) -> UUID:
    """The server of this name for a placement of the tenant, if it may have one there.

    A pool is locked until the transaction ends, as by `emptiest_pool`.

    :raises Refused: NOT_FOUND; CONFLICT when it is closed, full or another tenant's.
    """
    connection.execute(select(servers.c.id).where(servers.c.name == name).with_for_update(key_share=True))
    row = by_name(connection, name)
    if row.kind == ServerKind.DEDICATED:
        return take_dedicated(connection, name, tenant_id)
    if not row.open or row.drain_to_count is not None:
        raise Refused(Code.CONFLICT, f"Server “{name}” is closed to new tenants.", "Choose another one.")
    if not free_places(row.capacity, row.tenants, row.retained):
        raise Refused(Code.CONFLICT, f"Server “{name}” is full.", "Choose another one, or raise its capacity.")
    found: UUID = row.id
    return found


def release(connection: Connection, placement_id: UUID) -> None:
    """A dedicated server on which nothing of its tenant is left is free for another.

    One that AWS has made is not: its backups hold what was there. `workflows.instances` takes it away.
    """
    server_id = select(placements.c.server_id).where(placements.c.id == placement_id).scalar_subquery()
    # Its tenant may be coming back: what is written there meanwhile is seen only behind the lock.
    its_own = (servers.c.id == server_id, servers.c.kind == ServerKind.DEDICATED)
    connection.execute(select(servers.c.id).where(*its_own).with_for_update())
    in_use = select(placements.c.id).where(
        placements.c.server_id == servers.c.id, placements.c.state != PlacementState.DROPPED
    )
    left = update(servers).where(servers.c.id == server_id, ~in_use.exists(), ~_MADE)
    connection.execute(left.values(tenant_id=None))


def _load() -> FromClause:
    """Tenants that live (`live`) and copies that are kept (`kept`) on the server of the outer query, by index only."""
    kept = placements.c.state == PlacementState.RETAINED
    counted = select(func.count().filter(~kept).label("live"), func.count().filter(kept).label("kept"))
    held = (PlacementState.NEW, PlacementState.ACTIVE, PlacementState.RETAINED)
    mine = counted.where(placements.c.server_id == servers.c.id, placements.c.state.in_(held))
    return mine.correlate(servers).lateral("load")


def _rows() -> Select[Any]:
    load, goal = _load(), servers.alias("goal")
    return (
        select(
            servers,
            load.c.live.label("tenants"),
            load.c.kept.label("retained"),
            tenants.c.company.label("tenant"),
            goal.c.name.label("drain_server"),
            instances.c.state.label("instance"),
            instances.c.requested_at.label("instance_since"),
        )
        .select_from(servers)
        .join(load, true())
        .outerjoin(tenants, tenants.c.id == servers.c.tenant_id)
        .outerjoin(goal, goal.c.id == servers.c.drain_server_id)
        .outerjoin(instances, instances.c.server_id == servers.c.id)
    )
