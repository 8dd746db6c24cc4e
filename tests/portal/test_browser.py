"""The portal's pages in a real Chromium: wide and narrow, light and dark, by keyboard, and while a sync runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, ViewportSize, expect

from awssome.control import messages as m
from awssome.database.schema import sync_history
from awssome.database.sessions import Sessions
from awssome.domain.archives import ArchiveState
from awssome.domain.deals import Stage as DealStage
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import Phase
from awssome.domain.tenants import Role, TenantState, Tier
from awssome.domain.times import new_id, now
from awssome.portal.guard import SESSION_COOKIE
from tests.portal.conftest import Stage
from tests.portal.fake import PASSWORD, Tenant, archive
from tests.portal.test_deal_pages import add, come_from_hubspot, in_workspace
from tests.portal.test_hubspot_pages import connect, issue, sync
from tests.portal.test_mapping_pages import define
from tests.portal.test_settings_pages import move, way_back
from tests.serving import served

pytestmark = pytest.mark.browser

DESKTOP = ViewportSize(width=1280, height=900)
PHONE = ViewportSize(width=375, height=812)

_LINES = """element => {
  const range = document.createRange();
  range.selectNodeContents(element);
  return new Set([...range.getClientRects()].map(({ top }) => top)).size;
}"""


@pytest.fixture
def port(stage: Stage) -> Iterator[int]:
    """Where the portal is served, on loopback."""
    with served(stage.app) as port:
        yield port


@contextmanager
def visiting(chromium: Browser, stage: Stage, port: int, name: str = "", *, phone: bool = False) -> Iterator[Page]:
    """A page of the free tenants' host; its scripts may raise no error and break no content security policy."""
    url = f"http://freemium.localhost:{port}"
    context = chromium.new_context(
        base_url=url, viewport=PHONE if phone else DESKTOP, color_scheme="dark" if phone else "light"
    )
    if name:
        token = stage.control.session(f"{name}@example.com")
        context.add_cookies([{"name": SESSION_COOKIE, "value": token, "url": url}])
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if "Policy" in message.text else None)
    yield page
    context.close()
    assert complaints == []


@pytest.mark.parametrize("phone", [False, True], ids=["wide and light", "narrow and dark"])
def test_every_page_is_accessible_and_fits(
    chromium: Browser, stage: Stage, northwind: Tenant, port: int, sessions: Sessions, phone: bool
) -> None:
    soon = now().date().replace(year=now().year + 1)
    deal_id = add(
        sessions,
        northwind,
        title="Bäckerei Müller & Söhne GmbH: contact centre with voice",
        customer_company="Fabrikam",
        customer_website="https://a-rather-long-name-of-a-customer.example/with/a/path",
        business_problem="They run their shop on three servers.\nThey want it in the cloud before the season.",
        deal_amount=Decimal("1250000.75"),
        deal_currency="EUR",
        target_close_date=soon,
    )
    come_from_hubspot(sessions, northwind, deal_id, ["customer_company"])
    add(sessions, northwind, title="Another")
    connect(sessions, northwind, imports=1)
    define(sessions, northwind)
    done = sync(sessions, northwind)
    issue(sessions, northwind, done, title="Wingtip renewal")
    stage.control.links["t"] = m.LinkInfo.model_validate(
        {"purpose": "invite", "email": "new@example.com", "company": "Northwind Cloud", "needs_password": True}
    )
    northwind.move = move(northwind, Phase.COPYING)
    pages = ["/", "/deals", f"/deals/{deal_id}", f"/deals/{deal_id}/edit", "/hubspot", f"/hubspot/syncs/{done}"]
    pages += ["/hubspot/mapping", "/hubspot/mapping/stages"]
    pages += ["/plan", "/people", "/account", "/workspaces", "/sign-up", "/deals?q=nothing-like-this"]
    for state in (ArchiveState.REQUESTED, ArchiveState.READY, ArchiveState.FAILED):
        exported = archive(northwind.id, state)
        stage.control.archives[exported.id] = exported
        pages.append(f"/people/export/{exported.id}")
    with visiting(chromium, stage, port, "alice", phone=phone) as page:
        _check(page, pages, accessible=pages[:3] if phone else pages)
    with visiting(chromium, stage, port, phone=phone) as page:
        pages = ["/", "/sign-up", "/sign-in", "/forgot", "/link?token=t", "/link?token=gone", "/no-such-page"]
        _check(page, pages, accessible=pages[:1] if phone else pages)


