"""Tenants are moved off a pool a few at a time, those first at which nobody looks, until few enough are left."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import select

from awssome.database.registry import audit, drains, moves, placements, servers, tenants
from awssome.database.registry.tables import moves as moves_table
from awssome.domain.errors import Refused
from awssome.domain.moves import UNDER_WAY, Phase
from awssome.domain.tenants import ServerKind, TenantState
from awssome.domain.times import now
from awssome.workflows import draining
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy, register_server
from tests.engines import only_postgresql
from tests.workflows.moving import OLGA, mover

pytestmark = only_postgresql

Stage = tuple[WorkerServices, list[Tenancy]]


@pytest.fixture
def stage(services: WorkerServices, make_tenant: Callable[..., Tenancy], dedicated_url: str) -> Stage:
    """Five tenants on pool-1, seen one day after the other, and an empty pool-2."""
    made = [make_tenant(f"Company {number}") for number in range(5)]
    register_server(services, "pool-2", ServerKind.POOL, dedicated_url)
    with services.registry.begin() as connection:
        for number, tenancy in enumerate(made):
            tenants.change(connection, tenancy.id, seen_at=now() - timedelta(days=30 - number))
    return services, made


def start(services: WorkerServices, keep: int, to: str | None = None) -> None:
    with services.registry.begin() as connection:
        draining.start(connection, services.queue, OLGA, "pool-1", keep, to)
    carry_on(services)


def carry_on(services: WorkerServices) -> None:
    """What the job does."""
    draining.carry_on(services.registry, services.queue, server(services, "pool-1").id)


def server(services: WorkerServices, name: str) -> servers.Row:
    with services.registry.begin() as connection:
        return servers.by_name(connection, name)


def under_way(services: WorkerServices) -> list[tuple[UUID, UUID]]:
    """(move, tenant), oldest first."""
    with services.registry.begin() as connection:
        query = select(moves_table.c.id, moves_table.c.tenant_id).where(moves_table.c.phase.in_(UNDER_WAY))
        return [(row[0], row[1]) for row in connection.execute(query.order_by(moves_table.c.id))]


def finish(services: WorkerServices, move_id: UUID) -> None:
    """What a worker does with a move, and after it."""
    mover(services).carry_on(move_id)
    with services.registry.begin() as connection:
        draining.after_move(connection, services.queue, move_id)
    carry_on(services)


def where(services: WorkerServices, tenancy: Tenancy) -> str:
    with services.registry.begin() as connection:
        placement_id = tenants.find(connection, tenancy.id).placement_id
        assert placement_id is not None
        return str(servers.of_placement(connection, placement_id).name)


def test_a_pool_is_drained_two_at_a_time_and_takes_nobody_meanwhile(stage: Stage) -> None:
    services, made = stage
    start(services, keep=2)
    assert [tenant for _, tenant in under_way(services)] == [made[0].id, made[1].id], "longest unseen first"
    carry_on(services)
    assert len(under_way(services)) == draining.AT_A_TIME
    with services.registry.begin() as connection:
        assert servers.emptiest_pool(connection) == server(services, "pool-2").id
        servers.change(connection, server(services, "pool-2").id, open=False)
        with pytest.raises(Refused, match="No shared server"):
            servers.emptiest_pool(connection)
        servers.change(connection, server(services, "pool-2").id, open=True)
    finish(services, under_way(services)[0][0])
    assert [tenant for _, tenant in under_way(services)] == [made[1].id, made[2].id]
    while found := under_way(services):
        finish(services, found[0][0])
    assert [where(services, tenancy) for tenancy in made] == ["pool-2"] * 3 + ["pool-1"] * 2
    row = server(services, "pool-1")
    assert (row.tenants, row.retained, row.drain_to_count, row.drain_problem) == (2, 3, None, None)
    with services.registry.begin() as connection:
        assert audit.page(connection, search="server.drained").rows[0].detail["stay"] == 0
        assert moves.page(connection).rows[0].requested_by == OLGA.name


def test_a_drain_never_moves_more_than_it_has_to(stage: Stage) -> None:
    services, _ = stage
    start(services, keep=4)
    carry_on(services)
    assert len(under_way(services)) == 1
    finish(services, under_way(services)[0][0])
    assert under_way(services) == []
    assert server(services, "pool-1").tenants == 4


def test_a_target_that_is_full_holds_the_drain_up_until_there_is_room(stage: Stage) -> None:
    services, _ = stage
    with services.registry.begin() as connection:
        servers.change(connection, server(services, "pool-2").id, capacity=1)
    start(services, keep=0, to="pool-2")
    assert len(under_way(services)) == 1
    row = server(services, "pool-1")
    assert (row.drain_to_count, row.drain_server, row.drain_problem) == (0, "pool-2", "Server “pool-2” is full.")
    finish(services, under_way(services)[0][0])
    assert under_way(services) == []
    with services.registry.begin() as connection:
        servers.change(connection, server(services, "pool-2").id, capacity=3)
    carry_on(services)
    assert (len(under_way(services)), server(services, "pool-1").drain_problem) == (2, None)


def test_who_cannot_be_moved_is_not_tried_again_and_is_told_in_the_end(stage: Stage) -> None:
    services, made = stage
    with services.registry.begin() as connection:
        tenants.change(connection, made[4].id, state=TenantState.SUSPENDED)
    start(services, keep=0)
    first = under_way(services)[0][0]
    with services.registry.begin() as connection:
        moves.request_cancel(connection, first)
    finish(services, first)
    assert made[0].id not in [tenant for _, tenant in under_way(services)]
    while found := under_way(services):
        finish(services, found[0][0])
    row = server(services, "pool-1")
    assert (row.tenants, row.drain_to_count) == (2, None)
    assert row.drain_problem.startswith("2 more should have gone")
    start(services, keep=1)
    assert [tenant for _, tenant in under_way(services)] == [made[0].id], "another drain tries again"


def test_a_drain_that_is_stopped_starts_nothing_more(stage: Stage) -> None:
    services, made = stage
    start(services, keep=0)
    with services.registry.begin() as connection:
        draining.stop(connection, OLGA, "pool-1")
    for move_id, _ in under_way(services):
        finish(services, move_id)
    assert under_way(services) == []
    assert [where(services, tenancy) for tenancy in made[:3]] == ["pool-2", "pool-2", "pool-1"]
    with pytest.raises(Refused, match="not being drained"), services.registry.begin() as connection:
        draining.stop(connection, OLGA, "pool-1")


def test_a_sweep_carries_a_forgotten_drain_on(stage: Stage) -> None:
    services, _ = stage
    with services.registry.begin() as connection:
        drains.begin(connection, server(services, "pool-1").id, 0, None, OLGA.name)
        draining.sweep(connection, services.queue)
        draining.sweep(connection, services.queue)
        query = "SELECT args->>'server_id' FROM procrastinate_jobs WHERE task_name = 'awssome.drain'"
        waiting = list(connection.exec_driver_sql(query).scalars())
    assert waiting == [str(server(services, "pool-1").id)]


def test_a_plan_says_who_would_go_where_and_changes_nothing(stage: Stage) -> None:
    services, made = stage
    with services.registry.begin() as connection:
        servers.change(connection, server(services, "pool-2").id, capacity=2)
        plan = draining.plan(connection, "pool-1", 1, None)
    assert [(who.slug, to) for who, to in plan.moves] == [
        (made[0].slug, "pool-2"),
        (made[1].slug, "pool-2"),
        (made[2].slug, None),
        (made[3].slug, None),
    ]
    assert under_way(services) == []
    assert server(services, "pool-1").drain_to_count is None


@pytest.mark.parametrize(
    ("name", "to", "told"),
    [
        ("pool-1", "pool-1", "into itself"),
        ("pool-1", "dedicated-1", "no pool of the same engine"),
        ("dedicated-1", None, "dedicated to one tenant"),
        ("pool-1", "none", "no server"),
    ],
)
def test_a_drain_that_cannot_be_is_refused(stage: Stage, dedicated: str, name: str, to: str | None, told: str) -> None:
    services, _ = stage
    with pytest.raises(Refused, match=told), services.registry.begin() as connection:
        draining.start(connection, services.queue, OLGA, name, 0, to)
    with services.registry.begin() as connection:
        servers.change(connection, server(services, "pool-2").id, open=False)
        with pytest.raises(Refused, match="closed to new tenants"):
            draining.start(connection, services.queue, OLGA, "pool-1", 0, "pool-2")


def test_a_placement_that_a_move_has_left_is_no_candidate(stage: Stage) -> None:
    services, made = stage
    start(services, keep=4)
    finish(services, under_way(services)[0][0])
    with services.registry.begin() as connection:
        there = drains.candidates(connection, server(services, "pool-1").id, now(), 10)
        kept = [row.state for row in placements.of_tenant(connection, made[0].id)]
    assert [each.tenant_id for each in there] == [tenancy.id for tenancy in made[1:]]
    assert sorted(kept) == ["active", "retained"]
    assert Phase.RETAINING not in UNDER_WAY
