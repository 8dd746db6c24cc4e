"""What else can go wrong on a move: a mover frozen in a drop, a suspension on the way, an error that lasts."""

from __future__ import annotations

import threading
import time
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.errors import DiskFull
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from awssome.database import Connection
from awssome.database import mover as movers
from awssome.database.postgresql import server as postgresql
from awssome.database.postgresql.driver import connection_parameters
from awssome.database.registry import erasure, moves, placements, tenants
from awssome.database.registry.moves import Move
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import Phase
from awssome.domain.tenants import EngineName, Placement, TenantState
from awssome.workflows import moves as moving
from awssome.workflows import provisioning
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.engines import SERVERS, Raw, as_administrator, eventually, only_postgresql
from tests.workflows.moving import OLGA, Truth, mover, placement_of, the_move, upgrade

pytestmark = pytest.mark.usefixtures("dedicated")


@only_postgresql
def test_a_mover_that_wakes_up_in_the_middle_of_a_drop_leaves_alone_what_was_made_since(
    services: WorkerServices, alice: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has seen that nothing is there; meanwhile another mover makes the target, fills it and opens it."""
    truth = Truth.of(services, alice)
    move_id = upgrade(services, alice)
    plain = postgresql.run
    done: list[Phase] = []

    def sleeps(connection: Any, statement: str) -> Any:
        found = plain(connection, statement)
        if "to_regclass" in statement and not done:
            monkeypatch.setattr(postgresql, "run", plain)
            done.append(mover(services).carry_on(move_id))
        return found

    monkeypatch.setattr(postgresql, "run", sleeps)
    assert mover(services).carry_on(move_id) is Phase.RETAINING
    assert done == [Phase.RETAINING]
    truth.holds_at(the_move(services, move_id).target_id)


@only_postgresql
def test_a_drop_that_another_one_overtakes_is_done(
    services: WorkerServices, alice: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when two movers meet what an earlier try has left on the target."""
    here, plain, done = placement_of(services, alice), postgresql.run, list[bool]()
    with services.registry.begin() as connection:
        server = services.open_server(placements.server_of(connection, here.placement_id))

    def is_overtaken(connection: Any, statement: str) -> Any:
        found = plain(connection, statement)
        if "to_regclass" in statement and not done:
            done.append(True)
            server.drop(here.schema, 9)
        return found

    monkeypatch.setattr(postgresql, "run", is_overtaken)
    server.drop(here.schema, 9)
    assert done == [True]
    assert server.fence(here.schema) is None


@pytest.mark.parametrize("when", ["copy", "verify", "closed", "open", "confirm", "retain"])
def test_who_is_suspended_during_a_move_is_shut_out_at_the_target_too(
    when: str, services: WorkerServices, alice: Tenancy
) -> None:
    def suspends(step: str) -> None:
        if step == when:
            _turn(services, alice, TenantState.SUSPENDED)
            provisioning.set_login(services, alice.id)

    move_id = upgrade(services, alice)
    assert mover(services, step=suspends).carry_on(move_id) is Phase.RETAINING
    target = placement_of(services, alice)
    assert target.placement_id == the_move(services, move_id).target_id
    assert not _lets_in(target)
    _turn(services, alice, TenantState.ACTIVE)
    provisioning.set_login(services, alice.id)
    assert _lets_in(target)


@pytest.mark.parametrize("change", ["moved", "suspended"])
def test_a_login_is_set_as_things_stand_when_it_is_done(
    change: str, engine: EngineName, services: WorkerServices, alice: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker has read that the tenant is active on the pool, and sleeps before it opens the login there."""
    plain = SERVERS[engine].open_login

    def slow(self: Any, schema: str) -> None:
        monkeypatch.setattr(SERVERS[engine], "open_login", plain)
        if change == "moved":
            mover(services).carry_on(upgrade(services, alice))
        else:
            _turn(services, alice, TenantState.SUSPENDED)
        plain(self, schema)

    monkeypatch.setattr(SERVERS[engine], "open_login", slow)
    provisioning.set_login(services, alice.id)
    assert not _lets_in(alice.placement)
    assert _lets_in(placement_of(services, alice)) == (change == "moved")


@pytest.mark.parametrize("where", ["copy", "apply"])
def test_an_error_that_lasts_ends_the_move_with_the_source_open(
    where: str, engine: EngineName, services: WorkerServices, alice: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> int:
        raise DiskFull("no space left on the target")

    truth = Truth.of(services, alice)
    move_id = upgrade(services, alice)
    with monkeypatch.context() as broken:
        broken.setattr(SERVERS[engine], where, full)
        with pytest.raises(DiskFull):
            mover(services).carry_on(move_id)
        assert Phase(the_move(services, move_id).phase) is Phase.FAILED
        assert mover(services).carry_on(move_id) is Phase.FAILED  # the job's next try pauses nothing
    move = the_move(services, move_id)
    assert move.problem == "The move was interrupted. The tenant stays where it was."
    truth.holds_at(move.source_id)
    with services.registry.begin() as connection:
        moving.retry(connection, services.queue, OLGA, move_id)
    assert mover(services).carry_on(move_id) is Phase.RETAINING
    truth.holds_at(move.target_id)


def test_a_target_that_keeps_going_away_pauses_writes_only_so_often(
    engine: EngineName, services: WorkerServices, alice: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, mark: int | None = None, **__: object) -> dict[str, Any]:
        if in_the_pause and mark is None:
            return {}
        raise Refused(Code.UNAVAILABLE, "The database server does not answer.")

    monkeypatch.setattr(movers, "PAUSES_IN_VAIN", 2)
    truth = Truth.of(services, alice)
    move_id = upgrade(services, alice)
    for before_the_pause in ("provision", "copy", "apply"):
        in_the_pause = False
        with monkeypatch.context() as broken:
            broken.setattr(SERVERS[engine], before_the_pause, away)
            _tries(services, move_id, 3)
        assert Phase(the_move(services, move_id).phase) is Phase.REQUESTED  # nobody has waited for these
    in_the_pause = True
    monkeypatch.setattr(SERVERS[engine], "apply", away)
    _tries(services, move_id, 1)
    assert Phase(the_move(services, move_id).phase) is Phase.REQUESTED
    _tries(services, move_id, 1)
    move = the_move(services, move_id)
    assert Phase(move.phase) is Phase.FAILED
    assert move.problem.startswith("The database server does not answer.")
    truth.holds_at(move.source_id)
    with services.registry.begin() as connection:
        moving.cancel(connection, services.queue, OLGA, move_id)
    assert mover(services).carry_on(move_id) is Phase.CANCELLED
    truth.holds_at(move.source_id)


def test_rows_that_differ_are_told_by_their_keys_until_the_tenant_is_erased(
    engine: EngineName, services: WorkerServices, alice: Tenancy, dedicated_url: str
) -> None:
    move_id = upgrade(services, alice)
    with services.registry.begin() as connection:
        target = placements.find(connection, services.keys, the_move(services, move_id).target_id)

    def spoil(step: str) -> None:
        if step == "verify":
            as_administrator(engine, dedicated_url, f"UPDATE {target.schema}.field_mappings SET property = 'other'")

    assert mover(services, step=spoil).carry_on(move_id) is Phase.FAILED
    move = the_move(services, move_id)
    assert "field_mappings" in move.problem
    assert move.evidence["steps"]["verify"]["keys"]["field_mappings"] != []
    with services.registry.begin() as connection:
        tenants.turn(connection, alice.id, TenantState.RETAINED)
        erasure.forget_tenant(connection, alice.id)
    steps = the_move(services, move_id).evidence["steps"]
    assert "keys" not in steps["verify"] and steps["verify"]["at"]


def test_what_an_earlier_try_has_made_goes_when_the_next_is_called_off_before_it_makes_anything(
    services: WorkerServices, alice: Tenancy
) -> None:
    truth = Truth.of(services, alice)
    move_id = upgrade(services, alice)

    def away(at: Any) -> None:
        if at not in ("claim", "server", "prepare", "capture"):
            raise Refused(Code.UNAVAILABLE, "The database server does not answer.")

    with pytest.raises(Refused):
        mover(services, step=away).carry_on(move_id)  # the target is made by then
    with pytest.raises(Refused):
        mover(services, ensure=away).carry_on(move_id)  # this try has made nothing
    with services.registry.begin() as connection:
        moving.cancel(connection, services.queue, OLGA, move_id)
    assert mover(services).carry_on(move_id) is Phase.CANCELLED
    move = the_move(services, move_id)
    truth.holds_at(move.source_id)
    with services.registry.begin() as connection:
        schema = placements.find(connection, services.keys, move.target_id).schema
        server = services.open_server(placements.server_of(connection, move.target_id))
    assert server.fence(schema) is None


@pytest.mark.parametrize("when", ["before", "answer"])
@pytest.mark.parametrize("where", ["copy", "carried"])
def test_a_connection_to_the_registry_that_is_lost_does_not_end_a_move(
    where: str, when: str, services: WorkerServices, alice: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the registry's server is restarted, or a proxy before it: the next connection is a good one."""
    truth = Truth.of(services, alice)
    move_id = upgrade(services, alice)
    plain, lost = moves.note, list[str]()

    def note(connection: Connection, move: Move, part: str, name: str, value: Any) -> None:
        if when == "answer":
            plain(connection, move, part, name, value)
        if name == where and not lost:
            lost.append(name)
            pid = connection.scalar(text("SELECT pg_backend_pid()"))
            with services.registry.begin() as another:
                another.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        if when == "before":
            plain(connection, move, part, name, value)

    monkeypatch.setattr(moves, "note", note)
    with pytest.raises((Refused, DBAPIError)):
        mover(services).carry_on(move_id)
    move = the_move(services, move_id)
    assert (lost, Phase(move.phase)) == ([where], Phase.REQUESTED)
    truth.holds_at(move.source_id)
    assert mover(services).carry_on(move_id) is Phase.RETAINING
    truth.holds_at(move.target_id)


@only_postgresql
def test_a_close_that_comes_after_its_connection_was_lost_does_not_keep_the_source_closed(
    services: WorkerServices, alice: Tenancy, pool_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mover hears that the server does not answer, and the server has still to do what it was asked for."""
    truth, schema, done = Truth.of(services, alice), alice.placement.schema, threading.Event()

    def late() -> None:
        with psycopg.connect(**connection_parameters(pool_url)) as session:
            session.execute(f"LOCK TABLE {schema}._fence IN EXCLUSIVE MODE")
            session.execute(f"UPDATE {schema}._fence SET mode = 'moved', capture = false")
            time.sleep(0.5)
        done.set()

    def lost(self: Any) -> None:
        threading.Thread(target=late).start()
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'ExclusiveLock'"
        eventually(lambda: as_administrator(EngineName.POSTGRESQL, pool_url, waits) != [(0,)])
        raise Refused(Code.UNAVAILABLE, "The database server does not answer.")

    move_id = upgrade(services, alice)
    monkeypatch.setattr(movers, "BUDGET_SECONDS", 60)
    with monkeypatch.context() as broken:
        broken.setattr(postgresql._Closing, "close", lost)
        with pytest.raises(Refused):
            mover(services).carry_on(move_id)
    assert done.wait(10)
    truth.holds_at(the_move(services, move_id).source_id)
    assert mover(services).carry_on(move_id) is Phase.RETAINING
    truth.holds_at(the_move(services, move_id).target_id)


def _tries(services: WorkerServices, move_id: UUID, times: int) -> None:
    for _ in range(times):
        with pytest.raises(Refused):
            mover(services).carry_on(move_id)


def _turn(services: WorkerServices, tenancy: Tenancy, state: TenantState) -> None:
    with services.registry.begin() as connection:
        tenants.change(connection, tenancy.id, state=state)


def _lets_in(placement: Placement) -> bool:
    """Whether the placement's login opens a session."""
    try:
        Raw(placement).close()
    except Refused as refused:
        assert refused.code is Code.FENCED
        return False
    return True
