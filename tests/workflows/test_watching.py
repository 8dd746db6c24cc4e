"""Workers look at the servers, tell operators, and send figures on; none of it harms another part."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any
from uuid import UUID

import boto3
import httpx2
import pytest
from sqlalchemy import func, select, update

from awssome.aws.metrics import MOST_AT_ONCE, Metrics
from awssome.database.registry import accounts, alerts, servers, tenants, usage, watch
from awssome.database.registry import tables as t
from awssome.domain.errors import Code, Refused
from awssome.domain.figures import HEAVIEST, Figure, Unit
from awssome.domain.tenants import EngineName, ServerKind, Tier
from awssome.domain.times import now
from awssome.workflows import watching
from awssome.workflows.mail import Mailer
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy, register_server
from tests.engines import Raw, only_postgresql
from tests.sandbox.conftest import point_aws_at, running

MakeTenant = Callable[..., Tenancy]

NOBODY_LISTENS = "postgresql://admin:secret@127.0.0.1:9/tenants"


@pytest.fixture(scope="module")
def mailbox() -> Iterator[dict[str, Any]]:
    with running("mail") as announced:
        yield announced


@pytest.fixture
def mailed(services: WorkerServices, mailbox: dict[str, Any]) -> WorkerServices:
    """With a mail server that takes mail, and two operators; a third one is gone."""
    with services.registry.begin() as connection:
        for name in ("olga", "otto", "gone"):
            made = accounts.create(connection, f"{name}-{new_suffix()}@awssome.example", name, None, operator=True)
            if name == "gone":
                connection.execute(update(t.accounts).where(t.accounts.c.id == made.id).values(disabled_at=now()))
    return replace(services, mailer=Mailer(mailbox["smtp_host"], mailbox["smtp_port"], "Awssome <ops@awssome.example>"))


def new_suffix() -> str:
    """The mail server is the whole module's: each test has addresses of its own."""
    return secrets.token_hex(4)


def messages(services: WorkerServices, mailbox: dict[str, Any]) -> dict[str, list[dict[str, str]]]:
    """What operators were sent, by address."""
    with services.registry.begin() as connection:
        people = [person.email for person in accounts.operators(connection)]
    return {address: httpx2.get(f"{mailbox['url']}/messages.json", params={"to": address}).json() for address in people}


def row_of(services: WorkerServices, name: str) -> Any:
    with services.registry.begin() as connection:
        return servers.by_name(connection, name)


def test_every_server_is_looked_at_although_one_does_not_answer(
    engine: EngineName, services: WorkerServices, make_tenant: MakeTenant
) -> None:
    alice = make_tenant("Northwind", "alice@northwind.example")
    register_server(services, "away", ServerKind.POOL, NOBODY_LISTENS)
    with closing(Raw(alice.placement)) as session:
        session.rows(f"SELECT count(*) FROM {alice.placement.schema}.deal_registrations")
        watching.collect(services)
    pool, away = row_of(services, "pool-1"), row_of(services, "away")
    assert pool.silent_since is None
    assert away.silence == "The database server at 127.0.0.1:9 does not answer."
    with services.registry.begin() as connection:
        (seen,) = usage.consumers(connection, pool.id)
        assert seen.id == alice.id
        assert usage.consumers(connection, away.id) == []
        look = usage.latest(connection, pool.id)
        assert look is not None and look.connections > 0
        if engine is EngineName.POSTGRESQL:
            assert look.bytes > 0
            assert seen.statements >= 1
            assert look.statements >= 1


@only_postgresql
def test_a_server_that_answers_again_is_silent_no_more(
    engine: EngineName, services: WorkerServices, pool_url: str
) -> None:
    register_server(services, "away", ServerKind.POOL, NOBODY_LISTENS)
    watching.collect(services)
    since = row_of(services, "away").silent_since
    assert since is not None
    watching.collect(services)
    assert row_of(services, "away").silent_since == since
    with services.registry.begin() as connection:
        servers.relocate(connection, services.keys, "away", host="127.0.0.1", port=1, admin_url=pool_url)
    watching.collect(services)
    assert row_of(services, "away").silent_since is None


@only_postgresql
def test_a_defect_of_ours_is_not_the_servers(
    engine: EngineName, services: WorkerServices, make_tenant: MakeTenant
) -> None:
    make_tenant()

    def broken(server_id: UUID) -> Any:
        raise ZeroDivisionError

    watching.collect(replace(services, open_server=broken))
    pool = row_of(services, "pool-1")
    assert pool.silent_since is None
    with services.registry.begin() as connection:
        assert usage.latest(connection, pool.id) is None


@only_postgresql
def test_two_workers_at_once_write_each_day_once(
    engine: EngineName, services: WorkerServices, make_tenant: MakeTenant
) -> None:
    alice = make_tenant()
    with closing(Raw(alice.placement)) as session:
        for _ in range(5):
            session.rows(f"SELECT count(*) FROM {alice.placement.schema}.deal_registrations")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: watching.collect(services), range(4)))
    with services.registry.begin() as connection:
        (day,) = connection.execute(select(t.placement_usage)).all()
    assert day.statements == day.counter, "whatever was looked at how often, each statement counts once"


