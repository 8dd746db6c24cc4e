"""From sign-up to rollback in a real browser, as a person does it, against everything that runs; then every page."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from pydantic import SecretStr

from awssome.control.client import Control
from awssome.control.messages import CreateOperator, CreateTenant
from awssome.demo.ensemble import Ensemble
from awssome.domain.tenants import TenantState

pytestmark = pytest.mark.browser

PASSWORD = "correct horse battery staple"
DEALS = 40
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 375, "height": 812}

PORTAL_PAGES = ("/", "/deals", "/deals/new", "/hubspot", "/plan", "/people", "/account")
MANAGEMENT_PAGES = (
    "/",
    "/tenants",
    "/tenants/northwind-cloud",
    "/servers",
    "/servers/pool-1",
    "/servers/new",
    "/moves",
    "/jobs",
    "/audit",
    "/operators",
)


@pytest.fixture(scope="module")
def ensemble() -> Iterator[Ensemble]:
    """Everything that `awssome demo` runs, without its story, and with Olga."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="awssome-walk-")))
        home.chmod(0o755)
        ensemble = Ensemble(home, DEALS)
        stack.enter_context(ensemble.running())
        token = (home / "operator-token").read_text().strip()
        with Control(ensemble.world.management, token) as api:
            api.create_operator(CreateOperator(email="olga@awssome.example", name="Olga", password=SecretStr(PASSWORD)))
        yield ensemble


