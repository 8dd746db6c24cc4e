"""Looking at the servers, writing down what is wrong, and telling operators. Each job can be run twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import structlog

from awssome.database import Connection
from awssome.database.engine import SchemaUse, ServerLoad
from awssome.database.registry import accounts, alerts, servers, usage, watch
from awssome.domain.alerts.rules import RULE
from awssome.domain.errors import Refused
from awssome.domain.times import now
from awssome.workflows import instances
from awssome.workflows.queue import Queue
from awssome.workflows.services import WorkerServices

AT_A_TIME = 8
"""Servers that are looked at side by side: one that does not answer keeps nobody waiting."""

MOST_IN_A_MAIL = 20

_log = structlog.get_logger(__name__)


def collect(services: WorkerServices, at: datetime | None = None) -> None:
    """Look at every server, and write down what its tenants use; then send the platform's figures to CloudWatch.

    A server that does not answer is written down as such. Two workers may do this at once: what is newer stays.
    """
    at = at or now()
    with services.registry.begin() as connection:
        every = [(row.id, row.name) for row in servers.there(connection)]
    with ThreadPoolExecutor(AT_A_TIME, "watch") as pool:
        list(pool.map(lambda server: _look(services, server[0], server[1], at), every))
    _publish(services, at)


def settle(connection: Connection, queue: Queue, at: datetime | None = None) -> None:
    """Open and clear alerts; operators are told of new ones by one mail, whose job is there if and only if they are."""
    opened = alerts.settle(connection, at or now())
    if opened:
        queue.mail_alerts(connection, opened)


def mail(services: WorkerServices, alert_ids: list[UUID]) -> None:
    """Tell the operators of alerts, once: whoever has told them has written it down.

    A worker that dies between sending and writing tells them again; the mail has the same Message-ID then.

    :raises Refused: UNAVAILABLE when the mail server does not take it, so that the job is tried again.
    """
    with services.registry.begin() as connection:
        rows = alerts.to_be_mailed(connection, alert_ids)
        people = [person.email for person in accounts.operators(connection) if person.disabled_at is None]
        if not rows or not people:
            return
        errors = sum(1 for row in rows if row.severity == "error")
        one = f"{rows[0].detail['about']}: {RULE[rows[0].rule].title}"
        subject = one if len(rows) == 1 else f"{len(rows):,} alerts, {errors:,} of them errors"
        told = "\n\n".join(_told(row, services.desk) for row in rows[:MOST_IN_A_MAIL])
        if len(rows) > MOST_IN_A_MAIL:
            told += f"\n\nAnd {len(rows) - MOST_IN_A_MAIL:,} more."
        told += f"\n\nAll alerts: {services.desk}/alerts\n"
        services.mailer.send(people, f"[Awssome] {subject}", told, key=_key([row.id for row in rows]))
        alerts.note_mailed(connection, [row.id for row in rows], now())


def _look(services: WorkerServices, server_id: UUID, name: str, at: datetime) -> None:
    """One server. A defect of ours is none of the server's: it is logged, and the figures grow old."""
    try:
        uses, load = _seen(services, server_id)
    except Refused as refused:
        _log.warning("watching.silent", server=name, reason=refused.message)
        with services.registry.begin() as connection:
            usage.note_silence(connection, server_id, refused.message, at)
    except Exception:
        _log.exception("watching.failed", server=name)
    else:
        with services.registry.begin() as connection:
            usage.store(connection, server_id, uses, load, at)


def _seen(services: WorkerServices, server_id: UUID) -> tuple[list[SchemaUse], ServerLoad]:
    """What is to be seen on a server. It is asked twice: a connection may break, and RDS rotates passwords."""
    for try_again in (True, False):
        try:
            server = services.open_server(server_id)
            return server.use(), server.condition()
        except Refused:
            if not try_again:
                raise
            instances.renew(services, server_id)
    raise AssertionError("the second try returns or raises")


def _publish(services: WorkerServices, at: datetime) -> None:
    """CloudWatch's troubles are not the platform's."""
    try:
        with services.registry.begin() as connection:
            found = list(watch.figures(connection, at))
        services.metrics.publish(found, at)
    except Refused as refused:
        _log.warning("watching.not_published", reason=refused.message)


def _told(row: Any, desk: str) -> str:
    rule = RULE[row.rule]
    return (
        f"{rule.title}: {row.detail['about']}\n{row.message}\n\n"
        f"What it means: {rule.meaning}\nWhat to do: {rule.advice}\n{desk}{row.detail['path']}"
    )


def _key(alert_ids: list[UUID]) -> str:
    return sha256(b"".join(alert_id.bytes for alert_id in sorted(alert_ids))).hexdigest()[:32]
