"""What commands print: tables for people, JSON for programs, reasons on standard error."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from awssome.domain.errors import Refused

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Ref = Annotated[str, typer.Argument(metavar="TENANT", help="Id or slug.", show_default=False)]
"""How a command names its tenant."""

T = TypeVar("T")

_WIDE = 240


def console() -> Console:
    """Standard output; lines are not cut when a program reads them."""
    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else _WIDE)


def status() -> Console:
    """Standard error: progress and reasons."""
    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """A body, a list of bodies, or plain data, as one JSON document."""
    typer.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table; numbers stand at the right."""
    rows = list(rows)
    if not rows:
        console().print(empty)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for index, column in enumerate(columns):
        numeric = all(isinstance(row[index], int | float) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(text(value) for value in row))
    console().print(table)


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Labels and values, one a line."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in facts:
        table.add_row(label, text(value))
    console().print(table)


def text(value: object) -> str:
    """A value as people read it."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def size(count: int) -> str:
    """Bytes in decimal units, as in `1.4 MB`."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def fail(refused: Refused) -> None:
    """The reason, on standard error."""
    to = status()
    to.print(Text("Error: ", "bold red").append(refused.message, "default not bold"))
    for field, problem in refused.fields.items():
        to.print(f"  {field}: {problem}")
    if refused.advice:
        to.print(refused.advice)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """A sign of life on a terminal while something takes its time."""
    to = status()
    if to.is_terminal:
        with to.status(what):
            yield
    else:
        yield


def progress() -> Progress:
    """A bar with counts and the time left, on a terminal only."""
    to = status()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=to,
        disable=not to.is_terminal,
    )


def poll(ask: Callable[[], T], done: Callable[[T], bool], *, seconds: float, every: float = 0.3) -> T | None:
    """Ask until it is done; None when that takes longer than `seconds`."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if done(answer):
            return answer
        if time.monotonic() > end:
            return None
        time.sleep(every)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
