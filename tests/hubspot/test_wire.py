"""What goes over the wire, letter by letter, and answers that the sandbox does not give."""

from __future__ import annotations

import json
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest

from awssome.domain.budgets import Told
from awssome.domain.times import now
from awssome.hubspot.client import Client
from awssome.hubspot.errors import (
    Cancelled,
    HubSpotDown,
    HubSpotError,
    MissingScopes,
    RateLimited,
    Rejected,
    TokenRefused,
)
from awssome.hubspot.limits import told_by
from awssome.hubspot.models import Filter, Search
from awssome.hubspot.transport import DAY_REST, Lost, Patience, retry_delay

from .conftest import Spending

TOKEN = "an-access-token"
DEAL = {
    "id": "17",
    "properties": {"dealname": "Move", "amount": None},
    "createdAt": "2026-01-02T03:04:05.678Z",
    "updatedAt": "2026-02-03T04:05:06Z",
    "archived": False,
}

Handler = Callable[[httpx2.Request], httpx2.Response]


def client_of(handler: Handler | httpx2.Response, **settings: Any) -> Client:
    """A client whose HubSpot answers like this, and which never really waits."""
    answer = handler if callable(handler) else lambda request: handler
    defaults: dict[str, Any] = {
        "access_token": lambda *, force=False: TOKEN,
        "budget": Spending(),
        "should_stop": lambda: False,
        "sleep": lambda seconds: None,
        "transport": httpx2.MockTransport(answer),
    }
    return Client("https://api.example", **{**defaults, **settings})


def sent_by(call: Callable[[Client], object], answer: dict[str, Any]) -> httpx2.Request:
    """The one request that a call makes."""
    requests: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        return httpx2.Response(200, json=answer)

    call(client_of(handler))
    (request,) = requests
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    return request


def test_a_list_request() -> None:
    request = sent_by(lambda client: client.list_deals("99", 50, ("dealname", "amount"), True), {"results": [DEAL]})
    assert (request.method, request.url.path) == ("GET", "/crm/objects/2026-03/deals")
    assert dict(request.url.params) == {
        "limit": "50",
        "archived": "true",
        "properties": "dealname,amount",
        "after": "99",
    }


def test_a_first_page_names_no_cursor() -> None:
    request = sent_by(lambda client: client.list_deals(), {"results": []})
    assert dict(request.url.params) == {"limit": "100", "archived": "false"}


def test_a_search_request() -> None:
    query = Search(
        filters=(
            Filter("hs_lastmodifieddate", "GTE", "1700000000000"),
            Filter("pipeline", "IN", values=("default", "7")),
            Filter("amount", "HAS_PROPERTY"),
            Filter("createdate", "BETWEEN", "1", high_value="2"),
        ),
        properties=("dealname",),
        sort="hs_object_id",
        descending=True,
        after="200",
    )
    request = sent_by(lambda client: client.search_deals(query), {"results": [], "total": 0})
    assert (request.method, request.url.path) == ("POST", "/crm/objects/2026-03/deals/search")
    assert json.loads(request.content) == {
        "filterGroups": [
            {
                "filters": [
                    {"propertyName": "hs_lastmodifieddate", "operator": "GTE", "value": "1700000000000"},
                    {"propertyName": "pipeline", "operator": "IN", "values": ["default", "7"]},
                    {"propertyName": "amount", "operator": "HAS_PROPERTY"},
                    {"propertyName": "createdate", "operator": "BETWEEN", "value": "1", "highValue": "2"},
                ]
            }
        ],
        "properties": ["dealname"],
        "sorts": [{"propertyName": "hs_object_id", "direction": "DESCENDING"}],
        "limit": 200,
        "after": "200",
    }


