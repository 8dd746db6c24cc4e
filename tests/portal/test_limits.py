"""What a tenant meets when it asks too much, over real HTTP; and that nobody else meets it."""

from __future__ import annotations

import csv
import io
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import httpx2
import pytest
import structlog

from awssome.database.sessions import Sessions
from awssome.database.tenant import deals
from awssome.domain.addresses import neighbourhood
from awssome.domain.deals import Stage as DealStage
from awssome.domain.limits import LIMITS, VISITOR, Limits, Pace
from awssome.domain.tenants import Tier
from awssome.domain.times import now
from awssome.portal import admission
from awssome.portal.app import Options, create
from awssome.portal.guard import SESSION_COOKIE
from awssome.portal.limiter import Reason
from awssome.web.security import FormToken
from tests.engines import eventually
from tests.portal.conftest import ADDRESSES, SHARED, Stage
from tests.portal.fake import Tenant
from tests.serving import served

SMALL = {tier: replace(limits, requests=Pace(0.25, 6, at_once=3)) for tier, limits in LIMITS.items()}
WAIT = 4
"""Seconds until a tenant that has used up its burst may make one more request."""


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals come at once, so that a test is through before the tenant may go on."""
    monkeypatch.setattr(admission, "PATIENCE_SECONDS", 0.001)


@contextmanager
def portal(stage: Stage, sessions: Sessions, limits: dict[Tier, Limits] = SMALL) -> Iterator[Any]:
    """The portal as a server of its own; opens clients of it by (name, host)."""
    app = create(Options(control=stage.control.control, sessions=sessions, addresses=ADDRESSES, limits=limits))
    opened: list[httpx2.Client] = []
    with served(app) as port:

        def client(name: str = "", host: str = SHARED) -> httpx2.Client:
            token = stage.control.session(f"{name}@example.com") if name else "made-up"
            made = httpx2.Client(
                base_url=f"http://127.0.0.1:{port}",
                headers={"Host": host, "Cookie": f"{SESSION_COOKIE}={token}", "Origin": f"http://{host}"},
                timeout=30,
            )
            opened.append(made)
            return made

        client.limiter = app.state.parts.limiter  # type: ignore[attr-defined]
        client.port = port  # type: ignore[attr-defined]
        yield client
        for each in opened:
            each.close()


def flood(client: httpx2.Client) -> None:
    """Ask until it is refused."""
    assert client.get("/deals").status_code == 200
    for _ in range(50):
        if client.get("/deals").status_code == 429:
            return
    raise AssertionError("nothing was refused")


def test_too_much_is_told_as_page_piece_text_and_json(stage: Stage, northwind: Tenant, sessions: Sessions) -> None:
    with portal(stage, sessions) as client:
        alice = client("alice")
        flood(alice)
        asked = stage.control.asked
        answers = {
            "page": alice.get("/deals"),
            "fragment": alice.get("/deals", headers={"X-Fragment": "1"}),
            "csv": alice.get("/deals.csv"),
            "json": alice.get("/deals", headers={"Accept": "application/json"}),
        }
        assert stage.control.asked == asked
    for answer in answers.values():
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["Retry-After"]) <= WAIT
        assert "Content-Security-Policy" in answer.headers
        assert answer.headers["Cache-Control"] == "no-store"
        assert "More requests came from your workspace" in answer.text
        assert "Nothing was changed" in answer.text
        assert f"Wait {answer.headers['Retry-After']} second" in answer.text
    assert "<!doctype html>" in answers["page"].text and "Reference" not in answers["page"].text
    assert "<!doctype html>" not in answers["fragment"].text and 'role="alert"' in answers["fragment"].text
    assert answers["csv"].headers["content-type"].startswith("text/plain")
    assert answers["json"].json()["error"]["code"] == "limited"


def test_a_form_that_is_refused_can_be_sent_again_and_says_so(
    stage: Stage, northwind: Tenant, sessions: Sessions
) -> None:
    with portal(stage, sessions) as client:
        alice = client("alice")
        flood(alice)
        token = str(FormToken(alice.headers["Cookie"].partition("=")[2], None))
        form = {"csrf_token": token, "title": "Typed with care", "stage": str(DealStage.QUALIFIED)}
        refused = alice.post("/deals/new", data=form)
        assert refused.status_code == 429
        assert "what you typed once more; nothing of it is lost" in refused.text
        time.sleep(int(refused.headers["Retry-After"]))
        assert alice.post("/deals/new", data=form).status_code == 303  # what the browser's reload does
        assert northwind.placement is not None
        with sessions.open(northwind.placement) as connection:
            assert deals.count(connection, deals.Filters(), today=now().date()) == 1


def test_who_waits_as_long_as_told_goes_on_and_the_tenant_is_one_for_all_its_people(
    stage: Stage, northwind: Tenant, sessions: Sessions
) -> None:
    with portal(stage, sessions) as client:
        alice, mia = client("alice"), client("mia")
        assert mia.get("/deals").status_code == 200
        flood(alice)
        refused = mia.get("/deals")
        assert refused.status_code == 429
        time.sleep(int(refused.headers["Retry-After"]))
        assert mia.get("/deals").status_code == 200


def test_another_tenant_and_what_is_not_counted_are_served_as_ever(
    stage: Stage, northwind: Tenant, bikes: Tenant, sessions: Sessions
) -> None:
    stop, seen = threading.Event(), Counter[int]()

    def floods(alice: httpx2.Client) -> None:
        while not stop.is_set():
            seen[alice.get("/deals").status_code] += 1

    with portal(stage, sessions) as client, ThreadPoolExecutor(8) as threads:
        bob, crowd = client("bob"), [client("alice") for _ in range(8)]
        assert bob.get("/deals").status_code == 200
        flooding = [threads.submit(floods, alice) for alice in crowd]
        for _ in range(4):
            time.sleep(0.5)
            assert bob.get("/deals").status_code == 200
            assert bob.get("/healthz").status_code == 200
            assert bob.get("/static/none.css").status_code == 404
        stop.set()
        for each in flooding:
            each.result()
        assert seen[429] > seen[200]
        counts = client.limiter.refused
        assert sum(counts[Tier.FREE, reason] for reason in Reason) == seen[429] - counts["visitor", Reason.AT_ONCE]


def test_what_only_begins_like_an_address_that_is_not_counted_is_counted(
    stage: Stage, northwind: Tenant, sessions: Sessions
) -> None:
    with portal(stage, sessions) as client:
        alice = client("alice")
        flood(alice)
        assert [alice.get(path).status_code for path in ("/healthz", "/healthz-not", "/metricsx")] == [200, 429, 429]


def test_made_up_sessions_do_not_become_questions_to_the_central_api(
    stage: Stage, northwind: Tenant, sessions: Sessions
) -> None:
    with portal(stage, sessions) as client:
        alice = client("alice")
        assert alice.get("/deals").status_code == 200
        asked = stage.control.asked
        seen: Counter[int] = Counter()
        with ThreadPoolExecutor(16) as threads:
            junk = [client() for _ in range(16)]
            for number, each in enumerate(junk):
                each.headers["Cookie"] = f"{SESSION_COOKIE}=made-up-{number}"
            began = time.monotonic()
            for status in threads.map(lambda each: each.get("/deals").status_code, junk * 20):
                seen[status] += 1
            lasted = time.monotonic() - began
        refused = junk[0].get("/deals", headers={"X-Fragment": "1"})
        assert alice.get("/deals").status_code == 200  # the same address, but a tenant
        assert seen[429] > 200
        assert stage.control.asked - asked <= VISITOR.burst + VISITOR.per_second * (lasted + 1) + 1
        assert set(seen) == {303, 429}
    assert refused.status_code in (401, 429)


def test_requests_at_once_are_limited_and_slow_ones_hold_up_nobody_else(
    stage: Stage, northwind: Tenant, bikes: Tenant, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go_on = threading.Semaphore(0), threading.Event()
    context = stage.control.context

    def slow(caller: Any) -> Any:
        if caller.agent == "slow":
            entered.release()
            assert go_on.wait(20)
        return context(caller)

    monkeypatch.setattr(stage.control, "context", slow)
    roomy = {tier: replace(limits, requests=Pace(1000, 1000, at_once=3)) for tier, limits in LIMITS.items()}
    with portal(stage, sessions, roomy) as client, ThreadPoolExecutor(3) as threads:
        crowd, alice, bob = [client("alice") for _ in range(3)], client("alice"), client("bob")
        for each in [*crowd, alice, bob]:
            assert each.get("/deals").status_code == 200
        # The page of the plan asks the central API each time.
        hanging = [threads.submit(each.get, "/plan", headers={"User-Agent": "slow"}) for each in crowd]
        for _ in crowd:
            assert entered.acquire(timeout=20)
        refused = alice.get("/deals")
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        assert "at once" in refused.text
        assert bob.get("/deals").status_code == 200
        go_on.set()
        assert [each.result().status_code for each in hanging] == [200] * 3
        assert alice.get("/deals").status_code == 200


def test_forms_that_never_arrive_keep_no_place(
    stage: Stage, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "BODY_SECONDS", 2.0)
    head = f"POST /sign-in HTTP/1.1\r\nHost: {SHARED}\r\nContent-Length: 1000\r\n\r\nemail="
    with portal(stage, sessions) as client, ExitStack() as open_sockets:
        slow = [
            open_sockets.enter_context(socket.create_connection(("127.0.0.1", client.port)))
            for _ in range(VISITOR.at_once)
        ]
        for each in slow:
            each.settimeout(20)
            each.sendall(head.encode())
        visitor = client()
        eventually(lambda: visitor.get("/sign-in").status_code == 429)
        for each in slow:
            each.sendall(b"a")
            assert each.recv(100).startswith(b"HTTP/1.1 408 ")
        assert visitor.get("/sign-in").status_code == 200


def test_a_flood_is_one_line_a_minute_in_the_log_and_in_the_audit_log(
    stage: Stage, northwind: Tenant, sessions: Sessions
) -> None:
    with portal(stage, sessions) as client, structlog.testing.capture_logs() as lines:
        alice = client("alice")
        flood(alice)
        for _ in range(5):
            assert alice.get("/deals").status_code == 429
    told = [line for line in lines if line["event"] == "limited"]
    assert [(line["who"], line["kind"], line["refused"]) for line in told] == [(str(northwind.id), "free", 1)]
    reported = [what for who, what in stage.control.denials if what.startswith("limit")]
    assert reported == [f"limit: too many {Reason.PACE}"]
    assert not any(SESSION_COOKIE in str(line) or "session-" in str(line) for line in lines)


def test_a_refusal_costs_no_thread(
    stage: Stage, northwind: Tenant, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Far more refused callers than there are threads wait for their answers together."""
    monkeypatch.setattr(admission, "PATIENCE_SECONDS", 3.0)
    with portal(stage, sessions) as client, ThreadPoolExecutor(100) as threads:
        alice = client("alice")
        flood(alice)
        began = time.monotonic()
        answers = list(threads.map(lambda _: alice.get("/deals").status_code, range(100)))
        assert answers.count(429) >= 95
        assert time.monotonic() - began < 8  # the server has 40 threads: one each would take 9 s


