"""Column types that mean the same on every engine, and refuse what an engine would round, cut or convert."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Date, DateTime, LargeBinary, Numeric, Text, Unicode
from sqlalchemy.dialects.mssql import DATETIME2, NVARCHAR, VARBINARY
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import TypeDecorator, TypeEngine

from awssome.domain.deals import FIRST_YEAR, LARGEST, SCALE
from awssome.domain.errors import Code, Refused

BINARY_ORDER = "Latin1_General_100_BIN2"
"""SQL Server's collation for text: by code, case and accents count, as on PostgreSQL. Its default ignores case."""


class Characters(TypeDecorator[str]):
    """Bounded text in any script. The length counts UTF-16 units on every engine, as SQL Server counts them."""

    impl = Unicode
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """varchar(n), or nvarchar(n) that is compared by code."""
        if dialect.name == "mssql":
            return dialect.type_descriptor(NVARCHAR(self.length, collation=BINARY_ORDER))
        return dialect.type_descriptor(Unicode(self.length))

    def bind_processor(self, dialect: Dialect) -> Callable[[str | None], str | None] | None:
        """As `process_bind_param`; most texts need no second look, and there are many of them."""
        look, length = super().bind_processor(dialect), self.length
        if look is None or dialect.name == "mssql":
            return look

        def process(value: str | None) -> str | None:
            if value is None or (value.isascii() and len(value) <= length and "\x00" not in value):
                return value
            return look(value)  # type: ignore[no-any-return]

        return process

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """:raises Refused: INVALID for text that is too long, or holds a character that cannot be stored."""
        if value is not None:
            _check_text(value)
            if len(value) * 2 > self.length and len(value.encode("utf-16-le")) // 2 > self.length:
                raise Refused(
                    Code.INVALID,
                    f"A text of {len(value):,} characters does not fit where {self.length:,} do. Nothing was changed.",
                    "Shorten it.",
                )
        return value

    def coerce_compared_value(self, op: OperatorType | None, value: Any) -> TypeEngine[Any]:
        """What a column is compared with may be longer than what it holds."""
        return Unicode()


class Amount(TypeDecorator[Decimal]):
    """Exact money: 15 digits before the point, 4 behind. Nothing is ever rounded."""

    impl = Numeric
    cache_ok = True

    def __init__(self) -> None:
        super().__init__(15 + SCALE, SCALE)

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Decimal | None:
        """:raises Refused: INVALID for an amount that is too large, or has more digits than can be kept."""
        if value is None:
            return None
        value = Decimal(value)
        exact = value.is_finite() and abs(value) < LARGEST and value == value.quantize(STEP)
        if not exact:
            raise Refused(
                Code.INVALID,
                f"An amount has at most 15 digits before the point and {SCALE} behind it. Nothing was changed.",
                "Correct the amount.",
            )
        return value.quantize(STEP)

    def coerce_compared_value(self, op: OperatorType | None, value: Any) -> TypeEngine[Any]:
        """What a column is compared with may have more digits."""
        return Numeric()


STEP = Decimal(1).scaleb(-SCALE)
"""The smallest amount."""


class Day(TypeDecorator[date]):
    """A day from 1753 on, the first that every part of SQL Server knows."""

    impl = Date
    cache_ok = True

    def process_bind_param(self, value: date | None, dialect: Dialect) -> date | None:
        """:raises Refused: INVALID for an earlier day."""
        if value is not None and value.year < FIRST_YEAR:
            raise Refused(
                Code.INVALID,
                f"A day before {FIRST_YEAR} cannot be stored. Nothing was changed.",
                f"Use a year from {FIRST_YEAR} on.",
            )
        return value

    def coerce_compared_value(self, op: OperatorType | None, value: Any) -> TypeEngine[Any]:
        """What a column is compared with may be any day."""
        return Date()


class Instant(TypeDecorator[datetime]):
    """A time in UTC to the microsecond: timestamptz, or datetime2(6) without zone. Only aware values are taken."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """timestamptz on PostgreSQL, datetime2(6) on SQL Server."""
        if dialect.name == "mssql":
            return dialect.type_descriptor(DATETIME2(6))  # type: ignore[no-untyped-call]
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """UTC; without zone where the column has none. :raises ValueError: for a time without zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without zone cannot be stored")
        value = value if value.tzinfo is UTC else value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "mssql" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Always aware, always UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Json(TypeDecorator[Any]):
    """JSON kept as canonical text (sorted keys, no spaces), so that equal values are equal bytes on every engine."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """text, or nvarchar(max)."""
        if dialect.name == "mssql":
            return dialect.type_descriptor(NVARCHAR(collation=BINARY_ORDER))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Canonical text; None stays NULL. :raises Refused: INVALID for a character that cannot be stored."""
        if value is None:
            return None
        if isinstance(value, list) and all(type(one) is str for one in value):
            return _words(*value)
        return _written(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """The parsed value."""
        return None if value is None else json.loads(value)


def _written(value: Any) -> str:
    written = _CANONICAL.encode(value)
    _check_text(written)
    return written


@lru_cache(maxsize=1_000)
def _words(*values: str) -> str:
    """Lists of names, of which many rows have the same."""
    return _written(list(values))


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def text(length: int) -> Characters:
    """Bounded text in any script."""
    return Characters(length)


def amount() -> Amount:
    """Exact money: 15 digits before the point, 4 behind."""
    return Amount()


def whole() -> BigInteger:
    """A 64-bit count or number."""
    return BigInteger()


def binary(length: int | None = None) -> LargeBinary:
    """Bytes, as many as given or any number: bytea, or varbinary."""
    return LargeBinary(length).with_variant(VARBINARY(length or "max"), "mssql")  # type: ignore[no-untyped-call]


def _check_text(value: str) -> None:
    """:raises Refused: INVALID for NUL, which PostgreSQL has no place for, and for half a character."""
    try:
        storable = "\x00" not in value and (value.isascii() or bool(value.encode()))
    except UnicodeEncodeError:
        storable = False
    if not storable:
        raise Refused(
            Code.INVALID, "A text holds a character that cannot be stored. Nothing was changed.", "Remove it."
        )
