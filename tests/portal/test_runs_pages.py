"""What a user sees of a run: previews, reports, the inbox, picks; and what can be done from there."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from awssome.control import messages as m
from awssome.database.schema import hubspot_mappings, hubspot_picks, sync_failures
from awssome.database.sessions import Sessions
from awssome.database.tenant import deals
from awssome.domain.deals import Stage as DealStage
from awssome.domain.errors import Code, Refused
from awssome.domain.syncs import SyncKind
from awssome.domain.times import new_id, now
from tests.portal.conftest import Browser, Stage
from tests.portal.fake import Tenant
from tests.portal.test_hubspot_pages import _run, connect, issue, sync

PORTAL = 4128831


@pytest.fixture
def alice(stage: Stage, northwind: Tenant, sessions: Sessions) -> Browser:
    connect(sessions, northwind)
    return stage.browser("alice")


def failure(sessions: Sessions, tenant: Tenant, deal_id: str, **values: Any) -> None:
    """As a sync leaves it."""
    row = {
        "portal_id": PORTAL,
        "deal_id": deal_id,
        "state": "open",
        "title": f"Deal {deal_id}",
        "code": "unwritable",
        "field": "deal_amount",
        "value": "1e400",
        "reason": "This amount is too large.",
        "advice": "Change Deal amount in HubSpot, then try it again.",
        "attempts": 2,
        "first_sync_id": new_id(),
        "last_sync_id": new_id(),
        "first_at": now() - timedelta(days=1),
        "last_at": now(),
        **values,
    }
    _run(sessions, tenant, lambda connection: connection.execute(sync_failures.insert().values(**row)))


def pick(sessions: Sessions, tenant: Tenant, deal_id: str, *, imported: bool = False) -> None:
    """Chosen, and perhaps here already."""
    row = {"portal_id": PORTAL, "deal_id": deal_id, "place": int(deal_id), "title": f"Pick {deal_id}"}
    row |= {"picked_by": "mia@example.com", "picked_at": now()}

    def work(connection: Any) -> None:
        connection.execute(hubspot_picks.insert().values(**row))
        if imported:
            values = {"title": f"Pick {deal_id}", "stage": DealStage.PROSPECT}
            mapping = {"portal_id": PORTAL, "deal_id": deal_id, "state": "live", "source_hash": b"\0" * 32}
            mapping |= {"registration_id": deals.create(connection, values, "HubSpot"), "created_at": now()}
            mapping |= {"first_sync_id": new_id(), "last_sync_id": new_id()}
            connection.execute(hubspot_mappings.insert().values(**mapping))

    _run(sessions, tenant, work)


def row(number: int, **values: Any) -> m.DealRow:
    """A deal of HubSpot's."""
    given = {"stage": "Contract sent", "amount": "1200.50", "currency": "USD", "created_at": now(), "closed": False}
    return m.DealRow(
        **{"deal_id": str(number), "title": f"Deal {number}", "imported": False, "picked": False} | given | values
    )


def test_a_preview_says_what_a_sync_would_do_and_leads_to_it(
    stage: Stage, alice: Browser, northwind: Tenant, sessions: Sessions
) -> None:
    assert alice.after(alice.send("/hubspot/preview", at="/hubspot")).status_code == 200
    assert stage.control.calls[-2:][0] != ("start_sync", None)
    assert ("start_sync", m.StartSync(kind=SyncKind.PREVIEW)) in stage.control.calls
    done = sync(sessions, northwind, kind="preview", created=7, updated=2, unchanged=1, left_out=240)
    detail = {
        "target_close_date": [None, "2027-03-31"],
        "deal_amount": ["100", "250.5"],
        "stage": ["Prospect", "Qualified"],
    }
    detail["deal_currency"] = ["EUR", "USD"]
    issue(sessions, northwind, done, kind="would_update", title="Warehouse", detail=detail, reason="")
    issue(
        sessions, northwind, done, kind="would_create", title="Fresh", detail={"stage": [None, "Prospect"]}, reason=""
    )
    page = alice.get("/hubspot").text
    assert "7 deals would come in, 2 would change" in page and "Nothing was changed yet." in page
    assert "Import these" in page and "Imported 10 of 250" not in page
    report = alice.get(f"/hubspot/syncs/{done}").text
    assert "€100 → $250.50" in report and "– → 31 Mar 2027" in report and "Import these" in report
    assert "Prospect → Qualified" in report and report.index("Stage:") < report.index("Close date:")
    assert "1 field filled in" in report
    only = alice.get(f"/hubspot/syncs/{done}?kind=would_create").text
    assert "Fresh" in only and "Warehouse" not in only
    assert "last sync" in alice.get("/").text.lower() and "none yet" in alice.get("/").text  # a preview is no sync


def test_a_preview_of_nothing_offers_nothing_to_import(alice: Browser, northwind: Tenant, sessions: Sessions) -> None:
    done = sync(sessions, northwind, kind="preview", created=0, updated=0, unchanged=10, left_out=0)
    for page in (alice.get("/hubspot").text, alice.get(f"/hubspot/syncs/{done}").text):
        assert "Nothing was changed yet." in page and "Import these" not in page


