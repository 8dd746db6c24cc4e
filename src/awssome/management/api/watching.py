"""Use, load and alerts for the command line."""

from __future__ import annotations

from fastapi import APIRouter

from awssome.control import messages as m
from awssome.management import watching
from awssome.management.api.guard import OperatorCall

router = APIRouter(tags=["operators"])


@router.get("/servers/{name}")
def server(call: OperatorCall, name: str, sort: str = "-bytes") -> m.ServerDetail:
    """One server with its load, its heaviest tenants, and when it is full."""
    with call.registry.begin() as connection:
        return watching.server_detail(connection, name, sort)


@router.get("/tenants/{ref}/use")
def tenant_use(call: OperatorCall, ref: str) -> m.TenantUse:
    """What a tenant uses, and its last 30 days."""
    with call.registry.begin() as connection:
        return watching.tenant_use(connection, ref)


@router.get("/alerts")
def alerts(call: OperatorCall, after: str = "") -> m.AlertPage:
    """What is wrong now, and what was, newest first."""
    with call.registry.begin() as connection:
        return watching.alert_page(connection, after)
