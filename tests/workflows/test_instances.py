"""Servers that AWS makes: from the order to the last snapshot, through kills, rivals, rotated secrets and refusals."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

import boto3
import httpx2
import pytest
from sqlalchemy import update

from awssome.aws.databases import Databases, Instance
from awssome.database import servers as opening
from awssome.database.registry import Registry, audit, erasure, instances, placements, servers, tenants
from awssome.database.registry.tables import instances as table
from awssome.database.registry.tables import moves
from awssome.domain.errors import Code, Refused
from awssome.domain.instances import Blueprint, InstanceState, final_snapshot, identifier
from awssome.domain.moves import NotYet, Phase
from awssome.domain.secrets import Keys
from awssome.domain.tenants import PlacementState, TenantState
from awssome.domain.times import new_id, now
from awssome.workflows import instances as making
from awssome.workflows import moves as moving
from awssome.workflows import provisioning
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy, worker_services
from tests.engines import only_postgresql
from tests.processes import processes
from tests.sandbox.conftest import point_aws_at, running
from tests.workflows.moving import OLGA, fill, mover, placement_of, rollback, writable

pytestmark = only_postgresql

BLUEPRINT = Blueprint("postgres", "db.t3.medium", 20, platform="example.com")
Make = Callable[..., Tenancy]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """AWS, with a database server behind each instance."""
    command = f"{sys.executable} -m awssome.cli serve database"
    with running("aws", "--rds-seconds", "0.3", "--database-command", command) as announced:
        yield announced["url"]


@pytest.fixture
def aws(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    point_aws_at(url, monkeypatch)
    yield url
    httpx2.delete(f"{url}/_sandbox/rds").raise_for_status()


@pytest.fixture
def platform(services: WorkerServices, aws: str) -> WorkerServices:
    """A worker that may have servers made."""
    return replace(services, blueprint=BLUEPRINT)


def order(platform: WorkerServices, tenancy: Tenancy, blueprint: Blueprint = BLUEPRINT) -> UUID:
    """The server that a tenant's upgrade has ordered."""
    with platform.registry.begin() as connection:
        server_id = making.order(connection, blueprint, OLGA, tenancy.id)
        placements.create(connection, tenancy.id, server_id)
    return server_id


def there(platform: WorkerServices, server_id: UUID, seconds: float = 90) -> None:
    """As a worker does: come again when it is told to."""
    end = time.monotonic() + seconds
    while True:
        try:
            return making.ensure(platform, server_id)
        except NotYet as wait:
            assert time.monotonic() < end, wait.message
            time.sleep(max(0, (wait.until - now()).total_seconds()) % 1)


def the_instance(platform: WorkerServices, server_id: UUID) -> instances.Instance:
    with platform.registry.begin() as connection:
        found = instances.find(connection, server_id)
    assert found is not None
    return found


def the_server(platform: WorkerServices, server_id: UUID) -> Any:
    with platform.registry.begin() as connection:
        return servers.by_id(connection, server_id)


def let_go(platform: WorkerServices, server_id: UUID) -> None:
    """Nothing of the tenant is left on the server."""
    with platform.registry.begin() as connection:
        for place in placements.of_tenant(connection, the_instance(platform, server_id).tenant_id):
            if place.server_id == server_id:
                placements.mark(connection, place.id, PlacementState.DROPPED)


def spoil(aws: str, fault: str, operation: str = "CreateDBInstance", times: int = 1) -> None:
    """The next calls fail."""
    body = {"fail": fault, "operation": operation, "times": times}
    httpx2.post(f"{aws}/_sandbox/rds", json=body).raise_for_status()


def seen(name: str) -> list[dict[str, Any]]:
    """The instances of that name, as RDS tells them."""
    found = boto3.client("rds").describe_db_instances()["DBInstances"]
    return [each for each in found if each["DBInstanceIdentifier"] == name]