@pytest.mark.parametrize("phone", [False, True], ids=["wide", "narrow"])
def test_a_large_sum_stays_on_its_line_and_a_long_stage_beside_the_title(
    chromium: Browser, stage: Stage, northwind: Tenant, port: int, sessions: Sessions, phone: bool
) -> None:
    for number, reached in enumerate((DealStage.BUSINESS_VALIDATION, DealStage.TECHNICAL_VALIDATION)):
        title = f"Relecloud – landing zone {255 + number}"
        add(sessions, northwind, title=title, stage=reached, deal_amount=Decimal("115162560.51"), deal_currency="USD")
    with visiting(chromium, stage, port, "mia", phone=phone) as page:
        page.goto("/")
        assert page.locator(".tile", has_text="Open value").locator("dd").first.evaluate(_LINES) == 1
        page.goto("/deals")
        rows = page.locator("tbody tr").all()
        assert len(rows) == 2
        for row in rows:
            name, badge = row.locator("td.title a").bounding_box(), row.locator(".badge").first.bounding_box()
            assert name is not None and badge is not None
            assert name["x"] + name["width"] <= badge["x"], "the badge begins where the title has ended"


def test_a_workspace_that_is_being_brought_back_says_so_to_everybody(
    chromium: Browser, stage: Stage, northwind: Tenant, port: int
) -> None:
    northwind.state, northwind.placement = TenantState.ARCHIVED, None
    with visiting(chromium, stage, port, "alice", phone=True) as page:
        _check(page, ["/return"])
        northwind.problem = "No shared server has room for another workspace."
        _check(page, ["/return"])


def test_the_steps_of_the_sign_up_are_accessible_and_follow_the_workspace(
    chromium: Browser, stage: Stage, port: int
) -> None:
    pending = Tenant(new_id(), "northwind", "Northwind Cloud", state=TenantState.PENDING, aws_choice="open")
    stage.control.add_tenant(pending, alice=Role.OWNER)
    with visiting(chromium, stage, port, "alice") as page:
        _check(page, ["/sign-up"])
        page.get_by_role("button", name="Later").click()
        expect(page.get_by_text("We are making your workspace")).to_be_visible()
        assert Axe().run(page).response["violations"] == []
        pending.state, pending.placement = TenantState.ACTIVE, stage.place()
        expect(page.get_by_role("heading", name="Your workspace is ready")).to_be_visible()
        page.get_by_role("link", name="Open your workspace").click()
        expect(page.get_by_role("heading", name="Connect HubSpot to bring in your deals")).to_be_visible()


def test_signing_in_and_writing_a_deal_by_keyboard_alone(
    chromium: Browser, stage: Stage, northwind: Tenant, port: int
) -> None:
    with visiting(chromium, stage, port) as page:
        page.goto("/deals/new")
        page.keyboard.type("alice@example.com")
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="New deal")).to_be_visible()
        page.get_by_label("Title").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="New deal")).to_be_visible()
        page.keyboard.type("Fabrikam data platform")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Fabrikam data platform")).to_be_visible()
        expect(page.get_by_text("The deal is saved.")).to_be_visible()
        expect(page.get_by_text("not submitted")).to_be_visible()


def test_a_running_sync_is_followed_to_its_end_without_a_click(
    chromium: Browser, stage: Stage, northwind: Tenant, port: int, sessions: Sessions
) -> None:
    connect(sessions, northwind)
    running = sync(sessions, northwind, "running", deal_limit=None, seen=100, left_out=0)
    mine = sync_history.c.id == running
    with visiting(chromium, stage, port, "mia") as page:
        page.goto("/hubspot")
        expect(page.get_by_text("100 of 250 deals")).to_be_visible()
        expect(page.get_by_role("button", name="Sync deals")).to_be_disabled()
        in_workspace(sessions, northwind, lambda c: c.execute(sync_history.update().where(mine).values(seen=184)))
        expect(page.get_by_text("184 of 250 deals")).to_be_visible()
        ended = {"state": "done", "open_slot": None, "finished_at": now(), "seen": 250, "imported": 250}
        in_workspace(sessions, northwind, lambda c: c.execute(sync_history.update().where(mine).values(**ended)))
        expect(page.get_by_text("Imported 250 of 250 deals")).to_be_visible()
        expect(page.get_by_role("button", name="Sync deals")).to_be_enabled()


def test_deals_are_found_picked_and_archived(
    chromium: Browser, stage: Stage, northwind: Tenant, port: int, sessions: Sessions
) -> None:
    for title in ("Contoso renewal", "Contoso migration", "Fabrikam"):
        add(sessions, northwind, title=title)
    with visiting(chromium, stage, port, "mia") as page:
        page.goto("/deals")
        page.get_by_role("searchbox").fill("conto")
        expect(page.get_by_text("Fabrikam")).to_have_count(0)
        page.get_by_label("Select all on this page").check()
        page.get_by_role("button", name="Archive").click()
        expect(page.get_by_text("2 deals archived.")).to_be_visible()
        assert "q=conto" in page.url
        page.get_by_role("link", name="Clear").click()
        expect(page.get_by_role("link", name="Fabrikam")).to_be_visible()


def test_disconnecting_asks_first(
    chromium: Browser, stage: Stage, northwind: Tenant, port: int, sessions: Sessions
) -> None:
    connect(sessions, northwind)
    with visiting(chromium, stage, port, "adam", phone=True) as page:
        page.goto("/hubspot")
        page.get_by_role("button", name="Disconnect…").click()
        dialog = page.get_by_role("dialog")
        assert Axe().run(page).response["violations"] == []
        dialog.get_by_role("button", name="Cancel").click()
        assert all(name != "disconnect_hubspot" for name, _ in stage.control.calls)
        page.get_by_role("button", name="Disconnect…").click()
        dialog.get_by_role("button", name="Disconnect", exact=True).click()
        expect(page.get_by_text("HubSpot is disconnected.")).to_be_visible()


