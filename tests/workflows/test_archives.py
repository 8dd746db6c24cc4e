"""One tenant at a time: what is exported is what comes back, whatever happens on the way, and nobody else notices."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import zipfile
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text, update
from sqlalchemy.engine import make_url

from awssome.database import template
from awssome.database.embedded import Cluster
from awssome.database.registry import archives as registered
from awssome.database.registry import jobs, moves, placements, restores, servers, tenants
from awssome.database.registry.archives import Archive
from awssome.database.registry.tables import archives as archive_rows
from awssome.database.registry.tables import placements as placement_rows
from awssome.database.registry.tables import tenants as tenant_rows
from awssome.database.schema import hubspot_tokens, stage_mappings, sync_issues
from awssome.database.servers import prepare_data_plane
from awssome.database.tenant.keys import data_key, key_for_new_tokens
from awssome.domain.archives import EXPORTS_A_DAY, ArchiveKind, ArchivePolicy, ArchiveState, RestoreState
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import FenceMode, Phase
from awssome.domain.secrets import Keys, new_secret_key
from awssome.domain.tenants import EngineName, PlacementState, ServerKind, TenantState
from awssome.domain.times import now
from awssome.domain.vault import Vault
from awssome.management import archives as managed
from awssome.workflows import archives
from awssome.workflows.services import WorkerServices
from awssome.workflows.workspace import Workspace
from tests.conftest import PROVISIONER_PASSWORD, Tenancy, register_server, superuser
from tests.engines import DRIVER_ERRORS, Raw, as_administrator, only_postgresql, only_sqlserver
from tests.processes import processes
from tests.versions import EXPAND, NEXT, of_version, write_revision
from tests.workflows.dying import export_and_die, restore_and_die
from tests.workflows.moving import (
    OLGA,
    Truth,
    Wire,
    add,
    evidence_of,
    mover,
    placement_of,
    rows_of,
    upgrade,
    writable,
)

REPLACING = ("provision", "load", "verify", "migrate", "freeze", "switch", "open", "retain")


def exported(services: WorkerServices, tenancy: Tenancy) -> Archive:
    """The tenant's archive, as a worker makes it."""
    return archives.export_now(services, tenancy.id, ArchiveKind.MANUAL, OLGA.name, None)


def restore(services: WorkerServices, tenancy: Tenancy, archive: Archive, **options: Any) -> UUID:
    """Ask for a restore; its id."""
    with services.registry.begin() as connection:
        return archives.request_restore(connection, services.queue, OLGA, str(tenancy.id), archive.id, **options)


def carry_on(services: WorkerServices, restore_id: UUID, **options: Any) -> RestoreState:
    """As a worker does."""
    return replace(archives.restorer(services), **options).carry_on(restore_id)


def the_restore(services: WorkerServices, restore_id: UUID) -> Any:
    """The restore's row, as operators see it."""
    with services.registry.begin() as connection:
        return restores.row(connection, restore_id)


def the_archive(services: WorkerServices, archive_id: UUID) -> Archive:
    """The archive's row."""
    with services.registry.begin() as connection:
        return registered.find(connection, archive_id)


def state_of(services: WorkerServices, placement_id: UUID) -> Any:
    """A placement's row."""
    with services.registry.begin() as connection:
        return connection.execute(placement_rows.select().where(placement_rows.c.id == placement_id)).one()


def files(tmp_path: Path) -> list[str]:
    """What lies where archives lie."""
    return sorted(path.name for path in (tmp_path / "archives").rglob("*") if path.is_file())


# --- exports


def test_an_archive_holds_every_row_proves_it_and_is_nobody_elses_to_read(
    services: WorkerServices, alice: Tenancy, tmp_path: Path
) -> None:
    archive = exported(services, alice)
    rows = rows_of(placement_of(services, alice))
    assert (archive.state, archive.revision) == (ArchiveState.READY, template.head())
    assert archive.rows == sum(map(len, rows.values()))
    path = tmp_path / "archives" / archive.file
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert path.stat().st_size == archive.bytes
    with services.archives.reading(archive.file) as file, zipfile.ZipFile(file) as found:
        manifest = json.loads(found.read("manifest.json"))
        assert manifest["tenant"]["id"] == str(alice.id)
        proven = {entry["name"]: (entry["rows"], entry["checksum"]) for entry in manifest["tables"]}
        assert proven == evidence_of(rows)
        # What the tenant's schema holds of HubSpot's tokens, and no key that would open them.
        tokens = json.loads(found.read("tables/hubspot_tokens.jsonl"))
        assert bytes(range(256)).hex() in tokens


