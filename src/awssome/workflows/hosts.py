"""The names of paid tenants in DNS. A convenience: whatever goes wrong is a warning, and tried again each minute."""

from __future__ import annotations

from typing import Any

import structlog

from awssome.aws.dns import Zone
from awssome.database.registry import audit, hosts
from awssome.domain.instances import Trouble
from awssome.domain.times import now
from awssome.workflows.services import WorkerServices

_log = structlog.get_logger(__name__)


def settle(services: WorkerServices) -> None:
    """Take every name that is wanted, or not any more, one step further; nothing without a hosted zone.

    Nobody waits for Route 53: the next call looks again. Two workers may do this at once.
    """
    if services.zone is None:
        return
    with services.registry.begin() as connection:
        hosts.match(connection, services.addresses)
        rows = hosts.unsettled(connection)
    for row in rows:
        try:
            _STEPS[row.state](services, services.zone, row)
        except Trouble as trouble:
            _log.warning("host.trouble", name=row.name, problem=trouble.message)
            with services.registry.begin() as connection:
                # The change may be one that Route 53 has forgotten: what is asked for again is the same.
                state = "wanted" if row.state == "pending" else row.state
                hosts.turn(connection, row, state=state, change=None, problem=trouble.whole[:1000])
            if trouble.again is not None:
                return  # AWS is away or has much to do: the others are not tried in vain


def _point(services: WorkerServices, zone: Zone, row: Any) -> None:
    change = zone.point(row.name, ours=row.settled_at is not None)
    with services.registry.begin() as connection:
        hosts.turn(connection, row, state="pending", change=change, problem=None)


def _look(services: WorkerServices, zone: Zone, row: Any) -> None:
    if zone.is_everywhere(row.change):
        with services.registry.begin() as connection:
            hosts.turn(connection, row, state="insync", change=None, settled_at=now())
            audit.record(connection, audit.SYSTEM, "host.named", row.tenant_id, name=row.name)


def _remove(services: WorkerServices, zone: Zone, row: Any) -> None:
    if row.change is None and (change := zone.remove(row.name)) is not None:
        with services.registry.begin() as connection:
            hosts.turn(connection, row, change=change, problem=None)
    elif row.change is None or zone.is_everywhere(row.change):
        with services.registry.begin() as connection:
            hosts.forget(connection, row)
            audit.record(connection, audit.SYSTEM, "host.removed", row.tenant_id)


_STEPS = {"wanted": _point, "pending": _look, "removing": _remove}
