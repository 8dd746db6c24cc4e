"""The AWS sandbox's RDS: what it takes and refuses, and how instances pass through their states. Driven by boto3."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from botocore.exceptions import ClientError

from .conftest import running
from .test_aws import client

Create = Callable[..., dict[str, Any]]

POSTGRES = {
    "DBInstanceClass": "db.t3.small",
    "Engine": "postgres",
    "AllocatedStorage": 20,
    "MasterUsername": "master",
    "MasterUserPassword": "correct-horse",
}
SQLSERVER = POSTGRES | {"Engine": "sqlserver-web"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A sandbox where nothing takes time."""
    with running("aws", "--rds-seconds", "0") as announced:
        yield announced["url"]


@pytest.fixture(scope="module")
def shared(url: str) -> Any:
    """A client of RDS for all tests: making one takes longer than most of them."""
    return client(url, "rds")


@pytest.fixture(scope="module")
def control(url: str) -> Iterator[httpx2.Client]:
    """Reaches the sandbox's own page."""
    with httpx2.Client(base_url=url) as http:
        yield http


@pytest.fixture
def rds(control: httpx2.Client, shared: Any) -> Iterator[Any]:
    """RDS without an instance, with default quotas, no faults, and no time that anything takes."""
    yield shared
    order(control, seconds=0)
    control.delete("/_sandbox/rds")
    for instance in shared.describe_db_instances()["DBInstances"]:
        name = instance["DBInstanceIdentifier"]
        shared.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)


@pytest.fixture
def create(rds: Any) -> Create:
    """Creates a PostgreSQL instance, with a name of its own unless told otherwise."""

    def make(**wanted: Any) -> dict[str, Any]:
        asked = {"DBInstanceIdentifier": f"i{uuid.uuid4().hex[:12]}", **POSTGRES, **wanted}
        return rds.create_db_instance(**{k: v for k, v in asked.items() if v is not None})["DBInstance"]

    return make


def order(control: httpx2.Client, **wanted: Any) -> dict[str, Any]:
    answer = control.post("/_sandbox/rds", json=wanted)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(call: Callable[..., Any], **asked: Any) -> tuple[str, str]:
    """The code and the message of a refusal."""
    with pytest.raises(ClientError) as caught:
        call(**asked)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def status(rds: Any, name: str) -> str:
    return rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]["DBInstanceStatus"]


def test_an_instance_passes_through_its_states() -> None:
    with running("aws", "--rds-seconds", "2.5") as announced:
        rds = client(announced["url"], "rds")
        assert rds.create_db_instance(DBInstanceIdentifier="one", **POSTGRES)["DBInstance"].get("Endpoint") is None
        seen: list[tuple[str, bool]] = []

        def pass_until(last: str) -> list[tuple[str, bool]]:
            """The states met on the way, each with whether there was an endpoint."""
            seen.clear()
            while not seen or seen[-1][0] != last:
                found = rds.describe_db_instances(DBInstanceIdentifier="one")["DBInstances"][0]
                met = (found["DBInstanceStatus"], "Endpoint" in found)
                if not seen or seen[-1] != met:
                    seen.append(met)
                time.sleep(0.02)
            return list(seen)

        assert pass_until("available") == [("creating", False), ("backing-up", True), ("available", True)]
        assert [s["SnapshotType"] for s in rds.describe_db_snapshots()["DBSnapshots"]] == ["automated"]

        wanted = {"DBInstanceClass": "db.t3.medium", "ApplyImmediately": True}
        changed = rds.modify_db_instance(DBInstanceIdentifier="one", **wanted)["DBInstance"]
        assert changed["DBInstanceStatus"] == "available", "the state follows the call, as it does at AWS"
        assert changed["PendingModifiedValues"] == {"DBInstanceClass": "db.t3.medium"}
        pass_until("modifying")
        pass_until("available")
        changed = rds.describe_db_instances(DBInstanceIdentifier="one")["DBInstances"][0]
        assert (changed["DBInstanceClass"], changed["PendingModifiedValues"]) == ("db.t3.medium", {})

        rds.delete_db_instance(DBInstanceIdentifier="one", FinalDBSnapshotIdentifier="last")
        assert status(rds, "one") == "deleting"
        assert rds.describe_db_snapshots(DBSnapshotIdentifier="last")["DBSnapshots"][0]["Status"] == "creating"
        with pytest.raises(rds.exceptions.DBInstanceNotFoundFault):
            pass_until("never")
        last = rds.describe_db_snapshots()["DBSnapshots"]
        assert [(s["DBSnapshotIdentifier"], s["Status"]) for s in last] == [("last", "available")]


