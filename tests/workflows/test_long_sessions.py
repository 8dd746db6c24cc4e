"""What tenants' sessions do for too long is ended from outside, by tier, and written down."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from sqlalchemy import select

from awssome.database.engine import LongSession
from awssome.database.registry import servers
from awssome.database.registry.tables import audit_log
from awssome.database.servers import open_server
from awssome.domain.limits import GRACE_SECONDS, LIMITS, TRANSACTION_SECONDS, is_too_long
from awssome.domain.tenants import EngineName, ServerKind, Tier
from awssome.workflows import long_sessions
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy, register_server
from tests.engines import SESSION_ID, Raw, eventually, only_postgresql


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A free tenant's statements may take a second, a paid one's as long as ever; a transaction two."""
    monkeypatch.setitem(LIMITS, Tier.FREE, replace(LIMITS[Tier.FREE], statement_seconds=1))  # type: ignore[arg-type]
    monkeypatch.setattr("awssome.domain.limits.GRACE_SECONDS", 0.2)
    monkeypatch.setattr("awssome.domain.limits.TRANSACTION_SECONDS", 2)
    monkeypatch.setattr("awssome.workflows.long_sessions.SOONEST_ENDED", 0.5)


COMMITTING = "DO $$ BEGIN FOR n IN 1..600 LOOP PERFORM pg_sleep(0.1); COMMIT; END LOOP; END $$"
"""A statement of a minute whose transactions are short."""


@contextmanager
def sleeping(tenancy: Tenancy, statement: str = "SELECT pg_sleep(60)") -> Iterator[threading.Event]:
    """A session that has lifted its own limits and runs a statement of a minute; set when it has been ended."""
    raw, ended = Raw(tenancy.placement), threading.Event()
    raw.connection.execute("SET statement_timeout = 0")

    def sleeps() -> None:
        try:
            raw.connection.execute(statement)
        except psycopg.errors.AdminShutdown:
            ended.set()
        except psycopg.Error:
            pass  # cancelled below

    thread = threading.Thread(target=sleeps)
    thread.start()
    yield ended
    raw.connection.cancel()
    thread.join(60)
    raw.close()


def ended_lines(services: WorkerServices) -> list[Any]:
    with services.registry.begin() as connection:
        query = select(audit_log).where(audit_log.c.action == "database.sessions_ended").order_by(audit_log.c.id)
        return list(connection.execute(query))


def pool_id(services: WorkerServices) -> Any:
    with services.registry.begin() as connection:
        return servers.ids(connection)[0]


@only_postgresql
def test_a_statement_without_a_limit_of_its_own_ends_by_tier(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], short: None
) -> None:
    free, paid = make_tenant("Free", "free@x.example"), make_tenant("Paid", "paid@x.example", tier=Tier.PAID)
    with sleeping(free) as free_ended, sleeping(paid) as paid_ended, closing(Raw(free.placement)) as quick:
        quick.rows("SELECT 1")
        eventually(lambda: long_sessions.end_on(services, pool_id(services)) == 1)
        assert free_ended.wait(60)
        assert not paid_ended.is_set()
        assert quick.rows("SELECT 1") == [(1,)]
    (line,) = ended_lines(services)
    assert (line.tenant_id, line.actor) == (free.id, "platform")
    assert line.detail["schema"] == free.placement.schema
    assert line.detail["sessions"] == 1 and line.detail["longest_seconds"] >= 1


@only_postgresql
def test_a_statement_that_commits_again_and_again_ends_like_any_other(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], short: None
) -> None:
    """While it runs, its session reads no notification either: the server's queue of them would fill behind it."""
    tenancy = make_tenant()
    with sleeping(tenancy, COMMITTING) as ended:
        eventually(lambda: long_sessions.end_on(services, pool_id(services)) == 1)
        assert ended.wait(60)
    (line,) = ended_lines(services)
    assert line.tenant_id == tenancy.id and line.detail["longest_seconds"] >= 1


