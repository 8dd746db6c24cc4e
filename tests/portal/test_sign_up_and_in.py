"""Coming in: sign-up in four steps, links out of e-mails, sign-in and sign-out."""

from __future__ import annotations

import pytest

from awssome.control import messages as m
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import Role, TenantState
from awssome.domain.times import new_id
from tests.portal.conftest import SHARED, Browser, Stage
from tests.portal.fake import PASSWORD, Tenant

SIGN_UP = {"name": "Alice", "email": "alice@example.com", "company": "Northwind Cloud"}
ARN = "arn:aws:iam::123456789012:role/awssome"


@pytest.fixture
def pending(stage: Stage) -> Tenant:
    """A tenant whose workspace does not exist yet."""
    tenant = Tenant(new_id(), "northwind", "Northwind Cloud", state=TenantState.PENDING, aws_choice="open")
    return stage.control.add_tenant(tenant, alice=Role.OWNER, vera=Role.VIEWER)


def called(stage: Stage, name: str) -> list[object]:
    return [what for call, what in stage.control.calls if call == name]


def test_the_start_page_says_what_it_does_and_leads_on(stage: Stage) -> None:
    page = stage.visitor().get("/").text
    assert "Your HubSpot deals become AWS deal registrations." in page
    assert 'href="/sign-up"' in page and 'href="/sign-in"' in page


def test_a_tenants_own_host_leads_visitors_to_its_sign_in_and_sign_up_to_the_free_host(stage: Stage) -> None:
    visitor = stage.visitor("paula.localhost:8000")
    assert visitor.get("/").headers["location"] == "/sign-in"
    assert visitor.get("/sign-up").headers["location"] == f"http://{SHARED}/sign-up"


def test_sign_up_asks_for_the_workspace_and_waits_for_the_address(stage: Stage) -> None:
    visitor = stage.visitor()
    answer = visitor.send("/sign-up", at="/sign-up", **SIGN_UP)
    page = visitor.after(answer).text
    assert "We have sent a link to <strong>alice@example.com</strong>" in page
    body = called(stage, "sign_up")[0]
    assert isinstance(body, m.SignUp)
    assert body.company == "Northwind Cloud"


def test_whoever_left_comes_back_to_the_same_step(stage: Stage) -> None:
    visitor = stage.visitor()
    visitor.send("/sign-up", at="/sign-up", **SIGN_UP)
    assert "alice@example.com" in visitor.get("/sign-up").text
    assert "Company" in visitor.get("/sign-up?again=1").text
    resent = visitor.send("/sign-up/resend", at="/sign-up", email="alice@example.com")
    assert "We have sent a link" in visitor.after(resent).text
    assert called(stage, "resend") == ["alice@example.com"]


def test_a_sign_up_that_cannot_be_taken_keeps_what_was_typed(stage: Stage) -> None:
    answer = stage.visitor().send("/sign-up", at="/sign-up", **{**SIGN_UP, "email": "not an address"})
    assert answer.status_code == 422
    assert "Enter an e-mail address." in answer.text
    assert 'value="Northwind Cloud"' in answer.text and 'value="not an address"' in answer.text


def test_a_sign_up_while_the_service_is_silent_keeps_what_was_typed(stage: Stage) -> None:
    visitor = stage.visitor()
    visitor.get("/sign-up")
    stage.control.down = True
    answer = visitor.send("/sign-up", at="/sign-up", **SIGN_UP)
    assert answer.status_code == 503
    assert "does not answer" in answer.text and 'value="alice@example.com"' in answer.text


def test_a_broken_cookie_of_the_sign_up_does_no_harm(stage: Stage) -> None:
    for broken in ("x", "////", "gA=="):
        visitor = stage.visitor()
        visitor.client.cookies.set("awssome_sign_up", broken, domain="freemium.localhost")
        assert visitor.get("/sign-up").status_code == 200


def test_looking_at_a_link_does_not_use_it_up(stage: Stage, northwind: Tenant) -> None:
    stage.control.links["t"] = _link("confirm")
    visitor = stage.visitor()
    for _ in range(3):
        page = visitor.get("/link?token=t")
        assert page.status_code == 200 and "Confirm" in page.text
    assert called(stage, "use_link") == []
    answer = visitor.send("/link", at="/link?token=t", token="t")
    assert answer.status_code == 303 and visitor.session
    assert visitor.get("/").status_code == 200


