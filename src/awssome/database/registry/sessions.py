"""Sessions of people, tickets that carry a session to another host, and tokens of programs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from awssome.database.registry.tables import accounts, api_tokens, handovers, sessions
from awssome.domain.errors import Code, Refused
from awssome.domain.secrets import digest, new_token
from awssome.domain.times import new_id, now

Application = Literal["portal", "management"]

LIFETIME = timedelta(days=14)
IDLE = {"portal": timedelta(days=3), "management": timedelta(hours=12)}
"""A session ends after LIFETIME, or after IDLE without a request."""

TICKET_SECONDS = 60

_SEEN_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class Session:
    """Somebody who is signed in, and the tenant they chose last."""

    id: UUID
    account_id: UUID
    email: str
    name: str
    operator: bool
    confirmed: bool
    tenant_id: UUID | None


def create(
    connection: Connection,
    account_id: UUID,
    application: Application,
    *,
    address: str = "",
    agent: str = "",
    tenant_id: UUID | None = None,
) -> str:
    """A new session; its token is shown to the browser and stored nowhere, only its digest."""
    token, at = new_token(), now()
    connection.execute(
        insert(sessions).values(
            digest=digest(token),
            id=new_id(),
            account_id=account_id,
            application=application,
            tenant_id=tenant_id,
            address=address or None,
            agent=agent[:255],
            created_at=at,
            seen_at=at,
            expires_at=at + LIFETIME,
        )
    )
    return token


def find(connection: Connection, token: str, application: Application) -> Session | None:
    """The live session behind a token. Notes at most once a minute that it was seen."""
    if not token:
        return None
    at = now()
    row = connection.execute(
        select(
            sessions,
            accounts.c.email,
            accounts.c.name,
            accounts.c.operator,
            accounts.c.confirmed_at,
        )
        .join(accounts, accounts.c.id == sessions.c.account_id)
        .where(
            sessions.c.digest == digest(token),
            sessions.c.application == application,
            sessions.c.revoked_at.is_(None),
            sessions.c.expires_at > at,
            sessions.c.seen_at > at - IDLE[application],
            accounts.c.disabled_at.is_(None),
        )
    ).first()
    if row is None:
        return None
    if row.seen_at < at - _SEEN_EVERY:
        connection.execute(update(sessions).where(sessions.c.digest == row.digest).values(seen_at=at))
    return Session(
        row.id, row.account_id, row.email, row.name, row.operator, row.confirmed_at is not None, row.tenant_id
    )


def choose_tenant(connection: Connection, session_id: UUID, tenant_id: UUID) -> None:
    """The tenant whose pages the session shows from now on."""
    connection.execute(update(sessions).where(sessions.c.id == session_id).values(tenant_id=tenant_id))


def of_account(connection: Connection, account_id: UUID, application: Application) -> list[Any]:
    """The account's live sessions, last seen first."""
    return list(
        connection.execute(
            select(sessions)
            .where(
                sessions.c.account_id == account_id,
                sessions.c.application == application,
                sessions.c.revoked_at.is_(None),
                sessions.c.expires_at > now(),
            )
            .order_by(sessions.c.seen_at.desc())
        )
    )


def revoke(connection: Connection, account_id: UUID, session_id: UUID) -> None:
    """End one session of the account. :raises Refused: NOT_FOUND when it is not the account's."""
    ended = connection.execute(
        update(sessions)
        .where(sessions.c.id == session_id, sessions.c.account_id == account_id, sessions.c.revoked_at.is_(None))
        .values(revoked_at=now())
    )
    if not ended.rowcount:
        raise Refused(Code.NOT_FOUND, "This session has ended already.")


def revoke_all(connection: Connection, account_id: UUID, *, but: UUID | None = None) -> None:
    """End every session of the account, except one if given."""
    query = update(sessions).where(sessions.c.account_id == account_id, sessions.c.revoked_at.is_(None))
    if but is not None:
        query = query.where(sessions.c.id != but)
    connection.execute(query.values(revoked_at=now()))


def new_ticket(connection: Connection, account_id: UUID, tenant_id: UUID) -> str:
    """A ticket that signs the account in on the tenant's own host, once, within a minute."""
    token = new_token()
    connection.execute(
        insert(handovers).values(
            digest=digest(token),
            account_id=account_id,
            tenant_id=tenant_id,
            expires_at=now() + timedelta(seconds=TICKET_SECONDS),
        )
    )
    return token


def redeem_ticket(connection: Connection, token: str) -> tuple[UUID, UUID]:
    """(account, tenant) of a ticket, used from now on. :raises Refused: GONE."""
    row = connection.execute(
        update(handovers)
        .where(handovers.c.digest == digest(token), handovers.c.used_at.is_(None), handovers.c.expires_at > now())
        .values(used_at=now())
        .returning(handovers.c.account_id, handovers.c.tenant_id)
    ).first()
    if row is None:
        raise Refused(Code.GONE, "This link has been used or is too old.", "Sign in.")
    return row.account_id, row.tenant_id


def register_token(
    connection: Connection, name: str, kind: Literal["service", "operator", "metrics"], token: str
) -> None:
    """Make a program's token known under a name, in place of the one that had the name before."""
    values = {"digest": digest(token), "kind": kind, "revoked_at": None, "created_at": now()}
    connection.execute(
        insert(api_tokens).values(name=name, **values).on_conflict_do_update(index_elements=["name"], set_=values)
    )


def token_named(connection: Connection, token: str) -> tuple[str, str] | None:
    """(name, kind) of a live token."""
    row = connection.execute(
        select(api_tokens.c.name, api_tokens.c.kind).where(
            api_tokens.c.digest == digest(token), api_tokens.c.revoked_at.is_(None)
        )
    ).first()
    return (row.name, row.kind) if row else None
