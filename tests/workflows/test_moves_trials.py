"""Moves while people work, and everything goes wrong: nothing that was acknowledged is lost, and reads never fail."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.workflows.moving import fill
from tests.workflows.trials import Trial

pytestmark = pytest.mark.usefixtures("dedicated")


@pytest.fixture
def trial(services: WorkerServices, make_tenant: Callable[..., Tenancy], secret_key: str, tmp_path: Path) -> Trial:
    """A tenant on the pool, with rows in every table."""
    tenancy = make_tenant("Northwind", "alice@northwind.example")
    fill(services, tenancy)
    folder = tmp_path / "journals"
    folder.mkdir()
    return Trial(services, tenancy, secret_key, folder, random.Random(6))


def test_ten_kills_at_random_lose_nothing(trial: Trial) -> None:
    with trial.people():
        trial.to_and_fro(kills=10)
    trial.holds()
    assert sum(trial.killed.values()) == 10
    told = trial.told()
    assert told.acknowledged > 100
    assert told.reads > 100
