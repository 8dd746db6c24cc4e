"""What RDS keeps of an account in a region, and what it does to it. One call at a time.

The module has the name that moto expects: it finds `urls` by it.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar, cast

from moto.rds import exceptions
from moto.rds.exceptions import RDSClientError
from moto.rds.models import DBInstance, DBSnapshot, RDSBackend, rds_backends

from awssome_sandbox.aws.rds.catalogue import ENGINES
from awssome_sandbox.aws.rds.conduct import CONDUCT
from awssome_sandbox.aws.rds.instances import Instance, Snapshot

Method = TypeVar("Method", bound=Callable[..., Any])


def _one_at_a_time(method: Method) -> Method:
    @functools.wraps(method)
    def locked(self: Databases, *arguments: Any, **named: Any) -> Any:
        with self.lock:
            return method(self, *arguments, **named)

    return cast(Method, locked)


def install() -> None:
    """Put this in the place of moto's RDS, before moto makes its first backend."""
    rds_backends.backend = Databases


class Databases(RDSBackend):
    """moto's backend with quotas and states."""

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.lock = threading.RLock()

    @property
    def instances(self) -> list[Instance]:
        """All instances, those that are being deleted among them."""
        return [found for found in self.databases.values() if isinstance(found, Instance)]

    @_one_at_a_time
    def settle(self) -> None:
        """Let all instances pass on to the states that they have reached by now."""
        for instance in self.instances:
            instance.settle()
            if instance.gone:
                del self.databases[instance.db_instance_identifier]

    @_one_at_a_time
    def create_db_instance(self, db_kwargs: dict[str, Any]) -> Instance:
        """Begin to make an instance, within the quotas."""
        wanted = {name: value for name, value in db_kwargs.items() if value is not None}
        name = wanted["db_instance_identifier"]
        if name in self.databases:
            raise exceptions.DBInstanceAlreadyExists
        self._check_quotas(wanted["engine"], int(wanted.get("allocated_storage", 0)))
        instance = Instance(self, **wanted)  # type: ignore[abstract]  # as moto does
        self.databases[name] = instance
        instance.add_event("DB_INSTANCE_CREATE")
        instance.settle()
        return instance

    @_one_at_a_time
    def modify_db_instance(self, db_instance_identifier: str, db_kwargs: dict[str, Any]) -> Instance:
        """Begin to change an available instance."""
        instance = self.find(db_instance_identifier)
        if instance.status != "available":
            raise RDSClientError("InvalidDBInstanceState", "Database instance is not in available state.")
        wanted = {name: value for name, value in db_kwargs.items() if value is not None}
        del wanted["db_instance_identifier"]
        if "engine_version" in wanted:
            wanted["engine_version"] = ENGINES[instance.engine].version(wanted["engine_version"])
        if "allocated_storage" in wanted:
            self._check_storage(wanted["allocated_storage"] - instance.allocated_storage)
        instance.change(wanted, now=bool(wanted.pop("apply_immediately", False)))
        if not CONDUCT.seconds:
            instance.settle()
        return instance

    @_one_at_a_time
    def delete_db_instance(
        self,
        db_instance_identifier: str,
        final_db_snapshot_identifier: str | None = None,
        skip_final_snapshot: bool | None = False,
        delete_automated_backups: bool | None = True,
    ) -> Instance:
        """Begin to delete an instance that is not protected, after a final snapshot unless there is to be none."""
        instance = self.find(db_instance_identifier)
        name, state = instance.db_instance_identifier, instance.status
        if state == "deleting":
            raise RDSClientError("InvalidDBInstanceState", f"Instance {name} is already being deleted.")
        if instance.deletion_protection:
            told = "Cannot delete protected DB Instance, please disable deletion protection and try again."
            raise RDSClientError("InvalidParameterCombination", told)
        if final_db_snapshot_identifier and not skip_final_snapshot:
            if state in ("creating", "failed"):
                told = f"Cannot create a final snapshot because the DB instance {name} is {state}."
                raise RDSClientError("InvalidDBInstanceState", told)
            self._snapshot(instance, final_db_snapshot_identifier)
        if delete_automated_backups:
            for snapshot in [s for s in self.database_snapshots.values() if s.snapshot_type == "automated"]:
                if snapshot.dbi_resource_id == instance.dbi_resource_id:
                    del self.database_snapshots[snapshot.db_snapshot_identifier]
        instance.begin_deletion()
        return instance

    @_one_at_a_time
    def create_db_snapshot(
        self,
        db_instance_identifier: str,
        db_snapshot_identifier: str,
        snapshot_type: str = "manual",
        tags: list[dict[str, str]] | None = None,
        original_created_at: datetime | None = None,
        kms_key_id: str | None = None,
    ) -> Snapshot:
        """Begin to take a snapshot of an available instance."""
        instance = self.find(db_instance_identifier)
        if snapshot_type == "manual" and instance.status != "available":
            told = (
                f"Cannot create a snapshot because the database instance {instance.db_instance_identifier} is not "
                "currently in the available state."
            )
            raise RDSClientError("InvalidDBInstanceState", told)
        return self._snapshot(instance, db_snapshot_identifier, snapshot_type, tags, original_created_at, kms_key_id)

    @_one_at_a_time
    def describe_db_instances(self, *arguments: Any, **named: Any) -> list[DBInstance]:
        """As moto has it."""
        return super().describe_db_instances(*arguments, **named)

    @_one_at_a_time
    def describe_db_snapshots(self, *arguments: Any, **named: Any) -> list[DBSnapshot]:
        """As moto has it."""
        return super().describe_db_snapshots(*arguments, **named)

    def find(self, name: str) -> Instance:
        """An instance by its identifier or ARN."""
        return cast(Instance, self.describe_db_instances(name)[0])

    def _get_resource_for_tagging(self, arn: str) -> Any:
        found = super()._get_resource_for_tagging(arn)
        if found is None:
            kind, name = arn.split(":", 6)[5:]
            raise (exceptions.DBSnapshotNotFoundFault if kind == "snapshot" else exceptions.DBInstanceNotFoundError)(
                name
            )
        return found

    def _snapshot(self, instance: Instance, name: str, kind: str = "manual", *more: Any) -> Snapshot:
        if name in self.database_snapshots:
            raise exceptions.DBSnapshotAlreadyExistsError(name)
        manual = sum(s.snapshot_type == "manual" for s in self.database_snapshots.values())
        if kind == "manual" and manual >= CONDUCT.quotas["snapshots"]:
            raise exceptions.SnapshotQuotaExceededFault
        snapshot = Snapshot(self, instance, name, kind, *more)
        self.database_snapshots[name] = snapshot
        return snapshot

    def _check_quotas(self, engine: str, gibibytes: int) -> None:
        full = len(self.instances) >= CONDUCT.quotas["instances"]
        if engine.startswith("sqlserver-"):
            same = sum(instance.engine == engine for instance in self.instances)
            full = full or same >= CONDUCT.quotas["sqlserver"]
        if full:
            raise RDSClientError("InstanceQuotaExceeded", "DB Instance quota exceeded")
        self._check_storage(gibibytes)

    def _check_storage(self, more: int) -> None:
        if sum(int(instance.allocated_storage) for instance in self.instances) + more > CONDUCT.quotas["storage"]:
            raise RDSClientError("StorageQuotaExceeded", "Storage quota exceeded.")
