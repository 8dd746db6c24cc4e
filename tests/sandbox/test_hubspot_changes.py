"""Deals of the HubSpot sandbox that change while a client reads them."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import DEALS, TAILSPIN, HubSpot, Start


@pytest.fixture(scope="module")
def hubspot(start_hubspot: Start) -> HubSpot:
    return start_hubspot("--deals", "40", "--rate-limit", "off")


@pytest.fixture(scope="module")
def bearer(hubspot: HubSpot) -> dict[str, str]:
    return hubspot.bearer()


def create(hubspot: HubSpot, **properties: str | None) -> dict[str, Any]:
    return hubspot.control("POST", "deals", {"properties": {"dealname": "New", **properties}})


def total(hubspot: HubSpot, bearer: dict[str, str]) -> int:
    return hubspot.http.post(f"{DEALS}/search", json={}, headers=bearer).json()["total"]


def listed(hubspot: HubSpot, bearer: dict[str, str], archived: bool = False) -> list[str]:
    ids, after = [], "0"
    while after:
        query = {"limit": 100, "archived": archived, "after": after}
        body = hubspot.http.get(DEALS, params=query, headers=bearer).json()
        ids += [deal["id"] for deal in body["results"]]
        after = body.get("paging", {}).get("next", {}).get("after")
    return ids


def test_a_new_deal_is_listed_last_and_found_at_once(hubspot: HubSpot, bearer) -> None:
    before = total(hubspot, bearer)
    deal = create(hubspot, amount="1000.5")
    assert total(hubspot, bearer) == before + 1
    assert listed(hubspot, bearer)[-1] == deal["id"]
    assert deal["properties"]["hs_is_closed"] == "false"


def test_an_edit_changes_the_modification_time_and_what_is_calculated(hubspot: HubSpot, bearer) -> None:
    deal = create(hubspot, amount="10", deal_currency_code="EUR")
    changes = {"dealstage": "closedwon", "amount": None, "deal_currency_code": "JPY"}
    hubspot.control("PATCH", f"deals/{deal['id']}", {"properties": changes})
    query = {"properties": "hs_is_closed,hs_is_closed_won,amount,amount_in_home_currency"}
    read = hubspot.http.get(f"{DEALS}/{deal['id']}", params=query, headers=bearer).json()
    assert read["updatedAt"] > deal["updatedAt"]
    properties = read["properties"]
    assert (properties["hs_is_closed"], properties["hs_is_closed_won"]) == ("true", "true")
    assert (properties["amount"], properties["amount_in_home_currency"]) == (None, None)


def test_archiving_moves_a_deal_and_leaves_its_modification_time(hubspot: HubSpot, bearer) -> None:
    deal = create(hubspot)
    before = total(hubspot, bearer)
    hubspot.control("POST", f"deals/{deal['id']}/archive", {})
    assert total(hubspot, bearer) == before - 1
    assert deal["id"] not in listed(hubspot, bearer)
    assert deal["id"] in listed(hubspot, bearer, archived=True)
    read = hubspot.http.get(f"{DEALS}/{deal['id']}", params={"archived": "true"}, headers=bearer).json()
    assert read["updatedAt"] == deal["updatedAt"]
    assert read["archivedAt"] >= read["updatedAt"]
    hubspot.control("POST", f"deals/{deal['id']}/restore", {})
    assert deal["id"] in listed(hubspot, bearer)
    assert total(hubspot, bearer) == before


def test_merging_makes_a_new_deal_to_which_every_old_id_leads(hubspot: HubSpot, bearer) -> None:
    one, two, three = create(hubspot, amount="1"), create(hubspot, amount="2"), create(hubspot, dealtype="newbusiness")
    before = total(hubspot, bearer)
    first = hubspot.control("POST", "deals/merge", {"ids": [one["id"], two["id"]]})
    second = hubspot.control("POST", "deals/merge", {"ids": [first["id"], three["id"]]})
    assert total(hubspot, bearer) == before - 2
    assert (second["properties"]["amount"], second["properties"]["dealtype"]) == ("1", "newbusiness")
    for old in (one, two, three, first):
        assert hubspot.http.get(f"{DEALS}/{old['id']}", headers=bearer).json()["id"] == second["id"]
        assert old["id"] in second["properties"]["hs_merged_object_ids"].split(";")
    ids = listed(hubspot, bearer) + listed(hubspot, bearer, archived=True)
    assert not {one["id"], two["id"], three["id"], first["id"]} & set(ids)


def test_pages_stay_whole_while_deals_come_and_go(hubspot: HubSpot, bearer) -> None:
    kept = listed(hubspot, bearer)
    page = hubspot.http.get(DEALS, params={"limit": 10}, headers=bearer).json()
    ids = [deal["id"] for deal in page["results"]]
    hubspot.control("POST", f"deals/{ids[-1]}/archive", {})
    new = create(hubspot)
    rest = hubspot.http.get(
        DEALS, params={"limit": 100, "after": page["paging"]["next"]["after"]}, headers=bearer
    ).json()
    assert [*ids, *(deal["id"] for deal in rest["results"])] == [*kept, new["id"]]


def test_another_portal_can_be_named(hubspot: HubSpot) -> None:
    deal = hubspot.control("POST", "deals", {"portal_id": TAILSPIN, "properties": {"dealname": "Elsewhere"}})
    assert hubspot.http.get(f"{DEALS}/{deal['id']}", headers=hubspot.bearer(TAILSPIN)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "deals", {"properties": {"hs_object_id": "1"}}, 400),
        ("POST", "deals", {"properties": {"no_such": "1"}}, 400),
        ("POST", "deals", {"properties": {"amount": "much"}}, 400),
        ("POST", "deals", {"properties": {"amount": 5}}, 400),
        ("POST", "deals", {"properties": {"dealstage": "no_such"}}, 400),
        ("POST", "deals", {"portal_id": 1, "properties": {}}, 404),
        ("PATCH", "deals/1", {"properties": {}}, 404),
        ("POST", "deals/1/archive", {}, 404),
        ("POST", "deals/merge", {"ids": ["1"]}, 400),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(hubspot: HubSpot, method, path, body, status) -> None:
    assert hubspot.http.request(method, f"/_sandbox/{path}", json=body).status_code == status
