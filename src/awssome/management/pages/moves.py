"""Moves, and a move with its steps and its evidence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from awssome.control.messages import MoveOut
from awssome.database import Connection
from awssome.domain.errors import Refused
from awssome.domain.moves import MoveKind, MoveState
from awssome.management import operations
from awssome.management.pages.guard import AtDesk, Desk
from awssome.management.pages.rows import KINDS, move_row, move_view, require_name
from awssome.web.pages import is_fragment
from awssome.web.tables import Listing, picked

router = APIRouter()


KIND_OPTIONS = [("", "All kinds"), *((str(kind), word) for kind, word in KINDS.items())]
STATE_OPTIONS = [
    ("", "All states"),
    (MoveState.UNDER_WAY, "Under way"),
    (MoveState.FAILED, "Failed"),
    (MoveState.KEPT, "Done, source kept"),
    (MoveState.DROPPED, "Done, source dropped"),
    (MoveState.CANCELLED, "Cancelled"),
]


@router.get("/moves")
def moves(
    request: Request, desk: AtDesk, after: str = "", before: str = "", kind: str = "", state: str = ""
) -> Response:
    """Every move, newest first; of one kind or in one state, if the address says so."""
    with desk.registry.begin() as connection:
        page = operations.moves_page(
            connection,
            after,
            before,
            kind=picked(MoveKind, kind),
            state=picked(MoveState, state),
        )
    listing = Listing.of(request, [move_row(move) for move in page.moves], after=page.next, before=page.previous)
    return desk.pages.render(request, "moves.html", listing=listing, kinds=KIND_OPTIONS, states=STATE_OPTIONS)


@router.get("/moves/{move_id}")
def move(request: Request, desk: AtDesk, move_id: UUID) -> Response:
    """One move."""
    return _show(request, desk, move_id)


@router.get("/moves/{move_id}/progress")
def progress(request: Request, desk: AtDesk, move_id: UUID) -> Response:
    """The steps of a move, fetched each second while it is under way."""
    view = move_view(_found(desk, move_id))
    return desk.pages.render(request, "move_progress.html", view=view, fragment=is_fragment(request))


@router.post("/moves/{move_id}/cancel")
def cancel(request: Request, desk: AtDesk, move_id: UUID) -> Response:
    """Call the move off; the source stays, or is opened again."""

    def change(connection: Connection) -> Any:
        return operations.cancel_move(desk.services, connection, desk.actor, move_id)

    return _change(request, desk, move_id, change, "The move is called off at its next step.")


@router.post("/moves/{move_id}/retry")
def retry(request: Request, desk: AtDesk, move_id: UUID) -> Response:
    """Carry a failed move on."""

    def change(connection: Connection) -> Any:
        return operations.retry_move(desk.services, connection, desk.actor, move_id)

    return _change(request, desk, move_id, change, "The move goes on.")


@router.post("/moves/{move_id}/release")
def release(request: Request, desk: AtDesk, move_id: UUID, confirm: Annotated[str, Form()] = "") -> Response:
    """Have the source archived and dropped that was kept because it differed; the tenant's name is typed first."""

    def change(connection: Connection) -> Any:
        require_name(confirm, operations.move(connection, move_id).company)
        return operations.release_source(desk.services, connection, desk.actor, move_id)

    return _change(request, desk, move_id, change, "The source is archived, then dropped.")


def _change(request: Request, desk: Desk, move_id: UUID, change: Callable[[Connection], Any], text: str) -> Response:
    try:
        with desk.registry.begin() as connection:
            change(connection)
    except Refused as refused:
        return _show(request, desk, move_id, refused)
    return desk.pages.redirect(request, f"/moves/{move_id}", "success", text)


def _show(request: Request, desk: Desk, move_id: UUID, problem: Refused | None = None) -> Response:
    found = _found(desk, move_id)
    return desk.pages.render(
        request,
        "move.html",
        problem.status if problem else 200,
        move=found,
        view=move_view(found),
        fragment=False,
        problem=problem,
    )


def _found(desk: Desk, move_id: UUID) -> MoveOut:
    with desk.registry.begin() as connection:
        return operations.move(connection, move_id)
