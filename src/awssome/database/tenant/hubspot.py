"""The tenant's connection to HubSpot: the one row of `hubspot_tokens`.

The row outlives a disconnection, without its tokens: `imports` counts the mappings ever made, and the cap of the free
tier hangs on it. Tokens are kept sealed; who opens them has the tenant's data key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from awssome.database.schema import hubspot_tokens
from awssome.domain.syncs import ConnectionState
from awssome.domain.times import now


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


@dataclass(frozen=True)
class SealedTokens:
    """The tokens, as they are stored.

    :ivar expires_at: when the access token expires.
    :ivar connected_at: tells one connection from the next.
    """

    access_token: bytes = field(repr=False)
    refresh_token: bytes = field(repr=False)
    expires_at: datetime
    portal_id: int
    connected_at: datetime


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


def tokens(connection: Connection) -> SealedTokens | None:
    """The sealed tokens of a connection that stands; None when there is none, or it has to be made again."""
    t = hubspot_tokens.c
    query = select(t.access_token, t.refresh_token, t.expires_at, t.portal_id, t.connected_at)
    row = connection.execute(query.where(t.id == _ROW, t.state == ConnectionState.CONNECTED)).first()
    return SealedTokens(**row._mapping) if row else None


def lock(connection: Connection) -> None:
    """Hold the row until the transaction ends. An UPDATE, because that is what a fenced schema refuses."""
    _change(connection, id=_ROW)


def store(
    connection: Connection,
    *,
    portal_id: int,
    hub_domain: str,
    scopes: Sequence[str],
    access_token: bytes,
    refresh_token: bytes,
    expires_at: datetime,
    connected_by: str,
) -> None:
    """Keep the sealed tokens of a new connection in place of what was there; `imports` goes on."""
    values = {
        "state": ConnectionState.CONNECTED,
        "portal_id": portal_id,
        "hub_domain": hub_domain[:255],
        "scopes": " ".join(scopes)[:1000],
        "access_token": access_token,
        "refresh_token": refresh_token,
        "expires_at": expires_at,
        "connected_at": now(),
        "connected_by": connected_by,
        "refreshed_at": None,
    }
    if _change(connection, **values):
        return
    try:
        with connection.begin_nested():
            connection.execute(insert(hubspot_tokens).values(id=_ROW, imports=0, **values))
    except IntegrityError:
        _change(connection, **values)


def store_refreshed(connection: Connection, *, access_token: bytes, refresh_token: bytes, expires_at: datetime) -> None:
    """Keep what a refresh gave, both tokens."""
    _change(
        connection,
        access_token=access_token,
        refresh_token=refresh_token,
        expires_at=expires_at,
        refreshed_at=now(),
    )


def mark_reconnect(connection: Connection, connected_at: datetime) -> bool:
    """HubSpot no longer takes the tokens of the connection made at `connected_at`; False when there is a newer one."""
    changed = connection.execute(
        update(hubspot_tokens)
        .where(
            hubspot_tokens.c.id == _ROW,
            hubspot_tokens.c.state == ConnectionState.CONNECTED,
            hubspot_tokens.c.connected_at == connected_at,
        )
        .values(state=ConnectionState.RECONNECT, access_token=None, refresh_token=None, expires_at=None)
    )
    return changed.rowcount == 1


def forget(connection: Connection) -> None:
    """Disconnect: the tokens go, the rest of the row stays."""
    _change(connection, state=ConnectionState.DISCONNECTED, access_token=None, refresh_token=None, expires_at=None)


def imports(connection: Connection) -> int:
    """How many mappings this tenant has ever made; exact until the transaction ends if the row is locked."""
    found: int = connection.execute(select(hubspot_tokens.c.imports).where(hubspot_tokens.c.id == _ROW)).scalar_one()
    return found


def add_imports(connection: Connection, made: int) -> None:
    """Count mappings that were made."""
    _change(connection, imports=hubspot_tokens.c.imports + made)


_ROW = 1


def _change(connection: Connection, **values: Any) -> bool:
    return connection.execute(update(hubspot_tokens).where(hubspot_tokens.c.id == _ROW).values(**values)).rowcount == 1