def test_an_upgrade_orders_a_server_when_none_is_free(platform: WorkerServices, make_tenant: Make) -> None:
    tenancy = make_tenant()
    with platform.registry.begin() as connection, pytest.raises(Refused) as refused:
        moving.upgrade(connection, platform.queue, OLGA, tenancy.slug)
    assert refused.value.code is Code.UNAVAILABLE
    with platform.registry.begin() as connection:
        moving.upgrade(connection, platform.queue, OLGA, tenancy.slug, blueprint=BLUEPRINT)
        (ordered,) = [row for row in servers.every(connection) if row.instance]
    assert (ordered.instance, ordered.tenant, ordered.open) == (InstanceState.WANTED, "Northwind Cloud", False)
    assert seen(ordered.name) == []  # the web process has asked AWS for nothing


def test_who_orders_and_calls_off_again_and_again_gets_no_more_servers(
    platform: WorkerServices, make_tenant: Make
) -> None:
    tenancy, other = make_tenant(), make_tenant("Other Ltd")
    with platform.registry.begin() as connection:
        for _ in range(making.MOST):
            move_id = moving.upgrade(connection, platform.queue, OLGA, tenancy.slug, blueprint=BLUEPRINT)
            connection.execute(update(moves).where(moves.c.id == move_id).values(phase=Phase.CANCELLED))
    with platform.registry.begin() as connection, pytest.raises(Refused, match="still being taken away") as refused:
        moving.upgrade(connection, platform.queue, OLGA, tenancy.slug, blueprint=BLUEPRINT)
    assert refused.value.code is Code.UNAVAILABLE
    with platform.registry.begin() as connection:
        moving.upgrade(connection, platform.queue, OLGA, other.slug, blueprint=BLUEPRINT)
        gone = update(table).where(table.c.tenant_id == tenancy.id).values(state=InstanceState.DELETED)
        connection.execute(gone)
        moving.upgrade(connection, platform.queue, OLGA, tenancy.slug, blueprint=BLUEPRINT)


@pytest.mark.usefixtures("dedicated")
def test_a_free_server_is_taken_before_one_is_made(platform: WorkerServices, make_tenant: Make) -> None:
    tenancy = make_tenant()
    with platform.registry.begin() as connection:
        moving.upgrade(connection, platform.queue, OLGA, tenancy.slug, blueprint=BLUEPRINT)
        assert [row.name for row in servers.every(connection) if row.instance] == []


def test_a_tenant_moves_to_a_server_that_aws_makes_and_the_server_goes_when_its_retention_ends(
    platform: WorkerServices, make_tenant: Make, aws: str
) -> None:
    tenancy = make_tenant()
    fill(platform, tenancy)
    carrying = mover(platform, ensure=partial(making.ensure, platform))
    with platform.registry.begin() as connection:
        move_id = moving.upgrade(connection, platform.queue, OLGA, tenancy.slug, blueprint=BLUEPRINT)
        (server_id,) = [row.id for row in servers.every(connection) if row.instance]
    with pytest.raises(Refused):
        platform.open_server(server_id)  # it is nowhere yet
    with pytest.raises(NotYet) as wait:
        carrying.carry_on(move_id)
    assert "usual" in wait.value.message
    assert wait.value.until > now()
    assert len(writable(platform, tenancy)) == 1  # the tenant works on meanwhile
    there(platform, server_id)
    assert carrying.carry_on(move_id) is Phase.RETAINING

    row = the_server(platform, server_id)
    (made,) = seen(row.name)
    assert (row.open, row.problem, row.tenant) == (True, None, "Northwind Cloud")
    assert (row.host, row.port) == (made["Endpoint"]["Address"], made["Endpoint"]["Port"])
    assert made["DeletionProtection"] is True
    assert placement_of(platform, tenancy).port == row.port

    back = rollback(platform, tenancy)
    assert carrying.carry_on(back) is Phase.RETAINING
    making.clear(platform)
    assert the_instance(platform, server_id).state is InstanceState.AVAILABLE  # a copy is kept for rollback there
    with platform.registry.begin() as connection:
        connection.execute(update(moves).values(retain_until=now()))
        moving.sweep(connection, platform.queue)
    assert carrying.carry_on(back) is Phase.DROPPED
    making.clear(platform)
    assert not the_server(platform, server_id).open
    until_gone(platform, server_id)

    gone = the_instance(platform, server_id)
    assert (gone.state, gone.snapshot) == (InstanceState.DELETED, final_snapshot(gone.name))
    (snapshot,) = boto3.client("rds").describe_db_snapshots(DBSnapshotIdentifier=gone.snapshot)["DBSnapshots"]
    assert {tag["Key"]: tag["Value"] for tag in snapshot["TagList"]}["awssome:tenant"] == str(tenancy.id)
    assert seen(gone.name) == []
    with platform.registry.begin() as connection:
        assert server_id not in [row.id for row in servers.every(connection)]
        told = [line.action for line in audit.page(connection, tenant_id=tenancy.id).rows]
    assert [action for action in reversed(told) if action.startswith("instance.")] == [
        "instance.ordered",
        "instance.creating",
        "instance.available",
        "instance.retiring",
        "instance.deleted",
    ]
    with pytest.raises(Refused):
        platform.open_server(server_id)

    making.erase(platform)
    assert the_instance(platform, server_id).snapshot == gone.snapshot, "the tenant is there"
    with platform.registry.begin() as connection:
        tenants.turn(connection, tenancy.id, TenantState.RETAINED)
        erasure.forget_tenant(connection, tenancy.id)
    spoil(aws, "Throttling", "DeleteDBSnapshot")
    for _ in range(3):
        making.erase(platform)
    assert (the_instance(platform, server_id).snapshot, the_server(platform, server_id).problem) == (None, None)
    assert platform.databases.snapshot_status(str(gone.snapshot)) is None
    with platform.registry.begin() as connection:
        told = [line.action for line in audit.page(connection, tenant_id=tenancy.id).rows]
    assert told.count("instance.snapshot_deleted") == 1


