"""The HubSpot sandbox's pages of deals: what they show, and that what they change is what the API then tells."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import httpx2
import pytest

from .conftest import DEALS, EMPTY, NORTHWIND, TAILSPIN, WINGTIP, HubSpot, Start
from .test_hubspot_changes import create
from .test_hubspot_writes import WRITE, found, read


@pytest.fixture(scope="module")
def hubspot(start_hubspot: Start) -> HubSpot:
    return start_hubspot("--deals", "60", "--rate-limit", "off")


@pytest.fixture(scope="module")
def bearer(hubspot: HubSpot) -> dict[str, str]:
    return hubspot.bearer(scope=WRITE)


def deals_page(hubspot: HubSpot, portal_id: int = NORTHWIND, **query: str) -> httpx2.Response:
    return hubspot.http.get(f"/contacts/{portal_id}/objects/0-3", params=query)


def ids_of(page: httpx2.Response) -> list[str]:
    """The deals that a list shows, in its order."""
    assert page.status_code == 200, page.text
    body = page.text.partition("<tbody>")[2]
    return re.findall(r'href="/contacts/\d+/record/0-3/(\d+)"', body)


def link(page: httpx2.Response, label: str) -> str | None:
    match = re.search(rf'href="([^"]+)">{label}</a>', page.text)
    return html.unescape(match[1]) if match else None


def record(id_: object, path: str = "") -> str:
    return f"/contacts/{NORTHWIND}/record/0-3/{id_}{path}"


def post(hubspot: HubSpot, path: str, **form: str) -> str:
    """Send a form as a browser does; where it leads."""
    answer = hubspot.http.post(path, data={"": "", **form})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def shown(hubspot: HubSpot, id_: object) -> dict[str, str | None]:
    """The raw values on a deal's page."""
    page = hubspot.http.get(record(id_)).text
    raw = html.unescape(re.search(r"<pre>(.*?)</pre>", page, re.DOTALL)[1])  # type: ignore[index]
    return json.loads(raw)["properties"]


def api(hubspot: HubSpot, bearer: dict[str, str], id_: object, **query: str) -> dict[str, Any]:
    names = [
        each["name"] for each in hubspot.http.get("/crm/properties/2026-03/deals", headers=bearer).json()["results"]
    ]
    return read(hubspot, bearer, str(id_), properties=",".join(names), **query).json()


def test_every_account_can_be_chosen_and_the_list_pages_through_all_its_deals(hubspot: HubSpot) -> None:
    start = hubspot.http.get("/").text
    for portal_id, count in ((NORTHWIND, 60), (TAILSPIN, 60), (WINGTIP, 7), (EMPTY, 0)):
        assert f'href="/contacts/{portal_id}/objects/0-3"' in start
        page, seen = deals_page(hubspot, portal_id), []
        pages = [page]
        while True:
            seen += ids_of(page)
            older = link(page, "Older")
            if older is None:
                break
            pages.append(page := hubspot.http.get(older))
        assert len(seen) == count
        assert seen == sorted(seen, key=int, reverse=True)
        for before, after in zip(reversed(pages[:-1]), reversed(pages[1:]), strict=True):
            newer = link(after, "Newer")
            assert newer
            assert ids_of(hubspot.http.get(newer)) == ids_of(before)
        assert link(pages[0], "Newer") is None
    assert "This account has no deals" in deals_page(hubspot, EMPTY).text


def test_a_deal_is_found_by_words_of_its_name_and_by_its_id(hubspot: HubSpot) -> None:
    name = 'Searched <b>for</b> & "quoted" 株式会社'
    deal = create(hubspot, dealname=name)
    for words in ("searched 株式", "SEARCHED", deal["id"]):
        page = deals_page(hubspot, q=words)
        assert ids_of(page) == [deal["id"]]
        assert html.escape(name, quote=True).replace("&quot;", "&#34;") in page.text
        assert "<b>for</b>" not in page.text
    assert ids_of(deals_page(hubspot, q="searched nowhere")) == []
    assert "No deal here has" in deals_page(hubspot, q="searched nowhere").text


