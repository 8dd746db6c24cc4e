"""A tenant's access to HubSpot: tokens that are fresh.

Tokens lie sealed in the tenant's schema. They are refreshed by one worker at a time, in a transaction that begins with
the UPDATE of their row: who comes second finds them fresh.
"""

from __future__ import annotations

import threading
from datetime import timedelta

from awssome.database import Connection
from awssome.database.registry import hubspot as registered
from awssome.database.tenant import hubspot as stored
from awssome.database.tenant.hubspot import SealedTokens
from awssome.database.tenant.keys import data_key
from awssome.domain.errors import Code, Refused
from awssome.domain.secrets import seal, unseal
from awssome.domain.times import now
from awssome.hubspot import oauth
from awssome.hubspot.errors import NeedsReconnect
from awssome.workflows.services import Services
from awssome.workflows.workspace import Workspace

EARLY = timedelta(minutes=5)
"""How long before its end an access token is replaced."""


class HubSpotAccess:
    """The tenant's connection as it stood when it was first used. Threads may share it.

    :ivar portal_id: HubSpot's number of the account.
    """

    def __init__(self, services: Services, workspace: Workspace) -> None:
        """:raises Refused: CONFLICT when HubSpot is not connected; what `Workspace.do` raises."""
        self._services = services
        self._workspace = workspace
        self._lock = threading.Lock()
        tokens = workspace.do(stored.tokens)
        if tokens is None:
            raise not_connected()
        self._tokens = tokens
        self._opened: tuple[bytes, str] | None = None
        self.portal_id = tokens.portal_id

    def token(self, *, force: bool = False) -> str:
        """The access token to use.

        :param force: HubSpot called the last one expired.
        :raises Refused: CONFLICT when HubSpot was disconnected, or connected to another account, in the meantime.
        :raises NeedsReconnect: when HubSpot no longer takes the refresh token; the tenant is marked so.
        """
        with self._lock:
            if force or _expires(self._tokens):
                self._tokens = self._renewed(self._tokens)
            sealed = self._tokens.access_token
            if self._opened is None or self._opened[0] != sealed:
                text = self._workspace.do(lambda connection: self._unseal(connection, sealed))
                self._opened = sealed, text
            return self._opened[1]

    def lost(self) -> None:
        """HubSpot no longer accepts this connection: say so in the tenant's schema and in the registry."""
        at = self._tokens.connected_at
        if self._workspace.do(lambda connection: stored.mark_reconnect(connection, at)):
            self._note_lost()

    def uninstall(self) -> None:
        """End the tokens and remove our app from the account, for everybody in it.

        :raises HubSpotError: see `oauth.uninstall`; the refresh token may be revoked by then.
        """
        access_token = self.token()
        try:
            oauth.uninstall(self._services.hubspot, access_token)
        except NeedsReconnect:  # perhaps only this access token has ended
            oauth.uninstall(self._services.hubspot, self.token(force=True))
        refresh_token = self._workspace.do(lambda connection: self._unseal(connection, self._tokens.refresh_token))
        oauth.revoke(self._services.hubspot, refresh_token)

    def _renewed(self, stale: SealedTokens) -> SealedTokens:
        renewed = self._workspace.do(lambda connection: self._refresh(connection, stale))
        if renewed is None:
            self._note_lost()
            raise NeedsReconnect
        return renewed

    def _refresh(self, connection: Connection, stale: SealedTokens) -> SealedTokens | None:
        """The tokens after a refresh, somebody else's if they were quicker; None when HubSpot refuses one."""
        stored.lock(connection)
        tokens = stored.tokens(connection)
        if tokens is None or tokens.portal_id != self.portal_id:
            raise not_connected()
        if tokens.access_token != stale.access_token and not _expires(tokens):
            return tokens
        key = data_key(connection, self._services.keys, self._workspace.tenant_id)
        try:
            granted = oauth.refresh(
                self._services.hubspot, unseal(key, tokens.refresh_token, self._workspace.tenant_id).decode()
            )
        except NeedsReconnect:
            # Not raised in here: the transaction that notes it has to commit.
            stored.mark_reconnect(connection, tokens.connected_at)
            return None
        stored.store_refreshed(
            connection,
            access_token=seal(key, granted.access_token.encode(), self._workspace.tenant_id),
            refresh_token=seal(key, granted.refresh_token.encode(), self._workspace.tenant_id),
            expires_at=now() + timedelta(seconds=granted.expires_in),
        )
        return stored.tokens(connection)

    def _unseal(self, connection: Connection, sealed: bytes) -> str:
        key = data_key(connection, self._services.keys, self._workspace.tenant_id)
        return unseal(key, sealed, self._workspace.tenant_id).decode()

    def _note_lost(self) -> None:
        with self._services.registry.begin() as connection:
            registered.need_reconnect(connection, self._workspace.tenant_id)


def not_connected() -> Refused:
    """There is no connection to HubSpot, or no longer the one that was."""
    return Refused(
        Code.CONFLICT, "HubSpot is not connected. Your deals here are safe.", "Connect HubSpot, then sync again."
    )


def _expires(tokens: SealedTokens) -> bool:
    return tokens.expires_at - EARLY <= now()
