"""How fast the server is for what the platform does. Figures only: nothing here is well or not."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing

from sqlalchemy import insert, select

from awssome.database.schema import deal_registrations, field_mappings
from awssome.database.verification.engines import statements_for
from awssome.database.verification.finding import Finding, Outcome
from awssome.database.verification.rows import registration
from awssome.database.verification.scratch import MOVER, Effort, Scratch
from awssome.domain.tenants import Placement
from awssome.domain.times import now

CHECK = "timing"

_AT_ONCE = 1_000


def measure(scratch: Scratch, effort: Effort) -> Iterator[Finding]:
    """Medians and worst cases. Raises what the server raises."""
    workspaces: list[Placement] = []
    yield _timed("provisioning a workspace", effort.workspaces, lambda: workspaces.append(scratch.workspace()))
    first, second = workspaces[:2]
    yield _timed("connecting as a tenant", effort.connects, lambda: _connect(first))
    _read(scratch, first)  # fills the pool
    yield _timed("a session from the pool with a small read", effort.reads, lambda: _read(scratch, first))
    keys = iter(range(effort.writes))
    yield _timed("a transaction with a small write", effort.writes, lambda: _write(scratch, first, next(keys)))
    yield _copying(scratch, first, second, effort.rows)
    left = iter(workspaces)
    yield _timed("dropping a workspace", len(workspaces), lambda: scratch.drop(next(left)))


def _timed(about: str, times: int, work: Callable[[], None]) -> Finding:
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        taken.append((time.perf_counter() - begun) * 1000)
    median, worst = statistics.median(taken), max(taken)
    return Finding(
        CHECK,
        about,
        Outcome.OK,
        f"{median:,.1f} ms (median), {worst:,.1f} ms (worst), {times} times.",
        figures={"times": times, "ms_median": round(median, 2), "ms_worst": round(worst, 2)},
    )


def _connect(placement: Placement) -> None:
    with closing(statements_for(placement.engine).connect(placement)):
        pass


def _read(scratch: Scratch, placement: Placement) -> None:
    with scratch.sessions.open(placement) as connection:
        connection.execute(select(field_mappings.c.property).where(field_mappings.c.field == "title")).all()


def _write(scratch: Scratch, placement: Placement, number: int) -> None:
    with scratch.sessions.open(placement) as connection:
        connection.execute(insert(field_mappings).values(field=f"field-{number}", updated_at=now()))


def _copying(scratch: Scratch, source: Placement, target: Placement, count: int) -> Finding:
    """Rows as a sync writes them, the copy of a move, and the comparison after it."""
    rows = [registration(f"Deal {number}", business_problem="x" * 200) for number in range(count)]
    figures = {}
    begun = time.perf_counter()
    with scratch.sessions.open(source) as connection:
        for start in range(0, count, _AT_ONCE):
            connection.execute(insert(deal_registrations), rows[start : start + _AT_ONCE])
    figures["inserted_per_second"] = round(count / (time.perf_counter() - begun))
    begun = time.perf_counter()
    copied = scratch.server.copy(source.schema, scratch.server, target.schema, MOVER)
    figures["copied_per_second"] = round(copied / (time.perf_counter() - begun))
    begun = time.perf_counter()
    scratch.server.sums(target.schema)
    figures["summed_per_second"] = round(copied / (time.perf_counter() - begun))
    told = (
        f"{copied:,} rows: {figures['inserted_per_second']:,} inserted, {figures['copied_per_second']:,} copied, "
        f"{figures['summed_per_second']:,} summed up, in a second each."
    )
    return Finding(CHECK, "many rows", Outcome.OK, told, figures={"rows": copied, **figures})