def test_a_deal_shows_every_property_as_the_api_tells_it(hubspot: HubSpot, bearer) -> None:
    long = 'Line one\nline "two" with \\ and <script>alert(1)</script> ' * 20
    deal = create(hubspot, dealname=None, amount="1000.50", description=long)
    page = hubspot.http.get(record(deal["id"])).text
    assert shown(hubspot, deal["id"]) == api(hubspot, bearer, deal["id"])["properties"]
    assert "(no name)" in page
    assert "<script" not in page
    cells = [
        html.unescape(cell)
        for cell in re.findall(r"<code(?: class=\"quiet\")?>(?:<bdi>)?(.*?)(?:</bdi>)?</code>", page)
    ]
    assert '"1000.50"' in cells
    assert "null" in cells
    assert json.dumps(long) in cells


def test_changing_a_property_changes_what_the_api_tells_and_finds(hubspot: HubSpot, bearer) -> None:
    deal = create(hubspot, dealname="Before the change", amount="5")
    page = hubspot.http.get(record(deal["id"], "/change/dealname")).text
    assert 'value="Before the change"' in page
    to = post(hubspot, record(deal["id"], "/change/dealname"), dealname="After the change")
    assert "The change is saved." in hubspot.http.get(to).text
    post(hubspot, record(deal["id"], "/change/description"), description="one\r\ntwo")
    post(hubspot, record(deal["id"], "/change/closedate"), closedate="2027-02-03")
    post(hubspot, record(deal["id"], "/change/amount"), amount="")
    post(hubspot, record(deal["id"], "/change/dealstage"), dealstage="1193847205")
    told = api(hubspot, bearer, deal["id"])
    assert told["updatedAt"] > deal["updatedAt"]
    wanted = {
        "dealname": "After the change",
        "description": "one\ntwo",
        "closedate": "2027-02-03T00:00:00.000Z",
        "amount": None,
        "dealstage": "1193847205",
        "pipeline": "812704591",
        "hs_is_closed_won": "true",
    }
    assert wanted.items() <= told["properties"].items()
    assert found(hubspot, bearer, "Before the change") == []
    assert found(hubspot, bearer, "After the change") == [deal["id"]]


def test_a_refused_value_comes_back_in_its_form_with_the_reason_and_changes_nothing(hubspot: HubSpot, bearer) -> None:
    deal = create(hubspot, amount="5")
    before = api(hubspot, bearer, deal["id"])
    answer = hubspot.http.post(record(deal["id"], "/change/amount"), data={"amount": "<much>"})
    assert answer.status_code == 400
    assert "&lt;much&gt; was not a valid number." in answer.text
    assert 'value="&lt;much&gt;"' in answer.text
    for name in ("hs_object_id", "no_such", "pipeline"):
        assert hubspot.http.get(record(deal["id"], f"/change/{name}")).status_code == 404
        assert hubspot.http.post(record(deal["id"], f"/change/{name}"), data={name: "1"}).status_code == 404
    new = hubspot.http.post(f"/contacts/{NORTHWIND}/objects/0-3/new", data={"dealname": "Kept", "amount": "much"})
    assert new.status_code == 400
    assert 'value="Kept"' in new.text
    assert found(hubspot, bearer, "Kept") == []
    assert api(hubspot, bearer, deal["id"]) == before


def test_a_deal_is_created_by_hand(hubspot: HubSpot, bearer) -> None:
    form = {"dealname": "By hand", "amount": "99.90", "dealstage": "1193850011", "deal_currency_code": "EUR"}
    to = post(hubspot, f"/contacts/{NORTHWIND}/objects/0-3/new", **form)
    (id_,) = found(hubspot, bearer, "By hand")
    assert f"/record/0-3/{id_}?" in to
    assert {**form, "pipeline": "812704777", "closedate": None}.items() <= api(hubspot, bearer, id_)[
        "properties"
    ].items()
    assert ids_of(deals_page(hubspot))[0] == id_