def until_gone(platform: WorkerServices, server_id: UUID) -> None:
    end = time.monotonic() + 60
    while the_instance(platform, server_id).state is not InstanceState.DELETED:
        assert time.monotonic() < end, the_server(platform, server_id).problem
        making.clear(platform)
        time.sleep(0.1)


def test_a_worker_that_is_killed_after_it_has_asked_leaves_one_instance(
    platform: WorkerServices, make_tenant: Make, registry_url: str, secret_key: str
) -> None:
    server_id = order(platform, make_tenant())
    worker = processes.Process(target=ask_and_die, args=(registry_url, secret_key, server_id, dict(os.environ)))
    worker.start()
    worker.join(60)
    assert worker.exitcode == -signal.SIGKILL
    name = the_instance(platform, server_id).name
    assert the_instance(platform, server_id).state is InstanceState.WANTED  # nothing was written down
    assert len(seen(name)) == 1
    with pytest.raises(NotYet):
        making.ensure(platform, server_id)
    assert the_instance(platform, server_id).state is InstanceState.CREATING
    assert len(seen(name)) == 1
    let_go(platform, server_id)
    until_gone(platform, server_id)
    assert the_instance(platform, server_id).snapshot is None  # nobody's data has been there


def ask_and_die(registry_url: str, secret_key: str, server_id: UUID, environment: dict[str, str]) -> None:
    """A worker in a process of its own that dies between RDS's answer and the registry."""

    class Dying(Databases):
        def create(self, name: str, blueprint: Blueprint, tags: dict[str, str]) -> Instance | None:
            super().create(name, blueprint, tags)
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError("dead")

    os.environ |= environment
    registry, keys = Registry(registry_url, connections=2), Keys.from_text(secret_key)
    unused: Any = None
    making.ensure(
        replace(worker_services(registry, keys, unused, unused), blueprint=BLUEPRINT, databases=Dying()), server_id
    )


def test_two_workers_at_once_make_one_server_with_one_administrator(
    platform: WorkerServices, make_tenant: Make
) -> None:
    server_id = order(platform, make_tenant())
    other = replace(platform, open_server=opening.opener(platform.registry, platform.keys), databases=Databases())
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda worker: there(worker, server_id), (platform, other)))
    assert len(seen(the_instance(platform, server_id).name)) == 1
    for worker in (platform, other):
        assert worker.open_server(server_id).check()["encoding"] == "UTF8"
    with platform.registry.begin() as connection:
        told = [line.action for line in audit.page(connection).rows]
    assert told.count("instance.available") == told.count("instance.creating") == 1


