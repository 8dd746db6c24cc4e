"""Names of paid tenants in Route 53. They are a convenience; nothing that must be right hangs on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3

from awssome.aws.troubles import CONFIG, Words, told
from awssome.domain.instances import Trouble

SECONDS = 300
"""How long resolvers may keep an answer."""

_WORDS: Words = {
    "NoSuchHostedZone": ("There is no such hosted zone.", "Mend AWSSOME_DNS_ZONE.", None),
    "InvalidChangeBatch": ("Route 53 does not take the record.", "Look at the records of that name.", None),
    "NoSuchChange": ("Route 53 does not know the change.", "It is asked for again.", None),
}


@dataclass(frozen=True)
class Zone:
    """A hosted zone, with the credentials of the AWS SDK's own settings. For workers only.

    Every method raises `domain.instances.Trouble` when AWS does not do it.

    :ivar id: the hosted zone's id.
    :ivar target: the name of the portal's load balancer.
    """

    id: str
    target: str

    def point(self, name: str, *, ours: bool) -> str:
        """Have the name lead to the portal; the id of the change.

        :param ours: a record of that name was made by us, and may be changed.
        :raises Trouble: also when somebody else has a record of that name; it is left alone.
        """
        there = self._record(name)
        if there is not None and not ours and not self._leads_to_us(there):
            raise Trouble(f"Somebody else has a record {name}. It was left alone.", "Remove it if nobody needs it.")
        record = {
            "Name": name,
            "Type": "CNAME",
            "TTL": SECONDS,
            "ResourceRecords": [{"Value": self.target}],
        }
        return self._change("UPSERT", record)

    def remove(self, name: str) -> str | None:
        """Take the name away; the id of the change. None when it does not lead to us: there is nothing of ours."""
        there = self._record(name)
        return self._change("DELETE", there) if there is not None and self._leads_to_us(there) else None

    def is_everywhere(self, change: str) -> bool:
        """Whether all of Route 53's servers know of a change (Route 53 API Reference, "GetChange")."""
        with told("Route 53", _WORDS):
            return str(self._client.get_change(Id=change)["ChangeInfo"]["Status"]) == "INSYNC"

    def _record(self, name: str) -> dict[str, Any] | None:
        with told("Route 53", _WORDS):
            answer = self._client.list_resource_record_sets(HostedZoneId=self.id, StartRecordName=name, MaxItems="1")
        found = answer["ResourceRecordSets"]
        return found[0] if found and found[0]["Name"].rstrip(".") == name else None

    def _leads_to_us(self, record: dict[str, Any]) -> bool:
        values = [value["Value"].rstrip(".") for value in record.get("ResourceRecords", [])]
        return record["Type"] == "CNAME" and values == [self.target.rstrip(".")]

    def _change(self, action: str, record: dict[str, Any]) -> str:
        with told("Route 53", _WORDS):
            answer = self._client.change_resource_record_sets(
                HostedZoneId=self.id,
                ChangeBatch={"Changes": [{"Action": action, "ResourceRecordSet": record}]},
            )
        return str(answer["ChangeInfo"]["Id"])

    @cached_property
    def _client(self) -> Any:
        return boto3.client("route53", config=CONFIG)
