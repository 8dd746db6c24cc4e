"""The doctor finds what registry and servers disagree about, and mends what can be mended without a doubt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from awssome.database import doctor
from awssome.database.differences import REPAIRED, Check
from awssome.database.doctor import Finding
from awssome.database.engine import Server
from awssome.database.registry import audit, moves, placements, servers, tenants
from awssome.database.registry.audit import Actor
from awssome.database.schema import stage_mappings
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import FenceMode, MoveKind, Phase
from awssome.domain.secrets import Keys, new_secret_key
from awssome.domain.tenants import EngineName, PlacementState, ServerKind, TenantState, new_schema_name
from awssome.domain.times import now
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy, register_server
from tests.engines import SERVERS

STRANGERS = {Check.ORPHANED, Check.ORPHANED_LOGINS}
"""Other tests' tenants are on the same server, but not in this test's registry."""


def findings(services: WorkerServices, *, repair: bool = False) -> dict[str, Finding]:
    """By check, for the one pool and the registry."""
    found = doctor.examine(services.registry, services.vault, services.open_server, repair=repair)
    return {finding.check: finding for finding in found}


def pool(services: WorkerServices) -> Server:
    with services.registry.begin() as connection:
        return services.open_server(servers.by_name(connection, "pool-1").id)


def wrong(services: WorkerServices) -> dict[str, tuple[str, ...]]:
    """What is not well, strangers left out."""
    return {
        check: finding.names
        for check, finding in findings(services).items()
        if not finding.ok and check not in STRANGERS
    }


def opens(services: WorkerServices, tenancy: Tenancy) -> bool:
    services.sessions.forget(tenancy.placement)
    try:
        with services.sessions.open(tenancy.placement) as connection:
            connection.execute(select(stage_mappings))
    except Refused as refused:
        assert refused.code is Code.FENCED
        return False
    return True


def named(tenancy: Tenancy) -> str:
    return f"{tenancy.placement.schema} ({tenancy.slug})"


def test_a_sound_platform_has_no_finding(services: WorkerServices, make_tenant: Callable[..., Tenancy]) -> None:
    make_tenant()
    suspended = make_tenant("Bob's Bikes")
    with services.registry.begin() as connection:
        tenants.change(connection, suspended.id, state=TenantState.SUSPENDED)
    pool(services).close_login(suspended.placement.schema)
    assert set(findings(services)) == {"audit log", "secret key", "data keys", "server", "behind", *Check}
    assert wrong(services) == {}


def test_an_orphaned_schema_is_dropped_only_by_its_name(services: WorkerServices) -> None:
    schema, server = new_schema_name(), pool(services)
    server.provision(schema, "Aa1-secret-of-nobody", epoch=1, mode=FenceMode.RW)
    found = findings(services, repair=True)[Check.ORPHANED]
    assert schema in found.names
    assert not found.ok
    assert server.fence(schema) is not None
    assert doctor.drop_orphan(services.registry, services.open_server, Actor("olga"), schema) == "pool-1"
    assert schema not in findings(services)[Check.ORPHANED].names
    with services.registry.begin() as connection:
        line = audit.page(connection).rows[0]
    assert (line.actor, line.action, line.detail["schema"]) == ("olga", "orphan.dropped", schema)
    with pytest.raises(Refused) as refused:
        doctor.drop_orphan(services.registry, services.open_server, Actor("olga"), schema)
    assert refused.value.code is Code.NOT_FOUND


def test_a_server_that_is_away_does_not_keep_an_orphan_on_another_one(services: WorkerServices) -> None:
    schema, server = new_schema_name(), pool(services)
    server.provision(schema, "Aa1-secret-of-nobody", epoch=1, mode=FenceMode.RW)
    register_server(services, "away-1", ServerKind.POOL, "postgresql://a:b@127.0.0.1:9/x")
    assert doctor.drop_orphan(services.registry, services.open_server, Actor("olga"), schema) == "pool-1"
    with pytest.raises(Refused, match="away-1 did not") as refused:
        doctor.drop_orphan(services.registry, services.open_server, Actor("olga"), schema)
    assert refused.value.code is Code.UNAVAILABLE


@pytest.mark.parametrize("state", [state for state in PlacementState if state is not PlacementState.DROPPED])
def test_what_a_placement_names_is_no_orphan_whatever_its_state(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], state: PlacementState
) -> None:
    tenancy = make_tenant()
    with services.registry.begin() as connection:
        placements.mark(connection, tenancy.placement.placement_id, state)
    with pytest.raises(Refused, match="A placement names"):
        doctor.drop_orphan(services.registry, services.open_server, Actor("olga"), tenancy.placement.schema)
    assert pool(services).fence(tenancy.placement.schema) is not None


@pytest.mark.parametrize("name", ["public", "user_0", "user_0123456789abcdef; DROP TABLE x", ""])
def test_nothing_but_a_tenants_schema_is_dropped(services: WorkerServices, name: str) -> None:
    with pytest.raises(Refused, match="not the name"):
        doctor.drop_orphan(services.registry, services.open_server, Actor("olga"), name)


def test_a_placement_without_its_schema_is_listed(
    services: WorkerServices, make_tenant: Callable[..., Tenancy]
) -> None:
    tenancy = make_tenant("Lost Co")
    pool(services).drop(tenancy.placement.schema, 0)
    assert wrong(services) == {Check.MISSING: (named(tenancy),)}


def test_a_wrong_revision_in_the_registry_is_repaired_when_asked_for(
    services: WorkerServices, make_tenant: Callable[..., Tenancy]
) -> None:
    tenancy = make_tenant()
    with services.registry.begin() as connection:
        placements.note_revision(connection, tenancy.placement.placement_id, "0000")
    assert wrong(services) == {Check.REVISIONS: (named(tenancy),)}
    repaired = findings(services, repair=True)[Check.REVISIONS]
    assert (repaired.ok, repaired.repaired, repaired.names) == (True, True, (named(tenancy),))
    assert wrong(services) == {}


def test_the_closed_login_of_an_active_tenant_is_opened(
    services: WorkerServices, make_tenant: Callable[..., Tenancy]
) -> None:
    tenancy = make_tenant()
    pool(services).close_login(tenancy.placement.schema)
    assert wrong(services) == {Check.SHUT: (named(tenancy),)}
    findings(services, repair=True)
    assert opens(services, tenancy)
    assert wrong(services) == {}


@pytest.mark.parametrize("state", [TenantState.SUSPENDED, TenantState.RETAINED, TenantState.ARCHIVED])
def test_the_open_login_of_a_tenant_that_is_not_active_is_closed(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], state: TenantState
) -> None:
    tenancy = make_tenant()
    with services.registry.begin() as connection:
        tenants.change(connection, tenancy.id, state=state)
    assert opens(services, tenancy)
    assert wrong(services) == {Check.OPEN: (named(tenancy),)}
    findings(services, repair=True)
    assert not opens(services, tenancy)
    assert wrong(services) == {}


def test_a_kept_copy_that_is_open_is_closed(services: WorkerServices, make_tenant: Callable[..., Tenancy]) -> None:
    tenancy = make_tenant()
    with services.registry.begin() as connection:
        placements.mark(connection, tenancy.placement.placement_id, PlacementState.RETAINED)
        tenants.change(connection, tenancy.id, placement_id=None)
    assert wrong(services) == {Check.OPEN: (named(tenancy),), Check.OPEN_FENCES: (named(tenancy),)}
    findings(services, repair=True)
    assert not opens(services, tenancy)
    fence = pool(services).fence(tenancy.placement.schema)
    assert fence is not None and fence.mode is FenceMode.MOVED
    assert wrong(services) == {}


def test_a_capture_without_a_move_is_ended(services: WorkerServices, make_tenant: Callable[..., Tenancy]) -> None:
    tenancy = make_tenant()
    pool(services).capture(tenancy.placement.schema, 0, on=True)
    assert wrong(services) == {Check.CAPTURES: (named(tenancy),)}
    findings(services, repair=True)
    fence = pool(services).fence(tenancy.placement.schema)
    assert fence is not None
    assert (fence.mode, fence.capture) == (FenceMode.RW, False)
    assert wrong(services) == {}


def test_a_fence_that_is_not_the_registrys_is_never_changed_by_a_repair(
    services: WorkerServices, make_tenant: Callable[..., Tenancy]
) -> None:
    """The registry may be an older one: then the fence is right, and to open it would make two truths."""
    tenancy = make_tenant()
    with services.registry.begin() as connection:
        tenants.change(connection, tenancy.id, epoch=7)
    assert wrong(services) == {Check.FENCES: (named(tenancy),)}
    before = pool(services).fence(tenancy.placement.schema)
    assert not findings(services, repair=True)[Check.FENCES].repaired
    assert pool(services).fence(tenancy.placement.schema) == before


def test_what_was_begun_for_nothing_is_dropped_and_what_may_go_on_is_not(
    services: WorkerServices, make_tenant: Callable[..., Tenancy]
) -> None:
    tenancy, server = make_tenant(), pool(services)
    with services.registry.begin() as connection:
        server_id = servers.by_name(connection, "pool-1").id
        begun = [placements.create(connection, tenancy.id, server_id) for _ in range(2)]
        move_id = moves.create(
            connection, tenancy.id, MoveKind.REBALANCE, tenancy.placement.placement_id, begun[1], "olga"
        )
        schemas = [placements.find(connection, services.keys, each).schema for each in begun]
    for schema in schemas:
        server.provision(schema, "Aa1-secret-of-nobody", epoch=1, mode=FenceMode.STANDBY)
    assert wrong(services) == {Check.ABANDONED: (f"{schemas[0]} ({tenancy.slug})",)}
    findings(services, repair=True)
    assert [server.fence(schema) is not None for schema in schemas] == [False, True]
    assert wrong(services) == {}
    with services.registry.begin() as connection:
        moves.advance(connection, moves.claim(connection, move_id), Phase.CANCELLED, finished_at=now())
    assert wrong(services) == {Check.ABANDONED: (f"{schemas[1]} ({tenancy.slug})",)}


def test_what_the_registry_counts_as_dropped_is_dropped(
    services: WorkerServices, make_tenant: Callable[..., Tenancy]
) -> None:
    tenancy = make_tenant()
    with services.registry.begin() as connection:
        placements.mark(connection, tenancy.placement.placement_id, PlacementState.DROPPED)
        tenants.change(connection, tenancy.id, placement_id=None)
    assert wrong(services) == {Check.LEFT: (named(tenancy),)}
    findings(services, repair=True)
    assert pool(services).fence(tenancy.placement.schema) is None
    assert wrong(services) == {}


def test_what_is_wrong_for_a_moment_only_is_no_finding(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], engine: EngineName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody is suspended between the two looks, at the server and at the registry."""
    tenancy = make_tenant()
    really, looks = SERVERS[engine].holdings, []

    def then_suspended(self: Server) -> Sequence[object]:
        found = really(self)
        if not looks:
            with services.registry.begin() as connection:
                tenants.change(connection, tenancy.id, state=TenantState.SUSPENDED)
            self.close_login(tenancy.placement.schema)
        looks.append(found)
        return found

    monkeypatch.setattr(SERVERS[engine], "holdings", then_suspended)
    assert wrong(services) == {}
    assert len(looks) == 2


