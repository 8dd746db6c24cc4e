"""Every question in one run: `python -m benchmarks --tenants 10000 --home DIR`.

Growth is measured on the way up; a home that is kept and is full already is measured as it is.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path

from awssome.database import embedded
from awssome.database.registry import servers
from benchmarks import central, footprint, load, portal, provisioning, restart, sign_up, sqlserver, tenant_session
from benchmarks.running import Platform, platform

STEPS = (0, 1_000, 5_000, 10_000)
FEW = 100


def main() -> None:
    """Ask everything, from the smallest to the largest."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--tenants", type=int, default=300, help="how many tenants there are at last (300)")
    parser.add_argument("--home", type=Path, help="a directory that is kept, so that the next run finds it filled")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        home = chosen.home
        if home is None:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="awssome-bench-")))
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o755)
        tenant_session.main()
        provisioning.beside_django_tenants(chosen.tenants)
        with platform(home) as running:
            _grow(running, chosen.tenants)
            load.measure(running)
            portal.measure(running)
            with embedded.start(home, "main") as handle:
                footprint.disk(handle.cluster)
                footprint.memory(running, handle.cluster)
            tenants = running.active()
        restart.measure(home, "main", tenants)
    sqlserver.main()


def _grow(running: Platform, tenants: int) -> None:
    """What may depend on the number of tenants, at each step."""
    with running.plane.registry.begin() as connection:
        pool = servers.by_name(connection, "pool-1")
        _, url = servers.admin_url(connection, running.plane.keys, pool.id)
    server = running.services.open_server(pool.id)
    for step in [*(step for step in STEPS if running.active() <= step < tenants), tenants]:
        running.fill(step)
        provisioning.measure(server, url, running.active())
        sign_up.measure(running)
    with platform() as few:
        few.fill(FEW)
        central.compare(few, running)


if __name__ == "__main__":
    main()
