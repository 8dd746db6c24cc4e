"""A workspace is made once, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from sqlalchemy import insert, select

from awssome.database import template
from awssome.database.engine import Server
from awssome.database.registry import placements, servers, tenants
from awssome.database.schema import hubspot_tokens, stage_mappings
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import EngineName, TenantState
from awssome.domain.times import now
from awssome.workflows import provisioning
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.engines import DRIVER_ERRORS, SERVERS


def test_a_new_tenant_is_active_and_its_login_reads_and_writes_its_own_tables(
    services: WorkerServices, make_tenant: Callable[..., Tenancy]
) -> None:
    tenancy = make_tenant("Northwind Cloud")
    with services.sessions.open(tenancy.placement) as connection:
        connection.execute(
            insert(stage_mappings).values(pipeline="p", hubspot_stage="s", stage="Qualified", updated_at=now())
        )
    with services.sessions.open(tenancy.placement) as connection:
        assert connection.execute(select(stage_mappings.c.stage)).scalars().all() == ["Qualified"]
        assert connection.execute(select(hubspot_tokens)).all() == []
    with services.registry.begin() as connection:
        assert tenants.find(connection, tenancy.id).state is TenantState.ACTIVE
        assert servers.by_name(connection, "pool-1").tenants == 1


def test_provisioning_twice_changes_nothing(services: WorkerServices, make_tenant: Callable[..., Tenancy]) -> None:
    tenancy = make_tenant()
    provisioning.provision(services, tenancy.id)
    with services.registry.begin() as connection:
        assert [row.schema_name for row in placements.of_tenant(connection, tenancy.id)] == [tenancy.placement.schema]


def test_provisioning_goes_on_after_a_crash_between_schema_and_registry(services: WorkerServices) -> None:
    with services.registry.begin() as connection:
        tenant = tenants.create(connection, "Crash Co")
        pool = servers.emptiest_pool(connection)
        placement_id = placements.create(connection, tenant.id, pool, services.keys.key_id)
        tenants.change(connection, tenant.id, placement_id=placement_id, epoch=1)
        placement = placements.find(connection, services.keys, placement_id)
        server = placements.server_of(connection, placement_id)
    services.open_server(server).provision(placement.schema, placement.password, epoch=1, mode="rw")  # then: kill -9
    provisioning.provision(services, tenant.id)
    with services.sessions.open(placement) as connection:
        assert connection.execute(select(stage_mappings)).all() == []


def test_without_an_open_pool_the_reason_is_on_the_tenant(services: WorkerServices) -> None:
    with services.registry.begin() as connection:
        servers.change(connection, servers.by_name(connection, "pool-1").id, open=False)
        tenant = tenants.create(connection, "Waiting Co")
    with pytest.raises(Refused) as refused:
        provisioning.provision(services, tenant.id)
    assert refused.value.code is Code.UNAVAILABLE
    with services.registry.begin() as connection:
        found = tenants.find(connection, tenant.id)
        assert found.state is TenantState.PENDING
        assert found.problem == "No shared server has room for another workspace."


def test_a_defect_is_on_the_tenant_in_words_and_the_retry_clears_it(
    services: WorkerServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    with services.registry.begin() as connection:
        tenant = tenants.create(connection, "Unlucky Co")
    with monkeypatch.context() as broken:
        broken.setattr(template, "statements", lambda *_, **__: "SELECT no_such_column")
        with pytest.raises(DRIVER_ERRORS):
            provisioning.provision(services, tenant.id)
    with services.registry.begin() as connection:
        found = tenants.find(connection, tenant.id)
    assert found.state is TenantState.PENDING
    assert found.problem == "The workspace could not be made: a defect of ours."
    provisioning.provision(services, tenant.id)
    with services.registry.begin() as connection:
        assert tenants.find(connection, tenant.id).problem is None


def test_a_server_whose_check_breaks_off_says_so_and_stays_closed(
    engine: EngineName, services: WorkerServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks_off(self: Server) -> dict[str, str]:
        raise psycopg.ProgrammingError("told to nobody")

    monkeypatch.setattr(SERVERS[engine], "check", breaks_off)
    with services.registry.begin() as connection:
        server_id = servers.by_name(connection, "pool-1").id
    with pytest.raises(psycopg.ProgrammingError):
        provisioning.check_server(services, server_id)
    with services.registry.begin() as connection:
        server = servers.by_id(connection, server_id)
    assert not server.open
    assert server.problem == "The check failed with ProgrammingError."


def test_a_suspended_tenants_login_is_closed_and_its_sessions_end(
    services: WorkerServices, make_tenant: Callable[..., Tenancy]
) -> None:
    tenancy = make_tenant()
    with services.registry.begin() as connection:
        tenants.change(connection, tenancy.id, state=TenantState.SUSPENDED)
    with pytest.raises(Refused) as refused, services.sessions.open(tenancy.placement) as connection:
        provisioning.set_login(services, tenancy.id)
        connection.execute(select(stage_mappings))
    assert refused.value.code is Code.FENCED
    with services.registry.begin() as connection:
        tenants.change(connection, tenancy.id, state=TenantState.ACTIVE)
    provisioning.set_login(services, tenancy.id)
    with services.sessions.open(tenancy.placement) as connection:
        assert connection.execute(select(stage_mappings)).all() == []
