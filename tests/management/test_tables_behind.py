"""Operators see whose tables are older than the template, and why."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from awssome.database import migrator, template
from awssome.database.registry import placements
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.management.conftest import Desk

WHY = "column “note” <exists>"


@pytest.fixture
def behind(services: WorkerServices, make_tenant: Callable[..., Tenancy], monkeypatch: pytest.MonkeyPatch) -> Tenancy:
    """A tenant at a revision that has been followed by another one."""
    tenancy = make_tenant("Northwind Cloud")
    monkeypatch.setattr(template, "older", lambda beyond=(): ("0000",))
    with services.registry.begin() as connection:
        placements.note_revision(connection, tenancy.placement.placement_id, "0000")
    assert [place.tenant for place in migrator.find_behind(services.registry)] == [tenancy.slug]
    return tenancy


def test_nobody_is_told_of_tables_that_are_as_they_should_be(desk: Desk, make_tenant: Callable[..., Tenancy]) -> None:
    tenancy = make_tenant("Northwind Cloud")
    assert "older revision" not in desk.get("/servers/pool-1").text
    page = desk.get(f"/tenants/{tenancy.slug}").text
    assert template.head() in page
    assert "Behind" not in page


def test_a_servers_page_counts_those_behind_and_says_how_to_bring_them_on(desk: Desk, behind: Tenancy) -> None:
    page = desk.get("/servers/pool-1").text
    assert "1 tenant schema has tables of an older revision." in page
    assert "<code>awssome migrate --server pool-1</code>" in page
    assert "could not be migrated" not in page


def test_what_keeps_a_tenant_back_is_on_its_page_and_counted_on_its_servers(
    desk: Desk, behind: Tenancy, services: WorkerServices
) -> None:
    assert "Behind" in desk.get(f"/tenants/{behind.slug}").text
    with services.registry.begin() as connection:
        noted = placements.note_problem(connection, [behind.placement.placement_id], WHY, ["0000"])
    assert noted == {behind.placement.placement_id}
    page = desk.get(f"/tenants/{behind.slug}").text
    assert "Its tables on pool-1 could not be brought to the newest revision." in page
    assert "column “note” &lt;exists&gt;" in page
    assert f"<code>awssome migrate --only {behind.slug}</code>" in page
    assert "1 could not be migrated" in desk.get("/servers/pool-1").text
