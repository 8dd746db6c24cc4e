"""Coming from AWS Marketplace: a form of a strange page changes nothing, and who has to sign in first is not lost."""

from __future__ import annotations

import pytest

from tests.portal.conftest import Browser, Stage
from tests.portal.fake import Tenant

FIELD = "x-amzn-marketplace-token"


def arrive(browser: Browser) -> str:
    """AWS' page sends the browser here, from elsewhere and without a token of our forms; where it goes on."""
    headers = {"Origin": "https://aws.amazon.com", "Sec-Fetch-Site": "cross-site"}
    answer = browser.client.post("/api/marketplace", data={FIELD: "a-token"}, headers=headers)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


@pytest.fixture
def alice(stage: Stage, northwind: Tenant) -> Browser:
    return stage.browser("alice")


def test_a_subscription_is_used_when_an_owner_says_so(stage: Stage, alice: Browser) -> None:
    place = arrive(alice)
    assert place == "/marketplace?arrival=arrival-1" and "a-token" not in place
    page = alice.get(place).text
    assert "Use it for Northwind Cloud?" in page and "210987654321" in page
    assert all(name != "claim_subscription" for name, _ in stage.control.calls), "nothing by a link alone"
    done = alice.send("/marketplace", at=place, arrival="arrival-1")
    assert (done.status_code, done.headers["location"]) == (303, "/plan")
    assert ("claim_subscription", "arrival-1") in stage.control.calls
    assert "You are on the paid plan." in alice.after(done).text


def test_who_is_not_signed_in_finds_it_again_afterwards(stage: Stage, northwind: Tenant) -> None:
    visitor = stage.visitor()
    place = arrive(visitor)
    assert visitor.get(place).headers["location"].startswith("/sign-in?next=%2Fmarketplace%3Farrival%3Darrival-1")


def test_who_signs_up_first_is_reminded_at_home(alice: Browser) -> None:
    assert "Use your subscription." not in alice.get("/").text
    arrive(alice)
    assert "Use your subscription." in alice.get("/").text
    assert "Use it for Northwind Cloud?" in alice.get("/marketplace").text
    alice.send("/marketplace", at="/marketplace", arrival="arrival-1")
    assert "Use your subscription." not in alice.get("/").text


@pytest.mark.parametrize("name", ["adam", "mia", "vera"])
def test_nobody_but_an_owner_uses_one(stage: Stage, northwind: Tenant, name: str) -> None:
    browser = stage.browser(name)
    place = arrive(browser)
    assert browser.get(place).status_code == 403
    assert browser.send("/marketplace", at="/", arrival="arrival-1").status_code == 403
    assert "Use your subscription." not in browser.get("/").text


@pytest.mark.parametrize(("token", "status"), [("unknown", 410), ("", 422), ("a" * 4_001, 422)])
def test_what_cannot_be_resolved_is_told_on_a_page(stage: Stage, token: str, status: int) -> None:
    answer = stage.visitor().client.post("/api/marketplace", data={FIELD: token})
    assert answer.status_code == status
    assert "text/html" in answer.headers["content-type"] and "<h1" in answer.text
    assert "set-cookie" not in answer.headers


def test_without_a_form_of_ours_nothing_is_claimed(stage: Stage, alice: Browser) -> None:
    arrive(alice)
    assert alice.client.post("/marketplace", data={"arrival": "arrival-1"}).status_code in (400, 403)
    assert alice.get("/marketplace?arrival=other").status_code == 410
    assert all(name != "claim_subscription" for name, _ in stage.control.calls)
