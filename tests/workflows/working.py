"""A worker in a process of its own, which may be killed at a step of a move."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import timedelta
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path

from awssome.database.mover import Mover
from awssome.database.registry import Registry
from awssome.database.restorer import Restorer
from awssome.database.sessions import Sessions
from awssome.domain.secrets import Keys
from awssome.hubspot.oauth import app_for
from awssome.workflows import archives, tasks
from tests.conftest import worker_services


def work(
    url: str, secret_key: str, reached: Event, step: str = "", fate: str = "", where: str = "/nonexistent"
) -> None:
    """Work on all queues until SIGTERM.

    :param reached: set when a move or a restore begins `step`.
    :param fate: what happens then: `killed`, or `slow`, a second of work.
    :param where: the directory of archives.
    """
    # A test does not wait as long as operators do until a silent worker counts as dead.
    tasks.STALLED, tasks.RESCUE_SECONDS = timedelta(seconds=4), 0.5

    def at(name: str) -> None:
        if name == step:
            reached.set()
            if fate == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(1)

    vars(tasks)["Mover"] = partial(Mover, step=at)
    vars(archives)["Restorer"] = partial(Restorer, step=at)
    registry = Registry(url, connections=8)
    hubspot = app_for("http://127.0.0.1:9", "client", "secret", "http://localhost:8000/hubspot/callback")
    services = worker_services(registry, Keys.from_text(secret_key), Sessions(budget=8), hubspot, Path(where))
    asyncio.run(tasks.work(tasks.build(services, url.replace("+psycopg", "", 1)), services))