def test_a_company_signs_up_syncs_upgrades_and_goes_back(chromium: Browser, ensemble: Ensemble) -> None:
    world = ensemble.world
    alice = chromium.new_context(viewport=WIDE).new_page()
    olga = chromium.new_context(viewport=WIDE).new_page()

    alice.goto(world.portal)
    alice.get_by_role("link", name="Sign up").first.click()
    alice.get_by_label("Your name").fill("Alice")
    alice.get_by_label("E-mail").fill("alice@northwind.example")
    alice.get_by_label("Company").fill("Northwind Cloud")
    alice.get_by_role("button", name="Sign up").click()
    expect(alice.get_by_text("Confirm your e-mail address").first).to_be_visible()

    alice.goto(_link(ensemble, "alice@northwind.example"))
    alice.get_by_label("Password").fill(PASSWORD)
    alice.get_by_role("button", name="Confirm").click()
    with alice.expect_popup() as popup:
        alice.get_by_role("link", name="Open AWS").click()
    console = popup.value
    console.get_by_role("button", name="Create stack").click()
    arn = re.search(r"arn:aws:iam::\d{12}:role/[\w+=,.@-]+", console.inner_text("body"))
    assert arn is not None
    console.close()
    alice.get_by_label("RoleArn").fill(arn[0])
    alice.get_by_role("button", name="Link this role").click()
    expect(alice.get_by_text("is ready").first).to_be_visible(timeout=30_000)

    alice.goto(f"{world.portal}/hubspot")
    alice.get_by_role("button", name="Connect HubSpot").click()
    alice.get_by_role("button", name="Decline").click()
    expect(alice.get_by_role("heading", name="HubSpot was not connected")).to_be_visible()
    alice.get_by_role("button", name="Connect again").click()
    alice.get_by_role("button", name="Allow").click()
    expect(alice.get_by_text("✓ HubSpot Connected")).to_be_visible()
    alice.get_by_role("link", name="Pick deals").click()
    expect(alice.get_by_role("heading", name="Your deals in HubSpot")).to_be_visible()
    expect(alice.get_by_text("10 of 10 places free")).to_be_visible()
    alice.get_by_label(re.compile("^Select (?!all)")).nth(3).check()
    alice.get_by_role("button", name="Pick these").click()
    expect(alice.get_by_text("1 deal picked.")).to_be_visible()
    alice.get_by_role("button", name="Let the rule decide").click()
    expect(alice.get_by_text("Nothing is picked, so the rule decides")).to_be_visible()
    alice.goto(f"{world.portal}/hubspot")
    alice.get_by_role("button", name="Preview").click()
    expect(alice.get_by_text("10 deals would come in, 0 would change").first).to_be_visible(timeout=30_000)
    alice.get_by_role("button", name="Import these").click()
    expect(alice.get_by_text(f"Imported 10 of {DEALS} deals").first).to_be_visible(timeout=30_000)
    expect(alice.get_by_text("(Free tier: 10 deals max)").first).to_be_visible()

    alice.goto(f"{world.portal}/plan")
    alice.get_by_role("button", name="Upgrade", exact=True).click()
    expect(alice.get_by_text("The upgrade is asked for")).to_be_visible()

    olga.goto(world.management)
    olga.get_by_label("E-mail").fill("olga@awssome.example")
    olga.get_by_label("Password").fill(PASSWORD)
    olga.get_by_role("button", name="Sign in").click()
    olga.goto(f"{world.management}/tenants/northwind-cloud")
    olga.get_by_role("button", name="Upgrade…").click()
    olga.get_by_role("dialog").get_by_role("button", name="Upgrade").click()
    expect(olga.get_by_text("Done, source kept").first).to_be_visible(timeout=60_000)

    # The workspace has an address of its own now; her old page leads there, signed in.
    alice.goto(f"{world.portal}/hubspot")
    expect(alice).to_have_url(re.compile(r"//northwind-cloud\.localhost"))
    expect(alice.get_by_text("✓ HubSpot Connected")).to_be_visible()
    alice.get_by_role("button", name="Sync deals").first.click()
    expect(alice.get_by_text(f"Imported {DEALS} of {DEALS} deals").first).to_be_visible(timeout=60_000)

    olga.goto(f"{world.management}/tenants/northwind-cloud")
    olga.get_by_role("button", name="Roll back…").first.click()
    dialog = olga.get_by_role("dialog")
    dialog.get_by_role("textbox").fill("Northwind Cloud")
    dialog.get_by_role("button", name="Roll back").click()
    expect(olga.get_by_text("Rollback").first).to_be_visible()
    expect(olga.get_by_text("under way")).to_have_count(0, timeout=60_000)
    alice.goto(alice.url)
    expect(alice.get_by_text("✓ HubSpot Connected")).to_be_visible()

    own = re.match(r"https?://[^/]+", alice.url)
    assert own is not None
    for person, base, paths in ((alice, own[0], PORTAL_PAGES), (olga, world.management, MANAGEMENT_PAGES)):
        for path in (*paths, *_inner(person, base)):
            _is_good(person, base + path)
    for path in ("/", "/sign-up", "/sign-in", "/forgot"):
        _is_good(chromium.new_context(viewport=WIDE).new_page(), world.portal + path)


