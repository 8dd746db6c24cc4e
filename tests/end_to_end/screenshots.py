"""`make screenshots`: every page after the demo's story, light and dark, wide and narrow, into `screenshots/`."""

from __future__ import annotations

import re
import tempfile
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
from playwright.sync_api import Page, ViewportSize, sync_playwright
from pydantic import SecretStr
from rich.console import Console

from awssome.cli.output import poll
from awssome.control.client import Control
from awssome.control.messages import AddServer, CreateOperator, StartRestore
from awssome.demo.ensemble import Ensemble, World
from awssome.demo.stage import Stage
from awssome.demo.story import ALICE, BOB, OLGA, PASSWORD, Player
from awssome.domain.archives import ArchiveState, RestoreState
from awssome.domain.tenants import EngineName, ServerKind, Tier

TARGET = Path("screenshots")
DEALS = 250
VIEWS: dict[str, tuple[ViewportSize, str]] = {
    "1280-light": (ViewportSize(width=1280, height=900), "light"),
    "1280-dark": (ViewportSize(width=1280, height=900), "dark"),
    "375-light": (ViewportSize(width=375, height=812), "light"),
    "375-dark": (ViewportSize(width=375, height=812), "dark"),
}
VISITOR = ("/", "/sign-up", "/sign-in", "/forgot", "/link?token=forged", "/no-such-page")
TENANT = (
    *("/", "/deals", "/deals/new", "/hubspot", "/hubspot/mapping", "/hubspot/mapping/stages"),
    *("/hubspot/inbox", "/hubspot/picks"),
    *("/plan", "/people", "/account"),
)
OPERATOR = (
    "/",
    "/tenants",
    "/servers",
    "/servers/pool-1",
    "/servers/pool-1/consumers",
    "/servers/pool-2",
    "/servers/new",
    "/moves",
    "/syncs",
    "/jobs",
    "/alerts",
    "/audit",
    "/operators",
)
SANDBOX = (
    *("/", "/marketplace", "/contacts/5203377/objects/0-3", "/contacts/5203377/objects/0-3/new"),
    "/integrations-settings/5203377/installed",
)
INNER = (
    ("/deals", r"^/deals/[0-9a-f-]{36}$"),
    ("/hubspot", r"^/hubspot/syncs/"),
    ("/moves", r"^/moves/"),
    ("/tenants/northwind-cloud", r"^/restores/"),
)


def main() -> None:
    """Play the story, then visit everything: Alice with much data, Bob with none, Olga at the desk, a visitor."""
    TARGET.mkdir(exist_ok=True)
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="awssome-screenshots-")))
        home.chmod(0o755)
        ensemble = Ensemble(home, DEALS)
        stack.enter_context(ensemble.running())
        api = stack.enter_context(Control(ensemble.world.management, (home / "operator-token").read_text().strip()))
        api.create_operator(CreateOperator(email=OLGA.email, name=OLGA.name, password=SecretStr(PASSWORD)))
        report = Player(Stage(Console(stderr=True)), ensemble, api).play(DEALS)
        _prepare(api, report.tenant)
        browser = stack.enter_context(sync_playwright()).chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        world = ensemble.world
        own = world.addresses.url(world.addresses.of(Tier.PAID, report.tenant), "")
        for who, base, paths in (
            ("visitor", world.portal, VISITOR),
            ("alice", own, TENANT),
            ("bob", world.portal, TENANT),
            ("olga", world.management, (*OPERATOR, f"/tenants/{report.tenant}")),
        ):
            page = browser.new_context().new_page()
            if who != "visitor":
                _sign_in(page, base, {"alice": ALICE, "bob": BOB, "olga": OLGA}[who].email)
            if who == "alice":
                page.goto(f"{base}/people")
                page.get_by_role("button", name="Export everything").click()
                page.get_by_role("link", name="Download").wait_for()
                paths = (*paths, urlsplit(page.url).path)
            for path in (*paths, *_inner(page, base, paths)):
                _shoot(page, who, base, path)
            if who == "bob":
                _preview(page, base)
                for path in ("/", "/hubspot", "/hubspot/picks", *_inner(page, base, ("/hubspot",))):
                    _shoot(page, "bob-previewed", base, path)
                _lose(page, base, world)
                for path in ("/", "/hubspot"):
                    _shoot(page, "bob-lost", base, path)
        page = browser.new_context().new_page()
        for path in SANDBOX:
            _shoot(page, "sandbox", world.hubspot, path)
        browser.close()
        _title(world)


def _prepare(api: Control, tenant: str) -> None:
    """What the story has not: an archive, a restore, and a server that does not answer, of which an alert tells."""
    asked = api.export(tenant)
    poll(lambda: api.archive(asked.id), lambda archive: archive.state is ArchiveState.READY, seconds=60)
    restore = api.start_restore(tenant, StartRestore(archive_id=asked.id, beside=True))
    poll(lambda: api.restore(restore.id), lambda found: found.state is RestoreState.DONE, seconds=60)
    url = SecretStr("postgresql://nobody:nothing@127.0.0.1:1/tenants")
    api.add_server(AddServer(name="pool-2", kind=ServerKind.POOL, engine=EngineName.POSTGRESQL, url=url))


def _preview(page: Page, base: str) -> None:
    """Connect the second account of HubSpot's, pick two of its deals, and find out what a sync would do."""
    page.goto(f"{base}/hubspot")
    page.get_by_role("button", name="Connect HubSpot").click()
    page.get_by_label(re.compile("tailspin")).check()
    page.get_by_role("button", name="Allow").click()
    page.get_by_role("link", name="Pick deals").click()
    for place in (5, 7):
        page.get_by_label(re.compile("^Select (?!all)")).nth(place).check()
    page.get_by_role("button", name="Pick these").click()
    page.goto(f"{base}/hubspot")
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("button", name="Import these").wait_for()


def _lose(page: Page, base: str, world: World) -> None:
    """Somebody uninstalls the app in HubSpot; the next sync finds out."""
    httpx2.post(f"{world.hubspot}/_sandbox/uninstall", json={"portal_id": 5203377}, trust_env=False)
    page.goto(f"{base}/hubspot")
    page.get_by_role("button", name="Import these").click()
    page.get_by_role("button", name="Reconnect").wait_for()


def _sign_in(page: Page, base: str, email: str) -> None:
    page.goto(f"{base}/sign-in")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "sign-in" not in url)


def _inner(page: Page, base: str, paths: tuple[str, ...]) -> list[str]:
    """The first page behind each list."""
    found = []
    for start, pattern in INNER:
        if start in paths:
            page.goto(base + start)
            links = page.eval_on_selector_all("main a[href]", "links => links.map(link => link.getAttribute('href'))")
            found += [link for link in links if re.match(pattern, link)][:1]
    return found


def _shoot(page: Page, who: str, base: str, path: str) -> None:
    name = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "one", path.split("?")[0]).strip("/").replace("/", "-") or "home"
    for view, (viewport, scheme) in VIEWS.items():
        page.set_viewport_size(viewport)
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.goto(base + path)
        page.screenshot(path=TARGET / f"{who}-{name}-{view}.png", full_page=True)


def _title(world: World) -> None:
    print(f"Screenshots are in {TARGET}/ ({len(list(TARGET.glob('*.png')))} files; portal was {world.portal}).")


if __name__ == "__main__":
    main()