def test_a_batch_read_request() -> None:
    request = sent_by(lambda client: client.batch_read_deals(["1", "2"], ("dealname",)), {"results": [DEAL]})
    assert (request.method, request.url.path) == ("POST", "/crm/objects/2026-03/deals/batch/read")
    assert json.loads(request.content) == {
        "inputs": [{"id": "1"}, {"id": "2"}],
        "properties": ["dealname", "hs_merged_object_ids"],
    }


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (Client.pipelines, "/crm/pipelines/2026-03/deals"),
        (Client.properties, "/crm/properties/2026-03/deals"),
    ],
)
def test_definitions_are_read_from_their_own_addresses(call: Callable[[Client], object], path: str) -> None:
    assert sent_by(call, {"results": []}).url.path == path


def test_more_than_hubspot_takes_is_not_even_sent() -> None:
    client = client_of(httpx2.Response(200, json={"results": []}))
    with pytest.raises(ValueError, match="1 to 100"):
        client.list_deals(limit=101)
    with pytest.raises(ValueError, match="1 to 200"):
        Search(limit=201)
    with pytest.raises(ValueError, match="at most 6"):
        Search(filters=(Filter("amount", "GT", "1"),) * 7)
    assert client.calls == 0


def test_fields_that_are_new_to_us_survive_and_numbers_become_text() -> None:
    deal = {**DEAL, "objectWriteTraceId": "t-1", "properties": {"amount": 12, "hs_new": "x"}, "url": "https://h/17"}
    client = client_of(httpx2.Response(200, json={"results": [deal], "paging": {"next": {"after": 5, "link": "l"}}}))
    page = client.list_deals()
    assert page.results[0].properties == {"amount": "12", "hs_new": "x"}
    assert page.results[0].model_extra == {"objectWriteTraceId": "t-1"}
    assert page.results[0].url == "https://h/17"
    assert page.next == "5"


def test_a_list_that_runs_in_circles_is_told_and_not_followed() -> None:
    client = client_of(httpx2.Response(200, json={"results": [DEAL], "paging": {"next": {"after": "7"}}}))
    pages = client.iter_deals()
    assert next(pages).next == next(pages).next == "7"
    with pytest.raises(Rejected, match="does not end"):
        next(pages)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"results": None},
        {"results": [DEAL], "paging": {"next": {"after": ["an-access-token"]}}},
    ],
)
def test_an_answer_that_does_not_fit_is_refused_without_quoting_it(body: object) -> None:
    with pytest.raises(Rejected, match="cannot be read") as refused:
        client_of(httpx2.Response(200, json=body)).list_deals()
    assert TOKEN not in "".join(traceback.format_exception(refused.value))
    assert refused.value.__context__ is None


@pytest.mark.parametrize("body", [{}, {"results": {}}])
def test_an_answer_without_definitions_is_refused(body: object) -> None:
    for call in (Client.pipelines, Client.properties):
        with pytest.raises(Rejected, match="cannot be read"):
            call(client_of(httpx2.Response(200, json=body)))


@pytest.mark.parametrize(
    ("broken", "id_", "reason"),
    [
        ({**DEAL, "createdAt": "yesterday an-access-token"}, "17", "cannot be read: createdAt."),
        ({**DEAL, "properties": ["an-access-token"]}, "17", "cannot be read: properties."),
        ({**DEAL, "properties": {"amount": ["an-access-token"]}}, "17", "cannot be read: properties.amount."),
        ({**DEAL, "archived": "perhaps", "id": 18}, "18", "cannot be read: archived."),
        ({key: value for key, value in DEAL.items() if key != "id"}, "", "cannot be read: id."),
        ({**DEAL, "id": ""}, "", "cannot be read: id."),
        ({**DEAL, "id": "1\x007"}, "", "cannot be read: id."),
        ({**DEAL, "id": "1\ud8007"}, "", "cannot be read: id."),
        ({**DEAL, "id": "1" * 33}, "", "cannot be read: id."),
        ({**DEAL, "id": ["an-access-token"]}, "", "cannot be read: id."),
        ("an-access-token", "", "cannot be read: all of it."),
        (None, "", "cannot be read: all of it."),
    ],
)
def test_a_deal_that_cannot_be_read_is_named_and_its_page_lives(broken: object, id_: str, reason: str) -> None:
    answer = httpx2.Response(200, content=json.dumps({"total": 3, "results": [DEAL, broken, {"id": "19"}]}))
    with client_of(answer) as client:
        found = [client.list_deals(), client.search_deals(Search()), client.batch_read_deals(["17", "18", "19"])]
    for page in found:
        assert [deal.id for deal in page.results] == ["17", "19"]
        assert [deal.id for deal in page.unreadable] == [id_]
        assert page.unreadable[0].reason == f"HubSpot's answer for this deal {reason}"
        assert TOKEN not in repr(page)


