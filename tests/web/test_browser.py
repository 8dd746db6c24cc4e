"""The gallery in a real Chromium: nobody is locked out, nothing jumps, the script helps and is not needed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, ViewportSize, expect

from awssome.web.formats import relative
from tests.web.gallery import NOW

pytestmark = pytest.mark.browser

PATHS = ["/", "/nothing?layout=side", "/table", "/forms", "/move", "/sign-in"]
DESKTOP = ViewportSize(width=1280, height=900)
PHONE = ViewportSize(width=375, height=812)


@pytest.fixture
def page(chromium: Browser, gallery_url: str) -> Iterator[Page]:
    """A page whose scripts may raise no error and break no content security policy."""
    context = chromium.new_context(base_url=gallery_url, viewport=DESKTOP)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if "Policy" in message.text else None)
    yield page
    context.close()
    assert complaints == []


@pytest.mark.parametrize(("theme", "size"), [("light", DESKTOP), ("dark", DESKTOP), ("light", PHONE)])
def test_axe_finds_nothing(page: Page, theme: Literal["light", "dark"], size: ViewportSize) -> None:
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=theme)
    found = {}
    for path in PATHS:
        page.goto(path)
        found[path] = [violation["id"] for violation in Axe().run(page).response["violations"]]
    assert found == {path: [] for path in PATHS}


def test_axe_finds_nothing_in_what_opens(page: Page) -> None:
    page.goto("/forms?layout=side")
    page.get_by_role("button", name="Delete workspace").click()
    assert Axe().run(page).response["violations"] == []
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    expect(page.locator(".palette a")).to_have_count(3)
    assert Axe().run(page).response["violations"] == []
    page.goto("/forms")
    page.locator("#field-email").fill("anna")
    page.locator("#field-password").fill("three words")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_be_focused()
    assert Axe().run(page).response["violations"] == []


def test_nothing_is_wider_than_a_phone_and_nothing_jumps(page: Page) -> None:
    page.add_init_script(
        "window.shift = 0;"
        "new PerformanceObserver((list) => list.getEntries().forEach((entry) => { shift += entry.value }))"
        ".observe({ type: 'layout-shift', buffered: true })"
    )
    for size in (DESKTOP, PHONE):
        page.set_viewport_size(size)
        for path in PATHS:
            page.goto(path, wait_until="networkidle" if path == "/table" else "load")
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], path
            assert page.evaluate("shift") < 0.01, path


def test_the_theme_is_remembered_before_the_first_paint(page: Page) -> None:
    page.goto("/")
    page.get_by_role("button", name="Dark colours").click()
    page.goto("/table")
    assert 'data-theme="dark"' in page.request.get("/table").text()
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
    page.get_by_role("button", name="Colours as the system has them").click()
    assert "data-theme" not in page.request.get("/table").text()


def test_relative_times_follow_the_same_rules_as_the_server(page: Page) -> None:
    page.goto("/sign-in")
    ages = [
        sign * age for age in (0, 44, 45, 90, 3599, 3600, 86_399, 86_400, 172_799, 172_800, 604_799) for sign in (1, -1)
    ]
    assert page.evaluate("(ages) => ages.map((age) => relative(age))", ages) == [
        relative(NOW - timedelta(seconds=age), NOW) for age in ages
    ]


def test_a_live_piece_is_fetched_until_it_has_ended(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/progress" in request.url else None)
    page.goto("/")
    expect(page.get_by_text("Imported 250 of 250 deals")).to_be_visible()
    assert len(asked) == 4
    assert page.locator("[data-poll]").count() == 0


def test_a_live_piece_backs_off_says_so_and_comes_back(page: Page) -> None:
    page.add_init_script(
        "window.asked = 0; const real = fetch; window.fetch = (...given) => { asked += 1; return real(...given) }"
    )
    statuses = iter([500, 503])
    page.route("**/progress", lambda route: answer(route, next(statuses, 200)))
    stop_the_clock(page)
    page.goto("/")
    live = page.locator(".live")
    for attempt, wait in enumerate((300, 600), start=1):
        page.clock.run_for(wait - 1)
        assert page.evaluate("asked") == attempt - 1
        page.clock.run_for(1)
        assert page.evaluate("asked") == attempt
        expect(live).to_have_attribute("data-stale", "")
        live.evaluate("(live) => live.removeAttribute('data-stale')")
    live.evaluate("(live) => live.setAttribute('data-stale', '')")
    page.clock.run_for(1199)
    assert page.evaluate("asked") == 2
    page.clock.run_for(1)
    expect(live).not_to_have_attribute("data-stale", "")
    expect(page.locator("progress")).to_have_attribute("value", "60")


def test_a_live_piece_rests_while_nobody_looks(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/progress" in request.url else None)
    stop_the_clock(page)
    page.goto("/")
    page.evaluate("Object.defineProperty(document, 'hidden', { get: () => window.away !== false })")
    page.clock.run_for(5000)
    assert asked == []
    page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    with page.expect_request("**/progress"):
        page.clock.run_for(300)


def test_a_change_of_a_live_piece_leaves_the_rest_of_it_alone(page: Page) -> None:
    stop_the_clock(page)
    page.goto("/")
    page.evaluate("document.querySelector('progress').kept = true")
    expect(page.locator("progress")).to_have_attribute("value", "30")
    page.clock.run_for(300)
    expect(page.locator("progress")).to_have_attribute("value", "60")
    page.clock.run_for(300)
    expect(page.locator("progress")).to_have_attribute("value", "120")
    assert page.evaluate("document.querySelector('progress').kept")


def test_a_dialog_wants_the_name(page: Page) -> None:
    page.goto("/forms")
    page.get_by_role("button", name="Delete workspace").click()
    dialog = page.get_by_role("dialog")
    confirm, delete = dialog.get_by_role("textbox"), dialog.get_by_role("button", name="Delete workspace")
    expect(confirm).to_be_focused()
    expect(delete).to_be_disabled()
    confirm.fill("northwind cloud")
    expect(delete).to_be_disabled()
    confirm.fill("Northwind Cloud")
    expect(delete).to_be_enabled()
    dialog.get_by_role("button", name="Keep it").click()
    expect(dialog).to_be_hidden()


def test_a_pressed_button_says_so_keeps_its_width_and_sends_once(page: Page) -> None:
    sent: list[str] = []

    def answer_with_nothing(route: Route) -> None:
        sent.append(route.request.method)
        route.fulfill(status=204)

    page.route("**/sync", answer_with_nothing)
    page.goto("/")
    button = page.locator("form[action='/sync'] button")
    width = button.bounding_box()
    button.click()
    expect(button).to_have_text("Syncing…")
    expect(button).to_be_disabled()
    button.click(force=True)
    now = button.bounding_box()
    assert width and now and abs(now["width"] - width["width"]) < 0.5
    assert sent == ["POST"]


def test_a_search_applies_as_it_is_typed_and_keeps_the_cursor(page: Page) -> None:
    page.goto("/table")
    search = page.get_by_role("searchbox")
    search.press_sequentially("wingtip", delay=10)
    expect(page.locator("tbody tr").first).to_contain_text("Wingtip")
    expect(page).to_have_url("/table?q=wingtip&sort=-changed")
    expect(search).to_be_focused()
    search.press_sequentially(" zzz")
    expect(page.get_by_text("No match")).to_be_visible()
    expect(search).to_have_value("wingtip zzz")


def test_rows_open_and_can_be_picked(page: Page) -> None:
    page.goto("/table")
    archive = page.get_by_role("button", name="Archive")
    expect(archive).to_be_hidden()
    page.get_by_label("Select all on this page").check()
    expect(page.locator(".bulk")).to_contain_text("Selected 50")
    page.get_by_label("Select Contoso migration wave 2").first.uncheck()
    expect(page.locator(".bulk")).to_contain_text("Selected 49")
    page.locator("tbody tr").nth(1).locator("td").nth(2).click()
    expect(page).to_have_url("/table?deal=1")


def test_the_palette_goes_anywhere_by_keyboard(page: Page) -> None:
    page.goto("/move")
    page.keyboard.press("Control+k")
    page.keyboard.type("l")  # two of the three: what is seen then cannot be the list from before
    expect(page.locator(".palette a")).to_have_count(2)
    page.keyboard.press("ArrowDown")
    expect(page.locator(".palette a").nth(1)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    expect(page).to_have_url("/table?layout=side")


def test_copying_says_that_it_did(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto("/")
    page.get_by_role("button", name="Copy R-7K2M9Q").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "R-7K2M9Q"


def test_everything_can_be_done_without_script(chromium: Browser, gallery_url: str) -> None:
    context = chromium.new_context(base_url=gallery_url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/forms")
    page.locator("#field-email").fill("anna@example.com")
    page.locator("#field-password").fill("three words")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("Saved anna@example.com <b>as it is</b>.")
    expect(page.get_by_label("Type Northwind Cloud to go on")).to_be_visible()
    page.locator(".who").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    page.goto("/table")
    page.get_by_role("searchbox").fill("wingtip")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("tbody tr").first).to_contain_text("Wingtip")
    expect(page.get_by_role("button", name="Archive")).to_be_visible()
    context.close()


def test_on_paper_times_are_exact_and_checksums_whole(page: Page) -> None:
    page.goto("/move")
    page.emulate_media(media="print")
    expect(page.get_by_text("af3a5be01c2d44e8a9b7c21e").first).to_be_visible()
    assert "14:03:09 UTC" in page.evaluate(
        "getComputedStyle(document.querySelector('time'), '::after').content + document.querySelector('time').title"
    )
    expect(page.get_by_role("button", name="Roll back…")).to_be_hidden()
    expect(page.locator(".side")).to_be_hidden()


def stop_the_clock(page: Page) -> None:
    """The page's own time passes only when the test says so."""
    page.clock.install(time=NOW)
    page.clock.pause_at(NOW + timedelta(seconds=1))


def answer(route: Route, status: int) -> None:
    """Let the server answer, or answer that it cannot."""
    if status == 200:
        route.continue_()
    else:
        route.fulfill(status=status, body="down")
