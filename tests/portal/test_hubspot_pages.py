"""The HubSpot pages: connecting, declining, disconnecting, syncs while they run and afterwards."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from awssome.database.schema import hubspot_tokens, sync_history, sync_issues
from awssome.database.sessions import Sessions
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import Role, Tier
from awssome.domain.times import new_id, now
from tests.portal.conftest import SHARED, Browser, Stage
from tests.portal.fake import Tenant

_SYNC_BUTTON = re.compile(r'action="/hubspot/sync".*?<button[^>]*?( disabled|)>', re.DOTALL)


@pytest.fixture
def alice(stage: Stage, northwind: Tenant) -> Browser:
    return stage.browser("alice")


def connect(sessions: Sessions, tenant: Tenant, state: str = "connected", imports: int = 0, **values: Any) -> None:
    """As the central API leaves it."""
    row = {
        "id": 1,
        "state": state,
        "portal_id": 4128831,
        "hub_domain": "northwind-cloud.com",
        "scopes": "oauth crm.objects.deals.read",
        "access_token": b"sealed-access",
        "refresh_token": b"sealed-refresh",
        "connected_at": now(),
        "connected_by": "alice@example.com",
        "imports": imports,
        **values,
    }
    _run(sessions, tenant, lambda connection: connection.execute(hubspot_tokens.insert().values(**row)))


def sync(sessions: Sessions, tenant: Tenant, state: str = "done", at: datetime | None = None, **values: Any) -> UUID:
    """As a worker leaves it."""
    at = at or now() - timedelta(seconds=30)
    running = state in ("queued", "running")
    row = {
        "id": new_id(),
        "state": state,
        "attempt": 1,
        "requested_by": "mia@example.com",
        "deal_limit": 10,
        "available": 250,
        "imported": 10,
        "seen": 10,
        "created": 10,
        "updated": 0,
        "unchanged": 0,
        "left_out": 240,
        "failed": 0,
        "calls": 2,
        "requested_at": at,
        "started_at": None if state == "queued" else at,
        "finished_at": None if running else at + timedelta(seconds=4.2),
        "open_slot": 1 if running else None,
        **values,
    }
    _run(sessions, tenant, lambda connection: connection.execute(sync_history.insert().values(**row)))
    assert isinstance(row["id"], UUID)
    return row["id"]


def issue(sessions: Sessions, tenant: Tenant, sync_id: UUID, **values: Any) -> None:
    row = {"id": new_id(), "sync_id": sync_id, "kind": "failed", "deal_id": "1", "title": "", "field": "", "advice": ""}
    row |= {"reason": "It has no name.", **values}
    _run(sessions, tenant, lambda connection: connection.execute(sync_issues.insert().values(**row)))


def _run(sessions: Sessions, tenant: Tenant, work: Any) -> None:
    assert tenant.placement is not None
    with sessions.open(tenant.placement) as connection:
        work(connection)


def test_without_a_connection_there_is_one_button(alice: Browser) -> None:
    page = alice.get("/hubspot").text
    assert "HubSpot is not connected" in page and "Connect HubSpot" in page
    assert "Sync deals" not in page and "Disconnect" not in page


def test_connecting_goes_to_hubspot_and_comes_back_to_where_it_began(stage: Stage, alice: Browser) -> None:
    consent = alice.send("/hubspot/connect", at="/hubspot").headers["location"]
    assert consent.startswith("https://app.hubspot.com/oauth/authorize?")
    assert "https://app.hubspot.com" in alice.get("/hubspot").headers["content-security-policy"]
    bare = stage.visitor("localhost:8000").get("/hubspot/callback?state=state-1&code=the-code")
    assert bare.headers["location"] == f"http://{SHARED}/hubspot/finish?state=state-1&code=the-code"
    answer = alice.get("/hubspot/finish?state=state-1&code=the-code")
    assert answer.status_code == 303 and answer.headers["location"] == "/hubspot"
    assert "northwind-cloud.com 4128831" in alice.after(answer).text
    body = next(what for name, what in stage.control.calls if name == "connect_hubspot")
    assert (body.state, body.code) == ("state-1", "the-code")


def test_a_state_that_is_used_or_forged_leads_nowhere(stage: Stage, alice: Browser) -> None:
    alice.send("/hubspot/connect", at="/hubspot")
    bare = stage.visitor("localhost:8000")
    assert bare.get("/hubspot/callback?state=state-1&code=c").status_code == 303
    for query in ("state=state-1&code=c", "state=forged&code=c", "code=c", ""):
        answer = bare.get(f"/hubspot/callback?{query}")
        assert answer.status_code == 410 and "location" not in answer.headers
        assert "Connect again" in answer.text


def test_a_declined_consent_is_a_calm_page(stage: Stage, alice: Browser) -> None:
    alice.send("/hubspot/connect", at="/hubspot")
    answer = stage.visitor("localhost:8000").get(
        "/hubspot/callback?state=state-1&error=access_denied&error_description=The+user+did+not"
    )
    page = alice.get(answer.headers["location"].removeprefix(f"http://{SHARED}"))
    assert page.status_code == 200 and "The access was not granted" in page.text and "Connect again" in page.text
    assert all(name != "connect_hubspot" for name, _ in stage.control.calls)
    told = next(what for name, what in stage.control.calls if name == "decline_hubspot")
    assert (told.state, told.error) == ("state-1", "access_denied")  # the state is used up, too


def test_another_error_of_hubspots_is_told_as_one_and_not_as_a_choice(alice: Browser) -> None:
    page = alice.get("/hubspot/finish?state=s&error=server_error").text
    assert "HubSpot reports a problem" in page and "server_error" in page and "Connect again" in page
    assert "chose not to allow" not in page
    page = alice.get("/hubspot/finish?state=s&error=Call+%2B49+123+now%21").text
    assert "Call" not in page  # what anybody can write into a link is not shown


# --- installing from HubSpot's side

DONE = "https://app.hubspot.com/done"


def test_who_installs_at_hubspot_signs_in_chooses_and_goes_back_with_a_state(
    stage: Stage, alice: Browser, northwind: Tenant
) -> None:
    arrival = stage.visitor("localhost:8000").get(f"/hubspot/callback?step=authorize&returnUrl={DONE}")
    place = arrival.headers["location"].removeprefix(f"http://{SHARED}")
    assert arrival.status_code == 303 and place.startswith("/hubspot/install?returnUrl=")
    assert stage.visitor().get(place).headers["location"].startswith("/sign-in?next=%2Fhubspot%2Finstall")
    assert "Connect your HubSpot account to Northwind Cloud?" in alice.get(place).text
    assert all(name != "authorize_hubspot" for name, _ in stage.control.calls)  # nothing by a link alone
    answer = alice.send("/hubspot/install", at=place, return_url=DONE)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{DONE}?state=state-1")
    last = f"{DONE}/installed"  # not the address of the first step
    back = stage.visitor("localhost:8000").get(
        f"/hubspot/callback?step=finalize&code=the-code&state=state-1&returnUrl={last}"
    )
    finish = alice.get(back.headers["location"].removeprefix(f"http://{SHARED}"))
    assert (finish.status_code, finish.headers["location"]) == (303, last)
    body = next(what for name, what in stage.control.calls if name == "connect_hubspot")
    assert (body.state, body.code, body.return_url) == ("state-1", "the-code", last)


def test_who_declines_at_hubspot_before_there_is_a_state_is_told_so(stage: Stage, alice: Browser) -> None:
    answer = stage.visitor("localhost:8000").get("/hubspot/callback?error=access_denied&error_description=No")
    page = alice.get(answer.headers["location"].removeprefix(f"http://{SHARED}"))
    assert page.status_code == 200 and "The access was not granted" in page.text
    assert all(name not in ("decline_hubspot", "hubspot_callback") for name, _ in stage.control.calls)


def test_a_code_without_a_state_waits_until_somebody_says_yes(stage: Stage, alice: Browser, northwind: Tenant) -> None:
    arrival = stage.visitor("localhost:8000").get(f"/hubspot/callback?code=the-code&returnUrl={DONE}")
    place = arrival.headers["location"].removeprefix(f"http://{SHARED}")
    assert place == "/hubspot/install?install=install-1" and "the-code" not in arrival.text
    page = alice.get(place).text
    assert "Connect northwind-cloud.com to Northwind Cloud?" in page and "4128831" in page
    assert all(name not in ("claim_install", "connect_hubspot") for name, _ in stage.control.calls)
    for name in ("mia", "vera"):
        assert stage.browser(name).get(place).status_code == 403
        assert stage.browser(name).send("/hubspot/install", at="/", install="install-1").status_code == 403
    without_token = alice.client.post("/hubspot/install", data={"install": "install-1"})
    assert without_token.status_code in (400, 403)
    assert all(name != "claim_install" for name, _ in stage.control.calls)
    answer = alice.send("/hubspot/install", at=place, install="install-1")
    assert (answer.status_code, answer.headers["location"]) == (303, DONE)


def test_an_address_that_is_not_hubspots_is_led_back_to_by_nobody(stage: Stage, alice: Browser) -> None:
    refused = Refused(Code.INVALID, "The address that this link leads back to is not one of HubSpot's.", "Begin again.")
    stage.control.refusals["begin_install"] = stage.control.refusals["authorize_hubspot"] = refused
    bare, evil = stage.visitor("localhost:8000"), "https://evil.example/"
    answer = bare.get(f"/hubspot/callback?code=c&returnUrl={evil}")
    assert (answer.status_code, "location" in answer.headers) == (422, False)
    place = f"/hubspot/install?returnUrl={evil}"
    assert f'href="{evil}' not in alice.get(place).text
    answer = alice.send("/hubspot/install", at=place, return_url=evil)
    assert (answer.status_code, "location" in answer.headers) == (422, False)
    assert bare.get(f"/hubspot/callback?step=finalize&returnUrl={evil}").status_code == 422


def test_an_installation_can_be_for_another_workspace(stage: Stage, northwind: Tenant) -> None:
    second = stage.tenant("second", "Second Ltd", alice=Role.OWNER)
    alice = stage.browser("alice", chosen=northwind)
    place = "/hubspot/install?install=install-1"
    assert "Second Ltd" in alice.get(place).text
    answer = alice.send("/workspaces", at=place, tenant_id=second.id, next=place)
    assert answer.headers["location"] == place
    assert "to Second Ltd?" in alice.get(place).text
    assert alice.send("/workspaces", at=place, tenant_id=northwind.id, next="//evil.example").headers["location"] == "/"


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("uninstalled", "was uninstalled in HubSpot"),
        ("revoked", "was withdrawn in HubSpot"),
        ("scopes", "lacks a permission"),
        (None, "has withdrawn the access"),
    ],
)
def test_a_lost_connection_says_why_and_offers_to_reconnect(
    alice: Browser, stage: Stage, northwind: Tenant, sessions: Sessions, reason: str | None, told: str
) -> None:
    connect(sessions, northwind, "reconnect", lost_reason=reason, lost_at=now())
    page = alice.get("/hubspot").text
    assert told in page and ">Reconnect<" in page and "Disconnect" in page
    assert ">Reconnect<" not in stage.browser("mia").get("/hubspot").text


@pytest.mark.parametrize(
    "refused",
    [
        Refused(Code.GONE, "This answer of HubSpot is too old.", "Connect again."),
        Refused(Code.UPSTREAM, "HubSpot did not take the code.", "Connect again."),
        Refused(Code.CONFLICT, "Another free workspace uses this HubSpot account.", "Upgrade, or use that one."),
    ],
)
def test_a_connection_that_fails_is_told_on_the_page(stage: Stage, alice: Browser, refused: Refused) -> None:
    stage.control.refusals["connect_hubspot"] = refused
    answer = alice.get("/hubspot/finish?state=s&code=the-code")
    assert answer.status_code == refused.status
    assert refused.message in answer.text and "Connect HubSpot" in answer.text and "the-code" not in answer.text


def test_a_connection_is_shown_without_its_tokens(alice: Browser, northwind: Tenant, sessions: Sessions) -> None:
    connect(sessions, northwind)
    page = alice.get("/hubspot").text
    for shown in ("✓ HubSpot Connected", "northwind-cloud.com", "portal 4128831", "Sync deals", "Disconnect"):
        assert shown in page
    assert "sealed" not in page


def test_a_connection_that_no_longer_works_asks_to_connect_again(
    alice: Browser, northwind: Tenant, sessions: Sessions
) -> None:
    connect(sessions, northwind, "reconnect")
    page = alice.get("/hubspot").text
    assert "no longer lets Awssome in" in page and "Reconnect needed" in page and ">Reconnect<" in page
    assert "✓ HubSpot Connected" not in page and "/hubspot/sync" not in page
    assert "Connect HubSpot again." in alice.get("/").text


def test_disconnecting_says_what_hubspot_was_told(stage: Stage, alice: Browser) -> None:
    page = alice.after(alice.send("/hubspot/disconnect", at="/hubspot"))
    assert "HubSpot is disconnected. Your deals are kept." in page.text


def test_a_sync_is_started_once_and_followed(
    stage: Stage, alice: Browser, northwind: Tenant, sessions: Sessions
) -> None:
    connect(sessions, northwind)
    assert alice.send("/hubspot/sync", at="/hubspot").headers["location"] == "/hubspot"
    assert [name for name, _ in stage.control.calls].count("start_sync") == 1
    running = sync(
        sessions, northwind, "running", deal_limit=None, seen=184, created=171, updated=9, left_out=4, calls=3
    )
    page = alice.get("/hubspot").text
    assert 'data-poll="/hubspot/progress"' in page
    assert page.count(" disabled") >= 1 and "Syncing deals" in page
    piece = alice.get("/hubspot/progress", fragment=True).text
    for shown in ("<strong>184</strong> of 250 deals", "171 new", "9 updated", "4 left out", "3 HubSpot calls", "/s"):
        assert shown in piece
    ended = sync_history.update().where(sync_history.c.id == running)
    ended = ended.values(state="done", open_slot=None, finished_at=now(), imported=246)
    _run(sessions, northwind, lambda connection: connection.execute(ended))
    piece = alice.get("/hubspot/progress", fragment=True).text
    assert "data-reload" in piece and "data-poll" not in piece and "Imported 246 of 250 deals" in piece


def test_a_queued_sync_says_that_it_waits(alice: Browser, northwind: Tenant, sessions: Sessions) -> None:
    sync(sessions, northwind, "queued", available=None, seen=0, created=0, left_out=0, calls=0)
    assert "Waiting for its turn" in alice.get("/hubspot/progress", fragment=True).text


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_sync_whose_job_may_be_lost_can_be_started_again(
    stage: Stage, alice: Browser, northwind: Tenant, sessions: Sessions, state: str
) -> None:
    connect(sessions, northwind)
    opened = sync(sessions, northwind, state, at=now() - timedelta(seconds=60))
    for path in ("/", "/hubspot"):
        assert _SYNC_BUTTON.findall(alice.get(path).text)[0] == " disabled", path
    assert "data-reload" not in alice.get("/hubspot/progress", fragment=True).text
    then = {"requested_at": now() - timedelta(seconds=120)}
    then |= {"started_at": then["requested_at"]} if state == "running" else {}
    change = sync_history.update().where(sync_history.c.id == opened).values(**then)
    _run(sessions, northwind, lambda connection: connection.execute(change))
    assert "data-reload" in alice.get("/hubspot/progress", fragment=True).text, "the page is to offer its button"
    for path in ("/", "/hubspot"):
        assert _SYNC_BUTTON.findall(alice.get(path).text)[0] == "", path
    page = alice.get("/hubspot").text
    assert "longer than usual" in page and 'data-poll="/hubspot/progress?late=true"' in page
    assert "data-reload" not in alice.get("/hubspot/progress?late=true", fragment=True).text
    assert alice.send("/hubspot/sync", at="/hubspot").status_code == 303
    assert [name for name, _ in stage.control.calls].count("start_sync") == 1


def test_a_free_sync_names_the_limit_and_the_plan(alice: Browser, northwind: Tenant, sessions: Sessions) -> None:
    connect(sessions, northwind, imports=10)
    sync(sessions, northwind)
    page = alice.get("/hubspot").text
    assert "Imported 10 of 250 deals" in page and "(Free tier: 10 deals max)" in page
    assert "240 deals stayed in HubSpot" in page and 'href="/plan"' in page


def test_a_paid_sync_names_no_limit(stage: Stage, paulas: Tenant, sessions: Sessions) -> None:
    paula = stage.browser("paula", "paula.localhost:8000")
    sync(sessions, paulas, deal_limit=None, imported=250, left_out=0)
    page = paula.get("/hubspot").text
    assert "Imported 250 of 250 deals" in page and "Free tier" not in page


def test_an_old_free_sync_is_told_as_it_was_after_an_upgrade(
    stage: Stage, northwind: Tenant, sessions: Sessions
) -> None:
    old = sync(sessions, northwind)
    northwind.tier = Tier.PAID
    page = stage.browser("alice", "northwind.localhost:8000").get(f"/hubspot/syncs/{old}").text
    assert "(Free tier: 10 deals max)" in page and "See plans" not in page


def test_a_failed_sync_says_why_and_what_to_do(alice: Browser, northwind: Tenant, sessions: Sessions) -> None:
    connect(sessions, northwind)
    problem, advice = "HubSpot did not answer.", "Sync again in a few minutes."
    sync(sessions, northwind, "failed", available=None, problem=problem, advice=advice)
    page = alice.get("/hubspot").text
    assert problem in page and advice in page and "The sync did not finish." in page
    assert "The last sync did not finish." in alice.get("/").text


def test_the_report_tells_every_deal_that_was_left_out(alice: Browser, northwind: Tenant, sessions: Sessions) -> None:
    done = sync(sessions, northwind, failed=120)
    for number in range(120):
        issue(sessions, northwind, done, title=f"Deal {number:03}")
    page = alice.get("/hubspot").text
    assert "Deal 009" in page and "Deal 010" not in page and "All 120 in the report" in page
    report = alice.get(f"/hubspot/syncs/{done}").text
    assert "Deal 099" in report and "Deal 100" not in report and "It has no name." in report
    rest = alice.get(f"/hubspot/syncs/{done}?after=100").text
    assert "Deal 100" in rest and "Deal 119" in rest and "Deal 099" not in rest


def test_the_history_goes_back_page_by_page(alice: Browser, northwind: Tenant, sessions: Sessions) -> None:
    for hours in range(13):
        sync(sessions, northwind, at=now() - timedelta(hours=hours + 1), requested_by=f"who-{hours}@example.com")
    first = alice.get("/hubspot")
    assert "who-0@" in first.text and "who-9@" in first.text and "who-10@" not in first.text
    older = first.text.split('href="/hubspot?after=')[1].split('"')[0]
    second = alice.get(f"/hubspot?after={older}").text
    assert "who-10@" in second and "who-12@" in second and "who-9@" not in second
    assert alice.get("/hubspot?after=nonsense").status_code == 200


def test_a_sync_that_is_refused_is_told_on_the_page(
    stage: Stage, alice: Browser, northwind: Tenant, sessions: Sessions
) -> None:
    connect(sessions, northwind)
    stage.control.refusals["start_sync"] = Refused(Code.CONFLICT, "HubSpot is not connected.", "Connect HubSpot first.")
    answer = alice.send("/hubspot/sync", at="/hubspot")
    assert answer.status_code == 409 and "Connect HubSpot first." in answer.text


def test_a_sync_of_another_tenant_is_not_there(stage: Stage, alice: Browser, bikes: Tenant, sessions: Sessions) -> None:
    foreign = sync(sessions, bikes)
    assert alice.get(f"/hubspot/syncs/{foreign}").status_code == 404
    assert stage.control.denials == [("alice@example.com", "GET /hubspot/syncs/{sync_id}")]
