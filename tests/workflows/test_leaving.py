"""Tenants that go and come back: nothing is dropped that is not proven to be kept, whatever happens on the way."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select, text

from awssome.database import servers as opening
from awssome.database.registry import Registry, accounts, archives, audit, placements, restores, tenants
from awssome.database.registry import servers as registered
from awssome.database.registry.tables import alerts
from awssome.database.registry.tables import tenants as tenants_table
from awssome.database.schema import stage_mappings
from awssome.domain.archives import ArchiveKind, ArchiveState, RestoreState
from awssome.domain.errors import Code, Refused
from awssome.domain.secrets import Keys
from awssome.domain.tenants import PlacementState, TenantState, Tier
from awssome.domain.times import new_id, now
from awssome.workflows import archives as archiving
from awssome.workflows import leaving, moves, returning
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy, worker_services
from tests.processes import processes
from tests.workflows.moving import OLGA, Truth, mover, placement_of, rows_of, upgrade

DAYS = 90

STEPS = ["close", "export", "detach", "drop"]


def delete(services: WorkerServices, tenancy: Tenancy) -> None:
    with services.registry.begin() as connection:
        leaving.delete(connection, services.queue, OLGA, tenancy.id)


def fall_asleep(services: WorkerServices, tenancy: Tenancy, days: int = DAYS + 1) -> None:
    """Nobody was there for so long; a sweep notices."""
    with services.registry.begin() as connection:
        tenants.change(connection, tenancy.id, seen_at=now() - timedelta(days=days))
    sweep(services)


def sweep(services: WorkerServices) -> None:
    with services.registry.begin() as connection:
        leaving.sweep(connection, services.queue, services.archive_policy, DAYS)


def empty(services: WorkerServices, tenancy: Tenancy) -> None:
    """What the two jobs do."""
    leaving.close_workspace(services, tenancy.id)
    leaving.empty_workspace(services, tenancy.id)


def bring_back(services: WorkerServices, tenancy: Tenancy) -> None:
    """Ask for it, and do what the jobs do."""
    with services.registry.begin() as connection:
        returning.bring_back(connection, services.queue, OLGA, tenancy.id)
    carry_on(services, tenancy)


def carry_on(services: WorkerServices, tenancy: Tenancy) -> None:
    returning.reopen_workspace(services, tenancy.id)
    with services.registry.begin() as connection:
        coming = restores.newest(connection, tenancy.id)
    if coming is not None:
        archiving.restorer(services).carry_on(coming.id)


def found(services: WorkerServices, tenancy: Tenancy) -> tenants.Tenant:
    with services.registry.begin() as connection:
        return tenants.find(connection, tenancy.id)


def kept(services: WorkerServices, tenancy: Tenancy) -> archives.Archive:
    with services.registry.begin() as connection:
        archive = archives.last_words(connection, tenancy.id)
    assert archive is not None
    return archive


def on_server(services: WorkerServices, tenancy: Tenancy) -> bool:
    """Whether anything of the tenant's first placement is on its server."""
    with services.registry.begin() as connection:
        server_id = placements.server_of(connection, tenancy.placement.placement_id)
    held = {holding.schema for holding in services.open_server(server_id).holdings()}
    return tenancy.placement.schema in held


def opens(services: WorkerServices, tenancy: Tenancy) -> bool:
    try:
        with services.sessions.open(placement_of(services, tenancy)) as connection:
            connection.execute(select(stage_mappings))
    except Refused as refused:
        assert refused.code is Code.FENCED
        return False
    return True


def jobs_waiting(services: WorkerServices) -> list[str]:
    with services.registry.begin() as connection:
        query = "SELECT task_name FROM procrastinate_jobs WHERE status = 'todo' ORDER BY id"
        return [str(name).removeprefix("awssome.") for name in connection.scalars(text(query))]


# --- deletion


def test_a_deleted_tenant_is_archived_then_dropped_and_comes_back_as_it_was(
    services: WorkerServices, alice: Tenancy
) -> None:
    truth = Truth.of(services, alice)
    delete(services, alice)
    tenant = found(services, alice)
    assert tenant.state is TenantState.RETAINED
    assert tenant.retain_until is not None and tenant.retain_until > now() + timedelta(days=29)
    empty(services, alice)
    assert not on_server(services, alice)
    archive = kept(services, alice)
    assert (archive.kind, archive.expires_at) == (ArchiveKind.FINAL, tenant.retain_until)
    assert archive.rows == sum(map(len, truth.rows.values()))
    with services.registry.begin() as connection:
        assert {row.state for row in placements.of_tenant(connection, alice.id)} == {PlacementState.DROPPED}
        assert registered.by_name(connection, "pool-1").tenants == 0
    bring_back(services, alice)
    tenant = found(services, alice)
    assert (tenant.state, tenant.retain_until, tenant.problem) == (TenantState.ACTIVE, None, None)
    assert tenant.placement_id is not None
    truth.holds_at(tenant.placement_id)
    assert opens(services, alice)