INVALID, CONFLICTING = "InvalidParameterValue", "InvalidParameterCombination"


@pytest.mark.parametrize(
    ("wanted", "code", "told"),
    [
        ({"DBInstanceIdentifier": "1a"}, INVALID, "identifier"),
        ({"DBInstanceIdentifier": "a--b"}, INVALID, "identifier"),
        ({"DBInstanceIdentifier": "a-"}, INVALID, "identifier"),
        ({"DBInstanceIdentifier": "a" * 64}, INVALID, "identifier"),
        ({"Engine": "oracle-ee"}, INVALID, "engine"),
        ({"EngineVersion": "9.6"}, CONFLICTING, "Cannot find version 9.6"),
        ({**SQLSERVER, "EngineVersion": "17.00"}, CONFLICTING, "Cannot find version"),
        ({"DBInstanceClass": "db.t9.small"}, INVALID, "Invalid DB Instance class"),
        ({**SQLSERVER, "Engine": "sqlserver-se"}, CONFLICTING, "DBInstanceClass=db.t3.small, Engine=sqlserver-se"),
        ({**SQLSERVER, "DBInstanceClass": "db.t3.micro"}, CONFLICTING, "DBInstanceClass=db.t3.micro"),
        ({**SQLSERVER, "Engine": "sqlserver-ex", "DBInstanceClass": "db.m5.large"}, CONFLICTING, "db.m5.large"),
        ({**SQLSERVER, "Engine": "sqlserver-ee", "DBInstanceClass": "db.m5.large"}, CONFLICTING, "db.m5.large"),
        ({"LicenseModel": "license-included"}, CONFLICTING, "license model"),
        ({"AllocatedStorage": None}, INVALID, "AllocatedStorage"),
        ({"AllocatedStorage": 19}, INVALID, "storage size"),
        ({**SQLSERVER, "AllocatedStorage": 16385}, INVALID, "storage size"),
        ({"StorageType": "io1"}, INVALID, "storage size"),
        ({"StorageType": "io1", "AllocatedStorage": 100}, CONFLICTING, "Iops"),
        ({"StorageType": "tape"}, INVALID, "storage type"),
        ({"MaxAllocatedStorage": 20}, CONFLICTING, "Max storage size"),
        ({"MasterUsername": "admin"}, INVALID, "reserved word"),
        ({**SQLSERVER, "MasterUsername": "SA"}, INVALID, "reserved word"),
        ({"MasterUsername": "0master"}, INVALID, "MasterUsername"),
        ({"MasterUsername": "m" * 17}, INVALID, "MasterUsername"),
        ({"MasterUsername": None}, INVALID, "MasterUsername"),
        ({"MasterUserPassword": None}, INVALID, "MasterUserPassword"),
        ({"MasterUserPassword": "short12"}, INVALID, "shorter than 8"),
        ({"MasterUserPassword": "x" * 129}, INVALID, "longer than 128"),
        *(({"MasterUserPassword": f"with-a-{c}-in-it"}, INVALID, "printable ASCII") for c in '/@" é'),
        ({"ManageMasterUserPassword": True}, CONFLICTING, "MasterUserPassword"),
        ({**SQLSERVER, "DBName": "tenants"}, INVALID, "must be null"),
        ({"DBName": "postgres"}, INVALID, "reserved"),
        ({"DBName": "no-hyphens"}, INVALID, "DBName"),
        ({"KmsKeyId": "alias/none"}, CONFLICTING, "KmsKeyId"),
        ({"StorageEncrypted": True, "KmsKeyId": "alias/none"}, "KMSKeyNotAccessibleFault", "alias/none"),
        ({**SQLSERVER, "Engine": "sqlserver-ex", "StorageEncrypted": True}, CONFLICTING, "Encryption"),
        ({**SQLSERVER, "Engine": "sqlserver-ex", "MultiAZ": True}, CONFLICTING, "Multi-AZ"),
        ({"VpcSecurityGroupIds": ["sg-0"]}, INVALID, "sg-0"),
        ({"DBSubnetGroupName": "none"}, "DBSubnetGroupNotFoundFault", "none"),
        ({"DBParameterGroupName": "none"}, "DBParameterGroupNotFound", "none"),
        ({"BackupRetentionPeriod": 36}, INVALID, "retention"),
        ({"Tags": [{"Key": "aws:mine", "Value": "x"}]}, INVALID, "aws:mine"),
        ({"Port": 80}, INVALID, "port"),
        ({"DBClusterIdentifier": "c"}, CONFLICTING, "clusters"),
    ],
)
def test_what_rds_does_not_sell_is_refused(rds: Any, create: Create, wanted, code: str, told: str) -> None:
    found = refused(create, **wanted)
    assert found[0] == code
    assert told in found[1]
    assert rds.describe_db_instances()["DBInstances"] == []


