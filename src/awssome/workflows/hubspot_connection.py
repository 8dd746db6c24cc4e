"""Connecting a tenant to HubSpot and disconnecting it: what the central API does when a user asks.

HubSpot knows one redirect address, on the bare domain. It checks only the state, and hands over once to the host where
the user began; the session there completes the exchange. A state is random, signed, stored as a digest, bound to
session and tenant, and lives for ten minutes. `hubspot_installs` has the way that begins at HubSpot.

At one HubSpot account one tenant at a time is connected or disconnected: who goes counts the others, and uninstalls the
app for all if there are none.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from awssome.database import Connection
from awssome.database.registry import hubspot as registered
from awssome.database.registry import tenants
from awssome.database.tenant import hubspot as stored
from awssome.database.tenant import syncs
from awssome.database.tenant.keys import key_for_new_tokens
from awssome.domain.errors import Code, Refused
from awssome.domain.secrets import Keys, digest, new_token
from awssome.domain.syncs import ConnectionState, LostReason
from awssome.domain.times import now
from awssome.hubspot import oauth
from awssome.hubspot.client import Client
from awssome.hubspot.errors import HubSpotError, NeedsReconnect
from awssome.hubspot.models import Account
from awssome.hubspot.oauth import App, Installation, Tokens
from awssome.hubspot.transport import Patience
from awssome.workflows.hubspot_access import HubSpotAccess, sealed
from awssome.workflows.hubspot_budgets import Share
from awssome.workflows.services import Services
from awssome.workflows.workspace import Workspace

PAGE_PATIENCE = 5.0
"""Seconds that a page may wait for a move's cut-over."""

TURN = 30.0
"""Seconds that a page may wait for another tenant that is being connected to the same HubSpot account."""

_REMOVE_IT = "Remove it in HubSpot under Settings, Integrations, Connected apps."


@dataclass(frozen=True)
class Connected:
    """A connection that was made.

    :ivar return_url: where HubSpot wants the browser back; None: the user began here.
    """

    portal_id: int
    hub_domain: str
    return_url: str | None = None


@dataclass(frozen=True)
class Disconnected:
    """How a disconnection went.

    :ivar told: whether HubSpot knows of it, or need not.
    :ivar message: what happened, for the user.
    """

    told: bool
    message: str


def authorize(
    connection: Connection,
    keys: Keys,
    app: App,
    *,
    session_id: UUID,
    tenant_id: UUID,
    host: str,
    return_url: str | None = None,
) -> str:
    """Where to send the browser for consent.

    :param connection: of the registry.
    :param host: host[:port] where the user is, and comes back to.
    :param return_url: HubSpot's, when the user began there: it goes on there, with the state.
    :raises Refused: INVALID when that is not an address of HubSpot's.
    """
    if return_url is not None:
        oauth.check_return_url(app, return_url)
    nonce = new_token()
    state = f"{nonce}.{_signature(keys, nonce)}"
    registered.new_state(
        connection, digest(state), session_id=session_id, tenant_id=tenant_id, host=host, return_url=return_url
    )
    return oauth.authorize_url(app, state) if return_url is None else oauth.with_state(return_url, state)


def callback(connection: Connection, keys: Keys, state: str) -> str:
    """The host[:port] where the user began, once for each state.

    :param connection: of the registry.
    :raises Refused: GONE when the state is forged, unknown, expired or was handed over before.
    """
    check_state(keys, state)
    return registered.hand_over(connection, digest(state))


def decline(services: Services, *, session_id: UUID, tenant_id: UUID, state: str) -> None:
    """The user came back without a code: the state is used up.

    :raises Refused: as `connect`, as far as it is about the state.
    """
    check_state(services.keys, state)
    with services.registry.begin() as connection:
        registered.use_state(connection, digest(state), session_id=session_id, tenant_id=tenant_id)


def connect(
    services: Services,
    *,
    session_id: UUID,
    tenant_id: UUID,
    connected_by: str,
    state: str,
    code: str,
    return_url: str | None = None,
) -> Connected:
    """Exchange the code for tokens and keep them in the tenant's schema.

    It commits on its own: a state is used up even when what follows fails.

    :param connected_by: the e-mail address of who does it.
    :param return_url: where HubSpot wants the browser in the end, when the user began there: another address than that
        to which the state was brought.
    :raises Refused: INVALID when that is not an address of HubSpot's; GONE for a state that cannot be used; FORBIDDEN
        for one of another session or tenant; what `keep_tokens` and `oauth.exchange` raise.
    """
    check_state(services.keys, state)
    if return_url is not None:
        oauth.check_return_url(services.hubspot, return_url)
    with services.registry.begin() as connection:
        registered.use_state(connection, digest(state), session_id=session_id, tenant_id=tenant_id)
    tokens = oauth.exchange(services.hubspot, code)
    return keep_tokens(services, tenant_id, connected_by, tokens, return_url)


