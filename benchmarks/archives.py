"""What does exporting one tenant cost, and bringing it back, beside other tenants on its server and beside pg_dump?

`python -m benchmarks.archives 300` has 300 others; a URL behind the number (or AWSSOME_BENCH_URL) names a prepared
server that has its tenants already.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import insert
from sqlalchemy.engine import make_url

from awssome.database import archive
from awssome.database.archive import Subject
from awssome.database.postgresql.driver import connection_parameters, trusted
from awssome.database.postgresql.server import PostgreSQL
from awssome.database.schema import DATA_TABLES, deal_events, deal_registrations
from awssome.database.servers import open_server
from awssome.database.sessions import Sessions
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import EngineName, Placement, new_schema_name
from awssome.domain.times import new_id
from awssome.workflows.archive_store import Directory
from benchmarks import platform

OTHERS, DEALS, ROUNDS, DUMPS = 300, 1_000, 25, 3
AT = datetime(2026, 11, 26, 12, tzinfo=UTC)


def main() -> None:
    """An empty tenant and one with 1,000 deals: export, restore, COPY of the tables as a floor, pg_dump as a peer."""
    others = int(sys.argv[1]) if len(sys.argv) > 1 else OTHERS
    with _server(os.environ.get("AWSSOME_BENCH_URL", "")) as (server, url), tempfile.TemporaryDirectory() as folder:
        small, large = platform.new_tenant(server, url), platform.new_tenant(server, url)
        with closing(Sessions(budget=4)) as sessions:
            _fill(sessions, large, DEALS)
        there = 0
        for count in (0, others):
            while there < count:
                platform.new_tenant(server, url)
                there += 1
            for name, tenant in (("no deals", small), (f"{DEALS:,} deals", large)):
                _measure(f"One tenant with {name}, {there:,} others", server, url, tenant, Directory(Path(folder)))


def _measure(question: str, server: PostgreSQL, url: str, tenant: Placement, store: Directory) -> None:
    subject, number = Subject(tenant.tenant_id, "northwind", "Northwind Cloud", "free"), iter(range(10**6))

    def export() -> str:
        name = f"{tenant.tenant_id}/{next(number)}.zip"
        with store.writing(name) as file, server.snapshot(tenant.schema) as found:
            archive.write(file, subject, EngineName.POSTGRESQL, found)
        return name

    def copy() -> None:
        with psycopg.connect(**connection_parameters(url)) as connection:
            for table in DATA_TABLES:
                with connection.cursor().copy(trusted(f"COPY {tenant.schema}.{table.name} TO STDOUT")) as out:
                    for _ in out:
                        pass

    made = export()

    def restore() -> None:
        schema = new_schema_name()
        with store.reading(made) as file, archive.opened(file, tenant.tenant_id) as found:
            server.provision(schema, platform.PASSWORD, epoch=1, mode=FenceMode.STANDBY)
            server.load(schema, 0, ((table, found.rows(table)) for table in found.manifest.shape()))
            if server.sums(schema) != found.manifest.sums:
                raise RuntimeError("what came back differs")
        server.drop(schema, 0)

    floor = "COPY of its tables, a connection of its own"
    variants: dict[str, Any] = {
        floor: copy,
        "export, archive on the disk": export,
        "restore: make, load, verify, drop": restore,
    }
    platform.report(question, platform.interleaved(ROUNDS, variants), floor)
    dump = str(platform.programs() / "pg_dump")
    if not _dumps(dump, url, tenant.schema):
        print("  pg_dump: none that is as new as the server (PGBIN names the directory of PostgreSQL's programs)")
        return
    peers = {"export, archive on the disk": export, "pg_dump -n": lambda: _dumps(dump, url, tenant.schema)}
    platform.report(f"{question}, the peer", platform.interleaved(DUMPS, peers), "export, archive on the disk")


def _dumps(program: str, url: str, schema: str) -> bool:
    where = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    command = [program, "--dbname", where, "-n", schema, "-Fc"]
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def _fill(sessions: Sessions, tenant: Placement, deals: int) -> None:
    ids = [new_id() for _ in range(deals)]
    with sessions.open(tenant) as connection:
        connection.execute(insert(deal_registrations), [_deal(deal_id, number) for number, deal_id in enumerate(ids)])
        connection.execute(
            insert(deal_events),
            [
                {"id": new_id(), "registration_id": one, "at": AT, "kind": "created", "actor": "sync", "changes": {}}
                for one in ids
            ],
        )


def _deal(deal_id: Any, number: int) -> dict[str, Any]:
    return {
        "id": deal_id,
        "source": "hubspot",
        "title": f"Migration of warehouse {number}",
        "stage": "Prospect",
        "customer_company": f"Customer {number} GmbH",
        "business_problem": "Reports take a night, and nobody knows why. " * 4,
        "edited_fields": [],
        "ready": True,
        "version": 1,
        "created_at": AT,
        "updated_at": AT,
        "updated_by": "alice@northwind.example",
    }


@contextmanager
def _server(url: str) -> Iterator[tuple[PostgreSQL, str]]:
    """The server of the URL, or an empty one of our own."""
    if url:
        server = open_server(EngineName.POSTGRESQL, url)
        if not isinstance(server, PostgreSQL):
            raise TypeError("this measures PostgreSQL")
        yield server, url
    else:
        with platform.pool() as made:
            yield made


if __name__ == "__main__":
    main()
