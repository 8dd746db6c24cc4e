"""Each rule fires when its matter is there, and clears when it is over: in a real registry, with real jobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, insert, select, text

from awssome.database import Connection
from awssome.database.engine import SchemaUse, ServerLoad
from awssome.database.registry import alerts, audit, entitlements, instances, moves, placements, servers, tenants, usage
from awssome.database.registry import tables as t
from awssome.domain.alerts.rules import RULE, RULES
from awssome.domain.instances import Blueprint
from awssome.domain.moves import Phase
from awssome.domain.tenants import PlacementState, TenantState, Tier
from awssome.domain.times import new_id, now
from awssome.workflows import retention, watching
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.engines import only_postgresql
from tests.workflows.moving import OLGA, upgrade

pytestmark = only_postgresql  # alerts are the registry's, whatever engine a server has

LOAD = ServerLoad(
    bytes=1_000,
    connections=10,
    connection_limit=100,
    longest_s=None,
    longest_by=None,
    blocked=0,
    blocked_by=None,
    counted_since=None,
)


@dataclass
class Scene:
    """A platform with one pool and one tenant, and a clock that tests push on."""

    services: WorkerServices
    alice: Tenancy
    at: datetime

    def do(self, work: Callable[[Connection], Any]) -> Any:
        """In one transaction."""
        with self.services.registry.begin() as connection:
            return work(connection)

    def pool(self, **values: Any) -> None:
        """Change the pool's row."""
        self.do(lambda c: servers.change(c, servers.by_name(c, "pool-1").id, **values))

    def look(self, own: int = 1, /, **load: Any) -> None:
        """A worker has looked at the pool, a minute after the last time; `own`: the tenant's connections."""
        self.at += timedelta(minutes=1)
        uses = [SchemaUse(self.alice.placement.schema, 10, 1_000, own)]
        self.do(lambda c: usage.store(c, servers.by_name(c, "pool-1").id, uses, replace(LOAD, **load), self.at))

    def settle(self) -> list[UUID]:
        """The job, at the scene's time; the alerts that it opened."""
        return self.do(lambda c: alerts.settle(c, self.at))

    def open(self) -> set[str]:
        """The rules whose alerts are open, as they are written down."""
        self.settle()
        query = select(t.alerts.c.rule).where(t.alerts.c.cleared_at.is_(None))
        return set(self.do(lambda c: c.scalars(query).all()))

    def message(self, rule: str) -> str:
        """What the open alert says."""
        query = select(t.alerts.c.message).where(t.alerts.c.cleared_at.is_(None), t.alerts.c.rule == rule)
        return str(self.do(lambda c: c.scalar(query)))


@pytest.fixture
def scene(services: WorkerServices, dedicated: str, make_tenant: Callable[..., Tenancy]) -> Scene:
    made = Scene(services, make_tenant("Northwind Cloud", "alice@northwind.example"), now())
    assert made.open() == set()
    return made


def fill_the_pool(scene: Scene) -> None:
    scene.pool(capacity=1)


def make_room(scene: Scene) -> None:
    scene.pool(capacity=3_000)


def close_the_pool(scene: Scene) -> None:
    scene.pool(open=False)


def open_the_pool(scene: Scene) -> None:
    scene.pool(open=True)


def silence(scene: Scene) -> None:
    scene.pool(silent_since=scene.at, silence="The database server at 127.0.0.1:9 does not answer.")


def answer(scene: Scene) -> None:
    scene.look()


def refuse(scene: Scene) -> None:
    scene.pool(problem="This server cannot hold tenants yet. Missing: CREATEROLE for the administrator.")


def accept(scene: Scene) -> None:
    scene.pool(problem=None)


def order_in_vain(scene: Scene) -> None:
    server_id = scene.do(lambda c: instances.order(c, Blueprint("postgres", "db.t3.medium", 20), scene.alice.id))
    scene.do(lambda c: instances.tell(c, server_id, "The account may have no more instances of RDS."))


