"""RDS through boto3: what is ordered, whose an instance is, and what each refusal of AWS asks of whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awssome.aws import secrets
from awssome.aws.databases import Databases
from awssome.domain.instances import Blueprint, Trouble, final_snapshot, identifier
from awssome.domain.times import new_id
from tests.sandbox.conftest import point_aws_at, running

SERVER, TENANT = new_id(), new_id()
BLUEPRINT = Blueprint("postgres", "db.t3.medium", 20, platform="example.com")
TAGS = BLUEPRINT.tags(TENANT, SERVER)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running("aws", "--rds-seconds", "0") as announced:
        yield announced["url"]


@pytest.fixture(autouse=True)
def aws(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The sandbox, without faults afterwards."""
    point_aws_at(url, monkeypatch)
    yield url
    httpx2.delete(f"{url}/_sandbox/rds").raise_for_status()


def fresh() -> str:
    return identifier(TENANT, new_id())


def seen(name: str) -> dict[str, Any]:
    """What RDS says of an instance, past our own reading of it."""
    return boto3.client("rds").describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]


@given(st.uuids(), st.uuids())
def test_names_are_what_rds_takes_and_tell_servers_apart(tenant_id: Any, server_id: Any) -> None:
    name = identifier(tenant_id, server_id)
    assert name == identifier(tenant_id, server_id)
    for each in (name, final_snapshot(name)):
        assert len(each) <= 63
        assert each[0].isalpha()
        assert each.replace("-", "").isalnum()
        assert "--" not in each
        assert not each.endswith("-")
    assert name.endswith(server_id.hex[-12:])


def test_what_is_ordered_is_private_encrypted_and_kept_by_rds() -> None:
    name = fresh()
    Databases().create(name, BLUEPRINT, TAGS)
    made = seen(name)
    assert made["PubliclyAccessible"] is False
    assert made["StorageEncrypted"] is True
    assert made["AutoMinorVersionUpgrade"] is True
    assert made["CopyTagsToSnapshot"] is True
    assert made["BackupRetentionPeriod"] == 7
    assert {tag["Key"]: tag["Value"] for tag in made["TagList"]} == TAGS
    assert TAGS["awssome:tenant"] == str(TENANT)
    user, password = secrets.administrator(made["MasterUserSecret"]["SecretArn"])
    assert user == made["MasterUsername"]
    assert len(password) >= 8


def test_keys_and_groups_are_those_of_the_settings() -> None:
    ec2, rds = boto3.client("ec2"), boto3.client("rds")
    key = boto3.client("kms").create_key()["KeyMetadata"]["Arn"]
    subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]][:2]
    rds.create_db_subnet_group(DBSubnetGroupName="tenants", DBSubnetGroupDescription="-", SubnetIds=subnets)
    group = ec2.create_security_group(GroupName="tenants", Description="-")["GroupId"]
    wanted = replace(BLUEPRINT, kms_key=key, subnet_group="tenants", security_groups=(group,), multi_az=True)
    name = fresh()
    Databases().create(name, wanted, TAGS)
    made = seen(name)
    assert made["KmsKeyId"] == key
    assert made["MasterUserSecret"]["KmsKeyId"] == key
    assert made["DBSubnetGroup"]["DBSubnetGroupName"] == "tenants"
    assert [each["VpcSecurityGroupId"] for each in made["VpcSecurityGroups"]] == [group]
    assert made["MultiAZ"] is True


def test_sql_server_is_ordered_with_its_licence() -> None:
    name = fresh()
    Databases().create(name, Blueprint("sqlserver-web", "db.t3.large", 20), TAGS)
    assert (seen(name)["Engine"], seen(name)["LicenseModel"]) == ("sqlserver-web", "license-included")


def test_an_order_that_is_repeated_finds_what_it_has_made() -> None:
    name = fresh()
    first = Databases().create(name, BLUEPRINT, TAGS)
    assert first is not None
    assert Databases().create(name, BLUEPRINT, TAGS) is None
    found = Databases().find(name, TAGS)
    assert found is not None
    assert found.secret == first.secret
    assert len(boto3.client("rds").describe_db_instances(DBInstanceIdentifier=name)["DBInstances"]) == 1


