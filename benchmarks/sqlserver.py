"""SQL Server: what a new tenant, a request's session and a loaded row cost, beside the driver's bare calls.

Needs AWSSOME_TEST_SQLSERVER_URL, an administrator's URL; a database of its own is made there, and dropped.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import BigInteger, Column, MetaData, Table, func, select
from tests.engines import SQLSERVER_URL, sqlserver_database

from awssome.database.schema import stage_mappings
from awssome.database.sessions import Sessions
from awssome.database.sqlserver import driver
from awssome.database.sqlserver.bulk import load
from awssome.database.sqlserver.server import SQLServer
from awssome.database.types import text
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import EngineName, new_schema_name
from benchmarks import platform

STEPS, TENANTS, ROUNDS, ROWS = (0, 100, 200), 20, 200, 20_000

TWELVE = Table("twelve", MetaData(), *(Column(f"c{n}", text(60) if n % 2 else BigInteger) for n in range(12)))


def main() -> None:
    """All questions on one server, or a word that there is none."""
    if not SQLSERVER_URL:
        print("\nSQL Server: skipped, AWSSOME_TEST_SQLSERVER_URL is not set")
        return
    with sqlserver_database() as url:
        server = SQLServer(url)
        _provisioning(server)
        _session(server, url)
        _loading(server, url)


def _provisioning(server: SQLServer) -> None:
    print("\nA new tenant on SQL Server, on a connection that is kept")
    there = 0
    for step in STEPS:
        while there < step:
            _provision(server)
            there += 1
        times = []
        for _ in range(TENANTS):
            began = time.perf_counter()
            _provision(server)
            times.append(time.perf_counter() - began)
        there += TENANTS
        print(f"  {step:4} there {statistics.median(times) * 1e3:10.1f} ms  worst {max(times) * 1e3:8.1f} ms")


def _provision(server: SQLServer) -> str:
    schema = new_schema_name()
    server.provision(schema, platform.PASSWORD, epoch=1, mode=FenceMode.RW)
    return schema


def _session(server: SQLServer, url: str) -> None:
    placement = platform.placement(_provision(server), url, EngineName.SQLSERVER)
    sessions, query = Sessions(budget=4), select(func.count()).select_from(stage_mappings)
    bare = driver.connect(driver.connection_string(url), autocommit=False)
    statement = f"SELECT count(*) FROM {placement.schema}.stage_mappings"

    def as_tenant() -> None:
        with sessions.open(placement) as connection:
            connection.execute(query)

    def plain() -> None:
        driver.run(bare, statement)
        bare.commit()

    as_tenant()
    plain()
    times = platform.interleaved(ROUNDS, {"bare driver, open connection": plain, "session, fence checked": as_tenant})
    platform.report("A request's session on SQL Server, pool hit", times, "bare driver, open connection")
    sessions.close()
    bare.close()


def _loading(server: SQLServer, url: str) -> None:
    schema = _provision(server)
    connection = driver.connect(driver.connection_string(url), autocommit=True)
    columns = ", ".join(f"c{n} {'nvarchar(60)' if n % 2 else 'bigint'}" for n in range(12))
    driver.run(connection, f"CREATE TABLE {schema}.twelve ({columns})")
    connection.autocommit = False
    insert = f"INSERT INTO {schema}.twelve VALUES ({', '.join('?' * 12)})"

    def bare() -> None:
        with connection.cursor() as cursor:
            cursor.executemany(insert, list(_rows("plain")))

    def ours() -> None:
        load(connection, schema, TWELVE, _rows("größer"))

    def fetch() -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {schema}.twelve")
            assert len(cursor.fetchall()) >= ROWS

    print(f"\nRows a second of 12 columns on SQL Server, {ROWS:,} rows in one transaction")
    for name, run in (("driver's executemany, plain ASCII", bare), ("load", ours), ("fetch", fetch)):
        began = time.perf_counter()
        run()
        connection.commit()
        print(f"  {name:44} {ROWS / (time.perf_counter() - began):10,.0f}")
    connection.close()


def _rows(word: str) -> Iterator[Sequence[Any]]:
    return (tuple(f"{word} {row}" if n % 2 else row for n in range(12)) for row in range(ROWS))


if __name__ == "__main__":
    main()