@pytest.mark.parametrize(
    "wanted",
    [
        {"EngineVersion": "18", "DBName": "tenants", "StorageType": "gp3"},
        {"StorageEncrypted": True},
        {**SQLSERVER, "LicenseModel": "license-included"},
        {**SQLSERVER, "Engine": "sqlserver-ex", "DBInstanceClass": "db.t3.micro"},
        {**SQLSERVER, "Engine": "sqlserver-se", "DBInstanceClass": "db.m5.large", "MultiAZ": True},
        {**SQLSERVER, "Engine": "sqlserver-ee", "DBInstanceClass": "db.t3.xlarge", "EngineVersion": "17.00"},
    ],
)
def test_what_rds_sells_becomes_available(rds: Any, create: Create, wanted: dict[str, Any]) -> None:
    made = create(**wanted)
    found = rds.describe_db_instances(DBInstanceIdentifier=made["DBInstanceIdentifier"])["DBInstances"][0]
    assert found["DBInstanceStatus"] == "available"
    assert found["EngineVersion"].startswith(wanted.get("EngineVersion", ""))
    assert found["Endpoint"]["Port"] == (1433 if "sqlserver" in found["Engine"] else 5432)
    assert found["StorageEncrypted"] is bool(found.get("KmsKeyId"))


def test_a_disabled_key_is_not_accessible(url: str, create: Create) -> None:
    kms = client(url, "kms")
    key = kms.create_key()["KeyMetadata"]
    assert create(StorageEncrypted=True, KmsKeyId=key["KeyId"])["KmsKeyId"] == key["Arn"]
    kms.disable_key(KeyId=key["KeyId"])
    assert refused(create, StorageEncrypted=True, KmsKeyId=key["Arn"])[0] == "KMSKeyNotAccessibleFault"


def test_networks_have_to_be_there_and_to_fit(url: str, rds: Any, create: Create) -> None:
    ec2 = client(url, "ec2")
    vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.7.{number}.0/24", AvailabilityZone=f"us-east-1{zone}")
        for number, zone in enumerate("aab")
    ]
    first, same, second = (subnet["Subnet"]["SubnetId"] for subnet in subnets)
    group = {"DBSubnetGroupName": "tenants", "DBSubnetGroupDescription": "of tenants"}
    too_few = refused(rds.create_db_subnet_group, **group, SubnetIds=[first, same])
    assert too_few[0] == "DBSubnetGroupDoesNotCoverEnoughAZs"
    assert refused(rds.create_db_subnet_group, **group, SubnetIds=[first, "subnet-0"])[0] == "InvalidSubnet"
    rds.create_db_subnet_group(**group, SubnetIds=[first, second])
    assert refused(rds.create_db_subnet_group, **group, SubnetIds=[first, second])[0] == "DBSubnetGroupAlreadyExists"
    inside = ec2.create_security_group(GroupName="inside", Description="inside", VpcId=vpc)["GroupId"]
    outside = ec2.create_security_group(GroupName="outside", Description="outside")["GroupId"]
    made = create(DBSubnetGroupName="tenants", VpcSecurityGroupIds=[inside])
    assert [g["VpcSecurityGroupId"] for g in made["VpcSecurityGroups"]] == [inside]
    assert "different VPCs" in refused(create, DBSubnetGroupName="tenants", VpcSecurityGroupIds=[outside])[1]


