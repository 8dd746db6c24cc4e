"""Accounts, memberships, links in e-mails, and the throttle on attempts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from sqlalchemy import case, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from awssome.database.registry.tables import accounts, attempts, email_links, memberships, tenants
from awssome.domain.errors import Code, Refused
from awssome.domain.secrets import digest, new_token
from awssome.domain.tenants import Role
from awssome.domain.times import new_id, now

LINK_HOURS = {"confirm": 48, "invite": 168, "reset": 2}
"""How long a link in an e-mail can be used."""

_HASHER = PasswordHasher()
"""Argon2id with the library's parameters (RFC 9106, low-memory profile)."""


@dataclass(frozen=True)
class Account:
    """A person who may sign in."""

    id: UUID
    email: str
    name: str
    password_hash: str | None
    operator: bool
    confirmed_at: datetime | None
    disabled_at: datetime | None


@dataclass(frozen=True)
class Link:
    """A link that was sent to an account."""

    account_id: UUID
    tenant_id: UUID | None
    purpose: str


def hash_password(password: str) -> str:
    """Argon2id, with its parameters and salt in the string."""
    return _HASHER.hash(password)


def password_fits(account: Account | None, password: str) -> bool:
    """Whether the password is the account's. Takes the same time when there is no account."""
    stored = account.password_hash if account and account.password_hash else _decoy()
    try:
        return _HASHER.verify(stored, password) and account is not None and account.password_hash is not None
    except VerificationError:
        return False


def by_email(connection: Connection, email: str) -> Account | None:
    """The account with this (lower-case) address."""
    return _account(connection.execute(select(accounts).where(accounts.c.email == email)).first())


def find(connection: Connection, account_id: UUID) -> Account | None:
    """The account with this id."""
    return _account(connection.execute(select(accounts).where(accounts.c.id == account_id)).first())


def operators(connection: Connection) -> list[Account]:
    """Everybody who runs the platform."""
    rows = connection.execute(select(accounts).where(accounts.c.operator).order_by(accounts.c.email))
    return [account for account in map(_account, rows) if account]


def create(
    connection: Connection,
    email: str,
    name: str,
    password_hash: str | None,
    *,
    operator: bool = False,
    confirmed: bool = False,
) -> Account:
    """A new account. :raises Refused: CONFLICT when the address has one."""
    account_id = new_id()
    made = connection.execute(
        insert(accounts)
        .values(
            id=account_id,
            email=email,
            name=name,
            password_hash=password_hash,
            operator=operator,
            confirmed_at=now() if confirmed else None,
            created_at=now(),
        )
        .on_conflict_do_nothing(index_elements=["email"])
        .returning(accounts)
    ).first()
    account = _account(made)
    if account is None:
        raise Refused(Code.CONFLICT, "There is an account with this e-mail address already.", "Sign in instead.")
    return account


def update_account(connection: Connection, account_id: UUID, **values: Any) -> None:
    """Change name, password_hash, confirmed_at or operator."""
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(**values))


def add_member(connection: Connection, account_id: UUID, tenant_id: UUID, role: Role, *, accepted: bool = True) -> None:
    """Put the account into the tenant; in it already: the role stays.

    :param accepted: the person asked for it. Until an invited person comes, others learn no more than the address.
    """
    at = now()
    connection.execute(
        insert(memberships)
        .values(
            account_id=account_id,
            tenant_id=tenant_id,
            role=role,
            created_at=at,
            accepted_at=at if accepted else None,
        )
        .on_conflict_do_nothing()
    )


def accept(connection: Connection, account_id: UUID, tenant_id: UUID) -> None:
    """The invited person has come."""
    connection.execute(
        update(memberships)
        .where(
            memberships.c.account_id == account_id,
            memberships.c.tenant_id == tenant_id,
            memberships.c.accepted_at.is_(None),
        )
        .values(accepted_at=now())
    )


def members(connection: Connection, tenant_id: UUID) -> list[Any]:
    """account_id, name, email, role, accepted_at of everybody in the tenant, owners first."""
    rank = func.array_position(["owner", "admin", "member", "viewer"], memberships.c.role)
    return list(
        connection.execute(
            select(
                memberships.c.account_id,
                accounts.c.name,
                accounts.c.email,
                memberships.c.role,
                memberships.c.accepted_at,
            )
            .join(accounts, accounts.c.id == memberships.c.account_id)
            .where(memberships.c.tenant_id == tenant_id)
            .order_by(rank, accounts.c.email)
        )
    )


def change_role(connection: Connection, account_id: UUID, tenant_id: UUID, role: Role) -> None:
    """Another role. :raises Refused: NOT_FOUND, or CONFLICT when it would leave the tenant without an owner."""
    _keep_an_owner(connection, account_id, tenant_id, role)
    changed = connection.execute(
        update(memberships)
        .where(memberships.c.account_id == account_id, memberships.c.tenant_id == tenant_id)
        .values(role=role)
    )
    if not changed.rowcount:
        raise Refused(Code.NOT_FOUND, "This person is not a member of your workspace.")


