"""Deals of the HubSpot sandbox changed through the CRM API, as HubSpot's own clients change them."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from .conftest import DEALS, NORTHWIND, SCOPES, HubSpot, Start
from .test_hubspot_changes import listed

PATHS = [DEALS, "/crm/objects/2026-09/deals", "/crm/objects/2026-03/0-3", "/crm/v3/objects/deals"]
WRITE = SCOPES + " crm.objects.deals.write"


@pytest.fixture(scope="module")
def hubspot(start_hubspot: Start) -> HubSpot:
    return start_hubspot("--deals", "12", "--rate-limit", "off")


@pytest.fixture(scope="module")
def bearer(hubspot: HubSpot) -> dict[str, str]:
    return hubspot.bearer(scope=WRITE)


def create(hubspot: HubSpot, bearer: dict[str, str], path: str = DEALS, **properties: object) -> dict[str, Any]:
    body = {"properties": {"dealname": "New", **properties}, "associations": []}
    answer = hubspot.http.post(path, json=body, headers=bearer)
    assert answer.status_code == 201, answer.text
    return answer.json()


def read(hubspot: HubSpot, bearer: dict[str, str], id_: str, **query: str) -> httpx2.Response:
    query = {"properties": "dealname,amount,closedate,pipeline,dealstage,hs_merged_object_ids", **query}
    return hubspot.http.get(f"{DEALS}/{id_}", params=query, headers=bearer)


def found(hubspot: HubSpot, bearer: dict[str, str], name: str) -> list[str]:
    filters = [{"propertyName": "dealname", "operator": "EQ", "value": name}]
    body = {"filterGroups": [{"filters": filters}]}
    return [deal["id"] for deal in hubspot.http.post(f"{DEALS}/search", json=body, headers=bearer).json()["results"]]


@pytest.mark.parametrize("path", PATHS)
def test_a_deal_is_created_changed_and_archived_in_every_version(hubspot, bearer, path: str) -> None:
    deal = create(hubspot, bearer, path, dealname=f"By {path}", amount=1250.5, closedate="2027-03-01")
    assert deal["properties"]["amount"] == "1250.5"
    assert deal["properties"]["closedate"] == "2027-03-01T00:00:00.000Z"
    assert found(hubspot, bearer, f"By {path}") == [deal["id"]]
    changes = {"properties": {"amount": "", "dealname": f"Again by {path}"}}
    answer = hubspot.http.patch(f"{path}/{deal['id']}", json=changes, headers=bearer)
    assert answer.status_code == 200
    assert answer.json()["properties"]["amount"] is None
    assert answer.json()["updatedAt"] > deal["updatedAt"]
    assert (found(hubspot, bearer, f"By {path}"), found(hubspot, bearer, f"Again by {path}")) == ([], [deal["id"]])
    gone = hubspot.http.delete(f"{path}/{deal['id']}", headers=bearer)
    assert (gone.status_code, gone.content) == (204, b"")
    assert read(hubspot, bearer, deal["id"]).status_code == 404
    archived = read(hubspot, bearer, deal["id"], archived="true").json()
    assert archived["archivedAt"] > archived["updatedAt"] == answer.json()["updatedAt"]
    assert found(hubspot, bearer, f"Again by {path}") == []


def test_an_archived_deal_cannot_be_changed_and_archiving_again_is_no_error(hubspot, bearer) -> None:
    deal = create(hubspot, bearer)
    for _ in range(2):
        assert hubspot.http.delete(f"{DEALS}/{deal['id']}", headers=bearer).status_code == 204
    archived = read(hubspot, bearer, deal["id"], archived="true").json()
    answer = hubspot.http.patch(f"{DEALS}/{deal['id']}", json={"properties": {"amount": "1"}}, headers=bearer)
    assert (answer.status_code, answer.json()["category"]) == (404, "OBJECT_NOT_FOUND")
    assert read(hubspot, bearer, deal["id"], archived="true").json() == archived


def test_a_merge_makes_a_new_deal_which_old_ids_lead_to_and_can_change(hubspot, bearer) -> None:
    one, two = create(hubspot, bearer, amount="1"), create(hubspot, bearer, amount="2")
    body = {"primaryObjectId": one["id"], "objectIdToMerge": two["id"]}
    merged = hubspot.http.post(f"{DEALS}/merge", json=body, headers=bearer)
    assert merged.status_code == 200
    survivor = merged.json()
    assert survivor["id"] not in (one["id"], two["id"])
    assert survivor["properties"]["hs_merged_object_ids"] == f"{one['id']};{two['id']}"
    assert survivor["properties"]["amount"] == "1"
    hubspot.http.patch(f"{DEALS}/{two['id']}", json={"properties": {"amount": "3"}}, headers=bearer)
    for id_ in (one["id"], two["id"], survivor["id"]):
        told = read(hubspot, bearer, id_).json()
        assert (told["id"], told["properties"]["amount"]) == (survivor["id"], "3")
    assert hubspot.http.post(f"{DEALS}/merge", json=body, headers=bearer).status_code == 400
    body["objectIdToMerge"] = "1"
    assert hubspot.http.post(f"{DEALS}/merge", json=body, headers=bearer).status_code == 404


def test_batches_create_change_and_archive(hubspot, bearer) -> None:
    inputs = [{"properties": {"dealname": f"Batch {n}"}, "objectWriteTraceId": str(n)} for n in range(100)]
    made = hubspot.http.post(f"{DEALS}/batch/create", json={"inputs": inputs}, headers=bearer)
    assert (made.status_code, made.json()["status"]) == (201, "COMPLETE")
    results = made.json()["results"]
    assert [deal["properties"]["dealname"] for deal in results] == [f"Batch {n}" for n in range(100)]
    assert [deal["objectWriteTraceId"] for deal in results] == [str(n) for n in range(100)]
    ids = [deal["id"] for deal in results]
    assert set(ids) <= set(listed(hubspot, bearer))

    def changed(*ids: str) -> httpx2.Response:
        changes = [{"id": id_, "properties": {"amount": "7"}} for id_ in ids]
        return hubspot.http.post(f"{DEALS}/batch/update", json={"inputs": changes}, headers=bearer)

    assert [deal["properties"]["amount"] for deal in changed(*ids).json()["results"]] == ["7"] * 100
    partly = changed(ids[0], "1", ids[1], "nonsense")
    assert partly.status_code == 207
    assert [deal["id"] for deal in partly.json()["results"]] == ids[:2]
    assert partly.json()["errors"][0]["context"]["ids"] == ["1", "nonsense"]
    gone = {"inputs": [{"id": id_} for id_ in [*ids, ids[0], "1"]][:100]}
    assert hubspot.http.post(f"{DEALS}/batch/archive", json=gone, headers=bearer).status_code == 204
    assert not set(ids) & set(listed(hubspot, bearer))
    assert set(ids) <= set(listed(hubspot, bearer, archived=True))


def test_a_batch_with_one_bad_value_changes_nothing(hubspot, bearer) -> None:
    deal = create(hubspot, bearer, amount="1")
    before = listed(hubspot, bearer)
    created = [{"properties": {"dealname": "Good"}}, {"properties": {"amount": "much"}}]
    assert hubspot.http.post(f"{DEALS}/batch/create", json={"inputs": created}, headers=bearer).status_code == 400
    other = create(hubspot, bearer)["id"]
    for id_, name in ((other, "none"), (deal["id"], "amount")):
        changed = [{"id": deal["id"], "properties": {"amount": "2"}}, {"id": id_, "properties": {name: "1"}}]
        answer = hubspot.http.post(f"{DEALS}/batch/update", json={"inputs": changed}, headers=bearer)
        assert answer.status_code == 400
        assert ("IDs must be unique" in answer.text) == (id_ == deal["id"])
    assert listed(hubspot, bearer) == [*before, other]
    assert read(hubspot, bearer, deal["id"]).json()["properties"]["amount"] == "1"


@pytest.mark.parametrize(
    ("properties", "error"),
    [
        ({"no_such": "1"}, "PROPERTY_DOESNT_EXIST"),
        ({"hs_is_closed": "true"}, "READ_ONLY_VALUE"),
        ({"amount": "much"}, "INVALID_NUMBER"),
        ({"amount": "NaN"}, "INVALID_NUMBER"),
        ({"closedate": "soon"}, "INVALID_DATE"),
        ({"closedate": "99999999999999999"}, "INVALID_DATE"),
        ({"dealstage": "registered"}, "INVALID_OPTION"),
        ({"pipeline": "default", "dealstage": "1193847201"}, "INVALID_OPTION"),
        ({"dealname": ["a", "list"]}, "INVALID_STRING"),
    ],
)
def test_a_refused_value_is_named_in_the_message(hubspot, bearer, properties: dict[str, object], error: str) -> None:
    deal = create(hubspot, bearer)
    for answer in (
        hubspot.http.post(DEALS, json={"properties": properties}, headers=bearer),
        hubspot.http.patch(f"{DEALS}/{deal['id']}", json={"properties": properties}, headers=bearer),
    ):
        assert (answer.status_code, answer.json()["category"]) == (400, "VALIDATION_ERROR")
        head, _, told = answer.json()["message"].partition(": ")
        assert head == "Property values were not valid"
        (problem,) = json.loads(told)
        assert (problem["isValid"], problem["error"]) == (False, error)
        assert problem["name"] in properties


def test_a_stage_brings_its_pipeline_along(hubspot, bearer) -> None:
    deal = create(hubspot, bearer)
    assert (deal["properties"]["pipeline"], deal["properties"]["dealstage"]) == ("default", "appointmentscheduled")
    changes = {"properties": {"dealstage": "1193847203"}}
    told = hubspot.http.patch(f"{DEALS}/{deal['id']}", json=changes, headers=bearer).json()
    assert told["properties"]["pipeline"] == "812704591"
    other = create(hubspot, bearer, pipeline="812704777")
    assert other["properties"]["dealstage"] == "1193850010"


def test_a_pipeline_alone_must_have_the_stage_that_the_deal_is_in(hubspot, bearer) -> None:
    deal = create(hubspot, bearer, dealstage="1193847203")
    for pipeline, status in (("default", 400), ("812704591", 200)):
        changes = {"properties": {"pipeline": pipeline}}
        answer = hubspot.http.patch(f"{DEALS}/{deal['id']}", json=changes, headers=bearer)
        assert answer.status_code == status
        assert ("1193847203 is not a valid pipeline stage ID" in answer.text) == (status == 400)


def test_a_new_deal_is_associated_as_it_was_asked_to(hubspot, bearer) -> None:
    def to(id_: str, type_: int) -> dict[str, Any]:
        return {"to": {"id": id_}, "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": type_}]}

    body = {"properties": {"dealname": "Linked"}, "associations": [to("71", 5), to("72", 341), to("73", 3)]}
    id_ = hubspot.http.post(DEALS, json=body, headers=bearer).json()["id"]
    told = read(hubspot, bearer, id_, associations="companies,contacts").json()["associations"]
    assert {kind: {each["id"] for each in linked["results"]} for kind, linked in told.items()} == {
        "companies": {"71", "72"},
        "contacts": {"73"},
    }


def test_the_history_names_the_app_that_changed_a_deal(hubspot, bearer) -> None:
    id_ = hubspot.control("POST", "deals", {"properties": {"amount": "1"}})["id"]
    hubspot.http.patch(f"{DEALS}/{id_}", json={"properties": {"amount": "2"}}, headers=bearer)
    history = read(hubspot, bearer, id_, propertiesWithHistory="amount").json()["propertiesWithHistory"]["amount"]
    assert [(version["value"], version["sourceType"]) for version in history] == [("2", "INTEGRATION"), ("1", "API")]
    facts = hubspot.http.get(f"/oauth/v1/access-tokens/{bearer['Authorization'].split()[1]}").json()
    assert history[0]["sourceId"] == str(facts["app_id"])


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "", {"properties": "none"}),
        ("POST", "", {"properties": {}, "associations": [{"to": {"id": "1"}, "types": []}]}),
        ("POST", "", {"properties": {}, "associations": [{"to": {"id": "1"}, "types": [{"associationTypeId": 99}]}]}),
        ("POST", "/batch/create", {"inputs": [{"properties": {}}] * 101}),
        ("POST", "/batch/create", {"inputs": []}),
        ("POST", "/batch/update", {"inputs": [{"properties": {}}]}),
        ("POST", "/batch/archive", {}),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(hubspot, bearer, method: str, path: str, body) -> None:
    before = listed(hubspot, bearer)
    answer = hubspot.http.request(method, DEALS + path, json=body, headers=bearer)
    assert (answer.status_code, answer.json()["category"]) == (400, "VALIDATION_ERROR")
    assert listed(hubspot, bearer) == before


def test_changing_takes_the_scope_for_it(hubspot) -> None:
    id_ = hubspot.control("POST", "deals", {"properties": {"dealname": "Read only"}})["id"]
    bearer = hubspot.bearer()
    calls = [("POST", ""), ("PATCH", f"/{id_}"), ("DELETE", f"/{id_}"), ("POST", "/merge")]
    calls += [("POST", f"/batch/{verb}") for verb in ("create", "update", "archive")]
    before = read(hubspot, bearer, id_).json()
    for method, path in calls:
        body = {"properties": {"amount": "1"}, "inputs": [{"id": id_, "properties": {}}]}
        answer = hubspot.http.request(method, DEALS + path, json=body, headers=bearer)
        assert (answer.status_code, answer.json()["category"]) == (403, "MISSING_SCOPES"), (method, path)
    assert read(hubspot, bearer, id_).json() == before


def test_writes_count_against_the_rate_limit(start_hubspot: Start) -> None:
    hubspot = start_hubspot("--deals", "1")
    bearer = hubspot.bearer(NORTHWIND, scope=WRITE)
    answer = hubspot.http.post(DEALS, json={"properties": {}}, headers=bearer)
    assert answer.headers["X-HubSpot-RateLimit-Remaining"] == "109"
    gone = hubspot.http.delete(f"{DEALS}/{answer.json()['id']}", headers=bearer)
    assert gone.headers["X-HubSpot-RateLimit-Remaining"] == "108"


def test_a_deleted_deal_is_gone_for_good_and_its_id_is_not_used_again(hubspot, bearer) -> None:
    deal = create(hubspot, bearer)
    assert hubspot.http.delete(f"/_sandbox/deals/{deal['id']}").status_code == 204
    for archived in ("true", "false"):
        assert read(hubspot, bearer, deal["id"], archived=archived).status_code == 404
    assert hubspot.http.delete(f"/_sandbox/deals/{deal['id']}").status_code == 404
    assert int(create(hubspot, bearer)["id"]) > int(deal["id"])
