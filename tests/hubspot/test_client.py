"""The client against the sandbox: what it reads, and what it gets through."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from awssome.domain.errors import Code
from awssome.hubspot import oauth
from awssome.hubspot.client import Answered
from awssome.hubspot.errors import Cancelled, HubSpotDown, NeedsReconnect, RateLimited, Rejected, TokenRefused
from awssome.hubspot.models import Filter, Search
from awssome.hubspot.transport import Patience

from .conftest import DEALS, EMPTY, NORTHWIND, TAILSPIN, WINGTIP, Sandbox, Spending


class Sleeps(list[float]):
    """Stands in for time.sleep: remembers and does not wait."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def test_the_list_is_read_whole_by_its_cursor_alone(sandbox: Sandbox) -> None:
    with sandbox.client() as client:
        pages = list(client.iter_deals(properties=("dealname", "amount")))
    ids = [deal.id for page in pages for deal in page.results]
    assert [len(page.results) for page in pages] == [100, 100, 50]
    assert len(set(ids)) == DEALS
    assert pages[-1].next is None
    assert client.calls == 3


def test_an_interrupted_run_goes_on_from_the_last_cursor(sandbox: Sandbox) -> None:
    with sandbox.client() as client:
        whole = [deal.id for page in client.iter_deals(limit=60) for deal in page.results]
        first = next(client.iter_deals(limit=60))
        rest = [deal.id for page in client.iter_deals(first.next, limit=60) for deal in page.results]
    assert [deal.id for deal in first.results] + rest == whole


def test_a_deal_keeps_hubspots_texts_and_empty_values(sandbox: Sandbox) -> None:
    made = sandbox.order("deals", properties={"dealname": "Zoë 🚀 <b>", "amount": "1000.50"})
    with sandbox.client() as client:
        (deal,) = client.batch_read_deals([made["id"]], ("dealname", "amount", "closedate")).results
    assert deal.properties["dealname"] == "Zoë 🚀 <b>"
    assert deal.properties["amount"] == "1000.50"
    assert deal.properties["closedate"] is None
    assert datetime.now(UTC) - deal.created_at < timedelta(minutes=1)
    sandbox.order(f"deals/{deal.id}/archive")


def test_archived_deals_are_a_list_of_their_own(sandbox: Sandbox) -> None:
    with sandbox.client() as client:
        archived = [deal for page in client.iter_deals(archived=True) for deal in page.results]
        live = {deal.id for page in client.iter_deals() for deal in page.results}
    assert archived
    assert all(deal.archived and deal.archived_at for deal in archived)
    assert not live & {deal.id for deal in archived}


def test_an_empty_account_has_one_empty_page(sandbox: Sandbox) -> None:
    with sandbox.client(EMPTY) as client:
        (page,) = client.iter_deals()
    assert (page.results, page.next) == ((), None)


def test_a_search_counts_all_and_gives_the_asked_number_in_order(sandbox: Sandbox) -> None:
    open_deals = Search(
        filters=(Filter("hs_is_closed", "EQ", "false"),),
        properties=("createdate", "hs_is_closed"),
        sort="createdate",
        limit=10,
    )
    with sandbox.client() as client:
        page = client.search_deals(open_deals)
        closed = client.search_deals(Search(filters=(Filter("hs_is_closed", "EQ", "true"),), limit=1))
    assert len(page.results) == 10
    assert page.total + closed.total == DEALS
    created = [str(deal.properties["createdate"]) for deal in page.results]
    assert created == sorted(created)
    assert {deal.properties["hs_is_closed"] for deal in page.results} == {"false"}


def test_a_search_sorts_descending_and_filters_by_range_and_by_list(sandbox: Sandbox) -> None:
    with sandbox.client() as client:
        newest = client.search_deals(Search(sort="createdate", descending=True, limit=5)).results
        ids = tuple(deal.id for deal in newest[:3])
        listed = client.search_deals(Search(filters=(Filter("hs_object_id", "IN", values=ids),)))
        low, high = str(newest[2].created_at.timestamp() * 1000), str(newest[0].created_at.timestamp() * 1000)
        between = Filter("createdate", "BETWEEN", low.split(".")[0], high_value=high.split(".")[0])
        ranged = client.search_deals(Search(filters=(between,)))
    moments = [deal.created_at for deal in newest]
    assert moments == sorted(moments, reverse=True)
    assert {deal.id for deal in listed.results} == set(ids)
    assert {deal.id for deal in ranged.results} == set(ids)


