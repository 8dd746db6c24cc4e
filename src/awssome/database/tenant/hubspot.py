"""The tenant's connection to HubSpot: the one row of `hubspot_tokens`.

The row outlives a disconnection, without its tokens: `imports` counts the mappings ever made, and the cap of the free
tier hangs on it. Tokens are kept sealed; who opens them has the tenant's data key. What HubSpot says of the account
lies beside it, in `hubspot_accounts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from awssome.database.schema import hubspot_accounts, hubspot_tokens
from awssome.domain.syncs import ConnectionState, LostReason
from awssome.domain.times import now


@dataclass(frozen=True)
class HubSpotConnection:
    """The connection as pages may show it: no token in it.

    :ivar portal_id: HubSpot's number of the account that is, or was last, connected.
    :ivar scopes: what was consented to.
    :ivar connected_by: the e-mail address of who connected it.
    :ivar imports: mappings ever made by this tenant.
    :ivar lost_reason: why HubSpot no longer lets us in, in the state `reconnect`.
    """

    state: ConnectionState
    portal_id: int
    hub_domain: str
    scopes: tuple[str, ...]
    connected_at: datetime
    connected_by: str
    refreshed_at: datetime | None
    imports: int
    lost_reason: LostReason | None = None
    lost_at: datetime | None = None


@dataclass(frozen=True)
class SealedTokens:
    """The tokens, as they are stored.

    :ivar expires_at: when the access token expires.
    :ivar connected_at: tells one connection from the next.
    :ivar key_id: the data key that sealed them; None: the tenant's first.
    """

    access_token: bytes = field(repr=False)
    refresh_token: bytes = field(repr=False)
    expires_at: datetime
    portal_id: int
    connected_at: datetime
    key_id: UUID | None = None


def connection(connection: Connection) -> HubSpotConnection | None:
    """The connection to HubSpot, present or past; None when there never was one."""
    t = hubspot_tokens.c
    query = select(
        t.state,
        t.portal_id,
        t.hub_domain,
        t.scopes,
        t.connected_at,
        t.connected_by,
        t.refreshed_at,
        t.imports,
        t.lost_reason,
        t.lost_at,
    )
    row = connection.execute(query.where(t.id == _ROW)).first()
    if row is None:
        return None
    return HubSpotConnection(
        **{
            **row._mapping,
            "state": ConnectionState(row.state),
            "scopes": tuple(row.scopes.split()),
            "lost_reason": LostReason(row.lost_reason) if row.lost_reason else None,
        }
    )


def tokens(connection: Connection, *, lost: bool = False) -> SealedTokens | None:
    """The sealed tokens of a connection that stands; None when there is none, or it has to be made again.

    :param lost: also those of one that has to be made again, as far as they are kept: to give them back.
    """
    t = hubspot_tokens.c
    states = (ConnectionState.CONNECTED, ConnectionState.RECONNECT) if lost else (ConnectionState.CONNECTED,)
    query = select(t.access_token, t.refresh_token, t.expires_at, t.portal_id, t.connected_at, t.key_id)
    row = connection.execute(query.where(t.id == _ROW, t.state.in_(states), t.refresh_token.is_not(None))).first()
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
    key_id: UUID,
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
        "key_id": key_id,
        "expires_at": expires_at,
        "connected_at": now(),
        "connected_by": connected_by,
        "refreshed_at": None,
        "lost_reason": None,
        "lost_at": None,
    }
    if _change(connection, **values):
        return
    try:
        with connection.begin_nested():
            connection.execute(insert(hubspot_tokens).values(id=_ROW, imports=0, **values))
    except IntegrityError:
        _change(connection, **values)


def store_refreshed(
    connection: Connection, *, access_token: bytes, refresh_token: bytes, key_id: UUID, expires_at: datetime
) -> None:
    """Keep what a refresh gave, both tokens."""
    _change(
        connection,
        access_token=access_token,
        refresh_token=refresh_token,
        key_id=key_id,
        expires_at=expires_at,
        refreshed_at=now(),
    )


def reseal(connection: Connection, *, access_token: bytes, refresh_token: bytes, key_id: UUID) -> None:
    """Keep the same tokens, sealed by another data key."""
    _change(connection, access_token=access_token, refresh_token=refresh_token, key_id=key_id)


def mark_reconnect(connection: Connection, connected_at: datetime, reason: LostReason, *, dead: bool) -> bool:
    """HubSpot no longer lets in who was connected at `connected_at`; False when there is a newer connection.

    :param dead: the tokens are certainly of no use any more, and go. Others are kept until they are given back.
    """
    values: dict[str, Any] = {"state": ConnectionState.RECONNECT, "lost_reason": reason, "lost_at": now()}
    if dead:
        values |= _NO_TOKENS
    return _change_lost(connection, connected_at, ConnectionState.CONNECTED, values)


def explain(connection: Connection, connected_at: datetime, reason: LostReason) -> None:
    """Say better why a connection was lost."""
    _change_lost(connection, connected_at, ConnectionState.RECONNECT, {"lost_reason": reason})


def forget(connection: Connection) -> None:
    """Disconnect: the tokens go, the rest of the row stays."""
    _change(connection, state=ConnectionState.DISCONNECTED, lost_reason=None, lost_at=None, **_NO_TOKENS)


def keep_account(
    connection: Connection,
    portal_id: int,
    hub_domain: str,
    *,
    currency: str | None = None,
    time_zone: str | None = None,
    ui_domain: str | None = None,
) -> None:
    """Keep what HubSpot says of its account. What is None, or cannot be, was not learned, and stays as it is."""
    learned = {"currency": (currency, 3), "time_zone": (time_zone, 64), "ui_domain": (ui_domain, 100)}
    values: dict[str, Any] = {name: value for name, (value, most) in learned.items() if value and len(value) <= most}
    values |= {"hub_domain": hub_domain[:255], "updated_at": now()}
    a = hubspot_accounts.c
    kept = update(hubspot_accounts).where(a.portal_id == portal_id).values(**values)
    if connection.execute(kept).rowcount == 1:
        return
    try:
        with connection.begin_nested():
            connection.execute(insert(hubspot_accounts).values(portal_id=portal_id, **values))
    except IntegrityError:
        connection.execute(kept)


def imports(connection: Connection) -> int:
    """How many mappings this tenant has ever made; exact until the transaction ends if the row is locked."""
    found: int = connection.execute(select(hubspot_tokens.c.imports).where(hubspot_tokens.c.id == _ROW)).scalar_one()
    return found


def add_imports(connection: Connection, made: int) -> None:
    """Count mappings that were made."""
    _change(connection, imports=hubspot_tokens.c.imports + made)


_ROW = 1
_NO_TOKENS: dict[str, None] = {"access_token": None, "refresh_token": None, "expires_at": None, "key_id": None}


def _change_lost(
    connection: Connection, connected_at: datetime, state: ConnectionState, values: dict[str, Any]
) -> bool:
    t = hubspot_tokens.c
    mine = (t.id == _ROW, t.state == state, t.connected_at == connected_at)
    return connection.execute(update(hubspot_tokens).where(*mine).values(**values)).rowcount == 1


def _change(connection: Connection, **values: Any) -> bool:
    return connection.execute(update(hubspot_tokens).where(hubspot_tokens.c.id == _ROW).values(**values)).rowcount == 1
