"""Sign-ups that nobody confirms or finishes: after a week the tenant is deleted, and whoever belongs to no other."""

from __future__ import annotations

from datetime import timedelta

from awssome.database import Connection
from awssome.database.registry import audit, erasure, tenants
from awssome.domain.tenants import PENDING_DAYS
from awssome.domain.times import now
from awssome.workflows.queue import Queue

BATCH = 100
"""Tenants that one sweep deletes; the next one goes on."""


def sweep(connection: Connection, queue: Queue) -> None:
    """Delete what has been pending for too long, and have dropped what may have been begun of its workspace."""
    for tenant_id in erasure.left_pending(connection, now() - timedelta(days=PENDING_DAYS), BATCH):
        placement_id = tenants.find(connection, tenant_id).placement_id
        erasure.forget_tenant(connection, tenant_id)
        audit.record(connection, audit.SYSTEM, "tenant.expired", tenant_id)
        if placement_id is not None:
            queue.discard(connection, placement_id)