def test_a_name_is_taken_until_its_instance_is_gone(control: httpx2.Client, rds: Any, create: Create) -> None:
    create(DBInstanceIdentifier="Mine")
    assert refused(create, DBInstanceIdentifier="mine")[0] == "DBInstanceAlreadyExists"
    order(control, seconds=60)
    rds.delete_db_instance(DBInstanceIdentifier="mine", SkipFinalSnapshot=True)
    assert status(rds, "mine") == "deleting"
    assert refused(create, DBInstanceIdentifier="mine")[0] == "DBInstanceAlreadyExists"


def test_of_calls_at_once_for_one_name_one_wins(rds: Any, create: Create) -> None:
    def attempt(_: int) -> str:
        try:
            return create(DBInstanceIdentifier="wanted")["DBInstanceIdentifier"]
        except rds.exceptions.DBInstanceAlreadyExistsFault:
            return ""

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(attempt, range(8))) == [""] * 7 + ["wanted"]


def test_quotas_are_of_an_account_in_a_region(url: str, control: httpx2.Client, rds: Any, create: Create) -> None:
    order(control, quota={"instances": 3, "sqlserver": 1, "storage": 100})
    create(**SQLSERVER)
    assert refused(create, **SQLSERVER)[0] == "InstanceQuotaExceeded"
    create(Engine="sqlserver-ex")
    assert refused(create, AllocatedStorage=61)[0] == "StorageQuotaExceeded"
    made = create(AllocatedStorage=60)
    assert refused(create)[0] == "InstanceQuotaExceeded"
    with pytest.raises(ClientError, match="StorageQuotaExceeded"):
        rds.modify_db_instance(DBInstanceIdentifier=made["DBInstanceIdentifier"], AllocatedStorage=70)
    elsewhere = client(url, "rds", region="eu-west-1")
    assert elsewhere.create_db_instance(DBInstanceIdentifier="elsewhere", **POSTGRES)
    elsewhere.delete_db_instance(DBInstanceIdentifier="elsewhere", SkipFinalSnapshot=True)


def test_the_default_quota_of_sql_server_is_ten_of_each_edition(create: Create) -> None:
    for _ in range(10):
        create(**SQLSERVER)
    assert refused(create, **SQLSERVER)[0] == "InstanceQuotaExceeded"
    create(**SQLSERVER | {"Engine": "sqlserver-ex"})


def test_a_managed_password_is_in_secrets_manager_as_long_as_the_instance_is_there(url, rds: Any, create) -> None:
    made = create(ManageMasterUserPassword=True, MasterUserPassword=None)
    secrets, arn = client(url, "secretsmanager"), made["MasterUserSecret"]["SecretArn"]
    said = json.loads(secrets.get_secret_value(SecretId=arn)["SecretString"])
    assert said["username"] == "master"
    assert len(said["password"]) >= 20
    tags = {tag["Key"]: tag["Value"] for tag in secrets.describe_secret(SecretId=arn)["Tags"]}
    assert tags["aws:rds:primaryDBInstanceArn"] == made["DBInstanceArn"]
    for change in (secrets.delete_secret, lambda **secret: secrets.put_secret_value(**secret, SecretString="mine")):
        with pytest.raises(secrets.exceptions.InvalidRequestException, match="managed by rds"):
            change(SecretId=arn)
    own = {"MasterUserPassword": "another-one", "DBInstanceIdentifier": made["DBInstanceIdentifier"]}
    assert refused(rds.modify_db_instance, **own)[0] == CONFLICTING
    rds.delete_db_instance(DBInstanceIdentifier=made["DBInstanceIdentifier"], SkipFinalSnapshot=True)
    with pytest.raises(secrets.exceptions.ResourceNotFoundException):
        secrets.get_secret_value(SecretId=arn)