def test_where_a_mover_has_begun_meanwhile_nothing_is_repaired_and_the_rest_is_looked_at(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], engine: EngineName, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenancy, other, plain = make_tenant(), make_tenant("Bob's Bikes"), SERVERS[engine].capture
    for each in (tenancy, other):
        pool(services).capture(each.placement.schema, 0, on=True)

    def claimed(self: Any, schema: str, mover: int, *, on: bool, timeout_ms: int = 2000) -> None:
        if schema == tenancy.placement.schema:
            self.claim(schema, mover + 1)
        plain(self, schema, mover, on=on, timeout_ms=timeout_ms)

    monkeypatch.setattr(SERVERS[engine], "capture", claimed)
    found = findings(services, repair=True)
    assert not found[Check.CAPTURES].repaired
    assert set(found) >= {*Check}
    assert wrong(services) == {Check.CAPTURES: (named(tenancy),)}


def test_what_is_repaired_is_in_the_audit_log(services: WorkerServices, make_tenant: Callable[..., Tenancy]) -> None:
    tenancy = make_tenant()
    pool(services).close_login(tenancy.placement.schema)
    findings(services, repair=True)
    with services.registry.begin() as connection:
        line = audit.page(connection, tenant_id=tenancy.id).rows[0]
    assert (line.action, line.detail["check"]) == ("doctor.repaired", Check.SHUT)
    assert Check.ORPHANED not in REPAIRED and Check.FENCES not in REPAIRED and Check.MISSING not in REPAIRED


def test_logins_of_an_earlier_secret_key_are_counted(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], secret_key: str
) -> None:
    make_tenant()
    assert findings(services)["secret key"].ok
    found = findings(replace(services, keys=Keys.from_text(new_secret_key(), secret_key)))["secret key"]
    assert not found.ok
    assert "1 logins" in found.told


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
