"""How far the syncs have followed a HubSpot account: columns of its row in `hubspot_accounts`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.engine import Connection

from awssome.database.schema import hubspot_accounts
from awssome.domain.times import now
from awssome.domain.windows import Watermark

_a = hubspot_accounts.c


def find(connection: Connection, portal_id: int) -> Watermark | None:
    """How far; None when no sync has come to its end yet."""
    query = select(_a.changed_until, _a.full_at, _a.mapping_hash, _a.beyond).where(_a.portal_id == portal_id)
    row = connection.execute(query).first()
    if row is None or row.changed_until is None or row.full_at is None:
        return None
    return Watermark(row.changed_until, row.full_at, bytes(row.mapping_hash or b""), row.beyond or 0)


def doubt(connection: Connection, portal_id: int, mapping_hash: bytes) -> None:
    """Deals are about to be written by this mapping: if it is not the watermark's, only reading all of them makes them
    alike again, by whichever mapping."""
    other = (_a.portal_id == portal_id, _a.mapping_hash != mapping_hash)
    connection.execute(update(hubspot_accounts).where(*other).values(mapping_hash=None))


def advance(connection: Connection, portal_id: int, changed_until: datetime | None, **values: Any) -> None:
    """A sync has come to its end. :param values: after a full one `full_at` and `mapping_hash`."""
    reached = {"changed_until": changed_until, "updated_at": now(), **values}
    connection.execute(update(hubspot_accounts).where(_a.portal_id == portal_id).values(reached))
