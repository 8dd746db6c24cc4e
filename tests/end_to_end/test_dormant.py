"""A dormant tenant, from the sweep that archives it to its owner's first page: real applications, real workers."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from awssome.control.client import Control
from awssome.database.registry import restores, sessions, tenants
from awssome.database.sessions import Sessions
from awssome.domain.archives import RestoreState
from awssome.domain.tenants import TenantState
from awssome.domain.times import now
from awssome.management.app import create as create_management
from awssome.portal.app import Options
from awssome.portal.app import create as create_portal
from awssome.portal.guard import SESSION_COOKIE
from awssome.workflows import leaving
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.engines import eventually
from tests.processes import processes
from tests.serving import served
from tests.workflows.moving import Truth, fill
from tests.workflows.working import work

SERVICE = "service-token-of-the-tests"
SHARED = "freemium.localhost:8000"


@dataclass(frozen=True)
class Stage:
    """The portal over the central API, and a dormant tenant whose owner has a session."""

    services: WorkerServices
    portal: FastAPI
    tenancy: Tenancy
    truth: Truth
    work: tuple[Any, ...]

    def browser(self) -> TestClient:
        with self.services.registry.begin() as connection:
            token = sessions.create(connection, self.tenancy.owner_id, "portal", tenant_id=self.tenancy.id)
        client = TestClient(self.portal, base_url=f"http://{SHARED}", follow_redirects=False)
        client.cookies.set(SESSION_COOKIE, token, domain="freemium.localhost")
        return client

    def state(self) -> TenantState:
        with self.services.registry.begin() as connection:
            return tenants.find(connection, self.tenancy.id).state

    def empty(self) -> bool:
        with self.services.registry.begin() as connection:
            return tenants.find(connection, self.tenancy.id).placement_id is None

    def restores(self) -> list[Any]:
        with self.services.registry.begin() as connection:
            return restores.of_tenant(connection, self.tenancy.id)

    @contextmanager
    def worker(self, step: str = "", fate: str = "") -> Iterator[Any]:
        """A worker process, which has ended after the block."""
        url, secret_key, where = self.work
        reached = processes.Event()
        process = processes.Process(target=work, args=(url, secret_key, reached, step, fate, where))
        process.start()
        try:
            yield process
        finally:
            if process.is_alive():
                os.kill(process.pid or 0, signal.SIGTERM)
            process.join(60)


@pytest.fixture
def stage(
    services: WorkerServices,
    make_tenant: Callable[..., Tenancy],
    registry_url: str,
    secret_key: str,
    tmp_path: Path,
) -> Iterator[Stage]:
    tenancy = make_tenant("Northwind", "alice@northwind.example")
    fill(services, tenancy)
    truth = Truth.of(services, tenancy)
    with services.registry.begin() as connection:
        sessions.register_token(connection, "portal", "service", SERVICE)
        tenants.change(connection, tenancy.id, seen_at=now() - timedelta(days=91))
        leaving.sweep(connection, services.queue, services.archive_policy, 90)
    own = Sessions(budget=10)
    with served(create_management(services)) as port:
        control = Control(f"http://127.0.0.1:{port}", SERVICE)
        portal = create_portal(Options(control=control, sessions=own, addresses=services.addresses))
        yield Stage(services, portal, tenancy, truth, (registry_url, secret_key, str(tmp_path / "archives")))
        control.close()
    own.close()


def looks(browser: TestClient) -> bool:
    """What the browser's script does each second, until it loads the page: whether the workspace is back."""
    shown = browser.get("/return/progress", headers={"X-Fragment": "1"})
    assert shown.status_code == 200, shown.text
    return "Your workspace is back." in shown.text


def test_an_owner_who_returns_finds_everything_as_it_was(stage: Stage) -> None:
    with stage.worker():
        eventually(stage.empty, 60)
        assert stage.state() is TenantState.ARCHIVED
        browser = stage.browser()
        away = browser.get("/deals")
        assert (away.status_code, away.headers["location"]) == (303, "/return")
        assert "being brought back" in browser.get("/return").text
        eventually(lambda: looks(browser), 60)
        assert browser.get("/deals").status_code == 200
    assert stage.state() is TenantState.ACTIVE
    with stage.services.registry.begin() as connection:
        placement_id = tenants.find(connection, stage.tenancy.id).placement_id
    assert placement_id is not None
    stage.truth.holds_at(placement_id)


def test_two_members_who_return_at_once_are_brought_back_once(stage: Stage) -> None:
    with stage.worker():
        eventually(stage.empty, 60)
        browsers = [stage.browser() for _ in range(2)]
        barrier, back = threading.Barrier(2), list[bool]()

        def comes(browser: TestClient) -> None:
            barrier.wait()
            end = time.monotonic() + 60
            while not looks(browser) and time.monotonic() < end:
                time.sleep(0.05)
            back.append(browser.get("/deals").status_code == 200)

        people = [threading.Thread(target=comes, args=(browser,)) for browser in browsers]
        for person in people:
            person.start()
        for person in people:
            person.join()
    assert back == [True, True]
    assert [row.state for row in stage.restores()] == [RestoreState.DONE]


@pytest.mark.parametrize("step", ["load", "switch", "open"])
def test_a_return_goes_on_although_its_worker_is_killed(stage: Stage, step: str) -> None:
    with stage.worker():
        eventually(stage.empty, 60)
    browser = stage.browser()
    assert not looks(browser)
    with stage.worker(step=step, fate="killed") as first:
        first.join(60)
        assert first.exitcode == -signal.SIGKILL
    assert not looks(browser) or step == "open"
    with stage.worker():
        eventually(lambda: looks(browser), 60)
        eventually(lambda: browser.get("/deals").status_code == 200, 60)
        eventually(lambda: [row.state for row in stage.restores()] == [RestoreState.DONE], 60)
    with stage.services.registry.begin() as connection:
        placement_id = tenants.find(connection, stage.tenancy.id).placement_id
    assert placement_id is not None
    stage.truth.holds_at(placement_id)
