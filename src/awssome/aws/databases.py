"""Database servers of RDS: made, looked at and deleted. Nothing here waits for AWS; whoever asks comes again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3
from botocore.exceptions import ClientError

from awssome.aws.troubles import CONFIG, LATER, SOON, Words, code_of, told
from awssome.domain.instances import BACKUP_DAYS, Blueprint, Trouble

ADMINISTRATOR = "awssomeadmin"
"""The master user; RDS makes its password and keeps it in Secrets Manager."""

NO_SNAPSHOT = ("failed", "incompatible-restore", "incompatible-network")
"""States from which RDS takes no last snapshot (RDS API Reference, "DeleteDBInstance")."""

_ORDER = "Mend the settings AWSSOME_RDS_*, restart the workers, then try the move again."
_QUOTA = "Ask AWS for more under Service Quotas, or delete what nobody needs, then try the move again."
_NETWORK = "Mend AWSSOME_RDS_SUBNET_GROUP, AWSSOME_RDS_SECURITY_GROUPS or what they name, then try the move again."
_KEY = "Enable the key, let the workers' role use it, or change AWSSOME_RDS_KMS_KEY, then try the move again."

_WORDS: Words = {
    "InstanceQuotaExceeded": ("The account may have no more instances of RDS.", _QUOTA, None),
    "StorageQuotaExceeded": ("The account may have no more storage in RDS.", _QUOTA, None),
    "SnapshotQuotaExceeded": ("The account may have no more snapshots in RDS.", _QUOTA, None),
    "DBInstanceAutomatedBackupQuotaExceeded": ("The account may have no more backups in RDS.", _QUOTA, None),
    "InsufficientDBInstanceCapacity": (
        "AWS has no capacity left for this class of instance right now.",
        "It is tried again each five minutes. Another AWSSOME_RDS_CLASS may be had at once.",
        LATER,
    ),
    "InvalidParameterCombination": ("RDS does not sell what was ordered.", _ORDER, None),
    "InvalidParameterValue": ("RDS does not sell what was ordered.", _ORDER, None),
    "StorageTypeNotSupported": ("RDS does not sell what was ordered.", _ORDER, None),
    "ProvisionedIopsNotAvailableInAZ": ("RDS does not sell what was ordered there.", _ORDER, None),
    "KMSKeyNotAccessible": ("RDS cannot use the key of KMS.", _KEY, None),
    "DBSubnetGroupNotFound": ("There is no such subnet group.", _NETWORK, None),
    "DBSubnetGroupDoesNotCoverEnoughAZs": ("The subnet group covers too few availability zones.", _NETWORK, None),
    "InvalidSubnet": ("The subnets cannot be used.", _NETWORK, None),
    "InvalidVPCNetworkState": ("The network cannot be used.", _NETWORK, None),
    "DBSecurityGroupNotFound": ("There is no such security group.", _NETWORK, None),
    "DBSnapshotAlreadyExists": (
        "There is a snapshot of that name already, though the instance is still there.",
        "Look at both. Delete the snapshot, or the instance by hand.",
        LATER,
    ),
    "InvalidDBInstanceState": ("The instance is busy.", "It is tried again by itself.", SOON),
}

# RDS User Guide, "Viewing Amazon RDS DB instance status".
_BROKEN = {
    "failed": ("RDS could not make the instance.", "Try the move again: the instance is deleted and made anew."),
    "storage-full": ("The instance's storage is full.", "Give it more storage in RDS."),
    "incompatible-network": ("RDS cannot reach the instance's network.", _NETWORK),
    "incompatible-parameters": ("RDS cannot start it with its parameter group.", "Mend the parameter group in RDS."),
    "incompatible-option-group": ("RDS cannot start it with its option group.", "Mend the option group in RDS."),
    "incompatible-credentials": ("RDS cannot use the instance's credentials.", "Mend them in RDS."),
    "incompatible-restore": ("RDS cannot restore the instance.", "Look at its events in RDS."),
    "inaccessible-encryption-credentials": ("RDS cannot use the key of KMS.", _KEY),
    "inaccessible-encryption-credentials-recoverable": ("RDS cannot use the key of KMS.", _KEY),
    "insufficient-capacity": ("AWS has no capacity left for this class right now.", "Choose another class in RDS."),
    "restore-error": ("RDS could not restore the instance.", "Look at its events in RDS."),
    "stopped": ("The instance is stopped.", "Start it in RDS."),
}


@dataclass(frozen=True)
class Instance:
    """An instance as RDS describes it.

    :ivar status: RDS's own word.
    :ivar host: "" until there is an endpoint.
    :ivar protected: against deletion.
    :ivar secret: ARN of what Secrets Manager keeps of the administrator; None until there is one.
    """

    status: str
    host: str
    port: int
    protected: bool
    secret: str | None
    tags: dict[str, str]

    @property
    def broken(self) -> Trouble | None:
        """What is wrong with it that does not pass by itself."""
        if self.status not in _BROKEN:
            return None
        message, advice = _BROKEN[self.status]
        return Trouble(f"{message} Its state is {self.status}.", advice)


class Databases:
    """RDS, in the region and with the credentials of the AWS SDK's own settings. For workers only.

    Every method raises `domain.instances.Trouble` when AWS does not do it.
    """

    def create(self, name: str, blueprint: Blueprint, tags: dict[str, str]) -> Instance | None:
        """Ask for an instance. None when there is one of that name: it may be the one that was asked for before.

        Source: RDS API Reference, "CreateDBInstance"; it takes no token that would make a second call harmless.
        """
        try:
            with told("RDS", _WORDS), _turned(_AlreadyThere, "DBInstanceAlreadyExists"):
                made = self._client.create_db_instance(**_order(name, blueprint, tags))
        except _AlreadyThere:
            return None
        return _instance(made["DBInstance"])

    def find(self, name: str, tags: dict[str, str]) -> Instance | None:
        """The instance of that name; None when there is none.

        :raises Trouble: also when it does not carry our tags: it is somebody else's, and nothing of it is touched.
        """
        try:
            with told("RDS", _WORDS), _gone():
                answer = self._client.describe_db_instances(DBInstanceIdentifier=name)
        except _Gone:
            return None
        found = _instance(answer["DBInstances"][0])
        if any(found.tags.get(key) != tags[key] for key in ("awssome:platform", "awssome:server")):
            raise Trouble(
                f"RDS has an instance “{name}” that is not ours: its tags are others. It was not touched.",
                "Find out whose it is. Delete it, or cancel the move.",
            )
        return found

    def of_platform(self, platform: str) -> list[str]:
        """The names of all instances that carry the platform's tag and are not being deleted, in order."""
        with told("RDS", _WORDS):
            pages = self._client.get_paginator("describe_db_instances").paginate()
            rows = [row for page in pages for row in page["DBInstances"]]
        ours = [row for row in rows if _instance(row).tags.get("awssome:platform") == platform]
        return sorted(str(row["DBInstanceIdentifier"]) for row in ours if row["DBInstanceStatus"] != "deleting")

    def protect(self, name: str) -> None:
        """Against deletion by mistake: from the moment on from which it holds what is somebody's.

        One that RDS could not make could not be deleted otherwise: its settings can no longer be changed.
        """
        with told("RDS", _WORDS):
            self._client.modify_db_instance(DBInstanceIdentifier=name, DeletionProtection=True, ApplyImmediately=True)

    def delete(self, name: str, snapshot: str | None, *, protected: bool = False) -> None:
        """Ask for its deletion; nothing happens when it is gone.

        :param snapshot: the name of a last snapshot; None: there is to be none.
        :param protected: its protection goes first.
        """
        last = {"FinalDBSnapshotIdentifier": snapshot} if snapshot else {"SkipFinalSnapshot": True}
        try:
            with told("RDS", _WORDS), _gone():
                if protected:
                    self._client.modify_db_instance(
                        DBInstanceIdentifier=name, DeletionProtection=False, ApplyImmediately=True
                    )
                self._client.delete_db_instance(DBInstanceIdentifier=name, DeleteAutomatedBackups=True, **last)
        except _Gone:
            return

    def snapshot_status(self, snapshot: str) -> str | None:
        """RDS's word for a snapshot's state; None when there is none."""
        try:
            with told("RDS", _WORDS), _gone():
                answer = self._client.describe_db_snapshots(DBSnapshotIdentifier=snapshot)
        except _Gone:
            return None
        found = answer["DBSnapshots"]
        return str(found[0]["Status"]) if found else None

    def delete_snapshot(self, snapshot: str) -> None:
        """Delete a snapshot; nothing happens when it is gone."""
        with suppress(_Gone), told("RDS", _WORDS), _gone():
            self._client.delete_db_snapshot(DBSnapshotIdentifier=snapshot)

    @cached_property
    def _client(self) -> Any:
        return boto3.client("rds", config=CONFIG)