def get_the_quota(scene: Scene) -> None:
    (server_id,) = scene.do(lambda c: [row.id for row in servers.every(c) if row.instance])
    scene.do(lambda c: instances.tell(c, server_id, None))


def take_connections(scene: Scene) -> None:
    scene.look(70, connections=85)


def run_long(scene: Scene) -> None:
    scene.look(longest_s=400.0, longest_by=scene.alice.placement.schema)


def block(scene: Scene) -> None:
    scene.look(blocked=4, blocked_by=scene.alice.placement.schema)


def lose_hubspot(scene: Scene) -> None:
    scene.do(lambda c: tenants.change(c, scene.alice.id, hubspot_state="reconnect"))


def reconnect(scene: Scene) -> None:
    scene.do(lambda c: tenants.change(c, scene.alice.id, hubspot_state="connected"))


def fail_a_sign_up(scene: Scene) -> None:
    def stuck(connection: Connection) -> None:
        made = tenants.create(connection, "Stuck Co")
        tenants.change(connection, made.id, problem="No shared server has room for another workspace.")

    scene.do(stuck)


def make_the_workspace(scene: Scene) -> None:
    def made(connection: Connection) -> None:
        found = tenants.by_slug(connection, "stuck-co")
        assert found is not None
        tenants.change(connection, found.id, state=TenantState.ACTIVE, problem=None)

    scene.do(made)


def fail_a_move(scene: Scene) -> None:
    move_id = upgrade(scene.services, scene.alice)

    def failed(connection: Connection) -> None:
        move = moves.claim(connection, move_id)
        moves.advance(connection, move, Phase.FAILED, problem="deal_events differs: 2 rows here, 1 there.")

    scene.do(failed)


def try_the_move_again(scene: Scene) -> None:
    scene.do(lambda c: moves.reopen(c, moves.page(c, tenant_id=scene.alice.id).rows[0].id))


def begin_a_move_long_ago(scene: Scene) -> None:
    upgrade(scene.services, scene.alice)
    scene.do(lambda c: c.execute(t.moves.update().values(requested_at=scene.at - timedelta(hours=2))))


def end_the_move(scene: Scene) -> None:
    scene.do(lambda c: c.execute(t.moves.update().values(phase=Phase.CANCELLED, finished_at=scene.at)))


def find_a_difference(scene: Scene) -> None:
    move_id = upgrade(scene.services, scene.alice)
    evidence = {"steps": {"confirm": {"equal": False}}, "tables": {}}
    values = {"phase": Phase.RETAINING, "evidence": evidence, "problem": "The source differs in deal_events."}
    scene.do(lambda c: c.execute(t.moves.update().where(t.moves.c.id == move_id).values(values)))


def let_the_source_go(scene: Scene) -> None:
    move = scene.do(lambda c: moves.page(c, tenant_id=scene.alice.id).rows[0])
    scene.do(lambda c: tenants.change(c, scene.alice.id, placement_id=move.target_id))
    scene.do(lambda c: retention.release(c, scene.services.queue, OLGA, move.id))
    scene.do(lambda c: c.execute(t.moves.update().values(problem=None)))


def end_a_subscription(scene: Scene) -> None:
    def ended(connection: Connection) -> None:
        entitlements.bind(connection, "prod-1", "210987654321", "", scene.alice.id, "alice@northwind.example")
        tenants.change(connection, scene.alice.id, tier=Tier.PAID)
        bound = entitlements.Bound("prod-1", "210987654321", scene.alice.id, None)
        problem = "The subscription has ended."
        entitlements.settle(connection, bound, active=False, dimension=None, expires_at=None, problem=problem)

    scene.do(ended)


def downgrade(scene: Scene) -> None:
    scene.do(lambda c: tenants.change(c, scene.alice.id, tier=Tier.FREE))


