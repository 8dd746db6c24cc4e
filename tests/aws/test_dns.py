"""Names in Route 53: pointed at the portal, looked after until they are everywhere, taken away, and never others'."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from awssome.aws.dns import Zone
from awssome.domain.instances import Trouble
from tests.sandbox.conftest import point_aws_at, running

TARGET = "portal-1.elb.example.net"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running("aws") as announced:
        yield announced["url"]


@pytest.fixture
def zone(url: str, monkeypatch: pytest.MonkeyPatch) -> Zone:
    point_aws_at(url, monkeypatch)
    made = boto3.client("route53").create_hosted_zone(Name="example.com", CallerReference="-")
    return Zone(made["HostedZone"]["Id"].rpartition("/")[2], TARGET)


def records(zone: Zone) -> dict[str, list[str]]:
    """The CNAME records of the zone, past our own reading of it."""
    found: list[dict[str, Any]] = boto3.client("route53").list_resource_record_sets(HostedZoneId=zone.id)[
        "ResourceRecordSets"
    ]
    return {
        each["Name"].rstrip("."): [value["Value"] for value in each["ResourceRecords"]]
        for each in found
        if each["Type"] == "CNAME"
    }


def put(zone: Zone, name: str, value: str) -> None:
    record = {"Name": name, "Type": "CNAME", "TTL": 60, "ResourceRecords": [{"Value": value}]}
    boto3.client("route53").change_resource_record_sets(
        HostedZoneId=zone.id,
        ChangeBatch={"Changes": [{"Action": "CREATE", "ResourceRecordSet": record}]},  # type: ignore[typeddict-item]
    )


def test_a_name_is_pointed_at_the_portal_and_taken_away_twice_as_well_as_once(zone: Zone) -> None:
    name = "northwind.example.com"
    for _ in range(2):
        assert zone.point(name, ours=False)
    assert records(zone) == {name: [TARGET]}
    assert zone.remove(name)
    assert records(zone) == {}
    assert zone.remove(name) is None


def test_a_name_of_somebody_else_is_left_alone(zone: Zone) -> None:
    put(zone, "docs.example.com", "docs.example.net")
    with pytest.raises(Trouble) as refused:
        zone.point("docs.example.com", ours=False)
    assert "docs.example.com" in refused.value.message
    assert zone.remove("docs.example.com") is None
    assert records(zone) == {"docs.example.com": ["docs.example.net"]}


def test_a_name_of_ours_follows_the_load_balancer(zone: Zone) -> None:
    put(zone, "northwind.example.com", "portal-0.elb.example.net")
    zone.point("northwind.example.com", ours=True)
    assert records(zone) == {"northwind.example.com": [TARGET]}


def test_its_neighbour_in_the_zone_is_another_name(zone: Zone) -> None:
    put(zone, "northwind-2.example.com", "elsewhere.example.net")
    assert zone.remove("northwind.example.com") is None
    zone.point("northwind.example.com", ours=False)
    assert records(zone)["northwind-2.example.com"] == ["elsewhere.example.net"]


def test_a_zone_that_is_not_there_is_told(zone: Zone) -> None:
    with pytest.raises(Trouble) as refused:
        Zone("Z0000000NOWHERE", TARGET).point("northwind.example.com", ours=False)
    assert "AWSSOME_DNS_ZONE" in refused.value.advice
