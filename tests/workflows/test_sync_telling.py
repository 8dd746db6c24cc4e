"""Workers tell the registry how each tenant's newest sync stands, and operators see all of them on one page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from awssome.database.registry import accounts, erasure, last_syncs, sessions, tenants
from awssome.domain.syncs import SyncState
from awssome.domain.tenants import TenantState
from awssome.domain.times import now
from awssome.management.app import create
from awssome.workflows.services import WorkerServices
from awssome.workflows.sync import NotNow
from tests.management.conftest import visit
from tests.workflows.conftest import Workshop

Workshops = Callable[..., Workshop]


def told(services: WorkerServices, state: SyncState | None = None) -> list[Any]:
    with services.registry.begin() as connection:
        return last_syncs.page(connection, state=state).rows


def test_a_sync_is_told_of_as_it_begins_and_as_it_ends(workshop: Workshops) -> None:
    alice = workshop()
    waiting = alice.queue()
    states: list[str] = []

    def interrupt() -> bool:
        states.extend(row.state for row in told(alice.services))
        return True

    with pytest.raises(NotNow):
        alice.sync(waiting, interrupt)
    assert set(states) == {SyncState.RUNNING}
    assert [row.state for row in told(alice.services)] == [SyncState.RUNNING], "it goes on by itself"
    done = alice.sync(waiting)
    (row,) = told(alice.services)
    assert (row.sync_id, row.state, row.slug) == (done.id, SyncState.DONE, alice.tenancy.slug)
    counts = ("imported", "available", "created", "updated", "left_out", "failed", "calls", "finished_at")
    assert [getattr(row, name) for name in counts] == [getattr(done, name) for name in counts]
    assert told(alice.services, SyncState.FAILED) == []


def test_a_sync_of_before_never_takes_the_place_of_a_later_one(workshop: Workshops) -> None:
    alice = workshop()
    first, second = alice.sync(), alice.sync()
    with alice.services.registry.begin() as connection:
        last_syncs.tell(connection, alice.id, replace(first, state=SyncState.FAILED))
    assert [(row.sync_id, row.state) for row in told(alice.services)] == [(second.id, SyncState.DONE)]


def test_operators_see_the_newest_sync_of_each_tenant(workshop: Workshops) -> None:
    alice = workshop()
    done = alice.sync()
    with alice.services.registry.begin() as connection:
        olga = accounts.create(connection, "olga@awssome.example", "Olga", None, operator=True, confirmed=True)
        desk = visit(create(alice.services), sessions.create(connection, olga.id, "management"))
    page = desk.get("/syncs").text
    assert f'href="/tenants/{alice.tenancy.slug}"' in page and f"10 of {done.available}" in page
    assert "No match" in desk.get("/syncs?state=failed").text
    with alice.services.registry.begin() as connection:
        waits = replace(done, state=SyncState.RUNNING, finished_at=None, resume_at=now(), problem="HubSpot is away.")
        last_syncs.tell(connection, alice.id, waits)
    page = desk.get("/syncs?state=running").text
    assert "Paused" in page and "HubSpot is away." in page


def test_nothing_of_it_outlives_the_tenant(workshop: Workshops) -> None:
    alice = workshop()
    alice.sync()
    with alice.services.registry.begin() as connection:
        tenants.turn(connection, alice.id, TenantState.RETAINED)
        erasure.forget_tenant(connection, alice.id)
    assert told(alice.services) == []
