"""How each tenant's newest sync stands: a row a tenant, so that operators see all without asking each schema."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from awssome.database.keyset import Page, newest_first
from awssome.database.registry.tables import last_syncs, tenants
from awssome.database.tenant.syncs import Sync
from awssome.domain.syncs import SyncState
from awssome.domain.times import now

_TOLD = ("imported", "created", "updated", "left_out", "failed", "calls", "available")
_TIMES = ("requested_at", "started_at", "finished_at", "resume_at")


def tell(connection: Connection, tenant_id: UUID, sync: Sync) -> None:
    """Write down how a run stands; nothing when a later one is there already."""
    values: dict[str, Any] = {name: getattr(sync, name) for name in (*_TOLD, *_TIMES)}
    values |= {"sync_id": sync.id, "kind": sync.kind, "state": sync.state, "told_at": now()}
    values["problem"] = sync.problem[:1000] if sync.problem else None
    written = insert(last_syncs).values(tenant_id=tenant_id, **values)
    later = last_syncs.c.sync_id <= written.excluded.sync_id  # ids grow with time
    connection.execute(written.on_conflict_do_update(index_elements=["tenant_id"], set_=values, where=later))


def page(
    connection: Connection, *, state: SyncState | None = None, after: str = "", before: str = "", limit: int = 50
) -> Page[Any]:
    """The newest run of each tenant with its company and slug, newest first."""
    query = select(last_syncs, last_syncs.c.sync_id.label("id"), tenants.c.company, tenants.c.slug)
    query = query.join(tenants, tenants.c.id == last_syncs.c.tenant_id)
    if state:
        query = query.where(last_syncs.c.state == state)
    return newest_first(connection, query, last_syncs.c.sync_id, UUID, after=after, before=before, limit=limit)
