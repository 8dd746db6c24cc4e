"""Ending what tenants' sessions do for too long: a session may lift its own time limit, and hold a transaction open."""

from __future__ import annotations

from uuid import UUID

import structlog

from awssome.database.registry import audit, placements, servers
from awssome.domain.errors import Refused
from awssome.domain.limits import SOONEST_ENDED, is_too_long
from awssome.domain.tenants import Tier
from awssome.workflows.services import WorkerServices

log = structlog.get_logger(__name__)


def end(services: WorkerServices) -> None:
    """End what is too long by the tier of its tenant, on every server that answers: one query a server.

    What goes wrong with one of them, a defect or a right that its administrator has lost, keeps no other one waiting.
    """
    with services.registry.begin() as connection:
        found = servers.ids(connection)
    for server_id in found:
        try:
            end_on(services, server_id)
        except Refused as refused:
            log.warning("long_sessions.silent", server=str(server_id), reason=refused.message)
        except Exception:
            log.exception("long_sessions.failed", server=str(server_id))


def end_on(services: WorkerServices, server_id: UUID) -> int:
    """The same on one server; how many sessions were ended. What was ended is in the audit log, a line a tenant.

    :raises Refused: UNAVAILABLE when the server does not answer.
    """
    server = services.open_server(server_id)
    found = server.long_sessions(SOONEST_ENDED)
    if not found:
        return 0
    with services.registry.begin() as connection:
        whose = placements.tenants_of(connection, server_id, [each.schema for each in found])
    nobody = (None, Tier.PAID)  # an orphan, or a tenant of another database there: no sooner than anybody
    ended = server.end_long(
        [
            each
            for each in found
            if is_too_long(whose.get(each.schema, nobody)[1], each.statement_seconds, each.transaction_seconds)
        ]
    )
    with services.registry.begin() as connection:
        for schema in sorted({each.schema for each in ended}):
            seconds = [round(each.seconds) for each in ended if each.schema == schema]
            tenant_id = whose.get(schema, nobody)[0]
            detail = {"schema": schema, "sessions": len(seconds), "longest_seconds": max(seconds)}
            audit.record(connection, audit.SYSTEM, "database.sessions_ended", tenant_id, **detail)
    return len(ended)
