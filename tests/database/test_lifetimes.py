"""No session outlives its tenant's rights, and no row goes astray, in whatever order things happen.

Hypothesis drives many tenants over few connections: sessions that stay open, write, fail and leave their settings
behind, while their tenants are moved, suspended, resumed, dropped, get other secrets, and while the server ends
sessions by itself. A model says what each read has to give, and who has to be refused. Then the same with threads,
where a statement that begins after a change has returned must not succeed any more.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import insert, select

from awssome.database import Connection
from awssome.database.embedded import Cluster
from awssome.database.engine import FenceBusy, Server
from awssome.database.schema import stage_mappings
from awssome.database.sessions import Sessions
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import EngineName, Placement, new_schema_name
from awssome.domain.times import new_id, now
from tests.engines import ENTRANCE, ME, Onlooker, eventually, looking

TENANTS, BUDGET, EACH = 12, 4, 2

GARBAGE = {
    EngineName.POSTGRESQL: (
        "SET search_path = pg_catalog",
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY",
        "SET default_transaction_read_only = on",
        "SET statement_timeout = 0",
        "SET application_name = 'left'",
        "SET mine.setting = 'left'",
        "PREPARE left_{n} AS SELECT 1",
        "DECLARE left_{n} CURSOR WITH HOLD FOR SELECT generate_series(1, 100)",
        "LISTEN left_{n}",
        "ALTER ROLE CURRENT_USER SET work_mem = '64kB'",
        "LOCK TABLE {schema}.sync_issues IN ACCESS EXCLUSIVE MODE",
        "SAVEPOINT left_{n}",
    ),
    EngineName.SQLSERVER: (
        "SET NOCOUNT ON",
        "SET LANGUAGE French",
        "SET DATEFIRST 3",
        "SET XACT_ABORT ON",
        "SET CONTEXT_INFO 0x01",
        "EXEC sp_set_session_context N'left', N'{n}'",
        "CREATE TABLE #left_{n} (x int)",
        "DECLARE left_{n} CURSOR GLOBAL FOR SELECT 1 AS x",
    ),
}
"""What a session may leave to the next one of its tenant."""


@dataclass(eq=False)
class Place:
    """A schema that a tenant has, or had; what its rows are, and whether its placements still open it."""

    placement: Placement
    tag: str
    rows: set[str] = field(default_factory=set)
    open: bool = True


@dataclass(eq=False)
class Held:
    """A session that is open."""

    place: Place
    key: tuple[object, int]
    connection: Connection
    stack: ExitStack
    written: set[str] = field(default_factory=set)
    dead: bool = False


@dataclass(frozen=True)
class World:
    """A server, and somebody who ends sessions on it."""

    server: Server
    onlooker: Onlooker
    make_workspace: Callable[[], Placement]


@pytest.fixture(scope="module")
def world(
    engine: EngineName, pool: Server, pool_url: str, cluster: Cluster, make_workspace: Callable[[], Placement]
) -> Iterator[World]:
    with looking(engine, cluster, pool_url) as onlooker:
        yield World(pool, onlooker, make_workspace)


class Lifetimes(RuleBasedStateMachine):
    """Tenants, their sessions, and what may happen to them."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.places: dict[int, Place] = {}
        self.old: list[tuple[Place, Placement]] = []
        self.sessions = Sessions(budget=BUDGET, each=EACH, wait=0.01)
        self.held: list[Held] = []
        self.numbers = itertools.count()
        self.suspended: set[int] = set()

    tenant = st.integers(0, TENANTS - 1)
    any_session = st.integers(0, BUDGET - 1)

    # --- what sessions do

    @rule(tenant=tenant)
    def open(self, tenant: int) -> None:
        place = self._tenant(tenant)
        self._open(place, place.placement, allowed=place.open)

    @precondition(lambda self: self.old)
    @rule(which=st.integers(0, 99))
    def open_by_a_placement_of_the_past(self, which: int) -> None:
        place, placement = self.old[which % len(self.old)]
        self._open(place, placement, allowed=False)

    @precondition(lambda self: self.held)
    @rule(which=any_session)
    def read(self, which: int) -> None:
        session = self._session(which)

        def work(connection: Connection) -> None:
            who = connection.exec_driver_sql(ME[session.place.placement.engine]).one()
            assert tuple(who) == (session.place.placement.login,) * 2
            found = connection.execute(select(stage_mappings.c.pipeline, stage_mappings.c.stage)).all()
            assert {row.stage for row in found} <= {session.place.tag}, "a row of another tenant"
            assert {row.pipeline for row in found} == session.place.rows | session.written

        self._do(session, work)

    @precondition(lambda self: self.held)
    @rule(which=any_session)
    def write(self, which: int) -> None:
        session, name = self._session(which), f"row {next(self.numbers)} {new_id()}"
        row = {"pipeline": name, "hubspot_stage": "s", "stage": session.place.tag, "updated_at": now()}
        fenced = not session.place.open
        if self._do(session, lambda connection: connection.execute(insert(stage_mappings).values(row)), fenced):
            session.written.add(name)

    @precondition(lambda self: self.held)
    @rule(which=any_session, kind=st.integers(0, 99))
    def leave_garbage(self, which: int, kind: int) -> None:
        session = self._session(which)
        statements = GARBAGE[session.place.placement.engine]
        statement = statements[kind % len(statements)].replace("{n}", str(next(self.numbers)))
        if "LOCK" in statement and any(each is not session and each.place is session.place for each in self.held):
            return  # its other session would wait for this one, and there is one thread
        self._do(
            session,
            lambda connection: connection.exec_driver_sql(
                statement.replace("{schema}", session.place.placement.schema)
            ),
        )

    @precondition(lambda self: self.held)
    @rule(which=any_session)
    def end_well(self, which: int) -> None:
        session = self._taken(which)
        try:
            session.stack.close()
        except Refused:
            assert session.dead
        else:
            assert not session.dead or not session.written, "what nobody may write any more was acknowledged"
            session.place.rows |= session.written

    @precondition(lambda self: self.held)
    @rule(which=any_session)
    def end_badly(self, which: int) -> None:
        session = self._taken(which)
        with suppress(Refused, ZeroDivisionError):
            session.stack.__exit__(ZeroDivisionError, ZeroDivisionError(), None)

    # --- what happens to tenants

    @rule(tenant=tenant)
    def the_server_ends_their_sessions(self, tenant: int) -> None:
        self.world.onlooker.end(self._tenant(tenant).placement.login)
        self._dead(self.places[tenant])

    @rule(tenant=tenant)
    def suspend(self, tenant: int) -> None:
        place = self._tenant(tenant)
        self.world.server.close_login(place.placement.schema)
        place.open = False
        self.suspended.add(tenant)
        self._dead(place)

    @precondition(lambda self: self.suspended)
    @rule(which=st.integers(0, 99))
    def resume(self, which: int) -> None:
        tenant = sorted(self.suspended)[which % len(self.suspended)]
        self.suspended.remove(tenant)
        self.world.server.open_login(self.places[tenant].placement.schema)
        self.places[tenant].open = True

    @rule(tenant=tenant)
    def rotate(self, tenant: int) -> None:
        place = self._tenant(tenant)
        version = place.placement.secret_version + 1
        renewed = replace(place.placement, secret_version=version, password=f"Aa1-{new_id().hex}")
        self.world.server.set_password(place.placement.schema, renewed.password)
        self.old.append((place, place.placement))
        place.placement = renewed
        self._dead(place)

    @rule(tenant=tenant)
    def move(self, tenant: int) -> None:
        """Into a fresh schema of the same server; the old one is retained."""
        if tenant in self.suspended:
            return
        place, server = self._tenant(tenant), self.world.server
        source, epoch = place.placement, place.placement.epoch + 1
        try:
            server.set_fence(source.schema, 0, mode=FenceMode.MOVED, epoch=epoch, timeout_ms=20)
        except FenceBusy:
            assert any(session.place is place for session in self.held), "nobody is there to keep the fence"
            return
        target = replace(source, placement_id=new_id(), schema=new_schema_name(), epoch=epoch)
        server.provision(target.schema, target.password, epoch=epoch, mode=FenceMode.RW)
        try:
            server.copy(source.schema, server, target.schema, 0)
        except Refused:  # a session holds a table, and the move gives up
            assert any(session.place is place for session in self.held)
            server.set_fence(source.schema, 0, mode=FenceMode.RW, epoch=source.epoch)
            server.drop(target.schema, 0)
            return
        place.open = False
        self.old.append((place, source))
        self.places[tenant] = Place(target, place.tag, set(place.rows))

    @rule(tenant=tenant)
    def drop(self, tenant: int) -> None:
        """And another tenant will come in its place."""
        place = self._tenant(tenant)
        self.world.server.drop(place.placement.schema, 99)
        place.open = False
        self.old.append((place, place.placement))
        self.suspended.discard(tenant)
        self._dead(place)
        del self.places[tenant]

    # --- what is always so

    @invariant()
    def the_budget_is_kept(self) -> None:
        assert len(self.held) <= self.sessions.held() <= BUDGET

    def teardown(self) -> None:
        places = {*self.places.values(), *(place for place, _ in self.old)}
        logins = sorted(place.placement.login for place in places)
        try:
            while self.held:
                self.end_well(0)
            eventually(lambda: self.world.onlooker.sessions(logins) <= BUDGET)
            self.sessions.close()
            assert self.sessions.held() == 0
            eventually(lambda: self.world.onlooker.sessions(logins) == 0)
            while self.suspended:
                self.resume(0)
            for place in self.places.values():
                with self.sessions.open(place.placement) as connection:
                    assert set(connection.execute(select(stage_mappings.c.pipeline)).scalars()) == place.rows
        finally:
            self.sessions.close()
            for place in places:
                self.world.server.drop(place.placement.schema, 99)

    # --- how

    def _open(self, place: Place, placement: Placement, *, allowed: bool) -> None:
        key = (placement.placement_id, placement.secret_version)
        room = len(self.held) < BUDGET and sum(session.key == key for session in self.held) < EACH
        stack = ExitStack()
        try:
            connection = stack.enter_context(self.sessions.open(placement))
        except Refused as refused:
            expected = set() if allowed else {Code.FENCED}
            assert refused.code in (expected if room else expected | {Code.UNAVAILABLE, Code.LIMITED}), refused.message
        else:
            self.held.append(Held(place, key, connection, stack))
            assert allowed, "somebody came in whose rights have ended"
            assert room, "somebody came in beyond the budget"

    def _do(self, session: Held, work: Callable[[Connection], object], fenced: bool = False) -> bool:
        """Work in the session; whether it was done. A session that is refused has ended."""
        try:
            work(session.connection)
        except AssertionError:
            raise
        except Exception as error:
            self.held.remove(session)
            with pytest.raises(Refused) as refused:
                session.stack.__exit__(type(error), error, error.__traceback__)
            assert session.dead or fenced, refused.value.message
            return False
        assert not session.dead, "a session has outlived its tenant's rights"
        assert not fenced, "a write went behind the fence"
        return True

    def _tenant(self, tenant: int) -> Place:
        """Where the tenant is; who was not there yet comes."""
        if tenant not in self.places:
            placement = self.world.make_workspace()
            self.places[tenant] = Place(placement, placement.schema)
        return self.places[tenant]

    def _session(self, which: int) -> Held:
        return self.held[which % len(self.held)]

    def _taken(self, which: int) -> Held:
        return self.held.pop(which % len(self.held))

    def _dead(self, place: Place) -> None:
        for session in self.held:
            session.dead |= session.place is place


