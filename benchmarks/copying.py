"""How fast are the rows of a tenant copied to another server, and compared, beside PostgreSQL's own programs?

`python -m benchmarks.copying ROWS...`; 10,000, 100,000 and 1,000,000 by default.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from sqlalchemy.engine import make_url

from awssome.database import servers
from awssome.database.postgresql.driver import trusted
from awssome.database.postgresql.server import PostgreSQL
from awssome.database.schema import DATA_TABLES
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import Placement
from benchmarks import large, platform

SIZES = (10_000, 100_000, 1_000_000)
ROUNDS = 3

PROGRAMS = platform.programs()
PEER = "pg_dump -Fc -Z0 | pg_restore"
FLOOR = "count(*) of every table"


def main() -> None:
    """Every size, on two servers."""
    sizes = [int(size) for size in sys.argv[1:]] or SIZES
    with ExitStack() as stack:
        urls = [
            servers.prepare_data_plane(stack.enter_context(platform.cluster()), platform.PASSWORD) for _ in range(2)
        ]
        source, target = (PostgreSQL(url) for url in urls)
        for rows in sizes:
            tenant = platform.new_tenant(source, urls[0])
            large.fill(urls[0], tenant.schema, rows)
            _copies(rows, source, target, tenant, *urls)
            _comparisons(rows, source, target, tenant, urls[0])
            source.drop(tenant.schema, 0)


def _copies(rows: int, source: PostgreSQL, target: PostgreSQL, tenant: Placement, here: str, there: str) -> None:
    schema = tenant.schema
    tables = " ".join(table.name for table in DATA_TABLES)

    def empty() -> None:
        target.drop(schema, 0)
        target.provision(schema, platform.PASSWORD, epoch=1, mode=FenceMode.STANDBY)

    def restore() -> None:
        options = "--no-owner --no-privileges"
        dump = f"{PROGRAMS}/pg_dump -d '{_libpq(here)}' -n {schema} -Fc -Z0 {options}"
        _shell(f"{dump} | {PROGRAMS}/pg_restore -d '{_libpq(there)}' --single-transaction {options}")

    def pipe() -> None:
        copy = f"{PROGRAMS}/psql -q -d '{{}}' -c \"COPY {schema}.$table {{}} (FORMAT binary)\""
        out, into = copy.format(_libpq(here), "TO STDOUT"), copy.format(_libpq(there), "FROM STDIN")
        _shell(f"for table in {tables}; do {out} | {into} || exit 1; done")

    variants: dict[str, tuple[Callable[[], None], Callable[[], object]]] = {
        PEER: (lambda: target.drop(schema, 0), restore),
        "COPY binary | COPY, psql, keys in place": (empty, pipe),
        "ours": (empty, lambda: source.copy(schema, target, schema, 0)),
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name, (before, run) in variants.items():
            before()
            began = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - began)
            if name == PEER:  # it makes a schema without a login, which is not ours to drop
                with platform.connected(there) as connection:
                    connection.execute(trusted(f"DROP SCHEMA {schema} CASCADE"))
    _report(f"Copy of {rows:,} rows", times, PEER)


def _comparisons(rows: int, source: PostgreSQL, target: PostgreSQL, tenant: Placement, url: str) -> None:
    def count() -> None:
        with platform.connected(url) as connection:
            for table in DATA_TABLES:
                connection.execute(trusted(f"SELECT count(*) FROM {tenant.schema}.{table.name}"))

    def both() -> None:
        if source.sums(tenant.schema) != target.sums(tenant.schema):
            raise RuntimeError("the copy differs")

    def at_once() -> None:
        thread = threading.Thread(target=source.sums, args=[tenant.schema])
        thread.start()
        target.sums(tenant.schema)
        thread.join()

    variants: dict[str, Callable[[], object]] = {
        FLOOR: count,
        "ours, one server": lambda: source.sums(tenant.schema),
        "ours, source and target": both,
        "ours, both at once": at_once,
    }
    _report(f"Comparison of {rows:,} rows", platform.interleaved(ROUNDS, variants), FLOOR)
    target.drop(tenant.schema, 0)


def _shell(command: str) -> None:
    environment = {**os.environ, "PGOPTIONS": "-c client_min_messages=warning"}
    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True)
    if done.returncode or done.stderr:
        raise RuntimeError(done.stderr)


def _libpq(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def _report(question: str, times: dict[str, list[float]], beside: str) -> None:
    print(f"\n{question}")
    base = statistics.median(times[beside])
    for name, values in times.items():
        median = statistics.median(values)
        print(
            f"  {name:42} {median * 1e3:9,.0f} ms  worst {max(values) * 1e3:9,.0f}  {median / base:6.2f} x", flush=True
        )


if __name__ == "__main__":
    main()