class _Gone(Exception):
    """There is no such thing."""


class _AlreadyThere(Exception):
    """There is one of that name."""


@contextmanager
def _turned(into: type[Exception], *codes: str) -> Iterator[None]:
    """Errors with these codes, as an exception of ours: before `told` sees them."""
    try:
        yield
    except ClientError as error:
        if code_of(error) in codes:
            raise into from None
        raise


def _gone() -> AbstractContextManager[None]:
    return _turned(_Gone, "DBInstanceNotFound", "DBSnapshotNotFound")


def _order(name: str, wanted: Blueprint, tags: dict[str, str]) -> dict[str, Any]:
    order: dict[str, Any] = {
        "DBInstanceIdentifier": name,
        "Engine": wanted.engine,
        "DBInstanceClass": wanted.size,
        "AllocatedStorage": wanted.storage_gb,
        "StorageType": "gp3",
        "StorageEncrypted": True,
        "MultiAZ": wanted.multi_az,
        "PubliclyAccessible": False,
        "MasterUsername": ADMINISTRATOR,
        "ManageMasterUserPassword": True,
        "BackupRetentionPeriod": BACKUP_DAYS,
        "CopyTagsToSnapshot": True,
        "AutoMinorVersionUpgrade": True,
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }
    if wanted.engine != "postgres":
        order["LicenseModel"] = "license-included"
    if wanted.subnet_group:
        order["DBSubnetGroupName"] = wanted.subnet_group
    if wanted.security_groups:
        order["VpcSecurityGroupIds"] = list(wanted.security_groups)
    if wanted.kms_key:
        order |= {"KmsKeyId": wanted.kms_key, "MasterUserSecretKmsKeyId": wanted.kms_key}
    return order


def _instance(row: dict[str, Any]) -> Instance:
    endpoint = row.get("Endpoint") or {}
    return Instance(
        status=str(row["DBInstanceStatus"]),
        host=str(endpoint.get("Address") or ""),
        port=int(endpoint.get("Port") or 0),
        protected=bool(row.get("DeletionProtection")),
        secret=(row.get("MasterUserSecret") or {}).get("SecretArn"),
        tags={tag["Key"]: tag["Value"] for tag in row.get("TagList", [])},
    )
