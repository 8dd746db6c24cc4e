"""Data keys under a key of KMS: bound to the tenant, asked for once, and told when KMS does not do it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from awssome.aws.keys import HELD_SECONDS, Kms
from awssome.domain.errors import Code, Refused
from awssome.domain.secrets import Keys, Unopenable, new_data_key, new_secret_key
from awssome.domain.times import new_id
from awssome.domain.vault import Vault
from tests.sandbox.conftest import point_aws_at, running


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running("aws") as announced:
        yield announced["url"]


@pytest.fixture
def kms(url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """KMS as the SDK finds it by its own settings."""
    point_aws_at(url, monkeypatch)
    return boto3.client("kms")


@pytest.fixture
def arn(kms: Any) -> str:
    return str(kms.create_key()["KeyMetadata"]["Arn"])


class Counted:
    """Counts what the client is asked for."""

    def __init__(self, ours: Kms, key: str) -> None:
        self.asked: list[str] = []
        ours._client(key).meta.events.register("before-call.kms", self._note)

    def _note(self, model: Any, **_: Any) -> None:
        self.asked.append(model.name)


def test_a_data_key_opens_for_its_tenant_and_nobody_else(arn: str) -> None:
    tenant_id, key = new_id(), new_data_key()
    wrapped = Kms(arn).wrap(key, tenant_id)
    assert key not in wrapped
    assert Kms("", [arn]).unwrap(wrapped, tenant_id, arn) == key  # also when nothing is wrapped by it any more
    for whose, what in ((new_id(), wrapped), (tenant_id, wrapped[:-1] + bytes([wrapped[-1] ^ 1]))):
        with pytest.raises(Unopenable):
            Kms(arn).unwrap(what, whose, arn)


def test_no_key_is_asked_that_only_a_tenants_row_names(kms: Any, arn: str) -> None:
    tenant_id, known = new_id(), new_data_key()
    theirs = str(kms.create_key()["KeyMetadata"]["Arn"])
    wrapped = Kms(theirs).wrap(known, tenant_id)
    for key in (theirs, "", "nonsense", "arn:aws:kms:x/#:000000000000:key/1"):
        for ours in (Kms(arn), Kms()):
            with pytest.raises(Unopenable):
                ours.unwrap(wrapped, tenant_id, key)
            assert not ours._clients


def test_kms_is_asked_once_in_five_minutes(arn: str) -> None:
    tenant_id, key, clock = new_id(), new_data_key(), [0.0]
    wrapped = Kms(arn).wrap(key, tenant_id)
    ours = Kms(arn, clock=lambda: clock[0])
    counted = Counted(ours, arn)
    for _ in range(50):
        assert ours.unwrap(wrapped, tenant_id, arn) == key
    assert counted.asked == ["Decrypt"]
    with pytest.raises(Unopenable):
        ours.unwrap(wrapped, new_id(), arn)  # what is held is held for its tenant
    clock[0] = HELD_SECONDS
    assert ours.unwrap(wrapped, tenant_id, arn) == key
    assert counted.asked == ["Decrypt"] * 3


def test_what_it_wraps_it_need_not_ask_for(arn: str) -> None:
    ours, tenant_id, key = Kms(arn), new_id(), new_data_key()
    counted = Counted(ours, arn)
    assert ours.unwrap(ours.wrap(key, tenant_id), tenant_id, arn) == key
    assert counted.asked == ["Encrypt"]


def test_only_so_many_are_held(arn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("awssome.aws.keys.HELD_MOST", 2)
    ours = Kms(arn)
    made = [(tenant_id, ours.wrap(new_data_key(), tenant_id)) for tenant_id in (new_id() for _ in range(3))]
    counted = Counted(ours, arn)
    for tenant_id, wrapped in reversed(made):
        ours.unwrap(wrapped, tenant_id, arn)
    assert counted.asked == ["Decrypt"]


def test_a_key_that_is_disabled_or_goes_is_told_and_is_no_damage(kms: Any, arn: str) -> None:
    """moto goes on working with such keys; the sandbox refuses as KMS does."""
    tenant_id, key = new_id(), new_data_key()
    wrapped = Kms(arn).wrap(key, tenant_id)
    name = arn.rpartition("/")[2]
    assert Kms(arn).state() == "Enabled"
    kms.disable_key(KeyId=name)
    assert Kms(arn).state() == "Disabled"
    with pytest.raises(ClientError, match="DisabledException"):
        kms.decrypt(KeyId=arn, CiphertextBlob=wrapped, EncryptionContext={"tenant": str(tenant_id)})
    for attempt in (lambda: Kms(arn).unwrap(wrapped, tenant_id, arn), lambda: Kms(arn).wrap(key, tenant_id)):
        with pytest.raises(Refused, match="DisabledException") as refused:
            attempt()
        assert refused.value.code is Code.UNAVAILABLE
        assert not isinstance(refused.value, Unopenable)  # or a new data key would take its place
    kms.enable_key(KeyId=name)
    assert Kms(arn).unwrap(wrapped, tenant_id, arn) == key
    kms.schedule_key_deletion(KeyId=name, PendingWindowInDays=7)
    with pytest.raises(Refused, match="KMSInvalidStateException"):
        Kms(arn).unwrap(wrapped, tenant_id, arn)


def test_a_kms_that_does_not_answer_is_told(arn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Refused, match="does not answer") as refused:
        Kms(arn).wrap(new_data_key(), new_id())
    assert refused.value.code is Code.UNAVAILABLE


def test_a_vault_goes_over_to_kms_and_back(arn: str) -> None:
    keys, tenant_id, key = Keys.from_text(new_secret_key()), new_id(), new_data_key()
    local, kms = Vault(keys, Kms("", [arn])), Vault(keys, Kms(arn))
    at_home, away = local.wrap(key, tenant_id), kms.wrap(key, tenant_id)
    assert (at_home.under, away.under, away.kms_key) == (keys.key_id, arn, arn)
    assert [vault.unwrap(one, tenant_id) for vault in (local, kms) for one in (at_home, away)] == [key] * 4
    assert (local.present, kms.present) == (keys.present_ids, {arn})
    with pytest.raises(Refused, match="does not use"):
        Vault(keys).unwrap(away, tenant_id)
