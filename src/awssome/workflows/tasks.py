"""The tasks by name, and the worker that runs them.

A job says "carry this on". Each task has a retry strategy, can be run twice, and looks at `should_abort()` where it is
long. The precautions were found by trial: heartbeats every 2 s, rescue of jobs whose worker is gone, an executor with
as many threads as jobs.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from procrastinate import App, BaseRetryStrategy, JobContext, PsycopgConnector, RetryDecision, RetryStrategy
from procrastinate.jobs import Job

from awssome.database.mover import Mover
from awssome.database.postgresql.driver import NETWORK
from awssome.database.registry import audit, jobs, purge
from awssome.database.registry import moves as registered_moves
from awssome.domain.errors import Refused
from awssome.domain.moves import NotYet
from awssome.workflows import (
    archives,
    data_keys,
    draining,
    entitlements,
    expiry,
    hosts,
    instances,
    leaving,
    long_sessions,
    mail,
    moves,
    provisioning,
    refusals,
    retention,
    returning,
    rotation,
    sync,
    watching,
)
from awssome.workflows.queue import ARCHIVE, MOVE, QUEUES, SIGN_UP, SWEEP, SYNC, WATCH
from awssome.workflows.services import WorkerServices

STALLED = timedelta(seconds=10)
"""A worker that has not given a sign for this long is dead, and its jobs go back to the queue."""

RESCUE_SECONDS = 3.0

RECOVER_SECONDS = 0.5
"""How often a worker looks for moves whose writes pause while their mover is silent."""

LONGEST_WAIT_SECONDS = 30
"""Between two tries of a job that is tried for ever."""

_log = structlog.get_logger(__name__)


class _ForEver(BaseRetryStrategy):
    """For jobs that nobody can ask for again, or only in vain: they are done some day, however long a server is away.

    A sync and a move end by themselves after too many errors; what is waited for here is a database, or what they say
    themselves.
    """

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision:
        if isinstance(exception, sync.Parked | NotYet):
            return RetryDecision(retry_at=exception.until)
        return RetryDecision(retry_in={"seconds": min(2 + job.attempts, LONGEST_WAIT_SECONDS)})


_SOON = RetryStrategy(max_attempts=12, wait=1, linear_wait=2)
_LATER = RetryStrategy(max_attempts=60, wait=2, linear_wait=1)


def build(services: WorkerServices, conninfo: str) -> App:
    """The app with every task, bound to its services."""
    app = App(connector=PsycopgConnector(conninfo=conninfo, kwargs=dict(NETWORK), min_size=2, max_size=8))
    mailing = mail.Mailing(services.registry, services.addresses, services.mailer)

    def task(name: str, queue: str, retry: BaseRetryStrategy) -> Callable[[Callable[..., None]], Any]:
        return app.task(name=f"awssome.{name}", queue=queue, retry=retry, pass_context=True)

    @task("provision", SIGN_UP, _SOON)
    def provision(context: JobContext, tenant_id: str) -> None:
        provisioning.provision(services, UUID(tenant_id))

    @task("send_link", SIGN_UP, _LATER)
    def send_link(context: JobContext, account_id: str, tenant_id: str | None, purpose: str) -> None:
        mail.send_link(mailing, UUID(account_id), UUID(tenant_id) if tenant_id else None, purpose)

    @task("check_server", SIGN_UP, _SOON)
    def check_server(context: JobContext, server_id: str) -> None:
        provisioning.check_server(services, UUID(server_id))

    @task("set_login", SIGN_UP, _ForEver())
    def set_login(context: JobContext, tenant_id: str) -> None:
        provisioning.set_login(services, UUID(tenant_id))

    @task("sync", SYNC, _ForEver())
    def run_sync(context: JobContext, tenant_id: str, sync_id: str) -> None:
        sync.run(services, UUID(tenant_id), UUID(sync_id), context.should_abort)

    @task("keep_to_plan", SYNC, _ForEver())
    def keep_to_plan(context: JobContext, tenant_id: str) -> None:
        sync.keep_to_plan(services, UUID(tenant_id))

    @task("move", MOVE, _ForEver())
    def move(context: JobContext, move_id: str) -> None:
        mover(services).carry_on(UUID(move_id), context.should_abort)
        with services.registry.begin() as connection:
            draining.after_move(connection, services.queue, UUID(move_id))
            moves.after_move(connection, services.queue, UUID(move_id))

    @task("rotate", SWEEP, _LATER)
    def rotate(context: JobContext, placement_id: str, version: int) -> None:
        rotation.rotate(services, UUID(placement_id), version)

    @task("rotate_data_key", SWEEP, _LATER)
    def rotate_data_key(context: JobContext, tenant_id: str, renew: bool) -> None:
        data_keys.rotate(services, UUID(tenant_id), renew=renew)

    @task("end_sessions", SWEEP, _LATER)
    def end_sessions(context: JobContext, placement_id: str) -> None:
        rotation.end_sessions(services, UUID(placement_id))

    @task("close_workspace", SIGN_UP, _ForEver())
    def close_workspace(context: JobContext, tenant_id: str) -> None:
        leaving.close_workspace(services, UUID(tenant_id))

    @task("empty_workspace", ARCHIVE, _ForEver())
    def empty_workspace(context: JobContext, tenant_id: str) -> None:
        leaving.empty_workspace(services, UUID(tenant_id))

    @task("reopen_workspace", SIGN_UP, _ForEver())
    def reopen_workspace(context: JobContext, tenant_id: str) -> None:
        returning.reopen_workspace(services, UUID(tenant_id))

    @task("discard", SIGN_UP, _LATER)
    def discard(context: JobContext, placement_id: str) -> None:
        provisioning.discard(services, UUID(placement_id))

    @task("drain", SWEEP, _LATER)
    def drain(context: JobContext, server_id: str) -> None:
        draining.carry_on(services.registry, services.queue, UUID(server_id))

    @task("reseal", SWEEP, _LATER)
    def reseal(context: JobContext) -> None:
        rotation.reseal(services)

    @task("export", ARCHIVE, _SOON)
    def export(context: JobContext, archive_id: str) -> None:
        archives.export(services, UUID(archive_id))

    @task("expire", ARCHIVE, _ForEver())
    def expire(context: JobContext, archive_id: str) -> None:
        archives.expire(services, UUID(archive_id))

    @task("restore", ARCHIVE, _LATER)
    def restore(context: JobContext, restore_id: str) -> None:
        archives.restorer(services).carry_on(UUID(restore_id))

    @task("drop_restored", ARCHIVE, _LATER)
    def drop_restored(context: JobContext, restore_id: str) -> None:
        archives.restorer(services).drop(UUID(restore_id))

    @task("mail_alerts", WATCH, _LATER)
    def mail_alerts(context: JobContext, alert_ids: list[str]) -> None:
        watching.mail(services, [UUID(alert_id) for alert_id in alert_ids])

    @app.periodic(cron="*/5 * * * *")
    @app.task(name="awssome.collect", queue=WATCH, pass_context=True)  # the next tick is the retry
    def collect(context: JobContext, timestamp: int) -> None:
        with services.registry.holding("collect") as alone:
            if alone:
                watching.collect(services)

    @app.periodic(cron="* * * * *")
    @app.task(name="awssome.settle_alerts", queue=WATCH, pass_context=True)
    def settle_alerts(context: JobContext, timestamp: int) -> None:
        with services.registry.begin() as connection:
            watching.settle(connection, services.queue)

    @app.periodic(cron="* * * * *")
    @app.task(name="awssome.sweep", queue=SWEEP, pass_context=True)  # the next tick is the retry
    def sweep(context: JobContext, timestamp: int) -> None:
        with services.registry.begin() as connection:
            moves.sweep(connection, services.queue)
        with services.registry.begin() as connection:
            draining.sweep(connection, services.queue)
        with services.registry.begin() as connection:
            expiry.sweep(connection, services.queue)
        with services.registry.begin() as connection:
            leaving.sweep(connection, services.queue, services.archive_policy, services.dormant_days)
        with services.registry.begin() as connection:
            archives.sweep(connection, services.queue, services.archive_policy)
        with services.registry.begin() as connection:
            purge.purge(connection)
        with services.registry.begin() as connection:
            audit.seal(connection)

    @app.periodic(cron="* * * * *")
    @app.task(name="awssome.clear_instances", queue=SWEEP, pass_context=True)  # the next tick is the retry
    def clear_instances(context: JobContext, timestamp: int) -> None:
        instances.clear(services)
        instances.erase(services)

    @app.periodic(cron="* * * * *")
    @app.task(name="awssome.settle_hosts", queue=SWEEP, pass_context=True)  # the next tick is the retry
    def settle_hosts(context: JobContext, timestamp: int) -> None:
        hosts.settle(services)

    @app.periodic(cron="*/5 * * * *")
    @app.task(name="awssome.verify_entitlements", queue=WATCH, pass_context=True)  # the next tick is the retry
    def verify_entitlements(context: JobContext, timestamp: int) -> None:
        with services.registry.holding("entitlements") as alone:
            if alone:
                entitlements.verify(services)

    @app.periodic(cron="* * * * *")
    @app.task(name="awssome.read_logs", queue=SWEEP, pass_context=True)  # the next tick is the retry
    def read_logs(context: JobContext, timestamp: int) -> None:
        refusals.read_logs(services)

    @app.periodic(cron="* * * * *")
    @app.task(name="awssome.end_long_sessions", queue=SWEEP, pass_context=True)  # the next tick is the retry
    def end_long_sessions(context: JobContext, timestamp: int) -> None:
        long_sessions.end(services)

    return app


def mover(services: WorkerServices) -> Mover:
    """What carries moves on, with what others do for it on the way."""
    return Mover(
        services.registry,
        services.keys,
        services.open_server,
        ensure=partial(instances.ensure, services),
        archive=partial(retention.keep, services),
    )


def calm_collector() -> None:
    """Have Python search for cycles of garbage less often.

    A page of deals is many objects that live for a moment, and no cycle; what was loaded at the start stays for good.
    The searches took a fifth of a sync's processor time.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def work(app: App, services: WorkerServices, queues: dict[str, int] | None = None) -> None:
    """Work on the queues until SIGTERM or SIGINT; running jobs may end within 20 s.

    :param queues: queue -> jobs at a time; all queues if not given.
    """
    chosen = queues or QUEUES
    calm_collector()
    # Plain tasks run in the loop's executor; with fewer threads than jobs, jobs would sit in "doing" unstarted.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(sum(chosen.values()) + 4))
    async with app.open_async():
        looking_after = [asyncio.create_task(_rescue_for_ever(services))]
        if MOVE in chosen:
            looking_after.append(asyncio.create_task(_recover_for_ever(services)))
        workers = [
            asyncio.create_task(
                app.run_worker_async(
                    queues=[queue],
                    concurrency=concurrency,
                    fetch_job_polling_interval=1.0,
                    update_heartbeat_interval=2.0,
                    stalled_worker_timeout=STALLED.total_seconds(),
                    shutdown_graceful_timeout=20.0,
                    delete_jobs="successful",
                    install_signal_handlers=False,
                )
            )
            for queue, concurrency in chosen.items()
        ]
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([stopping, *workers], return_when=asyncio.FIRST_COMPLETED)
        ended_by_itself = not stop.is_set()
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        for task in (*looking_after, stopping):
            task.cancel()
    if ended_by_itself:
        raise SystemExit(1)  # the supervisor starts another


