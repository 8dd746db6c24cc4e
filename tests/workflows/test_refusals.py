"""What a database server refuses is in the audit log a minute later: by whom, how often, and nothing of a statement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from sqlalchemy import insert, select

from awssome.database import Connection
from awssome.database.embedded import Cluster
from awssome.database.engine import LogReading, ServerLog
from awssome.database.postgresql.entrance import connect_as_tenant
from awssome.database.postgresql.server import LOGIN_CONNECTIONS
from awssome.database.registry import Registry
from awssome.database.registry import refusals as registered
from awssome.database.registry.refusals import LINES
from awssome.database.registry.tables import audit_log, server_logs
from awssome.database.schema import field_mappings
from awssome.domain.errors import Code, Refused
from awssome.domain.refusals import Refusal
from awssome.domain.tenants import EngineName, Placement
from awssome.domain.times import now
from awssome.workflows.refusals import read_logs
from awssome.workflows.services import WorkerServices
from awssome.workflows.workspace import Workspace
from tests.conftest import Tenancy, settle_log
from tests.engines import as_administrator, only_postgresql

pytestmark = only_postgresql

SECRET = "the-secret-of-a-statement"


@pytest.fixture
def services(services: WorkerServices, cluster: Cluster) -> WorkerServices:
    """A worker beside the embedded server; what other tests left in its log is read."""
    settle_log(cluster)
    services = replace(services, logs={"pool-1": cluster.log})
    read_logs(services)
    return services


@pytest.fixture
def refused(registry: Registry, services: WorkerServices, cluster: Cluster) -> Iterator[Callable[[], list[Any]]]:
    """Reads on, and gives the lines of the audit log that came of it."""
    with registry.begin() as connection:
        before = connection.scalar(select(audit_log.c.id).order_by(audit_log.c.id.desc()).limit(1)) or 0

    def lines() -> list[Any]:
        settle_log(cluster)
        read_logs(services)
        with registry.begin() as connection:
            query = select(audit_log).where(audit_log.c.id > before, audit_log.c.action.startswith("database."))
            return connection.execute(query.order_by(audit_log.c.id)).all()

    yield lines


def attempt(placement: Placement, *statements: str) -> None:
    with closing(connect_as_tenant(placement)) as connection:
        for statement in statements:
            with suppress(psycopg.Error):
                connection.execute(statement)


def knock(placement: Placement, login: str) -> None:
    """Try to come in as somebody."""
    where = {"host": placement.host, "port": placement.port, "dbname": placement.database}
    psycopg.connect(**where, user=login, password="guessed").close()  # type: ignore[arg-type]


def test_who_was_refused_what(
    make_tenant: Callable[..., Tenancy], refused: Callable[[], list[Any]], services: WorkerServices
) -> None:
    alice, bob = make_tenant("Northwind"), make_tenant("Fabrikam")
    attempt(
        alice.placement,
        f"SELECT title FROM {bob.placement.schema}.deal_registrations WHERE title = '{SECRET}'",
        f"SELECT title FROM {bob.placement.schema}.deal_registrations WHERE title = '{SECRET}'",
        f"SET log_statement = '{SECRET}'",
        f"SET search_path = {bob.placement.schema}",
        f"SELECT access_token AS {SECRET.replace('-', '_')} FROM hubspot_tokens",
        f"DO $$BEGIN RAISE EXCEPTION '{SECRET}' USING ERRCODE = '42501'; END$$",
        f"DO $$BEGIN RAISE WARNING '{SECRET}' USING ERRCODE = '42501'; END$$",
    )
    lines = refused()
    assert [
        (line.detail["kind"], line.detail["command"], line.detail.get("what"), line.detail["count"]) for line in lines
    ] == [
        ("no right", "SELECT", "schema", 2),
        ("no right", "SET", "set parameter", 1),
        ("unknown name", "SELECT", None, 1),
        ("no right", "DO", None, 1),
    ]
    for line in lines:
        assert (line.action, line.actor, line.tenant_id) == ("database.refused", alice.placement.login, alice.id)
        assert (str(line.address), line.detail["server"]) == ("127.0.0.1", "pool-1")
    assert [line.detail["code"] for line in lines] == ["42501", "42501", "42P01", "42501"]
    for hidden in (SECRET, SECRET.replace("-", "_"), bob.placement.schema):
        assert hidden not in str(lines)
    assert refused() == lines  # each is written once


def test_who_was_not_let_in(make_tenant: Callable[..., Tenancy], refused: Callable[[], list[Any]]) -> None:
    alice = make_tenant("Northwind")
    opened = []
    for placement in (replace(alice.placement, password="guessed"), replace(alice.placement, database="postgres")):
        with pytest.raises(Refused):
            connect_as_tenant(placement)
    with pytest.raises(Refused):
        while len(opened) <= LOGIN_CONNECTIONS:
            opened.append(connect_as_tenant(alice.placement))
    for connection in opened:
        connection.close()
    assert [(line.detail["kind"], line.tenant_id) for line in refused()] == [
        ("wrong password", alice.id),
        ("no right", alice.id),
        ("too many connections", alice.id),
    ]


def test_guesses_at_logins_that_are_no_tenants_are_told_too(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], refused: Callable[[], list[Any]]
) -> None:
    placement = make_tenant().placement
    for user in ("postgres", "user_00000000000000ff", 'no "login" at all\nand a second line'):
        with suppress(psycopg.OperationalError):
            knock(placement, user)
    assert [(line.actor, line.tenant_id, line.detail["kind"]) for line in refused()] == [
        ("postgres", None, "wrong password"),
        ("user_00000000000000ff", None, "wrong password"),
        ("unknown login", None, "wrong password"),
    ]


def test_a_flood_does_not_fill_the_audit_log(
    make_tenant: Callable[..., Tenancy], refused: Callable[[], list[Any]]
) -> None:
    alice, bob = make_tenant("Northwind"), make_tenant("Fabrikam")
    commands = ["SELECT 1 FROM", "DELETE FROM", "TRUNCATE", "ANALYZE", "DROP TABLE", "TABLE"]
    things = ["nowhere.x", "pg_authid", "pg_statistic", "information_schema.sql_features"]
    attempt(alice.placement, *[f"{command} {thing}" for command in commands for thing in things] * 20)
    for number in range(40):
        with suppress(psycopg.OperationalError):
            knock(alice.placement, f"user_{number:016x}")
    attempt(bob.placement, "SELECT 1 FROM pg_authid")
    lines = refused()
    strangers = [line for line in lines if line.tenant_id is None]
    assert len(strangers) == LINES + 1
    assert (strangers[-1].detail["kind"], strangers[-1].detail["count"]) == ("more of them", 40 - LINES)
    alices = [line for line in lines if line.tenant_id == alice.id]
    assert len(alices) <= LINES + 1
    assert sum(line.detail["count"] for line in alices) >= 19 * len(commands)
    assert [line.detail["count"] for line in lines if line.tenant_id == bob.id] == [1]


def test_what_was_read_and_not_kept_is_read_again_and_written_once(
    services: WorkerServices,
    make_tenant: Callable[..., Tenancy],
    refused: Callable[[], list[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process dies after the lines and before the commit."""
    alice = make_tenant()
    attempt(alice.placement, "SELECT 1 FROM pg_authid")
    kept = registered.keep

    def dies(*arguments: Any) -> int:
        kept(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(registered, "keep", dies)
    with pytest.raises(KeyboardInterrupt):
        read_logs(services)
    monkeypatch.undo()
    assert len(refused()) == 1
    assert len(refused()) == 1


def test_two_workers_do_not_read_the_same(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], cluster: Cluster
) -> None:
    attempt(make_tenant().placement, "SELECT 1 FROM pg_authid")
    settle_log(cluster)
    with services.registry.begin() as connection:
        assert registered.claim(connection, "pool-1") is not None
        assert read_logs(services) == 0
    assert read_logs(services) == 1


