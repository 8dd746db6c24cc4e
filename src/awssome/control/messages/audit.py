"""The audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from awssome.control.messages.base import Body


class AuditRow(Body):
    """One line of the audit log."""

    id: int
    at: datetime
    actor: str
    action: str
    tenant_id: UUID | None
    company: str | None
    address: str | None
    reference: str | None
    detail: dict[str, Any]


class AuditPage(Body):
    """One page of the audit log, newest first."""

    entries: list[AuditRow]
    next: str | None
    previous: str | None = None
