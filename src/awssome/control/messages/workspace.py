"""A tenant as its own people and the portal see it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field, SecretStr, field_serializer

from awssome.control.messages.base import Body
from awssome.control.messages.moves import MoveOut, WayBack
from awssome.control.messages.people import AccountOut
from awssome.domain.tenants import EngineName, Placement, Role, ServerKind, TenantState, Tier


class MembershipOut(Body):
    """A tenant that the person belongs to."""

    tenant_id: UUID
    company: str
    slug: str
    tier: Tier
    state: TenantState
    role: Role
    host: str = Field(description="host[:port] where this tenant's pages are")


class PlacementOut(Body):
    """Where the tenant's data is and as whom to go there; asked for per request, kept only in memory."""

    placement_id: UUID
    engine: EngineName
    server: str
    host: str
    port: int
    database: str
    schema_name: str
    epoch: int
    secret_version: int
    password: SecretStr

    @field_serializer("password", when_used="json")
    def _reveal(self, password: SecretStr) -> str:
        # Only the wire shows it: repr, logs and `model_dump` keep the mask.
        return password.get_secret_value()

    def placement(self, tenant_id: UUID, tier: Tier) -> Placement:
        """The value that `database.sessions` takes."""
        return Placement(
            tenant_id=tenant_id,
            placement_id=self.placement_id,
            engine=self.engine,
            host=self.host,
            port=self.port,
            database=self.database,
            schema=self.schema_name,
            epoch=self.epoch,
            secret_version=self.secret_version,
            password=self.password.get_secret_value(),
            tier=tier,
        )


class HubSpotOut(Body):
    """The connection to HubSpot as the registry knows it. `reconnect`: tokens no longer refresh."""

    state: Literal["none", "connected", "reconnect"]
    portal_id: int | None = None
    hub_domain: str | None = None


class TenantOut(Body):
    """A tenant as its own people see it."""

    id: UUID
    slug: str
    company: str
    tier: Tier
    state: TenantState
    host: str
    external_id: str
    role_arn: str | None
    role_verified_at: datetime | None
    aws_choice: Literal["open", "later", "linked"]
    quick_create_url: str
    hubspot: HubSpotOut
    server: str | None
    server_kind: ServerKind | None
    upgrade_requested_at: datetime | None
    problem: str | None
    created_at: datetime
    retain_until: datetime | None = Field(None, description="until when the archive of a deleted tenant is kept")
    move: MoveOut | None = Field(None, description="the newest move, under way or ended")
    subscribed: bool = Field(False, description="it is paid for in AWS Marketplace")
    way_back: WayBack | None = Field(None, description="where a rollback leads; None: there is none")


class ContextOut(Body):
    """The answer to the one question: who, in which role, which tier, where. No `placement` while pending."""

    account: AccountOut
    session_id: UUID
    memberships: list[MembershipOut]
    role: Role | None
    tenant: TenantOut | None = Field(description="the host's tenant; None: choose one of the memberships")
    placement: PlacementOut | None
    move_to: str | None = Field(None, description="host[:port] where this tenant's pages are, when not here")


class AwsRole(Body):
    """The ARN of the role that the CloudFormation stack made; None: later."""

    role_arn: str | None


class MemberOut(Body):
    """Somebody who belongs to the tenant."""

    account_id: UUID
    name: str
    email: str
    role: Role
    confirmed: bool


class Invite(Body):
    """Ask somebody into the tenant."""

    email: str
    role: Role


class ChangeRole(Body):
    """Another role for a member."""

    role: Role
