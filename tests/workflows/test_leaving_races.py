"""Who leaves and comes back while others work on the same tenant: movers, workers that slept, sweeps, operators."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from awssome.database.registry import archives, placements, tenants
from awssome.database.schema import stage_mappings
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import Phase
from awssome.domain.tenants import TenantState
from awssome.domain.times import now
from awssome.workflows import archives as archiving
from awssome.workflows import leaving, moves, returning
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.workflows.moving import OLGA, Truth, mover, the_move, upgrade
from tests.workflows.test_leaving import (
    bring_back,
    delete,
    empty,
    fall_asleep,
    found,
    kept,
    on_server,
    opens,
    sweep,
)


def ask_back(services: WorkerServices, tenancy: Tenancy) -> None:
    """Have it brought back; its jobs wait."""
    with services.registry.begin() as connection:
        returning.bring_back(connection, services.queue, OLGA, tenancy.id)


def frozen_and_asked_back(services: WorkerServices, tenancy: Tenancy) -> None:
    """Deleted until its writes were stopped for good, and then brought back; nothing was opened yet."""

    def stop(step: str) -> None:
        if step == "export":
            raise KeyboardInterrupt

    delete(services, tenancy)
    leaving.close_workspace(services, tenancy.id)
    with pytest.raises(KeyboardInterrupt):
        leaving.empty_workspace(services, tenancy.id, stop)
    ask_back(services, tenancy)


@pytest.mark.usefixtures("dedicated")
def test_who_is_moved_before_the_workspace_was_opened_again_arrives(services: WorkerServices, alice: Tenancy) -> None:
    truth = Truth.of(services, alice)
    frozen_and_asked_back(services, alice)
    move_id = upgrade(services, alice)
    assert mover(services).carry_on(move_id) is Phase.RETAINING
    returning.reopen_workspace(services, alice.id)
    placement_id = found(services, alice).placement_id
    assert placement_id == the_move(services, move_id).target_id
    truth.holds_at(placement_id)
    assert opens(services, alice)


@pytest.mark.usefixtures("dedicated")
def test_a_move_that_is_called_off_leaves_the_login_open_of_who_came_back(
    services: WorkerServices, alice: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job that opens the workspace meets a mover, and takes nothing from it; the move then comes to nothing."""
    frozen_and_asked_back(services, alice)
    move_id = upgrade(services, alice)

    def calls_it_off(step: str) -> None:
        if step == "prepare":
            with pytest.raises(Refused, match="being moved"):
                returning.reopen_workspace(services, alice.id)
            with services.registry.begin() as connection:
                moves.cancel(connection, services.queue, OLGA, move_id)

    assert mover(services, step=calls_it_off).carry_on(move_id) is Phase.CANCELLED
    assert opens(services, alice)


def test_a_worker_that_slept_through_a_return_and_another_deletion_detaches_nothing(
    services: WorkerServices, alice: Tenancy
) -> None:
    """What was written in between is in no archive yet when the worker wakes up."""

    def meanwhile(step: str) -> None:
        if step == "detach":
            bring_back(services, alice)
            with services.sessions.open(alice.placement) as connection:
                connection.execute(stage_mappings.delete())
            truths.append(Truth.of(services, alice))
            delete(services, alice)

    truths: list[Truth] = []
    delete(services, alice)
    leaving.close_workspace(services, alice.id)
    leaving.empty_workspace(services, alice.id, meanwhile)
    assert on_server(services, alice)
    empty(services, alice)
    bring_back(services, alice)
    placement_id = found(services, alice).placement_id
    assert placement_id is not None
    truths[0].holds_at(placement_id)


def test_the_archive_of_a_second_deletion_is_kept_as_long_as_it_promises(
    services: WorkerServices, alice: Tenancy
) -> None:
    """Nothing was written since the first one, whose archive is to be deleted earlier."""

    def comes_back(step: str) -> None:
        if step == "detach":
            bring_back(services, alice)

    delete(services, alice)
    leaving.close_workspace(services, alice.id)
    leaving.empty_workspace(services, alice.id, comes_back)
    first = kept(services, alice)
    delete(services, alice)
    empty(services, alice)
    assert kept(services, alice).id != first.id
    assert kept(services, alice).expires_at == found(services, alice).retain_until