def test_rds_may_rotate_the_secret_while_the_server_is_prepared(platform: WorkerServices, make_tenant: Make) -> None:
    server_id = order(platform, make_tenant())
    name = the_instance(platform, server_id).name
    with pytest.raises(NotYet):
        making.ensure(platform, server_id)
    end = time.monotonic() + 60
    while seen(name)[0]["DBInstanceStatus"] != "available":
        assert time.monotonic() < end
        time.sleep(0.1)
    rotate(name)
    there(platform, server_id)
    rotate(name)
    assert platform.open_server(server_id).check()["encoding"] == "UTF8"  # ours is not RDS's


def rotate(name: str) -> None:
    """What RDS does each seven days: another password for the administrator, at the server and in its secret."""
    rds, secrets_manager = boto3.client("rds"), boto3.client("secretsmanager")
    arn = seen(name)[0]["MasterUserSecret"]["SecretArn"]
    before = secrets_manager.get_secret_value(SecretId=arn)["SecretString"]
    rds.modify_db_instance(DBInstanceIdentifier=name, RotateMasterUserPassword=True, ApplyImmediately=True)
    end = time.monotonic() + 60
    while secrets_manager.get_secret_value(SecretId=arn)["SecretString"] == before:
        assert seen(name) and time.monotonic() < end
        time.sleep(0.1)


def test_the_administrator_of_sql_server_is_renewed_when_rds_has_rotated_the_secret(
    platform: WorkerServices, make_tenant: Make, aws: str
) -> None:
    """No SQL Server is behind the endpoint: what is looked at is what the worker would sign in with."""
    blueprint = Blueprint("sqlserver-web", "db.t3.large", 20, platform="example.com")
    server_id = order(platform, make_tenant(), blueprint)
    name = the_instance(platform, server_id).name
    secrets_manager = boto3.client("secretsmanager")
    secret = json.dumps({"username": "awssome", "password": "first"})
    kept = secrets_manager.create_secret(Name=f"of-{name}", SecretString=secret)["ARN"]
    with platform.registry.begin() as connection:
        instances.turn(connection, the_instance(platform, server_id), InstanceState.AVAILABLE, secret=kept)
        servers.change(
            connection, server_id, host="db", port=1433, admin_url=platform.keys.seal_admin("mssql://a:b@db:1433/x")
        )
    making.renew(platform, server_id)
    first = administrator_of(platform, server_id)
    making.renew(platform, server_id)
    assert administrator_of(platform, server_id) == first
    secrets_manager.put_secret_value(SecretId=kept, SecretString=secret.replace("first", "/new @"))
    with pytest.raises(Refused):
        provisioning.check_server(platform, server_id)  # nothing answers at db, but the password is the new one
    assert administrator_of(platform, server_id) != first
    assert "%2Fnew" in administrator_of(platform, server_id)


def administrator_of(platform: WorkerServices, server_id: UUID) -> str:
    with platform.registry.begin() as connection:
        return servers.admin_url(connection, platform.keys, server_id)[1]


def test_what_passes_is_waited_for_and_told_to_operators(platform: WorkerServices, make_tenant: Make, aws: str) -> None:
    server_id = order(platform, make_tenant())
    spoil(aws, "InsufficientDBInstanceCapacity", times=4)
    with pytest.raises(NotYet) as wait:
        making.ensure(platform, server_id)
    assert (wait.value.until - now()).total_seconds() > 20
    assert the_instance(platform, server_id).state is InstanceState.WANTED
    assert the_server(platform, server_id).problem
    httpx2.delete(f"{aws}/_sandbox/rds")
    with pytest.raises(NotYet):
        making.ensure(platform, server_id)
    assert the_server(platform, server_id).problem is None
    let_go(platform, server_id)
    until_gone(platform, server_id)