def test_short_and_empty_pages_do_not_end_a_search(sandbox: Sandbox) -> None:
    sandbox.order("faults", short_search_pages=True)
    with sandbox.client() as client:
        pages = list(client.iter_searched_deals(Search(limit=100)))
    assert any(len(page.results) < 100 and page.next for page in pages)
    assert len({deal.id for page in pages for deal in page.results}) == DEALS


def test_beyond_ten_thousand_a_search_is_refused_with_hubspots_reason(sandbox: Sandbox) -> None:
    with sandbox.client() as client, pytest.raises(Rejected) as refused:
        client.search_deals(Search(after="10000"))
    assert refused.value.problem is not None
    assert refused.value.problem.status == 400
    assert refused.value.problem.correlation_id in str(refused.value)


def test_a_batch_read_tells_missing_and_merged_deals_apart(sandbox: Sandbox) -> None:
    made = [sandbox.order("deals", properties={"dealname": name})["id"] for name in ("one", "two", "three")]
    survivor = sandbox.order("deals/merge", ids=made[:2])["id"]
    sandbox.order(f"deals/{made[2]}/archive")
    with sandbox.client() as client:
        stays = client.list_deals(limit=1).results[0].id
        answer = client.batch_read_deals([stays, *made, "999"], ("dealname",))
    assert {deal.id for deal in answer.results} == {stays, survivor}
    assert set(answer.missing) == {made[2], "999"}
    assert answer.merged == {made[0]: survivor, made[1]: survivor}
    sandbox.order(f"deals/{survivor}/archive")


def test_a_large_batch_read_goes_by_the_hundred(sandbox: Sandbox) -> None:
    with sandbox.client() as client:
        ids = [deal.id for page in client.iter_deals() for deal in page.results]
        client.calls = 0
        answer = client.batch_read_deals(ids)
        assert client.calls == 3
        assert client.batch_read_deals([]).results == ()
        assert client.calls == 3
    assert [deal.id for deal in answer.results] == ids


def test_pipelines_properties_and_the_account_are_typed(sandbox: Sandbox) -> None:
    with sandbox.client(WINGTIP) as client:
        pipelines = {pipeline.id: pipeline for pipeline in client.pipelines()}
        properties = {found.name: found for found in client.properties()}
        account = client.account()
    stages = {stage.id: stage for stage in pipelines["default"].stages}
    assert (stages["closedwon"].closed, stages["closedwon"].probability) == (True, Decimal(1))
    assert (stages["appointmentscheduled"].closed, stages["appointmentscheduled"].probability) == (
        False,
        Decimal("0.2"),
    )
    assert properties["amount"].type == "number"
    assert "newbusiness" in {option.value for option in properties["dealtype"].options}
    assert (account.portal_id, account.currency, account.timezone) == (WINGTIP, "EUR", "Europe/Berlin")
    assert account.ui_domain == "app.hubspot.com"
    assert (account.model_extra or {})["dataHostingLocation"] == "na1"


def test_an_expired_token_is_replaced_once_and_the_call_goes_on(sandbox: Sandbox) -> None:
    tokens = [sandbox.connect()]
    asked: list[bool] = []

    def access_token(*, force: bool = False) -> str:
        asked.append(force)
        if force:
            tokens.append(oauth.refresh(sandbox.app(), tokens[-1].refresh_token))
        return tokens[-1].access_token

    with sandbox.client(access_token=access_token) as client:
        sandbox.order("tokens/expire")
        assert len(client.list_deals().results) == 100
        assert client.list_deals().results
    assert asked == [False, True, False]


def test_a_token_that_stays_expired_is_tried_twice_and_does_not_end_the_connection(sandbox: Sandbox) -> None:
    with sandbox.client() as client:
        sandbox.order("tokens/expire")
        with pytest.raises(TokenRefused) as refused:
            client.list_deals()
        assert client.calls == 2
    assert refused.value.transient
    assert refused.value.until is not None


def test_a_dead_refresh_token_comes_through_the_client(sandbox: Sandbox) -> None:
    tokens = sandbox.connect(TAILSPIN)

    def access_token(*, force: bool = False) -> str:
        return (oauth.refresh(sandbox.app(), tokens.refresh_token) if force else tokens).access_token

    sandbox.order("uninstall", portal_id=TAILSPIN)
    with sandbox.client(access_token=access_token) as client, pytest.raises(NeedsReconnect) as refused:
        client.list_deals()
    assert refused.value.code is Code.CONFLICT


