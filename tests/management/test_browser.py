"""The operators' pages in a real Chromium: by keyboard, on a phone, light and dark, while a move is under way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from axe_playwright_python.sync_playwright import Axe
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, ViewportSize, expect

from awssome.database.mover import Mover
from awssome.database.registry import accounts, audit, moves, tenants
from awssome.database.registry import servers as registered
from awssome.database.registry.audit import Actor
from awssome.domain.archives import ArchiveKind, RestoreState
from awssome.domain.moves import Phase
from awssome.domain.tenants import Role
from awssome.domain.times import new_id, now
from awssome.workflows import archives, watching
from awssome.workflows import moves as asked
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.management.conftest import OLGA, PASSWORD
from tests.serving import served

pytestmark = pytest.mark.browser

DESKTOP = ViewportSize(width=1280, height=900)
PHONE = ViewportSize(width=375, height=812)


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    """The address of the management application, served on loopback."""
    with served(app) as port:
        yield f"http://localhost:{port}"


@pytest.fixture
def page(chromium: Browser, url: str, olga: UUID) -> Iterator[Page]:
    """A page on which Olga has signed in; its scripts may raise no error and break no content security policy."""
    context = chromium.new_context(base_url=url, viewport=DESKTOP)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if "Policy" in message.text else None)
    page.goto("/moves")
    page.keyboard.type(OLGA)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Moves", level=1)).to_be_visible()
    yield page
    context.close()
    assert complaints == []


def test_an_upgrade_and_the_way_back_are_watched_live(
    page: Page, services: WorkerServices, make_tenant: Callable[..., Tenancy], dedicated: str
) -> None:
    tenancy = make_tenant("Northwind Cloud")
    page.keyboard.press("/")
    page.keyboard.type("servers")
    page.keyboard.press("Escape")
    expect(page.locator(".palette")).to_be_hidden()
    page.keyboard.press("Control+k")
    page.keyboard.type("northw")
    expect(page.locator(".palette a").first).to_have_text("Northwind Cloudtenant")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Northwind Cloud", level=1)).to_be_visible()

    page.get_by_role("button", name="Upgrade…").click()
    dialog = page.get_by_role("dialog")
    assert Axe().run(page).response["violations"] == []
    dialog.get_by_label("To").select_option(dedicated)
    dialog.get_by_role("button", name="Upgrade").click()
    expect(page.get_by_role("heading", name="Upgrade under way")).to_be_visible()
    assert Axe().run(page).response["violations"] == []
    _carry_on(services, tenancy)
    expect(page.get_by_role("heading", name="Upgrade under way")).to_be_hidden(timeout=10_000)

    page.get_by_role("button", name="Roll back…").click()
    go = page.get_by_role("dialog").get_by_role("button", name="Roll back")
    expect(go).to_be_disabled()
    page.keyboard.type("Northwind Cloud")
    expect(go).to_be_enabled()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Rollback under way")).to_be_visible()
    _carry_on(services, tenancy)
    expect(page.get_by_role("heading", name="Rollback under way")).to_be_hidden(timeout=10_000)
    expect(page.locator("dl.facts a")).to_have_text("pool-1")


def test_every_page_is_open_to_everybody_and_fits_a_phone(
    page: Page, services: WorkerServices, make_tenant: Callable[..., Tenancy], dedicated: str
) -> None:
    tenancy = make_tenant("Contoso Data & Analytics Gesellschaft für Beratung mbH", email="anna@contoso.example")
    move_id = _failed_move(services, tenancy)
    restore_id = _restored(services, tenancy)
    watching.collect(services)
    with services.registry.begin() as connection:
        watching.settle(connection, services.queue)
    paths = ["/", "/?all=yes", "/tenants", "/tenants?q=nobody", f"/tenants/{tenancy.slug}", "/servers"]
    paths += [
        "/servers/pool-1",
        "/servers/pool-1/consumers",
        "/alerts",
        "/servers/new",
        "/moves",
        f"/moves/{move_id}",
        f"/restores/{restore_id}",
        "/jobs",
        "/audit",
        "/operators",
        "/nope",
    ]
    found = {}
    for size, theme in ((DESKTOP, "dark"), (PHONE, "light")):
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        for path in paths:
            page.goto(path)
            found[path, theme] = [each["id"] for each in Axe().run(page).response["violations"]]
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], path
            assert len(page.content()) < 100_000, path
    assert {where: problems for where, problems in found.items() if problems} == {}


def _carry_on(services: WorkerServices, tenancy: Tenancy) -> None:
    with services.registry.begin() as connection:
        newest = moves.page(connection, tenant_id=tenancy.id).rows[0].id
    mover = Mover(services.registry, services.keys, services.open_server)
    assert mover.carry_on(newest) is Phase.RETAINING


def _restored(services: WorkerServices, tenancy: Tenancy) -> UUID:
    """A restore beside the tenant, with evidence."""
    archive = archives.export_now(services, tenancy.id, ArchiveKind.MANUAL, "Olga", None)
    with services.registry.begin() as connection:
        restore_id = archives.request_restore(
            connection, services.queue, Actor("Olga"), tenancy.slug, archive.id, beside=True
        )
    assert archives.restorer(services).carry_on(restore_id) is RestoreState.DONE
    return restore_id


def _failed_move(services: WorkerServices, tenancy: Tenancy) -> UUID:
    """A registry with something of everything; the id of a move with evidence that has failed."""
    actor = audit.Actor(OLGA, "2001:db8::7", "R-7K2M9Q")
    with services.registry.begin() as connection:
        for number in range(55):
            made = tenants.create(connection, f"Company {number}")
            owner = accounts.create(connection, f"owner.{number}@company-{number}.example", "", None)
            accounts.add_member(connection, owner.id, made.id, Role.OWNER)
            if number % 3 == 0:
                tenants.change(connection, made.id, upgrade_requested_at=now(), upgrade_requested_by=owner.id)
        move_id = asked.upgrade(connection, services.queue, actor, str(tenancy.id))
        move = moves.claim(connection, move_id)
        for name, equal in (("deal_registrations", True), ("deal_events", False)):
            table = {"rows": 41_280, "source": "9f3a01bd77f05c0e", "target": "9f3a01bd77f05c0f", "equal": equal}
            moves.note(connection, move, "tables", name, table)
        moves.advance(connection, move, Phase.FAILED, problem="deal_events differs: 41,280 rows here, 41,279 there.")
        registered.change(connection, registered.by_name(connection, "pool-1").id, capacity=1, problem="Disk is full.")
        for _ in range(3):
            services.queue.provision(connection, new_id())
        connection.exec_driver_sql(
            "UPDATE procrastinate_jobs SET status = 'failed' WHERE id = (SELECT max(id) FROM procrastinate_jobs)"
        )
    return move_id
