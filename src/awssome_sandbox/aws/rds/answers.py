"""RDS's API: which operations are served, with which rules; the rest of the answer is moto's."""

from __future__ import annotations

from typing import Any, cast

from moto.core.common_types import TYPE_RESPONSE
from moto.core.responses import ActionResult, PaginatedResult
from moto.rds.models import rds_backends
from moto.rds.responses import RDSResponse

from awssome_sandbox.aws.calls import query_refusal
from awssome_sandbox.aws.rds import rules
from awssome_sandbox.aws.rds.catalogue import ENGINES, Engine
from awssome_sandbox.aws.rds.conduct import CONDUCT, ERRORS
from awssome_sandbox.aws.rds.models import Databases

_SERVED = frozenset(
    f"{verb}{noun}"
    for noun, verbs in {
        "DBInstance": "Create Modify Delete",
        "DBInstances": "Describe",
        "DBSnapshot": "Create Delete",
        "DBSnapshots": "Describe",
        "DBSubnetGroup": "Create Modify Delete",
        "DBSubnetGroups": "Describe",
        "DBParameterGroup": "Create Modify Delete",
        "DBParameterGroups": "Describe",
        "DBParameters": "Describe",
        "OptionGroup": "Create Modify Delete",
        "OptionGroups": "Describe",
        "DBEngineVersions": "Describe",
        "OrderableDBInstanceOptions": "Describe",
        "Events": "Describe",
        "TagsToResource": "Add",
        "TagsFromResource": "Remove",
        "TagsForResource": "List",
    }.items()
    for verb in verbs.split()
)


class Answers(RDSResponse):
    """moto's answers behind the rules."""

    @property
    def backend(self) -> Databases:
        return cast(Databases, rds_backends[self.current_account][self.region])

    def call_action(self) -> TYPE_RESPONSE:
        action = self._get_action()
        if action not in _SERVED:
            return _refusal("InvalidAction", 400, f"The sandbox does not serve {action}.")
        if code := CONDUCT.due_failure(action):
            return _refusal(code, *ERRORS[code])
        self.backend.settle()
        return super().call_action()

    def create_db_instance(self) -> ActionResult:
        wanted = rules.check_creation(self.current_account, self.region, self.params)
        return ActionResult({"DBInstance": self.backend.create_db_instance(wanted)})

    def describe_db_instances(self) -> ActionResult:
        self._check_page()
        return super().describe_db_instances()

    def modify_db_instance(self) -> ActionResult:
        rules.check_change(self.backend.find(self.params["DBInstanceIdentifier"]), self.params)
        return super().modify_db_instance()

    def delete_db_instance(self) -> ActionResult:
        rules.check_deletion(self.params)
        return super().delete_db_instance()

    def create_db_snapshot(self) -> ActionResult:
        rules.check_identifier("DBSnapshotIdentifier", self.params["DBSnapshotIdentifier"], 255)
        return super().create_db_snapshot()

    def describe_db_snapshots(self) -> ActionResult:
        self._check_page()
        return PaginatedResult(super().describe_db_snapshots().result)

    def create_db_subnet_group(self) -> ActionResult:
        rules.check_subnet_group(self.current_account, self.region, self.params)
        return super().create_db_subnet_group()

    def describe_db_engine_versions(self) -> ActionResult:
        asked, version = self.params.get("Engine"), self.params.get("EngineVersion")
        family, default_only = self.params.get("DBParameterGroupFamily"), self.params.get("DefaultOnly")
        found = [
            _version(engine, known)
            for engine in ENGINES.values()
            for known in engine.versions
            if asked in (None, engine.name)
            and (version is None or known == version or known.startswith(f"{version}."))
            and family in (None, engine.family(known))
            and (not default_only or known == engine.version(version))
        ]
        self._check_page()
        return PaginatedResult({"DBEngineVersions": found})

    def describe_orderable_db_instance_options(self) -> ActionResult:
        asked = {name: self.params.get(name) for name in ("EngineVersion", "DBInstanceClass", "LicenseModel")}
        engine = ENGINES.get(self.params["Engine"])
        if engine is None:
            raise rules.invalid("Invalid DB engine")
        found = [
            option
            for version in engine.versions
            if asked["EngineVersion"] in (None, version) or version == engine.version(asked["EngineVersion"])
            for name in sorted(engine.classes)
            if asked["DBInstanceClass"] in (None, name) and asked["LicenseModel"] in (None, *engine.licenses)
            for option in self._options(engine, version, name)
        ]
        self._check_page()
        return PaginatedResult({"OrderableDBInstanceOptions": found})

    def _options(self, engine: Engine, version: str, instance_class: str) -> list[dict[str, Any]]:
        return [
            {
                "Engine": engine.name,
                "EngineVersion": version,
                "DBInstanceClass": instance_class,
                "LicenseModel": engine.licenses[0],
                "AvailabilityZones": [{"Name": f"{self.region}{zone}"} for zone in "abc"],
                "MultiAZCapable": engine.multi_az,
                "Vpc": True,
                "SupportsStorageEncryption": engine.encryption,
                "StorageType": kind,
                "SupportsIops": kind in ("io1", "io2"),
                "MinStorageSize": sizes[0],
                "MaxStorageSize": sizes[-1],
            }
            for kind, sizes in engine.storage_types.items()
        ]

    def _check_page(self) -> None:
        size = self.params.get("MaxRecords")
        if size is not None and not 20 <= size <= 100:
            raise rules.invalid(f"Invalid value {size} for MaxRecords. Must be between 20 and 100")


def _version(engine: Engine, version: str) -> dict[str, Any]:
    return {
        "Engine": engine.name,
        "EngineVersion": version,
        "MajorEngineVersion": engine.major(version),
        "DBParameterGroupFamily": engine.family(version),
        "DBEngineDescription": engine.description,
        "DBEngineVersionDescription": f"{engine.description} {version}",
        "Status": "available",
    }


def _refusal(code: str, status: int, message: str) -> TYPE_RESPONSE:
    refused = query_refusal(code, message, status, "http://rds.amazonaws.com/doc/2014-10-31/")
    return status, {"Content-Type": "text/xml", "status": str(status)}, refused.get_data(as_text=True)
