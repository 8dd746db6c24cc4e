"""Other processes, which a test may kill: forked from a server that has imported the platform once."""

from __future__ import annotations

import multiprocessing

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(
    ["pytest", "awssome.database.migrate", "awssome.database.mover", "awssome.workflows.tasks"]
)
