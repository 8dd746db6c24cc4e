"""What the database servers refused, brought from their logs into the audit log."""

from __future__ import annotations

import structlog

from awssome.database.registry import refusals
from awssome.domain.errors import Refused
from awssome.workflows.services import WorkerServices

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
                lines += refusals.keep(connection, claimed, log.read(claimed.position))
            log.prune()
        except (Refused, OSError) as error:
            _log.warning("refusals.unread", server=server, reason=type(error).__name__)
    return lines
