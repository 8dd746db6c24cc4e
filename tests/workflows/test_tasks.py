"""What becomes of jobs that fail, and of those that are asked for twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from procrastinate.exceptions import JobRetry
from procrastinate.jobs import Job

from awssome.workflows import tasks
from awssome.workflows.services import WorkerServices


@pytest.mark.parametrize("name", ["set_login", "sync"])
def test_what_nobody_would_ask_for_again_is_tried_for_ever(
    name: str, services: WorkerServices
) -> None:
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