def test_a_session_that_was_open_does_not_outlive_the_deletion(services: WorkerServices, alice: Tenancy) -> None:
    with pytest.raises(Refused) as refused, services.sessions.open(alice.placement) as connection:
        connection.execute(select(stage_mappings))
        delete(services, alice)
        leaving.close_workspace(services, alice.id)
        connection.execute(select(stage_mappings))
    assert refused.value.code is Code.FENCED
    assert not opens(services, alice)


def test_who_is_brought_back_before_the_workspace_is_dropped_needs_no_archive(
    services: WorkerServices, alice: Tenancy
) -> None:
    rows = rows_of(alice.placement)
    delete(services, alice)
    leaving.close_workspace(services, alice.id)
    assert not opens(services, alice)
    bring_back(services, alice)
    leaving.empty_workspace(services, alice.id)  # its job was in the queue: it does nothing
    assert found(services, alice).placement_id == alice.placement.placement_id
    assert rows_of(alice.placement) == rows
    assert opens(services, alice)


def test_a_worker_that_slept_through_a_return_drops_nothing_and_closes_nothing(
    services: WorkerServices, alice: Tenancy
) -> None:
    """The tenant comes back at the worst moment: the archive is made, and the worker is about to detach it."""
    rows = rows_of(alice.placement)

    def meanwhile(step: str) -> None:
        if step == "detach":
            bring_back(services, alice)

    delete(services, alice)
    leaving.close_workspace(services, alice.id)
    leaving.empty_workspace(services, alice.id, meanwhile)
    assert found(services, alice).state is TenantState.ACTIVE
    assert rows_of(alice.placement) == rows
    assert opens(services, alice)

    def before_the_fence(step: str) -> None:
        if step == "close":
            bring_back(services, alice)

    delete(services, alice)
    leaving.empty_workspace(services, alice.id, before_the_fence)
    assert found(services, alice).placement_id == alice.placement.placement_id
    assert opens(services, alice)


def test_what_was_written_after_a_first_deletion_is_in_the_archive_of_the_second(
    services: WorkerServices, alice: Tenancy
) -> None:
    """An archive of an earlier attempt proves nothing of what the tables hold now."""

    def comes_back(step: str) -> None:
        if step == "detach":
            bring_back(services, alice)

    delete(services, alice)
    leaving.close_workspace(services, alice.id)
    leaving.empty_workspace(services, alice.id, comes_back)
    first = kept(services, alice)
    with services.sessions.open(alice.placement) as connection:
        connection.execute(stage_mappings.delete())
    truth = Truth.of(services, alice)
    delete(services, alice)
    empty(services, alice)
    assert kept(services, alice).id != first.id
    bring_back(services, alice)
    placement_id = found(services, alice).placement_id
    assert placement_id is not None
    truth.holds_at(placement_id)


def test_when_the_export_fails_nothing_is_dropped_and_the_tenant_says_why(
    services: WorkerServices, alice: Tenancy, tmp_path: Path
) -> None:
    rows = rows_of(alice.placement)
    (tmp_path / "archives").write_text("a file where the directory should be")
    delete(services, alice)
    leaving.close_workspace(services, alice.id)
    with pytest.raises(Refused):
        leaving.empty_workspace(services, alice.id)
    problem = found(services, alice).problem
    assert problem is not None and "Nothing was dropped." in problem
    assert on_server(services, alice)
    (tmp_path / "archives").unlink()
    leaving.empty_workspace(services, alice.id)
    assert found(services, alice).problem is None
    assert not on_server(services, alice)
    assert kept(services, alice).rows == sum(map(len, rows.values()))


def test_an_archive_that_was_damaged_is_made_anew_before_anything_is_dropped(
    services: WorkerServices, alice: Tenancy, tmp_path: Path
) -> None:
    truth = Truth.of(services, alice)

    def damage(step: str) -> None:
        if step == "detach":
            raise KeyboardInterrupt

    delete(services, alice)
    leaving.close_workspace(services, alice.id)
    with pytest.raises(KeyboardInterrupt):
        leaving.empty_workspace(services, alice.id, damage)
    first = kept(services, alice)
    file = tmp_path / "archives" / first.file
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    leaving.empty_workspace(services, alice.id)
    assert kept(services, alice).id != first.id
    bring_back(services, alice)
    placement_id = found(services, alice).placement_id
    assert placement_id is not None
    truth.holds_at(placement_id)