def keep_tokens(
    services: Services, tenant_id: UUID, connected_by: str, tokens: Tokens, return_url: str | None
) -> Connected:
    """Keep new tokens in the tenant's schema, with what HubSpot says of the account.

    That HubSpot fails to say more of the account keeps nobody from being connected.

    :raises Refused: CONFLICT when another account is connected, when the account feeds another free tenant, when a
        permission was not granted, or when the app was uninstalled in the meantime.
    """
    portal_id = tokens.hub_id or oauth.introspect(services.hubspot, tokens.access_token).hub_id
    # A refusal from here on leaves HubSpot as it is: to revoke these tokens would end those of another tenant that is
    # connected to the same account, because HubSpot gives both the same refresh token.
    with _alone_at(services, portal_id):
        installation = _introspected(services, portal_id, tokens)
        account = _account(services, portal_id, tokens)
        workspace = Workspace(services, tenant_id, patience=PAGE_PATIENCE)
        # KMS, should it have to be asked, is asked before there is a lock to be held.
        workspace.do(lambda tenant: key_for_new_tokens(tenant, services.vault, tenant_id))
        with services.registry.begin() as connection:
            registered.connect(connection, tenant_id, portal_id, installation.hub_domain)
            under = workspace.do(
                lambda tenant: _store(tenant, services, tenant_id, tokens, installation, account, connected_by)
            )
            tenants.change(connection, tenant_id, data_key_under=under)
    return Connected(portal_id, installation.hub_domain, return_url)


def disconnect(services: Services, tenant_id: UUID) -> Disconnected:
    """Give the tokens back and forget them, and uninstall the app where no other tenant needs it.

    The tokens are forgotten here in any case, also when HubSpot cannot be told. Nothing happens to the deals.

    :raises Refused: UNAVAILABLE while another tenant of the HubSpot account is connected or disconnected.
    """
    workspace = Workspace(services, tenant_id, patience=PAGE_PATIENCE)
    known = workspace.do(stored.connection)
    if known is None or known.state is ConnectionState.DISCONNECTED:
        with services.registry.begin() as connection:
            registered.disconnect(connection, tenant_id)
        return Disconnected(True, "HubSpot is not connected. Your deals stay here.")
    with _alone_at(services, known.portal_id):
        ended = _give_back(services, workspace, known.portal_id)
        workspace.do(_forget)
        with services.registry.begin() as connection:
            registered.disconnect(connection, tenant_id)
    return ended


def _forget(connection: Connection) -> None:
    """The tokens go, and a sync that is under way makes no more calls with those that it has in hand."""
    stored.forget(connection)
    syncs.interrupt(connection)


@contextmanager
def _alone_at(services: Services, portal_id: int) -> Iterator[None]:
    """Nobody else is connected to the account or disconnected from it meanwhile.

    No transaction is open while it is waited for, and while HubSpot is asked.
    """
    give_up = time.monotonic() + TURN
    while True:
        with services.registry.holding(f"hubspot:{portal_id}") as held:
            if held:
                yield
                return
        if time.monotonic() >= give_up:
            raise Refused(
                Code.UNAVAILABLE,
                "Another workspace is being connected to this HubSpot account, or disconnected. Nothing was changed.",
                "Try again in a minute.",
                retry_after=30,
            )
        time.sleep(0.1)


def _introspected(services: Services, portal_id: int, tokens: Tokens) -> Installation:
    """What HubSpot says of the tokens, as far as it says anything. :raises Refused: CONFLICT, see `keep_tokens`."""
    try:
        found = oauth.introspect(services.hubspot, tokens.access_token)
    except NeedsReconnect:
        raise Refused(
            Code.CONFLICT,
            "The app was uninstalled in HubSpot while you connected. Nothing was changed.",
            "Connect HubSpot again.",
        ) from None
    except HubSpotError:
        found = Installation(hub_id=portal_id)
    granted = tokens.scopes or found.scopes
    missing = [scope for scope in oauth.SCOPES if scope not in granted]
    if granted and missing:
        raise Refused(
            Code.CONFLICT,
            f"HubSpot did not grant what Awssome needs: {', '.join(missing)}. Nothing was changed.",
            "Connect HubSpot again, and allow everything that the page names.",
        )
    return found.model_copy(update={"scopes": granted, "hub_domain": found.hub_domain or f"account {portal_id}"})


def _account(services: Services, portal_id: int, tokens: Tokens) -> Account | None:
    """Money, time and pages of the account; None when HubSpot does not say."""
    patience = Patience(retries=1, seconds=2.0)
    client = Client(
        services.hubspot.base_url,
        access_token=lambda *, force=False: tokens.access_token,
        budget=Share(services.registry, services.hubspot_limits, portal_id, patience=patience.seconds, urgent=True),
        should_stop=lambda: False,
        patience=patience,
        transport=services.hubspot.transport,
    )
    with client:
        try:
            return client.account()
        except HubSpotError:
            return None


