"""What RDS asks of the parameters of a request, in its words. Raised as moto's exceptions, by the API's codes.

Sources: the API reference of CreateDBInstance, ModifyDBInstance and DeleteDBInstance, the user guide's pages on
encryption, Multi-AZ and licences, and answers of RDS that others have published.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from moto.ec2.models import ec2_backends
from moto.kms.models import kms_backends
from moto.rds.exceptions import RDSClientError
from moto.rds.models import rds_backends

from awssome_sandbox.aws.rds.catalogue import ENGINES, Engine

_IDENTIFIER = re.compile(r"(?!.*--)[A-Za-z][A-Za-z0-9-]*(?<!-)")
_USERNAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,15}")
_DATABASE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_PASSWORD = re.compile(r"[!#-.0-?A-~]+")
"""Printable ASCII but `/`, `@`, `"` and the space."""

_RESERVED = {
    "postgres": {"admin", "rdsadmin", "rds_superuser", "rds_replication", "public", "none", "user", "default"},
    "sqlserver": {"sa", "rdsa", "rdsadmin", "public", "dbo", "guest", "sysadmin", "securityadmin", "serveradmin"}
    | {"setupadmin", "processadmin", "diskadmin", "dbcreator", "bulkadmin", "db_owner", "sys", "information_schema"},
}
_RESERVED_DATABASES = {"postgres", "template0", "template1", "rdsadmin"}


def invalid(message: str) -> RDSClientError:
    """A value that cannot be."""
    return RDSClientError("InvalidParameterValue", message)


def conflicting(message: str) -> RDSClientError:
    """Values that do not go together."""
    return RDSClientError("InvalidParameterCombination", message)


def check_creation(account: str, region: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What a creation's parameters have to be; the same with the defaults that RDS fills in, by moto's names.

    :raises RDSClientError: with the code that RDS has for it.
    """
    wanted = {name: value for name, value in asked.items() if value is not None}
    check_identifier("DBInstanceIdentifier", wanted["db_instance_identifier"], 63)
    engine = _engine(wanted)
    if "db_cluster_identifier" in wanted:
        raise conflicting("The sandbox has no clusters.")
    version = engine.version(wanted.get("engine_version"))
    if version is None:
        raise conflicting(f"Cannot find version {wanted['engine_version']} for {engine.name}")
    license_model = wanted.setdefault("license_model", engine.licenses[0])
    if license_model not in engine.licenses:
        raise conflicting(f"Invalid license model '{license_model}' for engine '{engine.name}'.")
    _check_class(engine, version, wanted["db_instance_class"], license_model)
    _check_storage(engine, wanted)
    _check_master(engine, wanted)
    _check_database(engine, wanted.get("db_name"))
    _check_key(account, region, engine, wanted)
    _check_network(account, region, wanted)
    _check_tags(wanted.get("tags", []))
    if wanted.get("multi_az") and not engine.multi_az:
        raise conflicting(f"Multi-AZ is not supported for engine {engine.name}.")
    _check_retention(wanted)
    if not 1150 <= wanted.setdefault("port", engine.port) <= 65535:
        raise invalid("Invalid port. Valid port range is 1150 to 65535.")
    return wanted | {"engine": engine.name, "engine_version": version}


def check_change(instance: Any, asked: Mapping[str, Any]) -> None:
    """What a modification's parameters have to be, for an instance of moto's. :raises RDSClientError: likewise."""
    engine = ENGINES[instance.engine]
    version = instance.engine_version
    if asked.get("new_db_instance_identifier"):
        raise conflicting("The sandbox does not rename instances.")
    if wanted := asked.get("engine_version"):
        full = engine.version(wanted)
        if full is None or engine.versions.index(full) < engine.versions.index(version):
            raise conflicting(f"Cannot upgrade {engine.name} from {version} to {wanted}")
        version = full
    if wanted := asked.get("db_instance_class"):
        _check_class(engine, version, wanted, instance.license_model)
    if (storage := asked.get("allocated_storage")) is not None and storage < instance.allocated_storage:
        raise conflicting(
            f"Requested storage size ({storage}) cannot be less than the current storage size "
            f"({instance.allocated_storage})"
        )
    if storage is not None:
        kind = asked.get("storage_type") or instance.storage_type
        _check_storage(engine, {"allocated_storage": storage, "storage_type": kind})
    if (password := asked.get("master_user_password")) is not None:
        if instance.manage_master_user_password:
            raise conflicting("You can't specify MasterUserPassword for an instance with ManageMasterUserPassword.")
        _check_password(password)
    if asked.get("manage_master_user_password") is not None:
        raise conflicting("The sandbox does not change who manages the master user's password.")
    if asked.get("rotate_master_user_password"):
        if not instance.manage_master_user_password:
            raise conflicting("You can't rotate the master user password of an instance that manages it itself.")
        if not asked.get("apply_immediately"):
            raise conflicting("You must specify apply immediately when rotating the master user password.")
    _check_retention(asked)