@pytest.mark.usefixtures("dedicated")
def test_a_deleted_tenant_leaves_its_dedicated_server_and_the_copy_that_was_kept(
    services: WorkerServices, alice: Tenancy
) -> None:
    mover(services).carry_on(upgrade(services, alice))
    with services.registry.begin() as connection:
        assert registered.by_name(connection, "dedicated-1").tenant == "Northwind"
    delete(services, alice)
    empty(services, alice)
    assert not on_server(services, alice), "the copy on the pool"
    with services.registry.begin() as connection:
        assert registered.by_name(connection, "dedicated-1").tenant is None
        assert {row.state for row in placements.of_tenant(connection, alice.id)} == {PlacementState.DROPPED}
    bring_back(services, alice)
    with services.registry.begin() as connection:
        row = registered.by_id(
            connection, placements.server_of(connection, found(services, alice).placement_id or alice.id)
        )
    assert (row.name, found(services, alice).tier) == ("pool-1", Tier.PAID)


@pytest.mark.usefixtures("dedicated")
def test_a_tenant_that_is_being_moved_is_not_deleted_and_a_deleted_one_is_not_moved(
    services: WorkerServices, alice: Tenancy
) -> None:
    move_id = upgrade(services, alice)
    with pytest.raises(Refused, match="being moved"):
        delete(services, alice)
    fall_asleep(services, alice)
    assert found(services, alice).state is TenantState.ACTIVE
    mover(services).carry_on(move_id)
    delete(services, alice)
    with pytest.raises(Refused, match="Only an active tenant"), services.registry.begin() as connection:
        moves.move_to(connection, services.queue, OLGA, str(alice.id), "pool-1")
    with pytest.raises(Refused) as refused:
        delete(services, alice)
    assert refused.value.code is Code.CONFLICT


def test_a_restore_asked_for_by_hand_waits_until_the_workspace_is_emptied(
    services: WorkerServices, alice: Tenancy
) -> None:
    archive = archiving.export_now(services, alice.id, ArchiveKind.MANUAL, OLGA.name, None)
    delete(services, alice)
    with pytest.raises(Refused, match="still being emptied"), services.registry.begin() as connection:
        archiving.request_restore(connection, services.queue, OLGA, str(alice.id), archive.id)


def test_after_thirty_days_everything_is_erased(services: WorkerServices, alice: Tenancy, tmp_path: Path) -> None:
    other = archiving.export_now(services, alice.id, ArchiveKind.MANUAL, alice.owner_email, None)
    delete(services, alice)
    sweep(services)
    assert found(services, alice).state is TenantState.RETAINED, "not before its time"
    with services.registry.begin() as connection:
        tenants.change(connection, alice.id, retain_until=now() - timedelta(seconds=1))
    sweep(services)
    assert found(services, alice).state is TenantState.RETAINED, "not while its schema is still there"
    empty(services, alice)
    last = kept(services, alice)
    with services.registry.begin() as connection:
        about = {"rule": "statement_too_long", "subject": "s", "severity": "error", "tenant_id": alice.id}
        told = {"message": "Northwind has had one statement running for 20 minutes.", "detail": {"about": "Northwind"}}
        connection.execute(alerts.insert().values(id=new_id(), opened_at=now(), seen_at=now(), **about, **told))
    sweep(services)
    tenant = found(services, alice)
    assert (tenant.state, tenant.company, tenant.slug) == (
        TenantState.DELETED,
        "Deleted workspace",
        f"deleted-{alice.id.hex}",
    )
    with services.registry.begin() as connection:
        assert accounts.by_email(connection, alice.owner_email) is None
        assert tenants.by_slug(connection, alice.slug) is None
        for archive in (other, last):
            archiving.expire(services, archive.id)
            row = archives.find(connection, archive.id)
            assert (row.state, row.requested_by) == (ArchiveState.EXPIRED, "")
        assert "tenant.erased" in [row.action for row in audit.page(connection).rows]
        assert connection.execute(select(alerts)).all() == []
    assert [path for path in (tmp_path / "archives").rglob("*") if path.is_file()] == []
    with services.registry.begin() as connection:
        assert tenants.create(connection, "Northwind").slug == alice.slug, "the name is free for others"


