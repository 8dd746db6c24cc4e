"""The queries on deals, on a real PostgreSQL, as the tenant's own login."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from awssome.database import Connection
from awssome.database.sessions import Sessions
from awssome.database.tenant import deals, figures
from awssome.database.tenant.deals import SORTS, Deal, Filters, Hidden, HubSpotDeal
from awssome.domain.deals import FIELD, Source, Stage
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import Placement
from awssome.domain.times import new_id

TODAY = date(2026, 11, 22)
ALICE, MIA = "alice@example.com", "mia@example.com"
COMPLETE: dict[str, Any] = {
    "title": "Fabrikam data platform",
    "stage": Stage.QUALIFIED,
    "customer_company": "Fabrikam",
    "customer_website": "https://fabrikam.example",
    "customer_industry": "Retail",
    "customer_country": "DE",
    "customer_postal_code": "10115",
    "business_problem": "They want their shop in the cloud before the season.",
    "opportunity_type": "Net New Business",
    "delivery_model": "SaaS or PaaS",
    "target_close_date": TODAY + timedelta(days=3000),
    "expected_aws_spend": Decimal("4200"),
    "aws_spend_currency": "USD",
    "use_case": "Database",
    "sales_activities": ["Customer has shown interest in solution"],
    "involvement": "Co-Sell",
    "primary_needs": ["Co-Sell - Deal Support"],
    "solution_id": "S-0012345",
}

Transaction = Callable[[], Any]


@pytest.fixture
def transaction(sessions: Sessions, placement: Placement) -> Transaction:
    """Opens a transaction as the tenant."""

    @contextmanager
    def opened() -> Iterator[Connection]:
        with sessions.open(placement) as connection:
            yield connection

    return opened


def add(connection: Connection, **values: Any) -> UUID:
    return deals.create(connection, {"title": "A deal", "stage": Stage.PROSPECT, **values}, ALICE)


@pytest.fixture(scope="module")
def many(place: Callable[[], Placement]) -> Placement:
    """A workspace to read: deals with ties, empty values, and letters of more than one alphabet."""
    titles = ["beta", "Alpha", "alpha", "Ökologie", "東京", "beta", "ALPHA", "Zulu", "gamma", "beta", "x", "y"]
    placement, sessions = place(), Sessions(budget=2)
    with sessions.open(placement) as connection:
        for number, title in enumerate(titles):
            add(
                connection,
                title=title,
                stage=list(Stage)[number % 7],
                customer_company=None if number % 3 == 0 else f"Company {number % 4}",
                deal_amount=None if number % 4 == 1 else Decimal(number % 3) * Decimal("10.5"),
                target_close_date=None if number % 5 == 0 else TODAY + timedelta(days=number % 4 - 1),
            )
    sessions.close()
    return placement


@pytest.mark.parametrize("sort", [sign + sort for sort in SORTS for sign in ("", "-")])
def test_pages_forth_and_back_show_each_deal_once_in_the_order_of_the_whole(
    sessions: Sessions, many: Placement, sort: str
) -> None:
    with sessions.open(many) as connection:
        whole = [deal.id for deal in deals.list_deals(connection, Filters(), today=TODAY, sort=sort, limit=99).rows]
        assert len(whole) == 12
        forth, page = [], deals.list_deals(connection, Filters(), today=TODAY, sort=sort, limit=5)
        assert page.before is None
        while True:
            forth.append([deal.id for deal in page.rows])
            if page.after is None:
                break
            page = deals.list_deals(connection, Filters(), today=TODAY, sort=sort, after=page.after, limit=5)
        back = [forth[-1]]
        while page.before is not None:
            page = deals.list_deals(connection, Filters(), today=TODAY, sort=sort, before=page.before, limit=5)
            back.insert(0, [deal.id for deal in page.rows])
    assert [deal for rows in forth for deal in rows] == whole
    assert back == forth


@pytest.mark.parametrize("sort", ["deal_amount", "-deal_amount", "target_close_date", "-customer_company"])
def test_deals_without_a_value_come_last_in_both_directions(sessions: Sessions, many: Placement, sort: str) -> None:
    with sessions.open(many) as connection:
        page = deals.list_deals(connection, Filters(), today=TODAY, sort=sort, limit=99)
    values = [deal.values[sort.removeprefix("-")] for deal in page.rows]
    empty = values.count(None)
    assert empty and values[-empty:] == [None] * empty
    given = [value for value in values if value is not None]
    assert given == sorted(given, reverse=sort.startswith("-"))


def test_titles_are_sorted_and_found_without_regard_to_case(sessions: Sessions, many: Placement) -> None:
    with sessions.open(many) as connection:
        found = deals.list_deals(connection, Filters(search="ALPH"), today=TODAY, sort="title").rows
        umlaut = deals.list_deals(connection, Filters(search="öko"), today=TODAY).rows
    assert sorted(deal.title for deal in found) == ["ALPHA", "Alpha", "alpha"]
    assert [deal.title for deal in umlaut] == ["Ökologie"]


@pytest.mark.parametrize("text", ["%", "_", "\\", "50%", "' OR 1=1 --", "\x00"])
def test_signs_of_the_query_language_are_searched_for_as_they_are(transaction: Transaction, text: str) -> None:
    with transaction() as connection:
        add(connection, title="Save 50% and_more \\ ' OR 1=1 --")
        add(connection, title="plain")
        found = [deal.title for deal in deals.list_deals(connection, Filters(search=text), today=TODAY).rows]
    # A sign that no text can hold is left out of what is looked for.
    assert found == (
        ["plain", "Save 50% and_more \\ ' OR 1=1 --"] if text == "\x00" else ["Save 50% and_more \\ ' OR 1=1 --"]
    )


@pytest.mark.parametrize("key", ["x", "AAAA", "W251bGxd", "eyJhIjoxfQ", "WyJ4IiwgIm5vIl0", "WzEsMl0", "é", "=" * 9])
def test_a_mangled_key_of_a_page_is_refused(transaction: Transaction, key: str) -> None:
    with transaction() as connection, pytest.raises(Refused) as refused:
        deals.list_deals(connection, Filters(), today=TODAY, after=key)
    assert refused.value.code is Code.INVALID


def test_filters_select(transaction: Transaction) -> None:
    with transaction() as connection:
        ready = deals.create(connection, COMPLETE, ALICE)
        lost = add(connection, stage=Stage.CLOSED_LOST)
        away = add(connection, title="away")
        deals.archive(connection, [away], ALICE)

        def ids(**values: Any) -> set[UUID]:
            filters = Filters(**values)
            page = deals.list_deals(connection, filters, today=TODAY)
            assert deals.count(connection, filters, today=TODAY) == len(page.rows)
            return {deal.id for deal in page.rows}

        early = add(connection)
        assert ids() == {ready, lost, early}
        assert ids(stage=Stage.CLOSED_LOST) == {lost}
        assert ids(ready=True) == {ready}
        assert ids(ready=False) == {early}, "a lost one never becomes ready"
        assert ids(source=Source.MANUAL) == {ready, lost, early}
        assert ids(source=Source.HUBSPOT) == set()
        assert ids(archived=True) == {away}
        assert ids(search="fabri", stage=Stage.QUALIFIED, ready=True) == {ready}


def test_a_ready_deal_is_ready_until_its_close_date_is_past(transaction: Transaction) -> None:
    closing = COMPLETE["target_close_date"]
    with transaction() as connection:
        deal_id = deals.create(connection, COMPLETE, ALICE)
        assert deals.find(connection, deal_id, today=closing).ready
        late = closing + timedelta(days=1)
        assert not deals.find(connection, deal_id, today=late).ready
        assert figures.summary(connection, today=closing) == figures.Summary(1, 1, 0)
        assert figures.summary(connection, today=late) == figures.Summary(1, 0, 1)
        deals.edit(connection, deal_id, 1, {"stage": Stage.LAUNCHED}, ALICE)
        assert deals.find(connection, deal_id, today=late).ready


def test_a_new_deal_is_exact_and_has_a_timeline(transaction: Transaction) -> None:
    amount = Decimal("123456789012345.6789")
    with transaction() as connection:
        deal_id = deals.create(connection, {**COMPLETE, "deal_amount": amount, "deal_currency": "EUR"}, ALICE)
    with transaction() as connection:
        deal = deals.find(connection, deal_id)
        events = deals.timeline(connection, deal_id)
    assert deal.values["deal_amount"] == amount and isinstance(deal.values["deal_amount"], Decimal)
    assert (deal.source, deal.version, deal.updated_by, deal.ready) == (Source.MANUAL, 1, ALICE, True)
    assert deal.created_at.tzinfo is not None
    assert [(event.kind, event.actor) for event in events] == [("created", ALICE)]
    assert events[0].changes["deal_amount"] == [None, "123456789012345.6789"]
    assert events[0].changes["target_close_date"] == [None, COMPLETE["target_close_date"].isoformat()]


def test_an_edit_writes_what_differs_and_remembers_who_set_it(transaction: Transaction) -> None:
    with transaction() as connection:
        deal_id = add(connection, deal_amount=Decimal("12.5"))
        changed = {"title": "Another", "deal_amount": Decimal("12.5000"), "next_steps": "Call them"}
        assert deals.edit(connection, deal_id, 1, changed, MIA)
        deal = deals.find(connection, deal_id)
        newest = deals.timeline(connection, deal_id)[0]
    assert deal.values["title"] == "Another" and deal.version == 2 and deal.updated_by == MIA
    assert {"title", "next_steps"} <= set(deal.edited_fields)
    assert newest.changes == {"title": ["A deal", "Another"], "next_steps": [None, "Call them"]}
    assert (newest.kind, newest.actor) == ("edited", MIA)


def test_an_edit_that_changes_nothing_leaves_no_trace(transaction: Transaction) -> None:
    with transaction() as connection:
        deal_id = add(connection, deal_amount=Decimal("12.5"))
        assert not deals.edit(connection, deal_id, 1, {"deal_amount": Decimal("12.5000"), "title": "A deal"}, MIA)
        assert deals.find(connection, deal_id).version == 1
        assert len(deals.timeline(connection, deal_id)) == 1


def test_an_emptied_field_counts_as_edited(transaction: Transaction) -> None:
    with transaction() as connection:
        deal_id = add(connection, use_case="Backup")
        deals.edit(connection, deal_id, 1, {"use_case": None}, MIA)
        deal = deals.find(connection, deal_id)
    assert deal.values["use_case"] is None and "use_case" in deal.edited_fields


def test_an_edit_of_an_older_version_is_refused_and_changes_nothing(transaction: Transaction) -> None:
    with transaction() as connection:
        deal_id = add(connection)
        deals.edit(connection, deal_id, 1, {"title": "First"}, ALICE)
    with pytest.raises(Refused) as refused, transaction() as connection:
        deals.edit(connection, deal_id, 1, {"title": "Second"}, MIA)
    assert refused.value.code is Code.CONFLICT and ALICE in refused.value.message
    with transaction() as connection:
        assert deals.find(connection, deal_id).title == "First"
        assert [event.kind for event in deals.timeline(connection, deal_id)] == ["edited", "created"]


def test_of_two_edits_at_once_one_is_refused(sessions: Sessions, placement: Placement) -> None:
    with sessions.open(placement) as connection:
        deal_id = add(connection)
    with pytest.raises(Refused) as refused, sessions.open(placement) as slow:
        seen = deals.find(slow, deal_id).version
        with sessions.open(placement) as quick:
            deals.edit(quick, deal_id, seen, {"title": "Quick"}, ALICE)
        deals.edit(slow, deal_id, seen, {"title": "Slow"}, MIA)
    assert refused.value.code is Code.CONFLICT
    with sessions.open(placement) as connection:
        assert deals.find(connection, deal_id).title == "Quick"


def test_archived_deals_rest_until_they_are_restored(transaction: Transaction) -> None:
    with transaction() as connection:
        first, second = add(connection), add(connection)
        assert deals.archive(connection, [first, second, first, new_id()], MIA) == 2
        assert deals.archive(connection, [first], MIA) == 0
        version = deals.find(connection, first).version
        with pytest.raises(Refused) as refused:
            deals.edit(connection, first, version, {"title": "No"}, MIA)
        assert refused.value.code is Code.CONFLICT
        assert deals.restore(connection, [first], ALICE) == 1
        assert deals.restore(connection, [first], ALICE) == 0
        assert [event.kind for event in deals.timeline(connection, first)] == ["restored", "archived", "created"]
        assert deals.find(connection, first).archived_at is None


def test_a_deal_of_another_tenant_is_not_there(
    sessions: Sessions, place: Callable[[], Placement], placement: Placement
) -> None:
    with sessions.open(place()) as connection:
        foreign = add(connection)
    with sessions.open(placement) as connection:
        for attempt in (lambda: deals.find(connection, foreign), lambda: deals.edit(connection, foreign, 1, {}, MIA)):
            with pytest.raises(Refused) as refused:
                attempt()
            assert refused.value.code is Code.NOT_FOUND
        assert deals.archive(connection, [foreign], MIA) == 0
        assert deals.timeline(connection, foreign) == []


def test_figures_leave_out_what_is_lost_or_archived(transaction: Transaction) -> None:
    with transaction() as connection:
        money = {"deal_currency": "USD", "target_close_date": date(2026, 12, 5)}
        add(connection, deal_amount=Decimal("0.1"), **money)
        add(connection, deal_amount=Decimal("0.2"), **money)
        add(connection, deal_amount=Decimal("7"), deal_currency="EUR", target_close_date=date(2027, 1, 31))
        add(connection, deal_amount=Decimal("50"), stage=Stage.LAUNCHED, **money)
        add(connection, deal_amount=Decimal("1000"), stage=Stage.CLOSED_LOST, **money)
        away = add(connection, deal_amount=Decimal("9999"), **money)
        deals.archive(connection, [away], ALICE)
        months = figures.by_month(connection, date(2026, 12, 1), date(2027, 1, 31))
        assert figures.open_value(connection) == {"USD": Decimal("0.3"), "EUR": Decimal("7")}
        stages = figures.by_stage(connection)
        assert list(figures.open_value(connection)) == ["USD", "EUR"]
    assert [(each.year, each.month, each.currency, each.amount, each.deals) for each in months] == [
        (2026, 12, "USD", Decimal("50.3"), 3),
        (2027, 1, "EUR", Decimal("7"), 1),
    ]
    assert stages[Stage.PROSPECT] == 3 and stages[Stage.LAUNCHED] == 1 and stages[Stage.COMMITTED] == 0
    assert list(stages) == list(Stage)


def test_fields_tell_where_they_come_from() -> None:
    at = datetime.now(UTC)
    given = {**dict.fromkeys(FIELD), "title": "T", "stage": "Prospect", "next_steps": "Call", "visibility": "Full"}
    held = {"next_steps": "Wait"}
    linked = HubSpotDeal(7, "9", "live", at, at, new_id(), new_id(), held, frozenset({"visibility", "next_steps"}))
    deal = Deal(new_id(), Source.HUBSPOT, given, ("next_steps",), False, 1, at, at, ALICE, None, linked)
    assert deal.origin("title") == deal.origin("stage") == "hubspot"
    assert deal.origin("next_steps") == "you"
    assert deal.hidden("next_steps") == Hidden("Wait", default=True)
    assert deal.hidden("title") is None
    assert deal.origin("visibility") == "default"
    assert deal.origin("customer_company") is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("12.5000"), "12.5"),
        (Decimal("1E+3"), "1000"),
        (date(2027, 1, 2), "2027-01-02"),
        ("x", "x"),
        (None, None),
    ],
)
def test_values_as_plain_text(value: Any, text: str | None) -> None:
    assert deals.as_text(value) == text
    assert text is None or not re.search(r"[eE]\+", text)