def test_a_browser_that_opens_many_pages_together_meets_no_limit(
    stage: Stage, northwind: Tenant, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "PATIENCE_SECONDS", 6.0)
    two = {tier: replace(limits, requests=Pace(1000, 1000, at_once=2)) for tier, limits in LIMITS.items()}
    with portal(stage, sessions, two) as client, ThreadPoolExecutor(6) as threads:
        tabs = [client("alice") for _ in range(6)]
        assert [tab.get("/deals").status_code for tab in tabs] == [200] * 6
        together = threading.Barrier(6)

        def opens(tab: httpx2.Client) -> int:
            together.wait()
            return tab.get("/deals").status_code

        # Two are worked on, two come in after half the time, two after all of it.
        assert list(threads.map(opens, tabs)) == [200] * 6


def test_a_person_without_a_tenant_has_a_limit_of_their_own(stage: Stage, sessions: Sessions) -> None:
    with portal(stage, sessions) as client:
        charlie = client("charlie")
        seen = [charlie.get("/deals").status_code for _ in range(12)]
        assert 429 in seen
        assert set(seen) <= {303, 403, 429}


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_of_ipv6_a_network_is_counted_not_its_addresses(address: str, network: str) -> None:
    assert neighbourhood(address) == network


def test_an_export_of_many_deals_comes_in_files_that_lead_to_each_other(
    stage: Stage, northwind: Tenant, sessions: Sessions
) -> None:
    assert northwind.placement is not None
    with sessions.open(northwind.placement) as connection:
        for number in range(10):
            values = {"title": f"Deal {number}", "stage": DealStage.QUALIFIED}
            deals.create(connection, values, "alice@example.com")
    roomy = {tier: replace(limits, export_rows=4) for tier, limits in LIMITS.items()}
    with portal(stage, sessions, roomy) as client:
        alice, path, files = client("alice"), "/deals.csv?q=deal", []
        page = alice.get("/deals").text
        assert "An export holds 4 of these 10 deals" in page
        while path and len(files) < 5:
            rows = list(csv.reader(io.StringIO(alice.get(path).content.decode("utf-8-sig"), newline="")))
            told = rows.pop()[0] if len(rows[-1]) == 1 else ""
            files.append([row[0] for row in rows[1:]])
            found = re.fullmatch(r"4 deals are in this file, more are left. Next: http://freemium.localhost(.*)", told)
            assert bool(found) == bool(told)
            path = re.sub(r"^:\d+", "", found[1]) if found else ""
    assert files == [[f"Deal {number}" for number in part] for part in (range(4), range(4, 8), range(8, 10))]
    with portal(stage, sessions) as client:
        assert "An export holds" not in client("alice").get("/deals?q=Deal+1").text


def test_who_has_left_the_tenant_is_not_counted_as_the_tenant_for_long(
    stage: Stage, northwind: Tenant, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("awssome.portal.context.KNOWN_SECONDS", 0.5)
    with portal(stage, sessions) as client:
        mia, alice = client("mia"), client("alice")
        assert mia.get("/deals").status_code == alice.get("/deals").status_code == 200
        time.sleep(0.6)
        seen = Counter(mia.get("/sign-in").status_code for _ in range(10))
        assert seen[429] == 0
        assert alice.get("/deals").status_code == 200
