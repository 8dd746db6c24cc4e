"""The paid tier by a subscription in AWS Marketplace."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from awssome.control import messages as m
from awssome.domain.tenants import Role
from awssome.management.api.guard import ServiceCall, TenantCall, tenant_call
from awssome.workflows import entitlements

router = APIRouter(tags=["marketplace"])

Owner = Annotated[TenantCall, Depends(tenant_call(Role.OWNER))]


@router.post("/marketplace/arrivals", status_code=201)
def arrive(call: ServiceCall, body: m.ArrivalIn) -> m.ArrivalRef:
    """Who comes with this registration token. :raises Refused: GONE for one that AWS does not know (any more)."""
    return m.ArrivalRef(arrival=entitlements.arrive(call.services, body.token))


@router.post("/tenant/subscription/look")
def look_at_arrival(caller: Owner, body: m.ArrivalRef) -> m.ArrivalOut:
    """Which AWS account has subscribed; nothing is changed. :raises Refused: GONE when that was too long ago."""
    return m.ArrivalOut(account=entitlements.look(caller.services, body.arrival).account)


@router.post("/tenant/subscription")
def claim_subscription(caller: Owner, body: m.ArrivalRef) -> m.Accepted:
    """Use the subscription for this tenant: it has the paid tier at once.

    :raises Refused: GONE; CONFLICT when it is not active, or another tenant's.
    """
    told = entitlements.claim(caller.services, caller.actor, caller.tenant.id, caller.session.account_id, body.arrival)
    return m.Accepted(message=told)