@only_postgresql
def test_an_archive_is_on_the_disk_with_every_directory_that_leads_to_it_before_it_counts(
    services: WorkerServices, alice: Tenancy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A schema is dropped because its archive is there: a power cut must not take back what the registry says."""
    brought, fsync = [], os.fsync

    def noted(descriptor: int) -> None:
        brought.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    path = tmp_path / "archives" / exported(services, alice).file
    root, tenants_own = str(tmp_path / "archives"), str(path.parent)
    assert brought == [root, str(path.with_name(f".{path.name}")), tenants_own]


@pytest.mark.parametrize("step", ["written", "named"])
def test_an_export_that_is_killed_is_made_again_and_leaves_nothing_behind(
    step: str, services: WorkerServices, alice: Tenancy, registry_url: str, secret_key: str, tmp_path: Path
) -> None:
    with services.registry.begin() as connection:
        asked = archives.request(connection, services.queue, OLGA, str(alice.id))
    arguments = (registry_url, secret_key, tmp_path / "archives", asked.id, step)
    process = processes.Process(target=export_and_die, args=arguments)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert the_archive(services, asked.id).state is ArchiveState.REQUESTED
    assert len(files(tmp_path)) == 1
    archives.export(services, asked.id)
    made = the_archive(services, asked.id)
    assert made.state is ArchiveState.READY
    assert files(tmp_path) == [Path(made.file).name]
    archives.export(services, asked.id)  # again: nothing to do
    assert the_archive(services, asked.id) == made


def test_of_two_who_make_an_archive_at_once_one_counts_and_its_file_is_what_the_registry_says(
    services: WorkerServices, alice: Tenancy, tmp_path: Path
) -> None:
    with services.registry.begin() as connection:
        asked = archives.request(connection, services.queue, OLGA, str(alice.id))
        frozen, _ = registered.begin(connection, asked.id)
    archives.export(services, asked.id)
    made = the_archive(services, asked.id)
    archives._export(services, frozen)  # the frozen one wakes up
    assert the_archive(services, asked.id) == made
    assert files(tmp_path) == [Path(made.file).name]
    restore_id = restore(services, alice, made, beside=True)
    assert carry_on(services, restore_id) is RestoreState.DONE


def test_what_goes_wrong_is_told_on_the_archive(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], tmp_path: Path
) -> None:
    tenancy = make_tenant()
    with services.registry.begin() as connection:
        asked = archives.request(connection, services.queue, OLGA, str(tenancy.id))
        server = services.open_server(placements.server_of(connection, tenancy.placement.placement_id))
    server.drop(tenancy.placement.schema, 0)
    with pytest.raises(Refused):
        archives.export(services, asked.id)
    failed = the_archive(services, asked.id)
    assert (failed.state, failed.problem) == (
        ArchiveState.FAILED,
        "The workspace's tables are not on the server that the registry names.",
    )
    assert files(tmp_path) == []


@only_postgresql
def test_an_export_costs_the_same_however_many_tenants_there_are(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], cluster: Cluster
) -> None:
    tenancy = make_tenant()

    def statements() -> int:
        with superuser(cluster, "awssome_tenants") as connection:
            connection.execute("SELECT public.pg_stat_statements_reset()")
            exported(services, tenancy)
            query = (
                "SELECT sum(calls) FROM public.pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid "
                "WHERE r.rolname IN ('awssome_provisioner', 'awssome_control')"
            )
            row: Any = connection.execute(query).fetchone()
            return int(row[0])

    statements()  # what the first connection asks
    alone = statements()
    for _ in range(4):
        make_tenant()
    assert statements() == alone < 40


def test_what_is_written_during_an_export_is_in_it_wholly_or_not_at_all(
    services: WorkerServices, alice: Tenancy
) -> None:
    stop, problems = threading.Event(), []

    def writes() -> None:
        workspace, number = Workspace(services, alice.id), 0
        try:
            while not stop.is_set():

                def both(connection: Any, number: int = number) -> None:
                    add(connection, f"one-{number}")
                    add(connection, f"other-{number}")

                workspace.do(both)
                number += 1
        except Exception as error:
            problems.append(error)

    writer = threading.Thread(target=writes)
    writer.start()
    try:
        found = [exported(services, alice) for _ in range(5)]
    finally:
        stop.set()
        writer.join(30)
    assert problems == []
    for archive in found:
        with services.archives.reading(archive.file) as file, zipfile.ZipFile(file) as content:
            keys = [json.loads(line)[0] for line in content.read("tables/stage_mappings.jsonl").splitlines()]
        ones, others = (
            {key.partition("-")[2] for key in keys if key.startswith(start)} for start in ("one-", "other-")
        )
        assert ones == others


def test_an_owner_has_one_export_at_a_time_and_so_many_a_day(services: WorkerServices, alice: Tenancy) -> None:
    with services.registry.begin() as connection:
        tenant = tenants.find(connection, alice.id)
        first = managed.export_own(services, connection, OLGA, tenant)
        assert managed.export_own(services, connection, OLGA, tenant).id == first.id
        connection.execute(update(archive_rows).values(state=ArchiveState.FAILED))
        for _ in range(EXPORTS_A_DAY - 1):
            managed.export_own(services, connection, OLGA, tenant)
            connection.execute(update(archive_rows).values(state=ArchiveState.FAILED))
        with pytest.raises(Refused) as refused:
            managed.export_own(services, connection, OLGA, tenant)
    assert refused.value.code is Code.LIMITED


def test_scheduled_exports_come_when_they_are_due_and_go_when_they_were_kept_long_enough(
    services: WorkerServices, alice: Tenancy, make_tenant: Callable[..., Tenancy], tmp_path: Path
) -> None:
    bob = make_tenant("Bob's", "bob@bikes.example")
    policy = ArchivePolicy(export_hours=24, days=14)

    def swept() -> list[Archive]:
        with services.registry.begin() as connection:
            archives.sweep(connection, services.queue, policy)
            found = connection.execute(archive_rows.select().where(archive_rows.c.kind == ArchiveKind.SCHEDULED))
            return [registered._archive(row) for row in found]

    assert swept() == []  # both are younger than a day
    with services.registry.begin() as connection:
        connection.execute(
            update(tenant_rows).where(tenant_rows.c.id == alice.id).values(created_at=now() - timedelta(hours=25))
        )
    (due,) = swept()
    assert (due.tenant_id, due.requested_by) == (alice.id, "platform")
    assert due.expires_at is not None
    assert timedelta(days=13) < due.expires_at - now() < timedelta(days=15)
    assert swept() == [due]  # it waits already
    with services.registry.begin() as connection:
        assert jobs.is_under_way(connection, f"archive:{due.id}", archive_id=str(due.id))
    archives.export(services, due.id)
    archives.expire(services, due.id)  # too early
    assert the_archive(services, due.id).state is ArchiveState.READY
    with services.registry.begin() as connection:
        connection.execute(update(archive_rows).values(expires_at=now() - timedelta(seconds=1)))
    swept()
    archives.expire(services, due.id)
    assert (the_archive(services, due.id).state, files(tmp_path)) == (ArchiveState.EXPIRED, [])
    archives.expire(services, due.id)  # again: nothing to do
    with pytest.raises(Refused) as refused:
        restore(services, alice, due)
    assert refused.value.code is Code.GONE
    with services.registry.begin() as connection:
        assert registered.due(connection, timedelta(hours=24), 50) == []
        assert registered.due(connection, timedelta(0), 50) == [bob.id, alice.id]
        assert registered.due(connection, timedelta(0), 1) == [bob.id]


@only_postgresql
def test_the_file_stays_while_a_tenant_is_restored_from_it_though_its_time_is_over(
    services: WorkerServices, alice: Tenancy, tmp_path: Path
) -> None:
    archive = exported(services, alice)
    restore_id = restore(services, alice, archive)
    with services.registry.begin() as connection:
        connection.execute(update(archive_rows).values(expires_at=now() - timedelta(seconds=1)))
        assert registered.past_retention(connection, now(), 50) == []
    archives.expire(services, archive.id)  # its job was in the queue
    assert carry_on(services, restore_id) is RestoreState.DONE
    archives.expire(services, archive.id)
    assert (the_archive(services, archive.id).state, files(tmp_path)) == (ArchiveState.EXPIRED, [])


@only_postgresql
def test_what_a_sweep_asks_for_is_asked_for_once_however_long_it_waits(
    services: WorkerServices, alice: Tenancy
) -> None:
    """A store or a server that is away for hours must not leave a job for each minute."""
    archive = exported(services, alice)
    carry_on(services, restore(services, alice, exported(services, alice), beside=True))
    with services.registry.begin() as connection:
        connection.execute(text("DELETE FROM procrastinate_jobs"))
        ended = {"expires_at": now() - timedelta(seconds=1)}
        connection.execute(update(archive_rows).where(archive_rows.c.id == archive.id).values(ended))
        kept = placement_rows.c.state == PlacementState.RETAINED
        connection.execute(update(placement_rows).where(kept).values(retain_until=now() - timedelta(seconds=1)))
        for _ in range(3):
            archives.sweep(connection, services.queue, ArchivePolicy(export_hours=0))
        query = "SELECT task_name FROM procrastinate_jobs ORDER BY task_name"
        assert list(connection.scalars(text(query))) == ["awssome.drop_restored", "awssome.expire"]


@only_postgresql
def test_the_registry_forgets_archives_long_after_their_files_but_none_that_a_restore_names(
    services: WorkerServices, alice: Tenancy
) -> None:
    kept, forgotten, ready = (exported(services, alice) for _ in range(3))
    carry_on(services, restore(services, alice, kept, beside=True))
    with services.registry.begin() as connection:
        gone = update(archive_rows).where(archive_rows.c.id.in_([kept.id, forgotten.id]))
        connection.execute(gone.values(state=ArchiveState.EXPIRED, expires_at=now() - timedelta(days=91)))
        archives.sweep(connection, services.queue, ArchivePolicy(export_hours=0))
        page = registered.of_tenant(connection, alice.id)
    assert [row.id for row in page.rows] == [ready.id, kept.id]


def test_a_server_that_is_away_makes_a_scheduled_export_wait_not_pile_up(
    services: WorkerServices, alice: Tenancy
) -> None:
    long_ago = now() - timedelta(days=3)
    with services.registry.begin() as connection:
        connection.execute(update(tenant_rows).values(created_at=long_ago))
        archives.sweep(connection, services.queue, ArchivePolicy())
        connection.execute(update(archive_rows).values(created_at=long_ago))
        assert registered.due(connection, timedelta(hours=24), 50) == []
        assert registered.without_job(connection, now()) == []  # its job is there
        connection.execute(text("DELETE FROM procrastinate_jobs"))
        assert len(registered.without_job(connection, now())) == 1


# --- restores


def test_a_tenant_is_brought_back_as_it_was(services: WorkerServices, alice: Tenancy) -> None:
    truth, before = Truth.of(services, alice), placement_of(services, alice)
    archive = exported(services, alice)
    with services.sessions.open(before) as connection:
        connection.execute(sync_issues.delete())
        add(connection, "after the archive")
    restore_id = restore(services, alice, archive)
    assert carry_on(services, restore_id) is RestoreState.DONE
    found = the_restore(services, restore_id)
    truth.holds_at(found.target_id)
    assert {name: entry["equal"] for name, entry in found.evidence["tables"].items()} == dict.fromkeys(truth.rows, True)
    after = placement_of(services, alice)
    assert (after.epoch, after.schema != before.schema) == (before.epoch + 1, True)
    kept = state_of(services, before.placement_id)
    assert (kept.state, kept.retain_until > now() + timedelta(days=29)) == (PlacementState.RETAINED, True)
    with pytest.raises((Refused, *DRIVER_ERRORS)):
        Raw(before)  # its login is closed
    assert carry_on(services, restore_id) is RestoreState.DONE  # again: nothing to do
    truth.holds_at(found.target_id)


@pytest.mark.parametrize("step", REPLACING)
def test_a_restore_that_is_killed_at_a_step_can_be_carried_on(
    step: str, services: WorkerServices, alice: Tenancy, registry_url: str, secret_key: str, tmp_path: Path
) -> None:
    truth, before = Truth.of(services, alice), placement_of(services, alice)
    restore_id = restore(services, alice, exported(services, alice))
    arguments = (registry_url, secret_key, tmp_path / "archives", restore_id, step)
    process = processes.Process(target=restore_and_die, args=arguments)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    target = the_restore(services, restore_id).target_id
    switched = step in ("open", "retain")
    here = target if switched else before.placement_id
    assert placement_of(services, alice).placement_id == here
    assert rows_of(placement_of(services, alice)) == truth.rows  # reads go on meanwhile
    assert writable(services, alice) == ([] if step in ("switch", "open") else [here])
    assert carry_on(services, restore_id) is RestoreState.DONE
    truth.holds_at(target)


@pytest.mark.parametrize("step", ["load", "freeze", "switch", "open"])
def test_a_restorer_that_wakes_up_after_another_has_finished_changes_nothing(
    step: str, services: WorkerServices, alice: Tenancy
) -> None:
    truth = Truth.of(services, alice)
    restore_id = restore(services, alice, exported(services, alice))
    left: list[Any] = []

    def sleeps(name: str) -> None:
        if name == step:
            assert carry_on(services, restore_id) is RestoreState.DONE
            left.append((the_restore(services, restore_id), placement_of(services, alice)))

    carry_on(services, restore_id, step=sleeps)
    assert [(the_restore(services, restore_id), placement_of(services, alice))] == left
    truth.holds_at(the_restore(services, restore_id).target_id)


def test_no_write_is_lost_or_taken_twice_while_a_tenant_is_replaced(services: WorkerServices, alice: Tenancy) -> None:
    """What was acknowledged before the switch is in what is kept; what came after it is where the tenant is."""
    archive, before = exported(services, alice), placement_of(services, alice)
    of_archive = {row[0] for row in rows_of(before)["stage_mappings"]}
    stop, acknowledged, problems = threading.Event(), [[], [], []], []  # type: ignore[var-annotated]

    def writes(mine: list[str], name: str) -> None:
        workspace, number = Workspace(services, alice.id, patience=60), 0
        try:
            while not stop.is_set():
                key = f"{name}{number}"
                workspace.do(lambda connection, key=key: add(connection, key))  # type: ignore[misc]
                mine.append(key)
                number += 1
                time.sleep(0.002)
        except Exception as error:
            problems.append(error)

    writers = [
        threading.Thread(target=writes, args=(mine, name)) for mine, name in zip(acknowledged, "abc", strict=True)
    ]
    for writer in writers:
        writer.start()
    restore_id = restore(services, alice, archive)
    assert carry_on(services, restore_id) is RestoreState.DONE
    written = sum(map(len, acknowledged))
    while sum(map(len, acknowledged)) < written + 9 and not problems:
        time.sleep(0.01)
    stop.set()
    for writer in writers:
        writer.join(60)
    assert problems == []
    after = placement_of(services, alice)
    assert writable(services, alice) == [after.placement_id]
    with services.registry.begin() as connection:
        server = services.open_server(placements.server_of(connection, before.placement_id))
    table = stage_mappings
    with server.snapshot(before.schema) as found:
        kept = {str(row[0]) for row in found.rows(table)} - of_archive
    now_there = {row[0] for row in rows_of(after)["stage_mappings"]} - of_archive
    assert kept.isdisjoint(now_there)
    assert kept | now_there == {key for mine in acknowledged for key in mine}
    assert kept
    assert now_there
    assert the_restore(services, restore_id).evidence["steps"]["write_pause_ms"] >= 0


def test_a_placement_beside_is_read_by_who_has_its_login_written_by_nobody_and_dropped_in_the_end(
    services: WorkerServices, alice: Tenancy
) -> None:
    archive, truth, before = exported(services, alice), Truth.of(services, alice), placement_of(services, alice)
    with services.sessions.open(before) as connection:
        add(connection, "after the archive")
    restore_id = restore(services, alice, archive, beside=True)
    assert carry_on(services, restore_id) is RestoreState.DONE
    assert placement_of(services, alice) == before
    assert writable(services, alice) == [before.placement_id]
    target = the_restore(services, restore_id).target_id
    with services.registry.begin() as connection:
        beside = placements.find(connection, services.keys, target)
        server = services.open_server(placements.server_of(connection, target))
    assert rows_of(beside) == truth.rows
    fence = server.fence(beside.schema)
    assert fence is not None
    assert fence.mode is FenceMode.STANDBY

    archives.restorer(services).drop(restore_id)  # too early
    assert state_of(services, target).state == PlacementState.RETAINED
    with services.registry.begin() as connection:
        assert restores.past_retention(connection, now()) == []
        assert restores.past_retention(connection, now() + timedelta(days=31)) == [restore_id]
        connection.execute(
            update(placement_rows).where(placement_rows.c.id == target).values(retain_until=now() - timedelta(1))
        )
    archives.restorer(services).drop(restore_id)
    assert (state_of(services, target).state, server.fence(beside.schema)) == (PlacementState.DROPPED, None)
    assert placement_of(services, alice) == before
    archives.restorer(services).drop(restore_id)  # again: nothing to do


def test_what_was_replaced_is_dropped_in_the_end_and_where_the_tenant_lives_never(
    services: WorkerServices, alice: Tenancy
) -> None:
    truth, before = Truth.of(services, alice), placement_of(services, alice)
    restore_id = restore(services, alice, exported(services, alice))
    carry_on(services, restore_id)
    target = the_restore(services, restore_id).target_id
    with services.registry.begin() as connection:
        connection.execute(update(placement_rows).values(retain_until=now() - timedelta(1)))
        archives.sweep(connection, services.queue, ArchivePolicy())
        assert jobs.is_under_way(connection, f"restore:{restore_id}", restore_id=str(restore_id))
    archives.restorer(services).drop(restore_id)
    assert state_of(services, before.placement_id).state == PlacementState.DROPPED
    truth.holds_at(target)


@pytest.mark.parametrize("state", [TenantState.ARCHIVED, TenantState.RETAINED])
def test_a_tenant_that_has_no_workspace_any_more_comes_back_active(
    state: TenantState, services: WorkerServices, alice: Tenancy
) -> None:
    truth, before = Truth.of(services, alice), placement_of(services, alice)
    archive = archives.export_now(services, alice.id, ArchiveKind.FINAL, "platform", None)
    with services.registry.begin() as connection:
        server = services.open_server(placements.server_of(connection, before.placement_id))
        server.drop(before.schema, 0)
        placements.mark(connection, before.placement_id, PlacementState.DROPPED)
        tenants.change(connection, alice.id, placement_id=None, state=state, retain_until=now())
    restore_id = restore(services, alice, archive)
    assert carry_on(services, restore_id) is RestoreState.DONE
    truth.holds_at(the_restore(services, restore_id).target_id)
    with services.registry.begin() as connection:
        tenant = tenants.find(connection, alice.id)
    assert (tenant.state, tenant.epoch) == (TenantState.ACTIVE, before.epoch + 1)


@only_postgresql
def test_a_tenant_that_is_deleted_for_good_does_not_come_back(services: WorkerServices, alice: Tenancy) -> None:
    archive = exported(services, alice)
    with services.registry.begin() as connection:
        tenants.change(connection, alice.id, placement_id=None, state=TenantState.DELETED)
    with pytest.raises(Refused, match="deleted for good") as refused:
        restore(services, alice, archive, beside=True)
    assert refused.value.code is Code.CONFLICT
    assert state_of(services, alice.placement.placement_id).state == PlacementState.ACTIVE
    with services.registry.begin() as connection:
        assert len(placements.of_tenant(connection, alice.id)) == 1


def test_a_tenant_that_is_elsewhere_by_then_is_left_alone(services: WorkerServices, alice: Tenancy) -> None:
    """Nothing opens a placement that the tenant has left, whatever became of it meanwhile."""
    before = placement_of(services, alice)
    restore_id = restore(services, alice, exported(services, alice))
    with services.registry.begin() as connection:
        tenants.change(connection, alice.id, placement_id=None, state=TenantState.RETAINED)
        server = services.open_server(placements.server_of(connection, before.placement_id))
    server.set_fence(before.schema, 0, mode=FenceMode.MOVED, epoch=before.epoch)
    assert carry_on(services, restore_id) is RestoreState.FAILED
    assert writable(services, alice) == []
    fence = server.fence(before.schema)
    assert fence is not None
    assert fence.mode is FenceMode.MOVED


def test_a_suspended_tenant_stays_suspended(services: WorkerServices, alice: Tenancy) -> None:
    archive = exported(services, alice)
    with services.registry.begin() as connection:
        tenants.change(connection, alice.id, state=TenantState.SUSPENDED)
    assert carry_on(services, restore(services, alice, archive)) is RestoreState.DONE
    with pytest.raises((Refused, *DRIVER_ERRORS)):
        Raw(placement_of(services, alice))


@pytest.mark.parametrize(
    ("portal_id", "token", "state"),
    [(2**62, b"sealed", "connected"), (1, b"sealed", "reconnect"), (2**62, b"", "reconnect")],
    ids=["its own tokens", "another account's", "none"],
)
def test_a_tenant_reconnects_unless_the_tokens_of_its_account_are_in_the_archive(
    portal_id: int, token: bytes, state: str, services: WorkerServices, alice: Tenancy
) -> None:
    with services.sessions.open(placement_of(services, alice)) as connection:
        connection.execute(update(hubspot_tokens).values(refresh_token=token))
    archive = exported(services, alice)
    with services.registry.begin() as connection:
        tenants.change(connection, alice.id, hubspot_state="connected", hubspot_portal_id=portal_id)
    carry_on(services, restore(services, alice, archive))
    with services.registry.begin() as connection:
        assert tenants.find(connection, alice.id).hubspot_state == state


def test_who_is_restored_after_the_secret_key_was_taken_away_connects_anew(
    services: WorkerServices, alice: Tenancy
) -> None:
    """The archive's data key is wrapped under a secret key that nobody has any more."""
    with services.sessions.open(placement_of(services, alice)) as connection:
        data_key(connection, Vault(Keys.from_text(new_secret_key())), alice.id)
        connection.execute(update(hubspot_tokens).values(refresh_token=b"sealed"))
    archive = exported(services, alice)
    with services.registry.begin() as connection:
        tenants.change(connection, alice.id, hubspot_state="connected", hubspot_portal_id=2**62)
    carry_on(services, restore(services, alice, archive))
    with services.registry.begin() as connection:
        assert tenants.find(connection, alice.id).hubspot_state == "reconnect"
    with services.sessions.open(placement_of(services, alice)) as connection:
        with pytest.raises(Refused):
            data_key(connection, services.vault, alice.id)
        fresh = key_for_new_tokens(connection, services.vault, alice.id)
        assert data_key(connection, services.vault, alice.id) == fresh
        assert key_for_new_tokens(connection, services.vault, alice.id) == fresh, "one that opens is kept"


@only_sqlserver
def test_a_tenant_is_restored_to_the_other_engine_and_back(
    services: WorkerServices, alice: Tenancy, cluster: Cluster
) -> None:
    register_server(services, "other", ServerKind.POOL, prepare_data_plane(cluster, PROVISIONER_PASSWORD))
    archive = exported(services, alice)
    sums = _sums(services, alice)
    assert carry_on(services, restore(services, alice, archive, server="other")) is RestoreState.DONE
    assert placement_of(services, alice).engine is EngineName.POSTGRESQL
    assert _sums(services, alice) == sums
    again = exported(services, alice)
    assert again.engine == EngineName.POSTGRESQL
    assert carry_on(services, restore(services, alice, again, server="pool-1")) is RestoreState.DONE
    assert placement_of(services, alice).engine is EngineName.SQLSERVER
    assert _sums(services, alice) == sums


def test_an_archive_of_an_older_revision_is_brought_to_the_newest(
    services: WorkerServices, alice: Tenancy, tmp_path: Path
) -> None:
    archive, older = exported(services, alice), template.head()
    newer = of_version(services, write_revision(tmp_path / "to_come", EXPAND))
    late = exported(newer, alice)  # of a tenant that has not been migrated yet
    for one in (archive, late):
        assert one.revision == older
        restore_id = restore(newer, alice, one, beside=True)
        assert carry_on(newer, restore_id) is RestoreState.DONE
        target = the_restore(newer, restore_id).target_id
        with newer.registry.begin() as connection:
            placement = placements.find(connection, newer.keys, target)
            server = newer.open_server(placements.server_of(connection, target))
        fence = server.fence(placement.schema)
        assert fence is not None
        assert fence.revision == state_of(newer, target).revision == NEXT
        with closing(Raw(placement)) as tenant:
            assert {row[0] for row in tenant.rows(f"SELECT note FROM {placement.schema}.stage_mappings")} == {"-"}
    restore_id = restore(newer, alice, late)
    assert carry_on(newer, restore_id) is RestoreState.DONE
    assert state_of(newer, the_restore(newer, restore_id).target_id).revision == NEXT


# --- what is refused, and leaves nothing


def _cut(content: bytes) -> bytes:
    return content[:-50]


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [_cut, _flipped])
def test_a_damaged_archive_is_refused_and_the_tenant_stays_where_it_is(
    damage: Callable[[bytes], bytes], services: WorkerServices, alice: Tenancy, tmp_path: Path
) -> None:
    truth, before = Truth.of(services, alice), placement_of(services, alice)
    archive = exported(services, alice)
    path = tmp_path / "archives" / archive.file
    content = path.read_bytes()
    path.write_bytes(damage(content))
    restore_id = restore(services, alice, archive)
    assert carry_on(services, restore_id) is RestoreState.FAILED
    failed = the_restore(services, restore_id)
    assert "damaged" in failed.problem
    assert failed.placement_state == PlacementState.DROPPED
    truth.holds_at(before.placement_id)
    # Sent from elsewhere it is not even kept.
    with pytest.raises(Refused) as refused:
        archives.take_in(services, OLGA, str(alice.id), [damage(content)])
    assert refused.value.code is Code.INVALID
    assert files(tmp_path) == [path.name]
    # And the tenant may be restored from a good one afterwards.
    sent = archives.take_in(services, OLGA, str(alice.id), [content[:100], content[100:]])
    assert (sent.kind, sent.state, sent.sha256) == (ArchiveKind.UPLOADED, ArchiveState.READY, archive.sha256)
    again = restore(services, alice, sent)
    assert carry_on(services, again) is RestoreState.DONE
    truth.holds_at(the_restore(services, again).target_id)


