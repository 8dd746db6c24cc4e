"""Sessions as tenants: the right tenant, within the budget, and told apart when something is wrong."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import column, event, func, insert, select, table
from sqlalchemy.exc import DBAPIError

from awssome.database import Connection, template
from awssome.database.embedded import Cluster
from awssome.database.engine import Server
from awssome.database.schema import SYMBOL, field_mappings, stage_mappings
from awssome.database.sessions import Sessions
from awssome.database.troubles import Unsure, fenced, unavailable, unsure
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import EngineName, Placement
from awssome.domain.times import now
from tests.engines import ME, SESSION_ID, Onlooker, eventually, looking

TENANTS = 12


@pytest.fixture(scope="module")
def workspaces(make_workspace: Callable[[], Placement]) -> list[Placement]:
    """Tenants on one server; each has one row that says whose it is."""
    made = [make_workspace() for _ in range(TENANTS)]
    sessions = Sessions(budget=TENANTS)
    for placement in made:
        with sessions.open(placement) as connection:
            _add(connection, placement.schema)
    sessions.close()
    return made


@pytest.fixture
def onlooker(engine: EngineName, pool_url: str, cluster: Cluster, workspaces: list[Placement]) -> Iterator[Onlooker]:
    """An administrator, who counts; when the test begins no session of a tenant is open."""
    with looking(engine, cluster, pool_url) as found:
        eventually(lambda: _open_on_the_server(found, workspaces) == 0)
        yield found


def test_a_connection_is_the_tenant(sessions: Sessions, workspaces: list[Placement]) -> None:
    for placement in workspaces:
        with sessions.open(placement) as connection:
            assert connection.exec_driver_sql(ME[placement.engine]).one() == (placement.login,) * 2
            assert connection.execute(select(field_mappings.c.field)).scalars().all() == [placement.schema]


def test_a_session_is_one_transaction(sessions: Sessions, workspaces: list[Placement]) -> None:
    placement = workspaces[0]
    with pytest.raises(ZeroDivisionError), sessions.open(placement) as connection:
        _add(connection, "lost")
        raise ZeroDivisionError
    with sessions.open(placement) as connection:
        assert connection.execute(select(field_mappings.c.field)).scalars().all() == [placement.schema]
        _add(connection, "kept")
    with sessions.open(placement) as connection:
        kept = field_mappings.delete().where(field_mappings.c.field == "kept")
        assert connection.execute(kept).rowcount == 1
    assert sessions.held() == 1


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_stale_placement_is_told_before_anything_runs(
    epoch: int, sessions: Sessions, workspaces: list[Placement]
) -> None:
    ran = False
    with pytest.raises(Refused) as refused, sessions.open(replace(workspaces[0], epoch=epoch)):
        ran = True
    assert (refused.value.code, ran) == (Code.FENCED, False)
    with sessions.open(workspaces[0]):
        pass


@pytest.mark.parametrize("what", ["a column", "a table"])
def test_what_tables_that_are_behind_do_not_have_yet_is_told_calmly(
    what: str, monkeypatch: pytest.MonkeyPatch, sessions: Sessions, workspaces: list[Placement]
) -> None:
    known = field_mappings if what == "a column" else table("to_come", schema=SYMBOL)
    query = select(column("to_come")).select_from(known)
    with pytest.raises(DBAPIError), sessions.open(workspaces[0]) as connection:
        connection.execute(query)  # with tables of this version it is a defect
    monkeypatch.setattr(template, "older", lambda: (template.head(),))  # so does a version to come see them
    with pytest.raises(Refused) as refused, sessions.open(workspaces[0]) as connection:
        connection.execute(query)
    assert (refused.value.code, refused.value.retry_after) == (Code.UNAVAILABLE, 30)
    assert "brought to the newest version" in refused.value.message
    with sessions.open(workspaces[0]) as connection:
        assert connection.execute(select(field_mappings.c.field)).scalars().all() == [workspaces[0].schema]


def test_while_writes_are_paused_reads_go_on(pool: Server, sessions: Sessions, workspaces: list[Placement]) -> None:
    placement = workspaces[0]
    pool.set_fence(placement.schema, 0, mode=FenceMode.MOVED, epoch=1)
    try:
        with pytest.raises(Refused) as refused, sessions.open(placement) as connection:
            assert connection.execute(select(field_mappings.c.field)).scalars().all() == [placement.schema]
            _add(connection, "refused")
        assert refused.value.code is Code.FENCED
    finally:
        pool.set_fence(placement.schema, 0, mode=FenceMode.RW, epoch=1)


def test_connections_that_died_in_the_pool_are_replaced_without_a_word(
    sessions: Sessions, workspaces: list[Placement], onlooker: Onlooker
) -> None:
    placement = workspaces[0]
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(sessions.open(placement))
    assert onlooker.end(placement.login) == 4
    for _ in range(6):
        with sessions.open(placement) as connection:
            assert connection.execute(select(field_mappings.c.field)).scalars().all() == [placement.schema]
    assert sessions.held() == _open_on_the_server(onlooker, workspaces) == 1


def test_a_connection_that_dies_in_use_is_fenced_and_the_next_one_works(
    sessions: Sessions, workspaces: list[Placement], onlooker: Onlooker
) -> None:
    placement = workspaces[0]
    with pytest.raises(Refused) as refused, sessions.open(placement) as connection:
        onlooker.end(placement.login)
        _add(connection, "lost")
    assert refused.value.code is Code.FENCED
    with sessions.open(placement) as connection:
        assert connection.execute(select(field_mappings.c.field)).scalars().all() == [placement.schema]


def test_a_connection_that_dies_under_the_commit_of_a_change_leaves_nobody_sure(
    sessions: Sessions, workspaces: list[Placement], onlooker: Onlooker
) -> None:
    """It may be saved, had it died a moment later: so nobody does it again by themselves."""
    placement = workspaces[0]
    with pytest.raises(Unsure) as unsure, sessions.open(placement) as connection:
        _add(connection, "perhaps")
        onlooker.end(placement.login)
    assert unsure.value.code is Code.UNAVAILABLE
    assert "It may be saved or not" in unsure.value.message
    with pytest.raises(Refused) as refused, sessions.open(placement) as connection:
        connection.execute(select(field_mappings.c.field))
        onlooker.end(placement.login)
    assert not isinstance(refused.value, Unsure), "who only reads has nothing to be unsure of"


@pytest.mark.parametrize("pooled", [True, False], ids=["with a pooled connection", "with none"])
def test_a_closed_login_is_fenced_until_it_is_opened(
    pooled: bool, pool: Server, sessions: Sessions, workspaces: list[Placement]
) -> None:
    placement = workspaces[1]
    if pooled:
        with sessions.open(placement):
            pass
    pool.close_login(placement.schema)
    for _ in range(2):
        with pytest.raises(Refused) as refused, sessions.open(placement):
            pass
        assert refused.value.code is Code.FENCED
    pool.open_login(placement.schema)
    with sessions.open(placement) as connection:
        assert connection.execute(select(field_mappings.c.field)).scalars().all() == [placement.schema]


def test_a_workspace_that_is_gone_is_fenced(
    pool: Server, sessions: Sessions, make_workspace: Callable[[], Placement]
) -> None:
    placement = make_workspace()
    with sessions.open(placement):
        pass
    pool.drop(placement.schema, 0)
    with pytest.raises(Refused) as refused, sessions.open(placement):
        pass
    assert refused.value.code is Code.FENCED


def test_after_a_rotation_the_old_password_is_fenced_and_the_new_one_works(
    pool: Server, sessions: Sessions, workspaces: list[Placement], onlooker: Onlooker
) -> None:
    old = workspaces[2]
    new = replace(old, secret_version=2, password="Aa1-another")
    pool.set_password(old.schema, new.password)
    try:
        with pytest.raises(Refused) as refused, sessions.open(old):
            pass
        assert refused.value.code is Code.FENCED
        with sessions.open(new) as connection:
            assert connection.execute(select(field_mappings.c.field)).scalars().all() == [old.schema]
    finally:
        pool.set_password(old.schema, old.password)


def test_a_server_that_does_not_answer_is_unavailable(sessions: Sessions, workspaces: list[Placement]) -> None:
    with pytest.raises(Refused) as refused, sessions.open(replace(workspaces[0], port=9)):
        pass
    assert refused.value.code is Code.UNAVAILABLE
    assert sessions.held() == 0


def test_the_least_recently_used_tenant_gives_way(workspaces: list[Placement], onlooker: Onlooker) -> None:
    sessions = Sessions(budget=3)
    a, b, c, d = workspaces[:4]
    backends = {placement.schema: _backend(sessions, placement) for placement in (a, b, c)}
    assert _backend(sessions, a) == backends[a.schema]
    _backend(sessions, d)
    eventually(lambda: _open_on_the_server(onlooker, [b]) == 0)
    assert sessions.held() == _open_on_the_server(onlooker, workspaces) == 3
    assert _backend(sessions, a) == backends[a.schema]
    assert _backend(sessions, c) == backends[c.schema]
    sessions.close()
    eventually(lambda: _open_on_the_server(onlooker, workspaces) == 0)
    assert sessions.held() == 0


def test_when_the_budget_is_used_up_a_session_waits_and_is_then_refused(
    workspaces: list[Placement], onlooker: Onlooker
) -> None:
    sessions = Sessions(budget=2, wait=0.3)
    with ExitStack() as held:
        for placement in workspaces[:2]:
            held.enter_context(sessions.open(placement))
        began = time.monotonic()
        with pytest.raises(Refused) as refused, sessions.open(workspaces[2]):
            pass
        assert refused.value.code is Code.UNAVAILABLE
        assert time.monotonic() - began > 0.25
        assert sessions.held() == _open_on_the_server(onlooker, workspaces) == 2
    with sessions.open(workspaces[2]):
        assert sessions.held() == 2
    sessions.close()


def test_a_session_that_waits_gets_what_is_given_back(workspaces: list[Placement]) -> None:
    sessions = Sessions(budget=1, wait=60)
    with ThreadPoolExecutor(4) as threads:
        with sessions.open(workspaces[0]):
            waiting = [threads.submit(_backend, sessions, placement) for placement in workspaces[:4]]
            time.sleep(0.1)  # they queue up; the outcome is the same if one comes later
            assert not any(session.done() for session in waiting)
        assert all(session.result(timeout=60) for session in waiting)
    sessions.close()


def test_idle_connections_of_a_tenant_that_is_in_use_give_way_too(workspaces: list[Placement]) -> None:
    sessions = Sessions(budget=4, wait=1)
    with ExitStack() as busy:
        for _ in range(3):
            busy.enter_context(sessions.open(workspaces[0]))
    with sessions.open(workspaces[0]), sessions.open(workspaces[1]), sessions.open(workspaces[2]):
        with sessions.open(workspaces[3]) as connection:
            assert connection.execute(select(field_mappings.c.field)).scalars().all() == [workspaces[3].schema]
        assert sessions.held() == 4
    sessions.close()


def test_the_wait_is_bounded_although_others_come_and_go(workspaces: list[Placement]) -> None:
    """Whoever gives up or gives back wakes those who wait; each of them must still be answered in time."""
    sessions = Sessions(budget=2, each=1, wait=0.5)
    crowd: list[threading.Thread] = []
    refused: list[int] = []

    def waits(number: int) -> None:
        with suppress(Refused), sessions.open(workspaces[0]):
            raise AssertionError("there was no room")
        refused.append(number)

    with sessions.open(workspaces[0]), sessions.open(workspaces[1]):
        while not refused and len(crowd) < 500:  # whoever began to wait anew with each of these would wait for them all
            crowd.append(threading.Thread(target=waits, args=(len(crowd),)))
            crowd[-1].start()
            time.sleep(0.05)
        assert refused
        for thread in crowd:
            thread.join()
    assert sorted(refused) == list(range(len(crowd)))
    sessions.close()


def test_one_busy_tenant_does_not_take_the_connections_of_the_others(workspaces: list[Placement]) -> None:
    sessions = Sessions(budget=4, each=2, wait=0.2)
    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(sessions.open(workspaces[0]))
        with pytest.raises(Refused) as refused, sessions.open(workspaces[0]):
            pass
        assert refused.value.code is Code.LIMITED
        with sessions.open(workspaces[1]) as connection:
            assert connection.execute(select(field_mappings.c.field)).scalars().all() == [workspaces[1].schema]
    sessions.close()


def test_one_compiled_statement_serves_every_tenant(sessions: Sessions, workspaces: list[Placement]) -> None:
    compiled: Counter[str] = Counter()

    def count(_c: object, _cursor: object, _s: str, _p: object, context: Any, _many: bool) -> None:
        compiled[context.cache_hit.name] += 1

    with sessions.open(workspaces[0]) as connection:
        engine = connection.engine
    event.listen(engine, "after_cursor_execute", count)
    try:
        for placement in workspaces:
            with sessions.open(placement) as connection:
                query = select(stage_mappings.c.stage, func.count()).where(
                    stage_mappings.c.pipeline == placement.schema
                )
                assert connection.execute(query.group_by(stage_mappings.c.stage)).all() == []
    finally:
        event.remove(engine, "after_cursor_execute", count)
    assert compiled == {"CACHE_MISS": 1, "CACHE_HIT": TENANTS - 1}


def test_many_threads_and_many_tenants_never_see_each_others_rows(
    engine: EngineName, workspaces: list[Placement], onlooker: Onlooker
) -> None:
    """Threads take tenants at random under a budget that makes every other session evict somebody; now and then
    sessions fail, placements are stale and the server ends connections."""
    budget, threads = 5, 8
    # Connecting takes much longer on SQL Server, and who is ended sooner than that never gets anywhere.
    rounds, pause = (40, 0.05) if engine is EngineName.POSTGRESQL else (8, 0.5)
    sessions = Sessions(budget=budget, each=2, wait=60)
    seen: Counter[str] = Counter()
    over_budget: list[int] = []
    written: Counter[str] = Counter()
    lock = threading.Lock()

    def works(seed: int) -> None:
        dice = random.Random(seed)
        for number in range(rounds):
            placement = dice.choice(workspaces)
            fate = dice.random()
            try:
                with sessions.open(replace(placement, epoch=9) if fate < 0.1 else placement) as connection:
                    if sessions.held() > budget:
                        over_budget.append(sessions.held())
                    rows = set(connection.execute(select(field_mappings.c.field)).scalars())
                    user = connection.exec_driver_sql(ME[placement.engine]).one()[0]
                    mine = rows == {placement.schema} and user == placement.login
                    with lock:
                        seen["own" if mine else f"of others: {rows} as {user}"] += 1
                    connection.execute(
                        insert(stage_mappings).values(
                            pipeline=f"{seed}-{number}", hubspot_stage="s", stage=placement.schema, updated_at=now()
                        )
                    )
                    if fate > 0.9:
                        raise ZeroDivisionError
                with lock:
                    written[placement.schema] += 1
            except ZeroDivisionError:
                seen["rolled back"] += 1
            except Refused as refused:
                with lock:
                    seen[refused.message] += 1

    with ThreadPoolExecutor(threads) as workers:
        done = [workers.submit(works, seed) for seed in range(threads)]
        dice = random.Random("kill")
        while not all(work.done() for work in done):
            onlooker.end(dice.choice(workspaces).login)
            time.sleep(pause)
        for work in done:
            work.result()

    assert {outcome for outcome in seen if outcome.startswith("of others")} == set()
    # A connection that the server ends is fenced, just gone, or nobody is sure; none was refused for want of one.
    assert set(seen) <= {"own", "rolled back", fenced().message, unavailable().message, unsure().message}
    assert seen["own"] > threads * rounds / 2
    assert over_budget == []
    assert sessions.held() <= budget
    eventually(lambda: _open_on_the_server(onlooker, workspaces) <= budget)
    for placement in workspaces:
        with sessions.open(placement) as connection:
            stages = connection.execute(select(stage_mappings.c.stage)).scalars().all()
            assert stages == [placement.schema] * written[placement.schema]
            connection.execute(stage_mappings.delete())
    sessions.close()
    assert sessions.held() == 0


def _add(connection: Connection, field: str) -> None:
    connection.execute(insert(field_mappings).values(field=field, updated_at=now()))


def _backend(sessions: Sessions, placement: Placement) -> int:
    with sessions.open(placement) as connection:
        return int(connection.exec_driver_sql(SESSION_ID[placement.engine]).scalar_one())


def _open_on_the_server(onlooker: Onlooker, placements: list[Placement]) -> int:
    return onlooker.sessions([placement.login for placement in placements])