def fail_a_job(scene: Scene) -> None:
    def failed(connection: Connection) -> None:
        scene.services.queue.provision(connection, new_id())
        connection.execute(text("UPDATE procrastinate_jobs SET status = 'doing'"))
        connection.execute(
            text(
                "SELECT procrastinate_finish_job_v1(id, 'failed', false) FROM procrastinate_jobs WHERE status = 'doing'"
            )
        )

    scene.do(failed)


def try_the_job_again(scene: Scene) -> None:
    scene.do(
        lambda c: c.execute(
            text(
                "SELECT procrastinate_retry_job_v2(id, now(), NULL, NULL, NULL) "
                "FROM procrastinate_jobs WHERE status = 'failed'"
            )
        )
    )


def leave_a_job_waiting(scene: Scene) -> None:
    def waits(connection: Connection) -> None:
        scene.services.queue.provision(connection, new_id())
        connection.execute(text("UPDATE procrastinate_events SET at = now() - interval '6 minutes'"))

    scene.do(waits)


def take_the_job(scene: Scene) -> None:
    scene.do(lambda c: c.execute(text("UPDATE procrastinate_jobs SET status = 'doing' WHERE status = 'todo'")))


def write_an_old_line(scene: Scene) -> None:
    line = insert(t.audit_log).values(
        at=scene.at - timedelta(minutes=16), actor="platform", action="test.happened", detail={}
    )
    scene.do(lambda c: c.execute(line))


def seal(scene: Scene) -> None:
    scene.do(audit.seal)


def look_away(scene: Scene) -> None:
    scene.at += timedelta(minutes=20)


@dataclass(frozen=True)
class Case:
    """How a rule's matter comes and goes; `names`: what the alert has to name."""

    begin: Callable[[Scene], None]
    end: Callable[[Scene], None]
    names: str
    beside: frozenset[str] = frozenset()


CASES = {
    "pool_near_limit": Case(fill_the_pool, make_room, "Free places: 0 of 1.", frozenset({"no_open_pool"})),
    "no_open_pool": Case(close_the_pool, open_the_pool, "Nobody can sign up"),
    "server_unreachable": Case(silence, answer, "127.0.0.1:9 does not answer."),
    "server_refused": Case(refuse, accept, "CREATEROLE"),
    "instance_stuck": Case(order_in_vain, get_the_quota, "no more instances of RDS"),
    "connections_short": Case(
        take_connections, answer, "85 of 100 connections are in use. Northwind Cloud has the most: 70"
    ),
    "statement_too_long": Case(run_long, answer, "Northwind Cloud has had one statement running for 6 minutes."),
    "sessions_blocked": Case(block, answer, "4 sessions wait for a lock. Northwind Cloud holds what they wait for."),
    "hubspot_token_stale": Case(lose_hubspot, reconnect, "HubSpot no longer takes its tokens."),
    "sign_up_stuck": Case(fail_a_sign_up, make_the_workspace, "No shared server has room"),
    "move_failed": Case(fail_a_move, try_the_move_again, "deal_events differs"),
    "move_late": Case(begin_a_move_long_ago, end_the_move, "over an hour"),
    "subscription_in_doubt": Case(end_a_subscription, downgrade, "The subscription has ended."),
    "source_kept": Case(find_a_difference, let_the_source_go, "differs in deal_events"),
    "jobs_failed": Case(fail_a_job, try_the_job_again, "1 job has failed"),
    "queue_late": Case(leave_a_job_waiting, take_the_job, "waiting for 6 minutes"),
    "audit_unsealed": Case(write_an_old_line, seal, "16 minutes old"),
    "unwatched": Case(look_away, answer, "Nobody has looked at it for 20 minutes."),
}


