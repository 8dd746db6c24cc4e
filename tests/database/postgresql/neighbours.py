"""Two tenants on one PostgreSQL: their sessions, and what the superuser sees of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from awssome.database.postgresql.server import PostgreSQL
from awssome.domain.tenants import Placement

SECRET = "bobs-secret-deal"

bob_stays_unharmed = pytest.mark.usefixtures("bob_is_unharmed")
"""For modules: whatever a test does, Bob's rows, tables, rights and login are afterwards what they were before."""


@dataclass(frozen=True)
class Neighbours:
    """Two tenants on one server, and that server with its administrator's rights."""

    alice: Placement
    bob: Placement
    server: PostgreSQL
    url: str

    def named(self, text: str) -> str:
        """SQL with the schemas' names filled in."""
        return text.replace("{alice}", self.alice.schema).replace("{bob}", self.bob.schema)


def by_name(attempts: tuple[Any, ...]) -> pytest.MarkDecorator:
    """A test for each of these attempts."""
    return pytest.mark.parametrize("attempt", attempts, ids=[attempt.name for attempt in attempts])


def connect(placement: Placement, **changed: Any) -> psycopg.Connection[Any]:
    """A connection as nothing of the product makes it."""
    parameters: dict[str, Any] = {
        "host": placement.host,
        "port": placement.port,
        "dbname": placement.database,
        "user": placement.login,
        "password": placement.password,
    }
    return psycopg.connect(**(parameters | changed))


def everything_of(placement: Placement, onlooker: psycopg.Connection[Any]) -> list[Any]:
    """Rows, columns, triggers, functions, rights and login of a tenant, as the superuser sees them."""
    schema = placement.schema
    queries = (
        f"SELECT to_jsonb(t) FROM {schema}.deal_registrations t",
        f"SELECT to_jsonb(t) FROM {schema}.deal_events t",
        f"SELECT to_jsonb(t) FROM {schema}.field_mappings t",
        f"SELECT to_jsonb(t) FROM {schema}._fence t",
        "SELECT c.relname, c.relacl::text, c.relowner::regrole::text, array_agg(a.attname ORDER BY a.attnum)::text "
        "FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid "
        f"WHERE c.relnamespace = '{schema}'::regnamespace GROUP BY c.oid ORDER BY c.relname",
        "SELECT t.tgname, t.tgenabled, t.tgrelid::regclass::text FROM pg_trigger t "
        f"JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = '{schema}'::regnamespace ORDER BY 3, 1",
        "SELECT proname, prosecdef, prosrc, proowner, proacl::text FROM pg_proc "
        f"WHERE pronamespace = '{schema}'::regnamespace ORDER BY proname",
        f"SELECT to_jsonb(n) FROM pg_namespace n WHERE nspname = '{schema}'",
        f"SELECT to_jsonb(r) FROM pg_authid r WHERE rolname = '{schema}'",
        f"SELECT setconfig FROM pg_db_role_setting WHERE setrole = '{schema}'::regrole",
        f"SELECT member::regrole::text FROM pg_auth_members WHERE roleid = '{schema}'::regrole "
        f"OR member = '{schema}'::regrole",
        f"SELECT defaclrole::regrole::text FROM pg_default_acl WHERE defaclrole = '{schema}'::regrole",
    )
    return [onlooker.execute(query).fetchall() for query in queries]
