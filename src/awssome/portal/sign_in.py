"""Signing in and out, links out of e-mails, and the ticket that carries a session to a tenant's own host."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from pydantic import SecretStr
from starlette.responses import RedirectResponse, Response

from awssome.control.messages import LinkInfo, SignIn, UseLink
from awssome.domain.errors import Code, Refused
from awssome.portal.guard import SESSION_COOKIE, caller, keep_session, parts
from awssome.portal.sign_up import forget_address
from awssome.web.security import clear_session_cookie, local_path

router = APIRouter()


@router.get("/sign-in")
def show_sign_in(request: Request, next: str = "/") -> Response:
    """The form; whoever is signed in already goes on."""
    who = caller(request)
    if who.session:
        try:
            parts(request).contexts.ask(who)
            return RedirectResponse(local_path(next), 303)
        except Refused:
            pass  # an ended session, or one of another host: sign in anew
    return _sign_in_page(request, next=next)


@router.post("/sign-in")
def sign_in(
    request: Request,
    email: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",
) -> Response:
    """A session for e-mail address and password."""
    try:
        session = parts(request).control.sign_in(caller(request), SignIn(email=email, password=SecretStr(password)))
    except Refused as refused:
        return _sign_in_page(request, email=email, next=next, refused=refused)
    response = RedirectResponse(local_path(next), 303)
    keep_session(request, response, session.token)
    return response


@router.post("/sign-out")
def sign_out(request: Request) -> Response:
    """End the session, here and at the central API."""
    shared, who = parts(request), caller(request)
    shared.contexts.forget(who)
    response = shared.pages.redirect(request, "/sign-in", "success", "You are signed out.")
    try:
        shared.control.sign_out(who)
    except Refused as refused:
        if refused.code is not Code.UNAUTHENTICATED:
            text = "You are signed out in this browser. To be sure, sign in later and end your other sessions."
            shared.pages.flash(request, response, "warning", text)
    clear_session_cookie(request, response, SESSION_COOKIE)
    return response


@router.get("/forgot")
def show_forgot(request: Request) -> Response:
    """Ask for a link to set another password."""
    return _forgot_page(request)


@router.post("/forgot")
def forgot(request: Request, email: Annotated[str, Form()] = "") -> Response:
    """Send the link, if there is such an account; the answer is the same either way."""
    shared = parts(request)
    try:
        accepted = shared.control.reset_password(caller(request), email)
    except Refused as refused:
        return _forgot_page(request, email=email, refused=refused)
    return shared.pages.redirect(request, "/sign-in", "success", accepted.message)


@router.get("/link")
def show_link(request: Request, token: str = "") -> Response:
    """What the link is for, and its button. Looking does not use it up: mail scanners look at every link."""
    return _link_page(request, token)


@router.post("/link")
def use_link(
    request: Request,
    token: Annotated[str, Form()] = "",
    name: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
) -> Response:
    """Use the link, once; it signs the person in."""
    body = UseLink(token=token, password=SecretStr(password) if password else None, name=name or None)
    try:
        session = parts(request).control.use_link(caller(request), body)
    except Refused as refused:
        return _link_page(request, token, name=name, refused=refused)
    response = RedirectResponse("/", 303)
    keep_session(request, response, session.token)
    forget_address(request, response)
    return response


@router.get("/handover")
def handover(request: Request, ticket: str = "", next: str = "/") -> Response:
    """A session on this host, for a ticket that was given on another one; asks who is signed in as somebody else."""
    try:
        return _redeem(request, ticket, next, confirmed=False)
    except Refused as refused:
        if refused.code is not Code.CONFLICT:
            raise
        values = {"ticket": ticket, "next": local_path(next), "refused": refused}
        return parts(request).pages.render(request, "handover.html", refused.status, **values)


@router.post("/handover")
def change_account(
    request: Request, ticket: Annotated[str, Form()] = "", next: Annotated[str, Form()] = "/"
) -> Response:
    """The same, for somebody who has said yes to another account."""
    return _redeem(request, ticket, next, confirmed=True)


def _redeem(request: Request, ticket: str, next: str, *, confirmed: bool) -> Response:
    session = parts(request).control.redeem(caller(request), ticket, confirmed=confirmed)
    response = RedirectResponse(local_path(next), 303)
    keep_session(request, response, session.token)
    return response


def _sign_in_page(request: Request, *, email: str = "", next: str = "/", refused: Refused | None = None) -> Response:
    status = refused.status if refused else 200
    values = {"email": email, "next": local_path(next), "refused": refused}
    return parts(request).pages.render(request, "sign_in.html", status, **values)


def _forgot_page(request: Request, *, email: str = "", refused: Refused | None = None) -> Response:
    status = refused.status if refused else 200
    return parts(request).pages.render(request, "forgot.html", status, email=email, refused=refused)


def _link_page(request: Request, token: str, *, name: str = "", refused: Refused | None = None) -> Response:
    pages = parts(request).pages
    link: LinkInfo | None = None
    if refused is None or refused.code is not Code.GONE:
        try:
            link = parts(request).control.look_at_link(caller(request), token)
        except Refused as gone:
            if gone.code not in (Code.GONE, Code.NOT_FOUND, Code.INVALID):
                raise
            refused = gone
    if link is None:
        return pages.render(request, "link_gone.html", 410, refused=refused)
    status = refused.status if refused else 200
    return pages.render(request, "link.html", status, link=link, token=token, name=name, refused=refused)