@only_postgresql
def test_a_transaction_that_is_held_open_ends(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], short: None
) -> None:
    tenancy = make_tenant()
    holding = [Raw(tenancy.placement) for _ in range(2)]
    for raw in holding:
        raw.connection.execute("SET idle_in_transaction_session_timeout = 0")
        raw.connection.execute("BEGIN")
        raw.rows(f"SELECT count(*) FROM {tenancy.placement.schema}.deal_registrations")
    ended = 0

    def all_ended() -> bool:
        nonlocal ended
        ended += long_sessions.end_on(services, pool_id(services))
        return ended == 2

    eventually(all_ended, 10)
    for raw in holding:
        with pytest.raises(psycopg.OperationalError):
            raw.rows("SELECT 1")
        raw.close()
    assert sum(line.detail["sessions"] for line in ended_lines(services)) == 2


@only_postgresql
def test_a_session_that_has_gone_on_since_is_left_alone(
    make_tenant: Callable[..., Tenancy], engine: EngineName, pool_url: str
) -> None:
    tenancy, server = make_tenant(), open_server(engine, pool_url)
    with closing(Raw(tenancy.placement)) as raw:
        session = raw.rows(SESSION_ID[engine])[0][0]
        raw.connection.execute("BEGIN")
        raw.rows("SELECT 1")
        assert [(each.schema, each.session) for each in server.long_sessions(0)] == [
            (tenancy.placement.schema, session)
        ]
        assert server.end_long([LongSession(tenancy.placement.schema, session, 60, 60)]) == []
        assert raw.rows("SELECT 1") == [(1,)]
        other = make_tenant("Other", "other@x.example")
        assert server.end_long([LongSession(other.placement.schema, session, 0, 0)]) == []
        assert len(server.end_long([LongSession(tenancy.placement.schema, session, 0, 0)])) == 1


def test_a_tenant_that_does_nothing_is_never_found(
    make_tenant: Callable[..., Tenancy], engine: EngineName, pool_url: str
) -> None:
    tenancy, server = make_tenant(), open_server(engine, pool_url)
    with closing(Raw(tenancy.placement)) as raw:
        raw.rows("SELECT 1")
        assert [each for each in server.long_sessions(0) if each.schema == tenancy.placement.schema] == []
        assert server.end_long([]) == []


@only_postgresql
def test_a_server_that_does_not_answer_keeps_nobody_from_the_others(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], short: None
) -> None:
    tenancy = make_tenant()
    register_server(services, "a-dead-one", ServerKind.POOL, "postgresql+psycopg://nobody:x@127.0.0.1:9/none")
    with sleeping(tenancy) as ended:

        def swept() -> bool:
            long_sessions.end(services)
            return ended.is_set()

        eventually(swept, 15)
        assert ended.is_set()


@only_postgresql
def test_a_server_that_refuses_its_administrator_keeps_nobody_from_the_others(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenancy, really, refused = make_tenant(), long_sessions.end_on, 0
    register_server(services, "a-refusing-one", ServerKind.POOL, "postgresql+psycopg://nobody:x@127.0.0.1:9/none")

    def end_on(services: WorkerServices, server_id: Any) -> int:
        nonlocal refused
        if server_id == pool_id(services):  # the first by name
            refused += 1
            raise psycopg.errors.InsufficientPrivilege
        return really(services, server_id)

    monkeypatch.setattr(long_sessions, "end_on", end_on)
    with sleeping(tenancy) as ended:

        def swept() -> bool:
            long_sessions.end(services)
            return ended.is_set()

        eventually(swept, 15)
    assert refused


@pytest.mark.parametrize("tier", Tier)
def test_what_is_too_long(tier: Tier) -> None:
    longest = LIMITS[tier].statement_seconds + GRACE_SECONDS
    assert not is_too_long(tier, longest, longest)
    assert is_too_long(tier, longest + 0.1, longest + 0.1)
    assert not is_too_long(tier, 0, TRANSACTION_SECONDS)
    assert is_too_long(tier, 0, TRANSACTION_SECONDS + 0.1)
