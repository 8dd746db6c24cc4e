"""Two tenants in one database of one SQL Server: their sessions, and what an administrator sees of them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import mssql_python
import pytest

from awssome.database.engine import Server
from awssome.database.schema import DATA_TABLES
from awssome.database.sqlserver import driver
from awssome.database.sqlserver.entrance import connect_as_tenant
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import Placement
from awssome.domain.times import now

SECRET = "bobs-secret-deal"
PASSWORD = "Aa1-of-the-tests"

bob_stays_unharmed = pytest.mark.usefixtures("bob_is_unharmed_in_the_end", "bobs_rows_are_unharmed")
"""For modules: Bob's rows are looked at after each test, everything of his in the end."""


@dataclass(frozen=True)
class Neighbours:
    """Two tenants in one database, and their server with its administrator's rights."""

    alice: Placement
    bob: Placement
    server: Server
    url: str

    def named(self, statement: str) -> str:
        """T-SQL with the names filled in."""
        names = {"{alice}": self.alice.schema, "{bob}": self.bob.schema, "{database}": f"[{self.alice.database}]"}
        for mark, name in names.items():
            statement = statement.replace(mark, name)
        return statement


def by_name(attempts: tuple[Any, ...]) -> pytest.MarkDecorator:
    """A test for each of these attempts."""
    return pytest.mark.parametrize("attempt", attempts, ids=[attempt.name for attempt in attempts])


def session_of(placement: Placement, *, autocommit: bool = True) -> driver.Connection:
    """A tenant's own session."""
    connection = connect_as_tenant(placement)
    connection.autocommit = autocommit
    return connection


def administrator_of(url: str, *, autocommit: bool = True) -> driver.Connection:
    """A session of the administrator."""
    return driver.connect(driver.connection_string(url), autocommit=autocommit)


def is_let_in(placement: Placement) -> bool:
    """Whether the placement opens its login; where it does not, whoever holds it is told to look for a newer one."""
    try:
        session_of(placement).close()
    except Refused as refused:
        if refused.code is not Code.FENCED:
            raise
        return False
    return True


def tried(connection: driver.Connection, statement: str) -> tuple[list[Any], mssql_python.Error | None]:
    """Everything that a batch gave, rows and messages, and the error that ended it."""
    given: list[Any] = []
    cursor = connection.cursor()
    try:
        cursor.execute(statement)
        while True:
            given += cursor.messages
            if cursor.description:
                given += [tuple(row) for row in cursor.fetchall()]
            if not cursor.nextset():
                return given, None
    except mssql_python.Error as error:
        return given, error
    finally:
        with suppress(mssql_python.Error):
            cursor.close()


def rows(connection: driver.Connection, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """The last rows that a batch gave."""
    return [tuple(row) for row in driver.run(connection, query, *parameters)]


def has_ended(connection: driver.Connection) -> bool:
    """Whether nothing can be done in the session any more."""
    return tried(connection, "SELECT 1")[1] is not None


def content_of(placement: Placement, onlooker: driver.Connection) -> list[Any]:
    """All rows of a tenant, its fence and its outbox."""
    return [
        sorted(map(str, driver.run(onlooker, f"SELECT * FROM {placement.schema}.{name}")))
        for name in [*(table.name for table in DATA_TABLES), "_fence", "_outbox"]
    ]


def structure_of(placement: Placement, onlooker: driver.Connection) -> list[Any]:
    """Objects, columns, triggers, rights, members, owner and login of a tenant, as the administrator sees them."""
    schema = placement.schema
    queries = (
        f"SELECT name, type FROM sys.objects WHERE schema_id = SCHEMA_ID(N'{schema}')",
        "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, CHARACTER_MAXIMUM_LENGTH, IS_NULLABLE "
        f"FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = N'{schema}'",
        f"SELECT name, is_disabled FROM sys.triggers WHERE OBJECT_SCHEMA_NAME(object_id) = N'{schema}'",
        "SELECT OBJECT_NAME(major_id), permission_name, state_desc, USER_NAME(grantee_principal_id) "
        f"FROM sys.database_permissions WHERE OBJECT_SCHEMA_NAME(major_id) = N'{schema}'",
        f"SELECT name, USER_NAME(principal_id) FROM sys.schemas WHERE name = N'{schema}'",
        f"SELECT name, type, default_schema_name FROM sys.database_principals WHERE name LIKE N'{schema}%'",
        "SELECT USER_NAME(role_principal_id), USER_NAME(member_principal_id) FROM sys.database_role_members "
        f"WHERE USER_NAME(role_principal_id) LIKE N'{schema}%' OR USER_NAME(member_principal_id) LIKE N'{schema}%'",
        f"SELECT name, is_disabled, default_database_name FROM sys.server_principals WHERE name = N'{schema}'",
    )
    return [sorted(map(str, rows(onlooker, query))) for query in queries]


def everything_of(placement: Placement, onlooker: driver.Connection) -> list[Any]:
    """Its content and its structure."""
    return content_of(placement, onlooker) + structure_of(placement, onlooker)


def a_mapping() -> dict[str, Any]:
    """A row for `field_mappings`."""
    return {"field": "x", "property": "y", "default_value": "z", "updated_at": now()}
