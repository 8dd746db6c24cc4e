"""Servers of different engines beside each other: a tenant stays within its own, unless an operator says otherwise."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from uuid import UUID

import mssql_python
import pytest
from sqlalchemy.engine import make_url

from awssome.database.embedded import Cluster
from awssome.database.registry import placements, servers, tenants
from awssome.database.servers import prepare_data_plane
from awssome.database.sqlserver.server import SQLServer
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import Phase
from awssome.domain.servers import engine_of, location, sqlserver_options
from awssome.domain.tenants import EngineName, ServerKind, Tier, new_schema_name
from awssome.workflows import moves as moving
from awssome.workflows import provisioning
from awssome.workflows.services import WorkerServices
from tests.conftest import PROVISIONER_PASSWORD, Tenancy, register_server
from tests.engines import as_administrator, only_sqlserver
from tests.workflows.moving import OLGA, fill, mover, placement_of, writable

ELSEWHERE = {
    EngineName.POSTGRESQL: "mssql://admin:secret@127.0.0.1:9/tenants",
    EngineName.SQLSERVER: "postgresql://admin:secret@127.0.0.1:9/tenants",
}
"""A server of the other engine, at which nothing listens."""


def test_a_server_that_is_not_named_is_of_the_tenants_engine_and_what_is_refused_leaves_nothing(
    engine: EngineName, services: WorkerServices, make_tenant: Callable[..., Tenancy]
) -> None:
    tenancy = make_tenant()
    register_server(services, "other-pool", ServerKind.POOL, ELSEWHERE[engine])
    register_server(services, "other-dedicated", ServerKind.DEDICATED, ELSEWHERE[engine])
    for ask in (
        lambda c: moving.upgrade(c, services.queue, OLGA, str(tenancy.id)),
        lambda c: moving.move_to(c, services.queue, OLGA, str(tenancy.id), None),
    ):
        with pytest.raises(Refused) as refused, services.registry.begin() as connection:
            ask(connection)
        assert refused.value.code is Code.UNAVAILABLE
    with services.registry.begin() as connection:
        assert [row.id for row in placements.of_tenant(connection, tenancy.id)] == [tenancy.placement.placement_id]
        assert tenants.find(connection, tenancy.id).tier is Tier.FREE
        assert servers.by_name(connection, "other-dedicated").tenant is None


@only_sqlserver
def test_a_tenant_is_moved_to_the_other_engine_and_back(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], cluster: Cluster
) -> None:
    tenancy = make_tenant()
    register_server(services, "other", ServerKind.POOL, prepare_data_plane(cluster, PROVISIONER_PASSWORD))
    fill(services, tenancy)
    sums = services.open_server(_server_of(services, tenancy)).sums(tenancy.placement.schema)
    for ask in (
        lambda c: moving.move_to(c, services.queue, OLGA, str(tenancy.id), "other"),
        lambda c: moving.rollback(c, services.queue, OLGA, str(tenancy.id)),
    ):
        before = placement_of(services, tenancy)
        with services.registry.begin() as connection:
            move_id = ask(connection)
        assert mover(services).carry_on(move_id) is Phase.RETAINING
        after = placement_of(services, tenancy)
        assert after.engine is not before.engine
        assert services.open_server(_server_of(services, tenancy)).sums(after.schema) == sums
        assert writable(services, tenancy) == [after.placement_id]


def test_a_new_tenant_goes_to_the_emptiest_pool_whatever_its_engine(
    engine: EngineName, services: WorkerServices, make_tenant: Callable[..., Tenancy]
) -> None:
    make_tenant()
    register_server(services, "other-pool", ServerKind.POOL, ELSEWHERE[engine])
    with services.registry.begin() as connection:
        tenant = tenants.create(connection, "Next Co")
    with pytest.raises(Refused) as refused:
        provisioning.provision(services, tenant.id)
    assert refused.value.code is Code.UNAVAILABLE
    with services.registry.begin() as connection:
        assert tenants.find(connection, tenant.id).problem == "The database server at 127.0.0.1:9 does not answer."


@only_sqlserver
def test_a_server_whose_administrator_has_no_rights_is_told_what_is_missing(engine: EngineName, pool_url: str) -> None:
    login, password = new_schema_name(), "Aa1-nobody-in-particular"
    as_administrator(engine, pool_url, f"CREATE LOGIN {login} WITH PASSWORD = N'{password}'")
    as_administrator(engine, pool_url, f"CREATE USER {login} FOR LOGIN {login}")
    try:
        url = make_url(pool_url).set(username=login, password=password).render_as_string(hide_password=False)
        with pytest.raises(Refused) as refused, closing(SQLServer(url)) as server:
            server.check()
        assert refused.value.code is Code.INVALID
        assert refused.value.message.startswith("This server cannot hold tenants yet. Missing: ")
        assert "ALTER ANY LOGIN for the administrator" in refused.value.message
        assert password not in str(refused.value)
    finally:
        as_administrator(engine, pool_url, f"DROP USER {login}")
        as_administrator(engine, pool_url, f"DROP LOGIN {login}")


@only_sqlserver
def test_a_server_that_lets_the_administrator_not_in_says_so(engine: EngineName, pool_url: str) -> None:
    url = make_url(pool_url).set(password="wrong").render_as_string(hide_password=False)
    with pytest.raises(Refused) as refused:
        SQLServer(url).check()
    assert refused.value.code is Code.UNAVAILABLE
    assert "does not let the administrator in" in refused.value.message


def test_the_engine_of_a_url_is_told_by_its_scheme() -> None:
    assert engine_of("postgresql+psycopg://a:b@h/d") is EngineName.POSTGRESQL
    assert engine_of("mssql+mssqlpython://a:b@h/d") is EngineName.SQLSERVER
    assert location("mssql://a:b@h/d", EngineName.SQLSERVER) == ("h", 1433, "d")
    for url, engine in (("mysql://a:b@h/d", None), ("mssql://a:b@h/d", EngineName.POSTGRESQL)):
        with pytest.raises(Refused) as refused:
            location(url, engine) if engine else engine_of(url)
        assert "url" in refused.value.fields


@pytest.mark.parametrize(
    "query", ["Encrypt=no", "TrustServerCertificate=yes", "encrypt=optional", "Driver=x", "Authentication=x", "UID=x"]
)
def test_off_loopback_no_url_weakens_tls_or_changes_who_comes(query: str) -> None:
    with pytest.raises(Refused) as refused:
        sqlserver_options(f"mssql://a:b@db.example.com/d?{query}")
    assert refused.value.code is Code.INVALID
    assert sqlserver_options("mssql://a:b@db.example.com/d?Encrypt=yes") == {"Encrypt": "yes"}


def test_the_driver_is_the_one_whose_errors_are_known() -> None:
    assert mssql_python.__version__ == "1.16.0", "look whether the driver tells error numbers by itself now"


def _server_of(services: WorkerServices, tenancy: Tenancy) -> UUID:
    with services.registry.begin() as connection:
        return placements.server_of(connection, placement_of(services, tenancy).placement_id)