def test_the_archive_of_who_falls_asleep_again_is_not_let_go(services: WorkerServices, alice: Tenancy) -> None:
    def comes_back(step: str) -> None:
        if step == "detach":
            bring_back(services, alice)

    fall_asleep(services, alice)
    leaving.close_workspace(services, alice.id)
    leaving.empty_workspace(services, alice.id, comes_back)
    sweep(services)
    assert kept(services, alice).expires_at is not None
    fall_asleep(services, alice)
    empty(services, alice)
    assert not on_server(services, alice)
    assert kept(services, alice).expires_at is None


def test_the_last_archive_is_made_by_whoever_empties_the_workspace_and_by_nobody_besides(
    services: WorkerServices, alice: Tenancy
) -> None:
    """Two that make one archive each make the other's file worth nothing."""

    def killed(step: str) -> None:
        if step == "export":
            with services.registry.begin() as connection:
                made = archives.create(connection, alice.id, archiving.ArchiveKind.FINAL, "system", None)
                later = now() + timedelta(hours=1)
                assert made.id not in archives.without_job(connection, later)
            raise KeyboardInterrupt

    delete(services, alice)
    leaving.close_workspace(services, alice.id)
    with pytest.raises(KeyboardInterrupt):
        leaving.empty_workspace(services, alice.id, killed)
    leaving.empty_workspace(services, alice.id)
    assert not on_server(services, alice)


def test_an_archive_that_does_not_hold_what_the_tables_hold_lets_nothing_be_dropped_and_is_not_kept(
    services: WorkerServices, alice: Tenancy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is tried: files of no use must not fill the disk."""
    with services.registry.begin() as connection:
        server = services.open_server(placements.server_of(connection, alice.placement.placement_id))
    delete(services, alice)
    leaving.close_workspace(services, alice.id)
    with monkeypatch.context() as wrong:
        wrong.setattr(type(server), "sums", lambda *_: {})
        for _ in range(2):
            with pytest.raises(Refused, match="does not hold"):
                leaving.empty_workspace(services, alice.id)
    with services.registry.begin() as connection:
        archives_over = archives.past_retention(connection, now(), 10)
    assert len(archives_over) == 2
    leaving.empty_workspace(services, alice.id)
    for archive_id in archives_over:
        archiving.expire(services, archive_id)
    left = [path.name for path in (tmp_path / "archives").rglob("*") if path.is_file()]
    assert left == [Path(kept(services, alice).file).name]


def test_nothing_is_restored_beside_a_tenant_that_is_away(services: WorkerServices, alice: Tenancy) -> None:
    """It would be dropped with what else is left of the tenant on a server."""
    delete(services, alice)
    empty(services, alice)
    with pytest.raises(Refused, match="away") as refused, services.registry.begin() as connection:
        last = kept(services, alice)
        archiving.request_restore(connection, services.queue, OLGA, str(alice.id), last.id, beside=True)
    assert refused.value.code is Code.CONFLICT


def test_an_upload_that_ends_after_the_tenant_was_erased_leaves_no_file(
    services: WorkerServices, alice: Tenancy, tmp_path: Path
) -> None:
    archive = archiving.export_now(services, alice.id, archiving.ArchiveKind.MANUAL, OLGA.name, None)
    whole = (tmp_path / "archives" / archive.file).read_bytes()
    delete(services, alice)
    empty(services, alice)

    def pieces() -> list[bytes]:
        yield whole[:100]  # type: ignore[misc]
        with services.registry.begin() as connection:
            tenants.change(connection, alice.id, retain_until=now() - timedelta(seconds=1))
        sweep(services)
        assert found(services, alice).state is TenantState.DELETED
        yield whole[100:]  # type: ignore[misc]

    with pytest.raises(Refused) as refused:
        archiving.take_in(services, OLGA, str(alice.id), pieces())
    assert refused.value.code is Code.CONFLICT
    with services.registry.begin() as connection:
        listed = archives.of_tenant(connection, alice.id).rows
    for row in listed:
        archiving.expire(services, row.id)
    assert [path for path in (tmp_path / "archives").rglob("*") if path.is_file()] == []
    with pytest.raises(Refused) as refused:
        archiving.take_in(services, OLGA, str(alice.id), [whole])
    assert refused.value.code is Code.CONFLICT