@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
def test_a_rule_fires_and_clears(scene: Scene, rule: str) -> None:
    case = CASES[rule]
    case.begin(scene)
    assert scene.open() == {rule} | case.beside
    assert case.names in scene.message(rule)
    assert scene.settle() == [], "what is open is not opened again"
    case.end(scene)
    if rule == "unwatched":  # the other server is not looked at in this test
        scene.do(lambda c: servers.change(c, servers.by_name(c, "dedicated-1").id, created_at=scene.at))
    assert scene.open() == set()
    cleared = scene.do(alerts.cleared).rows
    assert rule in {row.rule for row in cleared}
    assert all(row.severity == RULE[row.rule].severity for row in cleared)


def test_what_goes_up_and_down_clears_only_when_it_is_well_below(scene: Scene) -> None:
    scene.pool(capacity=40)
    for taken, is_open in ((31, False), (32, True), (31, True), (30, False), (31, False)):

        def take(connection: Connection, taken: int = taken) -> None:
            connection.execute(delete(t.placements).where(t.placements.c.state == "retained"))
            for _ in range(taken - 1):
                _keep(connection, scene.alice)

        scene.do(take)
        assert ("pool_near_limit" in scene.open()) is is_open, taken


def test_a_pool_that_will_be_full_within_two_weeks_is_told_of_in_time(scene: Scene) -> None:
    scene.pool(capacity=100)
    pool = scene.do(lambda c: servers.by_name(c, "pool-1").id)

    def days(a_day: int) -> None:
        scene.do(lambda c: c.execute(delete(t.server_usage)))
        for ago in range(9, -1, -1):
            row = insert(t.server_usage).values(
                server_id=pool, at=scene.at - timedelta(days=ago), tenants=50 - a_day * ago, retained=0, rows=0,
                bytes=0, connections=0, blocked=0,
            )  # fmt: skip
            scene.do(lambda c, row=row: c.execute(row))

    days(4)
    assert scene.open() == {"pool_near_limit"}
    assert "Free places: 99 of 100. At this rate it is full in 13 days." in scene.message("pool_near_limit")
    days(3)
    assert scene.open() == {"pool_near_limit"}, "17 days: it stays open until it is three weeks"
    days(2)
    assert scene.open() == set()


def test_what_comes_back_is_another_alert(scene: Scene) -> None:
    for _ in range(2):
        lose_hubspot(scene)
        assert len(scene.settle()) == 1
        reconnect(scene)
        assert scene.settle() == []
    assert [row.rule for row in scene.do(alerts.cleared).rows] == ["hubspot_token_stale"] * 2


def test_pages_see_what_is_wrong_although_no_worker_runs(scene: Scene) -> None:
    lose_hubspot(scene)
    close_the_pool(scene)
    first, second = scene.do(lambda c: alerts.standing(c, scene.at))
    assert (first.finding.rule, second.finding.rule) == ("no_open_pool", "hubspot_token_stale"), "errors come first"
    assert first.opened_at is None
    scene.settle()
    assert scene.do(lambda c: alerts.standing(c, scene.at))[0].opened_at == scene.at


def test_the_mail_is_asked_for_if_and_only_if_an_alert_opens(scene: Scene) -> None:
    services = scene.services

    def jobs() -> int:
        query = text("SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'awssome.mail_alerts'")
        return int(scene.do(lambda c: c.scalar(query)))

    scene.do(lambda c: watching.settle(c, services.queue))
    assert jobs() == 0
    lose_hubspot(scene)
    with pytest.raises(ZeroDivisionError), services.registry.begin() as connection:
        watching.settle(connection, services.queue)
        raise ZeroDivisionError
    assert jobs() == 0
    for _ in range(3):
        scene.do(lambda c: watching.settle(c, services.queue))
    assert jobs() == 1


def _keep(connection: Connection, tenancy: Tenancy) -> None:
    pool = servers.by_name(connection, "pool-1").id
    kept = placements.create(connection, tenancy.id, pool)
    placements.mark(connection, kept, PlacementState.RETAINED, retain_until=datetime.now(UTC))