def test_of_a_deal_everything_but_its_id_may_be_missing() -> None:
    empty = {"properties": None, "createdAt": None, "updatedAt": None, "archived": None, "url": None}
    for odd in ({"id": "19"}, {"id": "19", **empty}):
        (deal,) = client_of(httpx2.Response(200, json={"results": [odd]})).list_deals().results
        assert (deal.properties, deal.created_at, deal.updated_at, deal.archived) == ({}, None, None, False)


def test_one_deal_is_asked_for_by_its_id_and_a_merged_one_answers_with_the_survivor() -> None:
    request = sent_by(lambda client: client.get_deal("16/x", ("dealname", "amount")), DEAL)
    assert request.url.raw_path == b"/crm/objects/2026-03/deals/16%2Fx?properties=dealname%2Camount"
    assert sent_by(lambda client: client.get_deal("16"), DEAL).url.query == b""
    found = client_of(httpx2.Response(200, json=DEAL)).get_deal("16")
    assert found is not None
    assert found.id == "17"


def test_a_deal_that_is_gone_is_none_and_an_answer_from_in_between_is_not_believed() -> None:
    gone = {"status": "error", "message": "resource not found", "correlationId": "c-1"}
    assert client_of(httpx2.Response(404, json=gone)).get_deal("16") is None
    for odd in ({}, ["resource not found"]):
        with pytest.raises(Rejected, match="HubSpot says 404"):
            client_of(httpx2.Response(404, json=odd)).get_deal("16")
    with pytest.raises(Rejected, match="HubSpot says 404"):
        client_of(httpx2.Response(404, html="<h1>Not found</h1>")).get_deal("16")
    with pytest.raises(Rejected, match="HubSpot says 404"):
        client_of(httpx2.Response(404, json=gone)).list_deals()
    with pytest.raises(Rejected, match="cannot be read"):
        client_of(httpx2.Response(200, json={**DEAL, "properties": 7})).get_deal("16")
    with pytest.raises(Rejected, match="cannot be read"):
        client_of(httpx2.Response(200, json={})).get_deal("16")


def test_more_properties_than_an_address_holds_are_read_by_a_batch() -> None:
    names = tuple(f"a_property_of_the_customer_{number}" for number in range(100))
    requests: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        if request.method == "GET":
            deals = [{**DEAL, "id": id_} for id_ in ("17", "18", "19")]
            return httpx2.Response(200, json={"results": deals, "paging": {"next": {"after": "19"}}})
        survivor = {"id": "90", "properties": {"hs_merged_object_ids": "18"}}
        return httpx2.Response(200, json={"results": [{"id": "19"}, survivor, {**DEAL, "properties": {"new": "x"}}]})

    client = client_of(handler)
    page = client.list_deals("7", 50, names, archived=True)
    assert [deal.id for deal in page.results] == ["17", "19"]
    assert page.results[0].properties == {"new": "x"}
    assert page.next == "19"
    listed, batch = requests
    assert dict(listed.url.params) == {"limit": "50", "archived": "true", "after": "7"}
    assert dict(batch.url.params) == {"archived": "true"}
    assert json.loads(batch.content)["inputs"] == [{"id": id_} for id_ in ("17", "18", "19")]
    assert set(names) < set(json.loads(batch.content)["properties"])
    requests.clear()
    client.list_deals(properties=names[:40])
    client.get_deal("17", names)
    assert [request.method for request in requests] == ["GET", "POST"]
    assert max(len(str(request.url)) for request in requests) <= 2000


