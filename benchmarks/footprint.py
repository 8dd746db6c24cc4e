"""What do so many tenants take: disk, catalogs, and memory of each process, at rest and after 1,000 were used?"""

from __future__ import annotations

from pathlib import Path

from awssome.database.embedded import Cluster
from awssome.database.servers import TENANTS_DATABASE
from benchmarks import portal
from benchmarks.platform import superuser
from benchmarks.running import Platform

USED = 1_000

_SIZES = """
SELECT pg_database_size(current_database()),
    (SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace
        AND relkind = 'r'),
    (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'user\\_%')
"""


def disk(cluster: Cluster) -> None:
    """Sizes of the pool's database and its catalogs."""
    with superuser(cluster, TENANTS_DATABASE) as connection:
        row = connection.execute(_SIZES).fetchone()
    assert row is not None
    whole, catalogs, relations, schemas = row
    print(f"\nThe pool's database, {schemas:,} schemas")
    print(f"  on disk {whole / 2**20:8,.0f} MB, {whole / 2**10 / max(schemas, 1):.0f} kB a tenant")
    print(f"  catalogs {catalogs / 2**20:7,.0f} MB, {relations:,} relations")


def memory(platform: Platform, cluster: Cluster) -> None:
    """Pss of the server's processes and of each part, at rest, and after pages of 1,000 tenants were opened."""
    with platform.serve("management", "portal", "worker", "mail"):
        _tell("at rest", platform, cluster)
        portal.visit(platform, USED)
        _tell(f"after a page of each of {USED:,} tenants", platform, cluster)


def _tell(when: str, platform: Platform, cluster: Cluster) -> None:
    postmaster = int((cluster.directory / "data" / "postmaster.pid").read_text().split()[0])
    processes = [postmaster, *_children(postmaster)]
    print(f"\nMemory {when} (Pss)")
    print(f"  embedded server, {len(processes)} processes {sum(map(_pss, processes)) / 2**20:8,.0f} MB")
    for name, child in platform.processes.items():
        if name != "mail" and child.process is not None:
            print(f"  {name:34} {_pss(child.process.pid) / 2**20:8,.0f} MB")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _pss(pid: int) -> int:
    """Proportional set size in bytes: what is shared counts for each of its users in part."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
