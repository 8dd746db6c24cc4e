"""What was seen is written down once, and counters that fall are understood."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select
from sqlalchemy.engine import make_url

from awssome.database.engine import SchemaUse, ServerLoad
from awssome.database.registry import Registry, servers, usage
from awssome.database.registry.purge import purge
from awssome.database.registry.tables import placement_usage, server_usage
from awssome.domain.errors import Code, Refused
from awssome.domain.times import now
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.engines import only_postgresql

pytestmark = only_postgresql  # the registry is PostgreSQL's, whatever tenants are on

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LONG_AGO = NOON - timedelta(days=30)

LOAD = ServerLoad(
    bytes=10_000_000,
    connections=12,
    connection_limit=100,
    longest_s=None,
    longest_by=None,
    blocked=0,
    blocked_by=None,
    counted_since=LONG_AGO,
)


@pytest.fixture
def pool_id(services: WorkerServices) -> UUID:
    with services.registry.begin() as connection:
        found: UUID = servers.by_name(connection, "pool-1").id
        return found


@pytest.fixture
def alice(make_tenant: Callable[..., Tenancy]) -> Tenancy:
    return make_tenant("Northwind", "alice@northwind.example")


def use(tenancy: Tenancy, statements: int | None = None, **figures: Any) -> SchemaUse:
    return replace(
        SchemaUse(tenancy.placement.schema, 10, 1_000, 1, statements, statements and statements * 2.0), **figures
    )


def store(
    services: WorkerServices,
    pool_id: UUID,
    uses: Sequence[SchemaUse],
    at: datetime = NOON,
    since: datetime | None = LONG_AGO,
) -> None:
    with services.registry.begin() as connection:
        usage.store(connection, pool_id, uses, replace(LOAD, counted_since=since), at)


def days(services: WorkerServices, tenancy: Tenancy, today: date = NOON.date()) -> list[usage.DayUse]:
    with services.registry.begin() as connection:
        return usage.tenant_days(connection, tenancy.id, today, 30)


def test_a_day_has_one_row_and_holds_its_own_statements(
    services: WorkerServices, pool_id: UUID, alice: Tenancy
) -> None:
    store(services, pool_id, [use(alice, 100)], NOON - timedelta(days=1))
    store(services, pool_id, [use(alice, 130, rows=20)], NOON)
    store(services, pool_id, [use(alice, 150, rows=30)], NOON + timedelta(minutes=5))
    yesterday, today = days(services, alice)
    assert (yesterday.statements, yesterday.statement_ms) == (100, 200.0), "the tenant is younger than a day"
    assert (today.rows, today.statements, today.statement_ms) == (30, 50, 100.0)


def test_what_ran_before_anybody_watched_is_of_no_day(services: WorkerServices, pool_id: UUID, alice: Tenancy) -> None:
    later = now() + timedelta(days=3)
    store(services, pool_id, [use(alice, 1_000)], later)
    store(services, pool_id, [use(alice, 1_007)], later + timedelta(minutes=5))
    (day,) = days(services, alice, later.date())
    assert day.statements == 7


def test_the_same_look_written_twice_or_too_late_counts_once(
    services: WorkerServices, pool_id: UUID, alice: Tenancy
) -> None:
    store(services, pool_id, [use(alice, 100)], NOON)
    store(services, pool_id, [use(alice, 100)], NOON)
    store(services, pool_id, [use(alice, 150, rows=77)], NOON + timedelta(minutes=5))
    store(services, pool_id, [use(alice, 100)], NOON)  # a worker that was frozen meanwhile
    (day,) = days(services, alice)
    assert (day.statements, day.rows) == (150, 77)
    with services.registry.begin() as connection:
        assert connection.scalar(select(func.count()).select_from(server_usage)) == 2


def test_two_workers_at_once_count_once(services: WorkerServices, pool_id: UUID, alice: Tenancy) -> None:
    store(services, pool_id, [use(alice, 100)], NOON)
    with ThreadPoolExecutor(6) as pool:
        looks = [(use(alice, 100 + 10 * i), NOON + timedelta(seconds=i)) for i in range(1, 7)]
        list(pool.map(lambda look: store(services, pool_id, [look[0]], look[1]), [*looks, *looks[::-1]]))
    (day,) = days(services, alice)
    assert day.statements == 160


def test_a_counter_that_falls_is_a_fresh_start_or_a_loss(
    services: WorkerServices, pool_id: UUID, alice: Tenancy
) -> None:
    store(services, pool_id, [use(alice, 100)], NOON)
    store(services, pool_id, [use(alice, 80)], NOON + timedelta(minutes=5))  # the server forgot some
    assert days(services, alice)[0].statements == 100
    store(services, pool_id, [use(alice, 90)], NOON + timedelta(minutes=10))
    assert days(services, alice)[0].statements == 110
    store(services, pool_id, [use(alice, 5)], NOON + timedelta(minutes=15), NOON + timedelta(minutes=12))  # a reset
    assert days(services, alice)[0].statements == 115


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.integers(0, 50), st.sampled_from(["", "reset"])), max_size=8))
def test_whatever_is_reset_nothing_is_counted_twice_and_nothing_is_lost(
    services: WorkerServices, pool_id: UUID, alice: Tenancy, steps: list[tuple[int, str]]
) -> None:
    with services.registry.begin() as connection:
        connection.execute(delete(placement_usage))
        connection.execute(delete(server_usage))
    at, since, counter, ran = NOON, LONG_AGO, 0, 0
    store(services, pool_id, [use(alice, 0)], at, since)
    for count, what in steps:
        if what == "reset":
            since, counter = at + timedelta(seconds=30), 0
        at += timedelta(minutes=1)
        counter += count
        ran += count
        store(services, pool_id, [use(alice, counter)], at, since)
    (day,) = days(services, alice)
    assert day.statements == ran


def test_where_nothing_is_counted_nothing_is_told(services: WorkerServices, pool_id: UUID, alice: Tenancy) -> None:
    store(services, pool_id, [use(alice, None)], NOON, None)
    assert days(services, alice)[0].statements is None
    store(services, pool_id, [use(alice, 40)], NOON + timedelta(minutes=5))
    assert days(services, alice)[0].statements == 40


def test_schemas_that_the_registry_does_not_know_are_left_out(
    services: WorkerServices, pool_id: UUID, alice: Tenancy
) -> None:
    store(services, pool_id, [use(alice, 1), SchemaUse("user_00000000000000ff", 5, 5, 5)])
    with services.registry.begin() as connection:
        assert connection.scalar(select(func.count()).select_from(placement_usage)) == 1


def test_the_heaviest_come_first_by_what_is_asked(
    services: WorkerServices, pool_id: UUID, alice: Tenancy, make_tenant: Callable[..., Tenancy]
) -> None:
    bob = make_tenant("Bikes", "bob@bikes.example")
    with services.registry.begin() as connection:
        assert usage.consumers(connection, pool_id) == []
    store(services, pool_id, [use(alice, 5, bytes=9_000, connections=1), use(bob, 50, bytes=10, connections=7)])
    with services.registry.begin() as connection:
        for sort, first in (("-bytes", alice), ("-connections", bob), ("-statement_seconds", bob), ("bytes", bob)):
            assert usage.consumers(connection, pool_id, sort)[0].id == first.id, sort
        with pytest.raises(Refused) as refused:
            usage.consumers(connection, pool_id, "-company; DROP TABLE tenants")
        assert refused.value.code is Code.INVALID


def test_a_servers_days_are_its_last_looks(services: WorkerServices, pool_id: UUID, alice: Tenancy) -> None:
    for hours in (0, 1, 25, 49):
        store(services, pool_id, [use(alice, 5)], NOON - timedelta(hours=49) + timedelta(hours=hours))
    with services.registry.begin() as connection:
        found = usage.server_days(connection, pool_id, NOON.date(), 30)
    assert [day.day for day in found] == [NOON.date() - timedelta(days=2 - i) for i in range(3)]
    assert found[-1].taken == 1


@pytest.mark.parametrize("zone", ["Pacific/Auckland", "America/Los_Angeles"])
def test_a_servers_days_begin_in_utc_whatever_the_registrys_server_thinks(
    services: WorkerServices, pool_id: UUID, alice: Tenancy, zone: str
) -> None:
    name = make_url(services.registry.url).database
    with services.registry.begin() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE \"{name}\" SET timezone = '{zone}'")
    midnight = NOON.replace(hour=0)
    for minutes in (-1, 1):
        store(services, pool_id, [use(alice, 5)], midnight + timedelta(minutes=minutes))
    fresh = Registry(services.registry.url, connections=1)
    with fresh.begin() as connection:
        found = usage.server_days(connection, pool_id, NOON.date(), 30)
    fresh.close()
    assert [day.day for day in found] == [NOON.date() - timedelta(days=1), NOON.date()]


def test_a_server_is_silent_since_it_began_and_until_it_answers(
    services: WorkerServices, pool_id: UUID, alice: Tenancy
) -> None:
    with services.registry.begin() as connection:
        usage.note_silence(connection, pool_id, "It does not answer.", NOON)
        usage.note_silence(connection, pool_id, "It took too long.", NOON + timedelta(minutes=5))
        row = servers.by_name(connection, "pool-1")
        assert (row.silent_since, row.silence) == (NOON, "It took too long.")
    store(services, pool_id, [use(alice, 5)], NOON + timedelta(minutes=10))
    with services.registry.begin() as connection:
        row = servers.by_name(connection, "pool-1")
        assert (row.silent_since, row.silence) == (None, None)
        usage.note_silence(connection, pool_id, "It does not answer.", NOON + timedelta(minutes=9))
        row = servers.by_name(connection, "pool-1")
        assert (row.silent_since, row.silence) == (None, None), "a slow worker comes late with what is over"


def test_old_rows_go(services: WorkerServices, pool_id: UUID, alice: Tenancy) -> None:
    for ago in (401, 399, 36, 1):
        store(services, pool_id, [use(alice, 5)], now() - timedelta(days=ago))
    with services.registry.begin() as connection:
        purge(connection)
        assert connection.scalar(select(func.count()).select_from(placement_usage)) == 3
        assert connection.scalar(select(func.count()).select_from(server_usage)) == 1