def test_rows_that_differ_from_the_archive_are_never_opened(services: WorkerServices, alice: Tenancy) -> None:
    truth, before = Truth.of(services, alice), placement_of(services, alice)
    restore_id = restore(services, alice, exported(services, alice))
    with services.registry.begin() as connection:
        target = placements.find(connection, services.keys, the_restore(services, restore_id).target_id)

    def tampers(name: str) -> None:
        if name == "verify":
            table = f"{target.schema}.stage_mappings"
            as_administrator(target.engine, pool_url, f"UPDATE {table} SET stage = 'Other'")

    pool_url = _admin_url(services, alice)
    assert carry_on(services, restore_id, step=tampers) is RestoreState.FAILED
    failed = the_restore(services, restore_id)
    assert "stage_mappings" in failed.problem
    unequal = [name for name, entry in failed.evidence["tables"].items() if not entry["equal"]]
    assert unequal == ["stage_mappings"]
    truth.holds_at(before.placement_id)


def test_an_archive_is_its_own_tenants(
    services: WorkerServices, alice: Tenancy, make_tenant: Callable[..., Tenancy]
) -> None:
    bob, archive = make_tenant("Bob's", "bob@bikes.example"), exported(services, alice)
    with pytest.raises(Refused) as refused:
        restore(services, bob, archive)
    assert refused.value.code is Code.NOT_FOUND
    with services.archives.reading(archive.file) as file, pytest.raises(Refused) as refused:
        archives.take_in(services, OLGA, str(bob.id), [file.read()])
    assert "another tenant" in refused.value.message