def remove_member(connection: Connection, account_id: UUID, tenant_id: UUID) -> None:
    """Take a member out. :raises Refused: as `change_role`."""
    _keep_an_owner(connection, account_id, tenant_id, None)
    gone = connection.execute(
        delete(memberships).where(memberships.c.account_id == account_id, memberships.c.tenant_id == tenant_id)
    )
    if not gone.rowcount:
        raise Refused(Code.NOT_FOUND, "This person is not a member of your workspace.")


def memberships_of(connection: Connection, account_id: UUID) -> list[Any]:
    """tenant_id, company, slug, tier, state, role of every tenant the account belongs to, deleted ones left out."""
    return list(
        connection.execute(
            select(
                tenants.c.id.label("tenant_id"),
                tenants.c.company,
                tenants.c.slug,
                tenants.c.tier,
                tenants.c.state,
                memberships.c.role,
                memberships.c.accepted_at,
            )
            .join(tenants, tenants.c.id == memberships.c.tenant_id)
            .where(memberships.c.account_id == account_id, tenants.c.state != "deleted")
            .order_by(memberships.c.created_at)
        )
    )


def new_link(connection: Connection, account_id: UUID, tenant_id: UUID | None, purpose: str) -> str:
    """A fresh link's token; earlier links for the same purpose and tenant stop working."""
    at = now()
    connection.execute(
        update(email_links)
        .where(
            email_links.c.account_id == account_id,
            email_links.c.purpose == purpose,
            email_links.c.tenant_id == tenant_id if tenant_id else email_links.c.tenant_id.is_(None),
            email_links.c.used_at.is_(None),
        )
        .values(expires_at=at)
    )
    token = new_token()
    connection.execute(
        insert(email_links).values(
            digest=digest(token),
            account_id=account_id,
            tenant_id=tenant_id,
            purpose=purpose,
            created_at=at,
            expires_at=at + timedelta(hours=LINK_HOURS[purpose]),
        )
    )
    return token


def look_at_link(connection: Connection, token: str) -> Link:
    """The link, unused. :raises Refused: GONE when it is unknown, used or expired."""
    row = connection.execute(
        select(email_links).where(
            email_links.c.digest == digest(token), email_links.c.used_at.is_(None), email_links.c.expires_at > now()
        )
    ).first()
    return _link(row)


def use_link(connection: Connection, token: str) -> Link:
    """The link, used from now on. :raises Refused: GONE as `look_at_link`; of two that come at once, one gets it."""
    row = connection.execute(
        update(email_links)
        .where(email_links.c.digest == digest(token), email_links.c.used_at.is_(None), email_links.c.expires_at > now())
        .values(used_at=now())
        .returning(email_links)
    ).first()
    return _link(row)


def count_attempt(connection: Connection, subject: str, *, limit: int, seconds: int) -> None:
    """Count one attempt for the subject (`sign-in:address`, say).

    :raises Refused: LIMITED when there were more than `limit` in the window of `seconds`. Call it in a transaction of
        its own, which commits even when what follows is refused.
    """
    at = now()
    expired = attempts.c.window_start < at - timedelta(seconds=seconds)
    row = connection.execute(
        insert(attempts)
        .values(subject=subject[:320], window_start=at, count=1)
        .on_conflict_do_update(
            index_elements=["subject"],
            set_={
                "count": case((expired, 1), else_=attempts.c.count + 1),
                "window_start": case((expired, at), else_=attempts.c.window_start),
            },
        )
        .returning(attempts.c.count, attempts.c.window_start)
    ).one()
    if row[0] > limit:
        wait = max(1.0, (row.window_start + timedelta(seconds=seconds) - at).total_seconds())
        raise Refused(
            Code.LIMITED,
            "There were too many attempts.",
            f"Wait {max(1, round(wait / 60))} min and try again.",
            retry_after=wait,
        )


def clear_attempts(connection: Connection, subject: str) -> None:
    """Forget the attempts after a success."""
    connection.execute(delete(attempts).where(attempts.c.subject == subject[:320]))


def _keep_an_owner(connection: Connection, account_id: UUID, tenant_id: UUID, role: Role | None) -> None:
    connection.execute(select(tenants.c.id).where(tenants.c.id == tenant_id).with_for_update())
    others = connection.scalar(
        select(func.count())
        .select_from(memberships)
        .where(
            memberships.c.tenant_id == tenant_id,
            memberships.c.role == Role.OWNER,
            memberships.c.account_id != account_id,
        )
    )
    if not others and role is not Role.OWNER:
        raise Refused(Code.CONFLICT, "A workspace needs at least one owner.", "Make somebody else an owner first.")


def _link(row: Any) -> Link:
    if row is None:
        raise Refused(
            Code.GONE,
            "This link does not work any more. It was used, or it is too old, or it is not complete.",
            "Ask for a new one.",
        )
    return Link(row.account_id, row.tenant_id, row.purpose)


def _account(row: Any) -> Account | None:
    if row is None:
        return None
    return Account(row.id, row.email, row.name, row.password_hash, row.operator, row.confirmed_at, row.disabled_at)


@cache
def _decoy() -> str:
    return _HASHER.hash(new_token())
