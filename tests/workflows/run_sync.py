"""Workers' processes that run syncs, for tests that kill them. Imports little, so that they begin at once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
from sqlalchemy import event
from sqlalchemy.engine import Engine

from awssome.aws.roles import Roles
from awssome.database import servers
from awssome.database.registry import Registry
from awssome.database.sessions import Sessions
from awssome.domain.addresses import Addresses
from awssome.domain.secrets import Keys
from awssome.hubspot.limits import LIMITS
from awssome.hubspot.oauth import app_for
from awssome.workflows import sync, tasks
from awssome.workflows.archive_store import Directory
from awssome.workflows.mail import Mailer
from awssome.workflows.queue import SYNC, Queue
from awssome.workflows.services import WorkerServices

Given = dict[str, Any]
"""Settings of such a process: `registry`, `secret_key`, `hubspot` with `client_id`, `client_secret` and `redirect_uri`,
and `limited`, whether calls keep to HubSpot's limits (they do if it is not given)."""


def main() -> None:
    """Run one sync to its end: settings come as one JSON object in the argument, with `tenant_id` and `sync_id`."""
    given = json.loads(sys.argv[1])
    sync.run(services(given), UUID(given["tenant_id"]), UUID(given["sync_id"]), lambda: False)


def carry_on(given: Given, tenant_id: UUID, sync_id: UUID, moments: int | None = None) -> None:
    """Carry a sync on until it has ended, as a worker does that gets its job again each time.

    :param moments: killed at so many statements, commits and requests from now, before or after one of them.
    """
    made = services(given)
    if moments is not None:
        _die_after(moments)
    while True:
        try:
            sync.run(made, tenant_id, sync_id, lambda: False)
            return
        except sync.NotNow:
            time.sleep(0.05)


def work(given: Given) -> None:
    """Work on the queue of syncs until SIGTERM."""
    # A test does not wait as long as operators do until a silent worker counts as dead.
    tasks.STALLED, tasks.RESCUE_SECONDS = timedelta(seconds=4), 0.5
    made = services(given)
    asyncio.run(tasks.work(tasks.build(made, given["registry"].replace("+psycopg", "", 1)), made, {SYNC: 4}))


def services(given: Given) -> WorkerServices:
    """What the process works with."""
    registry, keys = Registry(given["registry"], connections=8), Keys.from_text(given["secret_key"])
    return WorkerServices(
        registry=registry,
        keys=keys,
        sessions=Sessions(budget=8),
        queue=Queue(),
        hubspot=app_for(given["hubspot"], given["client_id"], given["client_secret"], given["redirect_uri"]),
        roles=Roles(template_url="https://example.com/awssome-role.yaml"),
        addresses=Addresses("localhost", 8000, secure=False),
        archives=Directory(Path("/nonexistent")),
        hubspot_limits=LIMITS if given.get("limited", True) else {},
        open_server=servers.opener(registry, keys),
        mailer=Mailer("127.0.0.1", 9, "awssome@example.com"),
    )


def _die_after(moments: int) -> None:
    passed = count(1)

    def moment(*_: object, **__: object) -> None:
        if next(passed) >= moments:
            os.kill(os.getpid(), signal.SIGKILL)

    for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
        event.listen(Engine, name, moment)
    send = httpx2.Client.send

    def sent(client: httpx2.Client, *arguments: Any, **options: Any) -> httpx2.Response:
        moment()
        answer = send(client, *arguments, **options)
        moment()
        return answer

    httpx2.Client.send = sent  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