def test_a_deletion_says_what_is_to_become_of_the_data(rds: Any, create: Create) -> None:
    made = create(DeletionProtection=True, Tags=[{"Key": "tenant", "Value": "a"}], CopyTagsToSnapshot=True)
    name = made["DBInstanceIdentifier"]
    delete = {"DBInstanceIdentifier": name, "FinalDBSnapshotIdentifier": "final"}
    assert "protected" in refused(rds.delete_db_instance, **delete)[1]
    rds.modify_db_instance(DBInstanceIdentifier=name, DeletionProtection=False)
    assert refused(rds.delete_db_instance, DBInstanceIdentifier=name)[0] == CONFLICTING
    assert refused(rds.delete_db_instance, **delete, SkipFinalSnapshot=True)[0] == CONFLICTING
    rds.create_db_snapshot(DBInstanceIdentifier=name, DBSnapshotIdentifier="final")
    assert refused(rds.delete_db_instance, **delete)[0] == "DBSnapshotAlreadyExists"
    rds.delete_db_instance(**delete | {"FinalDBSnapshotIdentifier": "final-2"})
    kept = rds.describe_db_snapshots(DBInstanceIdentifier=name)["DBSnapshots"]
    assert {snapshot["DBSnapshotIdentifier"] for snapshot in kept} == {"final", "final-2"}, "automated ones are gone"
    assert kept[-1]["TagList"] == [{"Key": "tenant", "Value": "a"}]
    for snapshot in kept:
        rds.delete_db_snapshot(DBSnapshotIdentifier=snapshot["DBSnapshotIdentifier"])


def test_an_instance_is_changed_when_it_is_available_only(control: httpx2.Client, rds: Any, create: Create) -> None:
    order(control, seconds=60)
    name = create()["DBInstanceIdentifier"]
    busy = "InvalidDBInstanceState"
    assert status(rds, name) == "creating"
    assert refused(rds.modify_db_instance, DBInstanceIdentifier=name, AllocatedStorage=30)[0] == busy
    assert refused(rds.create_db_snapshot, DBInstanceIdentifier=name, DBSnapshotIdentifier="s")[0] == busy
    assert refused(rds.delete_db_instance, DBInstanceIdentifier=name, FinalDBSnapshotIdentifier="s")[0] == busy
    rds.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)
    assert refused(rds.delete_db_instance, DBInstanceIdentifier=name, SkipFinalSnapshot=True)[0] == busy


def test_storage_grows_and_waits_for_the_maintenance_window_unless_told_otherwise(rds: Any, create: Create) -> None:
    name = create()["DBInstanceIdentifier"]
    change = {"DBInstanceIdentifier": name, "AllocatedStorage": 40}
    assert rds.modify_db_instance(**change)["DBInstance"]["PendingModifiedValues"] == {"AllocatedStorage": 40}
    assert rds.modify_db_instance(**change, ApplyImmediately=True)["DBInstance"]["AllocatedStorage"] == 40
    assert refused(rds.modify_db_instance, DBInstanceIdentifier=name, AllocatedStorage=30)[0] == CONFLICTING
    assert refused(rds.modify_db_instance, DBInstanceIdentifier=name, EngineVersion="16")[0] == CONFLICTING
    assert refused(rds.modify_db_instance, DBInstanceIdentifier=name, MasterUserPassword="short")[0] == INVALID


def test_instances_are_found_by_filter_and_page_by_page(rds: Any, create: Create) -> None:
    names = sorted(create()["DBInstanceIdentifier"] for _ in range(23))
    create(**SQLSERVER, DBInstanceIdentifier="other")
    pages = list(
        rds.get_paginator("describe_db_instances").paginate(
            Filters=[{"Name": "engine", "Values": ["postgres"]}], PaginationConfig={"PageSize": 20}
        )
    )
    assert [len(page["DBInstances"]) for page in pages] == [20, 3]
    assert sorted(each["DBInstanceIdentifier"] for page in pages for each in page["DBInstances"]) == names
    assert refused(rds.describe_db_instances, MaxRecords=19)[0] == INVALID