@pytest.mark.parametrize("sign_in", ["With partner sign-in", "Without partner sign-in"])
def test_the_app_is_installed_from_hubspots_side(chromium: Browser, ensemble: Ensemble, sign_in: str) -> None:
    """Tina begins in the Marketplace, is not signed in here, and is back there in the end."""
    world, email = ensemble.world, f"tina-{len(sign_in)}@tailspin.example"
    with Control(world.management, (ensemble.logs.parent / "operator-token").read_text().strip()) as api:
        made = api.create_tenant(CreateTenant(email=email, company=f"Tailspin {len(sign_in)}"))
        ensemble.until(lambda: api.tenant(made.slug).state is TenantState.ACTIVE, "a workspace", seconds=30)
    tina = chromium.new_context(viewport=WIDE).new_page()
    tina.goto(_link(ensemble, email))
    tina.get_by_label("Your name").fill("Tina")
    tina.get_by_label("Password").fill(PASSWORD)
    tina.get_by_role("button", name="Join").click()
    expect(tina).not_to_have_url(re.compile("/link"))
    tina.context.clear_cookies()

    tina.goto(f"{world.hubspot}/marketplace")
    tina.get_by_label("HubSpot account").select_option(index=len(sign_in) % 2 + 1)
    tina.get_by_label(sign_in).check()
    tina.get_by_role("button", name="Install").click()
    if sign_in.startswith("Without"):
        tina.get_by_role("button", name="Allow").click()
    tina.get_by_label("E-mail").fill(email)
    tina.get_by_label("Password").fill(PASSWORD)
    tina.get_by_role("button", name="Sign in").click()
    expect(tina.get_by_role("heading", name=f"to Tailspin {len(sign_in)}?")).to_be_visible()
    asking = tina.url
    _is_good(tina, asking)
    tina.get_by_role("button", name=f"Connect to Tailspin {len(sign_in)}").click()
    if sign_in.startswith("With "):
        tina.get_by_role("button", name="Allow").click()
    expect(tina.get_by_role("status").get_by_text("Installed")).to_be_visible()
    assert tina.url.startswith(world.hubspot)
    tina.goto(f"{world.portal}/hubspot")
    expect(tina.get_by_text("✓ HubSpot Connected")).to_be_visible()
    httpx2.post(f"{world.hubspot}/_sandbox/uninstall", json={"portal_id": _portal(tina)}, trust_env=False)
    tina.get_by_role("button", name="Sync deals").first.click()
    expect(tina.get_by_role("button", name="Reconnect")).to_be_visible(timeout=60_000)
    _is_good(tina, f"{world.portal}/hubspot")
    portal_id = _portal(tina)
    tina.get_by_role("button", name="Reconnect").click()
    tina.get_by_label(f"Portal {portal_id}").check()
    tina.get_by_role("button", name="Allow").click()
    expect(tina.get_by_text("✓ HubSpot Connected")).to_be_visible()


def _portal(person: Page) -> int:
    found = re.search(r"portal (\d+)", person.inner_text("main"))
    assert found is not None
    return int(found[1])


def _link(ensemble: Ensemble, email: str) -> str:
    def mailed() -> str | None:
        mails = httpx2.get(f"{ensemble.world.mail}/messages.json", params={"to": email}, trust_env=False).json()
        found = re.search(r"https?://\S+token=\S+", mails[-1]["text"]) if mails else None
        return found[0] if found else None

    return ensemble.until(mailed, f"a mail to {email}", seconds=30)


def _inner(person: Page, base: str) -> list[str]:
    """One page behind each list: a deal, its edit page, a sync, a move."""
    found = []
    for start, pattern in (
        ("/deals", r"^/deals/[0-9a-f-]{36}$"),
        ("/hubspot", r"^/hubspot/syncs/"),
        ("/moves", r"^/moves/"),
    ):
        answer = person.goto(base + start)
        if answer is None or answer.status != 200:
            continue
        links = person.eval_on_selector_all("main a[href]", "links => links.map(link => link.getAttribute('href'))")
        inner = next((link for link in links if re.match(pattern, link)), None)
        if inner:
            found.append(inner)
            if start == "/deals":
                found.append(f"{inner}/edit")
    assert len(found) in (1, 3)
    return found


def _is_good(person: Page, url: str) -> None:
    """Nothing serious for axe, no sideways scrolling, wide and narrow, light and dark."""
    for viewport, scheme in ((WIDE, "light"), (NARROW, "dark")):
        person.set_viewport_size(viewport)
        person.emulate_media(color_scheme=scheme)
        answer = person.goto(url)
        assert answer is not None and answer.status == 200, url
        serious = [v for v in Axe().run(person).response["violations"] if v["impact"] in ("serious", "critical")]
        assert serious == [], (url, viewport, [(v["id"], v["nodes"][0]["html"]) for v in serious])
        width = person.evaluate("document.documentElement.scrollWidth")
        assert width <= viewport["width"], f"{url} is {width} px wide at {viewport['width']}"
