"""What does a sync cost beside the bare fetch of the same pages, and beside dlt into the same PostgreSQL server?

`python -m benchmarks.hubspot_sync`. One sandbox without limits serves all; every variant runs once a round. Ours is the
worker's own function, in a process that is warm, as a worker's is; dlt's is warm, too, and its start is not counted.
"""

from __future__ import annotations

import argparse
import random
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from uuid import UUID

import httpx2
from sqlalchemy import update
from tests.conftest import active_tenant
from tests.hubspot.conftest import sandboxes
from tests.processes import processes
from tests.workflows.portals import Portal
from tests.workflows.proving import Proof
from tests.workflows.run_sync import Given, carry_on

from awssome.database import embedded
from awssome.database.schema import hubspot_accounts
from awssome.domain.choices import DEFAULT_FIELDS
from awssome.domain.mapping import Mapping
from awssome.domain.tenants import Tier
from awssome.hubspot.limits import LIST_PAGE
from awssome.hubspot.version import API_VERSION
from awssome.workflows import sync
from awssome.workflows.sync.reading import MERGED_IDS
from awssome.workflows.tasks import calm_collector
from benchmarks import peers
from benchmarks.running import Platform, platform

DEALS, ROUNDS, LARGE = 11_000, 5, 100_000
PATH = f"/crm/objects/{API_VERSION}/deals"

LATENCY_MS = 50
"""Of a page in the second half: under HubSpot's own limit of 110 calls in 10 s a page takes 91 ms at least."""


@dataclass
class Place:
    """Where it is measured.

    :ivar portal: the account, of a sandbox without limits.
    :ivar properties: what the product asks for, and so do the others.
    """

    running: Platform
    portal: Portal
    token: str
    properties: tuple[str, ...] = (*Mapping(DEFAULT_FIELDS, {}).properties, MERGED_IDS)

    def bare(self) -> float:
        """Seconds to fetch and parse all pages over one connection."""
        wanted = {"limit": str(LIST_PAGE), "archived": "false", "properties": ",".join(self.properties)}
        began, fetched, after = time.perf_counter(), 0, {}
        headers = {"Authorization": f"Bearer {self.token}"}
        with httpx2.Client(base_url=self.portal.sandbox.url, headers=headers, trust_env=False) as http:
            while True:
                body = http.get(PATH, params={**wanted, **after}).raise_for_status().json()
                fetched += len(body["results"])
                if "paging" not in body:
                    break
                after = {"after": body["paging"]["next"]["after"]}
        assert fetched == len(self.portal.live)
        return time.perf_counter() - began

    def parsed(self) -> float:
        """Seconds of the same with the product's client."""
        with self.portal.sandbox.client(self.portal.id) as client:
            began = time.perf_counter()
            fetched = sum(len(page.results) for page in client.iter_deals(properties=self.properties))
        assert fetched == len(self.portal.live)
        return time.perf_counter() - began

    def ours(self) -> float:
        """Seconds of a paid tenant's first sync."""
        proof = self.paid()
        sync_id = proof.workshop.queue()
        began = time.perf_counter()
        sync.run(proof.workshop.services, proof.workshop.id, sync_id, lambda: False)
        seconds = time.perf_counter() - began
        assert proof.workshop.find(sync_id).created == len(self.portal.live)
        return seconds

    def paid(self) -> Proof:
        """A paid tenant without deals, connected to the account."""
        services = self.running.services
        tenancy = active_tenant(services, tier=Tier.PAID)
        secret_key = (self.running.settings.home / "secret-key").read_text().strip()
        return Proof.begin(services, tenancy, self.portal, secret_key, Tier.PAID)


