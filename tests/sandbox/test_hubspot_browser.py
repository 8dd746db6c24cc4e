"""The HubSpot sandbox's pages in a real Chromium: they fit, they are accessible, and a deal lives through its forms."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, ViewportSize, expect

from .conftest import CLIENT_ID, NORTHWIND, SECRET, HubSpot, running

pytestmark = pytest.mark.browser

LIST = f"/contacts/{NORTHWIND}/objects/0-3"
DESKTOP, PHONE = ViewportSize(width=1280, height=900), ViewportSize(width=375, height=812)


@pytest.fixture(scope="module")
def app() -> Iterator[str]:
    """An app that installs start at: it signs everybody in, exchanges the code and returns, as it must."""
    sandbox: list[str] = []

    class App(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            if sandbox_url := query.get("sandbox"):
                sandbox.append(sandbox_url)
                return self._send(200)
            if query.get("step") == "authorize":
                return self._send(302, f"{query['returnUrl']}?state=signed-in")
            form = {"grant_type": "authorization_code", "code": query["code"], "redirect_uri": self._address()}
            form |= {"client_id": CLIENT_ID, "client_secret": SECRET}
            assert httpx2.post(f"{sandbox[-1]}/oauth/2026-03/token", data=form).status_code == 200
            return self._send(302, query["returnUrl"])

        def _address(self) -> str:
            return f"http://localhost:{self.server.server_port}/callback"  # type: ignore[attr-defined]

        def _send(self, status: int, to: str | None = None) -> None:
            self.send_response(status)
            if to:
                self.send_header("Location", to)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), App)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://localhost:{server.server_port}/callback"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def hubspot(app: str) -> Iterator[HubSpot]:
    arguments = ("--deals", "60", "--seed", "3", "--today", "2026-11-22", "--app", f"{CLIENT_ID}:{SECRET}:{app}")
    with running("hubspot", *arguments) as facts, httpx2.Client(base_url=facts["url"], timeout=10) as http:
        assert httpx2.get(app, params={"sandbox": facts["url"]}).status_code == 200
        yield HubSpot(http)


@contextmanager
def visiting(chromium: Browser, hubspot: HubSpot, size: ViewportSize, *, scripts: bool) -> Iterator[Page]:
    context = chromium.new_context(
        base_url=str(hubspot.http.base_url),
        viewport=size,
        color_scheme="light" if size == DESKTOP else "dark",
        java_script_enabled=scripts,
    )
    yield context.new_page()
    context.close()


def check(page: Page, path: str) -> None:
    """A page fits its screen, and axe finds nothing."""
    answer = page.goto(path)
    assert answer and answer.ok, path
    width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert width <= 0, f"{path} is {width} pixels wider than the screen"
    found = Axe().run(page).response["violations"]
    told = [(each["id"], [node["html"][:160] for node in each["nodes"]]) for each in found]
    assert told == [], f"{path}: {told}"


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["wide and light", "narrow and dark"])
def test_every_page_fits_and_is_accessible(chromium: Browser, hubspot: HubSpot, size: ViewportSize) -> None:
    odd = {"dealname": "Überlang" * 40, "description": "no spaces " + "x" * 3000, "amount": "123456789012345.6789"}
    deal = hubspot.control("POST", "deals", {"properties": odd})
    hubspot.control("PATCH", f"deals/{deal['id']}", {"properties": {"description": "y" * 400}})
    record = f"/contacts/{NORTHWIND}/record/0-3/{deal['id']}"
    paths = [
        "/",
        "/marketplace",
        LIST,
        f"{LIST}?state=archived",
        f"{LIST}?state=merged",
        f"{LIST}?q=nothing",
        f"{LIST}/new",
    ]
    paths += [
        record,
        f"{record}/change/description",
        f"{record}/change/dealstage",
        f"{record}/merge",
        f"{record}/delete",
    ]
    paths += [f"/integrations-settings/{NORTHWIND}/installed"]
    with visiting(chromium, hubspot, size, scripts=True) as page:
        for path in paths:
            check(page, path)


def test_a_deal_lives_through_its_forms_without_javascript(chromium: Browser, hubspot: HubSpot) -> None:
    with visiting(chromium, hubspot, PHONE, scripts=False) as page:
        page.goto("/")
        page.get_by_role("table").get_by_role("link", name="northwind-cloud.com").click()
        page.get_by_role("link", name="Create deal").click()
        page.get_by_label("Deal Name").fill("Lives without scripts")
        page.get_by_label("Amount").fill("much")
        page.get_by_role("button", name="Create deal").click()
        expect(page.get_by_label("Amount")).to_have_accessible_description("much was not a valid number.")
        page.get_by_label("Amount").fill("1000.5")
        page.get_by_role("button", name="Create deal").click()
        expect(page.get_by_role("status")).to_have_text("The deal is created.")
        page.get_by_role("link", name="Change Deal Stage").click()
        page.get_by_label("Deal Stage").select_option(label="Proof of concept")
        page.get_by_role("button", name="Save").click()
        expect(page.locator("tr", has_text="pipeline").last).to_contain_text('"812704591"')
        page.get_by_role("button", name="Archive").click()
        expect(page.get_by_text("Archived", exact=True).first).to_be_visible()
        page.get_by_role("button", name="Restore").click()
        page.get_by_role("link", name="Merge with another").click()
        page.get_by_role("radio").first.check()
        page.get_by_role("button", name="Merge").click()
        expect(page.get_by_role("status")).to_have_text("The deals are merged. Their old ids lead here.")
        page.get_by_role("link", name="Delete for good").click()
        page.get_by_role("button", name="Delete for good").click()
        expect(page.get_by_role("status")).to_have_text("The deal is deleted for good.")


@pytest.mark.parametrize("way", ["With partner sign-in", "Without partner sign-in"])
def test_an_install_from_the_marketplace_reaches_its_end_and_is_taken_back(
    chromium: Browser, hubspot: HubSpot, way: str
) -> None:
    with visiting(chromium, hubspot, DESKTOP, scripts=False) as page:
        page.goto("/marketplace")
        page.get_by_label(way).check()
        page.get_by_role("button", name="Install").click()
        page.get_by_role("button", name="Allow").click()
        expect(page.get_by_role("status")).to_have_text("Installed.")
        expect(page.get_by_text("Not yet")).to_have_count(0)
        page.get_by_role("link", name="Connected apps").click()
        page.get_by_text("Uninstall", exact=True).click()
        page.get_by_role("button", name=f"Uninstall {CLIENT_ID}").click()
        expect(page.get_by_role("status")).to_contain_text("Its tokens do not work any more.")