def test_a_link_works_once_and_then_says_what_to_do(stage: Stage, northwind: Tenant) -> None:
    stage.control.links["t"] = _link("confirm")
    first, second = stage.visitor(), stage.visitor()
    form = second.get("/link?token=t")
    first.send("/link", at="/link?token=t", token="t")
    token = form.text.split('name="csrf_token" value="')[1].split('"')[0]
    used = second.client.post("/link", data={"csrf_token": token, "token": "t"})
    for answer in (used, second.get("/link?token=t"), second.get("/link?token=forged"), second.get("/link")):
        assert answer.status_code == 410
        assert "does not work any more" in answer.text and "/sign-in" in answer.text
    assert not second.session


def test_an_invitation_asks_for_name_and_password(stage: Stage, northwind: Tenant) -> None:
    stage.control.links["t"] = _link("invite", needs_password=True)
    visitor = stage.visitor()
    page = visitor.get("/link?token=t").text
    assert "Join Northwind Cloud" in page and 'name="name"' in page and 'name="password"' in page
    refused = visitor.send("/link", at="/link?token=t", token="t", name="Alice", password="short")
    assert refused.status_code == 422 and "Use 12 to 256" in refused.text and 'value="Alice"' in refused.text
    assert visitor.send("/link", at="/link?token=t", token="t", name="Alice", password=PASSWORD).status_code == 303
    body = called(stage, "use_link")[-1]
    assert isinstance(body, m.UseLink) and body.name == "Alice"


def test_a_reset_asks_for_a_password_only(stage: Stage, northwind: Tenant) -> None:
    stage.control.links["t"] = _link("reset", needs_password=True)
    page = stage.visitor().get("/link?token=t").text
    assert 'name="password"' in page and 'name="name"' not in page


def test_the_aws_step_shows_the_link_and_takes_the_role(stage: Stage, pending: Tenant) -> None:
    alice = stage.browser("alice")
    page = alice.get("/sign-up").text
    assert "stacks/quickcreate?x=1" in page and 'target="_blank"' in page and "external-id-of-northwind" in page
    answer = alice.send("/sign-up/aws", at="/sign-up", choice="link", role_arn=f" {ARN} ")
    page = alice.after(answer).text
    assert "We are making your workspace" in page and 'data-poll="/sign-up/progress"' in page
    assert called(stage, "set_aws_role") == [ARN]


def test_the_aws_step_can_wait(stage: Stage, pending: Tenant) -> None:
    alice = stage.browser("alice")
    page = alice.after(alice.send("/sign-up/aws", at="/sign-up", choice="later"))
    assert called(stage, "set_aws_role") == [None]
    assert "Later, on the page People." in page.text


@pytest.mark.parametrize("typed", ["", "   ", "not an arn"])
def test_a_role_that_cannot_be_taken_is_refused_beside_its_field(stage: Stage, pending: Tenant, typed: str) -> None:
    answer = stage.browser("alice").send("/sign-up/aws", at="/sign-up", choice="link", role_arn=typed)
    assert answer.status_code == 422 and 'aria-invalid="true"' in answer.text
    assert typed.strip() in answer.text
    assert pending.aws_choice == "open"


def test_a_viewer_does_not_choose_the_role(stage: Stage, pending: Tenant) -> None:
    answer = stage.browser("vera").send("/sign-up/aws", at="/sign-up", choice="later")
    assert answer.status_code == 403 and called(stage, "set_aws_role") == []


def test_the_workspace_step_follows_what_happens(stage: Stage, pending: Tenant) -> None:
    pending.aws_choice = "later"
    alice = stage.browser("alice")

    def piece() -> str:
        return alice.get("/sign-up/progress", fragment=True).text

    assert "data-poll" in piece()
    pending.problem = "No server has room."
    failed = piece()
    assert "No server has room." in failed and "data-poll" not in failed and "/sign-up/retry" in failed
    assert alice.send("/sign-up/retry", at="/sign-up").status_code == 303
    assert "data-poll" in piece()
    pending.state, pending.placement = TenantState.ACTIVE, stage.place()
    assert "data-reload" in piece()
    assert "The workspace of Northwind Cloud is ready." in alice.get("/sign-up").text


