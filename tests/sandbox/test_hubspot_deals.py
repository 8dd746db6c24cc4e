"""Reading deals from the HubSpot sandbox: lists, batches, searches, definitions. Nothing here changes a deal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from .conftest import DEALS, EMPTY, NORTHWIND, TAILSPIN, WINGTIP, HubSpot, Start

COUNT = 230
PATHS = [DEALS, "/crm/objects/2026-09/deals", "/crm/objects/2026-03/0-3", "/crm/v3/objects/deals"]


@pytest.fixture(scope="module")
def truth_file(tmp_path_factory: pytest.TempPathFactory):
    return tmp_path_factory.mktemp("hubspot") / "truth.json"


@pytest.fixture(scope="module")
def hubspot(start_hubspot: Start, truth_file) -> HubSpot:
    arguments = ("--deals", str(COUNT), "--seed", "7", "--today", "2026-11-22", "--rate-limit", "off")
    return start_hubspot(*arguments, "--truth", str(truth_file))


@pytest.fixture(scope="module")
def truth(hubspot: HubSpot, truth_file) -> dict[str, Any]:
    return json.loads(truth_file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def live(truth: dict[str, Any]) -> dict[str, dict[str, str | None]]:
    return {deal["id"]: deal["properties"] for deal in truth["deals"] if not deal["archived"]}


@pytest.fixture(scope="module")
def bearer(hubspot: HubSpot) -> dict[str, str]:
    return hubspot.bearer()


def pages(hubspot: HubSpot, bearer: dict[str, str], path: str, **query: Any) -> Iterator[list[dict[str, Any]]]:
    """The pages of a list, each reached by the link that the one before gives."""
    address: Any = httpx2.URL(str(hubspot.http.base_url)).join(path).copy_merge_params(query)
    while address:
        answer = hubspot.http.get(address, headers=bearer)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        yield body["results"]
        address = body.get("paging", {}).get("next", {}).get("link")


def search(hubspot: HubSpot, bearer: dict[str, str], **body: Any) -> httpx2.Response:
    return hubspot.http.post(f"{DEALS}/search", json=body, headers=bearer)


def found(hubspot: HubSpot, bearer: dict[str, str], *filters: dict[str, Any]) -> set[str]:
    body = search(hubspot, bearer, filterGroups=[{"filters": list(filters)}], limit=200).json()
    results = {deal["id"] for deal in body["results"]}
    after = body.get("paging", {}).get("next", {}).get("after")
    if after:
        more = search(hubspot, bearer, filterGroups=[{"filters": list(filters)}], limit=200, after=after).json()
        results |= {deal["id"] for deal in more["results"]}
    assert len(results) == body["total"]
    return results


def where(name: str, operator: str, **operands: Any) -> dict[str, Any]:
    return {"propertyName": name, "operator": operator, **operands}


@pytest.mark.parametrize("path", PATHS)
def test_the_list_gives_the_seeded_truth_page_by_page(hubspot, bearer, live, path: str) -> None:
    names = next(iter(live.values()))
    read = {}
    for page in pages(hubspot, bearer, path, limit=100, properties=",".join(names)):
        assert len(page) <= 100
        read |= {deal["id"]: deal["properties"] for deal in page}
    assert len(read) == COUNT
    assert read == live


def test_archived_deals_are_listed_apart(hubspot, bearer, truth) -> None:
    archived = [deal for page in pages(hubspot, bearer, DEALS, limit=5, archived="true") for deal in page]
    assert [deal["id"] for deal in archived] == [deal["id"] for deal in truth["deals"] if deal["archived"]]
    assert archived
    assert all(deal["archived"] and deal["archivedAt"] >= deal["updatedAt"] for deal in archived)


def test_a_deal_has_the_shape_of_the_real_ones(hubspot, bearer, live) -> None:
    query = {"limit": 1, "properties": ["dealname,amount", "closed_lost_reason", "no_such_property"]}
    deal = hubspot.http.get(DEALS, params=query, headers=bearer).json()["results"][0]
    always = {"createdate", "hs_lastmodifieddate", "hs_object_id"}
    assert set(deal["properties"]) == always | {"dealname", "amount", "closed_lost_reason"}
    assert all(value is None or isinstance(value, str) for value in deal["properties"].values())
    assert deal["id"] == deal["properties"]["hs_object_id"]
    assert deal["createdAt"] == deal["properties"]["createdate"]
    assert deal["updatedAt"] == deal["properties"]["hs_lastmodifieddate"]
    assert deal["archived"] is False
    assert "archivedAt" not in deal


@pytest.mark.parametrize("query", [{"limit": 101}, {"limit": 0}, {"limit": "ten"}, {"after": "x"}])
def test_a_bad_page_is_refused(hubspot, bearer, query) -> None:
    answer = hubspot.http.get(DEALS, params=query, headers=bearer)
    assert (answer.status_code, answer.json()["category"]) == (400, "VALIDATION_ERROR")


def test_the_seed_holds_the_oddities_of_real_accounts(live, truth) -> None:
    deals = list(live.values())
    by_name = {name: [deal[name] for deal in deals] for name in deals[0]}
    assert None in by_name["amount"]
    assert "1000.5" in by_name["amount"]
    assert None in by_name["closedate"]
    assert len(set(by_name["deal_currency_code"])) >= 4
    assert any(pipeline.isdigit() for pipeline in by_name["pipeline"])
    assert any(not name.isascii() for name in by_name["dealname"] if name)
    assert any(len(name) > 255 for name in by_name["dealname"] if name)
    assert None not in by_name["dealname"]
    assert {"123456789012.345", "0.0001", "9876543210987.65"} <= set(by_name["amount"])
    open_deals = [deal for deal in deals if deal["hs_is_closed"] == "false"]
    assert any(deal["closedate"] and deal["closedate"] < "2026-11-22" for deal in open_deals)
    assert any(deal["closedate"] and deal["closedate"] > "2026-11-23" for deal in open_deals)
    assert any(len(deal["description"] or "") > 2000 for deal in deals)
    assert any(0 < len(deal["description"] or "") < 20 for deal in deals)
    assert any(deal["hs_merged_object_ids"] for deal in deals)
    assert truth["merged"]
    assert not set(truth["merged"]) & {deal["id"] for deal in truth["deals"]}


def test_further_accounts_hold_what_nobody_can_take_over_as_it_is(hubspot: HubSpot) -> None:
    read = hubspot.http.get(
        DEALS, params={"limit": 100, "properties": "dealname,amount"}, headers=hubspot.bearer(TAILSPIN)
    )
    deals = [deal["properties"] for deal in read.json()["results"]]
    assert any(deal["dealname"] is None for deal in deals)
    assert any(deal["dealname"] and deal["dealname"] != " ".join(deal["dealname"].split()) for deal in deals)
    assert any(deal["amount"] == "1234.567891" for deal in deals)


def test_accounts_with_one_currency_have_amounts_without_naming_it(hubspot: HubSpot) -> None:
    read = hubspot.http.get(
        DEALS,
        params={"limit": 100, "properties": "amount,deal_currency_code,amount_in_home_currency"},
        headers=hubspot.bearer(WINGTIP),
    )
    deals = [deal["properties"] for deal in read.json()["results"]]
    assert any(deal["amount"] for deal in deals)
    assert {deal["deal_currency_code"] for deal in deals} == {None}
    assert all(deal["amount_in_home_currency"] == deal["amount"] for deal in deals)


def test_calculated_properties_agree_with_the_stage(hubspot, bearer, live) -> None:
    pipelines = hubspot.http.get("/crm/pipelines/2026-03/deals", headers=bearer).json()["results"]
    stages = {stage["id"]: stage["metadata"] for pipeline in pipelines for stage in pipeline["stages"]}
    places = {stage["id"]: pipeline["id"] for pipeline in pipelines for stage in pipeline["stages"]}
    for deal in live.values():
        stage = stages[deal["dealstage"]]
        assert deal["pipeline"] == places[deal["dealstage"]]
        assert deal["hs_is_closed"] == stage["isClosed"]
        won = stage["isClosed"] == "true" and stage["probability"] == "1.0"
        assert deal["hs_is_closed_won"] == str(won).lower()
        assert (deal["amount"] is None) == (deal["amount_in_home_currency"] is None)


def test_batch_read_gives_what_there_is_and_names_what_is_missing(hubspot, bearer, live, truth) -> None:
    known, other = list(live)[:2]
    archived = next(deal["id"] for deal in truth["deals"] if deal["archived"])

    def batch(*ids: str) -> httpx2.Response:
        body = {"inputs": [{"id": id_} for id_ in ids], "properties": ["dealname"]}
        return hubspot.http.post(f"{DEALS}/batch/read", json=body, headers=bearer)

    whole = batch(known, other, known)
    assert whole.status_code == 200
    assert [deal["id"] for deal in whole.json()["results"]] == [known, other]
    assert "numErrors" not in whole.json()
    part = batch(known, "1", archived)
    body = part.json()
    assert (part.status_code, body["status"], body["numErrors"]) == (207, "COMPLETE", 1)
    assert body["errors"][0]["category"] == "OBJECT_NOT_FOUND"
    assert body["errors"][0]["context"]["ids"] == ["1", archived]
    assert batch(*["1"] * 101).status_code == 400


def test_a_merged_id_answers_with_the_new_one(hubspot, bearer, truth) -> None:
    old, new = next(iter(truth["merged"].items()))
    single = hubspot.http.get(f"{DEALS}/{old}", params={"properties": "hs_merged_object_ids"}, headers=bearer).json()
    assert single["id"] == new
    assert old in single["properties"]["hs_merged_object_ids"].split(";")
    body = {"inputs": [{"id": old}], "properties": []}
    batch = hubspot.http.post(f"{DEALS}/batch/read", json=body, headers=bearer)
    assert (batch.status_code, batch.json()["results"][0]["id"]) == (200, new)


def test_a_deal_that_is_not_there_is_not_found(hubspot, bearer, truth) -> None:
    archived = next(deal["id"] for deal in truth["deals"] if deal["archived"])
    for id_ in ("1", "x", archived):
        assert hubspot.http.get(f"{DEALS}/{id_}", headers=bearer).status_code == 404
    found_archived = hubspot.http.get(f"{DEALS}/{archived}", params={"archived": "true"}, headers=bearer)
    assert found_archived.status_code == 200


def test_every_operator_finds_what_the_truth_says(hubspot, bearer, live) -> None:
    def expected(test) -> set[str]:
        return {id_ for id_, deal in live.items() if test(deal)}

    def amount(deal) -> float | None:
        return None if deal["amount"] is None else float(deal["amount"])

    cases = [
        (where("hs_is_closed", "EQ", value="false"), lambda d: d["hs_is_closed"] == "false"),
        (where("dealtype", "NEQ", value="newbusiness"), lambda d: d["dealtype"] == "existingbusiness"),
        (where("amount", "EQ", value="1000.50"), lambda d: d["amount"] == "1000.5"),
        (where("amount", "GT", value="100000"), lambda d: amount(d) is not None and amount(d) > 100000),
        (where("amount", "GTE", value="100000"), lambda d: amount(d) is not None and amount(d) >= 100000),
        (where("amount", "LT", value="9000"), lambda d: amount(d) is not None and amount(d) < 9000),
        (where("amount", "LTE", value="9000"), lambda d: amount(d) is not None and amount(d) <= 9000),
        (
            where("createdate", "BETWEEN", value="1735689600000", highValue="2026-01-01T00:00:00Z"),
            lambda d: "2025-01-01" <= d["createdate"] < "2026-01-01",
        ),
        (
            where("dealstage", "IN", values=["closedwon", "1193847205"]),
            lambda d: d["dealstage"] in ("closedwon", "1193847205"),
        ),
        (where("pipeline", "NOT_IN", values=["default"]), lambda d: d["pipeline"] != "default"),
        (where("closedate", "HAS_PROPERTY"), lambda d: d["closedate"] is not None),
        (where("amount", "NOT_HAS_PROPERTY"), lambda d: d["amount"] is None),
    ]
    for filter_, test in cases:
        ids = expected(test)
        assert ids, f"the case {filter_} proves nothing"
        assert ids != set(live), f"the case {filter_} proves nothing"
        assert found(hubspot, bearer, filter_) == ids, filter_


def test_filters_of_a_group_must_all_hold_and_one_group_is_enough(hubspot, bearer, live) -> None:
    is_open, no_amount = where("hs_is_closed", "EQ", value="false"), where("amount", "NOT_HAS_PROPERTY")
    both = {i for i, d in live.items() if d["hs_is_closed"] == "false" and d["amount"] is None}
    assert found(hubspot, bearer, is_open, no_amount) == both
    groups = [{"filters": [is_open]}, {"filters": [no_amount]}]
    either = {i for i, d in live.items() if d["hs_is_closed"] == "false" or d["amount"] is None}
    assert search(hubspot, bearer, filterGroups=groups).json()["total"] == len(either)


def test_search_sorts_and_pages(hubspot, bearer, live) -> None:
    sorts = [{"propertyName": "amount", "direction": "DESCENDING"}]
    read: list[dict[str, Any]] = []
    after = None
    while True:
        body = search(hubspot, bearer, sorts=sorts, limit=77, **({"after": after} if after else {})).json()
        assert body["total"] == COUNT
        read += body["results"]
        if "paging" not in body:
            break
        after = body["paging"]["next"]["after"]
    assert {deal["id"] for deal in read} == set(live)
    amounts = [deal["properties"]["amount"] for deal in read]
    given = [float(amount) for amount in amounts if amount is not None]
    assert given == sorted(given, reverse=True)
    assert amounts[len(given) :] == [None] * (COUNT - len(given))


def test_search_returns_the_default_properties_unless_asked(hubspot, bearer) -> None:
    default = search(hubspot, bearer, limit=1).json()["results"][0]["properties"]
    assert {"dealname", "amount", "closedate", "pipeline", "dealstage", "hs_object_id"} <= set(default)
    asked = search(hubspot, bearer, limit=1, properties=["dealtype"]).json()["results"][0]["properties"]
    assert set(asked) == {"createdate", "hs_lastmodifieddate", "hs_object_id", "dealtype"}


def test_search_never_finds_archived_deals(hubspot, bearer, truth) -> None:
    archived = next(deal["id"] for deal in truth["deals"] if deal["archived"])
    assert found(hubspot, bearer, where("hs_object_id", "EQ", value=archived)) == set()


@pytest.mark.parametrize(
    "body",
    [
        {"limit": 201},
        {"after": "x"},
        {"after": "9999", "limit": 10},
        {"sorts": ["amount", "createdate"]},
        {"sorts": ["no_such"]},
        {"filterGroups": [{"filters": []}] * 6},
        {"filterGroups": [{"filters": [where("amount", "HAS_PROPERTY")] * 7}]},
        {"filterGroups": [{"filters": [where("amount", "HAS_PROPERTY")] * 6}] * 4},
        {"filterGroups": [{"filters": [where("no_such", "HAS_PROPERTY")]}]},
        {"filterGroups": [{"filters": [where("amount", "SOUNDS_LIKE", value="x")]}]},
        {"filterGroups": [{"filters": [where("amount", "GT", value="much")]}]},
        {"filterGroups": [{"filters": [where("amount", "GT")]}]},
        {"filterGroups": [{"filters": [where("amount", "IN", values=[])]}]},
        {"filterGroups": [{"filters": ["amount"]}]},
        {"filterGroups": "amount"},
        {"query": "x" * 3001},
    ],
)
def test_a_search_that_hubspot_would_refuse_is_refused(hubspot, bearer, body) -> None:
    answer = search(hubspot, bearer, **body)
    assert (answer.status_code, answer.json()["category"]) == (400, "VALIDATION_ERROR")


def test_search_reads_no_further_than_10_000(hubspot, bearer) -> None:
    assert search(hubspot, bearer, after="9990", limit=10).status_code == 200
    assert search(hubspot, bearer, after="10000", limit=10).status_code == 400


def test_short_pages_lose_nothing_for_who_follows_the_cursor(hubspot, bearer, live) -> None:
    hubspot.control("POST", "faults", {"short_search_pages": True})
    try:
        sizes, ids, body = [], [], {"limit": 50}
        while True:
            answer = search(hubspot, bearer, **body).json()
            sizes.append(len(answer["results"]))
            ids += [deal["id"] for deal in answer["results"]]
            if "paging" not in answer:
                break
            body["after"] = answer["paging"]["next"]["after"]
    finally:
        hubspot.control("DELETE", "faults")
    assert sorted(ids) == sorted(live)
    assert 0 in sizes
    assert len(set(sizes)) > 2


@pytest.mark.parametrize("path", ["/crm/properties/2026-03/deals", "/crm/v3/properties/deals"])
def test_every_property_of_a_deal_is_defined(hubspot, bearer, live, path: str) -> None:
    definitions = {d["name"]: d for d in hubspot.http.get(path, headers=bearer).json()["results"]}
    assert set(definitions) == set(next(iter(live.values())))
    for deal in live.values():
        for name, value in deal.items():
            options = [option["value"] for option in definitions[name]["options"]]
            assert value is None or not options or value in options


def test_the_account_says_what_it_is(hubspot) -> None:
    details = hubspot.http.get("/account-info/2026-03/details", headers=hubspot.bearer(WINGTIP)).json()
    assert (details["portalId"], details["companyCurrency"], details["timeZone"]) == (WINGTIP, "EUR", "Europe/Berlin")
    assert details["utcOffsetMilliseconds"] == 3_600_000


def test_portals_differ_in_size_and_keep_their_deals_apart(hubspot, live) -> None:
    portals = {p["id"]: p["live"] for p in hubspot.control("GET", "portals")["portals"]}
    assert portals[NORTHWIND] == COUNT
    assert 0 < portals[WINGTIP] < 10
    wingtip, empty = hubspot.bearer(WINGTIP), hubspot.bearer(EMPTY)
    listed = hubspot.http.get(DEALS, headers=wingtip).json()["results"]
    assert len(listed) == portals[WINGTIP]
    assert not {deal["id"] for deal in listed} & set(live)
    assert hubspot.http.get(DEALS, headers=empty).json() == {"results": []}
    assert hubspot.http.get(f"{DEALS}/{listed[0]['id']}", headers=hubspot.bearer()).status_code == 404


def test_the_same_seed_gives_the_same_deals_and_another_gives_others(start_hubspot, truth, tmp_path) -> None:
    def truth_of(seed: str) -> dict[str, Any]:
        file = tmp_path / seed
        start_hubspot("--deals", str(COUNT), "--seed", seed, "--today", "2026-11-22", "--truth", str(file))
        return json.loads(file.read_text(encoding="utf-8"))

    assert truth_of("7") == truth
    assert truth_of("8")["deals"] != truth["deals"]


def test_an_unknown_address_is_not_found_in_hubspots_shape(hubspot, bearer) -> None:
    answer = hubspot.http.get("/crm/objects/2026-03/no_such_objects", headers=bearer)
    assert (answer.status_code, answer.json()["status"]) == (404, "error")


@pytest.mark.parametrize("path", ["/crm/objects/2026-03/contacts", "/crm/v3/properties/companies"])
def test_objects_that_no_scope_was_granted_for_are_refused(hubspot, bearer, path: str) -> None:
    answer = hubspot.http.get(path, headers=bearer)
    assert (answer.status_code, answer.json()["category"]) == (403, "MISSING_SCOPES")
    assert answer.json()["errors"][0]["context"]["requiredGranularScopes"] == [
        f"crm.objects.{path.split('/')[-1]}.read"
    ]
    assert hubspot.http.get(path).status_code == 401