def test_who_belongs_to_another_tenant_keeps_the_account(
    services: WorkerServices, alice: Tenancy, make_tenant: Callable[..., Tenancy]
) -> None:
    other = make_tenant("Second Co", alice.owner_email)
    delete(services, alice)
    empty(services, alice)
    with services.registry.begin() as connection:
        tenants.change(connection, alice.id, retain_until=now() - timedelta(seconds=1))
    sweep(services)
    with services.registry.begin() as connection:
        mine = accounts.memberships_of(connection, alice.owner_id)
    assert [row.tenant_id for row in mine] == [other.id]


# --- dormant tenants


def test_a_dormant_tenant_is_archived_and_comes_back_when_somebody_is_there(
    services: WorkerServices, alice: Tenancy
) -> None:
    truth = Truth.of(services, alice)
    fall_asleep(services, alice, DAYS - 1)
    assert found(services, alice).state is TenantState.ACTIVE
    fall_asleep(services, alice)
    assert found(services, alice).state is TenantState.ARCHIVED
    empty(services, alice)
    assert not on_server(services, alice)
    archive = kept(services, alice)
    assert (archive.kind, archive.expires_at) == (ArchiveKind.DORMANT, None)
    with services.registry.begin() as connection:
        returning.wake(connection, services.queue, OLGA, alice.id)
    carry_on(services, alice)
    placement_id = found(services, alice).placement_id
    assert placement_id is not None
    truth.holds_at(placement_id)
    sweep(services)
    assert found(services, alice).state is TenantState.ACTIVE, "it is not dormant again at once"
    assert kept(services, alice).expires_at is not None, "the archive is kept for a while only"


@pytest.mark.parametrize("spared", ["paid", "asks for the paid tier", "suspended"])
def test_who_is_not_to_be_archived_is_left_alone(services: WorkerServices, alice: Tenancy, spared: str) -> None:
    changes: dict[str, object] = {
        "paid": {"tier": Tier.PAID},
        "asks for the paid tier": {"upgrade_requested_at": now()},
        "suspended": {"state": TenantState.SUSPENDED},
    }[spared]
    with services.registry.begin() as connection:
        tenants.change(connection, alice.id, **changes)
    fall_asleep(services, alice)
    assert found(services, alice).state is not TenantState.ARCHIVED


def test_two_members_who_return_at_once_begin_one_restore(services: WorkerServices, alice: Tenancy) -> None:
    truth = Truth.of(services, alice)
    fall_asleep(services, alice)
    empty(services, alice)
    barrier = threading.Barrier(4)

    def comes() -> None:
        barrier.wait()
        with services.registry.begin() as connection:
            returning.wake(connection, services.queue, OLGA, alice.id)

    people = [threading.Thread(target=comes) for _ in range(4)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    with services.registry.begin() as connection:
        assert len(restores.of_tenant(connection, alice.id)) == 1
    assert jobs_waiting(services).count("restore") == 1
    carry_on(services, alice)
    placement_id = found(services, alice).placement_id
    assert placement_id is not None
    truth.holds_at(placement_id)


def test_who_asks_in_the_moment_of_the_return_is_told_that_it_is_back(services: WorkerServices, alice: Tenancy) -> None:
    """The visitor was found at an archived tenant, and a worker has brought it back since."""
    fall_asleep(services, alice)
    empty(services, alice)
    bring_back(services, alice)
    with services.registry.begin() as connection:
        tenant = returning.wake(connection, services.queue, OLGA, alice.id)
    assert (tenant.state, tenant.problem) == (TenantState.ACTIVE, None)


def test_a_return_that_finds_no_room_says_so_and_succeeds_when_there_is(
    services: WorkerServices, alice: Tenancy
) -> None:
    fall_asleep(services, alice)
    empty(services, alice)
    with services.registry.begin() as connection:
        pool = registered.by_name(connection, "pool-1")
        registered.change(connection, pool.id, open=False)
        returning.wake(connection, services.queue, OLGA, alice.id)
    assert found(services, alice).problem == "No shared server has room for another workspace."
    with services.registry.begin() as connection:
        registered.change(connection, pool.id, open=True)
        returning.wake(connection, services.queue, OLGA, alice.id)
    carry_on(services, alice)
    tenant = found(services, alice)
    assert (tenant.state, tenant.problem) == (TenantState.ACTIVE, None)


def test_a_return_that_failed_is_not_begun_anew_with_each_look(
    services: WorkerServices, alice: Tenancy, tmp_path: Path
) -> None:
    fall_asleep(services, alice)
    empty(services, alice)
    file = tmp_path / "archives" / kept(services, alice).file
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"?")
    with services.registry.begin() as connection:
        returning.wake(connection, services.queue, OLGA, alice.id)
    carry_on(services, alice)
    for _ in range(3):
        with services.registry.begin() as connection:
            returning.wake(connection, services.queue, OLGA, alice.id)
    with services.registry.begin() as connection:
        assert [row.state for row in restores.of_tenant(connection, alice.id)] == [RestoreState.FAILED]
    assert found(services, alice).problem is not None
    file.write_bytes(whole)
    bring_back(services, alice)  # an operator does not wait
    assert found(services, alice).state is TenantState.ACTIVE


