"""What other clients of HubSpot call and the product does not: history, associations, single definitions, older
versions, private apps; and the ways to start a sandbox for them."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .conftest import DEALS, EMPTY, NORTHWIND, TAILSPIN, HubSpot, Start

ADDED = 8800001
PRIVATE = "pat-na1-of-the-tests"
COUNT = 60


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("truth")


@pytest.fixture(scope="module")
def hubspot(start_hubspot: Start, files: Path) -> HubSpot:
    apps = ("--private-app", f"{PRIVATE}:{NORTHWIND}:professional", "--private-app", f"{PRIVATE}-2:{TAILSPIN}")
    sizes = ("--portal", f"{EMPTY}:11", "--portal", f"{ADDED}:9")
    truths = ("--truth", str(files / "first"), "--truth", f"{ADDED}:{files / 'added'}")
    return start_hubspot("--deals", str(COUNT), "--seed", "7", *apps, *sizes, *truths)


@pytest.fixture(scope="module")
def truth(hubspot: HubSpot, files: Path) -> dict[str, Any]:
    return json.loads((files / "first").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def bearer(hubspot: HubSpot) -> dict[str, str]:
    return {"Authorization": f"Bearer {PRIVATE}"}


def get(hubspot: HubSpot, bearer: dict[str, str], path: str, **query: Any) -> Any:
    answer = hubspot.http.get(path, params=query, headers=bearer)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("path", ["/crm/v3/owners/", "/crm/v3/objects/deals/", f"{DEALS}/", "/crm/v3/pipelines/deals/"])
def test_a_trailing_slash_makes_no_difference(hubspot: HubSpot, bearer, path: str) -> None:
    assert get(hubspot, bearer, path) == get(hubspot, bearer, path.rstrip("/"))


@pytest.mark.parametrize("kind", ["deal", "deals", "0-3"])
def test_deals_have_three_names(hubspot: HubSpot, bearer, kind: str) -> None:
    assert get(hubspot, bearer, f"/crm/v3/objects/{kind}")["results"] == get(hubspot, bearer, DEALS)["results"]
    found = hubspot.http.post(f"/crm/v3/objects/{kind}/search", json={}, headers=bearer)
    assert found.json()["total"] == COUNT


def test_single_definitions_are_those_of_the_lists(hubspot: HubSpot, bearer) -> None:
    pipelines = get(hubspot, bearer, "/crm/pipelines/2026-03/deals")["results"]
    for pipeline in pipelines:
        address = f"/crm/v3/pipelines/deals/{pipeline['id']}"
        assert get(hubspot, bearer, address) == pipeline
        assert get(hubspot, bearer, f"{address}/stages")["results"] == pipeline["stages"]
        stage = pipeline["stages"][0]
        assert get(hubspot, bearer, f"{address}/stages/{stage['id']}") == stage
    definitions = get(hubspot, bearer, "/crm/properties/2026-09/deals")["results"]
    assert get(hubspot, bearer, "/crm/properties/2026-09/deals/amount") in definitions
    asked = {"inputs": [{"name": "amount"}, {"name": "dealname"}], "archived": False}
    batch = hubspot.http.post("/crm/v3/properties/deals/batch/read", json=asked, headers=bearer).json()
    assert [definition["name"] for definition in batch["results"]] == ["amount", "dealname"]
    for missing in ("/crm/v3/properties/deals/no_such", "/crm/v3/pipelines/deals/no_such", "/crm/v3/owners/1"):
        assert hubspot.http.get(missing, headers=bearer).status_code == 404


def test_owners_come_in_pages_and_one_by_one(hubspot: HubSpot, bearer) -> None:
    first = get(hubspot, bearer, "/crm/owners/2026-03", limit=1)
    second = get(hubspot, bearer, "/crm/owners/2026-03", limit=1, after=first["paging"]["next"]["after"])
    assert "paging" not in second
    both = [*first["results"], *second["results"]]
    assert both == get(hubspot, bearer, "/crm/owners/2026-03")["results"]
    assert hubspot.http.get(first["paging"]["next"]["link"], headers=bearer).json() == second
    assert get(hubspot, bearer, f"/crm/v3/owners/{both[1]['id']}") == both[1]
    assert get(hubspot, bearer, f"/crm/v3/owners/{both[1]['userId']}", idProperty="userId") == both[1]
    assert get(hubspot, bearer, "/crm/v3/owners", email=both[0]["email"])["results"] == both[:1]
    assert get(hubspot, bearer, "/crm/v3/owners", archived="true")["results"] == []


def test_associations_are_the_same_in_every_shape(hubspot: HubSpot, bearer, truth) -> None:
    deals = [deal for deal in truth["deals"] if not deal["archived"]]
    companies = {deal["id"]: deal["companies"] for deal in deals}
    assert {len(linked) for linked in companies.values()} == {0, 1, 2}
    listed = get(hubspot, bearer, DEALS, limit=100, associations="companies,contacts,line_items")["results"]
    for deal in listed:
        told = deal.get("associations", {}).get("companies", {"results": []})["results"]
        plain = [one["id"] for one in told if one["type"] == "deal_to_company_unlabeled"]
        primary = [one["id"] for one in told if one["type"] == "deal_to_company"]
        assert (plain, primary) == (companies[deal["id"]], companies[deal["id"]][:1])
    inputs = {"inputs": [{"id": id_} for id_ in companies]}
    for path in ("/crm/v4/associations/deal/company", "/crm/associations/2026-03/deals/companies"):
        batch = hubspot.http.post(f"{path}/batch/read", json=inputs, headers=bearer)
        body = batch.json()
        assert batch.status_code == 207
        read = {one["from"]["id"]: [str(to["toObjectId"]) for to in one["to"]] for one in body["results"]}
        assert read == {id_: linked for id_, linked in companies.items() if linked}
        without = [error["context"]["fromObjectId"][0] for error in body["errors"]]
        assert without == [id_ for id_, linked in companies.items() if not linked]
        assert body["errors"][0]["subCategory"] == "crm.associations.NO_ASSOCIATIONS_FOUND"
    one = next(id_ for id_, linked in companies.items() if len(linked) == 2)
    single = get(hubspot, bearer, f"/crm/objects/2026-03/deals/{one}/associations/companies")["results"]
    assert [[kind["typeId"] for kind in to["associationTypes"]] for to in single] == [[5, 341], [341]]
    old = get(hubspot, bearer, f"/crm/v3/objects/deals/{one}/associations/companies")["results"]
    assert [to["type"] for to in old] == [
        "deal_to_company",
        "deal_to_company_unlabeled",
        "deal_to_company_unlabeled",
    ]
    assert hubspot.http.get(DEALS, params={"associations": "no_such"}, headers=bearer).status_code == 400


def test_history_tells_every_value_newest_first_fifty_deals_a_page(hubspot: HubSpot, bearer) -> None:
    deal = hubspot.control("POST", "deals", {"properties": {"dealname": "First"}})["id"]
    for name in ("Second", None, "Third"):
        hubspot.control("PATCH", f"deals/{deal}", {"properties": {"dealname": name}})
    read = get(hubspot, bearer, f"{DEALS}/{deal}", propertiesWithHistory="dealname,amount,no_such")
    past = read["propertiesWithHistory"]
    assert [version["value"] for version in past["dealname"]] == ["Third", "", "Second", "First"]
    moments = [version["timestamp"] for version in past["dealname"]]
    assert moments == sorted(moments, reverse=True)
    assert past["amount"] == []
    assert "no_such" not in past
    query = {"propertiesWithHistory": "dealstage"}
    page = get(hubspot, bearer, DEALS, limit=50, **query)["results"]
    assert {len(one["propertiesWithHistory"]["dealstage"]) for one in page} == {1, 2}
    assert hubspot.http.get(DEALS, params={"limit": 51, **query}, headers=bearer).status_code == 400
    body = {"inputs": [{"id": one["id"]} for one in page], "properties": [], "propertiesWithHistory": ["dealstage"]}
    batch = hubspot.http.post(f"{DEALS}/batch/read", json=body, headers=bearer)
    assert batch.json()["results"][0]["propertiesWithHistory"] == page[0]["propertiesWithHistory"]
    hubspot.control("POST", f"deals/{deal}/archive", {})


def test_version_1_tells_the_same_deals(hubspot: HubSpot, bearer, truth) -> None:
    live = {deal["id"]: deal["properties"] for deal in truth["deals"] if not deal["archived"]}
    read, offset = {}, 0
    while True:
        query = {"limit": 25, "offset": offset, "includeAllProperties": "true"}
        page = get(hubspot, bearer, "/deals/v1/deal/paged", **query)
        read |= {str(deal["dealId"]): deal["properties"] for deal in page["deals"]}
        offset = page["offset"]
        if not page["hasMore"]:
            break
    assert set(read) == set(live)
    for id_, properties in live.items():
        told = {name: value["value"] for name, value in read[id_].items() if name in ("dealname", "amount", "pipeline")}
        assert told == {name: properties[name] for name in told}
        assert ("amount" in told) == (properties["amount"] is not None)
    for kind, name in (("modified", "hs_lastmodifieddate"), ("created", "createdate")):
        recent = get(hubspot, bearer, f"/deals/v1/deal/recent/{kind}", count=5)
        assert recent["total"] == COUNT
        newest = sorted((deal[name] for deal in live.values()), reverse=True)[:5]
        assert [live[str(deal["dealId"])][name] for deal in recent["results"]] == newest
    assert get(hubspot, bearer, f"/deals/v1/deal/{next(iter(live))}")["portalId"] == NORTHWIND
    names = {definition["name"] for definition in get(hubspot, bearer, "/properties/v2/deal/properties")}
    assert names == set(next(iter(live.values())))
    stages = [
        s["stageId"] for p in get(hubspot, bearer, "/crm-pipelines/v1/pipelines/deals")["results"] for s in p["stages"]
    ]
    assert stages == [s["stageId"] for p in get(hubspot, bearer, "/deals/v1/pipelines") for s in p["stages"]]


def test_version_1_tells_what_a_token_is_without_being_asked_for_the_secret(hubspot: HubSpot) -> None:
    tokens = hubspot.connect()
    access = hubspot.http.get(f"/oauth/v1/access-tokens/{tokens['access_token']}").json()
    assert (access["token_type"], access["hub_id"]) == ("access", NORTHWIND)
    assert {"user", "hub_domain", "scopes", "app_id", "expires_in", "user_id"} <= set(access)
    refresh = hubspot.http.get(f"/oauth/v1/refresh-tokens/{tokens['refresh_token']}").json()
    assert (refresh["token_type"], refresh["client_id"]) == ("refresh", "app-one")
    assert not {"active", "token_use"} & (set(access) | set(refresh))
    assert hubspot.http.get(f"/oauth/v1/refresh-tokens/{tokens['access_token']}").status_code == 404


def test_an_address_may_be_long_but_not_too_long(hubspot: HubSpot, bearer) -> None:
    long = {"properties": ",".join(["a_name_of_twenty_char"] * 680)}
    assert len(long["properties"]) > 14_900
    assert hubspot.http.get(DEALS, params=long, headers=bearer).status_code == 200
    refused = hubspot.http.get(DEALS, params={"properties": "x" * 16_400}, headers=bearer)
    assert (refused.status_code, refused.headers["content-type"].split(";")[0]) == (414, "text/html")


@pytest.mark.parametrize("token", ["two words", "caf\xe9", "Bearer=x=y"])
def test_a_token_that_is_none_does_not_reach_hubspot(hubspot: HubSpot, token: str) -> None:
    refused = hubspot.http.get(DEALS, headers={"Authorization": f"Bearer {token}".encode("latin-1")})
    assert (refused.status_code, refused.headers["content-type"].split(";")[0]) == (530, "text/html")


def test_every_answer_has_a_correlation_id(hubspot: HubSpot, bearer) -> None:
    answers = [
        hubspot.http.get(DEALS, headers=bearer),
        hubspot.http.get(DEALS),
        hubspot.http.get(f"{DEALS}/1", headers=bearer),
        hubspot.http.get("/no/such/address"),
        hubspot.token(grant_type="refresh_token", refresh_token="no such"),
    ]
    ids = [answer.headers["X-HubSpot-Correlation-Id"] for answer in answers]
    assert len(set(ids)) == len(answers)
    assert [answer.json()["correlationId"] for answer in answers[1:]] == ids[1:]


def test_a_private_app_has_its_tiers_limits_and_is_told_the_days(hubspot: HubSpot, bearer) -> None:
    first = hubspot.http.get(DEALS, headers=bearer).headers
    second = hubspot.http.post(f"{DEALS}/search", json={}, headers=bearer).headers
    assert (first["X-HubSpot-RateLimit-Max"], first["X-HubSpot-RateLimit-Daily"]) == ("190", "625000")
    left = [int(headers["X-HubSpot-RateLimit-Daily-Remaining"]) for headers in (first, second)]
    assert left[1] == left[0] - 1, "searches count for the day"
    assert "X-HubSpot-RateLimit-Max" not in second
    usage = get(hubspot, bearer, "/account-info/v3/api-usage/daily/private-apps")["results"][0]
    assert (usage["usageLimit"], usage["currentUsage"]) == (625_000, 625_000 - left[1] + 1)
    other = {"Authorization": f"Bearer {PRIVATE}-2"}
    statuses = [hubspot.http.get(DEALS, headers=other).status_code for _ in range(101)]
    assert (statuses.count(200), statuses[-1]) == (100, 429), "a free account's app has 100 calls in ten seconds"
    hubspot.control("POST", "tokens/expire")
    assert hubspot.http.get(DEALS, headers=bearer).status_code == 200


def test_portals_can_be_sized_and_added_each_with_its_truth(hubspot: HubSpot, files: Path) -> None:
    live = {portal["id"]: portal["live"] for portal in hubspot.control("GET", "portals")["portals"]}
    assert (live[EMPTY], live[ADDED]) == (11, 9)
    truth = json.loads((files / "added").read_text(encoding="utf-8"))
    assert truth["portal"]["id"] == ADDED
    assert truth == hubspot.control("GET", f"truth/{ADDED}")
    listed = hubspot.http.get(DEALS, params={"limit": 100}, headers=hubspot.bearer(ADDED)).json()["results"]
    assert [deal["id"] for deal in listed] == [deal["id"] for deal in truth["deals"] if not deal["archived"]]
    deal = hubspot.control("POST", "deals", {"portal_id": ADDED, "properties": {"dealname": "Later"}})
    assert deal["id"] in {known["id"] for known in hubspot.control("GET", f"truth/{ADDED}")["deals"]}


def test_a_sandbox_can_speak_tls(start_hubspot: Start, tmp_path: Path) -> None:
    certificate, key = certified(tmp_path)
    hubspot = start_hubspot("--deals", "1", "--tls", f"{certificate}:{key}")
    url = str(hubspot.http.base_url)
    assert url.startswith("https://")
    assert httpx2.get(url, verify=ssl.create_default_context(cafile=str(certificate))).status_code == 200
    with pytest.raises(httpx2.ConnectError):
        hubspot.http.get("/")


@pytest.mark.parametrize(
    "options",
    [
        ["--portal", "5:x"],
        ["--private-app", "token:1"],
        ["--truth", "12:file"],
        ["--faults", '{"drip": 1}'],
        ["--faults", "[]"],
        ["--index-lag-ms", "-1"],
    ],
)
def test_options_that_make_no_sense_are_a_usage_error(options: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "awssome_sandbox.hubspot", *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "error:" in ended.stderr


def certified(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody but its owner trusts, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    local = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1)
    )
    certificate = builder.add_extension(local, critical=False).sign(key, hashes.SHA256())
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files
