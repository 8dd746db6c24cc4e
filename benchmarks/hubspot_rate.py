"""How much of HubSpot's limit do calls use, how many are refused, and what does a reservation cost?

`python -m benchmarks.hubspot_rate`. A sandbox with HubSpot's limits answers; each worker is a process of its own, and
all share the budget of one account through the registry.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
from procrastinate.schema import SchemaManager
from sqlalchemy import text

from awssome.database import migrate, servers
from awssome.database.registry import Registry, budgets
from awssome.domain.budgets import Usage
from awssome.hubspot import oauth
from awssome.hubspot.client import Client
from awssome.hubspot.limits import GENERAL, LIMITS
from awssome.hubspot.models import Search
from awssome.workflows.hubspot_budgets import Share
from benchmarks import platform

DEALS = 11_500
LONG = 460
"""Calls of a long run: more than four windows of them."""

REDIRECT = "http://localhost:8000/hubspot/callback"


def main() -> None:
    """First what a reservation costs; then a first sync's calls, and long runs of one and two workers."""
    with ExitStack() as stack:
        cluster = stack.enter_context(platform.cluster())
        url = servers.prepare_control_plane(cluster, platform.PASSWORD)
        migrate.upgrade_registry(url, jobs_schema=SchemaManager.get_schema())
        registry = Registry(url)
        stack.callback(registry.close)
        _reservations(registry)
        http = stack.enter_context(_sandbox())
        portal_id = http.get("/_sandbox/portals").json()["portals"][0]["id"]
        given = {
            "registry": url,
            "hubspot": str(http.base_url),
            "token": _consent(http, portal_id),
            "portal": portal_id,
        }
        print(f"\nHubSpot's limit, {GENERAL.allowed} calls in {GENERAL.window_seconds:.0f} s, used by a shared budget")
        pages = DEALS // 100
        _run(f"all {DEALS:,} deals, one worker", http, [{**given, "searches": 1, "calls": pages}])
        _run(f"{LONG} calls, one worker", http, [{**given, "calls": LONG}])
        _run(f"{LONG} calls, two workers", http, [{**given, "calls": LONG // 2}] * 2)
        slow = {**given, "calls": LONG // 2, "slow": 0.05}
        _run(f"{LONG} calls, two workers, up to 0.05 s each way", http, [slow] * 2)


def work(given: dict[str, Any]) -> None:
    """A worker's process: waits for a line, then makes its calls; says when it began and ended."""
    registry = Registry(given["registry"], connections=2)
    share = Share(registry, LIMITS, given["portal"])
    client = Client(
        given["hubspot"],
        access_token=lambda *, force=False: given["token"],
        budget=share,
        should_stop=lambda: False,
        transport=_Slow(given.get("slow", 0.0)),
    )
    print(flush=True)
    sys.stdin.readline()
    began = time.time()
    with client:
        for _ in range(given.get("searches", 0)):
            client.search_deals(Search(limit=1))
        after = None
        for _ in range(given["calls"]):
            after = client.list_deals(after).next
    print(json.dumps({"began": began, "ended": time.time(), "reservations": share.reservations}), flush=True)
    registry.close()


class _Slow(httpx2.HTTPTransport):
    """A network on which calls are under way for a while, each for another."""

    def __init__(self, most: float) -> None:
        super().__init__()
        self._most = most

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        time.sleep(random.uniform(0, self._most))
        response = super().handle_request(request)
        time.sleep(random.uniform(0, self._most))
        return response


def _run(question: str, http: httpx2.Client, workers: list[dict[str, Any]]) -> None:
    time.sleep(GENERAL.window_seconds + 1)  # HubSpot's window is empty
    http.delete("/_sandbox/stats")
    command = [sys.executable, "-m", "benchmarks.hubspot_rate"]
    processes = [
        subprocess.Popen([*command, json.dumps(given)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for given in workers
    ]
    for process in processes:
        assert process.stdout
        process.stdout.readline()
    told = [json.loads(answer) for answer in _together(processes)]
    seconds = max(each["ended"] for each in told) - min(each["began"] for each in told)
    calls = sum(given["calls"] for given in workers)
    least = (calls - 1) // GENERAL.allowed * GENERAL.window_seconds
    refused = http.get("/_sandbox/stats").json()["rate_limited"]
    share = calls * GENERAL.window_seconds / GENERAL.allowed / seconds
    print(
        f"  {question:60} {seconds:6.2f} s  {share:7.1%} of the rate"
        f"  {least / seconds:6.1%} of what the limit admits  {refused} refused"
        f"  {sum(each['reservations'] for each in told)} reservations",
        flush=True,
    )


def _together(processes: list[subprocess.Popen[str]]) -> Iterator[str]:
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        yield process.communicate()[0]
        assert process.returncode == 0


def _reservations(registry: Registry) -> None:
    """A transaction of the registry that does nothing, beside reservations on accounts of which each is rested."""
    portals = iter(range(10**9))

    def nothing() -> None:
        with registry.begin() as connection:
            connection.execute(text("SELECT 1"))

    def reserve(calls: int) -> None:
        with registry.begin() as connection:
            budgets.exchange(connection, next(portals), "general", GENERAL, calls=calls)

    full = next(portals)
    held = None

    def in_full_use() -> None:
        nonlocal held
        with registry.begin() as connection:
            usage = Usage(held.until, answered=[0.0] * len(held.starts)) if held else None
            held = budgets.exchange(connection, full, "general", GENERAL, usage=usage, calls=GENERAL.slice).slice

    times = platform.interleaved(
        400,
        {
            "SELECT 1 in a transaction": nothing,
            "reserve one call": lambda: reserve(1),
            f"reserve a slice of {GENERAL.slice}": lambda: reserve(GENERAL.slice),
            f"hand in a slice of {GENERAL.slice}, reserve the next": in_full_use,
        },
    )
    platform.report("A reservation", times, "SELECT 1 in a transaction")


@contextmanager
def _sandbox() -> Iterator[httpx2.Client]:
    """A sandbox with HubSpot's limits."""
    command = [
        sys.executable,
        "-m",
        "awssome_sandbox.hubspot",
        "--deals",
        str(DEALS),
        "--app",
        f"bench:s3cret:{REDIRECT}",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        url = json.loads(process.stdout.readline())["url"]
        with httpx2.Client(base_url=url, trust_env=False) as http:
            yield http
    finally:
        process.terminate()
        process.wait(10)


def _consent(http: httpx2.Client, portal_id: int) -> str:
    """An access token, as a user's consent gives it."""
    app = oauth.app_for(str(http.base_url), "bench", "s3cret", REDIRECT)
    address = urlsplit(oauth.authorize_url(app, "state"))
    form = {name: values[0] for name, values in parse_qs(address.query).items()}
    back = http.post(address.path, data={**form, "portal_id": str(portal_id), "decision": "allow"})
    return oauth.exchange(app, parse_qs(urlsplit(back.headers["location"]).query)["code"][0]).access_token


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(json.loads(sys.argv[1]))
    else:
        main()
