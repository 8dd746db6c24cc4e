"""What goes over the wire, letter by letter, and answers that the sandbox does not give."""

from __future__ import annotations

import json
import math
import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest

from awssome.hubspot.client import Client
from awssome.hubspot.errors import HubSpotDown, NeedsReconnect, RateLimited, Rejected
from awssome.hubspot.models import Filter, Search
from awssome.hubspot.transport import Lost, Patience, retry_delay

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
        "reserve": lambda kind, calls: None,
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
        [],
        {"results": None},
        {"results": [{**DEAL, "createdAt": "yesterday"}]},
        {"results": [{**DEAL, "properties": ["an-access-token"]}]},
        {"results": [{key: value for key, value in DEAL.items() if key != "id"}]},
        {"results": [DEAL], "paging": {"next": {"after": ["an-access-token"]}}},
    ],
)
def test_an_answer_that_does_not_fit_is_refused_without_quoting_it(body: object) -> None:
    with pytest.raises(Rejected, match="cannot be read") as refused:
        client_of(httpx2.Response(200, json=body)).list_deals()
    assert TOKEN not in "".join(traceback.format_exception(refused.value))
    assert refused.value.__context__ is None


@pytest.mark.parametrize("body", [{}, {"results": {}}, {"results": [{"id": 1}]}, {"results": ["text"]}])
def test_definitions_that_do_not_fit_are_refused(body: object) -> None:
    for call in (Client.pipelines, Client.properties):
        with pytest.raises(Rejected, match="cannot be read"):
            call(client_of(httpx2.Response(200, json=body)))


@pytest.mark.parametrize(
    "error",
    [
        {"category": "INTERNAL_ERROR", "context": {"ids": ["1"]}},
        {"category": "OBJECT_NOT_FOUND"},
        {"category": "OBJECT_NOT_FOUND", "context": {"ids": []}},
        "OBJECT_NOT_FOUND",
    ],
)
def test_a_batch_error_of_another_kind_never_counts_as_a_deleted_deal(error: object) -> None:
    body = {"status": "COMPLETE", "results": [], "numErrors": 1, "errors": [error]}
    with pytest.raises(Rejected, match="could not read some deals"):
        client_of(httpx2.Response(207, json=body)).batch_read_deals(["1"])


def test_a_missing_permission_is_named() -> None:
    body = {
        "status": "error",
        "message": "This app hasn't been granted all required scopes to make this call.",
        "category": "MISSING_SCOPES",
        "errors": [{"message": "…", "context": {"requiredGranularScopes": ["crm.objects.deals.read"]}}, "odd"],
    }
    with pytest.raises(NeedsReconnect, match=r"lacks a permission: crm\.objects\.deals\.read") as refused:
        client_of(httpx2.Response(403, json=body)).list_deals()
    assert refused.value.scopes == ("crm.objects.deals.read",)


def test_credentials_that_hubspot_does_not_know_end_the_connection_without_a_retry() -> None:
    client = client_of(httpx2.Response(401, json={"category": "INVALID_AUTHENTICATION", "message": "not found"}))
    with pytest.raises(NeedsReconnect):
        client.list_deals()
    assert client.calls == 1


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
        (httpx2.Response(429, json=SECONDLY, headers={"Retry-After": "7"}), 7, 7),
        (httpx2.Response(429, json=DAILY), math.inf, math.inf),
        (httpx2.Response(423), 2, 2.4),
        (httpx2.Response(477, headers={"Retry-After": "86400"}), 86400, 86400),
        (httpx2.Response(477), 60, 60),
        (httpx2.Response(500), 0.25, 0.5),
        (httpx2.Response(530), 0.25, 0.5),
        (httpx2.Response(408), 0.25, 0.5),
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


@pytest.mark.parametrize("status", [200, 207, 204, 301, 400, 401, 403, 404, 414])
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
    assert refused.value.retry_after is None


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
        settings: dict[str, Any] = {"access_token": lambda *, force=False: TOKEN, "reserve": lambda kind, calls: None}
        with Client(f"http://127.0.0.1:{server.server_port}", should_stop=lambda: False, **settings) as client:
            for _ in range(5):
                client.list_deals()
        server.shutdown()
    assert len(connections) == 1
