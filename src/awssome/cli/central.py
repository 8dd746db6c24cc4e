"""The central API, as the command line finds it; and waiting for what it was asked to do."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from rich.live import Live
from rich.table import Table

from awssome import main
from awssome.cli.output import poll, status, waiting
from awssome.control.client import Control
from awssome.control.messages import MoveOut, TenantDetail
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import Phase
from awssome.domain.tenants import AWAY, TenantState

TENANT_SECONDS, MOVE_SECONDS = 60.0, 3600.0

_ENDED = (Phase.RETAINING, Phase.DROPPING, Phase.DROPPED, Phase.CANCELLED, Phase.FAILED)
_MARKS = {"done": ("✓", "green"), "now": ("▸", "blue"), "failed": ("✗", "red"), "todo": ("·", "dim")}


def central() -> Control:
    """The central API that the settings name, or the one that this machine served last.

    :raises Refused: UNAUTHENTICATED when there is no operator token.
    """
    settings = main.load()
    url = settings.control_url or settings.remembered().get("management") or settings.central_api
    return Control(url, settings.known_operator_secret())


def until_active(api: Control, ref: str) -> TenantDetail:
    """Wait for the workspace. :raises Refused: UNAVAILABLE, with what the tenant says, when it does not come."""
    with waiting("Waiting for the workspace"):
        found = poll(
            lambda: api.tenant(ref), lambda tenant: tenant.state is not TenantState.PENDING, seconds=TENANT_SECONDS
        )
    if found is None:
        problem = api.tenant(ref).problem or "No worker has taken it up."
        raise Refused(
            Code.UNAVAILABLE,
            f"The workspace is not there after {TENANT_SECONDS:.0f} s. {problem}",
            "The job is tried again; `awssome tenant show` tells when it is there.",
        )
    return found


def until_back(api: Control, ref: str) -> TenantDetail:
    """Wait for a tenant that is brought back. :raises Refused: UNAVAILABLE, with what keeps it."""
    with waiting("Waiting for the workspace"):
        found = poll(lambda: api.tenant(ref), lambda tenant: tenant.state not in AWAY, seconds=MOVE_SECONDS)
    if found is None:
        problem = api.tenant(ref).problem or "No worker has taken it up."
        raise Refused(Code.UNAVAILABLE, f"The workspace is not back after an hour. {problem}", "It is tried again.")
    return found


def until_moved(api: Control, move_id: UUID) -> MoveOut:
    """Wait for the end of a move, with its steps on the terminal.

    :raises Refused: CONFLICT when it failed or was cancelled; UNAVAILABLE when it has not ended within an hour.
    """
    to = status()
    with Live(console=to, refresh_per_second=4, transient=True) as live:

        def ask() -> MoveOut:
            move = api.move(move_id)
            if to.is_terminal:
                live.update(steps_table(f"{move.company}: {move.source} → {move.target}", move.steps, move.problem))
            return move

        move = poll(ask, lambda move: move.phase in _ENDED, seconds=MOVE_SECONDS)
    if move is None:
        raise Refused(Code.UNAVAILABLE, "The move has not ended within an hour.", f"`awssome move show {move_id}`")
    if move.phase in (Phase.FAILED, Phase.CANCELLED):
        raise Refused(
            Code.CONFLICT,
            move.problem or f"The move was {move.phase}.",
            f"`awssome move show {move_id}` has the evidence.",
        )
    return move


def steps_table(title: str, steps: list[dict[str, Any]], problem: str | None) -> Table:
    """The steps of a move or a restore as they stand, for a terminal."""
    table = Table(title=title, box=None, show_header=False)
    for step in steps:
        mark, style = _MARKS[step["state"]]
        took = "" if step["seconds"] is None else f"{step['seconds']:.2f} s"
        table.add_row(mark, step["label"], took, style=style)
    if problem:
        table.caption = problem
    return table
