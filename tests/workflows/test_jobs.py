"""Jobs are there exactly when the change is that asks for them, and done although workers are killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from procrastinate import App, SyncPsycopgConnector
from sqlalchemy import text

from awssome.database.registry import driver_connection, servers, tenants
from awssome.domain.moves import Phase
from awssome.domain.tenants import TenantState
from awssome.workflows.queue import SWEEP
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.processes import processes
from tests.workflows.moving import Truth, fill, the_move, upgrade
from tests.workflows.working import work

StartWorker = Callable[..., "Worker"]


class Worker:
    """A worker process. `reached` is set when a move begins the step it was started with."""

    def __init__(self, url: str, secret_key: str, step: str = "", fate: str = "") -> None:
        self.reached = processes.Event()
        self._process = processes.Process(target=work, args=(url, secret_key, self.reached, step, fate))
        self._process.start()

    def end(self, number: int = signal.SIGTERM) -> int | None:
        """Send a signal; the exit status."""
        if self._process.is_alive():
            os.kill(self._process.pid or 0, number)
        return self.ended()

    def ended(self) -> int | None:
        """The exit status, once it has ended."""
        self._process.join(60)
        return self._process.exitcode


@pytest.fixture
def start_worker(registry_url: str, secret_key: str) -> Iterator[StartWorker]:
    """Starts workers, which are killed at the latest when the test ends."""
    started: list[Worker] = []

    def start(**options: str) -> Worker:
        started.append(Worker(registry_url, secret_key, **options))
        return started[-1]

    yield start
    for worker in started:
        worker.end(signal.SIGKILL)


def test_a_job_is_there_if_and_only_if_its_change_is(services: WorkerServices) -> None:
    with pytest.raises(ZeroDivisionError), services.registry.begin() as connection:
        tenant = tenants.create(connection, "Never")
        services.queue.provision(connection, tenant.id)
        assert len(_jobs(services, connection)) == 1
        raise ZeroDivisionError
    assert _jobs(services) == []
    with services.registry.begin() as connection:
        tenant = tenants.create(connection, "Northwind")
        with pytest.raises(ZeroDivisionError), connection.begin_nested():
            services.queue.set_login(connection, tenant.id)
            raise ZeroDivisionError
        services.queue.provision(connection, tenant.id)
    assert _jobs(services) == [("awssome.provision", "todo", f"tenant:{tenant.id}", {"tenant_id": str(tenant.id)})]


def test_a_worker_does_what_is_queued_tries_again_what_fails_and_ends_when_it_is_asked(
    services: WorkerServices, start_worker: StartWorker
) -> None:
    with services.registry.begin() as connection:
        pool = servers.by_name(connection, "pool-1").id
        servers.change(connection, pool, open=False)
        tenant = tenants.create(connection, "Northwind")
        services.queue.provision(connection, tenant.id)
        App(connector=SyncPsycopgConnector()).configure_task(
            "awssome.sweep", queue=SWEEP, connection=driver_connection(connection)
        ).defer(timestamp=0)
    worker = start_worker()
    _eventually(lambda: _find(services, tenant.id).problem is not None)
    with services.registry.begin() as connection:
        servers.change(connection, pool, open=True)
    _eventually(lambda: _find(services, tenant.id).state is TenantState.ACTIVE)
    assert _find(services, tenant.id).problem is None
    _eventually(lambda: _jobs(services) == [])  # what succeeded is deleted; the sweep did, too
    assert worker.end() == 0
    with services.registry.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM procrastinate_workers")).scalar_one() == 0


@pytest.mark.usefixtures("dedicated")
def test_the_job_of_a_worker_that_is_killed_is_finished_by_another(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], start_worker: StartWorker
) -> None:
    alice = make_tenant("Northwind", "alice@northwind.example")
    fill(services, alice)
    truth = Truth.of(services, alice)
    move_id = upgrade(services, alice)
    first = start_worker(step="copy", fate="killed")
    assert first.ended() == -signal.SIGKILL
    assert [(task, status) for task, status, *_ in _jobs(services)] == [("awssome.move", "doing")]
    assert Phase(the_move(services, move_id).phase) is Phase.COPYING

    second = start_worker()
    _eventually(lambda: Phase(the_move(services, move_id).phase) is Phase.RETAINING)
    truth.holds_at(the_move(services, move_id).target_id)
    _eventually(lambda: _jobs(services) == [])
    assert second.end() == 0


@pytest.mark.usefixtures("dedicated")
def test_a_worker_that_is_asked_to_end_finishes_the_job_it_is_at(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], start_worker: StartWorker
) -> None:
    alice = make_tenant("Northwind", "alice@northwind.example")
    truth = Truth.of(services, alice)
    move_id = upgrade(services, alice)
    worker = start_worker(step="copy", fate="slow")
    assert worker.reached.wait(60)
    assert worker.end() == 0
    assert Phase(the_move(services, move_id).phase) is Phase.RETAINING
    truth.holds_at(the_move(services, move_id).target_id)
    assert _jobs(services) == []


def _jobs(services: WorkerServices, connection: Any = None) -> list[tuple[Any, ...]]:
    """The jobs in the queue: task, status, lock, arguments. The clock adds a sweep each minute; it is left out."""
    query = text(
        "SELECT task_name, status::text, lock, args FROM procrastinate_jobs j WHERE NOT EXISTS "
        "(SELECT FROM procrastinate_periodic_defers p WHERE p.job_id = j.id) ORDER BY id"
    )
    if connection is not None:
        return [tuple(row) for row in connection.execute(query)]
    with services.registry.begin() as own:
        return [tuple(row) for row in own.execute(query)]


def _find(services: WorkerServices, tenant_id: Any) -> tenants.Tenant:
    with services.registry.begin() as connection:
        return tenants.find(connection, tenant_id)


def _eventually(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)