@pytest.mark.usefixtures("dedicated")
def test_a_tenant_is_not_moved_and_restored_at_once(services: WorkerServices, alice: Tenancy) -> None:
    truth, archive = Truth.of(services, alice), exported(services, alice)
    restore_id = restore(services, alice, archive)
    for ask in (upgrade, lambda services, alice: restore(services, alice, archive)):
        with pytest.raises(Refused) as refused:
            ask(services, alice)
        assert refused.value.code is Code.CONFLICT
    assert carry_on(services, restore_id) is RestoreState.DONE
    move_id = upgrade(services, alice)
    with pytest.raises(Refused) as refused:
        restore(services, alice, archive)
    assert refused.value.code is Code.CONFLICT
    assert mover(services).carry_on(move_id) is Phase.RETAINING  # its number is higher than the restore's
    again = restore(services, alice, archive, server="pool-1")
    assert carry_on(services, again) is RestoreState.DONE
    truth.holds_at(the_restore(services, again).target_id)
    with services.registry.begin() as connection:
        moves.begin_drop(connection, move_id)
    assert mover(services).carry_on(move_id) is Phase.DROPPED
    truth.holds_at(the_restore(services, again).target_id)


def test_a_server_that_is_closed_full_or_anothers_is_not_restored_to(
    services: WorkerServices, alice: Tenancy, dedicated_url: str
) -> None:
    archive = exported(services, alice)
    server_id = register_server(services, "pool-2", ServerKind.POOL, dedicated_url)
    for values in ({"open": False}, {"open": True, "capacity": 0}):
        with services.registry.begin() as connection:
            servers.change(connection, server_id, **values)
        with pytest.raises(Refused) as refused:
            restore(services, alice, archive, server="pool-2")
        assert refused.value.code is Code.CONFLICT
    with services.registry.begin() as connection:
        assert [row.id for row in placements.of_tenant(connection, alice.id)] == [alice.placement.placement_id]


