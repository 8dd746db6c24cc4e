"""Operators at the desk: their sign-in and their sessions."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from awssome.database import Connection
from awssome.database.registry import Registry, accounts, audit, sessions
from awssome.database.registry.audit import Actor
from awssome.domain.errors import Code, Refused

SIGN_IN_TRIES, SIGN_IN_WINDOW = 10, 900
"""Wrong passwords for one address, in seconds."""


@dataclass(frozen=True)
class Operator:
    """An operator who is signed in; `id` is the session's."""

    id: UUID
    account_id: UUID
    email: str
    name: str


def sign_in(registry: Registry, email: str, password: str, actor: Actor, agent: str) -> str:
    """A management session's token. Refusals are in the audit log.

    :raises Refused: UNAUTHENTICATED for wrong credentials and for accounts that are no operator's (they are told the
        same); LIMITED after many tries.
    """
    email = email.strip().lower()
    with registry.begin() as connection:
        accounts.count_attempt(connection, f"operator:{email}", limit=SIGN_IN_TRIES, seconds=SIGN_IN_WINDOW)
    with registry.begin() as connection:
        account = accounts.by_email(connection, email)
        fits = accounts.password_fits(account, password)
        if account is not None and fits and account.operator and account.disabled_at is None:
            accounts.clear_attempts(connection, f"operator:{email}")
            audit.record(connection, actor, "operator.signed_in")
            return sessions.create(connection, account.id, "management", address=actor.address or "", agent=agent)
        audit.record(connection, actor, "access.denied", what="operator sign-in", known=account is not None)
    raise Refused(
        Code.UNAUTHENTICATED,
        "E-mail address and password do not belong to an operator.",
        "Check both. After several wrong tries you have to wait.",
    )


def current(connection: Connection, token: str) -> Operator | None:
    """The operator behind a session's token; None when there is none, or the account is no operator's any more."""
    session = sessions.find(connection, token, "management")
    if session is None or not session.operator:
        return None
    return Operator(session.id, session.account_id, session.email, session.name)


def sign_out(connection: Connection, token: str) -> None:
    """End the session."""
    session = sessions.find(connection, token, "management")
    if session is not None:
        sessions.revoke(connection, session.account_id, session.id)
        audit.record(connection, Actor(session.email), "operator.signed_out")
