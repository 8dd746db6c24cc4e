"""`make soak`, the part of moves: the whole model of the protocol, then a tenant that moves to and fro under 200 writes
a second, while movers and portals are killed, and then its database servers, too; and a report.

python -m tests.workflows.soak_moves --kills 200 --seed 1
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from procrastinate.schema import SchemaManager

from awssome.database import embedded, migrate, servers
from awssome.database.registry import Registry
from awssome.database.sessions import Sessions
from awssome.domain.secrets import Keys, new_secret_key
from awssome.domain.tenants import ServerKind
from awssome.hubspot.oauth import app_for
from awssome.workflows.services import WorkerServices
from tests.conftest import active_tenant, register_server, worker_services
from tests.protocol.search import search
from tests.protocol.state import Rules, State
from tests.workflows.moving import fill
from tests.workflows.trials import Trial

Killable = tuple[tuple[Path, str], ...]

POOL, DEDICATED, CONTROL = "pool", "dedicated", "control"


def main() -> None:
    """Soak, and say how it went. Status 1 when something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.workflows.soak_moves", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="how often something is killed or frozen (200)")
    parser.add_argument("--seed", type=int, default=1, help="of what is killed, and when (1)")
    parser.add_argument("--rate", type=float, default=200, help="writes a second (200)")
    parser.add_argument("--with-servers", type=int, default=50, help="in so many of them servers are killed, too (50)")
    parser.add_argument("--model", action=argparse.BooleanOptionalAction, default=True, help="search the model (yes)")
    chosen = parser.parse_args()
    if chosen.model:
        began = time.monotonic()
        found = search(Rules(moves=2), State(writes=2, faults=2))
        seconds = time.monotonic() - began
        print(f"model: {found.states:,} states, {seconds:.0f} s: {found.broken or 'holds'}", flush=True)
        if found.broken:
            sys.exit("\n".join(found.path))
    with _ground(chosen.seed, chosen.rate) as (trial, killable):
        began = time.monotonic()
        with trial.people():
            _strike(trial, chosen.kills - chosen.with_servers, began)
            assert trial.told().failed_reads == []
            trial.clusters = killable
            _strike(trial, chosen.with_servers, began)
        print(_report(trial, time.monotonic() - began), flush=True)
        trial.holds()
    print("moves: nothing was lost")


def _strike(trial: Trial, kills: int, began: float) -> None:
    """So many, with a word now and then."""
    for done in range(0, kills, 20):
        trial.to_and_fro(kills=min(20, kills - done))
        print(_report(trial, time.monotonic() - began).split("\n    ")[0], flush=True)


def _report(trial: Trial, seconds: float) -> str:
    told, pauses = trial.told(), sorted(trial.pauses_ms)
    lost = f"{told.refused.total():,} refused, {told.unknown.total():,} unknown"
    bad = f"{len(told.failed_reads)} failed, {len(told.old_reads)} old"
    lines = [
        f"{trial.moved} moves in {seconds:.0f} s; killed or frozen: {dict(trial.killed)}",
        f"{told.acknowledged:,} writes acknowledged, {lost}; slowest {told.slowest_ms} ms",
        f"{told.reads:,} reads, {bad}; slowest {told.slowest_read_ms} ms",
        f"write pause: median {median(pauses):.0f} ms, worst {pauses[-1]} ms",
        *(f"    {count:5} {reason}" for reason, count in told.kinds().most_common(12)),
    ]
    return "\n".join(lines)


@contextmanager
def _ground(seed: int, rate: float) -> Iterator[tuple[Trial, Killable]]:
    """A tenant with a pool, a dedicated server and a registry of its own; and which of them may be killed."""
    secret_key = new_secret_key()
    with tempfile.TemporaryDirectory(prefix="awssome-soak-") as folder, ExitStack() as stack:
        home = Path(folder)
        home.chmod(0o755)
        journals = home / "journals"
        journals.mkdir()
        clusters = {
            name: stack.enter_context(embedded.start(home, name)).cluster for name in (POOL, DEDICATED, CONTROL)
        }
        url = servers.prepare_control_plane(clusters[CONTROL], "control-of-the-soak")
        migrate.upgrade_registry(url, jobs_schema=SchemaManager.get_schema())
        registry = Registry(url, connections=8)
        hubspot = app_for("http://127.0.0.1:9", "client", "secret", "http://localhost:8000/hubspot/callback")
        services: WorkerServices = worker_services(
            registry, Keys.from_text(secret_key), Sessions(budget=20), hubspot, home / "archives"
        )
        for name, kind in ((POOL, ServerKind.POOL), (DEDICATED, ServerKind.DEDICATED)):
            register_server(services, name, kind, servers.prepare_data_plane(clusters[name], "provisioner-of-the-soak"))
        tenancy = active_tenant(services)
        fill(services, tenancy)
        trial = Trial(services, tenancy, secret_key, journals, random.Random(seed), rate)
        try:
            yield trial, ((home, POOL), (home, DEDICATED))
        finally:
            trial.close()
            registry.close()


if __name__ == "__main__":
    main()
