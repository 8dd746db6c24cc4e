"""The canonical form of rows, in which both engines' checksums are taken: see `engine.TableSum`.

PostgreSQL computes checksums on the server. SQL Server's rows are hashed here, and so are archives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, Integer, LargeBinary, PrimaryKeyConstraint, Table, Uuid
from sqlalchemy.types import TypeEngine

from awssome.database.engine import TableSum, Texts
from awssome.database.types import STEP, Amount, Characters, Day, Instant, Json

_NULL = "~,"


def summed(table: Table, rows: Iterable[Sequence[Any]]) -> TableSum:
    """Rows and checksum of a table.

    :param rows: the columns in declared order, as a driver gives them: text as it is stored, times in UTC.
    """
    texts, found = written(table), Sum()
    for row in rows:
        found.add(texts(row))
    return found.reached()


class Sum:
    """Rows and checksum of what has been added so far, and not taken away again.

    :param begun: of what was there before.
    """

    def __init__(self, begun: TableSum | None = None) -> None:
        self._count = begun.rows if begun else 0
        self._total = int(begun.checksum, 16) if begun else 0

    def add(self, row: Texts) -> None:
        """One more row."""
        self._count += 1
        self._total += hashed(row)

    def remove(self, row: Texts) -> None:
        """One row less, which is among them."""
        self._count -= 1
        self._total -= hashed(row)

    def reached(self) -> TableSum:
        """The sum as it is now."""
        return TableSum(self._count, format(self._total % 2**64, "016x"))


def hashed(row: Texts) -> int:
    """A row's 64-bit hash."""
    parts = [_NULL if text is None else f"{len(text.encode())}:{text}," for text in row]
    return int.from_bytes(hashlib.sha256("".join(parts).encode()).digest()[:8], "big")


def written(table: Table) -> Callable[[Sequence[Any]], Texts]:
    """How rows of a table, as a driver gives them, are written."""
    texts = [_text(column.type) for column in table.columns]
    return lambda row: [None if value is None else text(value) for value, text in zip(row, texts, strict=True)]


def read(table: Table | PrimaryKeyConstraint) -> Callable[[Texts], Sequence[Any]]:
    """How written rows, or their keys, become values again: times in UTC without zone.

    The function raises ValueError, or decimal's InvalidOperation, for a text that is none of its column's.
    """
    values = [_value(column.type) for column in table.columns]
    return lambda row: [None if text is None else value(text) for text, value in zip(row, values, strict=True)]


def type_name(kind: TypeEngine[Any]) -> str:
    """A column's type in a word, the same for both engines: `text(255)`, `amount`, `instant`."""
    for known, name in _NAMES:
        if isinstance(kind, known):
            return f"{name}({kind.length})" if isinstance(kind, Characters) else name
    raise TypeError(f"{kind!r} has no canonical form")


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


def _value(kind: TypeEngine[Any]) -> Callable[[str], Any]:
    """How a text of a column's type is read."""
    if isinstance(kind, Instant):
        return datetime.fromisoformat
    if isinstance(kind, Day):
        return date.fromisoformat
    if isinstance(kind, LargeBinary):
        return bytes.fromhex
    if isinstance(kind, Boolean):
        return lambda text: bool(("0", "1").index(text))
    if isinstance(kind, Amount):
        return Decimal
    if isinstance(kind, Uuid):
        return UUID
    return int if isinstance(kind, Integer) else str


_NAMES: tuple[tuple[type[TypeEngine[Any]], str], ...] = (
    (Characters, "text"),
    (Json, "json"),
    (Amount, "amount"),
    (Day, "day"),
    (Instant, "instant"),
    (Uuid, "uuid"),
    (Boolean, "boolean"),
    (BigInteger, "bigint"),
    (Integer, "integer"),
    (LargeBinary, "bytes"),
)
