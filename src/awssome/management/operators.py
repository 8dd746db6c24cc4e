"""Operators at the desk: their sign-in and their sessions."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from awssome.database import Connection
from awssome.database.registry import accounts, audit, sessions
from awssome.database.registry.audit import Actor
from awssome.domain.errors import Code, Refused
from awssome.management import denials
from awssome.workflows.services import Services


@dataclass(frozen=True)
class Operator:
    """An operator who is signed in; `id` is the session's."""

    id: UUID
    account_id: UUID
    email: str
    name: str


def sign_in(services: Services, email: str, password: str, actor: Actor, agent: str) -> str:
    """A management session's token. Refusals are in the audit log.

    :raises Refused: UNAUTHENTICATED for wrong credentials and for accounts that are no operator's (they are told the
        same); LIMITED after many tries.
    """
    email = email.strip().lower()[:254]
    denials.count_sign_in(services, "operator", email, actor)
    with services.registry.begin() as connection:
        account = accounts.by_email(connection, email)
    fits = accounts.password_fits(account, password)
    if account is None or not fits or not account.operator or account.disabled_at is not None:
        denials.deny(services, actor, "operator sign-in", email=email)
        raise Refused(
            Code.UNAUTHENTICATED,
            "E-mail address and password do not belong to an operator.",
            "Check both. After several wrong tries you have to wait.",
        )
    with services.registry.begin() as connection:
        denials.forget_sign_in(connection, "operator", email, actor)
        audit.record(connection, actor, "operator.signed_in")
        return sessions.create(connection, account.id, "management", address=actor.address or "", agent=agent)


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
