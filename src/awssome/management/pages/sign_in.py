"""Sign-in and sign-out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from awssome.domain.errors import Refused
from awssome.management import operators
from awssome.management.pages.guard import SESSION_COOKIE, actor_of, known_operator, pages_of, services_of
from awssome.web.security import clear_session_cookie, local_path, read_session_cookie, set_session_cookie

router = APIRouter()


@router.get("/sign-in")
def sign_in_page(request: Request, next: str = "/") -> Response:
    """The form; somebody who is signed in goes on at once."""
    if known_operator(request):
        return pages_of(request).redirect(request, local_path(next))
    return pages_of(request).render(request, "sign_in.html", next=local_path(next), email="", problem=None)


@router.post("/sign-in")
def sign_in(
    request: Request,
    email: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",
) -> Response:
    """A session for an operator's e-mail and password."""
    pages, actor = pages_of(request), actor_of(request, email)
    try:
        services, agent = services_of(request), request.headers.get("user-agent", "")
        token = operators.sign_in(services, email, password, actor, agent)
    except Refused as refused:
        values = {"next": local_path(next), "email": email, "problem": refused}
        response: Response = pages.render(request, "sign_in.html", refused.status, **values)
    else:
        response = pages.redirect(request, local_path(next))
        set_session_cookie(request, response, SESSION_COOKIE, token)
    return response


@router.post("/sign-out")
def sign_out(request: Request) -> Response:
    """End the session, whoever's it is."""
    token = read_session_cookie(request, SESSION_COOKIE)
    if token:
        with services_of(request).registry.begin() as connection:
            operators.sign_out(connection, token)
    response = pages_of(request).redirect(request, "/sign-in", "info", "You are signed out.")
    clear_session_cookie(request, response, SESSION_COOKIE)
    return response
