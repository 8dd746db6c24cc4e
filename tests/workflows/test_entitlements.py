"""The paid tier by a subscription in AWS Marketplace: AWS is asked, and nobody else is believed."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from awssome.aws.entitlements import Entitlement, Marketplace
from awssome.database import Connection
from awssome.database.registry import audit, erasure, tenants
from awssome.database.registry import entitlements as registered
from awssome.database.registry.audit import Actor
from awssome.database.registry.tables import entitlements as table
from awssome.database.registry.tables import moves as moves_table
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import MoveKind
from awssome.domain.tenants import TenantState, Tier
from awssome.domain.times import now
from awssome.workflows import entitlements, moves
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.sandbox.conftest import point_aws_at, running

PRODUCT, BUYER, OTHER = "prod-awssome", "210987654321", "111122223333"
ALICE = Actor("alice@northwind.example")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running("aws") as announced:
        yield announced["url"]


@dataclass(frozen=True)
class Shop:
    """The product in AWS Marketplace, and its platform."""

    url: str
    services: WorkerServices

    def order(self, account: str = BUYER, **order: Any) -> dict[str, Any]:
        body = json.dumps({"product": PRODUCT, "account": account} | order).encode()
        asked = urllib.request.Request(f"{self.url}/_sandbox/marketplace", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def arrive(self, account: str = BUYER, **order: Any) -> str:
        """A buyer subscribes, and comes to us."""
        return entitlements.arrive(self.services, self.order(account, **order)["token"])

    def claim(self, tenancy: Tenancy, arrival: str) -> str:
        return entitlements.claim(self.services, ALICE, tenancy.id, tenancy.owner_id, arrival)

    def do(self, work: Callable[[Connection], Any]) -> Any:
        with self.services.registry.begin() as connection:
            return work(connection)

    def tier(self, tenancy: Tenancy) -> Tier:
        return Tier(self.do(lambda connection: tenants.find(connection, tenancy.id)).tier)

    def row(self) -> Any:
        return self.do(lambda connection: connection.execute(select(table)).one())

    def a_day_later(self) -> None:
        """AWS was asked last a day ago; then the job runs."""
        ago = now() - timedelta(hours=25)
        self.do(lambda connection: connection.execute(update(table).values(verified_at=ago)))
        entitlements.verify(self.services)

    def in_doubt(self) -> list[str]:
        return [row.problem for row in self.do(registered.in_doubt)]

    def words(self, tenancy: Tenancy) -> list[str]:
        return [row.action for row in self.do(lambda c: audit.page(c, tenant_id=tenancy.id)).rows]


@pytest.fixture
def shop(url: str, services: WorkerServices, monkeypatch: pytest.MonkeyPatch) -> Shop:
    point_aws_at(url, monkeypatch)
    found = Shop(url, replace(services, marketplace=Marketplace(PRODUCT)))
    for account in (BUYER, OTHER):
        found.order(account, cancel=True)
    return found


@pytest.mark.usefixtures("dedicated")
def test_who_has_subscribed_is_on_the_paid_plan_at_once_and_the_move_follows(
    shop: Shop, make_tenant: Callable[..., Tenancy]
) -> None:
    alice = make_tenant()
    arrival = shop.arrive()
    assert entitlements.look(shop.services, arrival).account == BUYER
    assert shop.tier(alice) is Tier.FREE, "coming here changes nothing"
    assert "a server of its own, while you work" in shop.claim(alice, arrival)
    assert shop.tier(alice) is Tier.PAID
    kinds = shop.do(lambda c: list(c.scalars(select(moves_table.c.kind).where(moves_table.c.tenant_id == alice.id))))
    assert kinds == [MoveKind.UPGRADE]
    row = shop.row()
    assert (row.tenant_id, row.customer, row.dimension, row.state) == (alice.id, BUYER, "paid", "active")
    assert row.problem is None and row.expires_at > now() + timedelta(days=360)
    assert {"entitlement.bound", "tenant.upgraded"} <= set(shop.words(alice))
    assert "on the paid plan already" in shop.claim(alice, arrival), "twice is as well as once"


def test_without_a_server_the_tier_is_granted_and_the_owner_is_told(
    shop: Shop, make_tenant: Callable[..., Tenancy]
) -> None:
    alice = make_tenant()
    assert "stays where it is for now" in shop.claim(alice, shop.arrive())
    assert shop.tier(alice) is Tier.PAID


@pytest.mark.parametrize("how", ["cancel", "expire"])
def test_a_subscription_that_has_ended_is_refused_with_words(
    shop: Shop, make_tenant: Callable[..., Tenancy], how: str
) -> None:
    alice = make_tenant()
    arrival = shop.arrive()
    shop.order(**{how: True})
    with pytest.raises(Refused, match="no active subscription") as refused:
        shop.claim(alice, arrival)
    assert refused.value.code is Code.CONFLICT
    assert shop.tier(alice) is Tier.FREE
    assert shop.do(lambda c: c.execute(select(table)).first()) is None


@pytest.mark.parametrize(
    ("order", "code"), [({"product": "prod-other"}, Code.INVALID), ({"token_seconds": -1}, Code.GONE)]
)
def test_tokens_of_others_and_old_ones_are_refused(shop: Shop, order: dict[str, Any], code: Code) -> None:
    with pytest.raises(Refused) as refused:
        shop.arrive(**order)
    assert refused.value.code is code
    with pytest.raises(Refused) as refused:
        entitlements.arrive(shop.services, "made up")
    assert refused.value.code is Code.GONE


def test_what_the_browser_brings_back_is_ours_and_of_this_hour(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    arrival = shop.arrive()
    assert BUYER not in arrival
    for forged in ("", "x", "ä", arrival[:-2] + ("AA" if arrival[-2:] != "AA" else "BB"), arrival + "AAAA"):
        with pytest.raises(Refused) as refused:
            entitlements.look(shop.services, forged)
        assert refused.value.code is Code.GONE
    later = now() + timedelta(hours=1, seconds=1)
    monkeypatch.setattr(entitlements, "now", lambda: later)
    with pytest.raises(Refused) as refused:
        entitlements.look(shop.services, arrival)
    assert refused.value.code is Code.GONE


def test_a_subscription_is_one_tenants_until_that_is_erased(shop: Shop, make_tenant: Callable[..., Tenancy]) -> None:
    alice, bob = make_tenant("Alice & Co"), make_tenant("Bob & Co")
    shop.claim(alice, shop.arrive())
    with pytest.raises(Refused, match="Another workspace uses this subscription"):
        shop.claim(bob, shop.arrive())
    assert shop.tier(bob) is Tier.FREE

    def erase(connection: Connection) -> None:
        tenants.turn(connection, alice.id, TenantState.RETAINED)
        erasure.forget_tenant(connection, alice.id)

    shop.do(erase)
    shop.claim(bob, shop.arrive())
    assert shop.tier(bob) is Tier.PAID


def link(shop: Shop, tenancy: Tenancy, account: str) -> None:
    shop.do(lambda c: tenants.change(c, tenancy.id, role_arn=f"arn:aws:iam::{account}:role/Awssome"))


def test_the_account_of_the_linked_role_has_to_be_the_one_that_pays(
    shop: Shop, make_tenant: Callable[..., Tenancy]
) -> None:
    alice = make_tenant()
    link(shop, alice, OTHER)
    assert "an operator looks at it before your plan changes" in shop.claim(alice, shop.arrive())
    assert shop.tier(alice) is Tier.FREE
    assert shop.do(lambda c: tenants.find(c, alice.id)).upgrade_requested_at is not None
    (problem,) = shop.in_doubt()
    assert BUYER in problem and OTHER in problem
    link(shop, alice, BUYER)
    shop.a_day_later()
    assert shop.in_doubt() == []
    assert shop.tier(alice) is Tier.FREE, "it was asked for; an operator or the owner goes on"
    shop.claim(alice, shop.arrive())
    assert shop.tier(alice) is Tier.PAID


@pytest.mark.parametrize("how", ["cancel", "expire"])
def test_one_that_ends_later_is_told_to_operators_and_downgrades_nobody(
    shop: Shop, make_tenant: Callable[..., Tenancy], how: str
) -> None:
    alice = make_tenant()
    shop.claim(alice, shop.arrive())
    shop.a_day_later()
    assert (shop.row().state, shop.in_doubt()) == ("active", [])
    shop.order(**{how: True})
    entitlements.verify(shop.services)
    assert shop.row().state == "active", "AWS is asked once a day"
    for _ in range(2):
        shop.a_day_later()
        assert shop.row().state == "ended"
        assert [f"AWS account {BUYER}" in problem for problem in shop.in_doubt()] == [True]
        assert shop.tier(alice) is Tier.PAID
    assert shop.words(alice).count("entitlement.ended") == 1
    shop.arrive()
    shop.a_day_later()
    assert (shop.row().state, shop.in_doubt()) == ("active", []), "subscribed again"


def test_one_that_goes_on_after_a_downgrade_grants_nothing_and_is_told_to_operators(
    shop: Shop, make_tenant: Callable[..., Tenancy]
) -> None:
    alice = make_tenant()
    shop.claim(alice, shop.arrive())
    assert shop.do(lambda c: registered.active(c, alice.id))
    shop.do(lambda c: moves.downgrade(c, shop.services.queue, ALICE, str(alice.id)))
    shop.a_day_later()
    assert shop.tier(alice) is Tier.FREE
    (told,) = shop.in_doubt()
    assert BUYER in told and "on the free tier" in told
    shop.order(cancel=True)
    shop.a_day_later()
    assert shop.in_doubt() == [] and not shop.do(lambda c: registered.active(c, alice.id))


def test_an_aws_that_does_not_answer_ends_nothing(
    shop: Shop, make_tenant: Callable[..., Tenancy], monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = make_tenant()
    arrival = shop.arrive()
    point_aws_at("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(Refused) as refused:
        shop.claim(alice, arrival)
    assert refused.value.code is Code.UPSTREAM
    point_aws_at(shop.url, monkeypatch)
    shop.claim(alice, arrival)
    point_aws_at("http://127.0.0.1:9", monkeypatch)
    shop.a_day_later()
    assert (shop.row().state, shop.in_doubt()) == ("active", [])


class Mute(Marketplace):
    """AWS has no answer for one buyer."""

    def entitlements(self, account: str) -> list[Entitlement]:
        if account == BUYER:
            raise Refused(Code.UPSTREAM, "AWS Marketplace does not answer.")
        return super().entitlements(account)


def test_one_that_aws_has_no_answer_for_keeps_no_other_from_being_asked_about(
    shop: Shop, make_tenant: Callable[..., Tenancy]
) -> None:
    shop.claim(make_tenant("Alice & Co"), shop.arrive())
    shop.claim(make_tenant("Bob & Co"), shop.arrive(OTHER))
    shop.order(OTHER, cancel=True)
    for account, hours in ((BUYER, 48), (OTHER, 25)):
        ago = update(table).where(table.c.customer == account).values(verified_at=now() - timedelta(hours=hours))
        shop.do(lambda connection, ago=ago: connection.execute(ago))
    mute = replace(shop.services, marketplace=Mute(PRODUCT))
    for _ in range(50):  # each is the first one that is asked about half of the time
        entitlements.verify(mute)
    states = shop.do(lambda connection: dict(connection.execute(select(table.c.customer, table.c.state)).all()))
    assert states == {BUYER: "active", OTHER: "ended"}


def test_where_nothing_is_sold_nobody_arrives(shop: Shop) -> None:
    none = replace(shop.services, marketplace=None)
    with pytest.raises(Refused, match="Nothing is sold in AWS Marketplace here"):
        entitlements.arrive(none, "token")
    entitlements.verify(none)
