"""A run of the migrator in a process of its own, which may be killed on the way. Imports little."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing.synchronize import Barrier

from awssome.database import migrator
from awssome.database.registry import Registry
from awssome.database.servers import opener
from awssome.database.template import Beyond
from awssome.domain.secrets import Keys


def migrate_and_die(url: str, secret_key: str, beyond: Beyond, seconds: float) -> None:
    """Migrate what is behind, until so many seconds have passed since it began."""
    dying = threading.Timer(seconds, lambda: os.kill(os.getpid(), signal.SIGKILL))
    dying.daemon = True
    registry, keys = Registry(url, connections=4), Keys.from_text(secret_key)
    behind = migrator.find_behind(registry, beyond=beyond)
    dying.start()
    for _ in migrator.migrate(registry, opener(registry, keys, beyond), behind, beyond=beyond):
        pass
    dying.cancel()


def migrate_together(url: str, secret_key: str, beyond: Beyond, barrier: Barrier) -> None:
    """Migrate what is behind, at the same time as others. Ends with a status other than 0 when one failed."""
    registry, keys = Registry(url, connections=4), Keys.from_text(secret_key)
    behind = migrator.find_behind(registry, beyond=beyond)
    barrier.wait(60)
    told = list(migrator.migrate(registry, opener(registry, keys, beyond), behind, beyond=beyond))
    problems = [outcome.problem for outcome in told if outcome.problem is not None]
    assert problems == []
    assert len(told) == len(behind)
