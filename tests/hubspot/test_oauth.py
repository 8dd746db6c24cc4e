"""Consent and tokens, against the sandbox and against answers that it does not give."""

from __future__ import annotations

import socket
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from awssome.domain.errors import Code, Refused
from awssome.hubspot import oauth
from awssome.hubspot.errors import BadCode, HubSpotDown, NeedsReconnect, RateLimited, Rejected
from awssome.hubspot.oauth import App

from .conftest import NORTHWIND, REDIRECT, SECRET, TAILSPIN, WINGTIP, Sandbox

REFRESH, ACCESS, CODE = "the-refresh-token", "the-access-token", "the-code"
SECRETS = (SECRET, REFRESH, ACCESS, CODE)


def answering(*answers: httpx2.Response | Exception) -> tuple[App, list[httpx2.Request]]:
    """An app whose HubSpot gives these answers in turn, the last one for ever, and the requests it got."""
    requests: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        answer = answers[min(len(requests), len(answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    transport = httpx2.MockTransport(handler)
    return App("https://api.example", "https://app.example/c", "id", SECRET, REDIRECT, transport), requests


def granted(**changes: Any) -> httpx2.Response:
    body = {"token_type": "bearer", "access_token": ACCESS, "refresh_token": "new", "expires_in": 1800}
    return httpx2.Response(200, json={key: value for key, value in {**body, **changes}.items() if value is not ...})


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Back-off without the waiting; how long it would have been is kept."""
    waited: list[float] = []
    monkeypatch.setattr("awssome.hubspot.transport.pause", lambda seconds, should_stop, sleep: waited.append(seconds))
    return waited


def test_in_production_the_user_consents_on_hubspots_own_page() -> None:
    app = oauth.app_for(None, "the-id", "s3cret", "https://freemium.example.com/hubspot/callback")
    assert app.base_url == "https://api.hubapi.com"
    address = urlsplit(oauth.authorize_url(app, "a state&more"))
    assert f"{address.scheme}://{address.netloc}{address.path}" == "https://app.hubspot.com/oauth/authorize"
    assert parse_qs(address.query) == {
        "client_id": ["the-id"],
        "redirect_uri": ["https://freemium.example.com/hubspot/callback"],
        "scope": ["oauth crm.objects.deals.read"],
        "state": ["a state&more"],
    }


def test_consent_gives_a_code_that_becomes_tokens_that_tell_whose_they_are(sandbox: Sandbox) -> None:
    back = sandbox.consent(WINGTIP, state="once-only")
    assert back["state"] == "once-only"
    tokens = oauth.exchange(sandbox.app(), back["code"])
    assert (tokens.hub_id, set(tokens.scopes)) == (WINGTIP, set(oauth.SCOPES))
    assert 1790 <= tokens.expires_in <= 1800
    installation = oauth.introspect(sandbox.app(), tokens.access_token)
    assert installation.hub_id == WINGTIP
    assert installation.hub_domain == "wingtip-robotics.de"
    assert installation.user.endswith("@wingtip-robotics.de")
    assert set(installation.scopes) == set(oauth.SCOPES)


def test_who_declines_comes_back_without_a_code(sandbox: Sandbox) -> None:
    assert sandbox.consent(NORTHWIND, decision="decline")["error"] == "access_denied"


def test_a_code_works_once(sandbox: Sandbox) -> None:
    code = sandbox.consent(NORTHWIND)["code"]
    oauth.exchange(sandbox.app(), code)
    with pytest.raises(BadCode) as refused:
        oauth.exchange(sandbox.app(), code)
    assert refused.value.code is Code.INVALID
    assert code not in str(refused.value)


def test_an_expired_code_is_no_good(sandbox: Sandbox) -> None:
    code = sandbox.consent(NORTHWIND)["code"]
    sandbox.order("codes/expire")
    with pytest.raises(BadCode):
        oauth.exchange(sandbox.app(), code)


def test_a_wrong_secret_or_redirect_address_is_told_as_a_setting(sandbox: Sandbox) -> None:
    code = sandbox.consent(NORTHWIND)["code"]
    elsewhere = oauth.app_for(sandbox.url, "awssome-app", SECRET, "http://localhost:1/elsewhere")
    for app in (sandbox.app(secret="wrong"), elsewhere):
        with pytest.raises(Rejected, match="does not recognise this platform's app") as refused:
            oauth.exchange(app, code)
        assert "client id, client secret and redirect address" in refused.value.advice


def test_a_refresh_gives_a_new_access_token_and_keeps_the_refresh_token(sandbox: Sandbox) -> None:
    tokens = sandbox.connect()
    fresh = oauth.refresh(sandbox.app(), tokens.refresh_token)
    assert fresh.access_token != tokens.access_token
    assert fresh.refresh_token == tokens.refresh_token


def test_a_refresh_token_that_hubspot_rotates_is_taken_over(sandbox: Sandbox) -> None:
    tokens = sandbox.connect()
    sandbox.order("tokens/rotation", on=True)
    fresh = oauth.refresh(sandbox.app(), tokens.refresh_token)
    assert fresh.refresh_token != tokens.refresh_token
    assert oauth.refresh(sandbox.app(), fresh.refresh_token).access_token
    with pytest.raises(NeedsReconnect):
        oauth.refresh(sandbox.app(), tokens.refresh_token)


@pytest.mark.parametrize("left_out", [..., None, ""])
def test_a_refresh_that_names_no_refresh_token_keeps_the_old_one(left_out: object) -> None:
    app, _ = answering(granted(refresh_token=left_out))
    assert oauth.refresh(app, REFRESH).refresh_token == REFRESH


def test_a_revoked_connection_needs_a_new_consent_and_can_be_revoked_again(sandbox: Sandbox) -> None:
    tokens = sandbox.connect(TAILSPIN)
    oauth.revoke(sandbox.app(), tokens.refresh_token, "refresh_token")
    with pytest.raises(NeedsReconnect, match="no longer accepts") as refused:
        oauth.refresh(sandbox.app(), tokens.refresh_token)
    assert refused.value.advice == "Connect HubSpot again."
    oauth.revoke(sandbox.app(), tokens.refresh_token, "refresh_token")


def test_revoking_a_token_that_hubspot_calls_bad_is_done() -> None:
    app, requests = answering(httpx2.Response(400, json={"status": "BAD_REFRESH_TOKEN", "message": "unknown"}))
    oauth.revoke(app, REFRESH, "refresh_token")
    assert len(requests) == 1


def test_an_uninstalled_app_has_no_tokens_left(sandbox: Sandbox) -> None:
    tokens = sandbox.connect(TAILSPIN)
    oauth.uninstall(sandbox.app(), tokens.access_token)
    for attempt in (
        lambda: oauth.refresh(sandbox.app(), tokens.refresh_token),
        lambda: oauth.introspect(sandbox.app(), tokens.access_token),
        lambda: oauth.uninstall(sandbox.app(), tokens.access_token),
    ):
        with pytest.raises(NeedsReconnect):
            attempt()


def test_a_code_is_never_sent_twice_when_the_answer_is_lost(sandbox: Sandbox) -> None:
    code = sandbox.consent(NORTHWIND)["code"]
    sandbox.order("faults", drop=[{"when": "after", "endpoint": "oauth.token"}])
    with pytest.raises(HubSpotDown):
        oauth.exchange(sandbox.app(), code)
    assert sandbox.statuses("oauth.token") == {"200": 1}


def test_a_code_is_sent_again_when_it_cannot_have_been_used() -> None:
    too_many = httpx2.Response(429, json={"message": "You have reached your secondly limit."})
    app, requests = answering(httpx2.ConnectError("refused"), too_many, granted())
    assert oauth.exchange(app, CODE).expires_in == 1800
    assert len(requests) == 3


def test_a_code_is_not_sent_again_after_a_failure_inside_hubspot() -> None:
    app, requests = answering(httpx2.Response(503), granted())
    with pytest.raises(HubSpotDown):
        oauth.exchange(app, CODE)
    assert len(requests) == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"fail": [{"status": 503, "times": 1, "endpoint": "oauth.token"}]},
        {"fail": [{"status": 524, "times": 1, "endpoint": "oauth.token"}]},
        {"drop": [{"when": "before", "endpoint": "oauth.token"}]},
        {"drop": [{"when": "after", "endpoint": "oauth.token"}]},
        {"drop": [{"when": "during", "endpoint": "oauth.token"}]},
    ],
    ids=str,
)
def test_a_refresh_gets_through_a_short_disturbance(sandbox: Sandbox, fault: dict[str, Any]) -> None:
    tokens = sandbox.connect()
    sandbox.order("faults", **fault)
    assert oauth.refresh(sandbox.app(), tokens.refresh_token).access_token


def test_a_refresh_is_tried_twice_at_most(sandbox: Sandbox, quick_retries: list[float]) -> None:
    tokens = sandbox.connect()
    sandbox.order("faults", fail=[{"status": 502, "times": 9, "endpoint": "oauth.token"}])
    with pytest.raises(HubSpotDown) as refused:
        oauth.refresh(sandbox.app(), tokens.refresh_token)
    assert refused.value.code is Code.UPSTREAM
    assert sandbox.statuses("oauth.token")["502"] == 2
    assert sum(quick_retries) <= 1


def test_what_a_request_may_take_in_all_is_divided_among_its_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The transaction in which a refresh is made has to end before the database ends it."""
    clock = [100.0]
    monkeypatch.setattr("awssome.hubspot.oauth.time.monotonic", lambda: clock[0])
    app, requests = answering(httpx2.ReadTimeout("late"))

    def let_time_pass(request: httpx2.Request) -> httpx2.Response:
        limits = request.extensions["timeout"]
        requests.append(request)
        clock[0] += 2 * limits["connect"] + limits["write"] + limits["read"] + limits["pool"]  # TLS connects again
        raise httpx2.ReadTimeout("late")

    app = replace(app, transport=httpx2.MockTransport(let_time_pass))
    for attempt in (lambda: oauth.refresh(app, REFRESH), lambda: oauth.introspect(app, ACCESS)):
        clock[0] = 100.0
        with pytest.raises(HubSpotDown):
            attempt()
        assert clock[0] - 100 <= oauth.LONGEST + 1
    first = requests[0].extensions["timeout"]
    assert (first["connect"], first["read"]) == (3.0, 8.0)


class Dribbling(BaseHTTPRequestHandler):
    """Answers one byte after the other, for a minute."""

    def do_POST(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1200")
        self.end_headers()
        with suppress(OSError):
            for _ in range(1200):
                self.wfile.write(b" ")
                time.sleep(0.05)

    def log_message(self, *_: object) -> None:
        pass


def test_an_answer_that_comes_byte_by_byte_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """No timeout of a single read would ever be over; the transaction in which a refresh is made would be."""
    monkeypatch.setattr(oauth, "LONGEST", 1.0)
    with ThreadingHTTPServer(("127.0.0.1", 0), Dribbling) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        app = oauth.app_for(f"http://127.0.0.1:{server.server_port}", "id", SECRET, REDIRECT)
        began = time.monotonic()
        with pytest.raises(HubSpotDown):
            oauth.refresh(app, REFRESH)
        server.shutdown()
        server.block_on_close = False
    assert time.monotonic() - began < 20  # and not a minute, twice


@pytest.mark.parametrize("status", [400, 401, 403, 404])
@pytest.mark.parametrize("body", [{}, {"status": "BAD_CLIENT_ID"}, {"category": "BANNED"}, {"status": "error"}])
def test_a_refusal_that_does_not_name_the_refresh_token_says_nothing_of_it(status: int, body: dict[str, str]) -> None:
    app, _ = answering(httpx2.Response(status, json=body))
    with pytest.raises(Rejected):
        oauth.refresh(app, REFRESH)


def test_no_server_at_all_is_hubspot_down() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        app = oauth.app_for(f"http://127.0.0.1:{taken.getsockname()[1]}/", "id", "s3cret", REDIRECT)
        with pytest.raises(HubSpotDown):
            oauth.introspect(app, ACCESS)


def test_too_many_requests_for_longer_than_a_page_can_wait_is_told_with_a_time() -> None:
    app, requests = answering(httpx2.Response(429, json={"policyName": "TEN_SECONDLY_ROLLING"}))
    with pytest.raises(RateLimited) as refused:
        oauth.refresh(app, REFRESH)
    assert len(requests) == 1
    assert refused.value.code is Code.LIMITED
    assert 10 <= (refused.value.retry_after or 0) <= 12


@pytest.mark.parametrize(
    "address",
    [
        "https://app.hubspot.com/marketplace-install/4128831?step=done&app=awssome",
        "https://app-eu1.hubspot.com/x",
        "https://hubspot.com",
    ],
)
def test_a_user_who_began_at_hubspot_goes_back_there_with_our_state(address: str) -> None:
    app = oauth.app_for(None, "the-id", "s3cret", REDIRECT)
    oauth.check_return_url(app, address)
    back = urlsplit(oauth.with_state(address, "a state&more"))
    assert address.startswith(f"{back.scheme}://{back.netloc}")
    assert parse_qs(back.query) == {**parse_qs(urlsplit(address).query), "state": ["a state&more"]}


@pytest.mark.parametrize(
    "address",
    [
        "",
        "/relative",
        "//evil.example",
        "http://app.hubspot.com/",
        "https://hubspot.com.evil.example/",
        "https://evilhubspot.com/",
        "https://app.hubspot.com@evil.example/",
        "https://evil.example/?app.hubspot.com",
        "https://evil.example\\.hubspot.com/",
        "https://evil.example#.hubspot.com",
        "https://app.hubspot.com:8443/",
        "https:app.hubspot.com",
        "https:///app.hubspot.com",
        "javascript:alert(1)//app.hubspot.com",
        "https://app.hubspot.com/\r\nSet-Cookie: a=b",
        " https://app.hubspot.com/",
        "https://app.hubspot.com/\n",
        "https://app.hubspot.com/" + "a" * 2_000,
        "http://127.0.0.1:9/",
    ],
)
def test_nobody_is_sent_back_to_anywhere_else(address: str) -> None:
    with pytest.raises(Refused) as refused:
        oauth.check_return_url(oauth.app_for(None, "the-id", "s3cret", REDIRECT), address)
    assert refused.value.code is Code.INVALID


def test_a_sandbox_is_gone_back_to_and_nothing_else() -> None:
    app = oauth.app_for("http://127.0.0.1:9/", "the-id", "s3cret", REDIRECT)
    oauth.check_return_url(app, "http://127.0.0.1:9/marketplace/done?a=b")
    for address in ("http://127.0.0.1:90/", "https://127.0.0.1:9/", "https://app.hubspot.com/"):
        with pytest.raises(Refused):
            oauth.check_return_url(app, address)


def test_credentials_travel_in_the_body_and_nowhere_else() -> None:
    app, requests = answering(granted())
    oauth.exchange(app, CODE)
    request = requests[0]
    assert (request.method, request.url.path) == ("POST", "/oauth/2026-03/token")
    assert parse_qs(request.content.decode()) == {
        "grant_type": ["authorization_code"],
        "code": [CODE],
        "redirect_uri": [REDIRECT],
        "client_id": ["id"],
        "client_secret": [SECRET],
    }
    assert "authorization" not in request.headers
    assert not request.url.query


def test_nothing_that_can_be_shown_holds_a_secret(sandbox: Sandbox) -> None:
    tokens = sandbox.connect()
    shown = f"{tokens!r} {tokens} {sandbox.app()!r} {sandbox.app()}"
    for secret in (tokens.access_token, tokens.refresh_token, SECRET):
        assert secret not in shown


def echo(request: httpx2.Request) -> httpx2.Response:
    """An answer that quotes everything it was sent, as an unlucky gateway may."""
    quoted = request.content.decode() + str(request.headers)
    return httpx2.Response(400, json={"status": quoted, "category": quoted, "message": quoted, "correlationId": quoted})


@pytest.mark.parametrize(
    "answer",
    [
        echo,
        httpx2.Response(200, text=f"<html>{REFRESH} {ACCESS}</html>"),
        httpx2.Response(200, json=[REFRESH]),
        httpx2.Response(200, json={"access_token": ACCESS}),
        granted(expires_in=f"{ACCESS} soon"),
        granted(access_token=f"{ACCESS}\nX-Header: 1"),
        granted(access_token=f"{ACCESS}ünsafe"),
        httpx2.Response(400, json={"status": "BAD_REFRESH_TOKEN", "message": f"{REFRESH} is bad"}),
        httpx2.Response(418, text=REFRESH),
        httpx2.Response(302, headers={"Location": f"https://elsewhere.example/?{REFRESH}"}),
        httpx2.LocalProtocolError(f"Illegal header value b'Bearer {ACCESS}'"),
        httpx2.ReadTimeout(REFRESH),
    ],
)
def test_no_error_holds_a_secret_whatever_hubspot_answers(
    answer: httpx2.Response | Exception | Callable[[httpx2.Request], httpx2.Response],
) -> None:
    if callable(answer):
        app = App("https://api.example", "https://c", "id", SECRET, REDIRECT, httpx2.MockTransport(answer))
    else:
        app, _ = answering(answer)
    attempts: tuple[Callable[[], object], ...] = (
        lambda: oauth.refresh(app, REFRESH),
        lambda: oauth.exchange(app, CODE),
        lambda: oauth.introspect(app, ACCESS),
        lambda: oauth.uninstall(app, ACCESS),
    )
    errors = []
    for attempt in attempts:
        try:
            attempt()
        except Refused as error:
            errors.append(error)
    assert errors
    for error in errors:
        shown = "".join(traceback.format_exception(error)) + error.message + error.advice + repr(error)
        assert error.__context__ is None
        assert [secret for secret in SECRETS if secret in shown] == []
