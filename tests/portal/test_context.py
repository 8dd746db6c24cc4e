"""The way to a tenant's data: what is cached, what is asked anew, and what happens while the tenant moves."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from awssome.control.client import Caller
from awssome.database.servers import open_server
from awssome.database.sessions import Sessions
from awssome.database.tenant import deals, figures
from awssome.domain.deals import Stage as DealStage
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import EngineName, Role, Tier
from awssome.portal.context import FRESH_SECONDS, STALE_SECONDS, AskAgain, Contexts, Person, TenantContext
from tests.engines import as_administrator
from tests.portal.conftest import SHARED, Stage
from tests.portal.fake import Tenant

TODAY = date(2026, 11, 22)


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def contexts(stage: Stage, sessions: Sessions, clock: Clock) -> Contexts:
    return Contexts(stage.control.control, sessions, clock=clock)


@pytest.fixture
def alice(stage: Stage, northwind: Tenant) -> Caller:
    return Caller(session=stage.control.session("alice@example.com"), host=SHARED)


def context_of(contexts: Contexts, caller: Caller, needed: Role = Role.VIEWER) -> TenantContext:
    answer = contexts.ask(caller)
    person = Person(caller, answer.account, answer.session_id, tuple(answer.memberships))
    return contexts.tenant(person, answer, "GET /deals", needed)


def test_an_answer_serves_for_five_seconds(stage: Stage, contexts: Contexts, alice: Caller, clock: Clock) -> None:
    for _ in range(3):
        contexts.ask(alice)
        clock.now += FRESH_SECONDS / 3 - 0.1
    assert stage.control.asked == 1
    clock.now += 1
    contexts.ask(alice)
    assert stage.control.asked == 2


def test_each_host_and_each_session_has_an_answer_of_its_own(
    stage: Stage, contexts: Contexts, alice: Caller, paulas: Tenant
) -> None:
    contexts.ask(alice)
    with pytest.raises(Refused) as refused:
        contexts.ask(replace(alice, host="paula.localhost:8000"))
    assert refused.value.code is Code.FORBIDDEN
    with pytest.raises(Refused) as refused:
        contexts.ask(replace(alice, session=alice.session + "x"))
    assert refused.value.code is Code.UNAUTHENTICATED


def test_pages_outlive_the_central_api_for_fifteen_minutes(
    stage: Stage, contexts: Contexts, alice: Caller, clock: Clock
) -> None:
    contexts.ask(alice)
    stage.control.down = True
    clock.now += STALE_SECONDS - 1
    assert contexts.ask(alice).account.email == "alice@example.com"
    clock.now += 2
    with pytest.raises(Refused) as refused:
        contexts.ask(alice)
    assert refused.value.code is Code.UNAVAILABLE


def test_a_silent_central_api_is_not_asked_for_every_request(
    stage: Stage, contexts: Contexts, alice: Caller, clock: Clock
) -> None:
    contexts.ask(alice)
    stage.control.down = True
    clock.now += FRESH_SECONDS + 1
    before = len(stage.control.calls)
    for _ in range(5):
        contexts.ask(alice)
    assert len(stage.control.calls) == before + 1


def test_who_was_not_known_before_gets_nothing_while_the_central_api_is_silent(
    stage: Stage, contexts: Contexts, alice: Caller
) -> None:
    stage.control.down = True
    with pytest.raises(Refused) as refused:
        contexts.ask(alice)
    assert refused.value.code is Code.UNAVAILABLE


@pytest.mark.parametrize("code", [Code.UNAUTHENTICATED, Code.FORBIDDEN, Code.NOT_FOUND])
def test_a_clear_no_ends_the_old_answer_for_good(
    stage: Stage, contexts: Contexts, alice: Caller, clock: Clock, code: Code
) -> None:
    contexts.ask(alice)
    clock.now += FRESH_SECONDS + 1
    stage.control.refusals["context"] = Refused(code, "No.")
    with pytest.raises(Refused) as refused:
        contexts.ask(alice)
    assert refused.value.code is code
    stage.control.down = True
    with pytest.raises(Refused) as refused:
        contexts.ask(alice)
    assert refused.value.code is Code.UNAVAILABLE


def test_a_tenant_without_a_workspace_fails_closed(
    stage: Stage, contexts: Contexts, alice: Caller, northwind: Tenant
) -> None:
    northwind.placement = None
    context = context_of(contexts, alice)
    with pytest.raises(Refused) as refused:
        context.read(lambda connection: connection)
    assert refused.value.code is Code.UNAVAILABLE


def test_a_stale_placement_is_replaced_before_anything_is_read(
    contexts: Contexts, alice: Caller, northwind: Tenant, engine: EngineName, pool_url: str
) -> None:
    context = context_of(contexts, alice)
    placement = northwind.placement
    assert placement is not None
    server = open_server(engine, pool_url)
    server.claim(placement.schema, 1)
    server.set_fence(placement.schema, 1, mode=FenceMode.RW, epoch=2)
    northwind.placement = replace(placement, epoch=2)
    runs: list[int] = []
    context.write(lambda connection: runs.append(figures.summary(connection, today=TODAY).deals))
    assert runs == [0]


def test_who_is_at_work_when_the_tenant_gets_an_address_of_its_own_is_sent_on_or_told(
    contexts: Contexts, alice: Caller, northwind: Tenant, engine: EngineName, pool_url: str
) -> None:
    context = context_of(contexts, alice)
    assert northwind.placement is not None
    server = open_server(engine, pool_url)
    server.claim(northwind.placement.schema, 1)
    server.set_fence(northwind.placement.schema, 1, mode=FenceMode.MOVED, epoch=2)
    northwind.tier = Tier.PAID
    with pytest.raises(AskAgain):
        context.read(lambda connection: figures.summary(connection, today=TODAY))
    with pytest.raises(Refused) as refused:
        replace(context, action="POST /deals/new").write(_new_deal)
    assert refused.value.code is Code.CONFLICT
    assert "northwind.localhost:8000" in refused.value.message


def test_a_write_waits_while_a_move_pauses_writes_and_is_done_once(
    stage: Stage, sessions: Sessions, alice: Caller, northwind: Tenant, engine: EngineName, pool_url: str
) -> None:
    contexts = Contexts(stage.control.control, sessions)
    context = context_of(contexts, alice)
    placement = northwind.placement
    assert placement is not None
    server = open_server(engine, pool_url)
    server.claim(placement.schema, 1)
    server.set_fence(placement.schema, 1, mode=FenceMode.MOVED, epoch=1)
    asked = stage.control.asked
    saved: list[Any] = []
    writing = threading.Thread(target=lambda: saved.append(context.write(_new_deal)))
    writing.start()
    while stage.control.asked < asked + 2:  # it was refused, and has asked where the tenant is, more than once
        assert writing.is_alive()
    assert context.read(lambda connection: figures.summary(connection, today=TODAY)).deals == 0
    server.set_fence(placement.schema, 1, mode=FenceMode.RW, epoch=1)
    writing.join(10)
    found = context.read(lambda connection: deals.list_deals(connection, deals.Filters(), today=TODAY).rows)
    assert [deal.id for deal in found] == saved


def test_after_ten_seconds_of_pause_a_write_is_given_up_calmly(
    stage: Stage, contexts: Contexts, alice: Caller, northwind: Tenant, clock: Clock, engine: EngineName, pool_url: str
) -> None:
    context = context_of(contexts, alice)
    placement = northwind.placement
    assert placement is not None
    server = open_server(engine, pool_url)
    server.claim(placement.schema, 1)
    server.set_fence(placement.schema, 1, mode=FenceMode.MOVED, epoch=1)
    tries: list[float] = []

    def work(connection: Any) -> None:
        tries.append(clock.now)
        clock.now += 3
        _new_deal(connection)

    with pytest.raises(Refused) as refused:
        context.write(work)
    assert refused.value.code is Code.UNAVAILABLE and refused.value.retry_after
    assert "Nothing was lost" in refused.value.message
    assert len(tries) == 4, "it is tried for about ten seconds"


def test_a_right_that_the_database_refuses_is_reported_once(
    stage: Stage, contexts: Contexts, alice: Caller, northwind: Tenant, clock: Clock, engine: EngineName, pool_url: str
) -> None:
    """The placement is true, and the login has lost a right all the same: somebody has to hear of it."""
    context = context_of(contexts, alice, Role.MEMBER)
    placement = northwind.placement
    assert placement is not None
    as_administrator(engine, pool_url, f"REVOKE INSERT ON {placement.schema}.deal_registrations FROM {placement.login}")

    def work(connection: Any) -> None:
        clock.now += 3
        _new_deal(connection)

    with pytest.raises(Refused) as refused:
        context.write(work)
    assert refused.value.code is Code.UNAVAILABLE
    assert stage.control.denials == [("alice@example.com", "GET /deals: refused by the database")]


def test_work_is_never_run_again_in_another_tenant(
    stage: Stage, contexts: Contexts, alice: Caller, northwind: Tenant, engine: EngineName, pool_url: str
) -> None:
    other = stage.tenant("other", alice=Role.OWNER)
    stage.control.switch_tenant(alice, northwind.id)
    context = context_of(contexts, alice)
    placement = northwind.placement
    assert placement is not None
    server = open_server(engine, pool_url)
    server.claim(placement.schema, 1)
    server.set_fence(placement.schema, 1, mode=FenceMode.MOVED, epoch=1)
    stage.control.switch_tenant(alice, other.id)
    with pytest.raises(Refused) as refused:
        context.write(_new_deal)
    assert refused.value.code is Code.CONFLICT
    now_there = context_of(contexts, alice)
    assert now_there.tenant.id == other.id
    assert now_there.read(lambda connection: figures.summary(connection, today=TODAY)).deals == 0


def test_a_role_that_was_lost_meanwhile_ends_the_work(
    stage: Stage, contexts: Contexts, alice: Caller, northwind: Tenant, engine: EngineName, pool_url: str
) -> None:
    context = context_of(contexts, alice, Role.MEMBER)
    placement = northwind.placement
    assert placement is not None
    server = open_server(engine, pool_url)
    server.claim(placement.schema, 1)
    server.set_fence(placement.schema, 1, mode=FenceMode.MOVED, epoch=1)
    stage.control.roles["alice@example.com", northwind.id] = Role.VIEWER
    with pytest.raises(Refused) as refused:
        context.write(_new_deal)
    assert refused.value.code is Code.FORBIDDEN
    assert stage.control.denials == [("alice@example.com", "GET /deals")]


def test_what_is_not_there_is_reported(stage: Stage, contexts: Contexts, alice: Caller) -> None:
    def nothing(connection: Any) -> None:
        raise Refused(Code.NOT_FOUND, "There is no such deal.")

    with pytest.raises(Refused):
        context_of(contexts, alice).read(nothing)
    assert stage.control.denials == [("alice@example.com", "GET /deals")]


def test_a_context_shows_no_password(contexts: Contexts, alice: Caller, northwind: Tenant) -> None:
    assert northwind.placement is not None
    context = context_of(contexts, alice)
    assert northwind.placement.password not in repr(context)
    assert alice.session not in repr(context)


def _new_deal(connection: Any) -> Any:
    return deals.create(connection, {"title": "A deal", "stage": DealStage.QUALIFIED}, "alice@example.com")