def check_deletion(asked: Mapping[str, Any]) -> None:
    """A final snapshot, or none, but not both. :raises RDSClientError: likewise."""
    name, skip = asked.get("final_db_snapshot_identifier"), asked.get("skip_final_snapshot")
    if not name and not skip:
        raise conflicting("FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified.")
    if name and skip:
        raise conflicting("FinalDBSnapshotIdentifier can not be specified when SkipFinalSnapshot is specified.")
    if name:
        check_identifier("FinalDBSnapshotIdentifier", name, 255)


def check_subnet_group(account: str, region: str, asked: Mapping[str, Any]) -> None:
    """A new group of subnets that are there, in two zones at least. :raises RDSClientError: likewise."""
    name, wanted = asked["db_subnet_group_name"], asked.get("subnet_ids", [])
    if name in rds_backends[account][region].subnet_groups:
        raise RDSClientError("DBSubnetGroupAlreadyExists", f"The DB subnet group '{name}' already exists.")
    known = {subnet.id: subnet for subnet in ec2_backends[account][region].describe_subnets()}
    if missing := [subnet for subnet in wanted if subnet not in known]:
        raise RDSClientError("InvalidSubnet", f"The subnets {', '.join(missing)} do not exist.")
    if len({known[subnet].availability_zone for subnet in wanted}) < 2:
        raise RDSClientError(
            "DBSubnetGroupDoesNotCoverEnoughAZs",
            "The DB subnet group doesn't meet Availability Zone (AZ) coverage requirement: at least 2 AZs.",
        )


def check_identifier(parameter: str, value: str, longest: int) -> None:
    """An identifier as RDS takes it. :raises RDSClientError: InvalidParameterValue."""
    if len(value) > longest or not _IDENTIFIER.fullmatch(value):
        raise invalid(
            f"The parameter {parameter} is not a valid identifier. Identifiers must begin with a letter; must contain "
            "only ASCII letters, digits, and hyphens; and must not end with a hyphen or contain two hyphens in a row."
        )


def _engine(wanted: Mapping[str, Any]) -> Engine:
    try:
        return ENGINES[str(wanted["engine"]).lower()]
    except KeyError:
        raise invalid(f"Invalid DB engine. The sandbox has {', '.join(ENGINES)}.") from None


def _check_class(engine: Engine, version: str, wanted: str, license_model: str) -> None:
    if not any(wanted in known.classes for known in ENGINES.values()):
        raise invalid(f"Invalid DB Instance class: {wanted}")
    if wanted not in engine.classes:
        raise conflicting(
            f"RDS does not support creating a DB instance with the following combination: DBInstanceClass={wanted}, "
            f"Engine={engine.name}, EngineVersion={version}, LicenseModel={license_model}. For supported combinations "
            "of instance class and database engine version, see the documentation."
        )


def _check_storage(engine: Engine, wanted: dict[str, Any]) -> None:
    kind = wanted.setdefault("storage_type", "io1" if wanted.get("iops") else "gp2")
    allowed = engine.storage_types.get(kind)
    if allowed is None:
        raise invalid(f"Invalid storage type: {kind}")
    if "allocated_storage" not in wanted:
        raise invalid("The parameter AllocatedStorage must be provided and must not be blank.")
    if wanted["allocated_storage"] not in allowed:
        raise invalid(
            f"Invalid storage size for engine name {engine.name} and storage type {kind}: {wanted['allocated_storage']}"
        )
    if kind in ("io1", "io2") and not wanted.get("iops"):
        raise conflicting(f"You must specify Iops for storage type {kind}.")
    if (most := wanted.get("max_allocated_storage")) is not None and most <= wanted["allocated_storage"]:
        raise conflicting("Max storage size must be greater than storage size")


