"""The tenant's connection to HubSpot: the one row of `hubspot_tokens`.

The row outlives a disconnection, without its tokens: `imports` counts the mappings ever made, and the cap of the free
tier hangs on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.engine import Connection

from awssome.database.schema import hubspot_tokens
from awssome.domain.syncs import ConnectionState


@dataclass(frozen=True)
class HubSpotConnection:
    """The connection as pages may show it: no token in it.

    :ivar portal_id: HubSpot's number of the account that is, or was last, connected.
    :ivar scopes: what was consented to.
    :ivar connected_by: the e-mail address of who connected it.
    :ivar imports: mappings ever made by this tenant.
    """

    state: ConnectionState
    portal_id: int
    hub_domain: str
    scopes: tuple[str, ...]
    connected_at: datetime
    connected_by: str
    refreshed_at: datetime | None
    imports: int


def connection(connection: Connection) -> HubSpotConnection | None:
    """The connection to HubSpot, present or past; None when there never was one."""
    t = hubspot_tokens.c
    query = select(
        t.state, t.portal_id, t.hub_domain, t.scopes, t.connected_at, t.connected_by, t.refreshed_at, t.imports
    )
    row = connection.execute(query.where(t.id == _ROW)).first()
    if row is None:
        return None
    return HubSpotConnection(
        **{**row._mapping, "state": ConnectionState(row.state), "scopes": tuple(row.scopes.split())}
    )


_ROW = 1
