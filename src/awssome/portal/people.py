"""People and settings: who belongs to the tenant and in which role, and the AWS role."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from awssome.control.messages import ChangeRole, Invite
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import Role
from awssome.portal.context import TenantContext
from awssome.portal.guard import ActingAdmin, ActingOwner, Viewer, parts
from awssome.portal.sign_up import link_role

router = APIRouter()

_ROLES = {
    Role.OWNER: "Owner: everything, the plan too",
    Role.ADMIN: "Admin: HubSpot, AWS and people",
    Role.MEMBER: "Member: deals and syncs",
    Role.VIEWER: "Viewer: may look",
}

RoleField = Annotated[str, Form()]


@router.get("/people")
def show(request: Request, me: Viewer) -> Response:
    """Members with their roles, the AWS role, and what the workspace is called."""
    return _page(request, me)


@router.post("/people/invite")
def invite(
    request: Request, me: ActingAdmin, email: Annotated[str, Form()] = "", role: RoleField = Role.MEMBER
) -> Response:
    """Ask somebody in by e-mail."""
    try:
        invited = parts(request).control.invite(me.person.caller, Invite(email=email, role=_role(role)))
    except Refused as refused:
        return _page(request, me, values={"email": email, "role": role}, refused=refused)
    text = f"{invited.email} is invited. The invitation is on its way."
    return parts(request).pages.redirect(request, "/people", "success", text)


@router.post("/people/aws")
def choose_aws(
    request: Request,
    me: ActingAdmin,
    choice: Annotated[str, Form()] = "link",
    role_arn: Annotated[str, Form()] = "",
) -> Response:
    """Link the role of the tenant's AWS account, or another one."""
    try:
        link_role(me, request, choice, role_arn)
    except Refused as refused:
        return _page(request, me, values={"role_arn": role_arn}, refused=refused)
    return parts(request).pages.redirect(request, "/people", "success", "The AWS role is linked and works.")


@router.post("/people/{account_id}/role")
def change_role(request: Request, me: ActingAdmin, account_id: UUID, role: RoleField = "") -> Response:
    """Another role for a member."""
    try:
        parts(request).control.change_role(me.person.caller, account_id, ChangeRole(role=_role(role)))
    except Refused as refused:
        return _refusal(request, me, refused)
    me.forget()
    return parts(request).pages.redirect(request, "/people", "success", "The role is changed.")


@router.post("/people/{account_id}/remove")
def remove(request: Request, me: ActingAdmin, account_id: UUID) -> Response:
    """Take a member out; what they did stays in the timelines."""
    try:
        parts(request).control.remove_member(me.person.caller, account_id)
    except Refused as refused:
        return _refusal(request, me, refused)
    me.forget()
    return parts(request).pages.redirect(request, "/people", "success", "The member is removed.")


@router.post("/people/delete")
def delete(request: Request, me: ActingOwner, confirm: Annotated[str, Form()] = "") -> Response:
    """Delete the workspace; its name is typed first."""
    if confirm.strip() != me.tenant.company:
        wrong = Refused(
            Code.INVALID,
            "The name was not typed as it stands. Nothing was deleted.",
            f"Type “{me.tenant.company}” to go on.",
        )
        return _page(request, me, refused=wrong)
    try:
        parts(request).control.delete_workspace(me.person.caller)
    except Refused as refused:
        return _refusal(request, me, refused)
    me.forget()
    return parts(request).pages.redirect(request, "/workspaces", "success", f"{me.tenant.company} is deleted.")


def _page(
    request: Request, me: TenantContext, *, values: dict[str, str] | None = None, refused: Refused | None = None
) -> Response:
    return parts(request).pages.render(
        request,
        "people.html",
        refused.status if refused else 200,
        members=[
            {
                "id": str(member.account_id),
                "name": member.name or member.email,
                "email": member.email,
                "role": str(member.role),
                "confirmed": member.confirmed,
                "me": member.account_id == me.person.account.id,
            }
            for member in parts(request).control.members(me.person.caller)
        ],
        tenant=me.tenant,
        role_options=[(str(role), _ROLES[role]) for role in Role if me.role.allows(role)],
        values={"email": "", "role": str(Role.MEMBER), "role_arn": "", **(values or {})},
        refused=refused,
    )


def _refusal(request: Request, me: TenantContext, refused: Refused) -> Response:
    """A rule of the workspace is told on the page itself; everything else has a page of its own."""
    if refused.code not in (Code.CONFLICT, Code.INVALID):
        raise refused
    return _page(request, me, refused=refused)


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise Refused(Code.INVALID, "There is no such role.", fields={"role": "Choose a role."}) from None
