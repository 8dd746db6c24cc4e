"""Pages by key: a page begins where the one before it ended, so that a deep page costs what the first one costs.

Rows are ordered by one expression and then by id; rows without a value come last in both directions.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, and_, case, or_
from sqlalchemy.engine import Connection

from awssome.domain.errors import Code, Refused

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Rows, with the keys of the pages beside them; None where there is none."""

    rows: Sequence[T]
    after: str | None
    before: str | None


@dataclass(frozen=True)
class Key:
    """What rows are ordered by.

    :ivar parse: makes the value of its text again (the opposite of `str` or `isoformat`), or raises ValueError.
    """

    expression: ColumnElement[Any]
    parse: Callable[[str], Any]
    nullable: bool = False


class Keyset:
    """An order of rows, in which pages are cut."""

    def __init__(self, key: Key, row_id: ColumnElement[UUID], *, descending: bool = False) -> None:
        self._key = key
        self._id = row_id
        self._descending = descending

    def page(
        self,
        connection: Connection,
        query: Select[Any],
        shape: Callable[[Row[Any]], T],
        *,
        after: str = "",
        before: str = "",
        limit: int,
    ) -> Page[T]:
        """The rows behind the key `after`, or in front of the key `before`, or the first ones.

        :raises Refused: INVALID for a key that was not made for this order.
        """
        backwards = bool(before)
        query = query.add_columns(self._key.expression.label("_key"), self._id.label("_id"))
        if after or before:
            query = query.where(self._beyond(*self._decode(before or after), backwards))
        found = connection.execute(query.order_by(*self._order(backwards)).limit(limit + 1)).all()
        rows, more = list(found[:limit]), len(found) > limit
        if backwards:
            rows.reverse()
        return Page(
            [shape(row) for row in rows],
            after=_encode(rows[-1]) if rows and (more or backwards) else None,
            before=_encode(rows[0]) if rows and (more if backwards else after) else None,
        )

    def _order(self, backwards: bool) -> list[ColumnElement[Any]]:
        falling = self._descending != backwards
        parts = [self._key.expression, self._id]
        order: list[ColumnElement[Any]] = [part.desc() if falling else part.asc() for part in parts]
        if self._key.nullable:
            empty = case((self._key.expression.is_(None), 1), else_=0)
            order.insert(0, empty.desc() if backwards else empty.asc())
        return order

    def _beyond(self, value: Any, row_id: UUID, backwards: bool) -> ColumnElement[bool]:
        """Rows that come after (value, id) in the order, or before it."""
        expression, falling = self._key.expression, self._descending != backwards
        further_id = self._id < row_id if falling else self._id > row_id
        if value is None:
            same = and_(expression.is_(None), further_id)
            return or_(same, expression.is_not(None)) if backwards else same
        further = expression < value if falling else expression > value
        beyond = or_(further, and_(expression == value, further_id))
        return or_(beyond, expression.is_(None)) if self._key.nullable and not backwards else beyond

    def _decode(self, text: str) -> tuple[Any, UUID]:
        try:
            value, row_id = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            if value is not None and "\x00" in value:
                raise ValueError("no text of a row holds this")
            return None if value is None else self._key.parse(value), UUID(row_id)
        except (ArithmeticError, AttributeError, binascii.Error, TypeError, ValueError):
            raise _incomplete() from None


def newest_first(
    connection: Connection,
    query: Select[Any],
    row_id: ColumnElement[Any],
    parse: Callable[[str], Any],
    *,
    after: str = "",
    before: str = "",
    limit: int,
) -> Page[Row[Any]]:
    """Rows by falling id, where ids grow with time: those behind the id `after`, in front of `before`, or the newest.

    :param row_id: a column of the query that is called `id` in its rows.
    :raises Refused: INVALID when `parse` makes no id of a key.
    """
    backwards = bool(before)
    if after or before:
        try:
            key = parse(before or after)
        except ValueError:
            raise _incomplete() from None
        query = query.where(row_id > key if backwards else row_id < key)
    found = connection.execute(query.order_by(row_id.asc() if backwards else row_id.desc()).limit(limit + 1)).all()
    rows, more = list(found[:limit]), len(found) > limit
    if backwards:
        rows.reverse()
    return Page(
        rows,
        after=str(rows[-1].id) if rows and (more or backwards) else None,
        before=str(rows[0].id) if rows and (more if backwards else after) else None,
    )


def _incomplete() -> Refused:
    return Refused(Code.INVALID, "The address of this page is not complete.", "Start again from the first page.")


def _encode(row: Row[Any]) -> str:
    value = row._key
    text = value if value is None else value.isoformat() if hasattr(value, "isoformat") else str(value)
    return base64.urlsafe_b64encode(json.dumps([text, str(row._id)]).encode()).decode().rstrip("=")
