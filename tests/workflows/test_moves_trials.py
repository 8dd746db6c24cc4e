"""Moves while people work, and everything goes wrong: nothing that was acknowledged is lost, and reads never fail."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from awssome.database import embedded, servers
from awssome.domain.errors import Refused
from awssome.domain.moves import Phase
from awssome.domain.tenants import EngineName, ServerKind
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy, register_server
from tests.engines import NOW, Raw, eventually, only_postgresql
from tests.workflows.moving import Truth, Wire, fill, mover, placement_of, rows_of, the_move, upgrade, writable
from tests.workflows.trials import DEAD_SECONDS, Trial, carry, start


@pytest.fixture
def trial(services: WorkerServices, make_tenant: Callable[..., Tenancy], secret_key: str, tmp_path: Path) -> Trial:
    """A tenant on the pool, with rows in every table."""
    tenancy = make_tenant("Northwind", "alice@northwind.example")
    fill(services, tenancy)
    folder = tmp_path / "journals"
    folder.mkdir()
    postgresql = tenancy.placement.engine is EngineName.POSTGRESQL
    # What stands in for SQL Server in tests parses each statement for milliseconds: there people are fewer.
    rate = 80 if postgresql else 20
    return Trial(services, tenancy, secret_key, folder, random.Random(6), rate=rate, raw=postgresql)


@pytest.mark.usefixtures("dedicated")
def test_kills_at_random_lose_nothing(trial: Trial, engine: EngineName) -> None:
    kills = 10 if engine is EngineName.POSTGRESQL else 4
    with trial.people():
        trial.to_and_fro(kills, longest=0.4)
    trial.holds()
    assert sum(trial.killed.values()) == kills
    assert trial.moved >= 4
    told = trial.told()
    assert told.acknowledged > 20 * trial.moved
    assert told.reads > trial.moved


@pytest.mark.usefixtures("dedicated")
@pytest.mark.parametrize("step", ["capture", "paused", "marked", "closed", "open"])
def test_a_worker_that_sleeps_and_wakes_when_another_has_finished_changes_nothing(step: str, trial: Trial) -> None:
    """Their clocks are 20 minutes apart: the lease goes by the registry's."""
    url, key = trial.services.registry.url, trial.secret_key
    with trial.people(portals=1):
        move_id = upgrade(trial.services, trial.tenancy)
        asleep = start(carry, url, key, move_id, 600, step)
        eventually(lambda: _is_stopped(asleep.pid), DEAD_SECONDS)
        awake = start(carry, url, key, move_id, -600)
        eventually(lambda: Phase(the_move(trial.services, move_id).phase) is Phase.RETAINING, DEAD_SECONDS)
        os.kill(asleep.pid or 0, signal.SIGCONT)
        asleep.join(DEAD_SECONDS)
        awake.join(DEAD_SECONDS)
        assert (asleep.exitcode, awake.exitcode) == (0, 0)
        trial.goes_on()
    trial.holds()
    move = the_move(trial.services, move_id)
    assert placement_of(trial.services, trial.tenancy).placement_id == move.target_id
    assert move.evidence["tables"] == trial.closed_source(move.source_id)


@pytest.mark.usefixtures("dedicated")
def test_two_movers_at_once_lose_nothing(trial: Trial) -> None:
    with trial.people(portals=1):
        move_id = upgrade(trial.services, trial.tenancy)
        movers = [start(carry, trial.services.registry.url, trial.secret_key, move_id) for _ in range(2)]
        for one in movers:
            one.join(DEAD_SECONDS)
            assert one.exitcode == 0
        trial.goes_on()
    trial.holds()
    assert placement_of(trial.services, trial.tenancy).placement_id == the_move(trial.services, move_id).target_id


