"""What the mapping takes from HubSpot beside syncs: what the account defines, and single deals to try it on.

Properties, pipelines, currency and time zone are three calls. They are made when nothing is known yet or what is known
is a day old, by whoever needs it first: a sync, or somebody who opens the pages of the mapping. A button asks at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from awssome.database import Connection
from awssome.database.tenant import hubspot as stored
from awssome.database.tenant import mappings
from awssome.domain.definitions import Pipeline, PipelineStage, Property
from awssome.domain.errors import Code, Refused
from awssome.domain.texts import fitting, storable
from awssome.domain.times import now
from awssome.hubspot import models
from awssome.hubspot.client import Client
from awssome.hubspot.transport import Patience
from awssome.workflows.hubspot_access import HubSpotAccess
from awssome.workflows.hubspot_calls import client_of
from awssome.workflows.services import Services
from awssome.workflows.workspace import Workspace

FRESH = timedelta(days=1)
"""How long what is known counts as true."""

PAGE_PATIENCE = Patience(retries=1, seconds=6.0)
"""What somebody who waits for a page spends on one call."""

MOST_OPTIONS = 500
"""Options that are kept of a property; whoever has more maps the others by the line for any other value."""

_LONGEST_LABEL = 255


def refresh(services: Services, tenant_id: UUID) -> None:
    """Ask HubSpot now. :raises Refused: CONFLICT when HubSpot is not connected; what the client raises."""
    workspace = Workspace(services, tenant_id, patience=5.0)
    access = HubSpotAccess(services, workspace)
    with client_of(services, access, patience=PAGE_PATIENCE, urgent=True) as client:
        fetch(client, workspace, access.portal_id)


def read_deal(services: Services, tenant_id: UUID, deal_id: str, properties: Sequence[str]) -> models.Deal:
    """The deal as HubSpot has it now; the one that it was merged into, if it was.

    :raises Refused: NOT_FOUND when HubSpot has none; CONFLICT when it is not connected; what the client raises.
    """
    access = HubSpotAccess(services, Workspace(services, tenant_id, patience=5.0))
    with client_of(services, access, patience=PAGE_PATIENCE, urgent=True) as client:
        found = client.batch_read_deals([deal_id], properties).results
    if not found:
        raise Refused(
            Code.NOT_FOUND,
            f"Your HubSpot account has no deal {deal_id}, or has deleted it.",
            "Copy the number at the end of the deal's address in HubSpot.",
        )
    return found[0]


def keep_fresh(client: Client, workspace: Workspace, portal_id: int) -> None:
    """Ask HubSpot if nothing is known, or what is known is old. :raises HubSpotError: what the client raises."""
    known = workspace.do(lambda connection: mappings.definitions(connection, portal_id))
    if known is None or known.defined_at is None or known.defined_at + FRESH <= now():
        fetch(client, workspace, portal_id)


def fetch(client: Client, workspace: Workspace, portal_id: int) -> None:
    """Ask HubSpot with this client, and keep what it says."""
    at = now()
    account, pipelines, properties = client.account(), client.pipelines(), client.properties()
    kept = [_pipeline(each) for each in _in_order(pipelines)]
    defined = [_property(each) for each in properties if not each.archived and not each.hidden]

    def keep(connection: Connection) -> None:
        connected = stored.connection(connection)
        if connected is None or connected.portal_id != portal_id:
            raise Refused(Code.CONFLICT, "HubSpot is not connected any more. Nothing was changed.", "Connect it first.")
        stored.keep_account(
            connection,
            portal_id,
            connected.hub_domain,
            currency=account.currency,
            time_zone=account.timezone,
            ui_domain=account.ui_domain,
        )
        mappings.define(connection, portal_id, kept, defined, at=at)

    workspace.do(keep)


def _in_order(pipelines: list[models.Pipeline]) -> list[models.Pipeline]:
    return sorted((each for each in pipelines if not each.archived), key=lambda each: each.display_order)


def _pipeline(found: models.Pipeline) -> Pipeline:
    stages = sorted((stage for stage in found.stages if not stage.archived), key=lambda stage: stage.display_order)
    return Pipeline(
        storable(found.id),
        fitting(found.label, _LONGEST_LABEL),
        tuple(
            PipelineStage(storable(stage.id), fitting(stage.label, _LONGEST_LABEL), stage.closed, stage.probability)
            for stage in stages
        ),
    )


def _property(found: models.Property) -> Property:
    options = [(storable(each.value), fitting(each.label, _LONGEST_LABEL)) for each in found.options if not each.hidden]
    return Property(
        storable(found.name), fitting(found.label, _LONGEST_LABEL), found.type, tuple(options[:MOST_OPTIONS])
    )
