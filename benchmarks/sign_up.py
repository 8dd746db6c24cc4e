"""The whole way of a new tenant: POST to the central API, job, schema and login, active. How many a second?"""

from __future__ import annotations

from benchmarks.running import Platform

TENANTS = 100


def measure(platform: Platform) -> None:
    """With one sign-up at a time in the worker, and with four; one client asks, as fast as it is answered."""
    print(f"\nA new tenant, the whole way over HTTP, {platform.active():,} there")
    for jobs in (1, 4):
        with platform.serve("management", "mail", "worker", jobs=jobs):
            platform.create(4)  # everything has been used once
            seconds = platform.create(TENANTS)
        print(f"  {jobs} at a time in the worker {TENANTS / seconds:8.1f} a second")
