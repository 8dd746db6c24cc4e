"""The life of tenants and the load of servers through the central API; the registry below is real."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from awssome.control.messages import ContextOut
from awssome.database.registry import accounts, audit, movers, placements, servers, tenants
from awssome.database.registry.audit import Actor
from awssome.database.schema import stage_mappings
from awssome.domain.errors import Refused
from awssome.domain.tenants import TRANSITIONS, Role, TenantState, Tier
from awssome.domain.times import now
from awssome.management import lifecycle, operations
from awssome.workflows import expiry, leaving, provisioning, returning
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy, register_server
from tests.engines import only_postgresql
from tests.management.test_api import SERVICE, Api, actions, api, signed_in  # noqa: F401
from tests.workflows.moving import add

OLGA = Actor("olga@awssome.example")

pytestmark = only_postgresql


def sign_up(api: Api, address: str, number: int) -> Any:  # noqa: F811
    headers = {"Authorization": f"Bearer {SERVICE}", "X-Awssome-Address": address, "X-Awssome-Host": "x"}
    body = {"name": "Alice", "email": f"alice{number}@{abs(hash(address))}.example", "company": "Northwind"}
    return api._client.post("/api/v1/signups", json=body, headers=headers)


# --- sign-ups


@pytest.mark.parametrize(
    ("address", "neighbour", "stranger"),
    [
        ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
        ("2001:db8:1:2::7", "2001:db8:1:2:ffff::1", "2001:db8:1:3::7"),
        ("::ffff:192.0.2.7", "192.0.2.7", "::ffff:192.0.2.8"),
    ],
)
def test_sign_ups_are_throttled_by_network(api: Api, address: str, neighbour: str, stranger: str) -> None:  # noqa: F811
    assert [sign_up(api, address, number).status_code for number in range(10)] == [202] * 10
    refused = sign_up(api, neighbour, 10)
    assert refused.status_code == 429
    assert 3500 < int(refused.headers["Retry-After"]) <= 3600
    assert sign_up(api, stranger, 11).status_code == 202


def test_a_sign_up_that_nobody_finishes_is_forgotten_after_a_week(
    api: Api,  # noqa: F811
    services: WorkerServices,
    make_tenant: Callable[..., Tenancy],
) -> None:
    active = make_tenant("Active Co")
    sign_up(api, "192.0.2.7", 1)
    with services.registry.begin() as connection:
        (pending,) = tenants.page(connection, state="pending")[0].rows
        owner = accounts.by_email(connection, pending.owner)
    assert owner is not None

    def sweep(days: float, seen: float | None = None) -> TenantState:
        with services.registry.begin() as connection:
            at = now()
            seen_at = None if seen is None else at - timedelta(days=seen)
            for each in (pending.id, active.id):
                tenants.change(connection, each, created_at=at - timedelta(days=days), seen_at=seen_at)
            expiry.sweep(connection, services.queue)
            return tenants.find(connection, pending.id).state

    assert sweep(days=6.9) is TenantState.PENDING
    assert sweep(days=30, seen=1) is TenantState.PENDING, "somebody is still at it"
    assert sweep(days=7.1) is TenantState.DELETED
    with services.registry.begin() as connection:
        assert tenants.find(connection, active.id).state is TenantState.ACTIVE
        assert accounts.find(connection, owner.id) is None, "who belongs to nothing else is forgotten, too"
        assert tenants.create(connection, "Northwind").slug == "northwind"
    assert sign_up(api, "192.0.2.7", 1).status_code == 202, "and may sign up again"


def test_a_workspace_that_was_begun_for_an_expired_sign_up_is_dropped(services: WorkerServices) -> None:
    with services.registry.begin() as connection:
        tenant = tenants.create(connection, "Slow Co")
        placement_id = placements.create(connection, tenant.id, servers.emptiest_pool(connection))
        tenants.change(connection, tenant.id, placement_id=placement_id, epoch=1)
        placement = placements.find(connection, services.keys, placement_id)
        server = services.open_server(placements.server_of(connection, placement_id))
    server.provision(placement.schema, placement.password, epoch=1, mode="rw")  # type: ignore[arg-type]
    with services.registry.begin() as connection:
        tenants.change(connection, tenant.id, created_at=now() - timedelta(days=8))
        expiry.sweep(connection, services.queue)
    provisioning.discard(services, placement_id)
    assert server.fence(placement.schema) is None
    with services.registry.begin() as connection:
        assert servers.by_name(connection, "pool-1").tenants == 0
    provisioning.provision(services, tenant.id)  # its job was still in the queue
    with services.registry.begin() as connection:
        assert tenants.find(connection, tenant.id).state is TenantState.DELETED


# --- the last place of a pool


def test_of_many_who_want_the_last_places_as_many_get_one_as_there_are(services: WorkerServices) -> None:
    with services.registry.begin() as connection:
        servers.change(connection, servers.by_name(connection, "pool-1").id, capacity=3)
        made = [tenants.create(connection, f"Company {number}") for number in range(8)]
    barrier, outcomes = threading.Barrier(len(made)), list[str]()

    def provision(tenant: tenants.Tenant) -> None:
        barrier.wait()
        try:
            provisioning.provision(services, tenant.id)
            outcomes.append("made")
        except Refused as refused:
            outcomes.append(refused.message)

    workers = [threading.Thread(target=provision, args=(tenant,)) for tenant in made]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(outcomes) == sorted(["made"] * 3 + ["No shared server has room for another workspace."] * 5)
    with services.registry.begin() as connection:
        row = operations.server(connection, "pool-1")
    assert (row.tenants, row.free, row.fill_percent, row.open, row.takes_tenants) == (3, 0, 100.0, True, False)


def test_moves_to_a_named_pool_do_not_overfill_it(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], pool_url: str
) -> None:
    made = [make_tenant(f"Company {number}") for number in range(6)]
    register_server(services, "pool-2", servers.ServerKind.POOL, pool_url)
    with services.registry.begin() as connection:
        servers.change(connection, servers.by_name(connection, "pool-2").id, capacity=2)
    barrier, outcomes = threading.Barrier(len(made)), list[str]()

    def move(tenancy: Tenancy) -> None:
        barrier.wait()
        try:
            with services.registry.begin() as connection:
                operations.start_move(services, connection, OLGA, tenancy.slug, "pool-2")
            outcomes.append("begun")
        except Refused as refused:
            outcomes.append(refused.message)

    workers = [threading.Thread(target=move, args=(tenancy,)) for tenancy in made]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(outcomes) == sorted(["begun"] * 2 + ["Server “pool-2” is full."] * 4)


def test_a_pool_that_was_full_takes_tenants_again_when_there_is_room(
    api: Api,  # noqa: F811
    services: WorkerServices,
    make_tenant: Callable[..., Tenancy],
) -> None:
    make_tenant()
    full = api.operator("PATCH", "/servers/pool-1", {"capacity": 1}).json()
    assert (full["open"], full["takes_tenants"], full["fill_percent"]) == (True, False, 100.0)
    with services.registry.begin() as connection, pytest.raises(Refused):
        servers.emptiest_pool(connection)
    again = api.operator("PATCH", "/servers/pool-1", {"capacity": 2}).json()
    assert (again["takes_tenants"], again["free"], again["fill_percent"]) == (True, 1, 50.0)
    assert api.operator("PATCH", "/servers/pool-1", {"capacity": 0}).status_code == 422
    with services.registry.begin() as connection:
        line = next(row for row in audit.page(connection).rows if row.action == "server.changed")
    assert line.detail == {"server": "pool-1", "capacity": 2, "before": 1}


def test_an_operator_opens_a_server_through_the_central_api(api: Api, services: WorkerServices) -> None:  # noqa: F811
    api.operator("POST", "/servers/pool-1/close")
    assert api.operator("GET", "/servers/pool-1").json()["takes_tenants"] is False
    assert api.operator("POST", "/servers/pool-1/open").status_code == 202
    with services.registry.begin() as connection:
        provisioning.check_server(services, servers.by_name(connection, "pool-1").id)
    assert api.operator("GET", "/servers/pool-1").json()["takes_tenants"] is True
    assert api.operator("GET", "/servers/none").status_code == 404


# --- deletion, return, rotation


def test_only_the_owner_deletes_the_workspace(
    api: Api,  # noqa: F811
    services: WorkerServices,
    make_tenant: Callable[..., Tenancy],
    signed_in: Callable[..., str],  # noqa: F811
) -> None:
    acme = make_tenant("Acme")
    for role in (Role.VIEWER, Role.MEMBER, Role.ADMIN):
        assert api.portal("POST", "/tenant/deletion", session=signed_in(acme, role)).status_code == 403
    session = signed_in(acme)
    assert api.portal("POST", "/tenant/deletion", session=session).status_code == 202
    context = ContextOut.model_validate_json(api.portal("GET", "/context", session=session).content)
    assert context.tenant is not None and context.tenant.retain_until is not None
    assert (context.tenant.state, context.placement) == (TenantState.RETAINED, None)
    assert api.portal("POST", "/tenant/deletion", session=session).status_code == 409
    assert "tenant.deleted" in actions(services)


def test_an_operator_deletes_and_brings_back(
    api: Api,  # noqa: F811
    services: WorkerServices,
    make_tenant: Callable[..., Tenancy],
) -> None:
    acme = make_tenant("Acme")
    assert api.operator("POST", f"/tenants/{acme.slug}/return", {}).status_code == 409
    deleted = api.operator("DELETE", f"/tenants/{acme.slug}")
    assert (deleted.status_code, deleted.json()["state"]) == (202, "retained")
    assert deleted.json()["retain_until"] is not None
    back = api.operator("POST", f"/tenants/{acme.slug}/return", {})
    assert (back.status_code, back.json()["state"], back.json()["retain_until"]) == (202, "active", None)


def test_an_archived_tenant_begins_to_come_back_with_the_first_question(
    api: Api,  # noqa: F811
    services: WorkerServices,
    make_tenant: Callable[..., Tenancy],
    signed_in: Callable[..., str],  # noqa: F811
) -> None:
    acme, session = make_tenant("Acme"), ""
    session = signed_in(acme)
    with services.registry.begin() as connection:
        tenants.change(connection, acme.id, seen_at=now() - timedelta(days=100))
        leaving.sweep(connection, services.queue, services.archive_policy, 90)
    leaving.close_workspace(services, acme.id)
    leaving.empty_workspace(services, acme.id)
    asked = [ContextOut.model_validate_json(api.portal("GET", "/context", session=session).content) for _ in range(3)]
    assert {answer.tenant.state for answer in asked if answer.tenant} == {TenantState.ARCHIVED}
    assert {answer.placement for answer in asked} == {None}
    with services.registry.begin() as connection:
        query = "SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'awssome.restore'"
        assert connection.scalar(text(query)) == 1
    assert actions(services).count("tenant.returning") == 1


def test_when_somebody_was_there_is_written_down_once_an_hour(
    api: Api,  # noqa: F811
    services: WorkerServices,
    make_tenant: Callable[..., Tenancy],
    signed_in: Callable[..., str],  # noqa: F811
) -> None:
    acme = make_tenant("Acme")
    session = signed_in(acme)

    def seen() -> Any:
        api.portal("GET", "/context", session=session)
        with services.registry.begin() as connection:
            return tenants.find(connection, acme.id).seen_at

    first = seen()
    assert first is not None
    assert seen() == first
    with services.registry.begin() as connection:
        tenants.change(connection, acme.id, seen_at=now() - timedelta(minutes=61))
    assert seen() > first


def test_rotations_are_counted_until_they_are_done(
    api: Api,  # noqa: F811
    make_tenant: Callable[..., Tenancy],
) -> None:
    acme = make_tenant("Acme")
    make_tenant("Bikes")
    assert api.operator("POST", f"/tenants/{acme.slug}/rotation").status_code == 202
    assert api.operator("POST", "/rotations", {}).json() == {"asked": 2, "next": None}
    assert api.operator("GET", "/rotations").json() == {"left": 3, "failed": 0}


def test_a_tenant_that_a_move_carries_is_shown_as_moving_and_stored_as_active(
    api: Api,  # noqa: F811
    services: WorkerServices,
    make_tenant: Callable[..., Tenancy],
    pool_url: str,
) -> None:
    acme, bikes = make_tenant("Acme"), make_tenant("Bikes")
    register_server(services, "pool-2", servers.ServerKind.POOL, pool_url)
    api.operator("POST", f"/tenants/{acme.slug}/move", {"server": "pool-2"})
    assert api.operator("GET", f"/tenants/{acme.slug}").json()["state"] == "moving"
    listed = {row["slug"]: row["state"] for row in api.operator("GET", "/tenants").json()["tenants"]}
    assert listed == {acme.slug: "moving", bikes.slug: "active"}
    with services.registry.begin() as connection:
        assert tenants.find(connection, acme.id).state is TenantState.ACTIVE
        for state, slug in (("moving", acme.slug), ("active", bikes.slug)):
            assert [row.slug for row in tenants.page(connection, state=state)[0].rows] == [slug]
        tenants.change(connection, acme.id, state=TenantState.SUSPENDED)
        assert operations.tenant_detail(connection, acme.slug).state is TenantState.SUSPENDED


STEPS = ("suspend", "resume", "rotate", "delete", "bring back", "fall asleep", "wake", "empty", "expire", "grant")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(STEPS), min_size=3, max_size=10), st.integers())
def test_whatever_happens_to_a_tenant_it_lives_along_the_transitions_and_keeps_its_data(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], steps: list[str], seed: int
) -> None:
    """Operations in any order, with the jobs that they ask for done or left undone for a while."""
    chance = random.Random(seed)
    tenancy = make_tenant(f"Company {seed}")
    with services.sessions.open(tenancy.placement) as connection:
        add(connection, "kept")
    before = _state(services, tenancy)
    for step in steps:
        try:
            _take(services, tenancy, step)
        except Refused:
            assert _state(services, tenancy) is before, f"{step} was refused and changed something"
        after = _state(services, tenancy)
        assert after is before or after in TRANSITIONS[before], f"{step}: {before} became {after}"
        before = after
        if chance.random() < 0.5:
            _do_jobs(services, tenancy)
            before = _after_jobs(before, _state(services, tenancy))
    _do_jobs(services, tenancy)
    tenant = _find(services, tenancy)
    if tenant.state is TenantState.ACTIVE:
        with services.registry.begin() as connection:
            placement = placements.current(connection, services.keys, tenant.id)
        with services.sessions.open(placement) as connection:
            assert list(connection.scalars(select(stage_mappings.c.pipeline))) == ["kept"]
            add(connection, "written")
    if tenant.state is TenantState.DELETED:
        assert tenant.placement_id is None


def _take(services: WorkerServices, tenancy: Tenancy, step: str) -> None:
    ref, queue = str(tenancy.id), services.queue
    if step == "empty":
        _do_jobs(services, tenancy)
        return
    with services.registry.begin() as connection:
        if step == "suspend":
            operations.suspend(services, connection, OLGA, ref)
        elif step == "resume":
            operations.resume(services, connection, OLGA, ref)
        elif step == "rotate":
            lifecycle.rotate(services, connection, OLGA, ref)
        elif step == "delete":
            lifecycle.delete_tenant(services, connection, OLGA, ref)
        elif step == "bring back":
            lifecycle.bring_back(services, connection, OLGA, ref)
        elif step == "fall asleep":
            tenants.change(connection, tenancy.id, seen_at=now() - timedelta(days=100))
            leaving.sweep(connection, queue, services.archive_policy, 90)
        elif step == "wake" and tenants.find(connection, tenancy.id).state is TenantState.ARCHIVED:
            returning.wake(connection, queue, OLGA, tenancy.id)
        elif step == "expire":
            tenants.change(connection, tenancy.id, retain_until=now() - timedelta(seconds=1))
            leaving.sweep(connection, queue, services.archive_policy, 0)
        elif step == "grant":
            tenants.change(connection, tenancy.id, tier=Tier.PAID)


def _do_jobs(services: WorkerServices, tenancy: Tenancy) -> None:
    """What workers would do by now."""
    from awssome.database.registry import restores
    from awssome.workflows import archives

    leaving.close_workspace(services, tenancy.id)
    with services.registry.begin() as connection:
        coming = restores.newest(connection, tenancy.id)
    if coming is not None:
        archives.restorer(services).carry_on(coming.id)
    leaving.empty_workspace(services, tenancy.id)
    returning.reopen_workspace(services, tenancy.id)
    provisioning.set_login(services, tenancy.id)


def _after_jobs(before: TenantState, after: TenantState) -> TenantState:
    assert after is before or after in TRANSITIONS[before]
    return after


def _find(services: WorkerServices, tenancy: Tenancy) -> tenants.Tenant:
    with services.registry.begin() as connection:
        return tenants.find(connection, tenancy.id)


def _state(services: WorkerServices, tenancy: Tenancy) -> TenantState:
    return _find(services, tenancy).state


def test_numbers_of_movers_only_ever_grow(services: WorkerServices, make_tenant: Callable[..., Tenancy]) -> None:
    tenancy = make_tenant()
    taken = []
    for _ in range(3):
        with services.registry.begin() as connection:
            taken.append(movers.take(connection, tenancy.id))
            assert movers.reserve(connection, tenancy.id) == taken[-1]
    assert taken == sorted(set(taken))