@pytest.mark.parametrize(
    ("fault", "waits"),
    [
        ({"fail": [{"status": 429, "times": 2}]}, (20, 24)),
        ({"fail": [{"status": 429, "times": 1, "retry_after": 30}]}, (30, 36)),
        ({"fail": [{"status": 423, "times": 3}]}, (6, 7.2)),
        ({"fail": [{"status": 477, "retry_after": 40}]}, (40, 40)),
        ({"fail": [{"status": status} for status in (500, 502, 503, 504, 521, 524)]}, (11.75, 31.5)),
        ({"drop": [{"when": when} for when in ("before", "during", "after")]}, (1.75, 3.5)),
    ],
    ids=str,
)
@pytest.mark.parametrize("endpoint", ["deals.list", "deals.search", "deals.batch_read"])
def test_a_disturbance_is_waited_out(
    sandbox: Sandbox, fault: dict[str, list[dict[str, Any]]], waits: tuple[float, float], endpoint: str
) -> None:
    sleeps = Sleeps()
    budget = Spending()
    with sandbox.client(sleep=sleeps, budget=budget) as client:
        ids = [deal.id for deal in client.list_deals(limit=3).results]
        sandbox.order(
            "faults", **{kind: [{**one, "endpoint": endpoint} for one in faults] for kind, faults in fault.items()}
        )
        budget.taken.clear()
        client.calls = 0
        calls: dict[str, Callable[[], Any]] = {
            "deals.list": lambda: client.list_deals(limit=3),
            "deals.search": lambda: client.search_deals(Search(limit=3)),
            "deals.batch_read": lambda: client.batch_read_deals(ids),
        }
        assert len(calls[endpoint]().results) == 3
    if endpoint == "deals.search" and fault == {"fail": [{"status": 429, "times": 2}]}:
        waits = (2, 2.4)  # a search's limit is by the second
    attempts = 1 + sum(int(one.get("times", 1)) for faults in fault.values() for one in faults)
    assert budget.taken == ["search" if endpoint == "deals.search" else "general"] * attempts
    assert client.calls == attempts
    if endpoint == "deals.search" and waits == (20, 24):
        waits = (2, 2.4)  # a search's limit is by the second
    assert waits[0] <= round(sum(sleeps), 6) <= waits[1]
    assert max(sleeps) <= 0.2


def test_answers_that_are_spoilt_are_asked_for_again_or_read_as_far_as_they_go(sandbox: Sandbox) -> None:
    with sandbox.client(sleep=Sleeps()) as client:
        first, second, *_ = client.list_deals(limit=3).results
        sandbox.order("faults", spoil=[{"how": "malformed"}], fail=[{"status": 521}])
        assert client.list_deals(limit=3).results[0] == first
        sandbox.order("faults", spoil=[{"how": "missing_fields", "fields": ["id"], "ids": [second.id]}])
        page = client.list_deals(limit=3)
        assert (len(page.results), len(page.unreadable)) == (2, 1)
        nothing = ["properties", "createdAt", "updatedAt", "archived"]
        sandbox.order("faults", spoil=[{"how": "null_fields", "fields": nothing, "ids": [second.id]}])
        page = client.list_deals(limit=3)
        assert page.results[1].id == second.id
        assert (page.results[1].properties, page.results[1].updated_at) == ({}, None)


def test_one_deal_is_read_by_its_id_also_after_a_merge(sandbox: Sandbox) -> None:
    made = [sandbox.order("deals", properties={"dealname": name})["id"] for name in ("one", "two")]
    with sandbox.client() as client:
        found = client.get_deal(made[0], ("dealname",))
        assert found is not None
        assert (found.id, found.properties["dealname"]) == (made[0], "one")
        survivor = sandbox.order("deals/merge", ids=made)["id"]
        assert [deal and deal.id for deal in map(client.get_deal, [*made, survivor])] == [survivor] * 3
        many = tuple(f"property_{number}" for number in range(300))
        read = client.get_deal(made[1], many)
        assert read is not None
        assert read.id == survivor
        sandbox.order(f"deals/{survivor}/archive")
        assert client.get_deal(survivor) is None
        assert client.get_deal("999") is None


