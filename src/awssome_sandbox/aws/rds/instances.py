"""An instance and its snapshots with the states that they pass through."""

from __future__ import annotations

import base64
import json
import secrets
import time
from typing import Any

from moto.rds.models import DBInstance, DBSnapshot, MasterUserSecret, RDSBackend

from awssome_sandbox.aws.rds.conduct import CONDUCT
from awssome_sandbox.aws.rds.servers import Server

# What a state takes of the seconds that an instance takes until it is available.
_BACKING_UP, _CHANGING, _NOTICING = 0.2, 0.25, 0.05

# What waits for the maintenance window unless it is to be applied immediately.
_DEFERRED = (
    "allocated_storage",
    "ca_certificate_identifier",
    "db_instance_class",
    "engine_version",
    "iops",
    "license_model",
    "multi_az",
    "storage_type",
)
# What is changed on the spot, without a state of its own.
_AT_ONCE = ("copy_tags_to_snapshot", "deletion_protection", "max_allocated_storage")
_SHOWN = {
    "allocated_storage": "AllocatedStorage",
    "backup_retention_period": "BackupRetentionPeriod",
    "ca_certificate_identifier": "CACertificateIdentifier",
    "db_instance_class": "DBInstanceClass",
    "engine_version": "EngineVersion",
    "iops": "Iops",
    "license_model": "LicenseModel",
    "master_user_password": "MasterUserPassword",
    "multi_az": "MultiAZ",
    "storage_type": "StorageType",
}
"""How changes to come are shown, by moto's names."""


class Clock:
    """How long a state lasts: a share of the seconds that hold when one looks."""

    def __init__(self, share: float) -> None:
        self._began, self._share = time.monotonic(), share

    @property
    def over(self) -> bool:
        """Whether the time has passed."""
        return time.monotonic() >= self._began + CONDUCT.seconds * self._share


class Secret(MasterUserSecret):
    """The secret in Secrets Manager of a master user whose password RDS manages."""

    def __init__(self, resource: Instance, kms_key_id: str | None, password: str) -> None:
        self._password = password
        super().__init__(resource, kms_key_id)

    @property
    def secret_status(self) -> str:
        """`creating` as long as its instance is."""
        return "creating" if self.resource.status == "creating" else "active"

    def change(self, password: str) -> None:
        """Another password, as after a rotation."""
        self._password = password
        self.secretsmanager.put_secret_value(
            self.secret.arn, self._generate_secret_string(), "", secrets.token_hex(16), ["AWSCURRENT"]
        )

    def _generate_secret_string(self) -> str:
        return json.dumps({"username": self.resource.master_username, "password": self._password})

    def _generate_secret_description(self) -> str:
        return f"The secret associated with the primary RDS DB instance: {self.resource.arn}"

    def _generate_secret_tags(self) -> list[dict[str, str]]:
        return [{"Key": "aws:rds:primaryDBInstanceArn", "Value": self.resource.arn}]


