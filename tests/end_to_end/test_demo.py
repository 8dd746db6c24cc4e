"""`awssome demo`: the whole story on a fresh home, and nothing left behind, however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from awssome import main
from awssome.database import embedded
from awssome.demo import home as demo_home
from awssome.demo.ensemble import Ensemble
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import EngineName
from tests.engines import only_sqlserver

DEALS = 30
COMMAND = [sys.executable, "-m", "awssome.cli", "demo", "--deals", str(DEALS)]


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that the database's user can reach, too."""
    with tempfile.TemporaryDirectory(prefix="awssome-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)
        for name, _, _ in main.EMBEDDED:
            embedded.remove(Path(directory), name)


def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something that happens in other processes."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def parts(home: Path) -> list[str]:
    """The command lines of all processes that belong to a demo's home, databases included."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        if f"AWSSOME_HOME={home}\0".encode() in environment or str(home) in line:
            found.append(line)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_a_killed_demo_leaves_nothing_running_and_the_next_one_plays_the_whole_story(home: Path) -> None:
    environment = {**os.environ, "AWSSOME_HOME": str(home)}
    killed = subprocess.Popen(COMMAND, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: (home / "main" / "data" / "postmaster.pid").exists() or killed.poll() is not None)
    assert killed.poll() is None
    killed.kill()
    killed.wait()

    done = subprocess.run([*COMMAND, "--exit", "--json"], env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    until(lambda: parts(home) == [])
    told_the_whole_story(json.loads(done.stdout))
    assert "Confirm your e-mail address" in done.stderr, "the mail is shown while the story is played"
    assert "pool-1 → awssome-" in done.stderr, "AWS makes the dedicated server"


@only_sqlserver
def test_the_story_is_the_same_on_servers_of_ones_own(
    engine: EngineName, home: Path, pool_url: str, dedicated_url: str
) -> None:
    environment = {**os.environ, "AWSSOME_HOME": str(home)}
    servers = ["--pool-url", pool_url, "--dedicated-url", dedicated_url]
    command = [*COMMAND, *servers, "--exit", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    told_the_whole_story(json.loads(done.stdout))
    assert "own-pool → own-dedicated" in done.stderr
    assert "own-dedicated → own-pool" in done.stderr


def told_the_whole_story(report: dict[str, Any]) -> None:
    """The report is complete, and everything in it went well."""
    assert list(report) == ["tenant", "signup", "first_sync", "upgrade", "second_sync", "rollback", "seconds"]
    assert report["tenant"] == "northwind-cloud"
    assert 0 < report["signup"]["seconds"] < report["seconds"]
    assert report["first_sync"] == {"imported": 10, "available": DEALS, "limit": 10}
    assert report["second_sync"] == {"imported": DEALS, "available": DEALS, "limit": None}
    upgrade = report["upgrade"]
    assert upgrade["verified"] is True
    assert upgrade["write_pause_ms"] > 0
    assert upgrade["tables"]["deal_registrations"]["rows"] == 10
    assert upgrade["tables"]["hubspot_tokens"]["rows"] == 1
    assert all(len(table["checksum"]) == 16 for table in upgrade["tables"].values())
    assert report["rollback"]["verified"] is True
    assert report["rollback"]["write_pause_ms"] > 0


def test_ctrl_c_ends_everything(home: Path) -> None:
    environment = {**os.environ, "AWSSOME_HOME": str(home)}
    running = subprocess.Popen(COMMAND, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    until((home / "logs" / "management.log").exists)
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=60)
    assert "Traceback" not in told
    assert running.returncode == 128 + signal.SIGINT
    assert parts(home) == []


def test_demos_that_start_at_once_are_served_on_ports_of_their_own(tmp_path: Path) -> None:
    ensembles = [Ensemble(tmp_path, DEALS) for _ in range(2)]
    worlds = [ensemble.world for ensemble in ensembles]
    urls = [url for w in worlds for url in (w.portal, w.management, w.hubspot, w.aws, w.mail)]
    assert len(set(urls)) == 10


def test_data_that_no_demo_made_are_never_touched(home: Path) -> None:
    (home / "precious").write_text("not ours")
    with pytest.raises(Refused) as refused, demo_home.fresh(home, ["main"]):
        pass
    assert refused.value.code is Code.CONFLICT
    assert "precious" in refused.value.message
    assert [path.name for path in home.iterdir()] == ["precious"]


def test_a_home_is_wiped_for_one_demo_at_a_time(home: Path) -> None:
    (home / "postgresql").mkdir()
    with demo_home.fresh(home, ["main"]):
        (home / "logs").mkdir()
        (home / "logs" / "worker.log").write_text("old")
        (home / "secret-key").write_text("old")
        with pytest.raises(Refused, match="Another demo is running"), demo_home.fresh(home, ["main"]):
            pass
        assert (home / "secret-key").exists()
    with demo_home.fresh(home, ["main"]):
        assert {path.name for path in home.iterdir()} == {"demo", "demo.lock", "postgresql"}


def test_a_home_in_use_by_others_is_not_wiped(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_home, "_PATIENCE_SECONDS", 0.0)
    with demo_home.fresh(home, ["main"]):
        pass
    with embedded.start(home, "main"):
        with pytest.raises(Refused, match="is in use"), demo_home.fresh(home, ["main"]):
            pass
        assert (home / "main" / "data").is_dir()
    with demo_home.fresh(home, ["main"]):
        assert not (home / "main").exists()
