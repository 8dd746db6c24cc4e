"""Operators, and one's own password and sessions."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from awssome.database.registry import accounts, audit, sessions
from awssome.domain.errors import Refused
from awssome.management import people
from awssome.management.pages.guard import AtDesk, Desk

router = APIRouter()


@router.get("/operators")
def operators(request: Request, desk: AtDesk) -> Response:
    """Who runs the platform, and the sessions and password of the one who asks."""
    return _show(request, desk)


@router.post("/operators/password")
def change_password(
    request: Request, desk: AtDesk, current: Annotated[str, Form()] = "", password: Annotated[str, Form()] = ""
) -> Response:
    """Set another password; all other sessions end."""
    me = desk.operator
    try:
        people.change_password(desk.services, desk.actor, me.account_id, me.id, current, password)
    except Refused as refused:
        return _show(request, desk, refused)
    return desk.pages.redirect(
        request, "/operators", "success", "Your password is changed, and your other sessions have ended."
    )


@router.post("/operators/sessions/{session_id}/end")
def end_session(request: Request, desk: AtDesk, session_id: UUID) -> Response:
    """End one of one's own sessions."""
    with desk.registry.begin() as connection:
        sessions.revoke(connection, desk.operator.account_id, session_id)
        audit.record(connection, desk.actor, "session.ended", session=session_id)
    return desk.pages.redirect(request, "/operators", "success", "That session has ended.")


def _show(request: Request, desk: Desk, problem: Refused | None = None) -> Response:
    me = desk.operator
    with desk.registry.begin() as connection:
        everybody = accounts.operators(connection)
        mine = sessions.of_account(connection, me.account_id, "management")
    return desk.pages.render(
        request,
        "operators.html",
        problem.status if problem else 200,
        people=everybody,
        sessions=[
            {
                "id": session.id,
                "agent": session.agent,
                "address": str(session.address) if session.address else None,
                "created_at": session.created_at,
                "seen_at": session.seen_at,
                "current": session.id == me.id,
            }
            for session in mine
        ],
        problem=problem,
        errors=problem.fields if problem else {},
    )
