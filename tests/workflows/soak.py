"""`make soak`: syncs of many sizes for as long as one likes, proven as `test_sync_proof` does it, and a report.

python -m tests.workflows.soak --minutes 30            11,500 and 100,000 deals, then one small account after the other
python -m tests.workflows.soak --minutes 0 --seed 17   only the account of seed 17, as it was when it failed
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from awssome import main as composition
from awssome.config import Settings
from awssome.database.tenant.syncs import Sync
from awssome.domain.secrets import new_secret_key
from awssome.domain.tenants import Tier
from awssome.workflows import hubspot_connection
from awssome.workflows.services import WorkerServices
from tests.conftest import active_tenant
from tests.hubspot.conftest import NORTHWIND, TAILSPIN, WINGTIP, sandboxes
from tests.workflows.portals import Portal
from tests.workflows.proving import Proof

BIG = (11_500, 100_000)
SIZES = (0, 1, 9, 10, 11, 40, 99, 100, 101, 199, 250, 400)


@dataclass
class Report:
    """What was done, and what did not hold."""

    began: float = field(default_factory=time.monotonic)
    accounts: int = 0
    syncs: int = 0
    deals: int = 0
    killed: int = 0
    calls: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, done: Sync) -> None:
        self.syncs += 1
        self.deals += done.seen
        self.calls += done.calls

    def __str__(self) -> str:
        minutes = (time.monotonic() - self.began) / 60
        return (
            f"{self.accounts:,} accounts, {self.syncs:,} syncs, {self.deals:,} deals seen, {self.calls:,} calls, "
            f"{self.killed:,} workers killed, {minutes:.1f} minutes: {len(self.failures)} did not hold"
        )


@dataclass(frozen=True)
class Ground:
    """Where tenants are made: a throw-away home with embedded servers."""

    services: WorkerServices
    secret_key: str


def main() -> None:
    """Soak, and say how it went. Status 1 when something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.workflows.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="begin no account after so many (30)")
    parser.add_argument("--seed", type=int, default=1, help="of the first small account (1)")
    parser.add_argument("--big", type=int, nargs="*", default=BIG, help="the large accounts (11500 100000)")
    chosen = parser.parse_args()
    report = Report()
    with _ground() as ground:
        for deals in chosen.big:
            _account(report, f"{deals:,} deals", lambda deals=deals: _big(ground, report, deals))  # type: ignore[misc]
        seed = chosen.seed
        while True:
            _account(report, f"seed {seed}", lambda seed=seed: _small(ground, report, seed))  # type: ignore[misc]
            seed += 1
            if time.monotonic() - report.began >= chosen.minutes * 60:
                break
    print(f"\n{report}")
    sys.exit(1 if report.failures else 0)


def _account(report: Report, name: str, prove: Callable[[], None]) -> None:
    report.accounts += 1
    began = time.monotonic()
    try:
        prove()
        told = "holds"
    except Exception as error:
        report.failures.append(name)
        told = f"DOES NOT HOLD: {type(error).__name__}"
        traceback.print_exc()
    print(f"{name:16} {told:20} {time.monotonic() - began:7.1f} s", flush=True)


def _big(ground: Ground, report: Report, deals: int) -> None:
    """A first sync that is torn apart, one that finds nothing new, and some after a hundredth has changed."""
    dice = random.Random(deals)
    with _proof(ground, deals, Tier.PAID, seed=1) as proof:
        latest = deals // 8  # there are about 20 moments to a page
        for turn in range(4):
            proof.portal.storm(dice, faults=8)
            began = time.monotonic()
            done = proof.sync(dice, workers=2, kills=6 if turn != 1 else 0, latest=latest if turn == 0 else 60)
            seconds = time.monotonic() - began
            proof.portal.calm()
            proof.holds(done)
            report.add(done)
            print(
                f"    {done.created:,} created, {done.updated:,} updated, {done.unchanged:,} unchanged; {done.calls:,} "
                f"calls, {seconds:.1f} s, attempt {done.attempt}",
                flush=True,
            )
            if turn:
                proof.portal.disturb(dice, changes=deals // 100)
                proof.interfere(dice, changes=3)
        report.killed += proof.killed


def _small(ground: Ground, report: Report, seed: int) -> None:
    """Some rounds of changes on both sides, each followed by a sync in another kind of trouble."""
    dice = random.Random(seed)
    with _proof(ground, dice.choice(SIZES), dice.choice(list(Tier)), seed) as proof:
        for _ in range(dice.randrange(2, 7)):
            kills = dice.choice((0, 0, 1, 2, 5))
            proof.portal.storm(dice, faults=dice.choice((0, 0, 2, 4)), rotate=not kills)
            if dice.random() < 0.2:  # refusals, too, after which a client has to rest
                proof.portal.sandbox.order("faults", mix=0.1, seed=seed)
                proof.portal.sandbox.order("tokens/rotation", on=False)
            lag = dice.choice((0.0, 0.0, 1.0)) if proof.room is None and proof.known else 0.0
            proof.portal.sandbox.order("faults", index_lag_ms=lag * 1000)
            if dice.random() < 0.1:
                done = proof.sync_by_jobs(dice, kills=min(kills, 2))
            else:
                done = proof.sync(dice, workers=dice.choice((1, 2, 3)), kills=kills, latest=dice.choice((20, 60, 120)))
            proof.holds(done, lagging=lag > 0)
            report.add(done)
            proof.portal.calm()
            if lag:
                time.sleep(lag)
                proof.holds(proof.sync())
            proof.portal.disturb(dice, changes=dice.choice((1, 5, 20, 60)))
            proof.interfere(dice, changes=dice.choice((0, 2, 8)))
            if proof.room is not None and dice.random() < 0.1:
                proof.upgrade()
        report.killed += proof.killed


@contextmanager
def _proof(ground: Ground, deals: int, tier: Tier, seed: int) -> Iterator[Proof]:
    """A tenant and an account of its own, which it leaves in the end."""
    with sandboxes() as start, tempfile.TemporaryDirectory() as folder:
        truth, portal_id = Path(folder) / "truth.json", (NORTHWIND, TAILSPIN, WINGTIP)[seed % 3]
        portal = Portal.seeded(start, deals, truth, "--seed", str(seed), portal_id=portal_id)
        tenancy = active_tenant(ground.services, tier=tier)
        proof = Proof.begin(ground.services, tenancy, portal, ground.secret_key, tier)
        yield proof
        portal.calm()
        hubspot_connection.disconnect(proof.workshop.services, tenancy.id)


@contextmanager
def _ground() -> Iterator[Ground]:
    with tempfile.TemporaryDirectory(prefix="awssome-soak-") as folder:
        home, secret_key = Path(folder), new_secret_key()
        home.chmod(0o755)
        with composition.control_plane(Settings(home=home, secret_key=secret_key)) as plane:
            yield Ground(composition.worker_services(plane), secret_key)


if __name__ == "__main__":
    main()
