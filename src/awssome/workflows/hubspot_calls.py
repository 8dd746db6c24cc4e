"""Calls to HubSpot in a tenant's name: with its token, and within the account's budget, which all workers share."""

from __future__ import annotations

from collections.abc import Callable

from awssome.database.registry import budgets
from awssome.hubspot.client import Client
from awssome.hubspot.limits import Kind
from awssome.hubspot.transport import Patience, pause
from awssome.workflows.hubspot_access import HubSpotAccess
from awssome.workflows.services import Services

JOB_PATIENCE = Patience(retries=6, seconds=75.0)
"""What a background job spends on one call."""


def client_of(
    services: Services,
    access: HubSpotAccess,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    patience: Patience = JOB_PATIENCE,
) -> Client:
    """A client whose calls carry the tenant's token and keep to the account's budget."""

    def reserve(kind: Kind, calls: int) -> None:
        pause(reserve_calls(services, access.portal_id, kind, calls), should_stop)

    return Client(
        services.hubspot.base_url,
        access_token=access.token,
        reserve=reserve,
        should_stop=should_stop,
        patience=patience,
    )


def reserve_calls(services: Services, portal_id: int, kind: Kind, calls: int) -> float:
    """Reserve calls in the account's budget; seconds to wait until they may be made."""
    limit = services.hubspot_limits.get(kind)
    if limit is None:
        return 0.0
    with services.registry.begin() as connection:
        return budgets.reserve(connection, portal_id, kind, calls, rate_per_s=limit.rate_per_s, burst=limit.burst)