def test_what_needs_somebody_fails_until_the_move_is_tried_again(
    platform: WorkerServices, make_tenant: Make, aws: str
) -> None:
    server_id = order(platform, make_tenant())
    spoil(aws, "InstanceQuotaExceeded")
    with pytest.raises(Refused) as refused:
        making.ensure(platform, server_id)
    assert refused.value.code is Code.CONFLICT
    assert "AWS" not in (the_server(platform, server_id).tenant or "")
    problem = the_server(platform, server_id).problem
    assert problem
    assert problem not in refused.value.message  # tenants read that; account ids and ARNs are for operators
    with pytest.raises(Refused):
        making.ensure(platform, server_id)  # AWS is not asked in vain
    assert seen(the_instance(platform, server_id).name) == []
    with platform.registry.begin() as connection:
        making.again(connection, server_id)
    with pytest.raises(NotYet):
        making.ensure(platform, server_id)
    let_go(platform, server_id)
    until_gone(platform, server_id)


def test_an_instance_that_rds_could_not_make_is_made_anew(
    platform: WorkerServices, make_tenant: Make, aws: str
) -> None:
    server_id = order(platform, make_tenant())
    spoil(aws, "creation")
    with pytest.raises(Refused):
        there(platform, server_id)
    first = seen(the_instance(platform, server_id).name)[0]
    assert first["DBInstanceStatus"] == "failed"
    with platform.registry.begin() as connection:
        making.again(connection, server_id)
    there(platform, server_id)
    assert seen(first["DBInstanceIdentifier"])[0]["DbiResourceId"] != first["DbiResourceId"]
    assert the_server(platform, server_id).open


def test_an_order_that_is_called_off_leaves_nothing_in_aws(platform: WorkerServices, make_tenant: Make) -> None:
    tenancy = make_tenant()
    carrying = mover(platform, ensure=partial(making.ensure, platform))
    with platform.registry.begin() as connection:
        move_id = moving.upgrade(connection, platform.queue, OLGA, tenancy.slug, blueprint=BLUEPRINT)
        (server_id,) = [row.id for row in servers.every(connection) if row.instance]
    with pytest.raises(NotYet):
        carrying.carry_on(move_id)
    name = the_instance(platform, server_id).name
    assert len(seen(name)) == 1
    with platform.registry.begin() as connection:
        moving.cancel(connection, platform.queue, OLGA, move_id)
    assert carrying.carry_on(move_id) is Phase.CANCELLED
    until_gone(platform, server_id)
    assert seen(name) == []
    with pytest.raises(Refused):
        making.ensure(platform, server_id)


def test_an_instance_of_ours_that_the_registry_does_not_know_is_told(
    platform: WorkerServices, make_tenant: Make
) -> None:
    blueprint, stray = replace(BLUEPRINT, platform="strays.example"), identifier(new_id(), new_id())
    known = the_instance(platform, order(platform, make_tenant(), blueprint))
    platform.databases.create(known.name, blueprint, known.tags)
    platform.databases.create(stray, blueprint, blueprint.tags(new_id(), new_id()))
    assert making.orphans(platform.registry, platform.databases, "strays.example") == [stray]
    with platform.registry.begin() as connection:
        instances.turn(connection, known, InstanceState.DELETED)
    told = making.orphans(platform.registry, platform.databases, "strays.example")
    assert told == sorted([known.name, stray]), "one that was thought to be gone"


def test_nobody_gets_a_server_that_was_anothers(platform: WorkerServices, make_tenant: Make) -> None:
    first, second = make_tenant(), make_tenant("Tailspin")
    server_id = order(platform, first)
    name = the_instance(platform, server_id).name
    with platform.registry.begin() as connection:
        instances.turn(connection, the_instance(platform, server_id), InstanceState.AVAILABLE, available_at=now())
        servers.change(connection, server_id, open=True)
    let_go(platform, server_id)
    with platform.registry.begin() as connection:
        for place in placements.of_tenant(connection, first.id):
            servers.release(connection, place.id)
        for ask in (
            lambda: servers.free_dedicated(connection, second.id, BLUEPRINT.runs),
            lambda: servers.take(connection, name, second.id),
        ):
            with pytest.raises(Refused):
                ask()
        assert servers.free_dedicated(connection, first.id, BLUEPRINT.runs) == server_id
