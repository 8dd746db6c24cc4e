"""Requests over many tenants, some of them asked for much more often: what does isolation by login cost, by budget?

Peers in the same run: one shared pool without isolation, and a fresh connection for each request.
"""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from itertools import accumulate

from sqlalchemy import create_engine, func, select
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

from awssome.database.registry import placements, servers
from awssome.database.registry.tables import tenants
from awssome.database.schema import SYMBOL, deal_registrations
from awssome.database.sessions import Sessions
from awssome.domain.tenants import Placement, TenantState
from benchmarks.running import Platform

TENANTS = 1_000
BUDGETS = (16, 64, 200, 250)
"""Connections of one process; the embedded server lets 300 in."""
EXPONENTS, THREADS = (1.1, 0.8), (1, 8)
ROUNDS, SECONDS = 3, 0.7
DRAWS = 20_000

QUERY = select(func.count()).select_from(deal_registrations)

Request = Callable[[Placement], None]


def places(platform: Platform, count: int = TENANTS) -> list[Placement]:
    """Where so many active tenants are."""
    with platform.plane.registry.begin() as connection:
        query = select(tenants.c.id).where(tenants.c.state == TenantState.ACTIVE).order_by(tenants.c.slug).limit(count)
        ids = list(connection.scalars(query))
        return [placements.current(connection, platform.plane.keys, tenant_id) for tenant_id in ids]


def measure(platform: Platform) -> None:
    """Requests a second, median, 99th percentile and how often a connection was there already."""
    every = places(platform)
    with platform.plane.registry.begin() as connection:
        pool = servers.by_name(connection, "pool-1")
        _, url = servers.admin_url(connection, platform.plane.keys, pool.id)
    for exponent in EXPONENTS:
        for threads in THREADS:
            print(f"\nZipf({exponent}) over {len(every):,} tenants, {threads} thread(s)")
            for budget in BUDGETS:
                _compare(every, url, exponent, threads, budget)


def _compare(every: list[Placement], url: str, exponent: float, threads: int, budget: int) -> None:
    weights = list(accumulate(1 / rank**exponent for rank in range(1, len(every) + 1)))
    shared, alone = create_engine(url, pool_size=threads), create_engine(url, poolclass=NullPool)
    sessions = Sessions(budget=budget)
    requests: dict[str, Request] = {
        "one shared pool": partial(_pooled, shared),
        "by login": partial(_as_tenant, sessions),
        "fresh each time": partial(_pooled, alone),
    }
    for placement in reversed(every[:budget]):
        _as_tenant(sessions, placement)
    times: dict[str, list[float]] = {name: [] for name in requests}
    for number in range(ROUNDS):
        for name, request in requests.items():
            times[name] += _run(request, every, weights, threads, f"{number}")
    told = []
    for name, values in times.items():
        cuts = statistics.quantiles(values, n=100)
        rate = len(values) / ROUNDS / SECONDS
        told.append(f"{name} {rate:6.0f}/s p50 {cuts[49] * 1e3:6.2f} p99 {cuts[98] * 1e3:6.1f} ms")
    ratio = len(times["by login"]) / len(times["one shared pool"])
    print(f"  budget {budget:3}, hits {_hits(weights, budget):3.0%}: {'; '.join(told)}  ({ratio:.2f} x)", flush=True)
    sessions.close()
    shared.dispose()


def _pooled(engine: Engine, placement: Placement) -> None:
    named = engine.connect().execution_options(schema_translate_map={SYMBOL: placement.schema})
    with named as connection, connection.begin():
        connection.execute(QUERY).scalar()


def _as_tenant(sessions: Sessions, placement: Placement) -> None:
    with sessions.open(placement) as connection:
        connection.execute(QUERY).scalar()


def _hits(weights: list[float], budget: int) -> float:
    """How often an LRU of this size has what is drawn; counted with the same draws, without a server."""
    dice, kept, hits = random.Random("hits"), OrderedDict[int, None](), 0
    for _ in range(DRAWS):
        drawn = dice.choices(range(len(weights)), cum_weights=weights)[0]
        hits += drawn in kept
        kept[drawn] = None
        kept.move_to_end(drawn)
        if len(kept) > budget:
            kept.popitem(last=False)
    return hits / DRAWS


def _run(request: Request, every: list[Placement], weights: list[float], threads: int, seed: str) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + SECONDS

    def work(number: int) -> None:
        dice, own = random.Random(f"{seed} {number}"), []
        while (began := time.perf_counter()) < end:
            request(dice.choices(every, cum_weights=weights)[0])
            own.append(time.perf_counter() - began)
        times.extend(own)

    workers = [threading.Thread(target=work, args=[number]) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return times
