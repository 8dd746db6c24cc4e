"""What a tenant's people settle about their tenant: AWS role, members, plan."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends

from awssome.control import messages as m
from awssome.database.registry import accounts, audit, tenants
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import Role, TenantState, Tier, checked_email
from awssome.domain.times import now
from awssome.management import operations, people, views
from awssome.management.api.guard import TenantCall, tenant_call
from awssome.management.denials import deny
from awssome.workflows import leaving, moves

router = APIRouter(tags=["tenant"])

Viewer = Annotated[TenantCall, Depends(tenant_call(Role.VIEWER, active=False))]
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


@router.delete("/tenant/upgrade-request", status_code=204)
def withdraw_upgrade(caller: Owner) -> None:
    """The owner no longer asks for it. :raises Refused: CONFLICT when it was granted, or was not asked for."""
    with caller.registry.begin() as connection:
        moves.withdraw(connection, caller.actor, str(caller.tenant.id))


@router.post("/tenant/moves/{move_id}/cancel", status_code=202)
def cancel_move(caller: Owner, move_id: UUID) -> None:
    """The owner calls the tenant's own move off, until it switches."""
    with caller.registry.begin() as connection:
        operations.cancel_own_move(caller.services, connection, caller.actor, caller.tenant.id, move_id)


@router.post("/tenant/rollback", status_code=202)
def roll_back(caller: Owner) -> None:
    """The owner has the tenant moved back to where it came from; later writes come along, the tier stays.

    :raises Refused: CONFLICT when there is nothing to go back to, or the last move was the operators' doing.
    """
    with caller.registry.begin() as connection:
        moves.roll_back_own(connection, caller.services.queue, caller.actor, str(caller.tenant.id))


@router.post("/tenant/downgrade", status_code=202)
def downgrade(caller: Owner) -> None:
    """The owner gives the paid tier up. It changes when the data is on a shared server."""
    with caller.registry.begin() as connection:
        moves.downgrade(connection, caller.services.queue, caller.actor, str(caller.tenant.id))


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


def _only_owners_make_owners(caller: TenantCall, role: Role) -> None:
    if role is Role.OWNER and caller.role is not Role.OWNER:
        deny(caller.services, caller.actor, "make an owner", caller.tenant)
        raise Refused(Code.FORBIDDEN, "Only an owner makes somebody an owner.", "Ask an owner.")


def _only_owners_touch_owners(caller: TenantCall, rows: list[Any], account_id: UUID) -> None:
    target = next((row for row in rows if row.account_id == account_id), None)
    if target is not None and target.role == Role.OWNER and caller.role is not Role.OWNER:
        deny(caller.services, caller.actor, "change an owner", caller.tenant)
        raise Refused(Code.FORBIDDEN, "Only an owner changes an owner's membership.", "Ask an owner.")