class Instance(DBInstance):
    """moto's instance, which becomes available by and by, with a server behind it if there is a command for it."""

    server: Server | None = None

    def __init__(self, backend: RDSBackend, **wanted: Any) -> None:
        managed = wanted.pop("manage_master_user_password", False)
        kms_key = wanted.pop("master_user_secret_kms_key_id", None)
        self._stage, self._clock = "creating", Clock(1 - _BACKING_UP)
        self._changes: dict[str, Any] = {}
        self._coming: dict[str, Any] = {}
        super().__init__(backend, **wanted)
        self.dbi_resource_id = f"db-{base64.b32encode(secrets.token_bytes(16)).decode().rstrip('=')}"
        self.master_password = self._master_user_password or secrets.token_urlsafe(24)
        self.manage_master_user_password = bool(managed)
        if managed:
            self.master_user_secret = Secret(self, kms_key, self.master_password)
        self._spoiled = CONDUCT.spoils_creation()
        if CONDUCT.servers and not self._spoiled:
            self.server = CONDUCT.servers.start(
                self.dbi_resource_id,
                {
                    "INSTANCE": self.db_instance_identifier,
                    "ENGINE": self.engine,
                    "USERNAME": self.master_username or "",
                    "PASSWORD": self.master_password,
                    "DATABASE": self.db_name or "",
                },
            )

    @property
    def status(self) -> str:
        """The state, as DescribeDBInstances names it."""
        return self._stage

    @status.setter
    def status(self, _: str) -> None:
        """moto says `available` from the start; states are decided by `settle` alone."""

    @property
    def gone(self) -> bool:
        """Whether its deletion is over."""
        return self._stage == "deleted"

    @property
    def address(self) -> str:
        """Where it answers; a made-up name without a server behind it."""
        if self.server and self.server.endpoint:
            return self.server.endpoint[0]
        return str(super().address)

    @property
    def endpoint(self) -> dict[str, Any] | None:  # type: ignore[override]
        """None until there is one: while it is being created, and when that has failed."""
        if self._stage in ("creating", "failed") or (self.server and not self.server.endpoint):
            return None
        port = self.server.endpoint[1] if self.server and self.server.endpoint else self.port
        return {"Address": self.address, "Port": port, "HostedZoneId": "Z2R2ITUGPM61AM"}

    @property
    def pending_modified_values(self) -> dict[str, Any]:
        """What was asked for and is not done yet."""
        asked = {**self._coming, **self._changes}
        shown = {_SHOWN[name]: value for name, value in asked.items() if name in _SHOWN}
        return shown | ({"MasterUserPassword": "****"} if "MasterUserPassword" in shown else {})

    def settle(self) -> None:
        """Pass on to the state that it has reached by now."""
        while self._step():
            pass

    def change(self, wanted: dict[str, Any], *, now: bool) -> None:
        """Begin to change what was asked for; the state becomes `modifying` after a while, as it does at AWS."""
        for name in _AT_ONCE:
            if wanted.get(name) is not None:
                setattr(self, name, wanted.pop(name))
        if not now:
            self._coming |= {name: wanted.pop(name) for name in _DEFERRED if name in wanted}
        if wanted:
            self._changes |= wanted
            self._clock = Clock(_NOTICING)

    def begin_deletion(self) -> None:
        """Begin to delete it. Its server ends in the meantime."""
        self._go("deleting", _CHANGING)
        if self.server:
            self.server.begin_end()
        if self.manage_master_user_password:
            self.master_user_secret.delete_secret()

    def _step(self) -> bool:
        """Pass on to the next state if it is time; whether it was."""
        if self._stage == "creating" and (self._spoiled or (self.server and self.server.failed)):
            return self._go("failed")
        due = self._clock.over
        match self._stage:
            case "creating" if due and (self.server is None or self.server.endpoint):
                backed_up = self.backup_retention_period
                return self._go("backing-up" if backed_up else "available", _BACKING_UP)
            case "backing-up" if due:
                self.save_automated_backup()
                return self._go("available")
            case "available" if due and self._changes:
                return self._go("modifying", _CHANGING)
            case "modifying" if due:
                self._apply()
                return self._go("available")
            case "deleting" if due and (self.server is None or self.server.ended):
                return self._go("deleted")
        return False

    def _go(self, stage: str, share: float = 0) -> bool:
        self._stage, self._clock = stage, Clock(share)
        return True

    def _apply(self) -> None:
        changes, self._changes = self._changes, {}
        rotated = secrets.token_urlsafe(24) if changes.pop("rotate_master_user_password", False) else None
        password = changes.pop("master_user_password", None) or rotated
        if password and (self.server is None or self.server.change_password(password)):
            self.master_password = password
            if rotated and isinstance(self.master_user_secret, Secret):
                self.master_user_secret.change(rotated)
        self.update(**changes)


class Snapshot(DBSnapshot):
    """moto's snapshot, which is `creating` for a while. It holds no data."""

    def __init__(self, *arguments: Any) -> None:
        self._clock = Clock(_CHANGING)
        super().__init__(*arguments)

    @property
    def status(self) -> str:
        """The state, as DescribeDBSnapshots names it."""
        return "available" if self._clock.over else "creating"

    @status.setter
    def status(self, _: str) -> None:
        """moto says `available` from the start."""

    @property
    def percent_progress(self) -> int:
        """As DescribeDBSnapshots tells it."""
        return 100 if self.status == "available" else 0
