"""Connecting a tenant to HubSpot and disconnecting it: what the central API does when a user asks.

HubSpot knows one redirect address, on the bare domain. It checks only the state, and hands over once to the host where
the user began; the session there completes the exchange. A state is random, signed, stored as a digest, bound to
session and tenant, and lives for ten minutes.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from awssome.database import Connection
from awssome.database.registry import hubspot as registered
from awssome.database.tenant import hubspot as stored
from awssome.database.tenant.keys import key_for_new_tokens
from awssome.domain.errors import Code, Refused
from awssome.domain.secrets import Keys, digest, new_token, seal
from awssome.domain.syncs import ConnectionState
from awssome.domain.times import now
from awssome.hubspot import oauth
from awssome.hubspot.errors import NeedsReconnect
from awssome.hubspot.oauth import App, Installation, Tokens
from awssome.workflows.hubspot_access import HubSpotAccess
from awssome.workflows.services import Services
from awssome.workflows.workspace import Workspace

PAGE_PATIENCE = 5.0
"""Seconds that a page may wait for a move's cut-over."""


@dataclass(frozen=True)
class Disconnected:
    """How a disconnection went.

    :ivar told: whether HubSpot knows of it, or need not.
    :ivar message: what happened, for the user.
    """

    told: bool
    message: str


def authorize(connection: Connection, keys: Keys, app: App, *, session_id: UUID, tenant_id: UUID, host: str) -> str:
    """Where to send the browser for consent.

    :param connection: of the registry.
    :param host: host[:port] where the user is, and comes back to.
    """
    nonce = new_token()
    state = f"{nonce}.{_signature(keys, nonce)}"
    registered.new_state(connection, digest(state), session_id=session_id, tenant_id=tenant_id, host=host)
    return oauth.authorize_url(app, state)


def callback(connection: Connection, keys: Keys, state: str) -> str:
    """The host[:port] where the user began, once for each state.

    :param connection: of the registry.
    :raises Refused: GONE when the state is forged, unknown, expired or was handed over before.
    """
    _check(keys, state)
    return registered.hand_over(connection, digest(state))


def connect(
    services: Services, *, session_id: UUID, tenant_id: UUID, connected_by: str, state: str, code: str
) -> Installation:
    """Exchange the code for tokens and keep them in the tenant's schema.

    It commits on its own: a state is used up even when what follows fails.

    :param connected_by: the e-mail address of who does it.
    :raises Refused: GONE for a state that cannot be used; FORBIDDEN for one of another session or tenant; CONFLICT when
        another account is connected, or the account feeds another free tenant; what `oauth.exchange` raises.
    """
    _check(services.keys, state)
    with services.registry.begin() as connection:
        registered.use_state(connection, digest(state), session_id=session_id, tenant_id=tenant_id)
    tokens = oauth.exchange(services.hubspot, code)
    installation = oauth.introspect(services.hubspot, tokens.access_token)
    workspace = Workspace(services, tenant_id, patience=PAGE_PATIENCE)
    # A refusal from here on leaves HubSpot as it is: to revoke these tokens would end those of another tenant that is
    # connected to the same account, because HubSpot gives both the same refresh token.
    with services.registry.begin() as connection:
        registered.connect(connection, tenant_id, installation.hub_id, installation.hub_domain)
        workspace.do(lambda tenant: _store(tenant, services.keys, tenant_id, tokens, installation, connected_by))
    return installation


def disconnect(services: Services, tenant_id: UUID) -> Disconnected:
    """Revoke and forget the tokens, and uninstall the app where no other tenant needs it.

    The tokens are forgotten here in any case, also when HubSpot cannot be told. Nothing happens to the deals.
    """
    workspace = Workspace(services, tenant_id, patience=PAGE_PATIENCE)
    told, message = _tell(services, workspace)
    workspace.do(stored.forget)
    with services.registry.begin() as connection:
        registered.disconnect(connection, tenant_id)
    return Disconnected(told, message)


def _store(
    connection: Connection, keys: Keys, tenant_id: UUID, tokens: Tokens, installation: Installation, connected_by: str
) -> None:
    before = stored.connection(connection)
    connected = before is not None and before.state is ConnectionState.CONNECTED
    if before is not None and connected and before.portal_id != installation.hub_id:
        raise Refused(
            Code.CONFLICT,
            f"Your workspace is connected to {before.hub_domain}, and that is another HubSpot account. "
            "Nothing was changed.",
            "Disconnect it first, then connect the other one.",
        )
    key = key_for_new_tokens(connection, keys, tenant_id)
    stored.store(
        connection,
        portal_id=installation.hub_id,
        hub_domain=installation.hub_domain,
        scopes=tokens.scopes or installation.scopes,
        access_token=seal(key, tokens.access_token.encode(), tenant_id),
        refresh_token=seal(key, tokens.refresh_token.encode(), tenant_id),
        expires_at=now() + timedelta(seconds=tokens.expires_in),
        connected_by=connected_by,
    )


def _tell(services: Services, workspace: Workspace) -> tuple[bool, str]:
    """Tell HubSpot, if there is something to tell."""
    try:
        access = HubSpotAccess(services, workspace)
    except Refused as refused:
        if refused.code is not Code.CONFLICT:
            raise
        return True, "HubSpot is disconnected. Your deals stay here."
    with services.registry.begin() as connection:
        others = registered.others_connected(connection, workspace.tenant_id, access.portal_id)
    if others:
        # HubSpot keeps one refresh token for an account: to revoke it would end the others' connection.
        return True, "HubSpot is disconnected. The app stays installed, because another workspace uses it."
    try:
        access.uninstall()
    except NeedsReconnect:
        pass  # HubSpot has ended it already
    except Refused:
        return False, (
            "HubSpot is disconnected and its tokens are forgotten here, but HubSpot could not be told and still lists "
            "the app. Remove it in HubSpot under Settings, Integrations, Connected apps."
        )
    return True, "HubSpot is disconnected, and the app is uninstalled there. Your deals stay here."


def _signature(keys: Keys, nonce: str) -> str:
    return keys.signature("hubspot-state", nonce)


def _check(keys: Keys, state: str) -> None:
    nonce, _, signature = state.partition(".")
    if not hmac.compare_digest(signature.encode(), _signature(keys, nonce).encode()):
        raise registered.gone()