def test_a_run_of_another_kind_is_not_taken_for_the_one_that_was_asked_for(stage: Stage, alice: Browser) -> None:
    stage.control.running = SyncKind.IMPORT
    page = alice.after(alice.send("/hubspot/preview", at="/hubspot")).text
    assert "Another run is under way" in page
    assert "Another run is under way" in alice.after(alice.send("/hubspot/inbox", at="/hubspot", do="all")).text


def test_a_run_can_be_ended_and_says_by_whom(
    stage: Stage, alice: Browser, northwind: Tenant, sessions: Sessions
) -> None:
    running = sync(sessions, northwind, "running", available=None)
    assert "End this run" in alice.get("/hubspot").text
    assert "End this run" not in stage.browser("vera").get("/hubspot").text
    alice.send("/hubspot/cancel", at="/hubspot", sync_id=running)
    assert ("cancel_sync", running) in stage.control.calls
    stage.control.refusals["cancel_sync"] = Refused(Code.CONFLICT, "The run has ended already.", "Look at its report.")
    assert alice.send("/hubspot/cancel", at="/hubspot", sync_id=running).status_code == 409


def test_an_ended_run_is_neither_done_nor_failed(alice: Browser, northwind: Tenant, sessions: Sessions) -> None:
    ended = sync(sessions, northwind, "cancelled", problem="mia@example.com has ended this run.")
    for path in ("/hubspot", f"/hubspot/syncs/{ended}"):
        page = alice.get(path).text
        assert "mia@example.com has ended this run." in page and "did not finish" not in page, path
    assert "ended by somebody" in alice.get("/").text


def test_a_run_that_waits_says_why_and_until_when(alice: Browser, northwind: Tenant, sessions: Sessions) -> None:
    until = now() + timedelta(minutes=11, seconds=30)
    waiting = sync(
        sessions,
        northwind,
        "running",
        at=now() - timedelta(hours=1),
        available=None,
        seen=400,
        resume_at=until,
        problem="HubSpot does not answer right now.",
    )
    for path in ("/hubspot", f"/hubspot/syncs/{waiting}"):
        page = alice.get(path).text
        assert "goes on by itself in 11 min" in page and "HubSpot does not answer right now." in page, path
        assert "takes longer than usual" not in page


def test_a_report_tells_everything_of_a_run(alice: Browser, northwind: Tenant, sessions: Sessions) -> None:
    done = sync(
        sessions,
        northwind,
        deal_limit=None,
        mode="incremental",
        created=3,
        updated=6,
        archived=2,
        restored=1,
        merged=1,
        failed=1,
        left_out=4,
        calls=41,
        retried=5,
        rate_limited=2,
    )
    issue(
        sessions, northwind, done, kind="failed", title="Broken", field="deal_amount", value="1e400", code="unwritable"
    )
    issue(
        sessions, northwind, done, kind="skipped", title="Lost one", field="stage", reason="Your mapping leaves it out."
    )
    page = alice.get(f"/hubspot/syncs/{done}").text
    for told in ("2 archived, 1 restored, 1 merged", "41, 5 tried again, 2 held back by its limit", str(done)):
        assert told in page, told
    assert "what has changed in HubSpot" in page and "In HubSpot: “1e400”." in page
    assert "Failed (1)" in page and "Left out by your mapping (1)" in page
    assert "Lost one" not in alice.get(f"/hubspot/syncs/{done}?kind=failed").text
    assert alice.get(f"/hubspot/syncs/{done}?kind=would_create").status_code == 200
    assert "Lost one" in alice.get(f"/hubspot/syncs/{done}?kind=nonsense").text


def test_the_inbox_names_field_value_reason_and_what_to_do(
    stage: Stage, alice: Browser, northwind: Tenant, sessions: Sessions
) -> None:
    assert "No deal waits" in alice.get("/hubspot/inbox").text
    sync(sessions, northwind)
    failure(sessions, northwind, "71")
    failure(sessions, northwind, "72", state="retrying")
    failure(sessions, northwind, "73", state="resolved", resolved_at=now(), resolved_by="HubSpot")
    failure(sessions, northwind, "74", state="dismissed", resolved_by="mia@example.com")
    failure(sessions, northwind, "75", portal_id=1)  # of an account that was connected before
    page = alice.get("/hubspot/inbox").text
    for told in ("Deal amount", "“1e400”", "This amount is too large.", "Change Deal amount in HubSpot", "Waiting (2)"):
        assert told in page, told
    assert "Deal 71" in page and "Deal 72" in page and "Being tried again" in page
    assert "Deal 73" not in page and "Deal 74" not in page and "Deal 75" not in page
    assert "Deal 73" in alice.get("/hubspot/inbox?show=resolved").text
    assert "Deal 74" in alice.get("/hubspot/inbox?show=dismissed").text
    assert "2 deals could not be imported" in alice.get("/").text
    assert "2 deals could not be imported" in alice.get("/hubspot").text
    assert "Try all again" not in stage.browser("vera").get("/hubspot/inbox").text


