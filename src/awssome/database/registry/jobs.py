"""The job queue's tables, as far as operators and the rescue need them. Jobs are enqueued by `workflows.queue`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Text, cast, column, func, select, table, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Connection

from awssome.database.keyset import Page, newest_first
from awssome.domain.errors import Code, Refused

_JOBS = table(
    "procrastinate_jobs",
    column("id"),
    column("queue_name"),
    column("task_name"),
    column("status"),
    column("lock"),
    column("attempts"),
    column("scheduled_at"),
    column("args", JSONB),
)

_RESCUE = text(
    """
    WITH dead AS (
        SELECT j.id FROM procrastinate_jobs j
        LEFT JOIN procrastinate_workers w ON w.id = j.worker_id
        WHERE j.status = 'doing' AND (w.id IS NULL OR w.last_heartbeat < now() - :stalled)
        FOR UPDATE OF j SKIP LOCKED
    )
    SELECT procrastinate_retry_job_v2(id, now(), NULL, NULL, NULL) FROM dead
    """
)


def rescue(connection: Connection, stalled: timedelta) -> int:
    """Put jobs back into the queue whose worker is gone, or has given no sign for `stalled`."""
    return len(connection.execute(_RESCUE, {"stalled": stalled}).all())


def is_under_way(connection: Connection, lock: str, **arguments: str) -> bool:
    """Whether a job with this lock and these arguments waits or runs."""
    found = connection.execute(
        select(_JOBS.c.id).where(
            _JOBS.c.lock == lock,
            _JOBS.c.args.contains(arguments),
            cast(_JOBS.c.status, Text).in_(("todo", "doing")),
        )
    )
    return found.first() is not None


def hurry(connection: Connection, lock: str) -> None:
    """Let a job with this lock that waits for its time run now: those behind it in the same lock wait for it, too."""
    waiting = (_JOBS.c.lock == lock, cast(_JOBS.c.status, Text) == "todo", _JOBS.c.scheduled_at > func.now())
    connection.execute(update(_JOBS).where(*waiting).values(scheduled_at=func.now()))


def waits(connection: Connection, lock: str) -> bool:
    """Whether a job with this lock waits to be run."""
    waiting = select(_JOBS.c.id).where(_JOBS.c.lock == lock, cast(_JOBS.c.status, Text) == "todo")
    return connection.execute(waiting.limit(1)).first() is not None


def left(connection: Connection, task: str) -> dict[str, int]:
    """How many jobs of this task wait or run, and how many have failed, by status."""
    query = select(cast(_JOBS.c.status, Text), func.count()).where(_JOBS.c.task_name == f"awssome.{task}")
    return {row[0]: row[1] for row in connection.execute(query.group_by(_JOBS.c.status))}


def counts(connection: Connection) -> list[Any]:
    """queue, status, count, and the age in seconds of the oldest that waits."""
    return list(
        connection.execute(
            text(
                "SELECT queue_name AS queue, status, count(*) AS count, "
                "extract(epoch FROM now() - min(scheduled_at)) AS oldest "
                "FROM procrastinate_jobs GROUP BY queue_name, status ORDER BY queue_name, status"
            )
        )
    )


def page(connection: Connection, *, status: str = "", after: str = "", before: str = "", limit: int = 50) -> Page[Any]:
    """Jobs, newest first: id, queue, task, status, attempts, scheduled_at, args."""
    query = select(
        _JOBS.c.id,
        _JOBS.c.queue_name.label("queue"),
        _JOBS.c.task_name.label("task"),
        cast(_JOBS.c.status, Text).label("status"),
        _JOBS.c.attempts,
        _JOBS.c.scheduled_at,
        _JOBS.c.args,
    )
    if status:
        query = query.where(cast(_JOBS.c.status, Text) == status)
    return newest_first(connection, query, _JOBS.c.id, int, after=after, before=before, limit=limit)


def retry(connection: Connection, job_id: int) -> None:
    """Put a failed job back into the queue. :raises Refused: CONFLICT when it has not failed."""
    failed = connection.execute(
        text("SELECT FROM procrastinate_jobs WHERE id = :id AND status = 'failed' FOR UPDATE"), {"id": job_id}
    ).first()
    if failed is None:
        raise Refused(Code.CONFLICT, "Only a failed job can be tried again.")
    connection.execute(text("SELECT procrastinate_retry_job_v2(:id, now(), NULL, NULL, NULL)"), {"id": job_id})
