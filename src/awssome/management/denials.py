"""Refusals of people and programs, written to the audit log."""

from __future__ import annotations

from awssome.database.registry import accounts, audit
from awssome.database.registry.audit import Actor
from awssome.database.registry.tenants import Tenant
from awssome.domain.errors import Refused
from awssome.workflows.services import Services

DENIALS_A_MINUTE = 120
"""Refusals of one address that are written down; a flood of them must not fill the audit log."""


def deny(services: Services, actor: Actor, what: str, tenant: Tenant | None = None) -> None:
    """Write a refusal to the audit log, in a transaction of its own."""
    try:
        with services.registry.begin() as connection:
            accounts.count_attempt(connection, f"denied:{actor.address}", limit=DENIALS_A_MINUTE, seconds=60)
    except Refused:
        return
    with services.registry.begin() as connection:
        audit.record(connection, actor, "access.denied", tenant.id if tenant else None, what=what)
