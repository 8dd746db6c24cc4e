"""How RDS behaves: how long things take, how much there is, what is about to go wrong. Options and orders set it.

moto makes its backends itself, one for each account and region, so that what they share belongs to the module.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from awssome_sandbox.aws.rds.servers import Servers

QUOTAS = {"instances": 40, "sqlserver": 10, "storage": 100_000, "snapshots": 100}
"""What an account has in a region: instances, SQL Server instances of each edition with a licence included, gibibytes,
manual snapshots. The defaults of the user guide."""

ERRORS = {
    "InsufficientDBInstanceCapacity": (400, "The instance class is not available in the Availability Zone now."),
    "InstanceQuotaExceeded": (400, "DB Instance quota exceeded"),
    "StorageQuotaExceeded": (400, "Storage quota exceeded."),
    "KMSKeyNotAccessibleFault": (400, "The KMS key does not exist, is not enabled, or you may not use it."),
    "AccessDenied": (403, "User is not authorized to perform this operation."),
    "Throttling": (400, "Rate exceeded"),
    "InternalFailure": (500, "The request processing has failed because of an unknown error, exception or failure."),
    "ServiceUnavailable": (503, "The request has failed due to a temporary failure of the server."),
}
"""What a call can be told to fail with: the code, its status and its words."""

CREATION = "creation"
"""The fault of an instance that is made, but ends as `failed`."""


class Misunderstood(ValueError):
    """An order that makes no sense; the text says why."""


@dataclass
class Conduct:
    """What holds for all accounts and regions of this sandbox."""

    seconds: float = 20.0
    """How long an instance takes until it is available."""
    quotas: dict[str, int] = field(default_factory=lambda: dict(QUOTAS))
    servers: Servers | None = None
    faults: list[dict[str, Any]] = field(default_factory=list)
    """Each `{"fail", "operation", "times"}`."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def order(self, wanted: Mapping[str, Any]) -> None:
        """Take an order. :raises Misunderstood: and changes nothing."""
        unknown = set(wanted) - {"seconds", "quota", "fail", "operation", "times"}
        if unknown:
            raise Misunderstood(f"There is no {', '.join(sorted(unknown))}; there are seconds, quota, fail.")
        seconds, quota = wanted.get("seconds", self.seconds), wanted.get("quota", {})
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or seconds < 0:
            raise Misunderstood("seconds is a number from 0 on.")
        if not isinstance(quota, dict) or set(quota) - set(QUOTAS):
            raise Misunderstood(f"quota names some of {', '.join(QUOTAS)}.")
        if not all(isinstance(value, int) and value >= 0 for value in quota.values()):
            raise Misunderstood("A quota is a whole number from 0 on.")
        times = wanted.get("times", 1)
        if not isinstance(times, int) or times < 1:
            raise Misunderstood("times is a whole number from 1 on.")
        fail, operation = wanted.get("fail"), wanted.get("operation", "CreateDBInstance")
        if fail is not None and fail != CREATION and fail not in ERRORS:
            raise Misunderstood(f"fail is {CREATION} or one of {', '.join(ERRORS)}.")
        with self._lock:
            self.seconds = float(seconds)
            self.quotas |= quota
            if fail is not None:
                self.faults.append({"fail": fail, "operation": str(operation), "times": times})

    def forget(self) -> None:
        """End all faults and give the quotas their defaults."""
        with self._lock:
            self.faults.clear()
            self.quotas = dict(QUOTAS)

    def due_failure(self, operation: str) -> str | None:
        """The code, of `ERRORS`, that this call is to fail with."""
        return self._due(lambda fault: fault["operation"] == operation and fault["fail"] != CREATION)

    def spoils_creation(self) -> bool:
        """Whether the instance that is being made now ends as `failed`."""
        return self._due(lambda fault: fault["fail"] == CREATION) is not None

    def as_dict(self) -> dict[str, Any]:
        """What is in force."""
        with self._lock:
            return {"seconds": self.seconds, "quota": dict(self.quotas), "faults": [dict(f) for f in self.faults]}

    def _due(self, meant: Callable[[dict[str, Any]], bool]) -> str | None:
        with self._lock:
            fault = next(filter(meant, self.faults), None)
            if fault is None:
                return None
            fault["times"] -= 1
            if not fault["times"]:
                self.faults.remove(fault)
            return str(fault["fail"])


CONDUCT = Conduct()
