"""What a database leaves open to everybody is closed by a check of the server where that may be done, and told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.engine import make_url

from awssome.database.embedded import Cluster
from awssome.database.postgresql.entrance import connect_as_tenant
from awssome.database.postgresql.server import PostgreSQL
from awssome.database.servers import PROVISIONER_ROLE, TENANTS_DATABASE
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import Placement
from tests.conftest import superuser
from tests.engines import only_postgresql

pytestmark = only_postgresql

DATABASE = "as_it_comes"
SHARED = "large objects, advisory locks and pg_notify"


@dataclass(frozen=True)
class Fresh:
    """A database as PostgreSQL makes it, where nobody has prepared anything."""

    url: str
    superuser: psycopg.Connection[tuple[object, ...]]

    def everybody_may(self, right: str) -> bool:
        found = self.superuser.execute("SELECT has_database_privilege('public', current_database(), %s)", (right,))
        return found.fetchone() == (True,)


@pytest.fixture
def fresh(cluster: Cluster, pool_url: str) -> Iterator[Fresh]:
    """It belongs to an administrator who is no superuser, as on RDS."""
    with superuser(cluster) as connection:
        connection.execute(sql.SQL(f"CREATE DATABASE {DATABASE} OWNER {PROVISIONER_ROLE}"))  # type: ignore[arg-type]
        connection.execute(f"ALTER DATABASE {DATABASE} SET temp_file_limit = -1")  # type: ignore[arg-type]
        with closing(superuser(cluster, DATABASE)) as inside:
            yield Fresh(make_url(pool_url).set(database=DATABASE).render_as_string(hide_password=False), inside)
        connection.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")  # type: ignore[arg-type]


def test_temporary_tables_are_closed_and_what_cannot_be_closed_is_told(
    fresh: Fresh, make_workspace: Callable[[], Placement]
) -> None:
    assert fresh.everybody_may("TEMP")
    found = PostgreSQL(fresh.url).check()["open to every login"]
    assert not fresh.everybody_may("TEMP")
    assert "temporary tables" not in found
    assert f"connecting to other databases ({TENANTS_DATABASE})" in found
    assert SHARED in found
    assert "temporary files without limit (temp_file_limit)" in found
    server = PostgreSQL(fresh.url)
    schema = "user_00000000000000aa"
    server.provision(schema, "Aa1-fresh", epoch=1, mode=FenceMode.RW)
    url = make_url(fresh.url)
    placement = Placement(
        **vars(make_workspace()) | {"port": url.port, "database": DATABASE, "schema": schema, "password": "Aa1-fresh"}
    )
    try:
        with closing(connect_as_tenant(placement)) as mallory, pytest.raises(psycopg.errors.InsufficientPrivilege):
            mallory.execute("CREATE TEMP TABLE mine (x int)")
    finally:
        server.drop(schema, 0)


def test_a_server_where_everybody_may_create_is_closed_or_refused(fresh: Fresh) -> None:
    fresh.superuser.execute(f"GRANT CREATE ON DATABASE {DATABASE} TO PUBLIC")  # type: ignore[arg-type]
    fresh.superuser.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    PostgreSQL(fresh.url).check()
    assert not fresh.everybody_may("CREATE")
    fresh.superuser.execute("CREATE SCHEMA others")
    fresh.superuser.execute("GRANT CREATE ON SCHEMA others TO PUBLIC")
    with pytest.raises(Refused) as refused:
        PostgreSQL(fresh.url).check()
    assert refused.value.code is Code.INVALID
    assert 'REVOKE CREATE ON SCHEMA "others" FROM PUBLIC' in refused.value.message


def test_in_a_database_of_somebody_else_it_is_told_what_to_run(fresh: Fresh) -> None:
    fresh.superuser.execute(f"ALTER DATABASE {DATABASE} OWNER TO postgres")  # type: ignore[arg-type]
    fresh.superuser.execute(f"GRANT CREATE ON DATABASE {DATABASE} TO {PROVISIONER_ROLE}")  # type: ignore[arg-type]
    found = PostgreSQL(fresh.url).check()["open to every login"]
    assert f'temporary tables (run: REVOKE TEMPORARY ON DATABASE "{DATABASE}" FROM PUBLIC)' in found
    assert fresh.everybody_may("TEMP")


def test_an_embedded_server_leaves_nothing_open(pool_url: str) -> None:
    assert set(PostgreSQL(pool_url).check()) == {"version", "encoding"}