@pytest.mark.parametrize("tag", ["awssome:server", "awssome:platform"])
def test_somebody_elses_instance_of_that_name_is_not_touched(tag: str) -> None:
    name = fresh()
    Databases().create(name, BLUEPRINT, TAGS | {tag: "other"})
    assert Databases().create(name, BLUEPRINT, TAGS) is None
    with pytest.raises(Trouble) as refused:
        Databases().find(name, TAGS)
    assert "not ours" in refused.value.message
    assert refused.value.again is None
    assert seen(name)["DBInstanceStatus"] == "available"


def test_what_is_protected_goes_with_a_last_snapshot_only_when_it_is_asked_for() -> None:
    name, databases = fresh(), Databases()
    databases.create(name, BLUEPRINT, TAGS)
    databases.protect(name)
    found = databases.find(name, TAGS)
    assert found is not None
    assert found.protected
    with pytest.raises(Trouble):
        databases.delete(name, None)
    databases.delete(name, final_snapshot(name), protected=True)
    databases.delete(name, final_snapshot(name), protected=True)  # gone: nothing is left to do
    assert databases.find(name, TAGS) is None
    assert databases.snapshot_status(final_snapshot(name)) == "available"
    assert databases.snapshot_status("another") is None


@pytest.mark.parametrize(
    ("fault", "by_itself"),
    [
        ("InsufficientDBInstanceCapacity", True),
        ("Throttling", True),
        ("InternalFailure", True),
        ("ServiceUnavailable", True),
        ("InstanceQuotaExceeded", False),
        ("StorageQuotaExceeded", False),
        ("KMSKeyNotAccessibleFault", False),
        ("AccessDenied", False),
    ],
)
def test_each_refusal_says_what_to_do_and_whether_it_passes(aws: str, fault: str, by_itself: bool) -> None:
    httpx2.post(f"{aws}/_sandbox/rds", json={"fail": fault, "operation": "CreateDBInstance", "times": 9})
    with pytest.raises(Trouble) as refused:
        Databases().create(fresh(), BLUEPRINT, TAGS)
    assert (refused.value.again is not None) is by_itself
    assert len(refused.value.message) > 20
    assert by_itself or refused.value.advice


@pytest.mark.parametrize(
    "wrong",
    [
        Blueprint("sqlserver-se", "db.t3.small", 20),
        Blueprint("postgres", "db.nonsense.large", 20),
        Blueprint("postgres", "db.t3.medium", 20, subnet_group="nowhere"),
        Blueprint("postgres", "db.t3.medium", 20, security_groups=("sg-00000000000000000",)),
        Blueprint("postgres", "db.t3.medium", 20, kms_key="arn:aws:kms:us-east-1:123456789012:key/none"),
    ],
    ids=["class of another edition", "class", "subnet group", "security group", "key"],
)
def test_what_cannot_be_had_names_the_settings_to_mend(wrong: Blueprint) -> None:
    with pytest.raises(Trouble) as refused:
        Databases().create(fresh(), wrong, TAGS)
    assert refused.value.again is None
    assert "AWSSOME_RDS_" in refused.value.advice


def test_an_aws_that_cannot_be_reached_is_asked_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    point_aws_at("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(Trouble) as refused:
        Databases().find(fresh(), TAGS)
    assert refused.value.again is not None


def test_a_secret_that_is_gone_or_strange_is_told_without_its_text() -> None:
    client = boto3.client("secretsmanager")
    arn = client.create_secret(Name="strange", SecretString='["hunter2"]')["ARN"]
    for each in (arn, arn.replace("strange", "gone")):
        with pytest.raises(Trouble) as refused:
            secrets.administrator(each)
        assert "hunter2" not in f"{refused.value.message} {refused.value.advice}"


def test_a_platform_finds_its_own_instances_and_no_others() -> None:
    databases, mine, theirs = Databases(), fresh(), fresh()
    own = replace(BLUEPRINT, platform="own.example")
    databases.create(mine, own, own.tags(TENANT, SERVER))
    databases.create(theirs, BLUEPRINT, TAGS)
    assert databases.of_platform("own.example") == [mine]
    assert mine not in databases.of_platform("example.com")
