"""The person's own account: password and sessions."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request
from pydantic import SecretStr
from starlette.responses import Response

from awssome.control.messages import ChangePassword
from awssome.domain.errors import Refused
from awssome.portal.context import Person
from awssome.portal.guard import SESSION_COOKIE, Somebody, parts
from awssome.web.security import clear_session_cookie

router = APIRouter()


# Each says that it is also the ones behind it in this list.
_BROWSERS = (("Edg", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrom", "Chrome"), ("Safari/", "Safari"))
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "Mac"),
    ("Linux", "Linux"),
)


@router.get("/account")
def show(request: Request, person: Somebody) -> Response:
    """Who is signed in, and where."""
    return _page(request, person)


@router.post("/account/password")
def change_password(
    request: Request,
    person: Somebody,
    current: Annotated[str, Form()] = "",
    new: Annotated[str, Form()] = "",
) -> Response:
    """Set another password; the person's other sessions end."""
    body = ChangePassword(current=SecretStr(current), new=SecretStr(new))
    try:
        parts(request).control.change_password(person.caller, body)
    except Refused as refused:
        return _page(request, person, refused)
    text = "Your password is changed. Your other sessions have ended."
    return parts(request).pages.redirect(request, "/account", "success", text)


@router.post("/account/sessions/{session_id}/end")
def end_session(request: Request, person: Somebody, session_id: UUID) -> Response:
    """End one session, somewhere else perhaps."""
    parts(request).control.end_session(person.caller, session_id)
    return parts(request).pages.redirect(request, "/account", "success", "The session has ended.")


@router.post("/account/sign-out-everywhere")
def sign_out_everywhere(request: Request, person: Somebody) -> Response:
    """End all sessions, this one included."""
    shared = parts(request)
    shared.control.sign_out_everywhere(person.caller)
    shared.contexts.forget(person.caller)
    response = shared.pages.redirect(request, "/sign-in", "success", "You are signed out everywhere.")
    clear_session_cookie(request, response, SESSION_COOKIE)
    return response


def _page(request: Request, person: Person, refused: Refused | None = None) -> Response:
    sessions = [
        {
            "id": session.id,
            "browser": browser_of(session.agent),
            "address": session.address,
            "created_at": session.created_at,
            "seen_at": session.seen_at,
            "current": session.current,
        }
        for session in parts(request).control.sessions(person.caller)
    ]
    status = refused.status if refused else 200
    return parts(request).pages.render(request, "account.html", status, sessions=sessions, refused=refused)


def browser_of(agent: str) -> str:
    """A User-Agent header as people know their browser: `Firefox on Linux`."""
    browser = next((name for sign, name in _BROWSERS if sign in agent), "")
    system = next((name for sign, name in _SYSTEMS if sign in agent), "")
    return f"{browser} on {system}" if browser and system else agent[:60] or "Unknown"
