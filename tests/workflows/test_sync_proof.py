"""Syncs end with the truth: of any size, with faults on, their workers killed at random, two of them at once.

What is true is known from the sandbox's file of truth and from what was done in HubSpot since; what a registration has
to hold is written down in `reference`. `make soak` does the same with more deals and for longer.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from awssome.domain.tenants import Tier
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.hubspot.conftest import TAILSPIN, WINGTIP, Sandbox
from tests.workflows.portals import Portal
from tests.workflows.proving import Proof

Prove = Callable[[Portal, Tier], Proof]
Seeded = Callable[[int], Portal]


@pytest.fixture(scope="session")
def seeded(start_sandbox: Callable[..., Sandbox], tmp_path_factory: pytest.TempPathFactory) -> Seeded:
    """An account with so many deals; the same one for each size, so take it as it is."""
    folder, made = tmp_path_factory.mktemp("truth"), dict[int, Portal]()

    def find(deals: int) -> Portal:
        if deals not in made:
            made[deals] = Portal.seeded(start_sandbox, deals, folder / f"{deals}.json")
        made[deals].calm()
        return made[deals]

    return find


@pytest.fixture
def prove(services: WorkerServices, make_tenant: Callable[..., Tenancy], secret_key: str) -> Prove:
    """Makes tenants that are connected to an account."""

    def made(portal: Portal, tier: Tier) -> Proof:
        return Proof.begin(services, make_tenant("Alice & Co", tier=tier), portal, secret_key, tier)

    return made


@pytest.mark.parametrize("tier", list(Tier))
@pytest.mark.parametrize("deals", [0, 9, 10, 11, 250])
def test_two_workers_that_are_killed_at_random_while_hubspot_fails_leave_the_truth(
    deals: int, tier: Tier, seeded: Seeded, prove: Prove
) -> None:
    portal, dice = seeded(deals), random.Random(deals)
    proof = prove(portal, tier)
    portal.storm(dice, faults=3)
    proof.holds(proof.sync(dice, workers=2, kills=3))
    assert proof.killed
    portal.calm()
    again = proof.sync()
    proof.holds(again)
    assert (again.created, again.updated, again.left_out) == (0, 0, deals - again.imported)


@pytest.mark.parametrize(("tier", "portal_id"), [(Tier.FREE, TAILSPIN), (Tier.PAID, WINGTIP)])
def test_whatever_changes_on_either_side_between_syncs_they_end_with_the_truth(
    tier: Tier, portal_id: int, start_sandbox: Callable[..., Sandbox], prove: Prove, tmp_path: Path
) -> None:
    portal, dice = Portal.seeded(start_sandbox, 40, tmp_path / "truth", portal_id=portal_id), random.Random(portal_id)
    proof = prove(portal, tier)
    proof.holds(proof.sync())
    for turn in range(4):
        portal.disturb(dice, changes=15)
        proof.interfere(dice, changes=6)
        kills = turn % 3
        portal.storm(dice, faults=2 if turn % 2 else 0, rotate=not kills)
        proof.holds(proof.sync(dice, workers=1 + turn % 2, kills=kills))
        portal.calm()
    proof.upgrade()
    done = proof.sync()
    proof.holds(done)
    assert done.imported == len(portal.live)


def test_changes_that_hubspots_search_tells_late_are_not_missed(
    start_sandbox: Callable[..., Sandbox], prove: Prove, tmp_path: Path
) -> None:
    portal, dice = Portal.seeded(start_sandbox, 40, tmp_path / "truth"), random.Random(3)
    proof = prove(portal, Tier.PAID)
    proof.holds(proof.sync())
    portal.sandbox.order("faults", index_lag_ms=1500)
    for _ in range(3):
        portal.disturb(dice, changes=8)
        proof.holds(proof.sync(), lagging=True)
    time.sleep(1.6)  # until the index knows
    done = proof.sync()
    proof.holds(done)
    assert done.imported == len(portal.live)


def test_workers_of_the_queue_that_are_killed_at_random_leave_the_truth(seeded: Seeded, prove: Prove) -> None:
    portal, dice = seeded(250), random.Random(5)
    proof = prove(portal, Tier.PAID)
    portal.sandbox.order("faults", latency_ms=100)
    done = proof.sync_by_jobs(dice, kills=2)
    proof.holds(done)
    assert done.imported == len(portal.live)
