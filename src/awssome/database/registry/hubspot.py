"""HubSpot in the registry: consents under way, and who is connected to which account.

HubSpot's word for an account is portal; `portal_id` is its number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from awssome.database.registry.tables import hubspot_installs, oauth_states, tenants
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import TenantState, Tier
from awssome.domain.times import now

STATE_LIFE = timedelta(minutes=10)
"""How long somebody may take on HubSpot's consent page."""

INSTALL_LIFE = timedelta(minutes=30)
"""How long somebody may take to sign in who comes from HubSpot."""

_ONE_FREE_TENANT = "tenants_one_free_by_portal"


def new_state(
    connection: Connection,
    digest: bytes,
    *,
    session_id: UUID,
    tenant_id: UUID,
    host: str,
    return_url: str | None = None,
) -> None:
    """Remember a consent that begins.

    :param digest: of the state that HubSpot will carry back.
    :param return_url: HubSpot's, when the user began there: the state is brought to it.
    """
    at = now()
    connection.execute(delete(oauth_states).where(oauth_states.c.expires_at < at - timedelta(days=1)))
    connection.execute(
        insert(oauth_states).values(
            digest=digest,
            session_id=session_id,
            tenant_id=tenant_id,
            host=host,
            expires_at=at + STATE_LIFE,
            origin="hubspot" if return_url else None,
            return_url=return_url,
        )
    )


def hand_over(connection: Connection, digest: bytes) -> str:
    """The host where the consent began. :raises Refused: GONE when it is unknown, expired or was handed over before."""
    s = oauth_states.c
    host = connection.execute(
        update(oauth_states)
        .where(s.digest == digest, s.returned_at.is_(None), s.used_at.is_(None), s.expires_at > now())
        .values(returned_at=now())
        .returning(s.host)
    ).scalar()
    if host is None:
        raise gone()
    return str(host)


def use_state(connection: Connection, digest: bytes, *, session_id: UUID, tenant_id: UUID) -> None:
    """Use a state that was handed over, once.

    :raises Refused: FORBIDDEN for another session or tenant than the one that began; GONE when it cannot be used.
    """
    s = oauth_states.c
    row = connection.execute(select(oauth_states).where(s.digest == digest).with_for_update()).first()
    if row is None or row.returned_at is None or row.used_at is not None or row.expires_at <= now():
        raise gone()
    if (row.session_id, row.tenant_id) != (session_id, tenant_id):
        raise Refused(
            Code.FORBIDDEN,
            "This connection to HubSpot was begun by somebody else, or before you signed in anew. Nothing was changed.",
            "Begin again with Connect HubSpot.",
        )
    connection.execute(update(oauth_states).where(s.digest == digest).values(used_at=now()))


@dataclass(frozen=True)
class Install:
    """An installation that began at HubSpot.

    :ivar sealed: what it waits with: the code, or the tokens for it.
    :ivar return_url: where HubSpot wants the browser back.
    """

    sealed: bytes = field(repr=False)
    return_url: str


def new_install(connection: Connection, digest: bytes, *, sealed: bytes, return_url: str) -> None:
    """Remember an installation that began at HubSpot. :param digest: of the token by which its user finds it."""
    at = now()
    connection.execute(delete(hubspot_installs).where(hubspot_installs.c.expires_at < at))
    connection.execute(
        insert(hubspot_installs).values(
            digest=digest, sealed=sealed, return_url=return_url, created_at=at, expires_at=at + INSTALL_LIFE
        )
    )


def find_install(connection: Connection, digest: bytes) -> Install:
    """An installation that waits. :raises Refused: GONE when it is unknown, expired or was claimed."""
    i = hubspot_installs.c
    waiting = (i.digest == digest, i.claimed_at.is_(None), i.expires_at > now())
    row = connection.execute(select(i.sealed, i.return_url).where(*waiting)).first()
    if row is None:
        raise Refused(
            Code.GONE,
            "This installation has taken too long, or was connected before. Nothing was changed.",
            "Begin again with Connect HubSpot.",
        )
    return Install(row.sealed, row.return_url)


