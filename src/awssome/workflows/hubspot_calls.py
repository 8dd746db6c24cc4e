"""Calls to HubSpot in a tenant's name: with its token, and within the account's budget, which all workers share."""

from __future__ import annotations

from collections.abc import Callable

from awssome.hubspot.client import Client
from awssome.hubspot.transport import Patience
from awssome.workflows.hubspot_access import HubSpotAccess
from awssome.workflows.hubspot_budgets import Share
from awssome.workflows.services import Services

JOB_PATIENCE = Patience(retries=6, seconds=75.0)
"""What a background job spends on one call."""


def client_of(
    services: Services,
    access: HubSpotAccess,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    patience: Patience = JOB_PATIENCE,
    urgent: bool = False,
) -> Client:
    """A client whose calls carry the tenant's token and keep to the account's budget.

    :param patience: what one call may spend on retries; no call waits longer than that for its turn in the budget.
    :param urgent: somebody waits for a page: some calls are kept for that.
    """
    return Client(
        services.hubspot.base_url,
        access_token=access.token,
        budget=Share(
            services.registry,
            services.hubspot_limits,
            access.portal_id,
            should_stop=should_stop,
            patience=patience.seconds,
            urgent=urgent,
        ),
        should_stop=should_stop,
        patience=patience,
    )
