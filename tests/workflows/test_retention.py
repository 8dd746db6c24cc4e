"""When retention ends: the frozen source becomes an archive, and is dropped only then, whatever happens on the way."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, text, update

from awssome.database import Connection
from awssome.database import mover as moving_room
from awssome.database.registry import archives as registered
from awssome.database.registry import audit, figures, moves, placements, servers, tenants
from awssome.database.registry.archives import Archive
from awssome.database.registry.tables import moves as moves_table
from awssome.database.restorer import checked
from awssome.domain import times
from awssome.domain.archives import ArchiveKind, ArchiveState, RestoreState
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import Phase
from awssome.domain.tenants import PlacementState
from awssome.domain.times import now
from awssome.workflows import archives, provisioning, retention
from awssome.workflows import moves as moving
from awssome.workflows.archive_store import Directory
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.engines import eventually
from tests.processes import processes
from tests.workflows.dying import drop_and_die
from tests.workflows.moving import OLGA, Truth, add, mover, placement_of, rollback, rows_of, the_move, upgrade

pytestmark = pytest.mark.usefixtures("dedicated")


@pytest.fixture
def moved(services: WorkerServices, alice: Tenancy) -> UUID:
    """The upgrade of that tenant, whose source is kept."""
    move_id = upgrade(services, alice)
    assert carry_on(services, move_id) is Phase.RETAINING
    return move_id


def carry_on(services: WorkerServices, move_id: UUID) -> Phase:
    """What the job does."""
    return mover(services, archive=partial(retention.keep, services)).carry_on(move_id)


def kept_until(services: WorkerServices, move_id: UUID, **ago: float) -> None:
    """Its retention has ended so long ago, by the registry's clock."""
    with services.registry.begin() as connection:
        until = func.clock_timestamp() - timedelta(**ago)
        connection.execute(update(moves_table).where(moves_table.c.id == move_id).values(retain_until=until))


def sweep(services: WorkerServices) -> None:
    with services.registry.begin() as connection:
        moving.sweep(connection, services.queue)


def phase_of(services: WorkerServices, move_id: UUID) -> Phase:
    with services.registry.begin() as connection:
        return moves.find(connection, move_id).phase


def source_of(services: WorkerServices, move_id: UUID) -> Any:
    """The source's row, with its state; and whether its schema is there."""
    with services.registry.begin() as connection:
        move = moves.find(connection, move_id)
        (row,) = [one for one in placements.of_tenant(connection, move.tenant_id) if one.id == move.source_id]
        schema = placements.find(connection, services.keys, move.source_id).schema
        server = services.open_server(placements.server_of(connection, move.source_id))
    return row, server.fence(schema) is not None


def kept(services: WorkerServices, tenancy: Tenancy) -> list[Archive]:
    """The archives of sources that the tenant has."""
    with services.registry.begin() as connection:
        rows = registered.of_tenant(connection, tenancy.id).rows
        found = [registered.find(connection, row.id) for row in rows]
    return [one for one in found if one.kind is ArchiveKind.RETIRED]


def test_a_source_becomes_an_archive_of_what_it_held_and_is_dropped(services: WorkerServices, alice: Tenancy) -> None:
    truth = Truth.of(services, alice)
    move_id = upgrade(services, alice)
    carry_on(services, move_id)
    with services.sessions.open(placement_of(services, alice)) as connection:
        add(connection, "written since")
    kept_until(services, move_id, seconds=1)
    sweep(services)
    assert phase_of(services, move_id) is Phase.DROPPING, "the phase is written first"
    assert carry_on(services, move_id) is Phase.DROPPED
    row, there = source_of(services, move_id)
    assert (row.state, there) == (PlacementState.DROPPED, False)
    (archive,) = kept(services, alice)
    assert (archive.state, archive.placement_id) == (ArchiveState.READY, row.id)
    assert archive.expires_at is not None
    assert timedelta(days=29, hours=23) < archive.expires_at - now() <= timedelta(days=30)
    move = the_move(services, move_id)
    assert move.evidence["steps"]["archive"] == {"id": str(archive.id), "rows": archive.rows}
    assert move.problem is None
    # The archive is of the source, not of where the tenant is now: restored, it is the truth of then.
    with services.registry.begin() as connection:
        asked = archives.request_restore(connection, services.queue, OLGA, str(alice.id), archive.id, beside=True)
    assert archives.restorer(services).carry_on(asked) is RestoreState.DONE
    with services.registry.begin() as connection:
        beside = placements.find(connection, services.keys, archives.restores.find(connection, asked).target_id)
    assert rows_of(beside) == truth.rows


