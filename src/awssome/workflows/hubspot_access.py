"""A tenant's access to HubSpot: tokens that are fresh.

Tokens lie sealed in the tenant's schema. They are refreshed by one worker at a time, in a transaction that begins with
the UPDATE of their row: who comes second finds them fresh, and who is at a place that the tenant has left is refused
before HubSpot is asked. What HubSpot has given out once is kept until it is stored: should it give out another refresh
token each time, the one before is dead by then.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypedDict
from uuid import UUID

from awssome.database import Connection
from awssome.database.registry import hubspot as registered
from awssome.database.registry import tenants
from awssome.database.tenant import hubspot as stored
from awssome.database.tenant.hubspot import SealedTokens
from awssome.database.tenant.keys import DataKey, data_key, key_named
from awssome.domain.errors import Code, Refused
from awssome.domain.secrets import seal, unseal
from awssome.domain.syncs import ConnectionState, LostReason
from awssome.domain.times import now
from awssome.hubspot import oauth
from awssome.hubspot.errors import HubSpotError, NeedsReconnect
from awssome.hubspot.oauth import Tokens
from awssome.workflows.hubspot_budgets import one_call
from awssome.workflows.services import Services
from awssome.workflows.workspace import Workspace

EARLY = timedelta(minutes=5)
"""How long before its end an access token is replaced."""

LAST = timedelta(seconds=30)
"""How long a token has to live to be used although it could not be replaced."""

REST = 20.0
"""Seconds in which a refresh is not tried again that HubSpot did not answer, while the old token lives."""

STORE_TRIES, STORE_PAUSE = 5, 1.0
"""How often, and after how many seconds, new tokens are stored again that a database did not take."""

_ACCESS, _REFRESH = "access", "refresh"


class HubSpotAccess:
    """The tenant's connection as it stood when it was first used. Threads may share it.

    :ivar portal_id: HubSpot's number of the account.
    """

    def __init__(self, services: Services, workspace: Workspace, *, lost: bool = False) -> None:
        """:param lost: also one that has to be made again, to give its tokens back.

        :raises Refused: CONFLICT when HubSpot is not connected; what `Workspace.do` raises.
        """
        self._services = services
        self._workspace = workspace
        self._also_lost = lost
        self._lock = threading.Lock()
        self._opened: tuple[bytes, str] | None = None
        self._granted: _Granted | None = None
        self._rested_at = -math.inf
        try:
            self._tokens = workspace.do(self._stored)
        except Lost:
            self._note_lost()  # who found out may have died before
            raise
        self.portal_id = self._tokens.portal_id
        with services.registry.begin() as connection:
            # The tenant's login could write another account's number there, and use up that account's budget.
            if tenants.find(connection, workspace.tenant_id).hubspot_portal_id != self.portal_id:
                raise not_connected()

    def token(self, *, force: bool = False) -> str:
        """The access token to use.

        While HubSpot gives out no new one, the old one is used as long as it lives.

        :param force: HubSpot did not take the last one.
        :raises Refused: CONFLICT when HubSpot was disconnected, or connected to another account, in the meantime.
        :raises NeedsReconnect: when HubSpot no longer takes the refresh token; the tenant is marked so.
        """
        with self._lock:
            if force or (_expires(self._tokens) and not self._rests()):
                self._tokens = self._renewed(self._tokens, force)
            return self._open_access(self._tokens)

    def lacks_permission(self) -> None:
        """HubSpot wants a permission that this connection does not have: say so in the tenant's schema and in the
        registry, and make no more calls. The tokens are kept, to be given back."""
        at = self._tokens.connected_at
        if self._workspace.do(lambda connection: stored.mark_reconnect(connection, at, LostReason.SCOPES, dead=False)):
            self._note_lost()

    def refresh_token(self) -> str:
        """The refresh token, to be given back."""
        with self._lock:
            return self._workspace.do(lambda connection: self._unseal(connection, self._tokens)[1])

    def _stored(self, connection: Connection) -> SealedTokens:
        tokens = stored.tokens(connection, lost=self._also_lost)
        if tokens is None:
            known = stored.connection(connection)
            raise Lost if known and known.state is ConnectionState.RECONNECT else not_connected()
        return tokens

    def _open_access(self, tokens: SealedTokens) -> str:
        if self._opened is None or self._opened[0] != tokens.access_token:
            text = self._workspace.do(lambda connection: self._unseal(connection, tokens)[0])
            self._opened = tokens.access_token, text
        return self._opened[1]

    def _renewed(self, stale: SealedTokens, force: bool) -> SealedTokens:
        try:
            # KMS, should it have to be asked, is asked before there is a lock to be held.
            self._workspace.do(lambda connection: self._unseal(connection, self._stored(connection)))
            with one_call(self._services, self.portal_id):
                renewed = self._refresh_and_store(stale)
        except Refused as refused:
            passing = isinstance(refused, HubSpotError) or refused.code in (Code.UNAVAILABLE, Code.LIMITED)
            if force or not passing or isinstance(refused, NeedsReconnect) or stale.expires_at - LAST <= now():
                raise
            self._rested_at = time.monotonic()
            return stale
        if renewed is None:
            self._explain(stale)
            raise NeedsReconnect
        return renewed

    def _refresh_and_store(self, stale: SealedTokens) -> SealedTokens | None:
        """As `_refresh`. What HubSpot has given out is not let go because a database is away for a moment."""
        for left in reversed(range(STORE_TRIES)):
            try:
                renewed = self._workspace.do(lambda connection: self._refresh(connection, stale))
                self._granted = None
                return renewed
            except Refused as refused:
                ours = not isinstance(refused, HubSpotError) and refused.code is not Code.CONFLICT
                if self._granted is None or not ours or not left:
                    raise
            time.sleep(STORE_PAUSE)
        raise AssertionError  # the last try has returned or raised

    def _refresh(self, connection: Connection, stale: SealedTokens) -> SealedTokens | None:
        """The tokens after a refresh, somebody else's if they were quicker; None when HubSpot calls ours dead.

        It is run again, elsewhere perhaps, when its transaction did not come to its end: HubSpot is not asked again
        then.
        """
        stored.lock(connection)
        tokens = self._stored(connection)
        if tokens.portal_id != self.portal_id:
            raise not_connected()
        refresh_token = self._unseal(connection, tokens)[1]
        if self._granted is not None and self._granted.to != refresh_token:
            self._granted = None  # somebody has connected, or refreshed, in the meantime
        if self._granted is None:
            if tokens.access_token != stale.access_token and not _expires(tokens):
                return tokens
            try:
                granted = oauth.refresh(self._services.hubspot, refresh_token)
            except NeedsReconnect:
                # Not raised in here: the transaction that notes it has to commit.
                stored.mark_reconnect(connection, tokens.connected_at, LostReason.REVOKED, dead=True)
                return None
            self._granted = _Granted(refresh_token, granted, now() + timedelta(seconds=granted.expires_in))
        tenant_id = self._workspace.tenant_id
        key = data_key(connection, self._services.vault, tenant_id)
        stored.store_refreshed(
            connection,
            **sealed(key, self._granted.tokens.access_token, self._granted.tokens.refresh_token, tenant_id),
            expires_at=self._granted.expires_at,
        )
        return self._stored(connection)

    def _unseal(self, connection: Connection, tokens: SealedTokens) -> tuple[str, str]:
        key = key_named(connection, self._services.vault, self._workspace.tenant_id, tokens.key_id)
        return opened(key, tokens, self._workspace.tenant_id)

    def _explain(self, dead: SealedTokens) -> None:
        """Say why the refresh token is dead, as far as the last access token can still tell."""
        self._note_lost()
        if dead.expires_at <= now():
            return
        try:
            oauth.introspect(self._services.hubspot, self._open_access(dead))
        except NeedsReconnect:
            reason = LostReason.UNINSTALLED
            self._workspace.do(lambda connection: stored.explain(connection, dead.connected_at, reason))
        except Refused:
            return  # it stays at what is known

    def _note_lost(self) -> None:
        with self._services.registry.begin() as connection:
            registered.need_reconnect(connection, self._workspace.tenant_id)

    def _rests(self) -> bool:
        return time.monotonic() - self._rested_at < REST and self._tokens.expires_at - LAST > now()


@dataclass(frozen=True)
class _Granted:
    """What HubSpot has given out, and is not stored yet.

    :ivar to: the refresh token that it was given for.
    """

    to: str = field(repr=False)
    tokens: Tokens
    expires_at: datetime


class SealedPair(TypedDict):
    """Both tokens as they are stored."""

    access_token: bytes
    refresh_token: bytes
    key_id: UUID


def sealed(key: DataKey, access_token: str, refresh_token: str, tenant_id: UUID) -> SealedPair:
    """Both tokens, sealed each for its place."""
    return {
        "access_token": seal(key.clear, access_token.encode(), tenant_id, _ACCESS),
        "refresh_token": seal(key.clear, refresh_token.encode(), tenant_id, _REFRESH),
        "key_id": key.id,
    }


def opened(key: DataKey, tokens: SealedTokens, tenant_id: UUID) -> tuple[str, str]:
    """Access token and refresh token. :raises Unopenable: when they were sealed for somebody else, or changed."""
    return (
        unseal(key.clear, tokens.access_token, tenant_id, _ACCESS).decode(),
        unseal(key.clear, tokens.refresh_token, tenant_id, _REFRESH).decode(),
    )


class Lost(Refused):
    """HubSpot no longer lets us in: somebody has to connect again."""

    def __init__(self) -> None:
        super().__init__(
            Code.CONFLICT,
            "HubSpot no longer lets Awssome in, so no deals come in. Your deals here are safe.",
            "Press Reconnect on the page HubSpot, then sync again.",
        )


def not_connected() -> Refused:
    """There is no connection to HubSpot, or no longer the one that was."""
    return Refused(
        Code.CONFLICT, "HubSpot is not connected. Your deals here are safe.", "Connect HubSpot, then sync again."
    )


def _expires(tokens: SealedTokens) -> bool:
    return tokens.expires_at - EARLY <= now()