@pytest.mark.usefixtures("dedicated")
def test_a_long_write_keeps_the_cut_over_waiting_and_comes_along(trial: Trial) -> None:
    here = placement_of(trial.services, trial.tenancy)
    with trial.people(portals=1), closing(Raw(here)) as raw:
        raw.rows("BEGIN TRANSACTION")
        columns = "(pipeline, hubspot_stage, stage, updated_at)"
        raw.rows(f"INSERT INTO {here.schema}.stage_mappings {columns} VALUES ('long', '', '', {NOW[here.engine]})")
        move_id = upgrade(trial.services, trial.tenancy)
        carrying = start(carry, trial.services.registry.url, trial.secret_key, move_id)
        time.sleep(2)
        assert placement_of(trial.services, trial.tenancy).placement_id == here.placement_id
        trial.goes_on()  # others write meanwhile
        raw.rows("COMMIT")
        carrying.join(DEAD_SECONDS)
        assert carrying.exitcode == 0
        trial.goes_on()
    trial.holds()
    move = the_move(trial.services, move_id)
    there = placement_of(trial.services, trial.tenancy)
    assert there.placement_id == move.target_id
    assert "long" in {row[0] for row in rows_of(there)["stage_mappings"]}


@pytest.fixture
def wired(services: WorkerServices, dedicated_url: str) -> Iterator[Wire]:
    """A dedicated server that movers reach over a slow wire; people reach it as ever."""
    url = make_url(dedicated_url)
    wire = Wire(url.host or "", url.port or 0, delay=0.001)
    there = url.set(port=wire.port).render_as_string(hide_password=False)
    register_server(services, "dedicated-1", ServerKind.DEDICATED, there)
    with services.registry.begin() as connection:
        connection.execute(text("UPDATE servers SET port = :port WHERE name = 'dedicated-1'"), {"port": url.port})
    yield wire
    wire.close()


@only_postgresql
def test_a_wire_that_is_cut_again_and_again_loses_nothing(trial: Trial, wired: Wire) -> None:
    cut = threading.Event()

    def cuts() -> None:
        for _ in range(6):
            time.sleep(trial.dice.uniform(0.05, 0.5))
            wired.cut()
            time.sleep(trial.dice.uniform(0.0, 0.2))
            wired.mend()
        cut.set()

    with trial.people(portals=1):
        cutter = threading.Thread(target=cuts)
        cutter.start()
        move_id = upgrade(trial.services, trial.tenancy)
        while Phase(the_move(trial.services, move_id).phase) is not Phase.RETAINING:
            try:
                mover(trial.services).carry_on(move_id)
            except Refused:
                assert len(writable(trial.services, trial.tenancy)) <= 1
            assert Phase(the_move(trial.services, move_id).phase) is not Phase.FAILED
        cutter.join()
        trial.goes_on()
    trial.holds()
    assert cut.is_set()


@pytest.fixture
def small_disk(services: WorkerServices) -> Iterator[Path]:
    """A dedicated server on a file system with little room left; the file that takes the room."""
    with tempfile.TemporaryDirectory(prefix="awssome-small-") as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=160m,mode=755", "tmpfs", folder]
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
            pytest.skip("no small file system can be mounted here: a full disk was not tried")
        try:
            with embedded.start(Path(folder), "small") as handle:
                url = servers.prepare_data_plane(handle.cluster, "provisioner-of-the-tests")
                register_server(services, "dedicated-1", ServerKind.DEDICATED, url)
                yield Path(folder) / "ballast"
        finally:
            subprocess.run(["umount", folder], check=True)


@only_postgresql
def test_a_full_disk_at_the_target_ends_the_move_and_leaves_the_source_as_it_was(
    trial: Trial, small_disk: Path
) -> None:
    schema = placement_of(trial.services, trial.tenancy).schema
    with trial.services.sessions.open(placement_of(trial.services, trial.tenancy)) as connection:
        connection.exec_driver_sql(
            f"INSERT INTO {schema}.stage_mappings "
            "SELECT 'deal' || n, md5(n::text), '', now() FROM generate_series(1, 60000) n"
        )
    truth = Truth.of(trial.services, trial.tenancy)
    room = os.statvfs(small_disk.parent)
    with small_disk.open("wb") as ballast:
        ballast.write(b"\0" * (room.f_bavail * room.f_frsize - 6_000_000))
    move_id = upgrade(trial.services, trial.tenancy)
    with pytest.raises(Refused):
        mover(trial.services).carry_on(move_id)
    move = the_move(trial.services, move_id)
    assert move.problem
    truth.holds_at(move.source_id)


def _is_stopped(pid: int | None) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
