"""How long do stop, start and recovery of the embedded server take, with as many tenants as there are?"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from awssome.database import embedded
from awssome.database.embedded import Cluster
from benchmarks.platform import superuser
from benchmarks.running import until


def measure(home: Path, name: str, tenants: int) -> None:
    """Clean stop, warm start, and start after a kill -9 of the postmaster. Nobody else may use the server."""
    print(f"\nThe embedded server, {tenants:,} tenants")
    handle = embedded.start(home, name)
    print(f"  clean stop, first {_seconds(handle.release):24.2f} s")
    handle, seconds = _start(home, name)
    print(f"  warm start {seconds:31.2f} s")
    print(f"  clean stop, nothing written since {_seconds(handle.release):8.2f} s")
    for what in ("at rest", "after writing"):
        handle, _ = _start(home, name)
        if what == "after writing":
            _write(handle.cluster)
        _kill(handle.cluster.directory / "data")
        again, seconds = _start(home, name)
        print(f"  start after kill -9, {what:13} {seconds:15.2f} s   (to reach: 5 s)")
        handle.release()
        again.release()


def _start(home: Path, name: str) -> tuple[embedded.Handle, float]:
    began = time.perf_counter()
    handle = embedded.start(home, name)
    return handle, time.perf_counter() - began


def _seconds(act: Callable[[], None]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _write(cluster: Cluster) -> None:
    """Some 70 MB of changes that no checkpoint has seen."""
    with superuser(cluster) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS scratch (number int, words text)")
        connection.execute("INSERT INTO scratch SELECT n, repeat('x', 100) FROM generate_series(1, 500000) n")
        connection.execute("DROP TABLE scratch")


def _kill(data: Path) -> None:
    """kill -9 the postmaster, and wait until its children have noticed."""
    pid = int((data / "postmaster.pid").read_text().split()[0])
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    os.kill(pid, signal.SIGKILL)
    until(lambda: not any(_alive(process) for process in (pid, *children)), "the server's processes to end")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