def keep_install(connection: Connection, digest: bytes, sealed: bytes) -> None:
    """Keep what it waits with from now on."""
    connection.execute(update(hubspot_installs).where(hubspot_installs.c.digest == digest).values(sealed=sealed))


def claim_install(connection: Connection, digest: bytes, tenant_id: UUID) -> None:
    """It is connected to this tenant; what it waited with is forgotten."""
    connection.execute(
        update(hubspot_installs)
        .where(hubspot_installs.c.digest == digest)
        .values(claimed_at=now(), claimed_by=tenant_id, sealed=b"")
    )


def gone() -> Refused:
    """A state that nobody may use (any more)."""
    return Refused(
        Code.GONE,
        "This answer from HubSpot has expired or was used before. Nothing was changed.",
        "Begin again with Connect HubSpot.",
    )


def connect(connection: Connection, tenant_id: UUID, portal_id: int, hub_domain: str) -> None:
    """The tenant is connected to this account.

    :raises Refused: CONFLICT when it is free and another free tenant is connected to the same account.
    """
    try:
        with connection.begin_nested():
            _set(connection, tenant_id, "connected", portal_id, hub_domain[:255])
    except IntegrityError as error:
        diagnosis = getattr(error.orig, "diag", None)
        if getattr(diagnosis, "constraint_name", None) != _ONE_FREE_TENANT:
            raise
        advice = "Disconnect it there, choose another HubSpot account, or upgrade."
        raise _fed_already(hub_domain, advice) from None


def require_room(connection: Connection, tenant_id: UUID) -> None:
    """Make sure that the tenant may be free where it is connected: an account feeds one free tenant.

    :raises Refused: CONFLICT
    """
    mine, other = tenants.alias(), tenants.alias()
    taken = (
        select(mine.c.hubspot_domain)
        .join(other, (other.c.hubspot_portal_id == mine.c.hubspot_portal_id) & (other.c.id != mine.c.id))
        .where(
            mine.c.id == tenant_id,
            mine.c.hubspot_state != "none",
            other.c.hubspot_state != "none",
            other.c.tier == Tier.FREE,
            other.c.state != TenantState.DELETED,
        )
    )
    row = connection.execute(taken.limit(1)).first()
    if row is not None:
        raise _fed_already(row.hubspot_domain, "Disconnect HubSpot in one of them first. Its deals stay here.")


def need_reconnect(connection: Connection, tenant_id: UUID) -> None:
    """HubSpot no longer takes the tenant's tokens."""
    connection.execute(
        update(tenants)
        .where(tenants.c.id == tenant_id, tenants.c.hubspot_state == "connected")
        .values(hubspot_state="reconnect")
    )


def disconnect(connection: Connection, tenant_id: UUID) -> None:
    """The tenant is connected to nothing."""
    _set(connection, tenant_id, "none", None, None)


def others_connected(connection: Connection, tenant_id: UUID, portal_id: int) -> list[UUID]:
    """The other tenants that are connected to the account, also those that have to connect again."""
    t = tenants.c
    query = select(t.id).where(
        t.hubspot_portal_id == portal_id,
        t.hubspot_state != "none",
        t.id != tenant_id,
        t.state != TenantState.DELETED,
    )
    return list(connection.scalars(query))


def _fed_already(hub_domain: str | None, advice: str) -> Refused:
    return Refused(
        Code.CONFLICT,
        f"Another free workspace is connected to {hub_domain or 'this HubSpot account'} already. "
        "A HubSpot account can feed one free workspace.",
        advice,
    )


def _set(connection: Connection, tenant_id: UUID, state: str, portal_id: int | None, hub_domain: str | None) -> None:
    connection.execute(
        update(tenants)
        .where(tenants.c.id == tenant_id)
        .values(hubspot_state=state, hubspot_portal_id=portal_id, hubspot_domain=hub_domain)
    )