def test_deals_of_the_inbox_are_tried_again_or_dismissed(
    stage: Stage, alice: Browser, northwind: Tenant, sessions: Sessions
) -> None:
    for deal_id in ("71", "72", "73"):
        failure(sessions, northwind, deal_id)
    alice.send("/hubspot/inbox", at="/hubspot/inbox", do="retry", selected=["71", "73"])
    assert ("start_sync", m.StartSync(kind=SyncKind.RETRY, deal_ids=["71", "73"])) in stage.control.calls
    alice.send("/hubspot/inbox", at="/hubspot/inbox", do="all")
    assert ("start_sync", m.StartSync(kind=SyncKind.RETRY)) in stage.control.calls
    page = alice.after(alice.send("/hubspot/inbox", at="/hubspot/inbox", do="dismiss", selected=["71", "99"])).text
    assert "1 deal dismissed." in page and "Waiting (2)" in page and "Dismissed (1)" in page
    assert "No deal was selected" in alice.after(alice.send("/hubspot/inbox", at="/hubspot/inbox", do="retry")).text
    assert stage.browser("vera").send("/hubspot/inbox", at="/", do="all").status_code == 403


def test_deals_are_picked_from_hubspots_list(
    stage: Stage, alice: Browser, northwind: Tenant, sessions: Sessions
) -> None:
    stage.control.hubspot = [row(number) for number in range(1, 31)]
    stage.control.hubspot[0] = row(1, imported=True)
    stage.control.hubspot[1] = row(2, picked=True)
    pick(sessions, northwind, "1", imported=True)
    pick(sessions, northwind, "2")
    page = alice.get("/hubspot/picks").text
    assert "9 of 10 places free" in page and "$1,200.50" in page and "Deal 25" in page and "Deal 26" not in page
    assert 'value="3"' in page and 'name="selected" value="1"' not in page and 'name="selected" value="2"' not in page
    assert "Deal 26" in alice.get("/hubspot/picks?after=25").text
    found = alice.get("/hubspot/picks?q=deal+30").text
    assert "Deal 30" in found and "Deal 3<" not in found
    alice.send("/hubspot/picks", at="/hubspot/picks", selected=["3", "4"])
    alice.send("/hubspot/picks", at="/hubspot/picks", remove="2")
    alice.send("/hubspot/picks", at="/hubspot/picks", clear="yes")
    asked = [given for name, given in stage.control.calls if name == "pick_deals"]
    assert asked == [m.Picks(add=["3", "4"]), m.Picks(remove=["2"]), m.Picks(clear=True)]
    assert "You have picked 1 deal that comes in with the next sync." in alice.get("/hubspot").text


def test_when_all_picks_have_come_in_no_rule_is_promised(alice: Browser, northwind: Tenant, sessions: Sessions) -> None:
    pick(sessions, northwind, "1", imported=True)
    page = alice.get("/hubspot").text
    assert "those that were picked have come in" in page and "oldest first. You can pick others" not in page


def test_too_many_picks_and_a_silent_hubspot_are_told_on_the_page(stage: Stage, alice: Browser) -> None:
    stage.control.hubspot = [row(1)]
    stage.control.refusals["pick_deals"] = Refused(
        Code.INVALID, "You picked 11 deals, and 10 places are left.", "Fewer."
    )
    answer = alice.send("/hubspot/picks", at="/hubspot/picks", selected=["1"])
    assert answer.status_code == 422 and "You picked 11 deals" in answer.text and "Deal 1" in answer.text
    stage.control.refusals["hubspot_deals"] = Refused(Code.UPSTREAM, "HubSpot does not answer.", "Try again.")
    page = alice.get("/hubspot/picks")
    assert "HubSpot does not answer" in page.text and "Nothing is picked" in page.text


def test_who_pays_or_has_no_connection_picks_nothing(stage: Stage, paulas: Tenant, sessions: Sessions) -> None:
    paula = stage.browser("paula", "paula.localhost:8000")
    assert paula.get("/hubspot/picks").headers["location"] == "/hubspot"
    connect(sessions, paulas)
    assert paula.get("/hubspot/picks").headers["location"] == "/hubspot"
    assert "Pick deals" not in paula.get("/hubspot").text


def test_forms_and_addresses_that_no_page_makes_end_in_no_defect(
    stage: Stage, alice: Browser, northwind: Tenant, sessions: Sessions
) -> None:
    failure(sessions, northwind, "71")
    for odd in ("\x00", "x" * 40, "", "7 1", "٣"):
        for do in ("retry", "dismiss"):
            answer = alice.send("/hubspot/inbox", at="/hubspot/inbox", do=do, selected=[odd])
            assert "No deal was selected" in alice.after(answer).text
        assert alice.send("/hubspot/picks", at="/hubspot/picks", selected=[odd], remove=odd).status_code == 303
    assert alice.get(f"/hubspot/inbox?after={10**30}").status_code == 200