def test_archiving_and_restoring_leave_the_last_modified_date(hubspot: HubSpot, bearer) -> None:
    deal = create(hubspot, dealname="To and fro")
    assert "archived" in hubspot.http.get(post(hubspot, record(deal["id"], "/archive"))).text
    archived = api(hubspot, bearer, deal["id"], archived="true")
    assert archived["updatedAt"] == deal["updatedAt"] < archived["archivedAt"]
    assert (found(hubspot, bearer, "To and fro"), deal["id"] in ids_of(deals_page(hubspot, state="archived"))) == (
        [],
        True,
    )
    assert hubspot.http.post(record(deal["id"], "/archive")).status_code == 404
    change = hubspot.http.post(record(deal["id"], "/change/amount"), data={"amount": "1"})
    assert (change.status_code, "That is not possible" in change.text) == (404, True)
    merge = record(deal["id"], "/merge")
    for answer in (hubspot.http.get(merge), hubspot.http.post(merge, data={"other": "1"})):
        assert (answer.status_code, "Restore it first" in answer.text) == (400, True)
    post(hubspot, record(deal["id"], "/restore"))
    assert found(hubspot, bearer, "To and fro") == [deal["id"]]
    assert api(hubspot, bearer, deal["id"])["updatedAt"] == deal["updatedAt"]


def test_merging_leads_from_both_old_pages_to_the_new_deal(hubspot: HubSpot, bearer) -> None:
    one, two = create(hubspot, dealname="Merge one"), create(hubspot, dealname="Merge two", amount="2")
    choice = hubspot.http.get(record(one["id"], "/merge"), params={"q": "merge"}).text
    assert re.findall(r'name="other" value="(\d+)"', choice) == [two["id"]]
    for other in (one["id"], "1", ""):
        refused = hubspot.http.post(record(one["id"], "/merge"), data={"other": other, "x": "y"})
        assert refused.status_code in (400, 404)
        assert "Choose a live deal other than this one." in refused.text
    to = post(hubspot, record(one["id"], "/merge"), other=two["id"])
    (survivor,) = found(hubspot, bearer, "Merge one")
    assert f"/record/0-3/{survivor}?" in to
    properties = api(hubspot, bearer, survivor)["properties"]
    assert (properties["hs_merged_object_ids"], properties["amount"]) == (f"{one['id']};{two['id']}", "2")
    for old in (one, two):
        page = hubspot.http.get(record(old["id"])).text
        assert f"Deal {old['id']} was merged away" in page
        assert f"Record {survivor}" in page
    assert {one["id"], two["id"]} <= set(ids_of(deals_page(hubspot, state="merged")))


def test_deleting_for_good_asks_first(hubspot: HubSpot, bearer) -> None:
    deal = create(hubspot, dealname="Gone for good")
    assert "for good?" in hubspot.http.get(record(deal["id"], "/delete")).text
    assert found(hubspot, bearer, "Gone for good") == [deal["id"]]
    assert "deleted for good" in hubspot.http.get(post(hubspot, record(deal["id"], "/delete"))).text
    assert hubspot.http.get(record(deal["id"])).status_code == 404
    for archived in ("true", "false"):
        assert read(hubspot, bearer, deal["id"], archived=archived).status_code == 404


def test_the_history_tells_what_changed_from_what_to_what_and_by_whom(hubspot: HubSpot, bearer) -> None:
    deal = create(hubspot, dealname="With a past", amount="1")
    post(hubspot, record(deal["id"], "/change/amount"), amount="2")
    hubspot.http.patch(f"{DEALS}/{deal['id']}", json={"properties": {"amount": "3"}}, headers=bearer)
    post(hubspot, record(deal["id"], "/archive"))
    post(hubspot, record(deal["id"], "/restore"))
    page = hubspot.http.get(record(deal["id"])).text
    history = " ".join(re.sub(r"<[^>]+>", " ", html.unescape(page.partition('id="history"')[2])).split())
    steps = ("Restored", "Archived", 'amount : "2" → "3"', 'amount : "1" → "2"', "Created")
    places = [history.index(step) for step in steps]
    assert places == sorted(places)
    for by in ("nora@northwind-cloud.com", "the app app-one", "the control API"):
        assert by in history


@pytest.mark.parametrize(
    "path",
    [
        "/contacts/1/objects/0-3",
        f"/contacts/{NORTHWIND}/objects/0-3?state=odd",
        f"/contacts/{NORTHWIND}/record/0-3/1",
        f"/contacts/{NORTHWIND}/record/0-3/{'9' * 400}",
        f"/contacts/{NORTHWIND}/record/0-3/1/merge",
        "/integrations-settings/1/installed",
        "/marketplace/installs/none",
    ],
)
def test_what_is_not_there_is_told_on_a_page(hubspot: HubSpot, path: str) -> None:
    answer = hubspot.http.get(path)
    assert answer.status_code == 404
    assert "That is not possible" in answer.text
