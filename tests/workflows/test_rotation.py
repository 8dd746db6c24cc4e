"""Another password for a login: who has the old one is out, nobody else notices, whatever happens on the way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import select, text

from awssome.database.engine import Server
from awssome.database.registry import audit, placements, servers, tenants
from awssome.database.schema import stage_mappings, tenant_keys
from awssome.database.servers import opener
from awssome.database.tenant.keys import data_key
from awssome.domain.errors import Code, Refused
from awssome.domain.secrets import Keys, new_secret_key
from awssome.domain.tenants import EngineName, Placement, TenantState
from awssome.workflows import provisioning, rotation
from awssome.workflows.services import WorkerServices
from awssome.workflows.workspace import Workspace
from tests.conftest import Tenancy
from tests.engines import DRIVER_ERRORS, SERVERS, Raw, eventually, only_postgresql
from tests.workflows.moving import OLGA, add, placement_of


def rotate(services: WorkerServices, tenancy: Tenancy) -> None:
    """Ask for it, and do what the job does."""
    with services.registry.begin() as connection:
        rotation.request(connection, services.queue, OLGA, str(tenancy.id))
        version = placements.secret_version(connection, tenancy.placement.placement_id) + 1
    rotation.rotate(services, tenancy.placement.placement_id, version)


def opens(services: WorkerServices, placement: Placement) -> bool:
    try:
        with services.sessions.open(placement) as connection:
            connection.execute(select(stage_mappings))
    except Refused as refused:
        assert refused.code is Code.FENCED
        return False
    return True


def test_the_old_password_opens_nothing_and_the_new_one_does(
    services: WorkerServices, make_tenant: Callable[..., Tenancy]
) -> None:
    tenancy, other = make_tenant(), make_tenant("Bob's Bikes")
    rotate(services, tenancy)
    after = placement_of(services, tenancy)
    assert after.secret_version == tenancy.placement.secret_version + 1
    assert after.password != tenancy.placement.password
    assert opens(services, after)
    services.sessions.forget(tenancy.placement)
    assert not opens(services, tenancy.placement)
    assert opens(services, other.placement)
    with services.registry.begin() as connection:
        done = [row.action for row in audit.page(connection, tenant_id=tenancy.id).rows]
    assert done[:2] == ["secret.rotated", "secret.rotation_requested"]


def test_a_session_that_the_old_password_opened_ends(
    services: WorkerServices, make_tenant: Callable[..., Tenancy]
) -> None:
    tenancy = make_tenant()
    stolen = Raw(tenancy.placement)
    assert stolen.rows(f"SELECT count(*) FROM {tenancy.placement.schema}.deal_registrations") == [(0,)]
    rotate(services, tenancy)
    with pytest.raises(DRIVER_ERRORS):
        stolen.rows(f"SELECT count(*) FROM {tenancy.placement.schema}.deal_registrations")


def test_a_session_whose_password_was_proven_late_is_ended_later_and_work_goes_on(
    services: WorkerServices, make_tenant: Callable[..., Tenancy]
) -> None:
    """PostgreSQL looks the password up when a login begins, and lets the client take a minute to prove it."""
    tenancy = make_tenant()
    rotate(services, tenancy)
    late = Raw(placement_of(services, tenancy))
    with services.registry.begin() as connection:
        query = "SELECT scheduled_at - now() FROM procrastinate_jobs WHERE task_name = 'awssome.end_sessions'"
        wait = connection.execute(text(query)).scalar_one()
    assert wait > timedelta(seconds=60)
    rotation.end_sessions(services, tenancy.placement.placement_id)
    with pytest.raises(DRIVER_ERRORS):
        late.rows("SELECT 1")
    assert opens(services, placement_of(services, tenancy))


def test_work_goes_on_through_rotations_and_loses_no_write(
    services: WorkerServices, make_tenant: Callable[..., Tenancy]
) -> None:
    """A write that is under way in that very moment may be refused; none that was acknowledged is lost."""
    tenancy = make_tenant()
    workspace, stop, written, codes = Workspace(services, tenancy.id), threading.Event(), list[str](), set[Code]()

    def work() -> None:
        tried = 0
        while not stop.is_set():
            tried += 1
            try:
                workspace.do(partial(add, key=f"write {tried}"))
            except Refused as refused:
                codes.add(refused.code)
            else:
                written.append(f"write {tried}")

    worker = threading.Thread(target=work)
    worker.start()
    for _ in range(4):
        rotate(services, tenancy)
        before = len(written)
        eventually(lambda before=before: len(written) > before, 30)  # type: ignore[misc]
    stop.set()
    worker.join()
    assert codes <= {Code.UNAVAILABLE}
    there = workspace.do(lambda connection: set(connection.scalars(select(stage_mappings.c.pipeline))))
    assert there >= set(written)


@pytest.mark.parametrize("key", ["the same key", "another key"])
def test_a_job_that_died_between_server_and_registry_is_run_again(
    services: WorkerServices,
    make_tenant: Callable[..., Tenancy],
    engine: EngineName,
    monkeypatch: pytest.MonkeyPatch,
    secret_key: str,
    key: str,
) -> None:
    tenancy = make_tenant()
    sealing = Workspace(services, tenancy.id).do(
        lambda connection: data_key(connection, services.vault, tenancy.id).clear
    )
    if key == "another key":
        services = with_keys(services, Keys.from_text(new_secret_key(), secret_key))
    really = SERVERS[engine].set_password

    def dies(self: Server, schema: str, password: str) -> None:
        really(self, schema, password)
        raise KeyboardInterrupt

    with monkeypatch.context() as dying, pytest.raises(KeyboardInterrupt):
        dying.setattr(SERVERS[engine], "set_password", dies)
        rotate(services, tenancy)
    assert placement_of(services, tenancy) == tenancy.placement
    rotation.rotate(services, tenancy.placement.placement_id, 2)
    assert opens(services, placement_of(services, tenancy))
    rotation.rotate(services, tenancy.placement.placement_id, 2)  # once more: nothing to do
    assert placement_of(services, tenancy).secret_version == 2
    workspace = Workspace(services, tenancy.id)
    assert workspace.do(lambda connection: data_key(connection, services.vault, tenancy.id).clear) == sealing


def test_a_tenant_that_is_suspended_before_the_job_is_run_again_opens_when_it_is_resumed(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], engine: EngineName, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenancy = make_tenant()
    really = SERVERS[engine].set_password

    def dies(self: Server, schema: str, password: str) -> None:
        really(self, schema, password)
        raise KeyboardInterrupt

    with monkeypatch.context() as dying, pytest.raises(KeyboardInterrupt):
        dying.setattr(SERVERS[engine], "set_password", dies)
        rotate(services, tenancy)
    for state in (TenantState.SUSPENDED, TenantState.ACTIVE):
        with services.registry.begin() as connection:
            tenants.change(connection, tenancy.id, state=state)
        provisioning.set_login(services, tenancy.id)
        rotation.rotate(services, tenancy.placement.placement_id, 2)
        assert opens(services, placement_of(services, tenancy)) == (state is TenantState.ACTIVE)


def test_a_worker_that_slept_while_others_went_on_leaves_the_last_password(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], engine: EngineName, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenancy = make_tenant()
    really, slept = SERVERS[engine].set_password, threading.Event()

    def sleeps(self: Server, schema: str, password: str) -> None:
        if not slept.is_set():
            slept.set()
            rotation.rotate(services, tenancy.placement.placement_id, 2)  # who rescued its job
            rotation.rotate(services, tenancy.placement.placement_id, 3)  # and the next one
        really(self, schema, password)

    monkeypatch.setattr(SERVERS[engine], "set_password", sleeps)
    rotation.rotate(services, tenancy.placement.placement_id, 2)
    after = placement_of(services, tenancy)
    assert after.secret_version == 3
    assert opens(services, after)


@pytest.mark.parametrize("key", ["the same key", "another key"])
def test_a_suspended_tenants_secret_is_rotated_behind_its_closed_login(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], secret_key: str, key: str
) -> None:
    """Who has stolen a login must not come in again between the resumption and a new secret."""
    tenancy = make_tenant()
    if key == "another key":
        services = with_keys(services, Keys.from_text(new_secret_key(), secret_key))
    with services.registry.begin() as connection:
        tenants.change(connection, tenancy.id, state=TenantState.SUSPENDED)
    provisioning.set_login(services, tenancy.id)
    rotate(services, tenancy)
    after = placement_of(services, tenancy)
    assert after.secret_version == 2
    assert not opens(services, after)
    with services.registry.begin() as connection:
        tenants.change(connection, tenancy.id, state=TenantState.ACTIVE)
    provisioning.set_login(services, tenancy.id)
    assert opens(services, after)
    assert not opens(services, tenancy.placement)


@pytest.mark.parametrize("state", [TenantState.RETAINED, TenantState.ARCHIVED])
def test_the_secret_of_a_tenant_that_has_gone_is_not_rotated(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], state: TenantState
) -> None:
    tenancy = make_tenant()
    with services.registry.begin() as connection:
        tenants.change(connection, tenancy.id, state=state)
    with pytest.raises(Refused) as refused:
        rotate(services, tenancy)
    assert refused.value.code is Code.CONFLICT
    rotation.rotate(services, tenancy.placement.placement_id, 2)  # it was asked for before
    assert placement_of(services, tenancy).secret_version == 1


@only_postgresql
def test_all_are_asked_for_batch_by_batch(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "BATCH", 2)
    made = [make_tenant(f"Company {number}") for number in range(5)]
    with services.registry.begin() as connection:
        tenants.change(connection, made[3].id, state=TenantState.SUSPENDED)
    asked, after = [], None
    while True:
        with services.registry.begin() as connection:
            count, after = rotation.request_batch(connection, services.queue, OLGA, after)
        asked.append(count)
        if after is None:
            break
    assert asked == [2, 2, 0]


# --- another secret key


def with_keys(services: WorkerServices, keys: Keys) -> WorkerServices:
    """The same services in a process that was started with these keys."""
    return replace(services, keys=keys, open_server=opener(services.registry, keys))


def test_another_secret_key_takes_over_logins_tokens_and_servers(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], secret_key: str
) -> None:
    tenancy = make_tenant()
    workspace = Workspace(services, tenancy.id)
    before = workspace.do(lambda connection: data_key(connection, services.vault, tenancy.id).clear)
    fresh = new_secret_key()
    between = with_keys(services, Keys.from_text(fresh, secret_key))
    assert placement_of(between, tenancy) == tenancy.placement, "what was made before is still known"
    rotation.reseal(between)
    rotate(between, tenancy)
    alone = with_keys(services, Keys.from_text(fresh))
    assert opens(alone, placement_of(alone, tenancy))
    assert (
        Workspace(alone, tenancy.id).do(lambda connection: data_key(connection, alone.vault, tenancy.id).clear)
        == before
    )
    with alone.registry.begin() as connection:
        servers.admin_url(connection, alone.keys, servers.by_name(connection, "pool-1").id)
    with pytest.raises(Refused, match="another key"):
        placement_of(services, tenancy)


def test_a_tenant_that_was_not_rotated_needs_the_key_before(
    services: WorkerServices, make_tenant: Callable[..., Tenancy]
) -> None:
    tenancy = make_tenant()
    with pytest.raises(Refused, match="another key"):
        placement_of(replace(services, keys=Keys.from_text(new_secret_key())), tenancy)


def test_what_was_made_before_keys_had_names_is_the_oldest_keys(
    services: WorkerServices, make_tenant: Callable[..., Tenancy], secret_key: str
) -> None:
    tenancy = make_tenant()
    keys = Keys.from_text(new_secret_key(), secret_key)
    old = keys.login_password(tenancy.id, "pool-1", tenancy.placement.schema, 1, "k1")
    assert old == Keys.from_text(secret_key).login_password(tenancy.id, "pool-1", tenancy.placement.schema, 1, "k1")
    assert old != keys.login_password(tenancy.id, "pool-1", tenancy.placement.schema, 1)
    assert Workspace(services, tenancy.id).do(lambda connection: connection.execute(select(tenant_keys)).all()) == []
