"""What operators settle of tenants' lives and servers' loads in a browser; the registry below is real."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from awssome.database.registry import servers, tenants
from awssome.domain.tenants import ServerKind, TenantState
from awssome.workflows import leaving
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy, register_server
from tests.engines import only_postgresql
from tests.management.conftest import Desk

pytestmark = only_postgresql

MakeTenant = Callable[..., Tenancy]


def state(services: WorkerServices, tenancy: Tenancy) -> TenantState:
    with services.registry.begin() as connection:
        return tenants.find(connection, tenancy.id).state


def test_a_secret_is_rotated_from_the_tenants_page(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant
) -> None:
    tenancy = make_tenant("Acme")
    page = f"/tenants/{tenancy.slug}"
    assert "Rotate secret…" in desk.get(page).text
    done = desk.send(f"{page}/rotate", at=page)
    assert "The secret is being rotated." in desk.after(done).text
    with services.registry.begin() as connection:
        tenants.change(connection, tenancy.id, state=TenantState.SUSPENDED)
    assert "Rotate secret…" in desk.get(page).text
    with services.registry.begin() as connection:
        tenants.change(connection, tenancy.id, state=TenantState.RETAINED)
    assert "Rotate secret…" not in desk.get(page).text
    refused = desk.send(f"{page}/rotate", at=page)
    assert refused.status_code == 409
    assert "Only the secret of an active or suspended tenant" in refused.text


def test_a_tenant_is_deleted_by_its_name_and_brought_back(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant
) -> None:
    tenancy = make_tenant("Acme")
    page = f"/tenants/{tenancy.slug}"
    wrong = desk.send(f"{page}/delete", at=page, confirm="acme")
    assert wrong.status_code == 422
    assert state(services, tenancy) is TenantState.ACTIVE
    gone = desk.after(desk.send(f"{page}/delete", at=page, confirm="Acme")).text
    for shown in ("Acme is deleted.", "Deleted, kept", "Its archive is kept until", "Bring back…"):
        assert shown in gone
    assert "Suspend…" not in gone
    assert "Deleted, kept" in desk.get("/tenants?state=retained").text
    leaving.close_workspace(services, tenancy.id)
    leaving.empty_workspace(services, tenancy.id)
    assert desk.get(page).status_code == 200
    back = desk.after(desk.send(f"{page}/return", at=page)).text
    assert "The tenant is being brought back." in back
    assert desk.send(f"{page}/return", at=page).status_code == 303, "it is coming already"


def test_a_pending_tenant_that_is_deleted_is_erased_at_once(desk: Desk, services: WorkerServices) -> None:
    with services.registry.begin() as connection:
        tenant = tenants.create(connection, "Never Co")
    gone = desk.after(desk.send("/tenants/never-co/delete", at="/tenants/never-co", confirm="Never Co"))
    assert gone.status_code == 200
    assert "Deleted workspace" in gone.text
    with services.registry.begin() as connection:
        assert tenants.find(connection, tenant.id).state is TenantState.DELETED


@pytest.mark.parametrize("given", ["", "none", "-1", "0", "1e3", "100001", "٣", "9" * 5000])
def test_a_capacity_that_is_no_number_changes_nothing(desk: Desk, services: WorkerServices, given: str) -> None:
    refused = desk.send("/servers/pool-1/capacity", at="/servers/pool-1", capacity=given)
    assert refused.status_code == 422
    assert "not a number of tenants" in refused.text
    with services.registry.begin() as connection:
        assert servers.by_name(connection, "pool-1").capacity == 3000


def test_a_servers_page_shows_its_load_and_changes_its_capacity(desk: Desk, make_tenant: MakeTenant) -> None:
    make_tenant("Acme")
    page = desk.after(desk.send("/servers/pool-1/capacity", at="/servers/pool-1", capacity="1")).text
    assert "pool-1 has a capacity of 1." in page
    assert "100 % of 1 place in use" in page
    assert "Free places: 0 of 1." in page


def test_tenants_are_moved_off_a_pool_and_that_is_stopped(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant, dedicated_url: str
) -> None:
    make_tenant("Acme")
    register_server(services, "pool-2", ServerKind.POOL, dedicated_url)
    page = desk.get("/servers/pool-1").text
    assert "Move tenants off…" in page
    assert '<option value="pool-2"' in page
    begun = desk.after(desk.send("/servers/pool-1/drain", at="/servers/pool-1", keep="0", to="pool-2")).text
    for shown in ("Tenants are being moved off pool-1.", "Being drained", "until at most 0 are left", "pool-2", "Stop"):
        assert shown in begun
    assert desk.send("/servers/pool-1/drain", at="/servers/pool-1", keep="x").status_code == 422
    stopped = desk.after(desk.send("/servers/pool-1/drain/stop", at="/servers/pool-1")).text
    assert "No more tenants leave pool-1." in stopped
    assert "Being drained" not in stopped
    assert desk.send("/servers/pool-1/drain/stop", at="/servers/pool-1").status_code == 409
    refused = desk.send("/servers/pool-1/drain", at="/servers/pool-1", keep="0", to="pool-1")
    assert refused.status_code == 409
    assert "into itself" in refused.text