def test_a_log_that_cannot_be_read_keeps_no_other_one_waiting(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], cluster: Cluster, dedicated: str
) -> None:
    class Broken(ServerLog):
        def read(self, position: str) -> LogReading:
            raise PermissionError

        def prune(self, position: str) -> None:
            raise AssertionError("what was not read is not let go of")

    attempt(make_tenant().placement, "SELECT 1 FROM pg_authid")
    settle_log(cluster)
    logs: dict[str, ServerLog] = {"dedicated-1": Broken(), "nobody knows it": Broken(), "pool-1": cluster.log}
    assert read_logs(replace(services, logs=logs)) == 1
    with services.registry.begin() as connection:
        assert connection.execute(select(server_logs.c.position)).scalars().all() == [cluster.log.end()]


def test_more_made_up_names_than_a_statement_takes_parameters_are_one_reading(
    registry: Registry, make_tenant: Callable[..., Tenancy]
) -> None:
    alice = make_tenant()
    logins = [alice.placement.login, *(f"nobody_{number}" for number in range(66_000))]
    reading = LogReading(tuple(Refusal(now(), login, "28P01", "wrong password") for login in logins), "a:1")
    with registry.begin() as connection:
        claimed = registered.claim(connection, "pool-1")
        assert claimed is not None
        assert registered.keep(connection, claimed, reading) == 1 + LINES + 1


def test_a_right_that_a_job_has_not_is_told_once_a_minute(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], pool_url: str, registry: Registry
) -> None:
    alice = make_tenant()
    login = alice.placement.login
    as_administrator(EngineName.POSTGRESQL, pool_url, f"REVOKE INSERT ON {login}.field_mappings FROM {login}")

    def work(connection: Connection) -> None:
        connection.execute(insert(field_mappings).values(field="x", updated_at=now()))

    for _ in range(3):
        with pytest.raises(Refused) as refused:
            Workspace(services, alice.id, patience=0.1).do(work)
        assert refused.value.code is Code.FENCED
    with registry.begin() as connection:
        query = select(audit_log).where(audit_log.c.tenant_id == alice.id, audit_log.c.action == "database.refused")
        found = connection.execute(query).all()
    assert [(line.actor, line.detail) for line in found] == [(login, {"kind": "no right", "command": "a job"})]
