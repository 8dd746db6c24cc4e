"""What becomes of jobs that fail, and of those that are asked for twice."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from procrastinate.exceptions import JobRetry
from procrastinate.jobs import Job
from sqlalchemy import text

from awssome.database import Connection
from awssome.domain.times import new_id
from awssome.workflows import tasks
from awssome.workflows.services import WorkerServices
from awssome.workflows.sync import Parked


@pytest.mark.parametrize("name", ["set_login", "sync", "expire"])
def test_what_nobody_would_ask_for_again_is_tried_for_ever(name: str, services: WorkerServices) -> None:
    task = tasks.build(services, "").tasks[f"awssome.{name}"]
    waits = []
    for attempts in (1, 10, 100, 100_000):
        job = Job(queue=task.queue, lock=None, queueing_lock=None, task_name=task.name, attempts=attempts)
        retry = task.get_retry_exception(RuntimeError("the server is away"), job)
        assert isinstance(retry, JobRetry)
        assert retry.retry_decision.retry_at is not None
        waits.append(retry.retry_decision.retry_at - datetime.now(UTC))
    assert waits[0] < timedelta(seconds=5)
    assert timedelta(seconds=20) < waits[-1] <= timedelta(seconds=30)


def test_asking_again_for_a_sync_adds_no_job_while_there_is_one_for_it(services: WorkerServices) -> None:
    tenant_id, first, second = new_id(), new_id(), new_id()
    with services.registry.begin() as connection:
        services.queue.sync(connection, tenant_id, first)
        services.queue.sync(connection, tenant_id, first)
        assert _jobs(connection) == [(str(first), "todo")]
        _set(connection, "doing")
        services.queue.sync(connection, tenant_id, first)
        services.queue.sync(connection, tenant_id, second)  # the first one's job may be just about to end
        assert _jobs(connection) == [(str(first), "doing"), (str(second), "todo")]
        _set(connection, "failed")
        services.queue.sync(connection, tenant_id, first)
        assert _jobs(connection)[2:] == [(str(first), "todo")]


def test_a_sync_that_waits_for_hubspot_is_tried_again_at_its_moment_or_when_somebody_asks(
    services: WorkerServices,
) -> None:
    task = tasks.build(services, "").tasks["awssome.sync"]
    job = Job(queue=task.queue, lock=None, queueing_lock=None, task_name=task.name, attempts=3)
    until = datetime.now(UTC) + timedelta(minutes=12)
    retry = task.get_retry_exception(Parked(until), job)
    assert isinstance(retry, JobRetry)
    assert retry.retry_decision.retry_at == until

    tenant_id, parked, other = new_id(), new_id(), new_id()
    with services.registry.begin() as connection:
        services.queue.sync(connection, tenant_id, parked)
        services.queue.sync(connection, other, new_id())
        connection.execute(text("UPDATE procrastinate_jobs SET scheduled_at = now() + interval '12 minutes'"))
        services.queue.sync(connection, tenant_id, parked)
        due = text("SELECT count(*) FROM procrastinate_jobs WHERE scheduled_at <= now()")
        assert connection.execute(due).scalar_one() == 1
        services.queue.sync(connection, tenant_id, new_id())  # it was cancelled: the next one must not wait behind it
        assert len(_jobs(connection)) == 3


def test_a_server_that_hangs_takes_one_thread_for_each_move(
    services: WorkerServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging, other = new_id(), new_id()
    looks, begun, mended = list[int](), list[UUID](), threading.Event()

    def overdue(_: WorkerServices) -> list[UUID]:
        looks.append(1)
        return [hanging, other] if len(looks) == 5 else [hanging]

    def recover(_: WorkerServices, move_id: UUID) -> None:
        begun.append(move_id)
        if move_id == hanging:
            mended.wait(30)

    monkeypatch.setattr(tasks, "RECOVER_SECONDS", 0.0)
    monkeypatch.setattr(tasks, "_overdue", overdue)
    monkeypatch.setattr(tasks, "_recover", recover)

    async def until(true: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not true():
                await asyncio.sleep(0.01)

    async def look_after() -> None:
        looking = asyncio.create_task(tasks._recover_for_ever(services))
        await until(lambda: len(looks) > 10 and len(begun) > 1)
        assert begun == [hanging, other]
        mended.set()
        await until(lambda: begun.count(hanging) > 1)  # what has ended is begun again
        looking.cancel()

    with ThreadPoolExecutor(1) as own:  # a browser of another test may have a loop running in this thread
        own.submit(asyncio.run, look_after()).result()


def _set(connection: Connection, status: str) -> None:
    connection.execute(
        text("UPDATE procrastinate_jobs SET status = CAST(:status AS procrastinate_job_status)"), {"status": status}
    )


def _jobs(connection: Connection) -> list[tuple[str, str]]:
    query = "SELECT args->>'sync_id', status FROM procrastinate_jobs ORDER BY id"
    return [(row[0], row[1]) for row in connection.execute(text(query))]
