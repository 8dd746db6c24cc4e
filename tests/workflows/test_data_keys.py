"""Data keys: wrapped by something else, or replaced, and whatever is interrupted every token still opens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import boto3
import pytest
from sqlalchemy import select, update

from awssome.aws.keys import Kms
from awssome.database import Connection, doctor
from awssome.database.registry import tenants
from awssome.database.schema import hubspot_tokens, tenant_keys
from awssome.database.tenant import keys as stored_keys
from awssome.domain.errors import Code, Refused
from awssome.domain.secrets import Keys, new_secret_key
from awssome.domain.tenants import TenantState, Tier
from awssome.domain.times import now
from awssome.domain.vault import Vault
from awssome.workflows import data_keys, provisioning
from awssome.workflows.hubspot_access import HubSpotAccess
from awssome.workflows.services import WorkerServices
from tests.hubspot.conftest import Sandbox
from tests.sandbox.conftest import point_aws_at, running
from tests.workflows.conftest import Workshop
from tests.workflows.moving import OLGA

Workshops = Callable[..., Workshop]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running("aws") as announced:
        yield announced["url"]


@pytest.fixture
def kms(url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """KMS as the SDK finds it by its own settings."""
    point_aws_at(url, monkeypatch)
    return boto3.client("kms")


def at(workshop: Workshop, **changes: Any) -> Workshop:
    """The same tenant in processes that were started with other settings."""
    return replace(workshop, services=replace(workshop.services, **changes))


def token(workshop: Workshop) -> str:
    return HubSpotAccess(workshop.services, workshop.workspace).token()


def row(workshop: Workshop) -> Any:
    return workshop.workspace.do(lambda connection: connection.execute(select(hubspot_tokens)).one())


def wrapped(workshop: Workshop) -> list[Any]:
    query = select(tenant_keys).order_by(tenant_keys.c.created_at, tenant_keys.c.id)
    return workshop.workspace.do(lambda connection: list(connection.execute(query)))


def behind(workshop: Workshop) -> list[UUID]:
    """Who would be asked for."""
    with workshop.services.registry.begin() as connection:
        return tenants.with_data_key(connection, None, 100, but=workshop.services.vault.present)


def told(services: WorkerServices) -> doctor.Finding:
    found = doctor.examine(services.registry, services.vault, services.open_server)
    return next(one for one in found if one.check == "data keys")


def test_data_keys_go_over_to_kms_and_back_and_every_token_opens(workshop: Workshops, kms: Any) -> None:
    alice, paula = workshop(), workshop(company="Paula Inc", tier=Tier.PAID)
    workshop(None, company="Bob Ltd")  # never connected: has none
    before = token(alice)
    assert behind(alice) == [] and told(alice.services).ok
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    away = at(alice, kms=Kms(arn))
    assert set(behind(away)) == {alice.id, paula.id}
    finding = told(away.services)
    assert (finding.ok, "2 data keys" in finding.told) == (False, True)
    with away.services.registry.begin() as connection:
        asked = data_keys.request_batch(away.services, connection, OLGA, None, renew=False)
    assert asked == (2, None)
    for tenant_id in (alice.id, paula.id, alice.id):
        data_keys.rotate(away.services, tenant_id, renew=False)
    assert behind(away) == [] and told(away.services).ok
    assert [(one.key_id, one.kms_key) for one in wrapped(alice)] == [("kms", arn)]
    assert token(away) == before
    with pytest.raises(Refused) as refused:
        token(alice)  # a process without KMS
    assert refused.value.code is Code.UNAVAILABLE
    kms.disable_key(KeyId=arn.rpartition("/")[2])
    finding = told(at(alice, kms=Kms(arn)).services)
    assert (finding.ok, "Disabled" in finding.told) == (False, True)
    with pytest.raises(Refused, match="DisabledException"):
        token(at(alice, kms=Kms(arn)))
    assert alice.registered()[0] == "connected"  # nothing is lost by it
    kms.enable_key(KeyId=arn.rpartition("/")[2])
    home = at(alice, kms=Kms("", [arn]))
    assert set(behind(home)) == {alice.id, paula.id}
    data_keys.rotate(home.services, alice.id, renew=False)
    assert [one.kms_key for one in wrapped(alice)] == [None]
    assert token(alice) == before


def test_another_data_key_seals_the_same_tokens(workshop: Workshops, sandbox: Sandbox) -> None:
    alice = workshop()
    before, sealed, clear = row(alice), token(alice), _clear(alice)
    in_hand = HubSpotAccess(alice.services, alice.workspace)
    data_keys.rotate(alice.services, alice.id, renew=True)
    after = row(alice)
    assert after.key_id not in (None, before.key_id)
    assert (after.access_token != before.access_token, after.refresh_token != before.refresh_token) == (True, True)
    assert token(alice) == sealed == in_hand.token()  # who had read the tokens before opens them, too
    assert _clear(alice) != clear
    assert [one.retired_at is None for one in wrapped(alice)] == [False, True]
    data_keys.rotate(alice.services, alice.id, renew=True)
    assert len(wrapped(alice)) == 2  # the first one has sealed nothing for long
    _expire(alice)
    assert token(alice) != sealed  # the refresh token opens as well
    assert row(alice).key_id == wrapped(alice)[-1].id


@pytest.mark.parametrize("renew", [False, True])
def test_a_rotation_that_dies_anywhere_is_run_again(
    workshop: Workshops, monkeypatch: pytest.MonkeyPatch, secret_key: str, renew: bool
) -> None:
    alice = workshop()
    before = token(alice)
    newer = at(alice, keys=Keys.from_text(new_secret_key(), secret_key))

    def dies(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    for module, name in ((data_keys.stored, "reseal"), (data_keys.keys, "rewrap"), (data_keys.tenants, "change")):
        if name == "reseal" and not renew:
            continue
        with monkeypatch.context() as dying, pytest.raises(KeyboardInterrupt):
            dying.setattr(module, name, dies)
            data_keys.rotate(newer.services, alice.id, renew=renew)
        assert token(newer) == before
        assert behind(newer) == [alice.id]
    data_keys.rotate(newer.services, alice.id, renew=renew)
    assert behind(newer) == []
    assert token(newer) == before
    alone = Vault(Keys(newer.services.keys.root))  # the earlier key is not needed any more, but for the login

    def read(connection: Connection) -> bytes:
        return stored_keys.data_key(connection, alone, alice.id).clear

    assert newer.workspace.do(read) == _clear(newer)


def test_a_refresh_and_a_rotation_at_once_take_turns(workshop: Workshops, sandbox: Sandbox) -> None:
    alice = workshop()
    sandbox.order("tokens/rotation", on=True)
    together = threading.Barrier(2)

    def refresh() -> str:
        access = HubSpotAccess(alice.services, alice.workspace)
        together.wait(5)
        return access.token(force=True)

    def rotate() -> None:
        together.wait(5)
        data_keys.rotate(alice.services, alice.id, renew=True)

    for _ in range(4):
        with ThreadPoolExecutor(2) as workers:
            refreshed, rotated = workers.submit(refresh), workers.submit(rotate)
            rotated.result(20)
            found = refreshed.result(20)
        assert token(alice) == found
    _expire(alice)
    assert token(alice)


def test_who_is_suspended_stays_behind_until_the_workspace_opens(workshop: Workshops, secret_key: str) -> None:
    alice = workshop()
    newer = at(alice, keys=Keys.from_text(new_secret_key(), secret_key))
    with newer.services.registry.begin() as connection:
        tenants.turn(connection, alice.id, TenantState.SUSPENDED)
    provisioning.set_login(newer.services, alice.id)
    data_keys.rotate(newer.services, alice.id, renew=False)
    assert behind(newer) == [] and not told(newer.services).ok  # nobody is asked for, and doctor still says so
    with newer.services.registry.begin() as connection:
        tenants.turn(connection, alice.id, TenantState.ACTIVE)
    provisioning.set_login(newer.services, alice.id)
    assert behind(newer) == [alice.id]
    data_keys.rotate(newer.services, alice.id, renew=False)
    assert told(newer.services).ok


def test_batches_follow_each_other(workshop: Workshops, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {workshop(None, company=f"Company {number}").id for number in range(3)}
    alice = workshop(None)
    with alice.services.registry.begin() as connection:
        for tenant_id in made:
            tenants.change(connection, tenant_id, data_key_under="elsewhere")
    monkeypatch.setattr(data_keys, "BATCH", 2)
    asked, after = [], None
    while True:
        with alice.services.registry.begin() as connection:
            count, after = data_keys.request_batch(alice.services, connection, OLGA, after, renew=False)
        asked.append(count)
        if after is None:
            break
    assert asked == [2, 1]
    data_keys.rotate(alice.services, next(iter(made)), renew=True)  # has no data key after all: nothing to do


def _clear(workshop: Workshop) -> bytes:
    def read(connection: Connection) -> bytes:
        return stored_keys.data_key(connection, workshop.services.vault, workshop.id).clear

    return workshop.workspace.do(read)


def _expire(workshop: Workshop) -> None:
    past = now() - timedelta(seconds=1)
    workshop.workspace.do(lambda connection: connection.execute(update(hubspot_tokens).values(expires_at=past)))
