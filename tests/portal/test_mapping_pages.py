"""The pages of the mapping: fields, stages, and trying it on a deal."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from html import unescape
from typing import Any

import pytest

from awssome.control import messages as m
from awssome.database.schema import field_mappings, stage_mappings
from awssome.database.sessions import Sessions
from awssome.database.tenant import deals, hubspot, mappings
from awssome.domain.choices import DEFAULT_FIELDS, FieldMapping
from awssome.domain.deals import Stage as DealStage
from awssome.domain.definitions import Pipeline, PipelineStage, Property
from awssome.domain.errors import Code, Refused
from awssome.domain.times import now
from tests.portal.conftest import Browser, Stage
from tests.portal.fake import Tenant
from tests.portal.test_deal_pages import add, come_from_hubspot, in_workspace
from tests.portal.test_hubspot_pages import connect

PORTAL = 4128831
PIPELINES = (
    Pipeline(
        "default",
        "Sales Pipeline",
        (
            PipelineStage("qualifiedtobuy", "Qualified To Buy", probability=Decimal("0.4")),
            PipelineStage("closedwon", "Closed Won", closed=True, probability=Decimal("1.0")),
        ),
    ),
    Pipeline(
        "812704591",
        "Partner co-sell",
        (PipelineStage("77", "Joint discovery", probability=Decimal("0.3")), PipelineStage("78", "Somewhere")),
    ),
)
PROPERTIES = (
    Property("dealname", "Deal Name", "string"),
    Property("amount", "Amount", "number"),
    Property("closedate", "Close Date", "datetime"),
    Property("deal_currency_code", "Currency", "enumeration", (("USD", "USD"), ("EUR", "EUR"))),
    Property("dealtype", "Deal Type", "enumeration", (("newbusiness", "New Business"), ("renewal", "Renewal"))),
    Property("description", "Deal Description", "string"),
    Property("closed_lost_reason", "Closed Lost Reason", "string"),
    Property("sector", "Sector", "enumeration", (("shops", "Shops"), ("Education", "Schools"))),
)


def define(sessions: Sessions, tenant: Tenant, days_ago: float = 0) -> None:
    """As a look at HubSpot leaves it."""
    at = now() - timedelta(days=days_ago)

    def work(connection: Any) -> None:
        hubspot.keep_account(connection, PORTAL, "northwind-cloud.com", currency="EUR", time_zone="Europe/Berlin")
        mappings.define(connection, PORTAL, PIPELINES, PROPERTIES, at=at)

    in_workspace(sessions, tenant, work)


@pytest.fixture
def mapped(northwind: Tenant, sessions: Sessions) -> Tenant:
    """Alice's tenant, connected, with what HubSpot defines."""
    connect(sessions, northwind)
    define(sessions, northwind)
    return northwind


@pytest.fixture
def alice(stage: Stage, mapped: Tenant) -> Browser:
    return stage.browser("alice")


def form_of(page: str) -> dict[str, list[str]]:
    """What a browser would send of the form as it stands."""
    found: dict[str, list[str]] = {}
    for tag in re.findall(r"<input[^>]*>|<select.*?</select>|<textarea.*?</textarea>", page, re.S):
        name = re.search(r' name="([^"]+)"', tag)
        if name is None or " disabled" in tag.partition(">")[0]:
            continue
        chosen = re.search(r'<option value="([^"]*)" selected', tag) if tag.startswith("<select") else None
        value = re.search(r' value="([^"]*)"', tag) if tag.startswith("<input") else None
        text = re.search(r">([^<]*)<", tag) if tag.startswith("<textarea") else None
        first = re.search(r'<option value="([^"]*)"', tag)
        given = chosen or value or text or first
        found.setdefault(name.group(1), []).append(unescape(given.group(1)) if given else "")
    return found


def sent(stage: Stage, name: str) -> list[Any]:
    return [body for called, body in stage.control.calls if called == name]


def test_the_form_as_it_stands_is_the_mapping_as_it_is(stage: Stage, alice: Browser) -> None:
    page = alice.get("/hubspot/mapping").text
    assert "Amounts without a currency are in EUR." in page and "Europe/Berlin" in page
    form = form_of(page)
    assert form["property.title"] == ["dealname"] and form["default.national_security"] == ["No"]
    assert form["from.opportunity_type"] == ["newbusiness", "renewal", "existingbusiness", "(any other value)"]
    assert form["to.opportunity_type"] == ["Net New Business", "", "Expansion", ""]
    assert form["to.closed_lost_reason"] == ["", "Other"]
    alice.client.post("/hubspot/mapping", data={**form, "action": "save"})
    (body,) = sent(stage, "save_fields")
    assert {one.field: one.mapping() for one in body.fields if one.mapping() != FieldMapping()} == DEFAULT_FIELDS


