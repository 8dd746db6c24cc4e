"""Hosted zones and changes of an account. The module has the name that moto expects: it finds `urls` by it."""

from __future__ import annotations

import secrets
import string
import threading
import time
from datetime import UTC, datetime
from typing import Any

from moto.route53.exceptions import Route53ClientError
from moto.route53.models import Route53Backend, route53_backends

from awssome_sandbox.aws.dns import rules

_LETTERS = string.ascii_uppercase + string.digits


def install(seconds: float) -> None:
    """Put this in the place of moto's Route 53, before moto makes its first backend.

    :param seconds: how long a change is PENDING.
    """
    Zones.seconds = seconds
    route53_backends.backend = Zones


class Zones(Route53Backend):
    """moto's backend with strict changes, one batch at a time."""

    seconds = 0.0

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self._changes: dict[str, tuple[datetime, float]] = {}
        self._lock = threading.Lock()

    def change_resource_record_sets(self, zoneid: str, change_list: list[dict[str, Any]]) -> None:
        """Make all changes of a batch, or none."""
        zone = self.get_hosted_zone(zoneid)
        with self._lock:
            if told := rules.complaints(zone.name, zone.rrsets, change_list):
                raise Route53ClientError("InvalidChangeBatch", f"[{', '.join(told)}]")
            for change in change_list:
                record = dict(change["ResourceRecordSet"])
                key = rules.key_of(record)
                kept = [r for r in zone.rrsets if (rules.full(r.name), r.type, r.set_identifier) != key]
                zone.rrsets[:] = kept
                if change["Action"] != "DELETE":
                    values = [value["Value"] for value in record.get("ResourceRecords") or ()]
                    zone.add_rrset({**record, "Name": key.name, "ResourceRecords": values})

    def begin_change(self) -> dict[str, Any]:
        """A change that was made a moment ago, as the API tells of it."""
        change = "C" + "".join(secrets.choice(_LETTERS) for _ in range(19))
        self._changes[change] = datetime.now(UTC), time.monotonic() + self.seconds
        return self.describe_change(change)

    def describe_change(self, change: str) -> dict[str, Any]:
        """How far a change is. :raises Route53ClientError: NoSuchChange."""
        name = change.removeprefix("/change/")
        try:
            submitted, until = self._changes[name]
        except KeyError:
            raise Route53ClientError("NoSuchChange", f"Could not find resource with ID: {name}") from None
        status = "INSYNC" if time.monotonic() >= until else "PENDING"
        return {"Id": f"/change/{name}", "Status": status, "SubmittedAt": submitted}