@pytest.mark.parametrize("phone", [False, True], ids=["wide", "narrow"])
def test_a_mapping_is_chosen_and_tried_by_keyboard(
    chromium: Browser, stage: Stage, northwind: Tenant, port: int, sessions: Sessions, phone: bool
) -> None:
    connect(sessions, northwind)
    define(sessions, northwind)
    stage.control.deals["9001"] = {"dealname": "x" * 300, "dealtype": "swap", "sector": "shops", "pipeline": "default"}
    with visiting(chromium, stage, port, "alice", phone=phone) as page:
        page.goto("/hubspot/mapping")
        page.locator("#property-customer_industry").fill("sector")
        page.get_by_role("button", name="Show the values of these properties").press("Enter")
        industry = page.locator("#field-customer_industry")
        industry.locator("summary").press("Enter")
        industry.get_by_label("What shops becomes in Industry").fill("Retail")
        page.get_by_label("The number of a deal in HubSpot").fill("9001")
        page.get_by_role("button", name="Try it").press("Enter")
        expect(page.get_by_text("This deal is not here yet.")).to_be_visible()
        expect(page.get_by_text("Retail")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
        assert Axe().run(page).response["violations"] == []
        page.get_by_role("button", name="Go on with it").press("Enter")
        expect(page.locator("#property-customer_industry")).to_have_value("sector")
        page.locator("#field-customer_industry summary").press("Enter")
        expect(page.get_by_label("What shops becomes in Industry")).to_have_value("Retail")
        page.get_by_role("button", name="Save").press("Enter")
        expect(page.get_by_text("The next sync looks at every deal again.")).to_be_visible()


def _check(page: Page, paths: list[str], accessible: list[str] | None = None) -> None:
    """Each page fits its screen; `accessible` (by default all) are tried by axe as well, which takes its time."""
    for path in paths:
        page.goto(path)
        width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert width <= 0, f"{path} is {width} pixels wider than the screen"
        if accessible is None or path in accessible:
            found = Axe().run(page).response["violations"]
            told = [(each["id"], [node["html"][:160] for node in each["nodes"]]) for each in found]
            assert told == [], f"{path}: {told}"


def test_a_form_that_was_refused_is_not_sent_again_when_the_page_renews_itself(
    chromium: Browser, stage: Stage, northwind: Tenant, port: int
) -> None:
    northwind.move = move(northwind, Phase.COPYING, actions=["cancel"])
    stage.control.refusals["cancel_own_move"] = Refused(Code.CONFLICT, "This move can no longer be cancelled.")
    with visiting(chromium, stage, port, "alice") as page:
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
        page.goto("/plan")
        page.get_by_role("button", name="Cancel…").click()
        page.get_by_role("button", name="Cancel the move").click()
        expect(page.get_by_role("alert")).to_contain_text("can no longer be cancelled")
        northwind.move = move(northwind, Phase.RETAINING, switched_at=now(), actions=[])
        expect(page).to_have_url(f"http://freemium.localhost:{port}/plan")
        expect(page.get_by_text("Your data is on your own server.")).to_be_visible()
        assert len(sent) == 1, "it would cancel whatever can be cancelled by then"


def test_without_script_a_move_is_called_off_and_the_way_back_is_taken(
    chromium: Browser, stage: Stage, northwind: Tenant, port: int
) -> None:
    northwind.tier, northwind.move = Tier.PAID, move(northwind, Phase.COPYING, actions=["cancel"])
    url = f"http://northwind.localhost:{port}"
    context = chromium.new_context(base_url=url, viewport=PHONE, java_script_enabled=False)
    token = stage.control.session("alice@example.com")
    context.add_cookies([{"name": SESSION_COOKIE, "value": token, "url": url}])
    page = context.new_page()
    page.goto("/plan")
    page.get_by_role("button", name="Cancel the move").click()
    expect(page.get_by_text("The move is called off.")).to_be_visible()
    kept = now().replace(year=now().year + 1)
    northwind.move = move(northwind, Phase.RETAINING, retain_until=kept, switched_at=now(), actions=["rollback"])
    northwind.way_back = way_back(northwind.move)
    page.goto("/plan")
    dialog = page.locator("#roll-back")
    expect(dialog.get_by_text("Everything that you and HubSpot have changed since comes along.")).to_be_visible()
    dialog.get_by_label("Type Northwind Cloud to go on").fill("Northwind Cloud")
    dialog.get_by_role("button", name="Roll back").click()
    page.wait_for_url("**/plan")
    context.close()
    assert [name for name, _ in stage.control.calls if name in ("cancel_own_move", "roll_back")] == [
        "cancel_own_move",
        "roll_back",
    ]