async def _rescue_for_ever(services: WorkerServices) -> None:
    while True:
        try:
            rescued = await asyncio.to_thread(rescue, services)
            if rescued:
                _log.info("jobs.rescued", count=rescued)
        except Refused as refused:
            _log.warning("jobs.rescue_failed", reason=refused.message)
        except Exception:
            _log.exception("jobs.rescue_failed")
        await asyncio.sleep(RESCUE_SECONDS)


async def _recover_for_ever(services: WorkerServices) -> None:
    """Each move in a thread of its own: one whose server is away keeps no other one waiting. But only one thread for
    each: a server that hangs would take them all, one after the other."""
    recovering: dict[UUID, asyncio.Task[None]] = {}
    while True:
        try:
            recovering = {move_id: task for move_id, task in recovering.items() if not task.done()}
            for move_id in await asyncio.to_thread(_overdue, services):
                if move_id not in recovering:
                    recovering[move_id] = asyncio.create_task(asyncio.to_thread(_recover, services, move_id))
        except Refused as refused:
            _log.warning("moves.recovery_failed", reason=refused.message)
        except Exception:
            _log.exception("moves.recovery_failed")
        await asyncio.sleep(RECOVER_SECONDS)


def _overdue(services: WorkerServices) -> list[UUID]:
    with services.registry.begin() as connection:
        return registered_moves.overdue(connection)


def _recover(services: WorkerServices, move_id: UUID) -> None:
    try:
        phase = mover(services).recover(move_id)
        with services.registry.begin() as connection:
            services.queue.move(connection, move_id)  # whoever had it may have lost it to us, and ended
        _log.info("move.recovered", move=str(move_id), phase=phase)
    except Refused as refused:
        _log.warning("move.recovery_failed", move=str(move_id), reason=refused.message)
    except Exception:
        _log.exception("move.recovery_failed", move=str(move_id))


def rescue(services: WorkerServices) -> int:
    """Put the jobs of dead workers back into the queue; returns how many."""
    with services.registry.begin() as connection:
        return jobs.rescue(connection, STALLED)
