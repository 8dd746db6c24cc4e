"""Which statements are tried on which engine."""

from __future__ import annotations

from awssome.database.verification.postgresql_statements import POSTGRESQL
from awssome.database.verification.sqlserver_statements import SQLSERVER
from awssome.database.verification.statements import Statements
from awssome.domain.tenants import EngineName


def statements_for(engine: EngineName) -> Statements:
    """What is tried on the engine, and how."""
    return _STATEMENTS[engine]


_STATEMENTS = {EngineName.POSTGRESQL: POSTGRESQL, EngineName.SQLSERVER: SQLSERVER}
