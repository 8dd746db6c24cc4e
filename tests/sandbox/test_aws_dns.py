"""The AWS sandbox's Route 53: strict changes, which are not everywhere at once. Driven by boto3."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import running
from .test_aws import client

Change = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def route53() -> Iterator[Any]:
    with running("aws", "--dns-seconds", "0") as announced:
        yield client(announced["url"], "route53")


@pytest.fixture
def zone(route53: Any) -> tuple[str, str]:
    """A hosted zone of the test's own: its id and its name."""
    name = f"z{uuid.uuid4().hex[:12]}.example.com"
    return route53.create_hosted_zone(Name=name, CallerReference=name)["HostedZone"]["Id"], name


@pytest.fixture
def change(route53: Any, zone: tuple[str, str]) -> Change:
    """Changes one record of the zone; `name` goes before the zone's."""

    def make(action: str, name: str = "alice", kind: str = "CNAME", *values: str, ttl: int = 300) -> dict[str, Any]:
        record = {"Name": f"{name}.{zone[1]}", "Type": kind, "TTL": ttl}
        record["ResourceRecords"] = [{"Value": value} for value in values or ("portal.example.net",)]
        batch = {"Changes": [{"Action": action, "ResourceRecordSet": record}]}
        return route53.change_resource_record_sets(HostedZoneId=zone[0], ChangeBatch=batch)["ChangeInfo"]

    return make


@pytest.fixture
def records(route53: Any, zone: tuple[str, str]) -> Callable[[], dict[tuple[str, str], list[str]]]:
    """What the zone holds beside its own records."""

    def look() -> dict[tuple[str, str], list[str]]:
        found = route53.list_resource_record_sets(HostedZoneId=zone[0])["ResourceRecordSets"]
        return {
            (each["Name"].split(".")[0], each["Type"]): [value["Value"] for value in each["ResourceRecords"]]
            for each in found
            if each["Type"] not in ("NS", "SOA")
        }

    return look


def test_a_record_is_created_once_and_replaced_by_upsert(route53: Any, change: Change, records) -> None:
    change("CREATE")
    with pytest.raises(route53.exceptions.InvalidChangeBatch, match="already exists"):
        change("CREATE")
    change("UPSERT", "Alice", "CNAME", "other.example.net")
    assert records() == {("alice", "CNAME"): ["other.example.net"]}


def test_a_record_is_deleted_by_naming_what_it_holds(route53: Any, change: Change, records) -> None:
    with pytest.raises(route53.exceptions.InvalidChangeBatch, match="was not found"):
        change("DELETE")
    change("CREATE")
    change("UPSERT", "alice", "CNAME", "other.example.net")
    for refused in (lambda: change("DELETE"), lambda: change("DELETE", "alice", "CNAME", "other.example.net", ttl=1)):
        with pytest.raises(route53.exceptions.InvalidChangeBatch, match="values are others"):
            refused()
    change("DELETE", "alice", "CNAME", "other.example.net")
    assert records() == {}


@pytest.mark.parametrize(
    ("name", "kind", "values", "told"),
    [
        ("", "CNAME", ("a.example.net",), "not permitted at apex"),
        ("alice", "A", ("10.0.0.256",), "not a valid IPv4"),
        ("alice", "AAAA", ("10.0.0.1",), "not a valid IPv6"),
        ("alice", "CNAME", ("a.example.net", "b.example.net"), "one value only"),
    ],
)
def test_values_that_do_not_fit_are_refused(route53: Any, zone, name, kind, values, told) -> None:
    record = {"Name": f"{name}.{zone[1]}".lstrip("."), "Type": kind, "TTL": 60}
    record["ResourceRecords"] = [{"Value": value} for value in values]
    with pytest.raises(route53.exceptions.InvalidChangeBatch, match=told):
        route53.change_resource_record_sets(
            HostedZoneId=zone[0], ChangeBatch={"Changes": [{"Action": "UPSERT", "ResourceRecordSet": record}]}
        )


def test_a_name_has_a_cname_or_other_records(route53: Any, change: Change, records) -> None:
    change("CREATE", "alice", "A", "10.0.0.1")
    with pytest.raises(route53.exceptions.InvalidChangeBatch, match="conflicting RRSet"):
        change("CREATE")
    change("CREATE", "alice", "TXT", '"words"')
    assert set(records()) == {("alice", "A"), ("alice", "TXT")}


@pytest.mark.parametrize("other", ["example.org", "{zone}x", "x{zone}"])
def test_a_name_outside_the_zone_is_refused_with_all_of_its_batch(route53: Any, zone, records, other: str) -> None:
    values = {"TTL": 60, "ResourceRecords": [{"Value": "portal.example.net"}], "Type": "CNAME"}
    names = [f"alice.{zone[1]}", other.format(zone=zone[1])]
    changes = [{"Action": "UPSERT", "ResourceRecordSet": {"Name": name, **values}} for name in names]
    with pytest.raises(route53.exceptions.InvalidChangeBatch, match="is not permitted in zone"):
        route53.change_resource_record_sets(HostedZoneId=zone[0], ChangeBatch={"Changes": changes})
    assert records() == {}


def test_the_zones_own_records_stay(route53: Any, zone) -> None:
    for record in route53.list_resource_record_sets(HostedZoneId=zone[0])["ResourceRecordSets"]:
        with pytest.raises(route53.exceptions.InvalidChangeBatch, match="keeps its own"):
            batch = {"Changes": [{"Action": "DELETE", "ResourceRecordSet": record}]}
            route53.change_resource_record_sets(HostedZoneId=zone[0], ChangeBatch=batch)


def test_an_unknown_zone_or_change_is_told(route53: Any) -> None:
    with pytest.raises(route53.exceptions.NoSuchChange):
        route53.get_change(Id="C0123456789")
    with pytest.raises(ClientError, match="NoSuchHostedZone"):
        route53.list_resource_record_sets(HostedZoneId="Z0123456789")


def test_a_change_is_pending_before_it_is_everywhere() -> None:
    with running("aws", "--dns-seconds", "0.5") as announced:
        route53 = client(announced["url"], "route53")
        began = time.monotonic()
        change = route53.create_hosted_zone(Name="example.com", CallerReference="once")["ChangeInfo"]
        assert change["Status"] == "PENDING"
        while (found := route53.get_change(Id=change["Id"])["ChangeInfo"])["Status"] == "PENDING":
            time.sleep(0.05)
        assert time.monotonic() - began >= 0.5
        assert (found["Id"], found["Status"], found["SubmittedAt"]) == (change["Id"], "INSYNC", change["SubmittedAt"])