def test_tags_are_of_things_that_are_there(rds: Any, create: Create) -> None:
    arn = create(Tags=[{"Key": "tenant", "Value": "a"}])["DBInstanceArn"]
    rds.add_tags_to_resource(ResourceName=arn, Tags=[{"Key": "tenant", "Value": "b"}, {"Key": "tier", "Value": "paid"}])
    tags = {tag["Key"]: tag["Value"] for tag in rds.list_tags_for_resource(ResourceName=arn)["TagList"]}
    assert tags == {"tenant": "b", "tier": "paid"}
    assert refused(rds.list_tags_for_resource, ResourceName=arn + "x")[0] == "DBInstanceNotFound"


def test_a_fault_befalls_as_many_calls_as_were_ordered(control: httpx2.Client, rds: Any, create: Create) -> None:
    order(control, fail="InsufficientDBInstanceCapacity", times=2)
    for _ in range(2):
        with pytest.raises(rds.exceptions.InsufficientDBInstanceCapacityFault):
            create()
    order(control, fail="creation")
    failed = create()["DBInstanceIdentifier"]
    found = rds.describe_db_instances(DBInstanceIdentifier=failed)["DBInstances"][0]
    assert (found["DBInstanceStatus"], found.get("Endpoint")) == ("failed", None)
    final = {"DBInstanceIdentifier": failed, "FinalDBSnapshotIdentifier": "s"}
    assert refused(rds.delete_db_instance, **final)[0] == "InvalidDBInstanceState"
    order(control, fail="AccessDenied", operation="DescribeDBInstances")
    assert refused(rds.describe_db_instances)[0] == "AccessDenied"
    assert status(rds, create()["DBInstanceIdentifier"]) == "available"


@pytest.mark.parametrize(
    "wanted", [{"fail": "NoSuchFault"}, {"seconds": -1}, {"quota": {"x": 1}}, {"times": 0}, {"speed": 1}, ["seconds"]]
)
def test_an_order_that_makes_no_sense_changes_nothing(control: httpx2.Client, wanted: Any) -> None:
    before = order(control)
    assert control.post("/_sandbox/rds", json=wanted).status_code == 400
    assert order(control) == before


def test_the_page_shows_instances_and_takes_orders(control: httpx2.Client, create: Create) -> None:
    name = create()["DBInstanceIdentifier"]
    page = control.get("/_sandbox/rds").text
    assert name in page
    assert "available" in page
    answer = control.post("/_sandbox/rds", data={"fail": "InstanceQuotaExceeded"}, follow_redirects=True)
    assert answer.status_code == 200
    assert "<code>InstanceQuotaExceeded</code>" in answer.text
    assert refused(create)[0] == "InstanceQuotaExceeded"


def test_the_catalogue_agrees_with_what_is_sold(rds: Any, create: Create) -> None:
    for engine in ("postgres", "sqlserver-ex", "sqlserver-web", "sqlserver-se", "sqlserver-ee"):
        newest = rds.describe_db_engine_versions(Engine=engine, DefaultOnly=True)["DBEngineVersions"][0]
        options = rds.get_paginator("describe_orderable_db_instance_options")
        found = [
            option
            for page in options.paginate(Engine=engine, EngineVersion=newest["EngineVersion"])
            for option in page["OrderableDBInstanceOptions"]
            if option["StorageType"] == "gp3"
        ]
        classes = {option["DBInstanceClass"] for option in found}
        assert len(classes) == len(found) > 3
        assert ("db.t3.small" in classes) == (engine in ("postgres", "sqlserver-ex", "sqlserver-web"))
        option = min(found, key=lambda each: each["DBInstanceClass"])
        wanted = {name: option[name] for name in ("Engine", "EngineVersion", "DBInstanceClass", "LicenseModel")}
        assert create(**wanted, AllocatedStorage=option["MinStorageSize"], StorageType="gp3")
    assert refused(rds.describe_orderable_db_instance_options, Engine="x")[0] == INVALID


def test_what_is_not_served_is_said(rds: Any, create: Create) -> None:
    name = create()["DBInstanceIdentifier"]
    assert refused(rds.stop_db_instance, DBInstanceIdentifier=name)[0] == "InvalidAction"
