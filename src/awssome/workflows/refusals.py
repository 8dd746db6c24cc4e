"""What the database servers refused, in the audit log: from the servers' logs, and as a job has met it."""

from __future__ import annotations

from uuid import UUID

import structlog

from awssome.database.registry import accounts, audit, refusals
from awssome.domain.errors import Refused
from awssome.workflows.services import Services, WorkerServices

_log = structlog.get_logger(__name__)


def read_logs(services: WorkerServices) -> int:
    """Read on in the log of every server that this worker can read; how many lines of the audit log came of it.

    Position and lines are one transaction: after a crash it is read again, and written once. One server that cannot be
    read keeps no other one waiting.
    """
    lines = 0
    for server, log in services.logs.items():
        try:
            with services.registry.begin() as connection:
                claimed = refusals.claim(connection, server)
                if claimed is None:
                    continue
                reading = log.read(claimed.position)
                lines += refusals.keep(connection, claimed, reading)
            log.prune(reading.position)
        except (Refused, OSError) as error:
            _log.warning("refusals.unread", server=server, reason=type(error).__name__)
    return lines


def tell(services: Services, tenant_id: UUID, login: str) -> None:
    """A job was refused a right as this tenant's login: one line a minute, however often it is tried again."""
    try:
        with services.registry.begin() as connection:
            accounts.count_attempt(connection, f"{refusals.ACTION}:{tenant_id}", limit=1, seconds=60)
    except Refused:
        return
    with services.registry.begin() as connection:
        audit.record(connection, audit.Actor(login), refusals.ACTION, tenant_id, kind="no right", command="a job")
