"""Previews, reports, the inbox and picks in a real Chromium: accessible, fitting, and usable by keyboard alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from playwright.sync_api import Browser, expect

from awssome.control import messages as m
from awssome.database.sessions import Sessions
from awssome.domain.syncs import SyncKind
from awssome.domain.times import now
from tests.portal.conftest import Stage
from tests.portal.fake import Tenant
from tests.portal.test_browser import _check, visiting
from tests.portal.test_hubspot_pages import connect, issue, sync
from tests.portal.test_runs_pages import failure, pick, row
from tests.serving import served

pytestmark = pytest.mark.browser


@pytest.fixture
def port(stage: Stage) -> Iterator[int]:
    """Where the portal is served, on loopback."""
    with served(stage.app) as port:
        yield port


@pytest.fixture
def pages(stage: Stage, northwind: Tenant, sessions: Sessions) -> list[str]:
    """A workspace with a preview, a parked run's report, an inbox and picks; its pages."""
    connect(sessions, northwind, imports=1)
    at = now() - timedelta(hours=2)
    full = sync(
        sessions,
        northwind,
        at=at,
        deal_limit=None,
        mode="incremental",
        created=31,
        updated=1204,
        unchanged=9_800,
        archived=7,
        restored=2,
        merged=1,
        failed=2,
        left_out=14,
        calls=142,
        retried=3,
        rate_limited=1,
        seen=11_035,
    )
    for number in range(4):
        kind, field = (("failed", "deal_amount"), ("incomplete", "use_case"), ("skipped", "stage"))[number % 3]
        reason = "An amount has at most 4 digits after the point, and HubSpot has more; it was left empty."
        told = {"kind": kind, "field": field, "value": "1250.123456", "reason": reason, "advice": "Correct it there."}
        issue(sessions, northwind, full, title=f"Wingtip renewal {number}", **told)
    preview = sync(sessions, northwind, kind="preview", created=7, updated=2, unchanged=1, left_out=240, calls=3)
    changes = {"deal_amount": ["100", "250.5"], "stage": ["Prospect", "Qualified"], "next_steps": [None, "Call " * 30]}
    issue(sessions, northwind, preview, kind="would_update", title="Warehouse move", detail=changes, reason="")
    comes = {"title": [None, "Bäckerei Müller & Söhne GmbH"], "stage": [None, "Prospect"], "deal_amount": [None, "900"]}
    issue(sessions, northwind, preview, kind="would_create", title="Bäckerei Müller", detail=comes, reason="")
    left_out = {"kind": "left_out", "reason": "The free plan imports 10 deals.", "advice": "Upgrade to import it."}
    issue(sessions, northwind, preview, title="Relecloud – landing zone", **left_out)
    for deal_id in ("71", "72", "73"):
        failure(sessions, northwind, deal_id, title=f"Contoso – data platform with a rather long name {deal_id}")
    pick(sessions, northwind, "1", imported=True)
    pick(sessions, northwind, "2")
    stage.control.hubspot = [row(number, title=f"Fabrikam – migration, lot {number}") for number in range(1, 40)]
    stage.control.hubspot[:2] = [row(1, imported=True), row(2, picked=True)]
    stage.control.hubspot[2] = row(3, closed=True, amount=None, stage="")
    return ["/hubspot", f"/hubspot/syncs/{preview}", f"/hubspot/syncs/{full}", "/hubspot/inbox", "/hubspot/picks"]


@pytest.mark.parametrize("phone", [False, True], ids=["wide and light", "narrow and dark"])
def test_every_page_of_a_run_is_accessible_and_fits(
    chromium: Browser, stage: Stage, port: int, pages: list[str], phone: bool
) -> None:
    with visiting(chromium, stage, port, "alice", phone=phone) as page:
        _check(page, pages, accessible=pages)


def test_deals_are_picked_and_retried_by_keyboard(chromium: Browser, stage: Stage, port: int, pages: list[str]) -> None:
    with visiting(chromium, stage, port, "alice") as page:
        page.goto("/hubspot/picks")
        for name in ("Fabrikam – migration, lot 5", "Fabrikam – migration, lot 7"):
            page.get_by_label(f"Select {name}", exact=True).focus()
            page.keyboard.press("Space")
        expect(page.get_by_text("Selected 2")).to_be_visible()
        page.get_by_role("button", name="Pick these").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_text("2 deals picked.")).to_be_visible()
        assert ("pick_deals", m.Picks(add=["5", "7"])) in stage.control.calls
        page.goto("/hubspot/inbox")
        page.get_by_label("Select all on this page").focus()
        page.keyboard.press("Space")
        page.get_by_role("button", name="Try again", exact=True).focus()
        page.keyboard.press("Enter")
        expect(page.get_by_text("The deals are tried again.")).to_be_visible()
        started = [given for name, given in stage.control.calls if name == "start_sync"][-1]
        assert (started.kind, sorted(started.deal_ids)) == (SyncKind.RETRY, ["71", "72", "73"])