def test_whatever_happens_in_whatever_order(engine: EngineName, world: World) -> None:
    many = engine is EngineName.POSTGRESQL  # connecting takes much longer on the other one
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: Lifetimes(world),
        settings=settings(
            max_examples=10 if many else 2,
            stateful_step_count=40 if many else 15,
            deadline=None,
            phases=[Phase.explicit, Phase.reuse, Phase.generate],  # making an example shorter takes minutes here
            suppress_health_check=list(HealthCheck),
        ),
    )


CHANGES: dict[str, Callable[[Server, Placement], None]] = {
    "suspension": lambda server, placement: server.close_login(placement.schema),
    "rotation": lambda server, placement: server.set_password(placement.schema, "Aa1-another"),
    "drop": lambda server, placement: server.drop(placement.schema, 99),
}


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_that_begins_after_a_change_has_returned_succeeds(change: str, world: World) -> None:
    """Threads keep sessions open and open new ones, as fast as they can, past the product's pools and through them."""
    placement = world.make_workspace()
    ended, stop = threading.Event(), threading.Event()
    succeeded, late = [0] * 6, []

    def works(number: int, session: Callable[[], Any]) -> None:
        while not stop.is_set():
            with suppress(Exception), session() as connection:
                for _ in range(50):
                    over = ended.is_set()
                    connection(f"SELECT epoch FROM {placement.schema}._fence")
                    succeeded[number] += 1
                    if over:
                        late.append(number)

    with closing(Sessions(budget=3)) as sessions, ThreadPoolExecutor(6) as threads:
        ways = [lambda: _raw(placement), lambda: _pooled(sessions, placement)] * 3
        done = [threads.submit(works, number, way) for number, way in enumerate(ways)]
        try:
            eventually(lambda: all(succeeded), seconds=30)
            CHANGES[change](world.server, placement)
            ended.set()
            before = sum(succeeded)
            eventually(lambda: world.onlooker.sessions([placement.login]) == 0)
        finally:
            stop.set()
        for each in done:
            each.result()
    assert late == []
    assert before > 0
    if change != "drop":
        world.server.drop(placement.schema, 99)


@contextmanager
def _raw(placement: Placement) -> Iterator[Callable[[str], object]]:
    connection = ENTRANCE[placement.engine].connect(placement)
    try:
        yield lambda statement: connection.execute(statement).fetchall()
    finally:
        connection.close()


@contextmanager
def _pooled(sessions: Sessions, placement: Placement) -> Iterator[Callable[[str], object]]:
    with sessions.open(placement) as connection:
        yield lambda statement: connection.exec_driver_sql(statement).all()
