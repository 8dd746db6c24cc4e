"""Who may come in: what the routes depend on, from a request to a `Person` or a `TenantContext`.

Each route names the least role it needs, in the type of its first parameter; `Looks` and `Acts` carry it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, Form, Request
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response

from awssome.control.client import Caller, Control
from awssome.control.messages import ContextOut, TenantOut
from awssome.domain.addresses import Addresses
from awssome.domain.errors import Code, Refused
from awssome.domain.limits import Limits
from awssome.domain.tenants import Role, TenantState, Tier
from awssome.portal.context import AskAgain, Contexts, Person, TenantContext, own_address, switched
from awssome.portal.limiter import Limiter
from awssome.web import Pages
from awssome.web.formats import day
from awssome.web.pages import is_fragment
from awssome.web.security import SAFE_METHODS, read_session_cookie, set_session_cookie

SESSION_COOKIE = "awssome_portal"

WORKSPACE_FIELD = "workspace"
"""The form field that says for which tenant a form was made."""

_SESSION_SECONDS = 14 * 86_400


@dataclass(frozen=True)
class Parts:
    """What the handlers of the portal share.

    :ivar hubspot_origin: scheme and host of HubSpot's own pages.
    :ivar limits: what a tenant of each tier may take.
    :ivar limiter: has counted the requests, and those that were refused.
    """

    control: Control
    contexts: Contexts
    pages: Pages
    addresses: Addresses
    hubspot_origin: str
    clock: Callable[[], datetime]
    limits: Mapping[Tier, Limits]
    limiter: Limiter


def parts(request: Request) -> Parts:
    """The parts of the application that serves the request."""
    found: Parts = request.app.state.parts
    return found


def today(request: Request) -> date:
    """The day that it is, in UTC."""
    return parts(request).clock().astimezone(UTC).date()


class Elsewhere(Exception):
    """The page is at another address."""

    def __init__(self, url: str) -> None:
        super().__init__("elsewhere")
        self.url = url


def send_elsewhere(request: Request, error: Exception) -> Response:
    """Sends a page on; a piece of a page has its page loaded again, which is sent on then."""
    if isinstance(error, AskAgain):
        error = Elsewhere(_address(request))
    if not isinstance(error, Elsewhere):
        raise error
    if is_fragment(request):
        return parts(request).pages.render_bare(request, "reload.html", 200)
    return RedirectResponse(error.url, 303)


def caller(request: HTTPConnection) -> Caller:
    """On whose behalf the portal asks the central API. What the gate looks at has no reference yet."""
    return Caller(
        session=read_session_cookie(request, SESSION_COOKIE) or "",
        host=request.headers.get("host", ""),
        address=request.client.host if request.client else "",
        agent=request.headers.get("user-agent", ""),
        reference=request.scope.get("awssome.reference", ""),
    )


def action(request: Request) -> str:
    """What is being done, as the audit log names it: `POST /deals/{deal_id}/edit`."""
    return f"{request.method} {request.scope['route'].path}"


def keep_session(request: Request, response: Response, token: str) -> None:
    """Sign the browser in."""
    set_session_cookie(request, response, SESSION_COOKIE, token, _SESSION_SECONDS)


def signed_in(request: Request) -> Person:
    """A dependency: somebody who belongs to a tenant, whichever it is.

    :raises Refused: UNAUTHENTICATED, or FORBIDDEN for somebody who belongs to none; reported.
    """
    person, answer = _ask(request, fresh=False)
    contexts = parts(request).contexts
    if not person.memberships:
        raise contexts.stranger(person, action(request))
    if answer.tenant is not None and answer.tenant.state is TenantState.ACTIVE:
        request.state.tenant_context = contexts.tenant(person, answer, action(request), Role.VIEWER)
    return person


class Looks:
    """A dependency: somebody who may look at a page of a tenant, in at least the role.

    :param setting_up: the page is also for a tenant whose workspace does not exist yet.
    :param returning: the page is also for a tenant that is being brought back from its archive.
    :param fresh: the page follows something that the central API knows, so it is asked each time.
    """

    def __init__(
        self, role: Role = Role.VIEWER, *, setting_up: bool = False, returning: bool = False, fresh: bool = False
    ) -> None:
        self.role = role
        self.setting_up = setting_up
        self.returning = returning
        self.fresh = fresh

    def __call__(self, request: Request) -> TenantContext:
        """The person's context in the host's tenant.

        :raises Refused: UNAUTHENTICATED or FORBIDDEN, reported; GONE for a tenant that was deleted.
        :raises Elsewhere: to choose a tenant, to go on with the sign-up, or to the tenant's own host.
        """
        person, answer = _ask(request, fresh=self.fresh)
        if answer.tenant is None and person.memberships:
            raise Elsewhere("/workspaces")
        shared = parts(request)
        context = shared.contexts.tenant(person, answer, action(request), self.role)
        if answer.move_to is not None:
            raise _at_home(request, context)
        if context.tenant.state in (TenantState.SUSPENDED, TenantState.RETAINED, TenantState.DELETED):
            raise _closed(context.tenant)
        if context.tenant.state is TenantState.ARCHIVED and not self.returning:
            raise Elsewhere("/return")
        if context.tenant.state is TenantState.PENDING and not self.setting_up:
            raise Elsewhere("/sign-up")
        request.state.tenant_context = context
        return context


class Acts(Looks):
    """A dependency: somebody who may change something of a tenant, in at least the role, by a form of this tenant."""

    def __call__(self, request: Request, workspace: Annotated[str, Form()] = "") -> TenantContext:
        """As `Looks`. :raises Refused: CONFLICT, too, when the form was made for another tenant."""
        context = super().__call__(request)
        if workspace and workspace != str(context.tenant.id):
            raise switched()
        return context


Somebody = Annotated[Person, Depends(signed_in)]
Viewer = Annotated[TenantContext, Depends(Looks(Role.VIEWER))]
Member = Annotated[TenantContext, Depends(Looks(Role.MEMBER))]
ActingMember = Annotated[TenantContext, Depends(Acts(Role.MEMBER))]
ActingAdmin = Annotated[TenantContext, Depends(Acts(Role.ADMIN))]
ActingOwner = Annotated[TenantContext, Depends(Acts(Role.OWNER))]


def _ask(request: Request, *, fresh: bool) -> tuple[Person, ContextOut]:
    contexts, who = parts(request).contexts, caller(request)
    if not who.session:
        contexts.report(who, action(request))
        raise Refused(Code.UNAUTHENTICATED, "This page is for people who are signed in.", "Sign in, then come back.")
    answer = contexts.ask(who, fresh=fresh)
    person = Person(who, answer.account, answer.session_id, tuple(answer.memberships))
    request.state.person = person
    return person, answer


def _at_home(request: Request, context: TenantContext) -> Exception:
    """The tenant has another host: a page is continued there, signed in by a one-time ticket."""
    if request.method not in SAFE_METHODS:
        return own_address(context.tenant)
    if is_fragment(request):
        return Elsewhere(request.url.path)
    ticket = parts(request).control.hand_over(context.person.caller, context.tenant.id)
    return Elsewhere(f"{ticket.url}&{urlencode({'next': _address(request)})}")


def _address(request: Request) -> str:
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def _closed(tenant: TenantOut) -> Refused:
    if tenant.state is TenantState.RETAINED and tenant.retain_until is not None:
        return Refused(
            Code.GONE,
            f"This workspace has been deleted. Its data is kept until {day(tenant.retain_until)}, then it is erased. "
            "Nobody can see or change it meanwhile.",
            "Write to the operator of this site if it should be brought back.",
        )
    if tenant.state is not TenantState.SUSPENDED:
        return Refused(Code.GONE, "This workspace has been deleted.", "Sign up again if you need a new one.")
    return Refused(
        Code.FORBIDDEN,
        "This workspace is suspended. Your data is kept, and nobody can see or change it.",
        "Write to the operator of this site to have it opened again.",
    )
