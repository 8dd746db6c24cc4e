"""Keys of rows as `_outbox` notes them while a tenant is moved.

A key is the columns of the primary key in their order, each in the canonical form (`engine.TableSum`), joined by `|`.
A `|` or a backslash inside a value has a backslash before it. The triggers of the template write the same on each
engine.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Column, Table

from awssome.database.engine import Texts
from awssome.database.schema import DATA_TABLES

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


def wanted(noted: Iterable[tuple[int, str, str]]) -> dict[Table, tuple[str, ...]]:
    """Which rows the entries of `_outbox` (seq, table and key) tell of, each once; parents before children."""
    keys: dict[str, dict[str, None]] = defaultdict(dict)
    for _, table, key in noted:
        keys[table][key] = None
    return {table: tuple(keys[table.name]) for table in DATA_TABLES if table.name in keys}


@cache
def is_referred_to(table: Table) -> bool:
    """Whether other tables refer to the rows of this one: they are written over then, never deleted and made anew."""
    return any(key.column.table is table for other in DATA_TABLES for key in other.foreign_keys)


def in_the_way(table: Table) -> list[Column[Any]]:
    """The columns beside the key of which no two rows may have the same. Rows that are written over may exchange these,
    and so they are emptied first."""
    return [column for index in table.indexes if index.unique for column in index.columns if column.nullable]
