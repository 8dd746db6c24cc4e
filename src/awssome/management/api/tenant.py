"""What a tenant's people settle about their tenant: AWS role, members, plan, HubSpot, syncs."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends

from awssome.control import messages as m
from awssome.database.registry import accounts, audit, placements, tenants
from awssome.database.tenant import syncs
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import Role, TenantState, Tier, checked_email
from awssome.domain.times import now
from awssome.management import people, views
from awssome.management.api.guard import ServiceCall, TenantCall, tenant_call
from awssome.management.denials import deny
from awssome.workflows import hubspot_connection, leaving

router = APIRouter(tags=["tenant"])

Viewer = Annotated[TenantCall, Depends(tenant_call(Role.VIEWER, active=False))]
Member = Annotated[TenantCall, Depends(tenant_call(Role.MEMBER))]
Admin = Annotated[TenantCall, Depends(tenant_call(Role.ADMIN))]
Founder = Annotated[TenantCall, Depends(tenant_call(Role.ADMIN, active=False))]
Owner = Annotated[TenantCall, Depends(tenant_call(Role.OWNER))]


@router.put("/tenant/aws-role")
def set_aws_role(caller: Founder, body: m.AwsRole) -> m.TenantOut:
    """Verify and store the role, or decide later; a pending workspace is made then.

    :raises Refused: INVALID for a role that cannot be assumed with our ExternalId, or can be without it; CONFLICT for
        one that another tenant has.
    """
    services, tenant = caller.services, caller.tenant
    if body.role_arn is None:
        changes: dict[str, object] = {} if tenant.role_arn else {"aws_choice": "later"}
    else:
        arn = body.role_arn.strip()
        account = services.roles.verify(arn, tenant.external_id, f"awssome-{tenant.slug}")
        changes = {"aws_choice": "linked", "role_arn": arn, "role_verified_at": now()}
        with caller.registry.begin() as connection:
            if tenants.has_role(connection, arn, but=tenant.id):
                raise Refused(
                    Code.CONFLICT,
                    "Another workspace uses this role. Nothing was stored.",
                    "Make a role for this workspace with the link above.",
                    fields={"role_arn": "Another workspace uses this role."},
                )
            audit.record(connection, caller.actor, "aws_role.verified", tenant.id, arn=arn, account=account)
    with caller.registry.begin() as connection:
        if changes:
            tenants.change(connection, tenant.id, **changes)
        found = tenants.find(connection, tenant.id)
        if found.state is TenantState.PENDING:
            services.queue.provision(connection, tenant.id)
        return views.tenant(services, connection, found)


@router.post("/tenant/provisioning", status_code=202)
def retry_workspace(caller: Founder) -> None:
    """Try once more to make the workspace."""
    with caller.registry.begin() as connection:
        if caller.tenant.state is not TenantState.PENDING:
            raise Refused(Code.CONFLICT, "Your workspace is there already.")
        tenants.change(connection, caller.tenant.id, problem=None)
        caller.services.queue.provision(connection, caller.tenant.id)


@router.post("/tenant/upgrade-request", status_code=202)
def request_upgrade(caller: Owner) -> None:
    """The owner asks for the paid tier; an operator grants it. :raises Refused: CONFLICT when it is paid already."""
    with caller.registry.begin() as connection:
        tenant = tenants.find(connection, caller.tenant.id, lock=True)
        if tenant.tier is Tier.PAID:
            raise Refused(Code.CONFLICT, "Your workspace is on the paid plan already.")
        if tenant.upgrade_requested_at is None:
            tenants.change(
                connection, tenant.id, upgrade_requested_at=now(), upgrade_requested_by=caller.session.account_id
            )
            audit.record(connection, caller.actor, "upgrade.requested", tenant.id)


@router.post("/tenant/deletion", status_code=202)
def delete_tenant(caller: Owner) -> None:
    """The owner deletes the workspace: closed at once, archived, erased in 30 days."""
    with caller.registry.begin() as connection:
        leaving.delete(connection, caller.services.queue, caller.actor, caller.tenant.id)


@router.get("/tenant/members")
def members(caller: Viewer) -> list[m.MemberOut]:
    """Who belongs to the tenant."""
    with caller.registry.begin() as connection:
        return [views.member(row) for row in accounts.members(connection, caller.tenant.id)]


@router.post("/tenant/members", status_code=201)
def invite(caller: Admin, body: m.Invite) -> m.MemberOut:
    """Ask somebody in. :raises Refused: FORBIDDEN for an admin who would make an owner; CONFLICT for a member."""
    _only_owners_make_owners(caller, body.role)
    email = checked_email(body.email)
    people.invite(caller.services, caller.actor, caller.tenant, email, body.role)
    with caller.registry.begin() as connection:
        return next(views.member(row) for row in accounts.members(connection, caller.tenant.id) if row.email == email)


@router.put("/tenant/members/{account_id}", status_code=204)
def change_role(caller: Admin, account_id: UUID, body: m.ChangeRole) -> None:
    """Another role for a member."""
    with caller.registry.begin() as connection:
        _only_owners_make_owners(caller, body.role)
        _only_owners_touch_owners(caller, accounts.members(connection, caller.tenant.id), account_id)
        accounts.change_role(connection, account_id, caller.tenant.id, body.role)
        audit.record(connection, caller.actor, "member.role_changed", caller.tenant.id, who=account_id, role=body.role)


@router.delete("/tenant/members/{account_id}", status_code=204)
def remove_member(caller: Admin, account_id: UUID) -> None:
    """Take a member out."""
    with caller.registry.begin() as connection:
        _only_owners_touch_owners(caller, accounts.members(connection, caller.tenant.id), account_id)
        accounts.remove_member(connection, account_id, caller.tenant.id)
        audit.record(connection, caller.actor, "member.removed", caller.tenant.id, who=account_id)


@router.post("/hubspot/authorizations", status_code=201)
def authorize_hubspot(caller: Admin) -> m.AuthorizeOut:
    """Where to send the browser for HubSpot's consent."""
    with caller.registry.begin() as connection:
        url = hubspot_connection.authorize(
            connection,
            caller.services.keys,
            caller.services.hubspot,
            session_id=caller.session.id,
            tenant_id=caller.tenant.id,
            host=caller.call.host,
        )
    return m.AuthorizeOut(url=url)