def test_a_property_its_values_and_a_default_are_chosen(stage: Stage, alice: Browser) -> None:
    form = form_of(alice.get("/hubspot/mapping").text)
    form |= {"property.customer_industry": ["sector"], "default.target_close_date": ["30"], "action": ["show"]}
    page = alice.client.post("/hubspot/mapping", data=form).text
    assert sent(stage, "save_fields") == [], "only shown"
    form = form_of(page)
    assert form["from.customer_industry"] == ["shops", "Education", "(any other value)"]
    form |= {"to.customer_industry": ["retail", "", "(leave empty)"], "action": ["save"]}
    saved = alice.client.post("/hubspot/mapping", data=form)
    assert "The next sync looks at every deal again" in alice.after(saved).text
    fields = {one.field: one for one in sent(stage, "save_fields")[0].fields}
    industry = fields["customer_industry"]
    assert (industry.property, industry.values) == ("sector", {"shops": "Retail", "*": ""})
    assert fields["target_close_date"].default == "+30"


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("property.title", "dealnam", "has no property “dealnam”"),
        ("default.expected_aws_spend", "a lot", "is not an amount"),
        ("default.customer_country", "Atlantis", "no country"),
        ("default.target_close_date", "soon", "a number from 0 to 999"),
        ("to.opportunity_type", ["New", "", "", ""], "none of the values of Type"),
    ],
)
def test_what_cannot_be_is_told_at_its_field_and_kept(
    stage: Stage, alice: Browser, field: str, value: Any, told: str
) -> None:
    form = {**form_of(alice.get("/hubspot/mapping").text), field: value, "default.next_steps": "Call", "action": "save"}
    answer = alice.client.post("/hubspot/mapping", data=form)
    name = field.partition(".")[2]
    assert answer.status_code == 422
    assert told in answer.text and f'href="#field-{name}"' in answer.text
    assert form_of(answer.text)["default.next_steps"] == ["Call"]
    assert sent(stage, "save_fields") == []


def test_who_was_overtaken_keeps_what_was_chosen_and_saves_on_top(
    stage: Stage, alice: Browser, mapped: Tenant, sessions: Sessions
) -> None:
    form = form_of(alice.get("/hubspot/mapping").text)
    stage.control.refusals["save_fields"] = Refused(Code.CONFLICT, "Somebody else has changed the mapping.", "Look.")
    row = {"field": "use_case", "default_value": "Database", "updated_at": now()}
    in_workspace(sessions, mapped, lambda connection: connection.execute(field_mappings.insert().values(row)))
    answer = alice.client.post("/hubspot/mapping", data={**form, "default.next_steps": "Call", "action": "save"})
    again = form_of(answer.text)
    assert answer.status_code == 409 and "Somebody else has changed" in answer.text
    assert again["default.next_steps"] == ["Call"] and again["version"] != form["version"]


def test_stages_are_shown_with_what_they_become_by_default(alice: Browser) -> None:
    page = unescape(alice.get("/hubspot/mapping/stages").text)
    for shown in ("Sales Pipeline", "Qualified (suggested)", "Committed (suggested)", "30 % likely to be won"):
        assert shown in page
    assert page.count("Prospect (not mapped, reported)") == 1


def test_stages_are_chosen_and_left_out(stage: Stage, alice: Browser, mapped: Tenant, sessions: Sessions) -> None:
    row = {"pipeline": "default", "hubspot_stage": "closedwon", "stage": "Launched", "updated_at": now()}
    in_workspace(sessions, mapped, lambda connection: connection.execute(stage_mappings.insert().values(row)))
    form = form_of(alice.get("/hubspot/mapping/stages").text)
    assert form["becomes"] == ["", "Launched", "", ""]
    saved = alice.client.post("/hubspot/mapping/stages", data={**form, "becomes": ["Committed", "", "skip", ""]})
    assert saved.status_code == 303
    (body,) = sent(stage, "save_stages")
    assert [(one.pipeline, one.stage, one.becomes) for one in body.stages] == [
        ("default", "qualifiedtobuy", DealStage.COMMITTED),
        ("default", "closedwon", None),
        ("812704591", "77", "skip"),
        ("812704591", "78", None),
    ]


