"""The portal's home page under load, people of 1,000 tenants at it, beside the bare framework with the same queries."""

from __future__ import annotations

import http.client
import random
import statistics
import threading
import time
from itertools import accumulate

from sqlalchemy import select

from awssome.database.registry import servers, sessions
from awssome.database.registry.tables import memberships, tenants
from awssome.domain.addresses import SHARED_HOST
from awssome.domain.tenants import TenantState
from awssome.portal.guard import SESSION_COOKIE
from benchmarks.running import Platform

TENANTS, CLIENTS, ROUNDS, SECONDS = 1_000, 8, 3, 4.0
PAGES_A_VISIT = 10
"""Somebody who comes looks at some pages; which tenant comes next is drawn by Zipf(1.1)."""

BUDGETS = (60, 200)


def measure(platform: Platform) -> None:
    """Pages a second, in turn, with the portal's default budget of connections and with a larger one."""
    tokens = _tokens(platform, TENANTS)
    with platform.plane.registry.begin() as connection:
        pool = servers.by_name(connection, "pool-1")
        _, url = servers.admin_url(connection, platform.plane.keys, pool.id)
    for budget in BUDGETS:
        settings = {"BENCH_POOL_URL": url, "AWSSOME_CONNECTION_BUDGET": str(budget)}
        with platform.serve("management", "portal", "bare", **settings):
            times: dict[str, list[float]] = {"bare": [], "portal": []}
            for number in range(ROUNDS + 1):
                for name, values in times.items():
                    found = _load(platform.ports[name], platform.ports["portal"], tokens, number)
                    if number:  # the first round is to warm up
                        values += found
        print(f"\nThe portal's home page, {CLIENTS} clients of {len(tokens):,} tenants, budget {budget}")
        for name, values in times.items():
            cuts = statistics.quantiles(values, n=100)
            print(
                f"  {name:8} {len(values) / ROUNDS / SECONDS:7.0f} pages/s  p50 {cuts[49] * 1e3:7.2f} ms  "
                f"p99 {cuts[98] * 1e3:7.2f} ms  {len(values) / len(times['bare']):5.2f} x   (to reach: 0.5 x)"
            )


def visit(platform: Platform, count: int) -> None:
    """Open the home page once as somebody of each of so many tenants."""
    port = platform.ports["portal"]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for token in _tokens(platform, count):
        _page(connection, port, token)


def _tokens(platform: Platform, count: int) -> list[str]:
    """A session for somebody of each tenant."""
    query = (
        select(tenants.c.id, memberships.c.account_id)
        .join(memberships, memberships.c.tenant_id == tenants.c.id)
        .where(tenants.c.state == TenantState.ACTIVE)
        .order_by(tenants.c.slug)
        .limit(count)
    )
    with platform.plane.registry.begin() as connection:
        rows = connection.execute(query).all()
        return [sessions.create(connection, row.account_id, "portal", tenant_id=row.id) for row in rows]


def _page(connection: http.client.HTTPConnection, public: int, token: str) -> None:
    headers = {"Host": f"{SHARED_HOST}.localhost:{public}", "Cookie": f"{SESSION_COOKIE}={token}"}
    connection.request("GET", "/", headers=headers)
    answer = connection.getresponse()
    page = answer.read()
    assert answer.status == 200, (answer.status, page[:300])


def _load(port: int, public: int, tokens: list[str], seed: int) -> list[float]:
    weights = list(accumulate(1 / rank**1.1 for rank in range(1, len(tokens) + 1)))
    times: list[float] = []
    end = time.perf_counter() + SECONDS

    def visit(number: int) -> None:
        dice, own = random.Random(f"{seed} {number}"), []
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while time.perf_counter() < end:
            token = dice.choices(tokens, cum_weights=weights)[0]
            for _ in range(PAGES_A_VISIT):
                began = time.perf_counter()
                _page(connection, public, token)
                own.append(time.perf_counter() - began)
        times.extend(own)

    clients = [threading.Thread(target=visit, args=[number]) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return times
