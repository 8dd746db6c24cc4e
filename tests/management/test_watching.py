"""Use, load and alerts on the operators' pages and in the central API; figures for Prometheus."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert

from awssome.control.client import Control
from awssome.database.registry import budgets, servers, sessions, tenants, usage
from awssome.database.registry import tables as t
from awssome.domain.alerts import RULES
from awssome.domain.budgets import Usage
from awssome.domain.tenants import EngineName, TenantState
from awssome.domain.times import now
from awssome.hubspot.limits import GENERAL
from awssome.management.pages.alerts import FIRST_OPEN
from awssome.workflows import watching
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.engines import Raw, as_administrator, only_postgresql
from tests.management.conftest import Desk
from tests.serving import served

pytestmark = only_postgresql  # figures come from the registry, whatever engine a server has

MakeTenant = Callable[..., Tenancy]

OPERATOR, METRICS = "operator-token-of-the-tests", "metrics-token-of-the-tests"


@pytest.fixture
def seen(
    engine: EngineName, services: WorkerServices, make_tenant: MakeTenant, pool_url: str
) -> tuple[Tenancy, Tenancy]:
    """Alice uses more statements, Bob more room; a worker has looked."""
    alice = make_tenant("Northwind Cloud", "alice@northwind.example")
    bob = make_tenant("Bob's Bikes", "bob@bikes.example")
    with closing(Raw(alice.placement)) as session:
        for _ in range(3):
            session.rows("SELECT pg_sleep(0.02)")
    with closing(Raw(bob.placement)) as session:
        session.rows(
            f"INSERT INTO {bob.placement.schema}.field_mappings (field, default_value, updated_at) "
            "SELECT 'f' || n, repeat('x', 1000), now() FROM generate_series(1, 500) AS n"
        )
        session.rows("SELECT pg_stat_force_next_flush()")  # told later, the rows would be counted beside ANALYZE's
    for table in ("field_mappings", "_fence"):
        as_administrator(engine, pool_url, f"ANALYZE {bob.placement.schema}.{table}")
    watching.collect(services)
    return alice, bob


@pytest.fixture
def central(app: FastAPI, services: WorkerServices) -> Iterator[Control]:
    """The central API over HTTP, as the command line calls it."""
    with services.registry.begin() as connection:
        sessions.register_token(connection, "command line", "operator", OPERATOR)
    with served(app) as port, Control(f"http://127.0.0.1:{port}", OPERATOR) as api:
        yield api


def history(services: WorkerServices, *, days: int, a_day: int, taken: int) -> None:
    """A pool that took so many places a day."""
    with services.registry.begin() as connection:
        pool = servers.by_name(connection, "pool-1").id
        for ago in range(days, 0, -1):
            connection.execute(
                insert(t.server_usage).values(
                    server_id=pool, at=now() - timedelta(days=ago), tenants=taken - a_day * ago, retained=0, rows=0,
                    bytes=1_000_000 * (days - ago), connections=3, blocked=0,
                )
            )  # fmt: skip


def test_a_servers_page_names_its_heaviest_tenants(desk: Desk, seen: tuple[Tenancy, Tenancy]) -> None:
    page = desk.get("/servers/pool-1").text
    assert "collected just now" in page
    assert _order(page) == ["Bob&#39;s Bikes", "Northwind Cloud"], "by data"
    by_time = desk.get("/servers/pool-1/consumers?sort=-statement_seconds").text
    assert _order(by_time) == ["Northwind Cloud", "Bob&#39;s Bikes"]
    assert 'aria-sort="descending"' in by_time
    assert desk.get("/servers/pool-1/consumers?sort=nonsense").status_code == 200
    assert desk.get("/servers/nowhere/consumers").status_code == 404


def test_before_the_first_look_pages_say_so(desk: Desk, services: WorkerServices, make_tenant: MakeTenant) -> None:
    tenancy = make_tenant()
    for path in ("/servers/pool-1", "/servers/pool-1/consumers", f"/tenants/{tenancy.slug}"):
        assert "No figures yet" in desk.get(path).text, path


def test_a_server_without_tenants_says_so_after_a_look(desk: Desk, services: WorkerServices) -> None:
    watching.collect(services)
    for path in ("/servers/pool-1", "/servers/pool-1/consumers"):
        page = desk.get(path).text
        assert "No tenant to tell of" in page, path
        assert "No figures yet" not in page, path


def test_a_pools_page_tells_when_it_is_full(
    desk: Desk, services: WorkerServices, seen: tuple[Tenancy, Tenancy]
) -> None:
    assert "a forecast takes three days of figures" in desk.get("/servers/pool-1").text
    history(services, days=9, a_day=-1, taken=-7)
    assert "at this rate never full" in desk.get("/servers/pool-1").text
    with services.registry.begin() as connection:
        connection.execute(t.server_usage.delete())
    watching.collect(services)
    history(services, days=9, a_day=10, taken=2)
    page = desk.get("/servers/pool-1").text
    full_on = now().date() + timedelta(days=300)
    assert f"at this rate full on {full_on.day} {full_on:%b %Y}" in page
    assert "Places taken by day: " in page, "the chart has words, too"


def test_a_tenants_page_shows_its_use(desk: Desk, seen: tuple[Tenancy, Tenancy]) -> None:
    _, bob = seen
    page = desk.get(f"/tenants/{bob.slug}").text
    assert "501 rows" in page
    assert "Data by day: " in page


def test_alerts_are_listed_with_what_to_do_and_stay_in_the_history(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant
) -> None:
    assert "Nothing is wrong" in desk.get("/alerts").text
    tenancy = make_tenant("Northwind Cloud")
    with services.registry.begin() as connection:
        tenants.change(connection, tenancy.id, hubspot_state="reconnect")
    page = desk.get("/alerts").text
    assert "1 thing is wrong now" in page
    assert "Tell the owner to press Reconnect" in page
    assert "just now" in page and "not mailed" in page
    assert "HubSpot token is stale" in desk.get("/").text
    with services.registry.begin() as connection:
        watching.settle(connection, services.queue)
    with services.registry.begin() as connection:
        tenants.change(connection, tenancy.id, hubspot_state="connected")
        watching.settle(connection, services.queue)
    page = desk.get("/alerts").text
    assert "Nothing is wrong" in page
    assert "HubSpot no longer takes its tokens." in page
    for address in ("/alerts?after=x", "/alerts?before=%00"):
        assert desk.get(address).status_code == 422, address
    assert "/alerts" in desk.get("/palette?q=alert").text


def test_a_flood_of_alerts_is_shown_in_part_first(desk: Desk, services: WorkerServices) -> None:
    with services.registry.begin() as connection:
        for number in range(FIRST_OPEN + 1):
            tenant = tenants.create(connection, f"Company {number}")
            tenants.change(connection, tenant.id, state=TenantState.ACTIVE, hubspot_state="reconnect")
    page = desk.get("/alerts").text
    assert f"{FIRST_OPEN + 1} things are wrong now" in page
    assert page.count("HubSpot no longer takes its tokens.") == FIRST_OPEN
    assert f"Show all {FIRST_OPEN + 1}" in page
    everything = desk.get("/alerts?all=yes").text
    assert everything.count("HubSpot no longer takes its tokens.") == FIRST_OPEN + 1
    assert "Show all" not in everything


def test_a_server_that_is_silent_is_down_wherever_it_is_named(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant
) -> None:
    with services.registry.begin() as connection:
        usage.note_silence(connection, servers.by_name(connection, "pool-1").id, "It does not answer.", now())
    for path in ("/", "/servers", "/servers/pool-1"):
        assert "Down" in desk.get(path).text, path
    assert "<p>It does not answer.</p>" in desk.get("/servers/pool-1").text, "nobody is there"
    make_tenant()
    assert "It does not answer. Its tenants cannot work." in desk.get("/servers/pool-1").text


def test_every_rule_is_on_the_page_and_in_the_runbook(desk: Desk) -> None:
    page = desk.get("/alerts").text
    runbook = (Path(__file__).parents[2] / "docs" / "runbook.md").read_text()
    for rule in RULES:
        assert f'id="{rule.name}"' in page
        assert f"### {rule.anchor}\n" in runbook


def test_programs_are_told_the_same(central: Control, services: WorkerServices, seen: tuple[Tenancy, Tenancy]) -> None:
    alice, bob = seen
    history(services, days=9, a_day=10, taken=2)
    found = central.server("pool-1")
    assert [consumer.slug for consumer in found.consumers] == [bob.slug, alice.slug]
    assert central.server("pool-1", "-statement_seconds").consumers[0].slug == alice.slug
    assert found.load is not None and found.load.connections > 0
    assert found.forecast is not None and found.forecast.full_on == now().date() + timedelta(days=300)
    assert len(found.days) == 10
    use = central.tenant_use(bob.slug)
    assert (use.rows, len(use.days)) == (501, 1)
    assert central.alerts().open == []
    with services.registry.begin() as connection:
        tenants.change(connection, alice.id, hubspot_state="reconnect")
    (alert,) = central.alerts().open
    assert (alert.rule, alert.tenant_slug, alert.opened_at) == ("hubspot_token_stale", alice.slug, None)


# --- /metrics


def scrape(app: FastAPI, token: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """The samples by name and labels."""
    with TestClient(app, base_url="http://localhost") as client:
        answer = client.get("/metrics", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_metrics_are_shown_to_a_metrics_token_only(app: FastAPI, services: WorkerServices) -> None:
    with services.registry.begin() as connection:
        sessions.register_token(connection, "command line", "operator", OPERATOR)
        sessions.register_token(connection, "metrics", "metrics", METRICS)
    with TestClient(app, base_url="http://localhost") as client:
        for header in ({}, {"Authorization": "Bearer made-up"}, {"Authorization": f"Bearer {OPERATOR}"}):
            answer = client.get("/metrics", headers=header)
            assert answer.status_code == 401, header
            assert "awssome_" not in answer.text
        for path in ("/api/v1/servers", "/api/v1/tenants", "/api/v1/context"):
            assert client.get(path, headers={"Authorization": f"Bearer {METRICS}"}).status_code in (401, 404, 405), path


def test_metrics_tell_of_tiers_servers_tenants_queues_alerts_and_requests(
    app: FastAPI, services: WorkerServices, seen: tuple[Tenancy, Tenancy]
) -> None:
    alice, bob = seen
    with services.registry.begin() as connection:
        sessions.register_token(connection, "metrics", "metrics", METRICS)
        services.queue.provision(connection, alice.id)
        servers.change(connection, servers.by_name(connection, "pool-1").id, open=False)
        held = budgets.exchange(connection, 4711, "general", GENERAL, calls=3).slice
        assert held is not None
        budgets.exchange(connection, 4711, "general", GENERAL, usage=Usage(held.until, rest=10))
    scrape(app, METRICS)
    found = scrape(app, METRICS)

    def value(name: str, **labels: str) -> float:
        return found[f"awssome_{name}", frozenset(labels.items())]

    assert value("tenants", tier="free", state="active") == 2
    assert value("server_up", server="pool-1") == 1
    assert value("server_tenants", server="pool-1") == 2
    assert value("tenant_bytes", tenant=bob.slug) > value("tenant_bytes", tenant=alice.slug) > 0
    assert value("tier_bytes", tier="free") == sum(
        value("tenant_bytes", tenant=tenancy.slug) for tenancy in (alice, bob)
    )
    assert value("jobs_waiting", queue="sign-up") == 1
    assert (value("hubspot_calls_today"), value("hubspot_calls_refused")) == (3, 1)
    assert value("alerts_open", rule="no_open_pool", severity="error") == 1
    assert value("alerts_open", rule="move_failed", severity="error") == 0
    assert value("request_seconds_count", method="GET", route="/metrics", status="200") == 1


def _order(page: str) -> list[str]:
    """The companies in the table of consumers, from the top."""
    found = re.findall(r'<a href="/tenants/[^"]+">([^<]+)</a>', page)
    return list(dict.fromkeys(found))
