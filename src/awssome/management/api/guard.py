"""Who calls the central API: a program with a token, on behalf of a person with a session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request

from awssome.database.registry import Registry, sessions
from awssome.database.registry.audit import Actor
from awssome.database.registry.sessions import Session
from awssome.database.registry.tenants import Tenant
from awssome.domain.addresses import network_address
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import Role, TenantState
from awssome.management import people
from awssome.management.denials import deny
from awssome.management.people import Present
from awssome.web.requests import reference
from awssome.workflows.services import Services


@dataclass(frozen=True)
class Call:
    """One call: who, from where, on behalf of whose browser."""

    services: Services
    actor: Actor
    session_token: str
    host: str
    agent: str

    @property
    def registry(self) -> Registry:
        """The control plane's database."""
        return self.services.registry


@dataclass(frozen=True)
class TenantCall:
    """A call of a person who may do what is asked in this tenant."""

    call: Call
    session: Session
    tenant: Tenant
    role: Role

    @property
    def services(self) -> Services:
        """What the handlers work with."""
        return self.call.services

    @property
    def registry(self) -> Registry:
        """The control plane's database."""
        return self.call.services.registry

    @property
    def actor(self) -> Actor:
        """The person, as the audit log names them."""
        return self.call.actor


def service_call(
    request: Request,
    authorization: Annotated[str, Header()] = "",
    x_awssome_session: Annotated[str, Header()] = "",
    x_awssome_host: Annotated[str, Header()] = "",
    x_awssome_address: Annotated[str, Header()] = "",
    x_awssome_agent: Annotated[str, Header()] = "",
) -> Call:
    """A call of the portal. :raises Refused: UNAUTHENTICATED without a service token."""
    _program(request, authorization, "service")
    actor = Actor("visitor", network_address(x_awssome_address), reference(request.scope))
    return Call(request.app.state.services, actor, x_awssome_session, x_awssome_host, x_awssome_agent)


def operator_call(request: Request, authorization: Annotated[str, Header()] = "") -> Call:
    """A call of the command line. :raises Refused: UNAUTHENTICATED without an operator token."""
    name = _program(request, authorization, "operator")
    address = _address(request)
    actor = Actor(f"token:{name}", address, reference(request.scope))
    return Call(request.app.state.services, actor, "", "", "")


def metrics_call(request: Request, authorization: Annotated[str, Header()] = "") -> None:
    """A look of a system that collects figures. :raises Refused: UNAUTHENTICATED without a metrics token."""
    _program(request, authorization, "metrics")


ServiceCall = Annotated[Call, Depends(service_call)]
OperatorCall = Annotated[Call, Depends(operator_call)]


def session_of(call: Call) -> tuple[Session, Call]:
    """The live session behind the call, and the call in that person's name.

    :raises Refused: UNAUTHENTICATED when there is none.
    """
    with call.registry.begin() as connection:
        session = sessions.find(connection, call.session_token, "portal")
    if session is None:
        raise Refused(Code.UNAUTHENTICATED, "You are not signed in, or your session has ended.", "Sign in.")
    actor = Actor(session.email, call.actor.address, call.actor.reference)
    return session, Call(call.services, actor, call.session_token, call.host, call.agent)


def at_tenant(call: Call) -> tuple[Present, Call]:
    """Whose pages the host shows to the session; a denial is written to the audit log."""
    session, call = session_of(call)
    try:
        with call.registry.begin() as connection:
            return people.present(call.services, connection, session, call.host), call
    except Refused as refused:
        if refused.code is Code.FORBIDDEN:
            deny(call.services, call.actor, f"host {call.host}"[:120])
        raise


def tenant_call(needed: Role, *, active: bool = True) -> Callable[[Call], TenantCall]:
    """A dependency: the caller has at least this role in the host's tenant.

    :param active: the workspace must exist and not be suspended.
    """

    def checked(call: ServiceCall) -> TenantCall:
        found, call = at_tenant(call)
        if found.tenant is None or found.role is None:
            raise Refused(Code.CONFLICT, "Choose a workspace first.")
        if not found.role.allows(needed):
            deny(call.services, call.actor, f"needs {needed}", found.tenant)
            raise Refused(Code.FORBIDDEN, f"This takes the role of {needed}. You are {found.role}.", "Ask an owner.")
        if active and found.tenant.state is not TenantState.ACTIVE:
            raise Refused(Code.CONFLICT, f"This workspace is {found.tenant.state}.", "Try again when it is active.")
        return TenantCall(call, found.session, found.tenant, found.role)

    return checked


def _address(request: Request) -> str | None:
    return network_address(request.client.host if request.client else None)


def _program(request: Request, authorization: str, kind: str) -> str:
    services: Services = request.app.state.services
    scheme, _, token = authorization.partition(" ")
    with services.registry.begin() as connection:
        known = sessions.token_named(connection, token) if scheme.lower() == "bearer" and token else None
    if known is None or known[1] != kind:
        actor = Actor("program", _address(request), reference(request.scope))
        deny(services, actor, f"{request.method} {request.url.path}"[:120])
        raise Refused(Code.UNAUTHENTICATED, f"This takes a {kind} token.", "Check the token that the caller is set to.")
    return known[0]
