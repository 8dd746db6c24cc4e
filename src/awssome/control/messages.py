"""The bodies of the central API (`/api/v1`). The management application answers with them, clients parse them.

Times are aware and in UTC, ids are UUIDs, seconds are floats. Every error has the one shape `ErrorBody`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_serializer

from awssome.domain.moves import MoveKind, Phase
from awssome.domain.tenants import EngineName, Placement, Role, ServerKind, TenantState, Tier


class Body(BaseModel):
    """What all bodies share: unknown fields are refused in requests and never sent in answers."""

    model_config = ConfigDict(extra="forbid")


# --- errors


class Problem(Body):
    """Why a request was refused, in words for the user."""

    code: str
    message: str
    advice: str = ""
    fields: dict[str, str] = {}
    reference: str = ""


class ErrorBody(Body):
    """The one shape of an error."""

    error: Problem


# --- people and sessions (service token)


class SignUp(Body):
    """Somebody asks for a workspace."""

    name: str
    email: str
    company: str


class Accepted(Body):
    """The request was taken; nothing is told about whether the address was known."""

    message: str


class Resend(Body):
    """The confirmation mail again."""

    email: str


class LinkToken(Body):
    """The token of a link in an e-mail."""

    token: str


class LinkInfo(Body):
    """What a link is for, before it is used."""

    purpose: Literal["confirm", "invite", "reset"]
    email: str
    company: str | None
    needs_password: bool


class UseLink(Body):
    """Use a link; `password` and `name` where the link asks for them."""

    token: str
    password: SecretStr | None = None
    name: str | None = None


class SignIn(Body):
    """E-mail address and password."""

    email: str
    password: SecretStr


class SessionOut(Body):
    """A fresh session: the token is shown once, to be set as a cookie."""

    token: str
    account_id: UUID
    tenant_id: UUID | None = None


class AccountOut(Body):
    """The person who is signed in."""

    id: UUID
    name: str
    email: str


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

    def placement(self, tenant_id: UUID) -> Placement:
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
        )


class HubSpotOut(Body):
    """The connection to HubSpot as the registry knows it. `reconnect`: tokens no longer refresh."""

    state: Literal["none", "connected", "reconnect"]
    portal_id: int | None = None
    hub_domain: str | None = None


class MoveOut(Body):
    """A move, with its evidence. `steps` are {key, label, state: done|now|todo|failed, seconds}."""

    id: UUID
    tenant_id: UUID
    company: str
    kind: MoveKind
    phase: Phase
    source: str
    target: str
    requested_by: str
    requested_at: datetime
    switched_at: datetime | None
    finished_at: datetime | None
    retain_until: datetime | None
    write_pause_ms: int | None
    verified: bool
    steps: list[dict[str, Any]]
    tables: list[dict[str, Any]] = Field(description="{name, rows, source, target, equal} by table")
    rows: int
    problem: str | None
    actions: list[str] = Field(description="what may be done now: cancel, retry, rollback")


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
    move: MoveOut | None = Field(None, description="the newest move, under way or ended")


class ContextOut(Body):
    """The answer to the one question: who, in which role, which tier, where. No `placement` while pending."""

    account: AccountOut
    session_id: UUID
    memberships: list[MembershipOut]
    role: Role | None
    tenant: TenantOut | None = Field(description="the host's tenant; None: choose one of the memberships")
    placement: PlacementOut | None
    move_to: str | None = Field(None, description="host[:port] where this tenant's pages are, when not here")


class SwitchTenant(Body):
    """Choose among the free tenants of one host."""

    tenant_id: UUID


class HandoverOut(Body):
    """A one-time ticket that carries a session to another host; 60 s."""

    url: str


class TicketIn(Body):
    """A ticket to redeem on this host. `confirmed`: the person wants to sign in with another account than before."""

    ticket: str
    confirmed: bool = False


class Denial(Body):
    """What the portal refused, for the audit log."""

    action: str


class SessionInfo(Body):
    """One of the account's sessions."""

    id: UUID
    agent: str
    address: str | None
    created_at: datetime
    seen_at: datetime
    current: bool


class ChangePassword(Body):
    """The old password proves who asks."""

    current: SecretStr
    new: SecretStr


# --- the tenant's own settings (service token and a session)


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


class AuthorizeOut(Body):
    """Where to send the browser for HubSpot's consent page."""

    url: str


class CallbackIn(Body):
    """What HubSpot's redirect carried, without the code: only the state is checked here."""

    state: str


class CallbackOut(Body):
    """The host[:port] where the user started."""

    host: str


class ConnectIn(Body):
    """State and code, brought by the session that started."""

    state: str
    code: str


class SyncOut(Body):
    """A sync that was accepted."""

    sync_id: UUID


# --- operators


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


class StartMove(Body):
    """Move a tenant; without a server the platform chooses."""

    server: str | None = None


class CreateOperator(Body):
    """Somebody who will run the platform."""

    email: str
    name: str
    password: SecretStr


class ServerRow(Body):
    """A server with its load."""

    id: UUID
    name: str
    kind: ServerKind
    engine: EngineName
    host: str
    port: int
    database: str
    open: bool
    problem: str | None
    capacity: int
    tenants: int
    retained: int
    tenant: str | None = Field(None, description="company that a dedicated server belongs to")
    created_at: datetime


class AddServer(Body):
    """A server to register; the URL is of its administrator and is kept encrypted."""

    name: str
    kind: ServerKind
    engine: EngineName
    url: SecretStr
    capacity: int | None = None


class AuditRow(Body):
    """One line of the audit log."""

    id: int
    at: datetime
    actor: str
    action: str
    tenant_id: UUID | None
    company: str | None
    address: str | None
    reference: str | None
    detail: dict[str, Any]


class AuditPage(Body):
    """One page of the audit log, newest first."""

    entries: list[AuditRow]
    next: str | None
    previous: str | None = None


class MovePage(Body):
    """One page of moves, newest first."""

    moves: list[MoveOut]
    next: str | None
    previous: str | None = None
