"""Column types that mean the same on every engine."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Numeric, Text, Unicode
from sqlalchemy.dialects.mssql import DATETIME2
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from awssome.domain.deals import SCALE


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
        value = value.astimezone(UTC)
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

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Canonical text; None stays NULL."""
        if value is None:
            return None
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """The parsed value."""
        return None if value is None else json.loads(value)


def text(length: int) -> Unicode:
    """Bounded text in any script."""
    return Unicode(length)


def amount() -> Numeric[Any]:
    """Exact money: 15 digits before the point, 4 behind."""
    return Numeric(15 + SCALE, SCALE)


def whole() -> BigInteger:
    """A 64-bit count or number."""
    return BigInteger()