@router.post("/hubspot/callbacks")
def hubspot_callback(call: ServiceCall, body: m.CallbackIn) -> m.CallbackOut:
    """Check a state, once. :raises Refused: GONE or INVALID for a state that is forged, used or too old."""
    with call.registry.begin() as connection:
        return m.CallbackOut(host=hubspot_connection.callback(connection, call.services.keys, body.state))


@router.post("/hubspot/connection")
def connect_hubspot(caller: Admin, body: m.ConnectIn) -> m.HubSpotOut:
    """Exchange the code and keep the tokens, sealed, in the tenant's schema."""
    found = hubspot_connection.connect(
        caller.services,
        session_id=caller.session.id,
        tenant_id=caller.tenant.id,
        connected_by=caller.session.email,
        state=body.state,
        code=body.code,
    )
    with caller.registry.begin() as connection:
        audit.record(connection, caller.actor, "hubspot.connected", caller.tenant.id, portal=found.hub_id)
        return views.tenant(caller.services, connection, tenants.find(connection, caller.tenant.id)).hubspot


@router.delete("/hubspot/connection")
def disconnect_hubspot(caller: Admin) -> m.Accepted:
    """Revoke and forget the tokens; what HubSpot was told is in the answer."""
    ended = hubspot_connection.disconnect(caller.services, caller.tenant.id)
    with caller.registry.begin() as connection:
        audit.record(connection, caller.actor, "hubspot.disconnected", caller.tenant.id, told=ended.told)
    return m.Accepted(message=ended.message)


@router.post("/syncs", status_code=202)
def start_sync(caller: Member) -> m.SyncOut:
    """Start a sync, or name the one that is open. :raises Refused: CONFLICT when HubSpot is not connected."""
    services, tenant = caller.services, caller.tenant
    if tenant.hubspot_state != "connected":
        raise Refused(Code.CONFLICT, "HubSpot is not connected.", "Connect HubSpot first.")
    with caller.registry.begin() as connection:
        placement = placements.current(connection, services.keys, tenant.id)
    with services.sessions.open(placement) as own:
        sync = syncs.create(own, caller.session.email)
    # The job is enqueued also for a sync that was open before: should its job be lost, this brings it back.
    with caller.registry.begin() as connection:
        services.queue.sync(connection, tenant.id, sync.id)
        audit.record(connection, caller.actor, "sync.requested", tenant.id, sync=sync.id)
    return m.SyncOut(sync_id=sync.id)


def _only_owners_make_owners(caller: TenantCall, role: Role) -> None:
    if role is Role.OWNER and caller.role is not Role.OWNER:
        deny(caller.services, caller.actor, "make an owner", caller.tenant)
        raise Refused(Code.FORBIDDEN, "Only an owner makes somebody an owner.", "Ask an owner.")


def _only_owners_touch_owners(caller: TenantCall, rows: list[Any], account_id: UUID) -> None:
    target = next((row for row in rows if row.account_id == account_id), None)
    if target is not None and target.role == Role.OWNER and caller.role is not Role.OWNER:
        deny(caller.services, caller.actor, "change an owner", caller.tenant)
        raise Refused(Code.FORBIDDEN, "Only an owner changes an owner's membership.", "Ask an owner.")
