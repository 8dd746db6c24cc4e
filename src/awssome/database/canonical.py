"""The canonical form of rows, in which both engines' checksums are taken: see `engine.TableSum`.

PostgreSQL computes it on the server. SQL Server's rows are hashed here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Boolean, LargeBinary, Table
from sqlalchemy.types import TypeEngine

from awssome.database.engine import TableSum
from awssome.database.types import STEP, Amount, Day, Instant

_NULL = "~,"


def summed(table: Table, rows: Iterable[Sequence[Any]]) -> TableSum:
    """Rows and checksum of a table.

    :param rows: the columns in declared order, as a driver gives them: text as it is stored, times in UTC.
    """
    texts = [_text(column.type) for column in table.columns]
    count = total = 0
    for row in rows:
        parts = []
        for value, text in zip(row, texts, strict=True):
            if value is None:
                parts.append(_NULL)
            else:
                written = text(value)
                parts.append(f"{len(written.encode())}:{written},")
        count += 1
        total += int.from_bytes(hashlib.sha256("".join(parts).encode()).digest()[:8], "big")
    return TableSum(count, format(total % 2**64, "016x"))


def _text(kind: TypeEngine[Any]) -> Callable[[Any], str]:
    """How values of a column's type are written."""
    if isinstance(kind, Instant):
        return lambda value: str(value.isoformat(timespec="microseconds"))
    if isinstance(kind, Day):
        return lambda value: str(value.isoformat())
    if isinstance(kind, LargeBinary):
        return lambda value: bytes(value).hex()
    if isinstance(kind, Boolean):
        return lambda value: "1" if value else "0"
    if isinstance(kind, Amount):
        return lambda value: format(value.quantize(STEP), "f")
    return str