def _store(
    connection: Connection,
    services: Services,
    tenant_id: UUID,
    tokens: Tokens,
    installation: Installation,
    account: Account | None,
    connected_by: str,
) -> str:
    """Into the tenant's schema; the name of what wraps the key that seals the tokens."""
    before = stored.connection(connection)
    standing = before is not None and before.state is ConnectionState.CONNECTED
    if before is not None and standing and before.portal_id != installation.hub_id:
        raise Refused(
            Code.CONFLICT,
            f"Your workspace is connected to {before.hub_domain}, and that is another HubSpot "
            "account. Nothing was changed.",
            "Disconnect it first, then connect the other one.",
        )
    key = key_for_new_tokens(connection, services.vault, tenant_id)
    stored.store(
        connection,
        portal_id=installation.hub_id,
        hub_domain=installation.hub_domain,
        scopes=installation.scopes,
        **sealed(key, tokens.access_token, tokens.refresh_token, tenant_id),
        expires_at=now() + timedelta(seconds=tokens.expires_in),
        connected_by=connected_by,
    )
    stored.keep_account(
        connection,
        installation.hub_id,
        installation.hub_domain,
        currency=account.currency if account else None,
        time_zone=account.timezone if account else None,
        ui_domain=account.ui_domain if account else None,
    )
    return key.under


def _give_back(services: Services, workspace: Workspace, portal_id: int) -> Disconnected:
    """Tell HubSpot, if there is something to tell."""
    try:
        access = HubSpotAccess(services, workspace, lost=True)
    except Refused as refused:
        if refused.code is not Code.CONFLICT:
            raise
        return Disconnected(True, _ended_before(workspace))
    if access.portal_id != portal_id:
        raise Refused(
            Code.CONFLICT,
            "Your workspace was connected to another HubSpot account in the meantime. Nothing was changed.",
            "Look at the page HubSpot, then disconnect it there.",
        )
    with services.registry.begin() as connection:
        others = registered.others_connected(connection, workspace.tenant_id, portal_id)
    if others:
        told = _told(lambda: _revoke_own(services, access, others))
        message = "HubSpot is disconnected. The app stays installed, because another workspace uses it."
        return Disconnected(told is not None, message)
    uninstalled = _told(lambda: _uninstall(services.hubspot, access))
    revoked = _told(lambda: oauth.revoke(services.hubspot, access.refresh_token(), "refresh_token"))
    if uninstalled:
        return Disconnected(True, "HubSpot is disconnected, and the app is uninstalled there. Your deals stay here.")
    if uninstalled is False:
        return Disconnected(True, _ended_before(workspace))
    if revoked is not None:
        withdrawn = "the access is withdrawn, but HubSpot could not be told to uninstall the app."
        return Disconnected(False, f"HubSpot is disconnected and {withdrawn} {_REMOVE_IT}")
    return Disconnected(
        False,
        "HubSpot is disconnected and its tokens are forgotten here, but HubSpot could not be told and still lists the "
        f"app. {_REMOVE_IT}",
    )


def _ended_before(workspace: Workspace) -> str:
    """What to say when HubSpot no longer took our tokens anyway."""
    known = workspace.do(stored.connection)
    if known is not None and known.lost_reason is LostReason.UNINSTALLED:
        return "HubSpot is disconnected. The app was uninstalled there before. Your deals stay here."
    return (
        "HubSpot is disconnected. It had ended the access before, so it could not be told. Should it still list the "
        f"app: {_REMOVE_IT[0].lower()}{_REMOVE_IT[1:]} Your deals stay here."
    )


def _told(call: Callable[[], object]) -> bool | None:
    """Whether HubSpot did it; False: it takes no token of ours any more; None: it could not be told."""
    try:
        call()
    except NeedsReconnect:
        return False
    except Refused:
        return None
    return True


def _uninstall(app: App, access: HubSpotAccess) -> None:
    """Remove our app from the account, for everybody in it."""
    try:
        oauth.uninstall(app, access.token())
    except NeedsReconnect:  # perhaps only this access token has ended
        oauth.uninstall(app, access.token(force=True))


def _revoke_own(services: Services, access: HubSpotAccess, others: list[UUID]) -> None:
    """Revoke what this tenant alone has: its access token, and its refresh token unless another tenant has the same.

    As far as is known HubSpot keeps one refresh token for an account: to revoke it would end the others' connection.
    """
    refresh_token = access.refresh_token()
    oauth.revoke(services.hubspot, access.token(), "access_token")
    if not any(_has(services, other, refresh_token) for other in others):
        oauth.revoke(services.hubspot, refresh_token, "refresh_token")


def _has(services: Services, tenant_id: UUID, refresh_token: str) -> bool:
    """Whether a tenant has this refresh token, or may have: who cannot be asked is spared."""
    try:
        workspace = Workspace(services, tenant_id, patience=PAGE_PATIENCE)
        return HubSpotAccess(services, workspace, lost=True).refresh_token() == refresh_token
    except Refused as refused:
        return refused.code is not Code.CONFLICT


def _signature(keys: Keys, nonce: str) -> str:
    return keys.signature("hubspot-state", nonce)


def check_state(keys: Keys, state: str) -> None:
    """:raises Refused: GONE for a state that we did not sign."""
    nonce, _, signature = state.partition(".")
    if not hmac.compare_digest(signature.encode(), _signature(keys, nonce).encode()):
        raise registered.gone()
