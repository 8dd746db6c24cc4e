"""What a tenant's login may do although it is none of its business: each names a row of docs/security.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

SECURITY = Path(__file__).parents[2] / "docs" / "security.md"


class Exposed(NamedTuple):
    """What a tenant's login may do; it gives nothing of another tenant's.

    :ivar row: the key of the row in docs/security.md that says why, and what limits it.
    """

    row: str
    name: str
    statements: tuple[str, ...]
    undone_by: str = ""


def documented(engine: str) -> dict[str, list[str]]:
    """The table *Left open on …* of docs/security.md: key -> what a login can do, why, what limits it."""
    table = SECURITY.read_text().partition(f"Left open on {engine}, known and limited:\n")[2]
    lines = re.match(r"\n\|.*\n\|[-|]+\n((?:\|.*\n)+)", table)
    assert lines, f"docs/security.md has no such table of {engine}"
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1].splitlines()]
    return {key.strip("` "): cells for key, *cells in rows}