@pytest.mark.parametrize(
    "error",
    [
        {"category": "OBJECT_NOT_FOUND"},
        {"category": "OBJECT_NOT_FOUND", "context": {"ids": []}},
        "OBJECT_NOT_FOUND",
    ],
)
def test_a_batch_error_of_another_kind_never_counts_as_a_deleted_deal(error: object) -> None:
    body = {"status": "COMPLETE", "results": [], "numErrors": 1, "errors": [error]}
    with pytest.raises(Rejected, match="could not read some deals"):
        client_of(httpx2.Response(207, json=body)).batch_read_deals(["1"])


def test_a_deal_that_hubspot_fails_to_read_is_named_and_is_not_missing() -> None:
    error = {"category": "INTERNAL_ERROR", "context": {"ids": ["1", "2"]}}
    body = {"status": "COMPLETE", "results": [DEAL], "numErrors": 2, "errors": [error]}
    answer = client_of(httpx2.Response(207, json=body)).batch_read_deals(["1", "2", "17"])
    assert ([deal.id for deal in answer.unreadable], answer.missing) == (["1", "2"], ())
    assert [deal.id for deal in answer.results] == ["17"]


def test_a_missing_permission_is_named() -> None:
    body = {
        "status": "error",
        "message": "This app hasn't been granted all required scopes to make this call.",
        "category": "MISSING_SCOPES",
        "errors": [{"message": "…", "context": {"requiredGranularScopes": ["crm.objects.deals.read"]}}, "odd"],
    }
    with pytest.raises(MissingScopes, match=r"lacks a permission: crm\.objects\.deals\.read") as refused:
        client_of(httpx2.Response(403, json=body)).list_deals()
    assert refused.value.scopes == ("crm.objects.deals.read",)
    assert not refused.value.transient


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(401, json={"category": "INVALID_AUTHENTICATION", "message": "not found"}),
        httpx2.Response(401, json={"category": "EXPIRED_AUTHENTICATION"}),
        httpx2.Response(401),
        httpx2.Response(530, html="error code: 1016"),
    ],
)
def test_a_refused_token_is_renewed_once_and_refused_again_it_does_not_end_the_connection(
    answer: httpx2.Response,
) -> None:
    asked: list[bool] = []

    def access_token(*, force: bool = False) -> str:
        asked.append(force)
        return f"token-{len(asked)}"

    client = client_of(answer, access_token=access_token)
    with pytest.raises(TokenRefused) as refused:
        client.list_deals()
    assert (asked, client.calls) == ([False, True], 2)
    assert refused.value.transient
    good = iter([answer, httpx2.Response(200, json={"results": [DEAL]})])
    assert client_of(lambda request: next(good)).list_deals().results[0].id == "17"


@pytest.mark.parametrize("status", [302, 400, 403, 404, 414, 415])
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"status":"error","category":"BANNED","correlationId":"c-1"}']
)
def test_other_refusals_are_told_with_what_support_needs(status: int, body: bytes) -> None:
    client = client_of(httpx2.Response(status, content=body))
    with pytest.raises(Rejected, match=f"HubSpot says {status}") as refused:
        client.list_deals()
    assert client.calls == 1
    assert ("BANNED, correlation id c-1" in str(refused.value)) == (b"BANNED" in body)