@only_postgresql
def test_a_target_that_is_away_is_waited_for_while_the_tenant_works_on(
    services: WorkerServices, alice: Tenancy, dedicated_url: str
) -> None:
    truth, archive = Truth.of(services, alice), exported(services, alice)
    there = make_url(dedicated_url)
    with closing(Wire(there.host or "", there.port or 0)) as wire:
        url = there.set(host="127.0.0.1", port=wire.port).render_as_string(hide_password=False)
        register_server(services, "pool-2", ServerKind.POOL, url)
        restore_id = restore(services, alice, archive, server="pool-2")

        def cut(name: str) -> None:
            if name == "verify":
                wire.cut()

        with pytest.raises(Refused) as refused:
            carry_on(services, restore_id, step=cut)
        assert refused.value.code is Code.UNAVAILABLE
        assert the_restore(services, restore_id).problem
        truth.holds_at(alice.placement.placement_id)
        with services.registry.begin() as connection:
            assert restores.without_job(connection) == []  # its job is tried again
            connection.execute(text("DELETE FROM procrastinate_jobs"))
            assert restores.without_job(connection) == [restore_id]
        wire.mend()
        with suppress(Refused):  # what the cut connection held
            carry_on(services, restore_id)
        assert carry_on(services, restore_id) is RestoreState.DONE
        truth.holds_at(the_restore(services, restore_id).target_id)


def _sums(services: WorkerServices, tenancy: Tenancy) -> Any:
    return services.open_server(_server(services, tenancy)).sums(placement_of(services, tenancy).schema)


def _admin_url(services: WorkerServices, tenancy: Tenancy) -> str:
    server_id = _server(services, tenancy)
    with services.registry.begin() as connection:
        return servers.admin_url(connection, services.keys, server_id)[1]


def _server(services: WorkerServices, tenancy: Tenancy) -> UUID:
    with services.registry.begin() as connection:
        return placements.server_of(connection, placement_of(services, tenancy).placement_id)
