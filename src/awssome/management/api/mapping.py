"""How a tenant's HubSpot deals become registrations: the mapping, and what it takes from HubSpot."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from awssome.control import messages as m
from awssome.database import Connection
from awssome.database.registry import audit
from awssome.database.tenant import hubspot as stored
from awssome.database.tenant import mappings
from awssome.domain.choices import checked
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import Role
from awssome.management.api.guard import TenantCall, tenant_call
from awssome.workflows import hubspot_definitions
from awssome.workflows.workspace import Workspace

router = APIRouter(tags=["mapping"])

Member = Annotated[TenantCall, Depends(tenant_call(Role.MEMBER))]
Admin = Annotated[TenantCall, Depends(tenant_call(Role.ADMIN))]

_LISTED = 50
"""Stages that a line of the audit log names."""

PAGE_PATIENCE = 5.0
"""Seconds that a page may wait for a move's cut-over."""


@router.put("/hubspot/mapping/fields")
def save_fields(caller: Admin, body: m.SaveFields) -> m.MappingSaved:
    """Take over where fields come from; the next sync looks at every deal again.

    :raises Refused: INVALID for a mapping that cannot be; CONFLICT when somebody else was quicker.
    """
    fields = {one.field: checked(one.field, one.mapping()) for one in body.fields}

    def save(connection: Connection) -> list[str]:
        return mappings.save_fields(connection, _portal(connection), body.version, fields, caller.session.email)

    changed = _workspace(caller).do(save)
    if changed:
        with caller.registry.begin() as connection:
            audit.record(connection, caller.actor, "mapping.fields_changed", caller.tenant.id, fields=changed)
    return m.MappingSaved(changed=changed)


@router.put("/hubspot/mapping/stages")
def save_stages(caller: Admin, body: m.SaveStages) -> m.MappingSaved:
    """Take over what stages become; the next sync looks at every deal again.

    :raises Refused: CONFLICT when somebody else was quicker.
    """
    stages = {(one.pipeline, one.stage): one.mapping() for one in body.stages}

    def save(connection: Connection) -> list[str]:
        return mappings.save_stages(connection, _portal(connection), body.version, stages, caller.session.email)

    changed = _workspace(caller).do(save)
    if changed:
        with caller.registry.begin() as connection:
            audit.record(connection, caller.actor, "mapping.stages_changed", caller.tenant.id, stages=changed[:_LISTED])
    return m.MappingSaved(changed=changed)


@router.post("/hubspot/definitions", status_code=204)
def refresh_definitions(caller: Member) -> None:
    """Ask HubSpot now for its properties, pipelines, currency and time zone.

    :raises Refused: CONFLICT when HubSpot is not connected; UPSTREAM and others when it does not answer.
    """
    hubspot_definitions.refresh(caller.services, caller.tenant.id)


@router.post("/hubspot/deals/read")
def read_deal(caller: Member, body: m.ReadDeal) -> m.DealOut:
    """One deal as HubSpot has it now. :raises Refused: NOT_FOUND when it has none, or none any more."""
    deal = hubspot_definitions.read_deal(caller.services, caller.tenant.id, body.deal_id, body.properties)
    return m.DealOut(deal_id=deal.id, properties={name: deal.properties.get(name) for name in body.properties})


def _workspace(caller: TenantCall) -> Workspace:
    return Workspace(caller.services, caller.tenant.id, patience=PAGE_PATIENCE)


def _portal(connection: Connection) -> int:
    known = stored.connection(connection)
    if known is None:
        raise Refused(Code.CONFLICT, "HubSpot is not connected. The mapping was not saved.", "Connect HubSpot first.")
    return known.portal_id