def test_a_deal_is_tried_by_the_form_that_is_not_saved(
    stage: Stage, alice: Browser, mapped: Tenant, sessions: Sessions
) -> None:
    deal_id = add(sessions, mapped, title="Mine", deal_amount=Decimal(5))
    come_from_hubspot(sessions, mapped, deal_id, ["title"])
    stage.control.deals["9001"] = {
        "dealname": "Theirs",
        "amount": "1250.50",
        "dealstage": "qualifiedtobuy",
        "pipeline": "default",
        "dealtype": "swap",
        "sector": "shops",
        "hs_object_id": "9001",
    }
    form = form_of(alice.get("/hubspot/mapping").text)
    form |= {"property.customer_industry": ["sector"], "from.customer_industry": ["shops"]}
    form |= {"to.customer_industry": ["Retail"], "picked": ["9001"]}
    page = unescape(alice.client.post("/hubspot/mapping/try", data=form).text)
    for shown in ("A sync would change", "the mapping that you tried is not saved", "€1,250.50", "Retail"):
        assert shown in page
    assert "HubSpot's “swap” is mapped to no value of Type" in page
    assert "Qualified To Buy (Sales Pipeline)" in page
    assert "You have set it" in page and "Fill in customer." in page
    assert sent(stage, "read_deal")[0].deal_id == "9001" and "sector" in sent(stage, "read_deal")[0].properties
    now_there = in_workspace(sessions, mapped, lambda connection: deals.find(connection, deal_id))
    assert (now_there.version, now_there.values["deal_amount"]) == (1, Decimal(5)), "nothing is written"


@pytest.mark.parametrize(
    ("deal", "status", "told"),
    [
        ("", 422, "paste its number"),
        ("9 OR 1", 422, "paste"),
        ("9" * 21, 422, "paste"),
        ("²", 422, "paste"),
        ("404", 404, "has no deal 404"),
    ],
)
def test_a_deal_that_cannot_be_tried(alice: Browser, deal: str, status: int, told: str) -> None:
    form = form_of(alice.get("/hubspot/mapping").text)
    answer = alice.client.post("/hubspot/mapping/try", data={**form, "deal": deal})
    assert answer.status_code == status and told in answer.text


def test_a_member_tries_what_is_saved_and_a_viewer_looks(stage: Stage, mapped: Tenant) -> None:
    stage.control.deals["9002"] = {"dealname": "New one", "dealstage": "78", "pipeline": "812704591"}
    mia, vera = stage.browser("mia"), stage.browser("vera")
    page = mia.get("/hubspot/mapping").text
    assert "Admins of your workspace change the mapping" in page and 'value="save"' not in page
    address = "https://app.hubspot.com/contacts/4128831/record/0-3/9002/?from=list"
    tried = unescape(mia.send("/hubspot/mapping/try", at="/hubspot/mapping", deal=address).text)
    assert "This deal is not here yet." in tried and "has no AWS stage yet" in tried
    page = vera.get("/hubspot/mapping").text
    assert "Admins of your workspace" in page and "Try it" not in page and "Refresh from HubSpot" not in page
    assert mia.send("/hubspot/mapping", at="/hubspot/mapping", action="save").status_code == 403
    assert mia.send("/hubspot/mapping/stages", at="/hubspot/mapping").status_code == 403
    assert vera.send("/hubspot/mapping/try", at="/account", deal="9002").status_code == 403


def test_what_is_a_day_old_is_asked_for_and_the_button_asks_at_once(
    stage: Stage, alice: Browser, mapped: Tenant, sessions: Sessions
) -> None:
    alice.get("/hubspot/mapping")
    assert sent(stage, "refresh_definitions") == []
    page = alice.after(alice.send("/hubspot/mapping/refresh", at="/hubspot/mapping", back="//evil.example")).text
    assert "as HubSpot has them now" in page and len(sent(stage, "refresh_definitions")) == 1
    define(sessions, mapped, days_ago=1.1)
    stage.control.refusals["refresh_definitions"] = Refused(Code.UPSTREAM, "HubSpot does not answer.")
    page = alice.get("/hubspot/mapping/stages").text
    assert "HubSpot could not be asked" in page and "Sales Pipeline" in page


def test_without_hubspot_the_defaults_are_shown(stage: Stage, northwind: Tenant) -> None:
    alice = stage.browser("alice")
    page = alice.get("/hubspot/mapping").text
    assert "HubSpot is not connected." in page and 'value="dealname"' in page and 'value="save"' not in page
    assert "No pipelines are known yet" in alice.get("/hubspot/mapping/stages").text


def test_a_page_of_the_mapping_stays_small(alice: Browser) -> None:
    assert len(alice.get("/hubspot/mapping").content) < 100_000


def test_what_the_central_api_gets_is_what_it_takes() -> None:
    with pytest.raises(ValueError, match="becomes"):
        m.StageIn.model_validate({"pipeline": "1", "stage": "2", "becomes": "Won"})
    with pytest.raises(ValueError, match="deal_id"):
        m.ReadDeal(deal_id="1/../2", properties=[])