@only_postgresql
def test_operators_are_told_of_an_alert_by_one_mail_once(
    engine: EngineName, mailed: WorkerServices, mailbox: dict[str, Any], make_tenant: MakeTenant
) -> None:
    alice = make_tenant("Northwind Cloud")
    with mailed.registry.begin() as connection:
        tenants.change(connection, alice.id, hubspot_state="reconnect")
        opened = alerts.settle(connection, now())
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: watching.mail(mailed, opened), range(4)))
    watching.mail(mailed, opened)
    sent = messages(mailed, mailbox)
    for address, found in sent.items():
        assert len(found) == (0 if address.startswith("gone") else 1), address
    (message,) = next(found for found in sent.values() if found)
    assert message["subject"] == "[Awssome] Northwind Cloud: HubSpot token is stale"
    for words in ("HubSpot no longer takes its tokens.", "What to do: ", f"http://127.0.0.1:8001/tenants/{alice.slug}"):
        assert words in message["text"]
    with mailed.registry.begin() as connection:
        (standing,) = alerts.standing(connection, now())
        assert standing.mailed_at is not None


@only_postgresql
def test_many_alerts_at_once_are_one_mail(engine: EngineName, mailed: WorkerServices, mailbox: dict[str, Any]) -> None:
    with mailed.registry.begin() as connection:
        for number in range(25):
            made = tenants.create(connection, f"Company {number}")
            tenants.change(connection, made.id, state="active", hubspot_state="reconnect")
        servers.change(connection, servers.by_name(connection, "pool-1").id, open=False)
        opened = alerts.settle(connection, now())
    watching.mail(mailed, opened)
    (message,) = next(found for found in messages(mailed, mailbox).values() if found)
    assert message["subject"] == "[Awssome] 26 alerts, 1 of them errors"
    assert message["text"].startswith("No open pool: Servers"), "errors come first"
    assert "And 6 more." in message["text"]


@only_postgresql
def test_while_no_mail_is_taken_nobody_counts_as_told(
    engine: EngineName, mailed: WorkerServices, mailbox: dict[str, Any], make_tenant: MakeTenant
) -> None:
    alice = make_tenant()
    with mailed.registry.begin() as connection:
        tenants.change(connection, alice.id, hubspot_state="reconnect")
        opened = alerts.settle(connection, now())
    with pytest.raises(Refused) as refused:
        watching.mail(replace(mailed, mailer=Mailer("127.0.0.1", 9, "ops@awssome.example")), opened)
    assert refused.value.code is Code.UNAVAILABLE
    watching.mail(mailed, opened)  # the job's next try
    assert sum(len(found) for found in messages(mailed, mailbox).values()) == 2


# --- CloudWatch


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    with running("aws") as announced:
        yield announced["url"]


@pytest.fixture
def cloudwatch(aws: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The sandbox's CloudWatch, where the product's SDK finds it as well."""
    point_aws_at(aws, monkeypatch)
    return boto3.client("cloudwatch")


def kept(cloudwatch: Any, namespace: str) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """(name, dimensions) of the metrics of a namespace."""
    pages = cloudwatch.get_paginator("list_metrics").paginate(Namespace=namespace)
    return {
        (metric["MetricName"], tuple((each["Name"], each["Value"]) for each in metric["Dimensions"]))
        for page in pages
        for metric in page["Metrics"]
    }


@only_postgresql
def test_figures_go_to_cloudwatch_by_tier_server_and_the_heaviest_tenants_only(
    engine: EngineName, services: WorkerServices, make_tenant: MakeTenant, cloudwatch: Any
) -> None:
    made = [make_tenant(f"Company {number}", tier=Tier.FREE) for number in range(HEAVIEST + 2)]
    watching.collect(replace(services, metrics=Metrics("Awssome/Tests")))
    found = kept(cloudwatch, "Awssome/Tests")
    assert ("ServerBytes", (("Server", "pool-1"),)) in found
    assert ("TierBytes", (("Tier", "free"),)) in found
    assert ("Tenants", (("State", "active"), ("Tier", "free"))) in found
    of_tenants = {dimensions for name, dimensions in found if name == "TenantBytes"}
    assert len(of_tenants) == HEAVIEST
    assert of_tenants <= {(("Tenant", tenancy.slug),) for tenancy in made}
    assert {name for _, dimensions in found for name, _ in dimensions} == {"Server", "State", "Tenant", "Tier"}


def test_many_figures_go_in_several_calls(cloudwatch: Any) -> None:
    figures = [Figure("test_bytes", "A test", i, Unit.BYTES, {"server": f"s{i}"}) for i in range(MOST_AT_ONCE + 5)]
    assert Metrics("Many").publish(figures, now()) == len(figures)
    assert len(kept(cloudwatch, "Many")) == len(figures)
    assert Metrics("").publish(figures, now()) == 0


@only_postgresql
def test_cloudwatchs_troubles_are_not_the_platforms(
    engine: EngineName, services: WorkerServices, make_tenant: MakeTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tenant()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for region in ("us-east-1", ""):  # it does not answer; there is no region to ask
        monkeypatch.setenv("AWS_DEFAULT_REGION", region)
        watching.collect(replace(services, metrics=Metrics("Awssome")))
    with services.registry.begin() as connection:
        assert connection.scalar(select(func.count()).select_from(t.server_usage)) == 2
        assert {figure.name for figure in watch.figures(connection, now())} >= {"server_bytes", "tenants"}
