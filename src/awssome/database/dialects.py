"""SQLAlchemy's dialects, ready to compile statements before they have met a server."""

from __future__ import annotations

from typing import cast

from sqlalchemy.dialects.mssql.mssqlpython import MSDialect_mssqlpython
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import Dialect

from awssome.domain.tenants import EngineName


def dialect(engine: EngineName) -> Dialect:
    """A dialect of the engine."""
    if engine is EngineName.POSTGRESQL:
        return PGDialect_psycopg()  # type: ignore[no-untyped-call]
    return of_today(MSDialect_mssqlpython())  # type: ignore[no-untyped-call]


def of_today(dialect: Dialect) -> Dialect:
    """SQL Server's dialect as it is once it has met a server of today: until then it takes one for very old."""
    known = cast(MSDialect_mssqlpython, dialect)
    known.server_version_info = (16,)  # type: ignore[assignment]
    known._setup_version_attributes()  # type: ignore[no-untyped-call]
    known._supports_nvarchar_max = True
    return known
