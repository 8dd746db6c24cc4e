"""The doctor finds what registry and servers disagree about, and repairs what is safe to repair."""

from __future__ import annotations

from collections.abc import Callable

from awssome.database import doctor
from awssome.database.doctor import Finding
from awssome.database.registry import placements, servers
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import new_schema_name
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy


def findings(services: WorkerServices, *, repair: bool = False) -> dict[str, Finding]:
    """By check, for the one pool and the registry."""
    return {
        finding.check: finding for finding in doctor.examine(services.registry, services.open_server, repair=repair)
    }


def test_a_sound_platform_has_no_finding(services: WorkerServices, make_tenant: Callable[..., Tenancy]) -> None:
    make_tenant()
    found = findings(services)
    assert set(found) == {"audit log", "server", "orphaned schemas", "missing schemas", "behind", "revisions"}
    # Other tests' tenants are on the same server, but not in this test's registry.
    assert [check for check, finding in found.items() if not finding.ok and check != "orphaned schemas"] == []


def test_an_orphaned_schema_is_listed_and_never_dropped(services: WorkerServices) -> None:
    schema = new_schema_name()
    with services.registry.begin() as connection:
        server = services.open_server(servers.by_name(connection, "pool-1").id)
    server.provision(schema, "Aa1-secret-of-nobody", epoch=1, mode=FenceMode.RW)
    found = findings(services, repair=True)["orphaned schemas"]
    assert schema in found.names
    assert not found.ok
    assert server.fence(schema) is not None
    server.drop(schema, 0)
    assert schema not in findings(services)["orphaned schemas"].names


def test_a_placement_without_its_schema_is_listed(
    services: WorkerServices, make_tenant: Callable[..., Tenancy]
) -> None:
    tenancy = make_tenant("Lost Co")
    with services.registry.begin() as connection:
        services.open_server(servers.by_name(connection, "pool-1").id).drop(tenancy.placement.schema, 0)
    found = findings(services)["missing schemas"]
    assert found.names == (f"{tenancy.placement.schema} (lost-co)",)
    assert not found.ok


def test_a_wrong_revision_in_the_registry_is_repaired_when_asked_for(
    services: WorkerServices, make_tenant: Callable[..., Tenancy]
) -> None:
    tenancy = make_tenant()
    with services.registry.begin() as connection:
        placements.note_revision(connection, tenancy.placement.placement_id, "0000")
    assert not findings(services)["revisions"].ok
    repaired = findings(services, repair=True)["revisions"]
    assert repaired.ok
    assert repaired.repaired
    assert repaired.names == (tenancy.placement.schema,)
    assert findings(services)["revisions"] == Finding("revisions", "pool-1", True, "The registry knows them all.")


def test_a_server_that_does_not_answer_is_told_and_the_rest_is_checked(
    services: WorkerServices, make_tenant: Callable[..., Tenancy]
) -> None:
    make_tenant()
    with services.registry.begin() as connection:
        servers.relocate(
            connection, services.keys, "pool-1", host="127.0.0.1", port=9, admin_url="postgresql://a:b@127.0.0.1:9/x"
        )
    found = findings(services)
    assert found["server"] == Finding("server", "pool-1", False, "The database server at 127.0.0.1:9 does not answer.")
    assert found["audit log"].ok
