"""Rate limits of the HubSpot sandbox, and what goes wrong on order."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awssome_sandbox.hubspot.limits import RollingLimit

from .conftest import CLIENT_ID, DEALS, NORTHWIND, REDIRECT, TAILSPIN, WINGTIP, HubSpot, Start


@pytest.fixture(scope="module")
def limited(start_hubspot: Start) -> HubSpot:
    return start_hubspot("--deals", "20", "--app", f"app-two:secret-two:{REDIRECT}")


@pytest.fixture(scope="module")
def unlimited(start_hubspot: Start) -> HubSpot:
    return start_hubspot("--deals", "20", "--rate-limit", "off")


@pytest.fixture
def hubspot(unlimited: HubSpot) -> Iterator[HubSpot]:
    """A sandbox without limits; what a test orders ends with it."""
    yield unlimited
    unlimited.control("DELETE", "faults")


def test_110_calls_in_ten_seconds_pass_and_the_next_is_refused(limited: HubSpot) -> None:
    bearer = limited.bearer(NORTHWIND)
    first = limited.http.get(DEALS, headers=bearer)
    assert first.headers["X-HubSpot-RateLimit-Max"] == "110"
    assert first.headers["X-HubSpot-RateLimit-Remaining"] == "109"
    assert first.headers["X-HubSpot-RateLimit-Interval-Milliseconds"] == "10000"
    assert not [name for name in first.headers if "daily" in name.lower() or "secondly" in name.lower()]
    missing = limited.http.get(f"{DEALS}/1", headers=bearer)
    assert (missing.status_code, missing.headers["X-HubSpot-RateLimit-Remaining"]) == (404, "108"), (
        "errors tell it, too"
    )
    statuses = [limited.http.get(DEALS, headers=bearer).status_code for _ in range(108)]
    assert set(statuses) == {200}
    refused = limited.http.get("/crm/pipelines/2026-03/deals", headers=bearer)
    body = refused.json()
    assert refused.status_code == 429
    assert body["message"] == "You have reached your ten_secondly_rolling limit."
    assert (body["errorType"], body["policyName"]) == ("RATE_LIMIT", "TEN_SECONDLY_ROLLING")
    assert body["groupName"].startswith("publicapi:")
    assert refused.headers["X-HubSpot-RateLimit-Remaining"] == "0"
    assert "Retry-After" not in refused.headers
    code = limited.code(NORTHWIND, client_id="app-two")
    other = limited.exchange(code, client_id="app-two", client_secret="secret-two").json()["access_token"]
    assert limited.http.get(DEALS, headers={"Authorization": f"Bearer {other}"}).status_code == 200, (
        "each app has its own"
    )
    assert limited.http.get(DEALS, headers=limited.bearer(TAILSPIN)).status_code == 200, "each portal has its own"
    assert limited.http.post(f"{DEALS}/search", json={}, headers=bearer).status_code == 200, "searches do not count"
    assert limited.control("GET", "stats")["rate_limited"] == 1


def test_five_searches_a_second_pass_whatever_the_app_and_the_next_is_refused(limited: HubSpot) -> None:
    one = limited.bearer(WINGTIP)
    code = limited.code(WINGTIP, client_id="app-two")
    token = limited.exchange(code, client_id="app-two", client_secret="secret-two").json()["access_token"]
    two = {"Authorization": f"Bearer {token}"}
    began = time.monotonic()
    answers = [limited.http.post(f"{DEALS}/search", json={}, headers=h) for h in (one, two, one, two, one)]
    refused = limited.http.post(f"{DEALS}/search", json={}, headers=two)
    assert time.monotonic() - began < 1, "the machine is too slow for this test to say anything"
    assert [answer.status_code for answer in answers] == [200] * 5
    body = refused.json()
    assert (refused.status_code, body["category"]) == (429, "RATE_LIMITS")
    assert body["message"] == "You have reached your secondly limit."
    assert not {"errorType", "policyName"} & set(body)
    assert not [name for answer in (*answers, refused) for name in answer.headers if "ratelimit" in name.lower()]


def test_a_refused_call_does_not_count_and_the_window_rolls_on(limited: HubSpot) -> None:
    bearer = limited.bearer(TAILSPIN)
    passed, refused = [], 0
    began = time.monotonic()
    while len(passed) < 10 and time.monotonic() - began < 8:
        sent = time.monotonic()
        if limited.http.post(f"{DEALS}/search", json={}, headers=bearer).status_code == 200:
            passed.append((sent, time.monotonic()))
        else:
            refused += 1
    assert len(passed) == 10
    assert refused
    assert all(done - sent >= 1 for (sent, _), (_, done) in zip(passed, passed[5:], strict=False))


@settings(deadline=None)
@given(gaps=st.lists(st.sampled_from([0.0, 0.01, 0.3, 0.9, 1.0]), max_size=60), calls=st.integers(1, 5))
def test_no_window_ever_has_more_calls_than_it_may_and_none_that_fits_is_refused(gaps: list[float], calls: int) -> None:
    now = 100.0
    limit = RollingLimit(calls, 1.0, clock=lambda: now)
    taken: list[float] = []
    for gap in gaps:
        now += gap
        fits = sum(moment > now - 1.0 for moment in taken) < calls
        assert limit.take() is fits
        taken += [now] * fits
        assert limit.remaining == calls - sum(moment > now - 1.0 for moment in taken)


def test_without_limits_nothing_is_refused_and_no_header_is_told(hubspot: HubSpot) -> None:
    bearer = hubspot.bearer()
    answers = [hubspot.http.get(DEALS, params={"limit": 1}, headers=bearer) for _ in range(115)]
    assert {answer.status_code for answer in answers} == {200}
    assert "X-HubSpot-RateLimit-Max" not in answers[0].headers


@pytest.mark.parametrize("status", [423, 429, 477, 500, 502, 503, 504, 521, 530])
def test_a_failure_on_order_happens_as_often_as_ordered(hubspot: HubSpot, status: int) -> None:
    bearer = hubspot.bearer()
    hubspot.control("POST", "faults", {"fail": [{"status": status, "times": 2}]})
    answers = [hubspot.http.get(DEALS, headers=bearer) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [status, status, 200]
    assert ("Retry-After" in answers[0].headers) == (status == 477)


def test_a_failure_can_be_ordered_for_one_endpoint_and_say_when_to_come_back(hubspot: HubSpot) -> None:
    bearer = hubspot.bearer()
    hubspot.control("POST", "faults", {"fail": [{"status": 503, "endpoint": "deals.search", "retry_after": 7}]})
    assert hubspot.http.get(DEALS, headers=bearer).status_code == 200
    failed = hubspot.http.post(f"{DEALS}/search", json={}, headers=bearer)
    assert (failed.status_code, failed.headers["Retry-After"]) == (503, "7")


@pytest.mark.parametrize("when", ["before", "during", "after"])
def test_a_connection_is_cut_on_order(hubspot: HubSpot, when: str) -> None:
    bearer = hubspot.bearer()
    hubspot.control("POST", "faults", {"drop": [{"when": when}]})
    with pytest.raises(httpx2.TransportError):
        hubspot.http.get(DEALS, headers=bearer)
    assert hubspot.http.get(DEALS, headers=bearer).status_code == 200


def test_a_cut_after_the_call_leaves_it_done_and_one_before_leaves_it_undone(hubspot: HubSpot) -> None:
    hubspot.control("POST", "tokens/rotation", {"on": True})
    token = hubspot.connect()["refresh_token"]
    hubspot.control("POST", "faults", {"drop": [{"when": "before", "endpoint": "oauth.token"}]})
    with pytest.raises(httpx2.TransportError):
        hubspot.refresh(token)
    hubspot.control("POST", "faults", {"drop": [{"when": "after", "endpoint": "oauth.token"}]})
    with pytest.raises(httpx2.TransportError):
        hubspot.refresh(token)
    assert hubspot.refresh(token).status_code == 400, "the rotation was done and its answer lost"
    hubspot.control("POST", "tokens/rotation", {"on": False})


def test_latency_delays_each_answer(hubspot: HubSpot) -> None:
    bearer = hubspot.bearer()
    hubspot.control("POST", "faults", {"latency_ms": 150})
    began = time.monotonic()
    hubspot.http.get(DEALS, headers=bearer)
    assert time.monotonic() - began >= 0.15


@pytest.mark.parametrize(
    "order",
    [
        {"fail": [{"status": 200}]},
        {"fail": [{"times": 1}]},
        {"drop": [{"when": "never"}]},
        {"fail": [{"status": 500, "endpoint": "deals.lists"}]},
        {"fail": [{"status": 500, "times": 0}]},
        {"drip": []},
        {"latency_ms": "slow"},
        {"fail": 3},
    ],
)
def test_an_order_that_is_not_understood_is_refused_whole(hubspot: HubSpot, order) -> None:
    answer = hubspot.http.post("/_sandbox/faults", json={"short_search_pages": True, **order})
    assert answer.status_code == 400
    assert hubspot.control("GET", "faults")["short_search_pages"] is False


def test_calls_are_counted_by_endpoint_and_status(hubspot: HubSpot) -> None:
    bearer = hubspot.bearer()
    hubspot.control("DELETE", "stats")
    hubspot.http.get(DEALS, headers=bearer)
    hubspot.http.get(DEALS)
    hubspot.http.post(f"{DEALS}/search", json={}, headers=bearer)
    stats = hubspot.control("GET", "stats")
    assert stats["endpoints"] == {"deals.list": {"200": 1, "401": 1}, "deals.search": {"200": 1}}
    assert (stats["calls"], stats["rate_limited"]) == (3, 0)
    page = hubspot.http.get("/")
    assert "deals.search" in page.text
    assert CLIENT_ID in page.text
