"""From HubSpot's values to those of a registration: as they are, by defaults, by value maps, or reported."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awssome.domain.choices import (
    ACTIVITIES,
    DEFAULT_FIELDS,
    FROM_STAGE,
    OTHERWISE,
    FieldMapping,
    StageMapping,
    checked,
    default_stages,
)
from awssome.domain.deals import FIELD, FIELDS, Stage, same_choice
from awssome.domain.definitions import Account, Pipeline, PipelineStage
from awssome.domain.errors import Refused
from awssome.domain.mapping import PROPERTIES, Mapped, Mapping, MappingCode, map_deal

TODAY = date(2026, 11, 26)
DEAL: dict[str, str | None] = {
    "hs_object_id": "18004128911",
    "dealname": "Contoso Retail – data platform 7",
    "amount": "1000.5",
    "deal_currency_code": "EUR",
    "closedate": "2027-03-31T10:00:00.000Z",
    "dealstage": "qualifiedtobuy",
    "pipeline": "default",
    "dealtype": "newbusiness",
    "description": "Reports take a night to run; the customer needs them within minutes.",
    "hs_is_closed": "false",
}
PARTNERS = Pipeline(
    "812704591",
    "Partner co-sell",
    (
        PipelineStage("1", "Identified", probability=Decimal("0.1")),
        PipelineStage("2", "Discovery", probability=Decimal("0.3")),
        PipelineStage("3", "Proof of concept", probability=Decimal("0.5")),
        PipelineStage("4", "Negotiation", probability=Decimal("0.8")),
        PipelineStage("5", "Won", closed=True, probability=Decimal("1.0")),
        PipelineStage("6", "Lost", closed=True, probability=Decimal("0.0")),
        PipelineStage("7", "Somewhere"),
    ),
)


def mapping(
    fields: dict[str, FieldMapping] | None = None,
    stages: dict[tuple[str, str], StageMapping] | None = None,
    **account: Any,
) -> Mapping:
    return Mapping.of(fields or {}, stages or {}, Account(**account), TODAY)


def mapped(by: Mapping | None = None, **properties: str | None) -> Mapped:
    return map_deal({**DEAL, **properties}, by or mapping())


def told(found: Mapped) -> list[tuple[str, MappingCode, str]]:
    return [(issue.field, issue.code, issue.value) for issue in found.issues]


def test_a_deal_as_hubspot_has_it_by_default() -> None:
    found = mapped()
    assert {name: value for name, value in found.values.items() if value is not None} == {
        "title": "Contoso Retail – data platform 7",
        "stage": Stage.QUALIFIED,
        "target_close_date": date(2027, 3, 31),
        "deal_amount": Decimal("1000.5"),
        "deal_currency": "EUR",
        "opportunity_type": "Net New Business",
        "business_problem": DEAL["description"],
        "national_security": "No",
        "delivery_model": "SaaS or PaaS",
        "sales_activities": ["Customer has shown interest in solution"],
        "aws_spend_currency": "USD",
        "involvement": "Co-Sell",
        "visibility": "Full",
        "primary_needs": ["Co-Sell - Deal Support"],
    }
    assert found.values.keys() == FIELD.keys()
    assert (found.issues, found.skipped) == ([], "")
    assert found.defaulted == {
        "national_security",
        "delivery_model",
        "sales_activities",
        "aws_spend_currency",
        "involvement",
        "visibility",
        "primary_needs",
    }


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"amount": None}, {"deal_amount": None, "deal_currency": "EUR"}),
        ({"amount": ""}, {"deal_amount": None}),
        ({"amount": "0"}, {"deal_amount": Decimal(0)}),
        ({"amount": "1.5E7"}, {"deal_amount": Decimal(15_000_000)}),
        ({"amount": "999999999999999.9999"}, {"deal_amount": Decimal("999999999999999.9999")}),
        ({"dealname": "  two   words\n"}, {"title": "two words"}),
        ({"dealname": "a\x00b \ud800"}, {"title": "ab ?"}),
        ({"dealtype": "existingbusiness"}, {"opportunity_type": "Expansion"}),
        ({"dealtype": "flat renewal"}, {"opportunity_type": "Flat Renewal"}),
        ({"dealtype": None}, {"opportunity_type": None}),
        ({"description": "Two\nlines  of it"}, {"business_problem": "Two\nlines  of it"}),
        ({"closedate": None}, {"target_close_date": None}),
        ({"closedate": "2027-03-31"}, {"target_close_date": date(2027, 3, 31)}),
        ({"closed_lost_reason": "Price"}, {"closed_lost_reason": None}),
        ({"dealstage": "closedlost", "closed_lost_reason": "Price"}, {"closed_lost_reason": "Price"}),
        ({"dealstage": "closedlost", "closed_lost_reason": "Kein Bedarf"}, {"closed_lost_reason": "Other"}),
        ({"dealstage": "closedlost"}, {"closed_lost_reason": None, "sales_activities": None}),
    ],
)
def test_values_of_hubspots_become_ours(properties: dict[str, str | None], expected: dict[str, Any]) -> None:
    found = mapped(**properties)
    assert {name: found.values[name] for name in expected} == expected
    assert found.issues == []


@pytest.mark.parametrize(
    ("properties", "field", "code", "value"),
    [
        ({"amount": "a lot"}, "deal_amount", MappingCode.UNREADABLE, "a lot"),
        ({"amount": "0.00001"}, "deal_amount", MappingCode.UNREADABLE, "0.00001"),
        ({"amount": "1000000000000000"}, "deal_amount", MappingCode.UNREADABLE, "1000000000000000"),
        ({"deal_currency_code": "Euro"}, "deal_currency", MappingCode.UNREADABLE, "Euro"),
        ({"closedate": "soon"}, "target_close_date", MappingCode.UNREADABLE, "soon"),
        ({"closedate": "2027-13-01T00:00:00Z"}, "target_close_date", MappingCode.UNREADABLE, "2027-13-01T00:00:00Z"),
        ({"closedate": "0001-01-01T00:00:00Z"}, "target_close_date", MappingCode.UNREADABLE, "0001-01-01T00:00:00Z"),
        ({"dealtype": "swap"}, "opportunity_type", MappingCode.UNKNOWN_VALUE, "swap"),
    ],
)
def test_what_cannot_be_taken_is_left_empty_and_told_with_its_value(
    properties: dict[str, str], field: str, code: MappingCode, value: str
) -> None:
    found = mapped(mapping(currency="USD"), **properties)
    assert found.values[field] is None and field not in found.defaulted
    assert told(found) == [(field, code, value)]
    assert found.issues[0].reason and found.issues[0].advice


def test_long_texts_are_cut_and_told() -> None:
    found = mapped(dealname="🚀" * 200, description="x" * 2500)
    assert len(found.values["title"].encode("utf-16-le")) // 2 <= 255
    assert found.values["title"].endswith("…") and len(found.values["business_problem"]) == 2000
    assert [(issue.field, issue.code) for issue in found.issues] == [
        ("title", MappingCode.CUT),
        ("business_problem", MappingCode.CUT),
    ]
    assert len(found.issues[1].value) == 255
    assert "2,500 characters" in found.issues[1].reason


def test_a_deal_without_a_name_is_named_by_its_number() -> None:
    found = mapped(dealname=None)
    assert found.values["title"] == "Deal 18004128911"
    assert told(found) == [("title", MappingCode.NAMELESS, "")]


# --- money and time


def test_an_amount_without_currency_is_in_the_accounts() -> None:
    account = mapping(currency="CHF")
    assert mapped(account, deal_currency_code=None).values["deal_currency"] == "CHF"
    assert mapped(account, deal_currency_code=None, amount=None).values["deal_currency"] is None
    assert mapped(account).values["deal_currency"] == "EUR"
    assert mapped(deal_currency_code=None).values["deal_currency"] is None
    odd = mapped(account, deal_currency_code="Euro")
    assert odd.values["deal_currency"] is None, "a currency that cannot be read is not another one"


@pytest.mark.parametrize(
    ("zone", "instant", "day"),
    [
        (None, "2027-03-31T23:30:00.000Z", date(2027, 3, 31)),
        ("US/Eastern", "2027-03-01T04:59:59.999Z", date(2027, 2, 28)),
        ("US/Eastern", "2027-03-01T05:00:00.000Z", date(2027, 3, 1)),
        ("US/Pacific", "2027-01-01T07:59:00Z", date(2026, 12, 31)),
        ("Europe/Berlin", "2027-06-30T22:00:00Z", date(2027, 7, 1)),
        ("Europe/Berlin", "2027-01-31T22:59:59Z", date(2027, 1, 31)),
        ("Asia/Kolkata", "2027-02-28T18:30:00Z", date(2027, 3, 1)),
        ("Pacific/Kiritimati", "2026-12-31T10:00:00Z", date(2027, 1, 1)),
        # the clocks change: 14 March 2027 in the United States, 28 March and 31 October in Europe
        ("US/Eastern", "2027-03-14T04:59:00Z", date(2027, 3, 13)),
        ("US/Eastern", "2027-03-15T03:59:00Z", date(2027, 3, 14)),
        ("US/Eastern", "2027-03-15T04:00:00Z", date(2027, 3, 15)),
        ("Europe/Berlin", "2027-03-27T22:59:00Z", date(2027, 3, 27)),
        ("Europe/Berlin", "2027-03-28T22:00:00Z", date(2027, 3, 29)),
        ("Europe/Berlin", "2027-10-31T22:59:00Z", date(2027, 10, 31)),
        ("Europe/Berlin", "2027-10-30T22:00:00Z", date(2027, 10, 31)),
        # what is no zone, or no instant
        ("Mars/Olympus", "2027-03-31T23:30:00Z", date(2027, 3, 31)),
        ("../etc/passwd", "2027-03-31T23:30:00Z", date(2027, 3, 31)),
        ("US/Eastern", "2027-03-31", date(2027, 3, 31)),
        ("US/Eastern", "2027-03-31T22:00:00-04:00", date(2027, 3, 31)),
    ],
)
def test_a_close_date_is_the_day_that_hubspot_shows(zone: str | None, instant: str, day: date) -> None:
    assert mapped(mapping(time_zone=zone), closedate=instant).values["target_close_date"] == day


@pytest.mark.parametrize(
    ("properties", "day", "default"),
    [
        ({"closedate": "2026-11-25T12:00:00Z"}, TODAY + timedelta(days=30), True),
        ({"closedate": None}, TODAY + timedelta(days=30), True),
        ({"closedate": "2026-11-26T12:00:00Z"}, TODAY, False),
        ({"closedate": "2026-12-24T12:00:00Z"}, date(2026, 12, 24), False),
        ({"closedate": "2026-11-25T12:00:00Z", "dealstage": "closedlost"}, date(2026, 11, 25), False),
        ({"closedate": "soon"}, None, False),
    ],
)
def test_a_close_date_that_is_past_moves_on_where_the_tenant_wants_that(
    properties: dict[str, str | None], day: date | None, default: bool
) -> None:
    wanted = mapping({"target_close_date": FieldMapping("closedate", "+30")})
    found = mapped(wanted, **properties)
    assert found.values["target_close_date"] == day
    assert ("target_close_date" in found.defaulted) is default


def test_a_date_counted_from_today_is_no_news_until_it_is_past() -> None:
    rule = {"target_close_date": FieldMapping("closedate", "+30")}
    digests = [
        mapped(replace(mapping(rule), today=TODAY + timedelta(days=days)), closedate="2026-11-25T12:00:00Z").digest
        for days in range(65)
    ]
    assert len(set(digests)) == 3, "it moves twice in 65 days"
    changes = [day for day in range(1, 65) if digests[day] != digests[day - 1]]
    assert all(later - earlier <= 30 for earlier, later in pairwise(changes))


# --- stages


def test_stages_of_other_pipelines_go_by_what_hubspot_says_of_them() -> None:
    found = default_stages([PARTNERS])
    assert [found[PARTNERS.id, stage.id].stage for stage in PARTNERS.stages[:6]] == [
        Stage.PROSPECT,
        Stage.QUALIFIED,
        Stage.TECHNICAL_VALIDATION,
        Stage.BUSINESS_VALIDATION,
        Stage.COMMITTED,
        Stage.CLOSED_LOST,
    ]
    assert (PARTNERS.id, "7") not in found
    assert ("812704591", "qualifiedtobuy") not in found, "ids of the default pipeline mean nothing in another"


@pytest.mark.parametrize(
    ("properties", "stage", "known"),
    [
        ({}, Stage.QUALIFIED, True),
        ({"pipeline": "812704591", "dealstage": "4"}, Stage.BUSINESS_VALIDATION, True),
        ({"pipeline": "812704591", "dealstage": "7"}, Stage.PROSPECT, False),
        ({"pipeline": "812704591", "dealstage": "qualifiedtobuy"}, Stage.PROSPECT, False),
        ({"pipeline": "gone", "dealstage": "9", "hs_is_closed": "true"}, Stage.CLOSED_LOST, False),
        (
            {"pipeline": "gone", "dealstage": "9", "hs_is_closed": "true", "hs_is_closed_won": "true"},
            Stage.COMMITTED,
            False,
        ),
        ({"pipeline": None}, Stage.QUALIFIED, True),
        ({"dealstage": None}, Stage.PROSPECT, True),
    ],
)
def test_a_stage_that_is_not_mapped_is_told_and_a_closed_deal_stays_closed(
    properties: dict[str, str | None], stage: Stage, known: bool
) -> None:
    found = mapped(mapping(pipelines=(PARTNERS,)), **properties)
    assert found.values["stage"] is stage
    assert [issue.code for issue in found.issues] == ([] if known else [MappingCode.UNKNOWN_STAGE])


def test_the_tenants_stages_come_before_those_by_default_and_may_leave_deals_out() -> None:
    own = {("default", "qualifiedtobuy"): StageMapping(Stage.COMMITTED), (PARTNERS.id, "7"): StageMapping(None)}
    by = mapping(stages=own, pipelines=(PARTNERS,))
    assert mapped(by).values["stage"] is Stage.COMMITTED
    out = mapped(by, pipeline=PARTNERS.id, dealstage="7")
    assert "“Somewhere” of pipeline “Partner co-sell”" in out.skipped
    assert out.issues == []
    assert out.digest != mapped(mapping(pipelines=(PARTNERS,)), pipeline=PARTNERS.id, dealstage="7").digest


@pytest.mark.parametrize("stage", list(Stage))
def test_sales_activities_follow_the_stage_unless_hubspot_or_the_tenant_says_otherwise(stage: Stage) -> None:
    stages = {("default", "qualifiedtobuy"): StageMapping(stage)}
    assert mapped(mapping(stages=stages)).values["sales_activities"] == ACTIVITIES.get(stage)
    fixed = {"sales_activities": FieldMapping(default="SOW Signed")}
    assert mapped(mapping(fixed, stages)).values["sales_activities"] == ["SOW Signed"]
    fed = {"sales_activities": FieldMapping("done", FROM_STAGE, {"demo": "Conducted POC / Demo"})}
    found = mapped(mapping(fed, stages), done="demo;SOW Signed;dinner")
    assert found.values["sales_activities"] == ["Conducted POC / Demo", "SOW Signed"]
    assert told(found) == [("sales_activities", MappingCode.UNKNOWN_VALUE, "dinner")]
    assert "sales_activities" not in found.defaulted


# --- what the tenant chooses


def test_a_value_map_is_looked_at_first_then_aws_own_words_then_any_other() -> None:
    values = {"shops": "Retail", "Education": "Government", "secret": "", OTHERWISE: "Other"}
    by = mapping({"customer_industry": FieldMapping("sector", values=values)})
    given_values = ("shops", "SHOPS", "Education", "financial services", "secret", "anything", None)
    assert [mapped(by, sector=sector).values["customer_industry"] for sector in given_values] == [
        "Retail",
        "Retail",
        "Government",
        "Financial Services",
        None,
        "Other",
        None,
    ]
    assert mapped(by, sector="secret").issues == []


def test_countries_are_known_by_name_and_code() -> None:
    by = mapping({"customer_country": FieldMapping("land")})
    spelled = ("Germany", "de", "DE", "United States", "USA", "uk", "Côte d'Ivoire")
    assert [mapped(by, land=text).values["customer_country"] for text in spelled] == [
        *("DE", "DE", "DE", "US", "US", "GB", "CI")
    ]
    assert told(mapped(by, land="Atlantis")) == [("customer_country", MappingCode.UNKNOWN_VALUE, "Atlantis")]


def test_use_cases_are_known_however_they_are_spaced() -> None:
    by = mapping({"use_case": FieldMapping("use")})
    assert mapped(by, use="Migration/Database Migration").values["use_case"] == "Migration / Database Migration"


def test_national_security_never_comes_from_an_industry() -> None:
    by = mapping({"customer_industry": FieldMapping("sector")})
    assert mapped(by, sector="Government").values["national_security"] == "No"


def test_a_field_from_nothing_is_empty_and_a_default_fills_what_hubspot_leaves_empty() -> None:
    by = mapping({"title": FieldMapping(), "next_steps": FieldMapping("hs_next_step", "Call them")})
    assert mapped(by).values["title"] == "Deal 18004128911"
    assert (mapped(by).values["next_steps"], "next_steps" in mapped(by).defaulted) == ("Call them", True)
    there = mapped(by, hs_next_step="Write")
    assert (there.values["next_steps"], "next_steps" in there.defaulted) == ("Write", False)


def test_only_a_lost_deal_has_a_reason_for_the_loss() -> None:
    by = mapping({"closed_lost_reason": FieldMapping(default="Price")})
    assert (mapped(by).values["closed_lost_reason"], "closed_lost_reason" in mapped(by).defaulted) == (None, False)
    assert mapped(by, dealstage="closedlost").values["closed_lost_reason"] == "Price"


def test_what_is_mapped_is_read() -> None:
    by = mapping({"customer_company": FieldMapping("buyer"), "business_problem": FieldMapping()})
    assert set(PROPERTIES) < set(by.properties)
    assert "buyer" in by.properties and "description" not in by.properties
    assert len(set(by.properties)) == len(by.properties)


def test_a_mapping_has_the_digest_of_what_it_does() -> None:
    one = mapping({"customer_company": FieldMapping("buyer")}, currency="EUR")
    assert one.digest == replace(one, today=TODAY + timedelta(days=1)).digest
    others = [
        mapping({"customer_company": FieldMapping("customer")}, currency="EUR"),
        mapping({"customer_company": FieldMapping("buyer", "Contoso")}, currency="EUR"),
        mapping({"customer_company": FieldMapping("buyer")}, currency="USD"),
        mapping({"customer_company": FieldMapping("buyer")}, currency="EUR", time_zone="Europe/Berlin"),
        mapping({"customer_company": FieldMapping("buyer")}, {("a", "b"): StageMapping(None)}, currency="EUR"),
        mapping({"customer_company": FieldMapping("buyer")}, {("a", "b"): StageMapping(Stage.QUALIFIED)}),
    ]
    assert len({one.digest, *(each.digest for each in others)}) == 1 + len(others)


@pytest.mark.parametrize(
    ("name", "given_mapping", "told_of"),
    [
        ("stage", FieldMapping("dealstage"), "no such field"),
        ("nothing", FieldMapping(), "no such field"),
        ("title", FieldMapping(""), "cannot be"),
        ("title", FieldMapping("x" * 101), "cannot be"),
        ("customer_country", FieldMapping(default="Atlantis"), "no country"),
        ("visibility", FieldMapping(default="Some"), "none of the values"),
        ("target_close_date", FieldMapping(default="30"), "0 to 999"),
        ("target_close_date", FieldMapping(default="+1000"), "0 to 999"),
        ("target_close_date", FieldMapping(default="+٣"), "0 to 999"),
        ("visibility", FieldMapping("x", values={"a": "Some"}), "none of the values"),
        ("visibility", FieldMapping("x", values={"": "Full"}), "cannot be mapped"),
        ("visibility", FieldMapping("x", values={"\x00": "Full"}), "cannot be mapped"),
        ("title", FieldMapping("x", values={"a": "b"}), "none of the values"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(name: str, given_mapping: FieldMapping, told_of: str) -> None:
    with pytest.raises(Refused) as refused:
        checked(name, given_mapping)
    assert told_of in refused.value.fields[name]


@pytest.mark.parametrize("name", DEFAULT_FIELDS)
def test_the_defaults_can_be_chosen_too(name: str) -> None:
    assert checked(name, DEFAULT_FIELDS[name]) == DEFAULT_FIELDS[name]


# --- whatever HubSpot sends

_ANY_TEXT = st.text(max_size=40) | st.text(st.characters(categories=["Cs", "Cc", "Lu"]), max_size=8)
_LIKELY = st.sampled_from(
    [
        *("", " ", "0", "-1", "1e400", "NaN", "1,5", "newbusiness", "a;b;;", "true", "Retail", "DE", "5", "*"),
        *("2027-03-31T10:00:00Z", "9999-12-31T23:59Z", "0001-01-01T00:00:00+14:00", "2027-02-30"),
        *("x" * 3000, "qualifiedtobuy", "812704591"),
    ]
)
_CHOICES = [field for field in FIELDS if field.choices and field.name != "stage"]


@st.composite
def mappings(draw: st.DrawFn) -> Mapping:
    """Mappings that a tenant could have, with properties a to c."""
    fields: dict[str, FieldMapping] = {}
    for field in draw(st.lists(st.sampled_from([each for each in FIELDS if each.name != "stage"]), unique=True)):
        values = {}
        if field.choices:
            keys = st.sampled_from(["Retail", "a", "b", OTHERWISE, "newbusiness"])
            values = draw(st.dictionaries(keys, st.sampled_from(["", *field.choices[:3]]), max_size=3))
        fields[field.name] = FieldMapping(draw(st.sampled_from([None, "a", "b", "c"])), None, values)
    if draw(st.booleans()):
        fields["target_close_date"] = FieldMapping("a", "+30")
    account = Account(
        draw(st.sampled_from([None, "EUR", "euros"])), draw(st.sampled_from([None, "US/Eastern", ""])), (PARTNERS,)
    )
    return Mapping.of(fields, {}, account, TODAY)


_DEALS = st.dictionaries(st.sampled_from([*DEAL, "a", "b", "c"]), st.none() | _LIKELY | _ANY_TEXT)


@given(_DEALS, mappings())
def test_it_never_raises_and_never_invents(properties: dict[str, str | None], by: Mapping) -> None:
    found = map_deal(properties, by)
    assert found.values.keys() == FIELD.keys()
    assert isinstance(found.values["stage"], Stage) and found.values["title"]
    reported = {issue.field for issue in found.issues}
    for field in FIELDS:
        value = found.values[field.name]
        if field.choices and value is not None:
            assert all(one in field.choices for one in (value if isinstance(value, list) else [value]))
        if value is None or field.name in found.defaulted or field.name in ("stage", "deal_currency"):
            continue
        source = properties.get(by.fields[field.name].property or "") if field.name in by.fields else None
        if field.choices:
            own = {same_choice(part) for part in (source or "").split(";")} | {same_choice(source or "")}
            chosen = set(value if isinstance(value, list) else [value])
            assert all(same_choice(one) in own or one in by.fields[field.name].values.values() for one in chosen)
        elif field.kind == "text" and field.name not in reported:
            assert "".join(value.split()) == "".join((source or "").replace("\x00", "").split()) or "?" in value


@given(_DEALS, mappings())
def test_what_hubspot_says_and_is_not_there_is_told(properties: dict[str, str | None], by: Mapping) -> None:
    """Nothing is lost in silence: a value that is not taken over has an issue, or a line of the value map says so."""
    found = map_deal(properties, by)
    reported = {issue.field for issue in found.issues}
    for name, each in by.fields.items():
        source = (properties.get(each.property or "") or "").replace("\x00", "").strip()
        on_purpose = "" in each.values.values() or name == "closed_lost_reason" or not source.replace(";", "").strip()
        if source and found.values[name] is None and not on_purpose:
            assert name in reported


@given(_DEALS, mappings())
def test_the_same_deal_by_the_same_mapping_is_the_same(properties: dict[str, str | None], by: Mapping) -> None:
    assert map_deal(properties, by) == map_deal(dict(properties), replace(by))


@given(st.sampled_from(_CHOICES), st.data())
def test_a_value_map_goes_round(field: Any, data: st.DataObject) -> None:
    """Each choice that a HubSpot value is mapped to comes out, whatever HubSpot's value is called."""
    names = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12)
    sources = data.draw(st.dictionaries(names, st.sampled_from(field.choices), min_size=1, max_size=6))
    by_sameness = {same_choice(source): to for source, to in sources.items()}
    by = mapping(
        {field.name: FieldMapping("source", values=sources)}, {("default", "x"): StageMapping(Stage.CLOSED_LOST)}
    )
    for source in sources:
        found = mapped(by, dealstage="x", source=source).values[field.name]
        assert found == (
            [by_sameness[same_choice(source)]] if field.kind == "choices" else by_sameness[same_choice(source)]
        )
