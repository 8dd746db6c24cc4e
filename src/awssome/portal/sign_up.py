"""Sign-up: account, e-mail, AWS, workspace; four steps on one page, to be left and come back to at any time."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import RedirectResponse, Response

from awssome.control.messages import SignUp, TenantOut
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import Role, TenantState
from awssome.portal.context import TenantContext
from awssome.portal.guard import Acts, Looks, caller, parts
from awssome.web.security import is_secure

router = APIRouter()

_LOOKS = Looks(Role.VIEWER, setting_up=True, fresh=True)
_ADDRESS_COOKIE = "awssome_sign_up"
_ADDRESS_SECONDS = 2 * 86_400

Settling = Annotated[TenantContext, Depends(_LOOKS)]
SettlingAdmin = Annotated[TenantContext, Depends(Acts(Role.ADMIN, setting_up=True))]


@router.get("/sign-up")
def show(request: Request, again: bool = False) -> Response:
    """The step that comes next, for who signs up and for who has begun."""
    if caller(request).session:
        try:
            return _page(request, _LOOKS(request).tenant)
        except Refused as refused:
            if refused.code is not Code.UNAUTHENTICATED:
                raise
    addresses = parts(request).addresses
    if addresses.label(request.headers["host"]) != addresses.label(addresses.shared()):
        return RedirectResponse(addresses.url(addresses.shared(), "/sign-up"), 303)
    address = "" if again else _read_address(request)
    return _page(request, now="email" if address else "account", values={"email": address})


@router.post("/sign-up")
def sign_up(
    request: Request,
    name: Annotated[str, Form()] = "",
    email: Annotated[str, Form()] = "",
    company: Annotated[str, Form()] = "",
) -> Response:
    """Ask for a workspace; the confirmation goes to the address, known or not."""
    shared = parts(request)
    body = SignUp(name=name, email=email, company=company)
    try:
        accepted = shared.control.sign_up(caller(request), body)
    except Refused as refused:
        values = {"name": name, "email": email, "company": company}
        return _page(request, now="account", values=values, refused=refused)
    response = shared.pages.redirect(request, "/sign-up", "success", accepted.message)
    _keep_address(request, response, email.strip())
    return response


@router.post("/sign-up/resend")
def resend(request: Request, email: Annotated[str, Form()] = "") -> Response:
    """The confirmation once more."""
    shared = parts(request)
    try:
        accepted = shared.control.resend(caller(request), email)
    except Refused as refused:
        return _page(request, now="email", values={"email": email}, refused=refused)
    return shared.pages.redirect(request, "/sign-up", "success", accepted.message)


@router.post("/sign-up/aws")
def choose_aws(
    request: Request,
    me: SettlingAdmin,
    choice: Annotated[str, Form()] = "link",
    role_arn: Annotated[str, Form()] = "",
) -> Response:
    """Link the role of the tenant's AWS account, or decide later; then the workspace is made."""
    try:
        link_role(me, request, choice, role_arn)
    except Refused as refused:
        return _page(request, me.tenant, values={"role_arn": role_arn}, refused=refused)
    return RedirectResponse("/sign-up", 303)


@router.post("/sign-up/retry")
def retry(request: Request, me: SettlingAdmin) -> Response:
    """Try once more to make the workspace."""
    parts(request).control.retry_workspace(me.person.caller)
    me.forget()
    return RedirectResponse("/sign-up", 303)


@router.get("/sign-up/progress")
def progress(request: Request, me: Settling) -> Response:
    """The making of the workspace, as a piece of the page."""
    return parts(request).pages.render(request, "sign_up_progress.html", tenant=me.tenant)


def link_role(me: TenantContext, request: Request, choice: str, role_arn: str) -> None:
    """Have the role verified and kept. :raises Refused: INVALID when nothing was pasted, or what the check says."""
    if choice != "later" and not role_arn.strip():
        wrong = {"role_arn": "Paste the RoleArn from the stack's Outputs."}
        raise Refused(Code.INVALID, "The ARN of the role is missing.", fields=wrong)
    parts(request).control.set_aws_role(me.person.caller, None if choice == "later" else role_arn.strip())
    me.forget()


def forget_address(request: Request, response: Response) -> None:
    """The address is confirmed: the page need not remember it any more."""
    response.delete_cookie(_ADDRESS_COOKIE, secure=is_secure(request), httponly=True, samesite="lax")


def _page(
    request: Request,
    tenant: TenantOut | None = None,
    *,
    now: str = "",
    values: dict[str, str] | None = None,
    refused: Refused | None = None,
) -> Response:
    now = _now(tenant) if tenant else now
    shown: dict[str, Any] = {"now": now, "tenant": tenant, "steps": _steps(now, tenant), "refused": refused}
    shown["values"] = {"name": "", "email": "", "company": "", "role_arn": "", **(values or {})}
    return parts(request).pages.render(request, "sign_up.html", refused.status if refused else 200, **shown)


def _now(tenant: TenantOut) -> str:
    if tenant.state is not TenantState.PENDING:
        return "done"
    return "aws" if tenant.aws_choice == "open" else "workspace"


def _steps(now: str, tenant: TenantOut | None) -> list[dict[str, str]]:
    order = ["account", "email", "aws", "workspace", "done"]
    names = {
        "account": "Your account",
        "email": "Your e-mail address",
        "aws": "Your AWS account",
        "workspace": "Your workspace",
    }
    steps = [
        {"name": name, "state": "done" if order.index(key) < order.index(now) else "now" if key == now else "waiting"}
        for key, name in names.items()
    ]
    if tenant is not None and tenant.aws_choice != "open":
        steps[2]["detail"] = "Linked." if tenant.aws_choice == "linked" else "Later, on the page People."
    if tenant is not None and tenant.problem and now == "workspace":
        steps[3]["state"] = "failed"
    return steps


def _keep_address(request: Request, response: Response, address: str) -> None:
    value = base64.urlsafe_b64encode(address.encode()).decode()
    secure = is_secure(request)
    response.set_cookie(_ADDRESS_COOKIE, value, max_age=_ADDRESS_SECONDS, secure=secure, httponly=True, samesite="lax")


def _read_address(request: Request) -> str:
    try:
        return base64.urlsafe_b64decode(request.cookies.get(_ADDRESS_COOKIE, "")).decode()[:254]
    except (binascii.Error, ValueError):
        return ""