def _check_master(engine: Engine, wanted: Mapping[str, Any]) -> None:
    name = wanted.get("master_username")
    if not name:
        raise invalid("The parameter MasterUsername must be provided and must not be blank.")
    if not _USERNAME.fullmatch(name):
        raise invalid("The parameter MasterUsername is not a valid identifier: a letter, then letters, digits or _.")
    if name.lower() in _RESERVED["sqlserver" if engine.is_sqlserver else "postgres"]:
        raise invalid(f"MasterUsername {name} cannot be used as it is a reserved word used by the engine")
    password, managed = wanted.get("master_user_password"), wanted.get("manage_master_user_password")
    if managed and password is not None:
        raise conflicting("You can't specify MasterUserPassword when ManageMasterUserPassword is enabled.")
    if wanted.get("master_user_secret_kms_key_id") and not managed:
        raise conflicting("MasterUserSecretKmsKeyId needs ManageMasterUserPassword.")
    if not managed and password is None:
        raise invalid("The parameter MasterUserPassword must be provided and must not be blank.")
    if password is not None:
        _check_password(password)


def _check_password(password: str) -> None:
    reason = ""
    if len(password) < 8:
        reason = "it is shorter than 8 characters"
    elif len(password) > 128:
        reason = "it is longer than 128 characters"
    elif not _PASSWORD.fullmatch(password):
        reason = "only printable ASCII characters besides '/', '@', '\"', ' ' may be used"
    if reason:
        raise invalid(f"The parameter MasterUserPassword is not a valid password because {reason}.")


def _check_database(engine: Engine, name: str | None) -> None:
    if name is None:
        return
    if engine.is_sqlserver:
        raise invalid(f"DBName must be null for engine: {engine.name}")
    if not _DATABASE.fullmatch(name):
        raise invalid("DBName must begin with a letter and contain only alphanumeric characters.")
    if name.lower() in _RESERVED_DATABASES:
        raise invalid(f"DBName {name} cannot be used as it is a reserved word for this engine")


def _check_key(account: str, region: str, engine: Engine, wanted: dict[str, Any]) -> None:
    key = wanted.get("kms_key_id")
    if wanted.get("storage_encrypted") and not engine.encryption:
        raise conflicting(f"Encryption at rest is not supported for engine {engine.name}.")
    if key and not wanted.get("storage_encrypted"):
        raise conflicting("KmsKeyId can be specified only for an encrypted DB instance.")
    if wanted.get("storage_encrypted"):
        wanted["kms_key_id"] = _usable_key(account, region, key or "alias/aws/rds")
    if secrets_key := wanted.get("master_user_secret_kms_key_id"):
        _usable_key(account, region, secrets_key)


def _usable_key(account: str, region: str, asked: str) -> str:
    """The ARN of a key, given by id, ARN or alias."""
    backend = kms_backends[account][region]
    alias = backend.get_alias_name(asked)
    key_id = backend.get_key_id_from_alias(alias) if alias.startswith("alias/") else backend.get_key_id(asked)
    key = backend.keys.get(key_id.rpartition("/")[2]) if key_id else None
    if key is None or key.key_state != "Enabled":
        raise RDSClientError(
            "KMSKeyNotAccessibleFault",
            f"Specified KMS key [{asked}] does not exist, is not enabled or you do not have permissions to access it.",
        )
    return str(key.arn)


def _check_network(account: str, region: str, wanted: Mapping[str, Any]) -> None:
    known = {group.id: group.vpc_id for group in ec2_backends[account][region].describe_security_groups()}
    groups = wanted.get("vpc_security_group_ids", [])
    if missing := [name for name in groups if name not in known]:
        raise invalid(f"Invalid security group , groupId= {', '.join(missing)}, groupName=.")
    if subnets := wanted.get("db_subnet_group_name"):
        vpc = rds_backends[account][region].describe_db_subnet_groups(subnets)[0].vpc_id
        if other := next((known[name] for name in groups if known[name] != vpc), None):
            raise conflicting(
                "The DB instance and EC2 security group are in different VPCs. "
                f"The DB instance is in {vpc} and the EC2 security group is in {other}"
            )


def _check_tags(tags: list[Mapping[str, str]]) -> None:
    if len(tags) > 50:
        raise invalid("The number of tags exceeds 50.")
    for tag in tags:
        key = tag.get("Key", "")
        if not key or key.lower().startswith("aws:") or len(key) > 128 or len(tag.get("Value", "")) > 256:
            raise invalid(f"Invalid tag key or value: {key}")


def _check_retention(wanted: Mapping[str, Any]) -> None:
    days = wanted.get("backup_retention_period")
    if days is not None and not 0 <= days <= 35:
        raise invalid(f"Invalid backup retention period: {days}. Retention period must be between 0 and 35")
