"""Names of paid tenants in DNS: from the upgrade until they are gone again, and without harm when Route 53 fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import boto3
import pytest

from awssome.aws.dns import Zone
from awssome.database.registry import hosts, tenants
from awssome.domain.addresses import Addresses
from awssome.domain.instances import Trouble
from awssome.domain.tenants import TenantState, Tier
from awssome.workflows import hosts as naming
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.engines import only_postgresql
from tests.sandbox.conftest import point_aws_at, running

pytestmark = only_postgresql

TARGET = "portal.elb.example.net"
Make = Callable[..., Tenancy]


@dataclass(frozen=True)
class Slow(Zone):
    """Route 53 that takes its time: changes are everywhere once they are let go, or it refuses."""

    let_go: list[str] = field(default_factory=list)
    refusals: list[Trouble] = field(default_factory=list)

    def point(self, name: str, *, ours: bool) -> str:
        if self.refusals:
            raise self.refusals.pop()
        return super().point(name, ours=ours)

    def is_everywhere(self, change: str) -> bool:
        return change in self.let_go and super().is_everywhere(change)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running("aws", "--dns-seconds", "0") as announced:
        yield announced["url"]


@pytest.fixture
def zone(url: str, monkeypatch: pytest.MonkeyPatch) -> Slow:
    point_aws_at(url, monkeypatch)
    made = boto3.client("route53").create_hosted_zone(Name="example.com", CallerReference="-")
    return Slow(made["HostedZone"]["Id"].rpartition("/")[2], TARGET)


@pytest.fixture
def platform(services: WorkerServices, zone: Slow) -> WorkerServices:
    return replace(services, zone=zone, addresses=Addresses("example.com"))


def names(zone: Zone) -> list[str]:
    found: Any = boto3.client("route53").list_resource_record_sets(HostedZoneId=zone.id)["ResourceRecordSets"]
    return [each["Name"].rstrip(".") for each in found if each["Type"] == "CNAME"]


def the_host(platform: WorkerServices, tenancy: Tenancy) -> Any:
    with platform.registry.begin() as connection:
        return hosts.of_tenant(connection, tenancy.id)


def change(platform: WorkerServices, tenancy: Tenancy, **values: Any) -> None:
    with platform.registry.begin() as connection:
        tenants.change(connection, tenancy.id, **values)


def test_a_paid_tenant_gets_its_name_and_a_free_one_none(
    platform: WorkerServices, zone: Slow, make_tenant: Make
) -> None:
    free, paid = make_tenant("Tailspin"), make_tenant("Northwind", tier=Tier.PAID)
    naming.settle(platform)
    assert names(zone) == [f"{paid.slug}.example.com"]
    asked = the_host(platform, paid)
    assert (asked.state, asked.problem) == ("pending", None)
    naming.settle(platform)
    assert the_host(platform, paid).state == "pending"  # nobody waits: it is looked at again
    zone.let_go.append(asked.change)
    naming.settle(platform)
    assert the_host(platform, paid).state == "insync"
    assert the_host(platform, free) is None


@pytest.mark.parametrize("end", [{"tier": Tier.FREE}, {"state": TenantState.RETAINED}], ids=["downgrade", "deletion"])
def test_the_name_goes_with_the_tier_and_with_the_tenant(
    platform: WorkerServices, zone: Slow, make_tenant: Make, end: dict[str, Any]
) -> None:
    paid = make_tenant(tier=Tier.PAID)
    naming.settle(platform)
    zone.let_go.append(the_host(platform, paid).change)
    naming.settle(platform)
    change(platform, paid, **end)
    naming.settle(platform)
    going = the_host(platform, paid)
    assert going.state == "removing"
    assert names(zone) == []
    zone.let_go.append(going.change)
    naming.settle(platform)
    assert the_host(platform, paid) is None
    change(platform, paid, tier=Tier.PAID, state=TenantState.ACTIVE)
    naming.settle(platform)
    assert names(zone) == [f"{paid.slug}.example.com"]  # who comes back is named again


def test_who_is_paid_again_before_the_name_is_gone_keeps_it(
    platform: WorkerServices, zone: Slow, make_tenant: Make
) -> None:
    paid = make_tenant(tier=Tier.PAID)
    naming.settle(platform)
    change(platform, paid, tier=Tier.FREE)
    naming.settle(platform)
    change(platform, paid, tier=Tier.PAID)
    naming.settle(platform)
    assert the_host(platform, paid).state == "pending"
    assert names(zone) == [f"{paid.slug}.example.com"]


def test_what_route_53_refuses_is_a_warning_and_is_tried_again(
    platform: WorkerServices, zone: Slow, make_tenant: Make
) -> None:
    first, second = make_tenant("Northwind", tier=Tier.PAID), make_tenant("Tailspin", tier=Tier.PAID)
    zone.refusals.append(Trouble("Route 53 has much to do.", "It is tried again."))
    naming.settle(platform)
    told = [the_host(platform, each) for each in (first, second)]
    assert sorted(each.state for each in told) == ["pending", "wanted"]  # one keeps nobody else from a name
    assert [each.problem for each in told if each.state == "wanted"] == ["Route 53 has much to do. It is tried again."]
    naming.settle(platform)
    assert {the_host(platform, each).problem for each in (first, second)} == {None}
    assert len(names(zone)) == 2


def test_without_a_zone_nothing_is_named(services: WorkerServices, make_tenant: Make) -> None:
    paid = make_tenant(tier=Tier.PAID)
    naming.settle(services)
    assert the_host(services, paid) is None