def test_many_properties_are_read_page_by_page_all_the_same(sandbox: Sandbox) -> None:
    many = ("dealname", *(f"property_{number}" for number in range(300)))
    with sandbox.client() as client:
        for archived in (False, True):
            few = [page.results for page in client.iter_deals(properties=("dealname",), archived=archived)]
            client.calls = 0
            whole = [page.results for page in client.iter_deals(properties=many, archived=archived)]
            assert client.calls == 2 * len(few)
            for listed, read in zip(few, whole, strict=True):
                assert [deal.id for deal in listed] == [deal.id for deal in read]
                assert [deal.properties["dealname"] for deal in listed] == [
                    deal.properties["dealname"] for deal in read
                ]


def test_a_malformed_token_is_renewed(sandbox: Sandbox) -> None:
    with sandbox.client() as client:
        sandbox.order("faults", fail=[{"status": 530}])
        assert client.list_deals(limit=1).results
        assert client.calls == 2


def test_the_limit_for_the_day_names_when_to_come_again(sandbox: Sandbox) -> None:
    with sandbox.client() as client:
        sandbox.order("faults", fail=[{"status": 429, "category": "DAILY"}])
        with pytest.raises(RateLimited) as refused:
            client.list_deals(limit=1)
    assert client.calls == 1
    assert refused.value.until is not None


def test_retries_end(sandbox: Sandbox) -> None:
    with sandbox.client(sleep=Sleeps()) as client:
        sandbox.order("faults", fail=[{"status": 503, "times": 99}])
        with pytest.raises(HubSpotDown) as refused:
            client.list_deals()
    assert client.calls == 7
    assert refused.value.code is Code.UPSTREAM
    assert "safe" in refused.value.message
    assert refused.value.advice


def test_an_account_that_hubspot_moves_for_hours_is_not_waited_for(sandbox: Sandbox) -> None:
    with sandbox.client(sleep=(sleeps := Sleeps())) as client:
        sandbox.order("faults", fail=[{"status": 477}])
        with pytest.raises(HubSpotDown, match="moving this account") as refused:
            client.list_deals()
    assert refused.value.retry_after == 3600
    assert not sleeps


def test_work_that_is_told_to_stop_stops_within_its_wait(sandbox: Sandbox) -> None:
    stop = threading.Event()
    with sandbox.client(should_stop=stop.is_set) as client:
        sandbox.order("faults", fail=[{"status": 429, "times": 9}])
        threading.Timer(0.3, stop.set).start()
        began = time.monotonic()
        with pytest.raises(Cancelled):
            client.list_deals()
        assert 0.3 <= time.monotonic() - began < 2
        with pytest.raises(Cancelled):
            client.pipelines()
    assert client.calls == 1


def test_a_budget_that_gives_up_keeps_the_call_from_being_made(sandbox: Sandbox) -> None:
    class UsedUp(Spending):
        def take(self, kind: str) -> Answered:
            raise Cancelled

    with sandbox.client(budget=(budget := UsedUp())) as client, pytest.raises(Cancelled):
        client.list_deals()
    assert client.calls == 0
    assert sandbox.statuses("deals.list") == {}
    assert budget.closed


@pytest.fixture(scope="module")
def strict_sandbox(start_sandbox: Callable[..., Sandbox]) -> Sandbox:
    """A sandbox with HubSpot's rate limits. Each test takes a portal of its own, because the limits are by portal."""
    return start_sandbox("--deals", "20")


def test_the_ten_secondly_limit_is_recognised_and_waited_for(strict_sandbox: Sandbox) -> None:
    sleeps = Sleeps()
    with strict_sandbox.client(EMPTY, sleep=sleeps, patience=Patience(retries=2, seconds=30)) as client:
        for _ in range(110):
            client.list_deals(limit=1)
        assert not sleeps
        with pytest.raises(RateLimited) as refused:
            client.list_deals(limit=1)
    assert 20 <= sum(sleeps) <= 24.1
    assert 10 <= (refused.value.retry_after or 0) <= 12


def test_the_secondly_limit_of_searches_is_waited_out_for_a_second(strict_sandbox: Sandbox) -> None:
    with strict_sandbox.client(NORTHWIND) as client:
        began = time.monotonic()
        for _ in range(6):
            client.search_deals(Search(limit=1))
        took = time.monotonic() - began
    assert client.calls == 7
    assert 1 <= took < 2