# --- workers that die


def die_at(url: str, secret_key: str, archives: str, tenant_id: UUID, step: str) -> None:
    """Empty a workspace in a process of its own, which is killed as the step begins."""

    def at(name: str) -> None:
        if name == step:
            os.kill(os.getpid(), signal.SIGKILL)

    registry, keys = Registry(url, connections=2), Keys.from_text(secret_key)
    from awssome.database.sessions import Sessions
    from awssome.hubspot.oauth import app_for

    app = app_for("http://127.0.0.1:9", "client", "secret", "http://localhost:8000/hubspot/callback")
    made = worker_services(registry, keys, Sessions(budget=4), app, Path(archives))
    leaving.empty_workspace(replace(made, open_server=opening.opener(registry, keys)), tenant_id, at)


@pytest.mark.parametrize("step", STEPS)
def test_a_worker_that_is_killed_over_a_deletion_leaves_work_that_can_be_carried_on(
    step: str, services: WorkerServices, alice: Tenancy, registry_url: str, secret_key: str, tmp_path: Path
) -> None:
    truth = Truth.of(services, alice)
    delete(services, alice)
    leaving.close_workspace(services, alice.id)
    arguments = (registry_url, secret_key, str(tmp_path / "archives"), alice.id, step)
    process = processes.Process(target=die_at, args=arguments)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert found(services, alice).state is TenantState.RETAINED
    assert on_server(services, alice)
    assert (found(services, alice).placement_id is None) is (step == "drop")
    leaving.empty_workspace(services, alice.id)
    assert not on_server(services, alice)
    bring_back(services, alice)
    placement_id = found(services, alice).placement_id
    assert placement_id is not None
    truth.holds_at(placement_id)


@pytest.mark.parametrize("step", STEPS)
def test_a_tenant_can_come_back_wherever_its_worker_was_killed(
    step: str, services: WorkerServices, alice: Tenancy, registry_url: str, secret_key: str, tmp_path: Path
) -> None:
    truth = Truth.of(services, alice)
    delete(services, alice)
    leaving.close_workspace(services, alice.id)
    arguments = (registry_url, secret_key, str(tmp_path / "archives"), alice.id, step)
    process = processes.Process(target=die_at, args=arguments)
    process.start()
    process.join(60)
    bring_back(services, alice)
    placement_id = found(services, alice).placement_id
    assert placement_id is not None
    truth.holds_at(placement_id)
    assert opens(services, alice)


def test_a_sweep_takes_up_what_nobody_carries_on(services: WorkerServices, alice: Tenancy) -> None:
    delete(services, alice)
    with services.registry.begin() as connection:
        connection.execute(text("DELETE FROM procrastinate_jobs"))
    sweep(services)
    assert jobs_waiting(services) == ["close_workspace"]
    sweep(services)
    assert jobs_waiting(services) == ["close_workspace"], "once is enough"


# --- HubSpot's account


def test_a_deleted_tenant_frees_its_hubspot_account_and_an_archived_one_keeps_it(
    services: WorkerServices, alice: Tenancy, make_tenant: Callable[..., Tenancy]
) -> None:
    from awssome.database.registry import hubspot

    bob = make_tenant("Bob's Bikes")
    with services.registry.begin() as connection:
        hubspot.connect(connection, alice.id, 4711, "northwind.example")
    fall_asleep(services, alice)
    empty(services, alice)
    with pytest.raises(Refused, match="feed one free workspace"), services.registry.begin() as connection:
        hubspot.connect(connection, bob.id, 4711, "northwind.example")
    delete(services, alice)
    empty(services, alice)
    with services.registry.begin() as connection:
        assert hubspot.others_connected(connection, bob.id, 4711) == []
        hubspot.connect(connection, bob.id, 4711, "northwind.example")
        assert connection.scalar(select(tenants_table.c.hubspot_state).where(tenants_table.c.id == alice.id)) == "none"