def test_a_token_that_cannot_be_a_header_is_not_told() -> None:
    def broken(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.LocalProtocolError(f"Illegal header value b'Bearer {TOKEN}'")

    with pytest.raises(Rejected) as refused:
        client_of(broken).list_deals()
    assert TOKEN not in "".join(traceback.format_exception(refused.value))


def test_an_answer_that_comes_too_late_is_asked_for_again() -> None:
    outcomes: Iterator[httpx2.Response | Exception] = iter(
        [httpx2.ReadTimeout("late"), httpx2.ConnectTimeout("late"), httpx2.Response(200, json={"results": [DEAL]})]
    )

    def handler(request: httpx2.Request) -> httpx2.Response:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    client = client_of(handler)
    assert client.list_deals().results[0].id == "17"
    assert client.calls == 3


@pytest.fixture
def trickling() -> Iterator[tuple[str, threading.Event]]:
    """The address of a server whose answers come byte by byte and never end, and whether one has begun."""
    begun = threading.Event()

    class Trickle(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while True:
                    self.wfile.write(b" ")
                    begun.set()
                    time.sleep(0.02)

        def log_message(self, *arguments: object) -> None:
            """Stay quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Trickle) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", begun
        server.shutdown()


def test_an_answer_that_trickles_does_not_hold_a_worker_up(
    trickling: tuple[str, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("awssome.hubspot.transport._TIMEOUT", httpx2.Timeout(0.2))
    settings: dict[str, Any] = {"access_token": lambda *, force=False: TOKEN, "budget": Spending()}
    patience = Patience(retries=1, seconds=5)
    client = Client(trickling[0], should_stop=lambda: False, patience=patience, **settings)
    with client, pytest.raises(HubSpotDown):
        client.list_deals()
    assert client.calls == 2


def test_who_is_told_to_stop_does_not_wait_for_the_rest_of_an_answer(trickling: tuple[str, threading.Event]) -> None:
    address, begun = trickling
    settings: dict[str, Any] = {"access_token": lambda *, force=False: TOKEN, "budget": Spending()}
    with Client(address, should_stop=begun.is_set, **settings) as client, pytest.raises(Cancelled):
        client.list_deals()
    assert client.calls == 1


TEN_SECONDLY = {
    "status": "error",
    "message": "You have reached your ten_secondly_rolling limit.",
    "errorType": "RATE_LIMIT",
    "correlationId": "c-1",
    "policyName": "TEN_SECONDLY_ROLLING",
    "groupName": "publicapi:crm",
}
SECONDLY = {
    "status": "error",
    "message": "You have reached your secondly limit.",
    "correlationId": "c-1",
    "category": "RATE_LIMITS",
}
DAILY = {**TEN_SECONDLY, "message": "You have reached your daily limit.", "policyName": "DAILY"}


@pytest.mark.parametrize(
    ("answer", "least", "most"),
    [
        (httpx2.Response(429, json=TEN_SECONDLY), 10, 12),
        (httpx2.Response(429, json=SECONDLY), 1, 1.2),
        (httpx2.Response(429, json={"message": "You have reached your secondly limit."}), 1, 1.2),
        (httpx2.Response(429, json={"policyName": "SECONDLY"}), 1, 1.2),
        (httpx2.Response(429, text="slow down"), 10, 12),
        (httpx2.Response(429, json=SECONDLY, headers={"Retry-After": "7"}), 7, 8.4),
        (httpx2.Response(429, json=DAILY), DAY_REST, DAY_REST * 1.2),
        (httpx2.Response(423), 2, 2.4),
        (httpx2.Response(477, headers={"Retry-After": "86400"}), 86400, 86400),
        (httpx2.Response(477), 60, 60),
        (httpx2.Response(500), 0.25, 0.5),
        *((httpx2.Response(status), 0.25, 0.5) for status in (408, 502, 503, 504, 521, 523, 524)),
        (Lost.UNREADABLE, 0.25, 0.5),
        (httpx2.Response(503, headers={"Retry-After": "soon"}), 0.25, 0.5),
        (httpx2.Response(503, headers={"Retry-After": "20"}), 20, 20),
        (Lost.UNSENT, 0.25, 0.5),
        (Lost.UNANSWERED, 0.25, 0.5),
    ],
)
def test_how_long_to_wait_for_what(answer: httpx2.Response | Lost, least: float, most: float) -> None:
    delays = [retry_delay(answer, 0) for _ in range(50)]
    assert all(delay is not None and least <= delay <= most for delay in delays)
    if least < most:
        assert len(set(delays)) > 1, "without jitter all workers come back at once"


@pytest.mark.parametrize("status", [200, 207, 204, 301, 400, 401, 403, 404, 414, 530])
def test_other_answers_stand(status: int) -> None:
    assert retry_delay(httpx2.Response(status), 0) is None


def test_a_date_to_retry_after_is_understood() -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    delay = retry_delay(httpx2.Response(477, headers={"Retry-After": at}), 0)
    assert delay == pytest.approx(89, abs=2)


def test_back_off_grows_to_a_ceiling() -> None:
    longest = [max(retry_delay(Lost.UNANSWERED, attempt) or 0 for _ in range(200)) for attempt in (0, 1, 2, 3, 9, 30)]
    assert longest == [*sorted(longest[:-1]), longest[-1]]
    assert 8 < longest[-1] <= 16


def test_a_limit_for_the_day_is_not_waited_for() -> None:
    client = client_of(httpx2.Response(429, json=DAILY))
    with pytest.raises(RateLimited) as refused:
        client.list_deals()
    assert client.calls == 1
    assert refused.value.transient
    assert DAY_REST <= (refused.value.retry_after or 0) <= 1.2 * DAY_REST
    assert refused.value.until is not None
    assert 0 < (refused.value.until - now()).total_seconds() <= 1.2 * DAY_REST


def test_an_account_that_is_moved_for_days_is_asked_again_after_one() -> None:
    with pytest.raises(HubSpotDown, match="moving this account") as refused:
        client_of(httpx2.Response(477, headers={"Retry-After": "900000"})).list_deals()
    assert refused.value.retry_after == 86_400


@pytest.mark.parametrize(
    "broken",
    [
        {"status_code": 200, "text": '{"results": [{"id": "1'},
        {"status_code": 200, "html": "<html>Just a moment</html>"},
        {"status_code": 200, "json": []},
        {"status_code": 200, "content": b"\xff\xfe"},
        {"status_code": 200, "content": b"no gzip", "headers": {"Content-Encoding": "gzip"}},
        {"status_code": 204},
    ],
)
def test_an_answer_that_is_cut_or_not_hubspots_is_asked_for_again(broken: dict[str, Any]) -> None:
    answers: Iterator[dict[str, Any]] = iter([broken, broken, {"status_code": 200, "json": {"results": [DEAL]}}])
    client = client_of(lambda request: httpx2.Response(**next(answers)))
    assert client.list_deals().results[0].id == "17"
    assert (client.calls, client.failed) == (3, 2)
    client = client_of(lambda request: httpx2.Response(**broken), patience=Patience(retries=2, seconds=9))
    with pytest.raises(HubSpotDown, match="cannot be read at the moment") as refused:
        client.list_deals()
    assert refused.value.transient
    assert client.calls == 3


def test_which_errors_pass_by_themselves() -> None:
    def met(answer: httpx2.Response) -> HubSpotError:
        with pytest.raises(HubSpotError) as refused:
            client_of(answer, patience=Patience(0, 0)).list_deals()
        return refused.value

    passing = [429, 423, 477, 408, 500, 502, 503, 504, 521, 523, 524, 530, 401]
    assert all(met(httpx2.Response(status)).transient for status in passing)
    assert not any(met(httpx2.Response(status)).transient for status in (302, 400, 403, 404, 414, 415))
    assert (met(httpx2.Response(503, headers={"Retry-After": "20"})).until or now()) > now() + timedelta(seconds=15)


def test_every_attempt_tells_the_budget_what_its_answer_tells() -> None:
    headers = {
        "X-HubSpot-RateLimit-Max": "110",
        "X-HubSpot-RateLimit-Remaining": "108",
        "X-HubSpot-RateLimit-Interval-Milliseconds": "10000",
    }
    answers: Iterator[httpx2.Response | Exception] = iter(
        [
            httpx2.ReadTimeout("late"),
            httpx2.Response(429, json=TEN_SECONDLY, headers={**headers, "X-HubSpot-RateLimit-Remaining": "0"}),
            httpx2.Response(429, json=SECONDLY),
            httpx2.Response(502),
            httpx2.Response(200, json={"results": [DEAL]}, headers=headers),
        ]
    )

    def handler(request: httpx2.Request) -> httpx2.Response:
        outcome = next(answers)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    budget = Spending()
    with client_of(handler, budget=budget) as client:
        client.list_deals()
    assert budget.taken == ["general"] * 5
    assert budget.told == [None, Told(110, 0, 10.0), None, None, Told(110, 108, 10.0)]
    assert budget.rests == [None, 10.0, 1.0, None, None]
    assert budget.closed
    assert (client.calls, client.failed, client.rate_limited) == (5, 4, 2)


@pytest.mark.parametrize("odd", ["", "-1", "many", "1e3", "٣", "9" * 40])
def test_headers_that_make_no_sense_tell_nothing(odd: str) -> None:
    good = {"Max": "110", "Remaining": "7", "Interval-Milliseconds": "10000", "Daily": "900", "Daily-Remaining": "850"}
    full = {f"X-HubSpot-RateLimit-{name}": value for name, value in good.items()}
    assert told_by(httpx2.Headers({name.lower(): value for name, value in full.items()})) == Told(110, 7, 10.0, 50)
    for name in ("Max", "Remaining", "Interval-Milliseconds"):
        assert told_by({**full, f"X-HubSpot-RateLimit-{name}": odd}) is None


def test_a_run_stops_when_more_than_5_percent_of_200_calls_failed_however_well_the_retries_went() -> None:
    for every, stops in ((19, True), (21, False)):
        attempts = iter(range(10**6))
        client = client_of(
            lambda request, attempts=attempts, every=every: (  # type: ignore[misc]
                httpx2.Response(502) if next(attempts) % every == 0 else httpx2.Response(200, json={"results": []})
            )
        )
        if stops:
            with pytest.raises(HubSpotDown, match="failed 11 of the last 200") as refused:
                for _ in range(300):
                    client.list_deals()
            assert client.calls == 200
            assert refused.value.until is not None
        else:
            for _ in range(300):
                client.list_deals()
            assert client.calls > 300


def test_waiting_has_a_budget_and_each_call_has_its_own() -> None:
    waited: list[float] = []
    client = client_of(
        httpx2.Response(429, json=TEN_SECONDLY), patience=Patience(retries=50, seconds=30), sleep=waited.append
    )
    for calls in (3, 6):
        with pytest.raises(RateLimited):
            client.list_deals()
        assert client.calls == calls
    assert sum(waited) <= 60


def test_the_retry_with_a_new_token_does_not_start_the_budget_anew() -> None:
    expired = httpx2.Response(401, json={"category": "EXPIRED_AUTHENTICATION"})
    answers = iter([httpx2.Response(502), expired, httpx2.Response(502), httpx2.Response(502)])
    client = client_of(lambda request: next(answers), patience=Patience(retries=2, seconds=30))
    with pytest.raises(HubSpotDown):
        client.list_deals()
    assert client.calls == 4


def test_calls_share_one_connection() -> None:
    connections: set[Any] = set()

    class Pages(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            connections.add(self.client_address)
            body = json.dumps({"results": [DEAL]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Stay quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        settings: dict[str, Any] = {"access_token": lambda *, force=False: TOKEN, "budget": Spending()}
        with Client(f"http://127.0.0.1:{server.server_port}", should_stop=lambda: False, **settings) as client:
            for _ in range(5):
                client.list_deals()
        server.shutdown()
    assert len(connections) == 1


def test_definitions_that_do_not_fit_are_done_without() -> None:
    stage = {"id": "won", "label": "Won", "metadata": {"isClosed": "true", "probability": None}}
    pipeline = {"id": "default", "label": "Sales", "stages": [stage]}
    odd = {"results": [pipeline, {**pipeline, "id": None}, "an-access-token"]}
    (found,) = client_of(httpx2.Response(200, json=odd)).pipelines()
    assert [(one.closed, one.probability) for one in found.stages] == [(True, None)]
    amount = {"name": "amount", "label": "Amount", "type": "number", "description": None, "groupName": None}
    odd = {"results": [amount, {**amount, "options": "an-access-token"}, {"name": "nameless"}]}
    assert [one.name for one in client_of(httpx2.Response(200, json=odd)).properties()] == ["amount"]
    account = client_of(httpx2.Response(200, json={"portalId": 7, "companyCurrency": None})).account()
    assert (account.portal_id, account.currency, account.timezone, account.ui_domain) == (7, None, None, None)