def main() -> None:
    """The first sync, then a sync of changes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hubspot_sync", description=__doc__)
    parser.add_argument("--deals", type=int, default=DEALS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--large", type=int, default=LARGE)
    chosen = parser.parse_args()
    calm_collector()  # as a worker does
    with place(chosen.deals) as where:
        _first(where, chosen.rounds)
    with place(chosen.large) as where:
        _changes(where)


@contextmanager
def place(deals: int) -> Iterator[Place]:
    """A platform, and a sandbox with so many deals."""
    with ExitStack() as stack:
        start = stack.enter_context(sandboxes())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="awssome-bench-")))
        folder.chmod(0o755)
        portal = Portal.seeded(start, deals, folder / "truth.json")
        running = stack.enter_context(platform(folder))
        yield Place(running, portal, portal.sandbox.connect(portal.id).access_token)


def _first(where: Place, rounds: int) -> None:
    variants: dict[str, Callable[[], float]] = {
        "bare fetch, httpx2": where.bare,
        "the product's client, nothing written": where.parsed,
        "awssome, first sync": where.ours,
    }
    with ExitStack() as stack:
        if peers.available():
            cluster = stack.enter_context(embedded.start(where.running.settings.home, "main")).cluster
            dlt, database = stack.enter_context(peers.dlt(cluster))
            for file_format in ("insert_values", "csv"):
                variants[f"dlt, rest_api, {file_format}"] = lambda file_format=file_format: _by_dlt(  # type: ignore[misc]
                    where, dlt, database, file_format
                )
        for latency in (0, LATENCY_MS):
            where.portal.sandbox.order("faults", latency_ms=latency)
            times: dict[str, list[float]] = {name: [] for name in variants}
            for _ in range(rounds):
                for name, run in variants.items():
                    times[name].append(run())
            pages = f"pages that take {latency} ms" if latency else "pages as fast as the sandbox answers"
            _report(f"First sync of {len(where.portal.live):,} deals, {pages}, {rounds} rounds", times)
        where.portal.calm()


def _report(question: str, times: dict[str, list[float]]) -> None:
    print(f"\n{question}")
    bare = statistics.median(next(iter(times.values())))
    for name, seconds in times.items():
        median = statistics.median(seconds)
        print(f"  {name:40} {median:7.2f} s  worst {max(seconds):7.2f} s  {median / bare:6.2f} x")


def _by_dlt(where: Place, dlt: peers.Dlt, database: str, file_format: str) -> float:
    seconds, rows = dlt.load(
        url=where.portal.sandbox.url,
        path=PATH,
        token=where.token,
        properties=where.properties,
        database=database,
        dataset=f"d{secrets.token_hex(6)}",
        file_format=file_format,
    )
    assert rows == len(where.portal.live)
    return seconds


def _changes(where: Place) -> None:
    """A first sync, then a hundredth changed: found by what has changed, and by reading all; each in a worker of its
    own."""
    deals, dice, proof = len(where.portal.live), random.Random(1), where.paid()
    print(f"\nSyncs of {deals:,} deals, each once, in a worker of its own")
    _one(proof, "first")
    for name in ("1 % changed", "1 % changed, all read"):
        for deal_id in dice.sample(sorted(where.portal.live), deals // 100):
            where.portal.edit(deal_id, amount=str(dice.randrange(10**6)))
        if name.endswith("all read"):  # as from time to time, and when the mapping was changed
            never = update(hubspot_accounts).values(full_at=None)
            proof.workshop.workspace.do(lambda connection: connection.execute(never))  # noqa: B023
        _one(proof, name)


def _one(proof: Proof, name: str) -> None:
    sync_id = proof.workshop.queue()
    ours, theirs = processes.Pipe(duplex=False)
    began = time.perf_counter()
    worker = processes.Process(target=_measured, args=(proof.given, proof.workshop.id, sync_id, theirs))
    worker.start()
    before, after = ours.recv()
    worker.join()
    seconds, done = time.perf_counter() - began, proof.workshop.find(sync_id)
    proof.holds(done)
    print(
        f"  {name:24} {seconds:7.2f} s  {done.calls:6,} calls  {done.created:7,} created {done.updated:6,} updated "
        f"{done.unchanged:7,} unchanged  memory {before:.0f} -> {after:.0f} MB",
        flush=True,
    )


def _measured(given: Given, tenant_id: UUID, sync_id: UUID, told: Pipe) -> None:
    before = _peak()
    carry_on(given, tenant_id, sync_id)
    told.send((before, _peak()))


def _peak() -> float:
    """The most memory that this process has had, in MB."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1000


if __name__ == "__main__":
    main()
