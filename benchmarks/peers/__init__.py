"""Other people's software that does the same, measured beside ours in the same run. `make bench` installs it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from awssome.database.embedded import Cluster
from benchmarks.platform import superuser

PYTHON = Path(__file__).parents[2] / ".venv-peers" / "bin" / "python"
PROJECT = Path(__file__).parent / "django_tenants"
DATABASE = "peers"


class DjangoTenants:
    """A Django project with django-tenants in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def create(self, count: int) -> list[float]:
        """Make tenants; the seconds that each took."""
        seconds: list[float] = self._ask(do="create", count=count)["seconds"]
        return seconds

    def migrate(self) -> tuple[float, int]:
        """Migrate every tenant; (seconds, how many there are)."""
        answer = self._ask(do="migrate")
        return answer["seconds"], answer["tenants"]

    def prepare(self) -> None:
        """Make what all tenants share."""
        self._ask(do="prepare")

    def _ask(self, **question: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the peer has ended; what it says stands above")
        return json.loads(answer)


def available() -> bool:
    """Whether the peers are installed; says so if not."""
    if not PYTHON.exists():
        print("\ndjango-tenants: skipped, there is no .venv-peers (`make bench` makes it)")
    return PYTHON.exists()


@contextmanager
def django_tenants(cluster: Cluster, *, revised: bool = False) -> Iterator[DjangoTenants]:
    """django-tenants on a database of its own in the cluster, which stays there.

    :param revised: with the revision that adds a column; start it again so after tenants were made without it.
    """
    with superuser(cluster) as connection:
        if connection.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone() is None:
            connection.execute(f"CREATE DATABASE {DATABASE}")
    where = {
        "NAME": DATABASE,
        "HOST": cluster.host,
        "PORT": cluster.port,
        "USER": cluster.superuser,
        "PASSWORD": cluster.password,
    }
    environment = {**os.environ, "PEER_DATABASE": json.dumps(where), "PEER_REVISED": "1" if revised else ""}
    environment.pop("PYTHONPATH", None)
    process = subprocess.Popen(
        [PYTHON, "serve.py"],
        cwd=PROJECT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        peer = DjangoTenants(process)
        peer.prepare()
        yield peer
    finally:
        if process.stdin is not None:
            process.stdin.close()
        process.wait()