@pytest.mark.parametrize("point", ["written", "named", "kept", "dropped"])
def test_whoever_is_killed_on_the_way_is_carried_on(
    services: WorkerServices,
    alice: Tenancy,
    moved: UUID,
    point: str,
    registry_url: str,
    secret_key: str,
    tmp_path: Path,
) -> None:
    kept_until(services, moved, seconds=1)
    sweep(services)
    process = processes.Process(
        target=drop_and_die, args=(registry_url, secret_key, tmp_path / "archives", moved, point)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    row, there = source_of(services, moved)
    assert (row.state, there) == (PlacementState.RETAINED, point != "dropped")
    ready = [one for one in kept(services, alice) if one.state is ArchiveState.READY]
    assert bool(ready) == (point in ("kept", "dropped")), "nothing is dropped before it is kept"
    assert carry_on(services, moved) is Phase.DROPPED
    (archive,) = kept(services, alice)
    with checked(services.archives.reading, archive) as found:
        found.check()
    files = [one for one in (tmp_path / "archives").rglob("*") if one.is_file()]
    assert [one.name for one in files] == [Path(archive.file).name], "what was killed leaves no file behind"
    assert not source_of(services, moved)[1]


def test_nothing_is_dropped_while_archives_cannot_be_kept(
    services: WorkerServices, alice: Tenancy, moved: UUID, tmp_path: Path
) -> None:
    kept_until(services, moved, seconds=1)
    sweep(services)
    (tmp_path / "a file").write_text("")
    away = replace(services, archives=Directory(tmp_path / "a file" / "archives"))
    with pytest.raises(Refused) as refused:
        carry_on(away, moved)
    assert refused.value.code is Code.UNAVAILABLE
    assert source_of(services, moved)[1]
    assert "The source was not dropped." in (the_move(services, moved).problem or "")
    assert carry_on(services, moved) is Phase.DROPPED
    assert [one.state for one in kept(services, alice)] == [ArchiveState.READY], "the same one is made in the end"


def test_nothing_is_dropped_while_the_server_is_away(services: WorkerServices, alice: Tenancy, moved: UUID) -> None:
    kept_until(services, moved, seconds=1)
    sweep(services)

    def nobody(server_id: UUID) -> Any:
        raise Refused(Code.UNAVAILABLE, "The server does not answer.")

    with pytest.raises(Refused):
        carry_on(replace(services, open_server=nobody), moved)
    assert phase_of(services, moved) is Phase.DROPPING and not kept(services, alice)
    with services.registry.begin() as connection:
        (told,) = figures.moves_in(connection, "kept")
    assert told.problem == "The source was not dropped. The server does not answer.", "operators hear of it"
    assert carry_on(services, moved) is Phase.DROPPED
    assert the_move(services, moved).problem is None


def test_a_source_that_went_with_its_server_is_not_looked_for(
    services: WorkerServices, alice: Tenancy, moved: UUID
) -> None:
    """As when the tenant was deleted, and AWS has taken away the server that it had to itself."""
    with services.registry.begin() as connection:
        move = moves.find(connection, moved)
        server_id = placements.server_of(connection, move.source_id)
    provisioning.drop(services, move.source_id)
    with services.registry.begin() as connection:
        servers.change(connection, server_id, open=False, admin_url=b"")
    kept_until(services, moved, seconds=1)
    sweep(services)
    assert carry_on(services, moved) is Phase.DROPPED
    assert not kept(services, alice)


def test_who_comes_back_while_the_last_of_it_is_dropped_keeps_its_dedicated_server(
    services: WorkerServices, alice: Tenancy, moved: UUID, dedicated: str
) -> None:
    with services.registry.begin() as connection:
        target = moves.find(connection, moved).target_id
        server_id = placements.server_of(connection, target)

    def dropped() -> None:
        with services.registry.begin() as connection:
            placements.mark(connection, target, PlacementState.DROPPED)
            servers.release(connection, target)

    with ThreadPoolExecutor(1) as thread:
        with services.registry.begin() as connection:
            servers.take_dedicated(connection, dedicated, alice.id)
            placements.create(connection, alice.id, server_id)
            dropping = thread.submit(dropped)
            eventually(lambda: _waits_for_a_lock(services))
        dropping.result(10)
    with services.registry.begin() as connection:
        assert servers.by_id(connection, server_id).tenant_id == alice.id


def test_an_archive_that_is_damaged_or_of_other_rows_is_made_anew(
    services: WorkerServices, alice: Tenancy, moved: UUID, tmp_path: Path
) -> None:
    kept_until(services, moved, seconds=1)
    sweep(services)

    def stumbles(move: Any) -> None:
        retention.keep(services, move)
        raise Refused(Code.UNAVAILABLE, "The worker is being stopped.")

    with pytest.raises(Refused):
        mover(services, archive=stumbles).carry_on(moved)
    (first,) = kept(services, alice)
    path = tmp_path / "archives" / first.file
    path.write_bytes(path.read_bytes()[:-30] + b"x" * 30)
    assert source_of(services, moved)[1]
    assert carry_on(services, moved) is Phase.DROPPED
    newest, *_ = kept(services, alice)
    assert newest.id != first.id
    assert the_move(services, moved).evidence["steps"]["archive"]["id"] == str(newest.id)
    with checked(services.archives.reading, newest) as found:
        found.check()


def test_a_source_that_takes_writes_is_not_taken_for_frozen(
    services: WorkerServices, alice: Tenancy, moved: UUID
) -> None:
    with services.registry.begin() as connection:
        move = moves.find(connection, moved)
    with pytest.raises(Refused, match="takes writes"):
        archives.export_now(services, alice.id, ArchiveKind.RETIRED, "test", now(), move.target_id)


@pytest.mark.parametrize(("ago", "phase"), [(-60.0, Phase.RETAINING), (0.0, Phase.DROPPING)])
def test_retention_ends_at_its_moment_by_the_registrys_clock(
    services: WorkerServices, moved: UUID, monkeypatch: pytest.MonkeyPatch, ago: float, phase: Phase
) -> None:
    """Whatever the clocks of workers say."""
    kept_until(services, moved, seconds=ago)
    for module in (times, moving_room):
        monkeypatch.setattr(module, "now", lambda: now() + timedelta(days=365 if ago < 0 else -365))
    sweep(services)
    assert phase_of(services, moved) is phase
    with services.registry.begin() as connection:
        move = moves.find(connection, moved)
        last = moves.last_retained(connection, move.tenant_id)
    assert (last is not None) == (phase is Phase.RETAINING), "one can go back exactly until then"


def test_where_the_tenant_lives_again_nothing_is_dropped(services: WorkerServices, alice: Tenancy, moved: UUID) -> None:
    with services.registry.begin() as connection:
        move = moves.find(connection, moved)
        tenants.change(connection, alice.id, placement_id=move.source_id)
    kept_until(services, moved, days=1)
    sweep(services)
    assert phase_of(services, moved) is Phase.RETAINING
    with services.registry.begin() as connection, pytest.raises(Refused, match="lives there"):
        retention.release(connection, services.queue, OLGA, moved)
    with services.registry.begin() as connection:
        moves.begin_drop(connection, moved)
    with pytest.raises(Refused, match="is not dropped"):
        carry_on(services, moved)
    assert source_of(services, moved)[1] and not kept(services, alice)


def test_after_a_rollback_both_sources_are_archived(services: WorkerServices, alice: Tenancy, moved: UUID) -> None:
    back = rollback(services, alice)
    carry_on(services, back)
    truth = Truth.of(services, alice)
    for move_id in (moved, back):
        kept_until(services, move_id, seconds=1)
    sweep(services)
    assert [carry_on(services, move_id) for move_id in (moved, back)] == [Phase.DROPPED, Phase.DROPPED]
    assert len(kept(services, alice)) == 2
    truth.holds_at(placement_of(services, alice).placement_id)


def _waits_for_a_lock(services: WorkerServices) -> bool:
    with services.registry.begin() as connection:
        return bool(connection.scalar(text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")))


def unconfirmed(connection: Connection, move_id: UUID) -> None:
    """The frozen source held something else than was carried over."""
    evidence = connection.execute(select(moves_table.c.evidence).where(moves_table.c.id == move_id)).scalar_one()
    evidence["steps"]["confirm"] = {"equal": False}
    connection.execute(update(moves_table).where(moves_table.c.id == move_id).values(evidence=evidence))


def test_a_source_that_differed_is_kept_until_an_operator_lets_it_go(
    services: WorkerServices, alice: Tenancy, moved: UUID
) -> None:
    with services.registry.begin() as connection:
        unconfirmed(connection, moved)
    kept_until(services, moved, days=400)
    sweep(services)
    assert phase_of(services, moved) is Phase.RETAINING
    with services.registry.begin() as connection:
        retention.release(connection, services.queue, OLGA, moved)
        (told,) = [row for row in audit.page(connection, tenant_id=alice.id).rows if "released" in row.action]
    assert told.actor == OLGA.name
    assert carry_on(services, moved) is Phase.DROPPED
    assert len(kept(services, alice)) == 1
    with services.registry.begin() as connection, pytest.raises(Refused, match="keeps no source"):
        retention.release(connection, services.queue, OLGA, moved)


def test_an_archive_of_a_source_expires_as_others_do(services: WorkerServices, alice: Tenancy, moved: UUID) -> None:
    kept_until(services, moved, seconds=1)
    sweep(services)
    carry_on(services, moved)
    (archive,) = kept(services, alice)
    with services.registry.begin() as connection:
        assert archive.id not in registered.past_retention(connection, now() + timedelta(days=29), 10)
        assert archive.id in registered.past_retention(connection, now() + timedelta(days=31), 10)
        registered.end(connection, archive.id, now())
    archives.expire(services, archive.id)
    assert [one.state for one in kept(services, alice)] == [ArchiveState.EXPIRED]
    with pytest.raises(Refused) as gone, services.archives.reading(archive.file):
        pass
    assert gone.value.code is Code.GONE
