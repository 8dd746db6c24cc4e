"""A worker that does so many sign-ups at a time: `python -m benchmarks.worker 4`. `benchmarks.running` starts it."""

from __future__ import annotations

import asyncio
import sys

from awssome import main
from awssome.web import serving
from awssome.workflows import tasks
from awssome.workflows.queue import QUEUES, SIGN_UP

if __name__ == "__main__":
    serving.end_on_signals()
    with main.control_plane(main.load()) as plane:
        services = main.worker_services(plane)
        app = tasks.build(services, plane.registry.url.replace("+psycopg", "", 1))
        asyncio.run(tasks.work(app, services, {**QUEUES, SIGN_UP: int(sys.argv[1])}))
        serving.end_on_signals()
