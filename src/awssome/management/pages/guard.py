"""Who is at the desk: the one dependency of every route but sign-in."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from awssome.database.registry import Registry, sessions
from awssome.database.registry.audit import Actor
from awssome.domain.errors import Code, Refused
from awssome.management import operators
from awssome.management.denials import deny
from awssome.management.operators import Operator
from awssome.web import Pages
from awssome.web.requests import reference
from awssome.web.security import read_session_cookie
from awssome.workflows.services import Services

SESSION_COOKIE = "awssome_management"


@dataclass(frozen=True)
class Desk:
    """What a page's handler works with."""

    operator: Operator
    actor: Actor
    services: Services
    pages: Pages

    @property
    def registry(self) -> Registry:
        """The control plane's database."""
        return self.services.registry


def operator(request: Request) -> Operator:
    """The operator whose session the browser sent.

    :raises Refused: UNAUTHENTICATED without one (a page then leads to sign-in and back); FORBIDDEN for an account that
        is not an operator's. Both are written to the audit log.
    """
    found = known_operator(request)
    if found is not None:
        return found
    token = read_session_cookie(request, SESSION_COOKIE) or ""
    with services_of(request).registry.begin() as connection:
        person = sessions.find(connection, token, "management") or sessions.find(connection, token, "portal")
    actor = actor_of(request, person.email if person else "visitor")
    deny(services_of(request), actor, f"{request.method} {request.url.path}"[:120])
    if person is not None:
        raise Refused(Code.FORBIDDEN, "These pages are for operators. Nothing was changed.", "Sign in as an operator.")
    raise Refused(Code.UNAUTHENTICATED, "You are not signed in. Nothing was changed.", "Sign in and try again.")


def known_operator(request: Request) -> Operator | None:
    """As `operator`, None without a session; asked once in a request."""
    if not hasattr(request.state, "operator"):
        token = read_session_cookie(request, SESSION_COOKIE)
        request.state.operator = None
        if token:
            with services_of(request).registry.begin() as connection:
                request.state.operator = operators.current(connection, token)
    found: Operator | None = request.state.operator
    return found


def desk(request: Request, operator: Annotated[Operator, Depends(operator)]) -> Desk:
    """The desk of the operator who is signed in."""
    return Desk(operator, actor_of(request, operator.email), services_of(request), pages_of(request))


AtDesk = Annotated[Desk, Depends(desk)]


def actor_of(request: Request, name: str) -> Actor:
    """Who does something, as the audit log names it."""
    return Actor(name, _address(request), reference(request.scope))


def services_of(request: Request) -> Services:
    """The services that the application was made with."""
    services: Services = request.app.state.services
    return services


def pages_of(request: Request) -> Pages:
    """The application's templates."""
    pages: Pages = request.app.state.pages
    return pages


def _address(request: Request) -> str | None:
    """The caller's address; None where there is none, as behind a socket in the file system."""
    try:
        return str(ipaddress.ip_address(request.client.host)) if request.client else None
    except ValueError:
        return None
