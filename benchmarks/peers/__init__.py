"""Other people's software that does the same, measured beside ours in the same run. `make bench` installs it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL

from awssome.database.embedded import Cluster
from benchmarks.platform import superuser

PYTHON = Path(__file__).parents[2] / ".venv-peers" / "bin" / "python"
HERE = Path(__file__).parent
DATABASE = "peers"


class Peer:
    """A process of other people's software, which answers each question."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def _ask(self, **question: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the peer has ended; what it says stands above")
        return json.loads(answer)


class DjangoTenants(Peer):
    """A Django project with django-tenants."""

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


class Dlt(Peer):
    """dlt with its rest_api source."""

    def load(self, **what: Any) -> tuple[float, int]:
        """A first load into a dataset of its own; (seconds without starting up, rows)."""
        answer = self._ask(do="load", **what)
        return answer["seconds"], answer["rows"]

    def peak(self) -> float:
        """The most memory that its process has had until now, in MB."""
        return float(self._ask(do="peak")["kilobytes"]) / 1000


def available() -> bool:
    """Whether the peers are installed; says so if not."""
    if not PYTHON.exists():
        print("\nThe peers are skipped: there is no .venv-peers (`make bench` makes it)")
    return PYTHON.exists()


@contextmanager
def django_tenants(cluster: Cluster, *, revised: bool = False) -> Iterator[DjangoTenants]:
    """django-tenants on a database of its own in the cluster, which stays there.

    :param revised: with the revision that adds a column; start it again so after tenants were made without it.
    """
    _make_database(cluster)
    where = {
        "NAME": DATABASE,
        "HOST": cluster.host,
        "PORT": cluster.port,
        "USER": cluster.superuser,
        "PASSWORD": cluster.password,
    }
    settings = {"PEER_DATABASE": json.dumps(where), "PEER_REVISED": "1" if revised else ""}
    with _process(HERE / "django_tenants", settings) as process:
        peer = DjangoTenants(process)
        peer.prepare()
        yield peer


@contextmanager
def dlt(cluster: Cluster) -> Iterator[tuple[Dlt, str]]:
    """dlt, and the URL of a database of its own in the cluster."""
    _make_database(cluster)
    url = URL.create("postgresql", cluster.superuser, cluster.password, cluster.host, cluster.port, DATABASE)
    with _process(HERE / "dlt_deals", {}) as process:
        yield Dlt(process), url.render_as_string(hide_password=False)


def _make_database(cluster: Cluster) -> None:
    with superuser(cluster) as connection:
        if connection.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone() is None:
            connection.execute(f"CREATE DATABASE {DATABASE}")


@contextmanager
def _process(folder: Path, settings: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, **settings}
    environment.pop("PYTHONPATH", None)
    process = subprocess.Popen(
        [PYTHON, "serve.py"],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.stdin is not None:
            process.stdin.close()
        process.wait()
