"""`awssome move`: moves and their evidence."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from awssome.cli.central import central
from awssome.cli.output import Json, print_facts, print_json, print_table
from awssome.control.messages import MoveOut
from awssome.domain.moves import MoveKind, MoveState

app = typer.Typer(no_args_is_help=True, help="Moves: their steps and their evidence.")

MoveId = Annotated[UUID, typer.Argument(metavar="MOVE", help="The move's id.", show_default=False)]


@app.command("list")
def list_moves(
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    kind: Annotated[MoveKind | None, typer.Option(help="Only moves of this kind.")] = None,
    state: Annotated[MoveState | None, typer.Option(help="Only moves in this state.")] = None,
    as_json: Json = False,
) -> None:
    """List moves, newest first."""
    found: list[MoveOut] = []
    with central() as api:
        after: str | None = ""
        while after is not None and len(found) < limit:
            page = api.moves(after, kind=kind, state=state)
            found += page.moves
            after = page.next
    found = found[:limit]
    if as_json:
        print_json(found)
        return
    print_table(
        ("Id", "Tenant", "Kind", "Phase", "From", "To", "Asked for", "By", "Pause, ms", "Verified"),
        [
            (
                str(m.id),
                m.company,
                m.kind,
                m.phase,
                m.source,
                m.target,
                m.requested_at,
                m.requested_by,
                m.write_pause_ms,
                m.verified,
            )
            for m in found
        ],
        empty="There are no such moves." if kind or state else "Nothing has been moved.",
    )


@app.command()
def show(move: MoveId, as_json: Json = False) -> None:
    """Show one move with its steps, and rows and checksums by table."""
    with central() as api:
        show_move(api.move(move), as_json)


@app.command()
def cancel(move: MoveId, as_json: Json = False) -> None:
    """Call a move off; possible until the placement has switched."""
    with central() as api:
        show_move(api.cancel_move(move), as_json)


@app.command()
def retry(move: MoveId, as_json: Json = False) -> None:
    """Try a failed or waiting move again, now."""
    with central() as api:
        show_move(api.retry_move(move), as_json)


@app.command()
def release(move: MoveId, as_json: Json = False) -> None:
    """Have the source of a move archived and dropped that is kept because it held something else than was moved."""
    with central() as api:
        show_move(api.release_source(move), as_json)


def show_move(move: MoveOut, as_json: bool) -> None:
    """A move with its evidence."""
    if as_json:
        print_json(move)
        return
    print_facts(
        [
            ("Move", move.id),
            ("Tenant", move.company),
            ("Kind", move.kind),
            ("Phase", move.phase),
            ("From", move.source),
            ("To", move.target),
            ("Asked for", f"{move.requested_at:%Y-%m-%d %H:%M:%S} UTC by {move.requested_by}"),
            ("Problem", move.problem),
            ("Write pause", None if move.write_pause_ms is None else f"{move.write_pause_ms:,} ms"),
            ("Verified", move.verified),
            ("Source compared again", move.confirmed),
            ("Rollback until", move.retain_until),
        ]
    )
    print_table(
        ("Step", "State", "Seconds", "Rows", "Cycles", "Tries"),
        [
            (
                step["label"],
                step["state"],
                "–" if step["seconds"] is None else f"{step['seconds']:.3f}",
                *(step.get(noted) for noted in ("rows", "cycles", "tries")),
            )
            for step in move.steps
        ],
        empty="",
    )
    if move.tables:
        print_table(
            ("Table", "Rows", "Source", "Target", "Equal"),
            [(t["name"], t["rows"], t["source"], t["target"], t["equal"]) for t in move.tables],
            empty="",
        )
