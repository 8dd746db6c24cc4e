"""Keys of rows as `_outbox` notes them while a tenant is moved.

A key is the columns of the primary key in their order, each in the canonical form (`engine.TableSum`), joined by `|`.
A `|` or a backslash inside a value has a backslash before it. The triggers of the template write the same on each
engine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from sqlalchemy import Table

from awssome.database.engine import Texts

_SPECIAL = re.compile(r"[\\|]")
_TAKEN = re.compile(r"\\(.)|(\|)|([^\\|]+)", re.DOTALL)


def key(values: Sequence[str]) -> str:
    """The key of the values of a primary key."""
    return "|".join(_SPECIAL.sub(r"\\\g<0>", value) for value in values)


def values(key: str) -> list[str]:
    """The values of a key."""
    found = [""]
    for escaped, end, plain in _TAKEN.findall(key):
        if end:
            found.append("")
        else:
            found[-1] += escaped or plain
    return found


def key_of(table: Table) -> Callable[[Texts], str]:
    """How the key of a row of the table is written."""
    places = [number for number, column in enumerate(table.columns) if column.primary_key]

    def of(row: Texts) -> str:
        return key([row[place] or "" for place in places])

    return of
