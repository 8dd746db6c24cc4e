"""The few deals of the free plan: the rule, or what its people have picked; and never other ones afterwards."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from awssome.database.tenant import picks
from awssome.database.tenant.picks import Pick
from awssome.domain.errors import Code, Refused
from awssome.domain.syncs import IssueKind
from awssome.domain.tenants import Tier
from awssome.workflows import hubspot_picks
from tests.hubspot.conftest import NORTHWIND, TAILSPIN, Sandbox
from tests.workflows.conftest import Workshop, first_ten

Workshops = Callable[..., Workshop]


def pick(workshop: Workshop, *add: str, remove: tuple[str, ...] = ()) -> None:
    hubspot_picks.change(workshop.services, workshop.id, add, remove, limit=10, by="mia@example.com")


def picked(workshop: Workshop, portal_id: int = TAILSPIN) -> list[Pick]:
    return workshop.workspace.do(lambda connection: picks.find(connection, portal_id))


def last(workshop: Workshop, number: int) -> list[str]:
    """Deals that the rule would not take, the youngest ones."""
    rule = first_ten(workshop.deals(TAILSPIN))
    return [deal.id for deal in reversed(workshop.deals(TAILSPIN)) if deal.id not in rule][:number]


@pytest.mark.parametrize("number", [1, 9, 10])
def test_picked_deals_come_in_and_no_others(workshop: Workshops, number: int) -> None:
    alice = workshop(TAILSPIN)
    wanted = last(alice, number)
    pick(alice, *wanted)
    done = alice.sync()
    assert set(alice.live()) == set(wanted)
    assert (done.created, done.imported, done.failed) == (number, number, 0)
    assert all(one.imported for one in picked(alice))
    told = {issue.deal_id: issue for issue in alice.issues(done) if issue.kind is IssueKind.LEFT_OUT and issue.deal_id}
    assert len(told) == len(alice.deals(TAILSPIN)) - number == done.left_out
    assert all("you have picked others" in issue.reason for issue in told.values())
    again = alice.sync()
    assert (again.created, again.unchanged) == (0, number)


def test_what_has_come_in_is_settled_and_its_place_is_taken(workshop: Workshops) -> None:
    alice = workshop(TAILSPIN)
    wanted = last(alice, 10)
    pick(alice, *wanted[:4])
    alice.sync()
    pick(alice, remove=tuple(wanted[:4]))  # they are here: nothing is taken away
    assert [one.deal_id for one in picked(alice)] == wanted[:4]
    rest = [deal_id for deal_id in first_ten(alice.deals(TAILSPIN)) if deal_id not in wanted]
    with pytest.raises(Refused) as refused:
        pick(alice, *rest[:7])
    assert refused.value.code is Code.INVALID and "6 of 10 places are left" in refused.value.message
    pick(alice, *rest[:6])
    alice.sync()
    assert set(alice.live()) == {*wanted[:4], *rest[:6]}
    with pytest.raises(Refused, match="all 10 places are taken"):
        pick(alice, rest[6])
    hubspot_picks.clear(alice.services, alice.id)
    assert alice.sync().created == 0  # the rule finds no place either


def test_two_who_pick_at_once_get_ten_together(workshop: Workshops) -> None:
    alice = workshop(TAILSPIN)
    wanted = last(alice, 16)

    def some(start: int) -> bool:
        try:
            pick(alice, *wanted[start : start + 8])
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(2) as both:
        assert sorted(both.map(some, (0, 8))) == [False, True]
    assert len(picked(alice)) == 8
    alice.sync()
    assert len(alice.live()) == 8


def test_a_picked_deal_that_was_merged_is_followed_and_a_deleted_one_gives_its_place_back(
    workshop: Workshops, sandbox: Sandbox
) -> None:
    alice = workshop(TAILSPIN)
    merging, other, deleted, kept, later = last(alice, 5)
    pick(alice, merging, deleted, kept)
    survivor = sandbox.order("deals/merge", portal_id=TAILSPIN, ids=[merging, other])["id"]
    sandbox.order(f"deals/{deleted}/archive", portal_id=TAILSPIN)
    done = alice.sync()
    assert set(alice.live()) == {survivor, kept}
    assert {one.deal_id for one in picked(alice)} == {survivor, kept}
    gone = [issue for issue in alice.issues(done) if issue.code == "deleted"]
    assert [issue.deal_id for issue in gone] == [deleted] and "Its place is free" in gone[0].advice
    with pytest.raises(Refused, match="HubSpot has deleted 1 of the deals"):
        pick(alice, deleted)
    pick(alice, later)
    alice.sync()
    assert set(alice.live()) == {survivor, kept, later}


def test_a_deal_that_cannot_be_told_apart_is_picked_once(workshop: Workshops, sandbox: Sandbox) -> None:
    alice = workshop(TAILSPIN)
    one, other = last(alice, 2)
    pick(alice, one, other, one)
    survivor = sandbox.order("deals/merge", portal_id=TAILSPIN, ids=[one, other])["id"]
    alice.sync()
    assert [pick.deal_id for pick in picked(alice)] == [survivor] == list(alice.live())
    assert alice.connection().imports == 1


def test_after_an_upgrade_picks_do_not_matter(workshop: Workshops) -> None:
    paula = workshop(TAILSPIN)
    pick(paula, *last(paula, 2))
    paula.sync()
    paula.upgrade()
    assert paula.sync().imported == len(paula.deals(TAILSPIN))


def test_hubspots_deals_are_shown_with_what_is_here_and_what_is_picked(workshop: Workshops) -> None:
    alice = workshop(TAILSPIN)
    here, chosen = last(alice, 2)
    pick(alice, here)
    alice.sync()
    pick(alice, chosen)
    found, after, mapped = [], "", set[str]()
    while True:
        shown = hubspot_picks.show(alice.services, alice.id, "", after)
        found += [deal.id for deal in shown.deals]
        mapped |= shown.mapped
        assert shown.picked == {here, chosen} and shown.total == len(alice.deals(TAILSPIN))
        if shown.after is None:
            break
        after = shown.after
    assert sorted(found) == sorted(deal.id for deal in alice.deals(TAILSPIN)) and mapped == {here}
    title = next(deal.properties["dealname"] for deal in alice.deals(TAILSPIN) if deal.id == chosen) or ""
    assert chosen in {deal.id for deal in hubspot_picks.show(alice.services, alice.id, title, "").deals}
    assert hubspot_picks.show(alice.services, alice.id, "no deal is called so", "").deals == ()


def test_never_a_different_ten(workshop: Workshops, sandbox: Sandbox) -> None:
    """Whatever happens in HubSpot and is picked meanwhile: the ten that came in stay, and no eleventh follows."""
    alice, dice = workshop(TAILSPIN), random.Random(7)
    alice.sync()
    ever = {one.row.id for one in alice.registrations()}
    assert len(ever) == 10
    for _ in range(12):
        live = sorted(deal.id for deal in alice.deals(TAILSPIN))
        what = dice.choice(("archive", "merge", "pick", "edit"))
        if what == "archive":
            sandbox.order(f"deals/{dice.choice(live)}/archive", portal_id=TAILSPIN)
        elif what == "merge":
            sandbox.order("deals/merge", portal_id=TAILSPIN, ids=dice.sample(live, 2))
        elif what == "edit":
            body = {"portal_id": TAILSPIN, "properties": {"dealname": f"Changed {dice.random()}"}}
            sandbox.http.patch(f"/_sandbox/deals/{dice.choice(live)}", json=body).raise_for_status()
        else:
            new = sorted(set(live) - set(alice.live()))
            with pytest.raises(Refused, match="all 10 places are taken"):
                pick(alice, dice.choice(new))
        alice.sync()
        assert {one.row.id for one in alice.registrations()} == ever
        assert alice.connection().imports == 10


def test_who_pays_is_told_that_there_is_nothing_to_pick(workshop: Workshops) -> None:
    paula = workshop(NORTHWIND, tier=Tier.PAID)
    assert hubspot_picks.show(paula.services, paula.id, "", "").total == len(paula.deals())
