"""A workspace that was deleted, and one that was archived and is brought back, as their people see it."""

from __future__ import annotations

import pytest

from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import TenantState
from tests.portal.conftest import Browser, Stage
from tests.portal.fake import Tenant


@pytest.fixture
def alice(stage: Stage, northwind: Tenant) -> Browser:
    return stage.browser("alice")


@pytest.mark.parametrize("path", ["/", "/deals", "/hubspot", "/plan", "/people", "/sign-up"])
def test_an_archived_workspace_leads_to_the_page_that_says_it_comes_back(
    alice: Browser, northwind: Tenant, path: str
) -> None:
    northwind.state, northwind.placement = TenantState.ARCHIVED, None
    away = alice.get(path)
    assert (away.status_code, away.headers["location"]) == (303, "/return")
    page = alice.after(away)
    assert page.status_code == 200
    assert "Your workspace is being brought back" in page.text
    assert "/return/progress" in page.text


def test_the_page_goes_on_by_itself_when_the_workspace_is_back(stage: Stage, alice: Browser, northwind: Tenant) -> None:
    placement = northwind.placement
    northwind.state, northwind.placement = TenantState.ARCHIVED, None
    before = stage.control.asked
    assert "being restored" in alice.get("/return/progress", fragment=True).text
    assert "being restored" in alice.get("/return/progress", fragment=True).text
    assert stage.control.asked == before + 2, "each look asks, so that the central API knows of it"
    northwind.problem = "No shared server has room for another workspace."
    told = alice.get("/return/progress", fragment=True).text
    assert "could not be brought back yet" in told
    assert "No shared server has room" in told
    assert "Nothing is lost" in told
    northwind.state, northwind.placement, northwind.problem = TenantState.ACTIVE, placement, None
    assert "Your workspace is back." in alice.get("/return/progress", fragment=True).text
    back = alice.get("/return")
    assert (back.status_code, back.headers["location"]) == (303, "/")
    assert alice.get("/").status_code == 200


def test_a_deleted_workspace_says_until_when_it_is_kept(alice: Browser, northwind: Tenant) -> None:
    northwind.state, northwind.placement = TenantState.RETAINED, None
    page = alice.get("/deals")
    assert page.status_code == 410
    assert "kept until 22 Dec 2026" in page.text
    assert "Write to the operator" in page.text


def test_the_owner_deletes_the_workspace_by_typing_its_name(stage: Stage, alice: Browser, northwind: Tenant) -> None:
    assert "Delete this workspace" in alice.get("/people").text
    assert "people lose access at once, you too. Download an export first" in alice.get("/people").text
    for other in [key for key in stage.control.roles if key[1] == northwind.id and not key[0].startswith("alice")]:
        del stage.control.roles[other]
    assert "<p>You lose access at once. Download" in alice.get("/people").text
    wrong = alice.send("/people/delete", at="/people", confirm="northwind")
    assert wrong.status_code == 422
    assert "The name was not typed as it stands" in wrong.text
    assert northwind.state is TenantState.ACTIVE
    gone = alice.send("/people/delete", at="/people", confirm="Northwind Cloud")
    assert (gone.status_code, gone.headers["location"]) == (303, "/workspaces")
    assert "Northwind Cloud is deleted." in alice.after(gone).text
    assert alice.get("/").status_code == 410


@pytest.mark.parametrize("name", ["adam", "mia", "vera"])
def test_nobody_but_an_owner_is_offered_the_deletion_or_can_do_it(stage: Stage, northwind: Tenant, name: str) -> None:
    browser = stage.browser(name)
    assert "Delete this workspace" not in browser.get("/people").text
    assert browser.send("/people/delete", at="/people", confirm="Northwind Cloud").status_code == 403
    assert northwind.state is TenantState.ACTIVE


def test_what_keeps_a_deletion_from_being_done_is_told_on_the_page(
    stage: Stage, alice: Browser, northwind: Tenant
) -> None:
    stage.control.refusals["delete_workspace"] = Refused(Code.CONFLICT, "This tenant is being moved already.")
    told = alice.send("/people/delete", at="/people", confirm="Northwind Cloud")
    assert told.status_code == 409
    assert "being moved already" in told.text


def test_a_sign_up_that_is_throttled_says_when_to_come_again(stage: Stage) -> None:
    stage.control.refusals["sign_up"] = Refused(Code.LIMITED, "There were too many attempts.", retry_after=1234.5)
    told = stage.visitor().send("/sign-up", at="/sign-up", name="A", email="a@example.com", company="A")
    assert (told.status_code, told.headers["Retry-After"]) == (429, "1235")
    assert "too many attempts" in told.text