def test_sign_in_keeps_the_session_in_a_cookie_of_this_host(stage: Stage, northwind: Tenant) -> None:
    visitor = stage.visitor()
    answer = visitor.send(
        "/sign-in",
        at="/sign-in?next=/deals?stage=Qualified",
        email="alice@example.com",
        password=PASSWORD,
        next="/deals",
    )
    assert answer.status_code == 303 and answer.headers["location"] == "/deals"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Domain" not in cookie and "Secure" not in cookie
    assert visitor.get("/deals").status_code == 200


def test_on_a_real_domain_the_cookie_is_secure(stage: Stage, northwind: Tenant) -> None:
    browser = Browser(stage.visitor("freemium.localhost:8000").client)
    browser.client.base_url = "https://freemium.localhost:8000"
    answer = browser.send("/sign-in", at="/sign-in", email="alice@example.com", password=PASSWORD)
    assert "__Host-awssome_portal=" in answer.headers["set-cookie"] and "Secure" in answer.headers["set-cookie"]


def test_a_wrong_password_is_told_and_keeps_the_address(stage: Stage, northwind: Tenant) -> None:
    visitor = stage.visitor()
    answer = visitor.send("/sign-in", at="/sign-in", email="alice@example.com", password="wrong-wrong-wrong")
    assert answer.status_code == 401 and "do not fit together" in answer.text
    assert 'value="alice@example.com"' in answer.text and "wrong-wrong" not in answer.text
    assert not visitor.session


def test_too_many_tries_say_when_to_try_again(stage: Stage) -> None:
    stage.control.refusals["sign_in"] = Refused(Code.LIMITED, "Too many attempts.", "Wait 9 min.", retry_after=540)
    answer = stage.visitor().send("/sign-in", at="/sign-in", email="alice@example.com", password=PASSWORD)
    assert answer.status_code == 429 and "Wait 9 min." in answer.text


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
def test_sign_in_leads_nowhere_else(stage: Stage, northwind: Tenant, target: str) -> None:
    visitor = stage.visitor()
    fields = {"email": "alice@example.com", "password": PASSWORD, "next": target}
    assert visitor.send("/sign-in", at="/sign-in", **fields).headers["location"] == "/"
    assert visitor.client.get("/sign-in", params={"next": target}).headers["location"] == "/"


def test_who_is_signed_in_needs_no_sign_in(stage: Stage, northwind: Tenant) -> None:
    assert stage.browser("alice").get("/sign-in?next=/plan").headers["location"] == "/plan"
    assert stage.browser("alice", "paula.localhost:8000").get("/sign-in").status_code == 200


def test_sign_out_ends_the_session_and_forgets_the_cookie(stage: Stage, northwind: Tenant) -> None:
    alice = stage.browser("alice")
    token = alice.session
    page = alice.after(alice.send("/sign-out"))
    assert "You are signed out." in page.text and not alice.session
    assert called(stage, "sign_out") == [token]
    alice.client.cookies.set("awssome_portal", token or "", domain="freemium.localhost")
    assert alice.get("/deals").headers["location"].startswith("/sign-in"), "a kept answer does not outlive it"


def test_sign_out_while_the_service_is_silent_warns(stage: Stage, northwind: Tenant) -> None:
    alice = stage.browser("alice")
    alice.get("/")
    stage.control.down = True
    page = alice.after(alice.send("/sign-out"))
    assert "signed out in this browser" in page.text and not alice.session


def test_a_forgotten_password_is_asked_for_by_mail(stage: Stage) -> None:
    visitor = stage.visitor()
    page = visitor.after(visitor.send("/forgot", at="/forgot", email="alice@example.com"))
    assert "Look into your mailbox" in page.text
    assert called(stage, "reset_password") == ["alice@example.com"]


def _link(purpose: str, needs_password: bool = False) -> m.LinkInfo:
    values = {"purpose": purpose, "email": "alice@example.com", "company": "Northwind Cloud"}
    return m.LinkInfo.model_validate({**values, "needs_password": needs_password})
