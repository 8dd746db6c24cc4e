"""Tenants as operators see them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import Field

from awssome.control.messages.base import Body
from awssome.control.messages.moves import MoveOut
from awssome.control.messages.workspace import MemberOut
from awssome.domain.tenants import EngineName, TenantState, Tier


class TenantRow(Body):
    """A tenant as operators see it."""

    id: UUID
    slug: str
    company: str
    tier: Tier
    state: TenantState
    server: str | None
    engine: EngineName | None
    hubspot: str
    owner: str | None
    upgrade_requested_at: datetime | None
    problem: str | None
    created_at: datetime
    seen_at: datetime | None = Field(None, description="when somebody of the tenant was there last, to the hour")
    retain_until: datetime | None = Field(None, description="until when the archive of a deleted tenant is kept")


class TenantPage(Body):
    """One page of tenants; `next` continues it, `previous` is the page before."""

    tenants: list[TenantRow]
    total: int
    next: str | None
    previous: str | None = None


class PlacementRow(Body):
    """A placement of a tenant, present or past."""

    id: UUID
    server: str
    schema_name: str
    state: str
    revision: str | None = Field(None, description="of the template, that its tables have")
    behind: bool = Field(False, description="its tables are older than the template of the central API")
    problem: str | None = Field(None, description="why its tables could not be migrated")
    created_at: datetime
    retain_until: datetime | None
    current: bool


class TenantDetail(TenantRow):
    """One tenant, with where it is and was."""

    role_arn: str | None
    hubspot_portal_id: int | None
    hubspot_domain: str | None
    epoch: int
    placements: list[PlacementRow]
    moves: list[MoveOut]
    subscribed: bool = Field(False, description="it is paid for in AWS Marketplace")
    address_problem: str | None = Field(None, description="what keeps its own address from being in DNS")
    members: list[MemberOut]


class CreateTenant(Body):
    """An operator vouches: an active free tenant at once."""

    email: str
    company: str


class Credentials(Body):
    """A tenant's database login, for an operator; audited."""

    engine: EngineName
    host: str
    port: int
    database: str
    schema_name: str = Field(serialization_alias="schema")
    user: str
    password: str
