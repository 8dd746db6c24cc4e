"""Faults of the HubSpot sandbox: their shapes, their rates, and answers that are spoiled on their way."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from awssome_sandbox.hubspot.faults import Faults, Hit

from .conftest import DEALS, HubSpot, Start


@pytest.fixture(scope="module")
def unlimited(start_hubspot: Start) -> HubSpot:
    return start_hubspot("--deals", "30", "--rate-limit", "off")


@pytest.fixture(scope="module")
def bearer(unlimited: HubSpot) -> dict[str, str]:
    return unlimited.bearer()


@pytest.fixture
def hubspot(unlimited: HubSpot) -> Iterator[HubSpot]:
    """A sandbox without limits; what a test orders ends with it."""
    yield unlimited
    unlimited.control("DELETE", "faults")


SHAPES = [
    ({"status": 401}, {"category": "INVALID_AUTHENTICATION"}),
    ({"status": 401, "category": "EXPIRED_AUTHENTICATION"}, {"category": "EXPIRED_AUTHENTICATION"}),
    ({"status": 403}, {"category": "MISSING_SCOPES"}),
    ({"status": 403, "category": "BANNED"}, {"category": "BANNED"}),
    ({"status": 423}, {}),
    ({"status": 477}, {}),
    ({"status": 500}, {}),
    ({"status": 429}, {"errorType": "RATE_LIMIT", "policyName": "TEN_SECONDLY_ROLLING"}),
    (
        {"status": 429, "category": "DAILY"},
        {"policyName": "DAILY", "message": "You have reached your daily limit."},
    ),
    ({"status": 400, "category": "BAD_REFRESH_TOKEN"}, {"error": "invalid_grant", "status": "BAD_REFRESH_TOKEN"}),
]


@pytest.mark.parametrize(("order", "told"), SHAPES)
def test_an_ordered_failure_has_hubspots_shape(hubspot: HubSpot, bearer, order, told: dict[str, Any]) -> None:
    hubspot.control("POST", "faults", {"fail": [order]})
    refused = hubspot.http.get(DEALS, headers=bearer)
    body = refused.json()
    assert refused.status_code == order["status"]
    assert told.items() <= body.items()
    assert body["correlationId"] == refused.headers["X-HubSpot-Correlation-Id"]
    assert ("Retry-After" in refused.headers) == (order["status"] == 477)
    assert hubspot.http.get(DEALS, headers=bearer).status_code == 200


def test_a_search_that_is_limited_on_order_says_secondly(hubspot: HubSpot, bearer) -> None:
    hubspot.control("POST", "faults", {"fail": [{"status": 429, "endpoint": "deals.search", "retry_after": 3}]})
    refused = hubspot.http.post(f"{DEALS}/search", json={}, headers=bearer)
    assert (refused.json()["category"], refused.headers["Retry-After"]) == ("RATE_LIMITS", "3")
    assert refused.json()["message"] == "You have reached your secondly limit."
    assert not {"errorType", "policyName"} & set(refused.json())


@pytest.mark.parametrize("status", [414, 502, 504, 521, 523, 524, 530])
def test_what_a_proxy_answers_is_html(hubspot: HubSpot, bearer, status: int) -> None:
    hubspot.control("POST", "faults", {"fail": [{"status": status}]})
    refused = hubspot.http.get(DEALS, headers=bearer)
    assert (refused.status_code, refused.headers["content-type"].split(";")[0]) == (status, "text/html")


def statuses(hubspot: HubSpot, bearer, times: int) -> list[int]:
    return [hubspot.http.get(DEALS, headers=bearer).status_code for _ in range(times)]


def test_a_rate_hits_its_share_and_the_same_calls_for_the_same_seed(hubspot: HubSpot, bearer) -> None:
    order = {"seed": 7, "fail": [{"status": 500, "rate": 0.2}]}
    runs = []
    for seed in (7, 7, 8):
        hubspot.control("DELETE", "faults")
        hubspot.control("POST", "faults", {**order, "seed": seed})
        first = statuses(hubspot, bearer, 100)
        hubspot.http.get("/crm/pipelines/2026-03/deals", headers=bearer)
        runs.append(first + statuses(hubspot, bearer, 100))
    assert runs[0] == runs[1], "calls of other endpoints in between make no difference"
    assert runs[0] != runs[2]
    assert 15 <= runs[0].count(500) <= 70


def test_a_mix_is_of_many_kinds_and_of_such_alone_as_pass_by_themselves() -> None:
    faults = Faults()
    faults.order({"mix": 0.5, "seed": 3})
    hits = [faults.hit("deals.list") for _ in range(2_000)]
    assert 900 < sum(hit != Hit() for hit in hits) < 1_100
    assert {hit.drop.when for hit in hits if hit.drop} == {"before", "during", "after"}
    assert {hit.spoiling.how for hit in hits if hit.spoiling} == {"late", "slow_body", "malformed"}
    failures = {hit.failure.status for hit in hits if hit.failure}
    assert failures >= {423, 429, 500, 502, 503, 504}
    assert not failures & {400, 401, 403, 414, 477}


def test_malformed_json_comes_as_a_success(hubspot: HubSpot, bearer) -> None:
    hubspot.control("POST", "faults", {"spoil": [{"how": "malformed"}]})
    answer = hubspot.http.get(DEALS, headers=bearer)
    assert (answer.status_code, int(answer.headers["content-length"])) == (200, len(answer.content))
    with pytest.raises(json.JSONDecodeError):
        answer.json()


def test_fields_can_be_missing_or_null_in_all_results_or_in_some(hubspot: HubSpot, bearer) -> None:
    ids = [deal["id"] for deal in hubspot.http.get(DEALS, headers=bearer).json()["results"]]
    poison = {"how": "missing_fields", "fields": ["updatedAt", "properties"], "ids": [ids[3]], "endpoint": "deals.list"}
    hubspot.control("POST", "faults", {"spoil": [poison]})
    results = hubspot.http.get(DEALS, headers=bearer).json()["results"]
    assert [deal["id"] for deal in results] == ids
    assert [deal["id"] for deal in results if "updatedAt" not in deal] == [ids[3]]
    hubspot.control("POST", "faults", {"spoil": [{"how": "null_fields", "fields": ["properties"]}]})
    assert {str(deal["properties"]) for deal in hubspot.http.get(DEALS, headers=bearer).json()["results"]} == {"None"}


def test_a_slow_body_comes_in_pieces_and_a_late_answer_late(hubspot: HubSpot, bearer) -> None:
    whole = hubspot.http.get(DEALS, headers=bearer).json()["results"]
    for how in ("slow_body", "late"):
        hubspot.control("POST", "faults", {"spoil": [{"how": how, "seconds": 0.3}]})
        began = time.monotonic()
        with hubspot.http.stream("GET", DEALS, headers=bearer) as answer:
            head = time.monotonic() - began
            body = answer.read()
        assert time.monotonic() - began >= 0.3
        assert (head < 0.3) == (how == "slow_body")
        assert json.loads(body)["results"] == whole


def test_a_call_that_hangs_gets_no_answer(hubspot: HubSpot, bearer) -> None:
    hubspot.control("POST", "faults", {"spoil": [{"how": "hang", "seconds": 30}, {"how": "hang", "seconds": 0.2}]})
    with pytest.raises(httpx2.ReadTimeout):
        hubspot.http.get(DEALS, headers=bearer, timeout=0.3)
    with pytest.raises(httpx2.RemoteProtocolError):
        hubspot.http.get(DEALS, headers=bearer, timeout=5)
    assert hubspot.http.get(DEALS, headers=bearer).status_code == 200


@pytest.mark.parametrize(
    "order",
    [
        {"mix": 2},
        {"latency_ms": -1},
        {"short_list_pages": "yes"},
        {"fail": [{"status": 500, "rate": 0.5, "times": 2}]},
        {"fail": [{"status": 500, "rate": 1.5}]},
        {"fail": [{"status": 403, "category": "DAILY"}]},
        {"spoil": [{"how": "rot"}]},
        {"spoil": [{"seconds": "long"}]},
        {"spoil": [{"fields": "updatedAt"}]},
    ],
)
def test_an_order_that_is_not_understood_is_refused(hubspot: HubSpot, order) -> None:
    answer = hubspot.http.post("/_sandbox/faults", json=order)
    assert (answer.status_code, answer.json()["status"]) == (400, "error")
    faults = hubspot.control("GET", "faults")
    assert not faults["fail"]
    assert not faults["spoil"]


def test_faults_can_be_in_force_from_the_start(start_hubspot: Start) -> None:
    order = {"short_list_pages": True, "fail": [{"status": 503, "times": 1, "endpoint": "deals.list"}]}
    hubspot = start_hubspot("--deals", "30", "--faults", json.dumps(order))
    bearer = hubspot.bearer()
    assert hubspot.http.get(DEALS, headers=bearer).status_code == 503
    sizes, after = [], ""
    while True:
        body = hubspot.http.get(DEALS, params={"after": after, "limit": 10}, headers=bearer).json()
        sizes.append(len(body["results"]))
        if "paging" not in body:
            break
        after = body["paging"]["next"]["after"]
    assert sum(sizes) == 30
    assert {0, 5, 10} <= set(sizes)


def test_a_search_sees_a_change_only_after_the_lag(start_hubspot: Start) -> None:
    hubspot = start_hubspot("--deals", "12", "--rate-limit", "off", "--index-lag-ms", "60000")
    bearer = hubspot.bearer()
    ids = [deal["id"] for deal in hubspot.http.get(DEALS, params={"limit": 100}, headers=bearer).json()["results"]]

    def found() -> dict[str, str]:
        body = hubspot.http.post(f"{DEALS}/search", json={"limit": 200}, headers=bearer).json()
        assert body["total"] == len(body["results"])
        assert not any(deal["archived"] for deal in body["results"])
        return {deal["id"]: deal["properties"]["dealname"] for deal in body["results"]}

    before = found()
    new = hubspot.control("POST", "deals", {"properties": {"dealname": "New"}})["id"]
    hubspot.control("PATCH", f"deals/{ids[0]}", {"properties": {"dealname": "Edited"}})
    hubspot.control("POST", f"deals/{ids[1]}/archive", {})
    survivor = hubspot.control("POST", "deals/merge", {"ids": ids[2:4]})["id"]
    assert found() == before
    direct = hubspot.http.get(f"{DEALS}/{ids[0]}", params={"properties": "dealname"}, headers=bearer).json()
    assert direct["properties"]["dealname"] == "Edited"
    assert hubspot.http.get(f"{DEALS}/{ids[1]}", headers=bearer).status_code == 404
    hubspot.control("POST", "faults", {"index_lag_ms": 0})
    after = found()
    assert set(after) == (set(before) - set(ids[1:4])) | {new, survivor}
    assert after[ids[0]] == "Edited"
    hubspot.control("DELETE", "faults")
    hubspot.control("PATCH", f"deals/{ids[0]}", {"properties": {"dealname": "Again"}})
    assert found() == after, "without faults the lag is again what it was at the start"
