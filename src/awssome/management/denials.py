"""Refusals of people and programs, written to the audit log, and the limits on guessing passwords."""

from __future__ import annotations

from awssome.database import Connection
from awssome.database.registry import accounts, audit
from awssome.database.registry.audit import Actor
from awssome.database.registry.tenants import Tenant
from awssome.domain.addresses import neighbourhood
from awssome.domain.errors import Refused
from awssome.workflows.services import Services

DENIALS_A_MINUTE = 120
"""Refusals of one address that are written down; a flood of them must not fill the audit log."""

SIGN_INS, SIGN_INS_OF_ADDRESS, SIGN_INS_OF_EMAIL = 10, 100, 300
"""Tries in a quarter of an hour: of one e-mail address from one network address, of a network address, of an e-mail
address. The last is high, so that nobody is kept out by a stranger who guesses."""

_QUARTER = 900


def deny(services: Services, actor: Actor, what: str, tenant: Tenant | None = None, **detail: str) -> None:
    """Write a refusal to the audit log, in a transaction of its own."""
    try:
        with services.registry.begin() as connection:
            accounts.count_attempt(connection, f"denied:{_network(actor)}", limit=DENIALS_A_MINUTE, seconds=60)
    except Refused:
        return
    with services.registry.begin() as connection:
        audit.record(connection, actor, "access.denied", tenant.id if tenant else None, what=what, **detail)


def count_sign_in(services: Services, door: str, email: str, actor: Actor) -> None:
    """Count a try to sign in. :raises Refused: LIMITED after too many; written to the audit log."""
    limits = (
        (f"{door}:{_network(actor)}", SIGN_INS_OF_ADDRESS),
        (f"{door}:{email}", SIGN_INS_OF_EMAIL),
        (_pair(door, email, actor), SIGN_INS),
    )
    for subject, limit in limits:
        try:
            with services.registry.begin() as connection:
                accounts.count_attempt(connection, subject, limit=limit, seconds=_QUARTER)
        except Refused:
            deny(services, actor, f"{door}: too many tries", email=email)
            raise


def forget_sign_in(connection: Connection, door: str, email: str, actor: Actor) -> None:
    """The right password: the tries before it do not count any more."""
    accounts.clear_attempts(connection, _pair(door, email, actor))


def _pair(door: str, email: str, actor: Actor) -> str:
    return f"{door}:{_network(actor)}:{email}"


def _network(actor: Actor) -> str:
    return neighbourhood(actor.address or "")
