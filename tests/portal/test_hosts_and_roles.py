"""Which hosts answer, who may come in, and that refusals are told and reported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fastapi.routing import APIRoute, iter_route_contexts

from awssome.database.servers import open_server
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import EngineName, Role, TenantState, Tier
from awssome.portal.guard import Looks, signed_in
from tests.portal.conftest import SHARED, Stage
from tests.portal.fake import Tenant

LEAST_ROLE = {
    "GET /deals": "viewer",
    "GET /deals.csv": "viewer",
    "POST /deals/archive": "member",
    "POST /deals/restore": "member",
    "GET /deals/new": "member",
    "POST /deals/new": "member",
    "GET /deals/{deal_id}": "viewer",
    "GET /deals/{deal_id}/edit": "member",
    "POST /deals/{deal_id}/edit": "member",
    "POST /deals/{deal_id}/archive": "member",
    "POST /deals/{deal_id}/restore": "member",
    "GET /hubspot": "viewer",
    "GET /hubspot/progress": "viewer",
    "GET /hubspot/syncs/{sync_id}": "viewer",
    "POST /hubspot/sync": "member",
    "POST /hubspot/preview": "member",
    "POST /hubspot/cancel": "member",
    "GET /hubspot/picks": "member",
    "POST /hubspot/picks": "member",
    "GET /hubspot/inbox": "viewer",
    "POST /hubspot/inbox": "member",
    "GET /hubspot/mapping": "viewer",
    "POST /hubspot/mapping": "admin",
    "GET /hubspot/mapping/stages": "viewer",
    "POST /hubspot/mapping/stages": "admin",
    "POST /hubspot/mapping/refresh": "member",
    "POST /hubspot/mapping/try": "member",
    "GET /hubspot/install": "admin",
    "POST /hubspot/install": "admin",
    "POST /hubspot/connect": "admin",
    "GET /hubspot/finish": "admin",
    "POST /hubspot/disconnect": "admin",
    "POST /deals/{deal_id}/use-hubspot": "member",
    "GET /plan": "viewer",
    "GET /plan/progress": "viewer",
    "POST /plan/upgrade": "owner",
    "POST /plan/withdraw": "owner",
    "GET /marketplace": "owner",
    "POST /marketplace": "owner",
    "POST /plan/cancel": "owner",
    "POST /plan/rollback": "owner",
    "POST /plan/downgrade": "owner",
    "GET /people": "viewer",
    "POST /people/invite": "admin",
    "POST /people/aws": "admin",
    "POST /people/{account_id}/role": "admin",
    "POST /people/{account_id}/remove": "admin",
    "POST /people/delete": "owner",
    "POST /people/export": "owner",
    "GET /people/export/{archive_id}": "owner",
    "GET /people/export/{archive_id}/progress": "owner",
    "GET /people/export/{archive_id}/file": "owner",
    "GET /return": "viewer",
    "GET /return/progress": "viewer",
    "GET /sign-up/progress": "viewer",
    "POST /sign-up/aws": "admin",
    "POST /sign-up/retry": "admin",
    "GET /account": "signed in",
    "POST /account/password": "signed in",
    "POST /account/sessions/{session_id}/end": "signed in",
    "POST /account/sign-out-everywhere": "signed in",
    "GET /workspaces": "signed in",
    "POST /workspaces": "signed in",
    "GET /": "anybody",
    "GET /healthz": "anybody",
    "GET /metrics": "anybody",
    "POST /api/marketplace": "anybody",
    "GET /sign-up": "anybody",
    "POST /sign-up": "anybody",
    "POST /sign-up/resend": "anybody",
    "GET /sign-in": "anybody",
    "POST /sign-in": "anybody",
    "POST /sign-out": "anybody",
    "GET /forgot": "anybody",
    "POST /forgot": "anybody",
    "GET /link": "anybody",
    "POST /link": "anybody",
    "GET /handover": "anybody",
    "POST /handover": "anybody",
    "GET /hubspot/callback": "anybody",
}
"""What each route asks of who calls it. `GET /` and `GET /sign-up` show a tenant's things to its people only, and
`GET /metrics` shows something to who has its token only."""


def test_every_route_asks_for_the_role_that_it_should(stage: Stage) -> None:
    found: dict[str, str] = {}
    for route in iter_route_contexts(stage.app.routes):
        if isinstance(route.original_route, APIRoute):
            calls = list(_calls(route.dependant))
            role = next((str(call.role) for call in calls if isinstance(call, Looks)), None)
            needs = role or ("signed in" if signed_in in calls else "anybody")
            found |= {f"{method} {route.path}": needs for method in route.methods or ()}
    assert found == LEAST_ROLE


@pytest.mark.parametrize("host", ["localhost:8000", "localhost", "127.0.0.1:8000", "[::1]:8000"])
def test_the_bare_domain_leads_to_the_free_tenants_host(stage: Stage, host: str) -> None:
    visitor = stage.visitor(host)
    answer = visitor.get("/deals?q=a%20b&stage=Qualified")
    assert answer.status_code == 302
    assert answer.headers["location"] == f"http://{SHARED}/deals?q=a%20b&stage=Qualified"
    assert visitor.client.post("/deals/new", data={"title": "x"}).status_code in (403, 404)
    assert visitor.get("/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize("host", ["example.com", "a.b.localhost", "-.localhost", "localhost.evil.com", "xlocalhost"])
def test_a_foreign_host_is_not_answered(stage: Stage, host: str) -> None:
    visitor = stage.visitor(host)
    assert visitor.get("/").status_code == visitor.get("/sign-in").status_code == 404
    assert "This page does not exist" in visitor.get("/").text
    assert visitor.get("/hubspot/callback?state=1").status_code == 404
    assert visitor.get("/healthz").status_code == 200


def test_hubspots_callback_is_on_the_bare_domain_only(stage: Stage) -> None:
    stage.control.states["s"] = SHARED
    assert stage.visitor().get("/hubspot/callback?state=s&code=c").status_code == 404
    assert stage.visitor("localhost:8000").get("/hubspot/callback?state=s&code=c").status_code == 303


def test_a_host_with_a_port_that_is_written_otherwise_is_still_known(stage: Stage, northwind: Tenant) -> None:
    assert stage.browser("alice", "freemium.localhost").get("/deals").status_code == 200


def test_a_visitor_is_sent_to_sign_in_and_the_try_is_reported(stage: Stage) -> None:
    answer = stage.visitor().get("/deals?stage=Qualified")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/sign-in?next=%2Fdeals%3Fstage%3DQualified"
    assert stage.control.denials == [("", "GET /deals")]


def test_a_session_that_has_ended_leads_to_sign_in(stage: Stage, northwind: Tenant) -> None:
    alice = stage.browser("alice")
    assert alice.get("/deals").status_code == 200
    stage.control.live.clear()
    for _, kept in stage.app.state.parts.contexts._kept.items():
        kept.asked_at -= 60
    assert alice.get("/deals").headers["location"].startswith("/sign-in")
    fragment = alice.get("/hubspot/progress", fragment=True)
    assert fragment.status_code == 401 and "signed out" in fragment.text


def test_somebody_of_no_tenant_sees_nothing(stage: Stage, northwind: Tenant) -> None:
    charlie = stage.browser("charlie")
    for path in ("/", "/deals", "/hubspot", "/plan", "/people", "/account", "/workspaces", "/sign-up"):
        answer = charlie.get(path)
        assert answer.status_code == 403, path
        assert "do not belong" in answer.text and "Northwind" not in answer.text
        assert "Sign out" in answer.text, "who came in by mistake can leave"
    assert len(stage.control.denials) == 8


def test_another_tenants_host_refuses(stage: Stage, northwind: Tenant, paulas: Tenant) -> None:
    answer = stage.browser("alice", "paula.localhost:8000").get("/deals")
    assert answer.status_code == 403 and "Paula" not in answer.text


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("vera", set()),
        ("mia", {"/deals/new", "/hubspot/sync"}),
        ("adam", {"/deals/new", "/hubspot/sync", "/hubspot/connect", "/hubspot/disconnect", "/people/invite"}),
        (
            "alice",
            {
                "/deals/new",
                "/hubspot/sync",
                "/hubspot/connect",
                "/hubspot/disconnect",
                "/people/invite",
                "/plan/upgrade",
            },
        ),
    ],
)
def test_each_role_may_what_it_may(stage: Stage, northwind: Tenant, name: str, allowed: set[str]) -> None:
    forms = {
        "/deals/new": {"title": "A deal", "stage": "Qualified"},
        "/hubspot/sync": {},
        "/hubspot/connect": {},
        "/hubspot/disconnect": {},
        "/people/invite": {"email": "new@example.com", "role": "member"},
        "/plan/upgrade": {},
    }
    somebody = stage.browser(name)
    refused = []
    for path, fields in forms.items():
        answer = somebody.send(path, **fields)
        if path in allowed:
            assert answer.status_code == 303, (path, answer.status_code)
        else:
            assert answer.status_code == 403, (path, answer.status_code)
            assert "Nothing was changed" in answer.text
            refused.append((f"{name}@example.com", f"POST {path}"))
    assert stage.control.denials == refused


def test_pages_offer_only_what_the_role_may(stage: Stage, northwind: Tenant) -> None:
    pages = ("/", "/deals", "/hubspot", "/plan", "/people")
    vera = "".join(stage.browser("vera").get(path).text for path in pages)
    alice = "".join(stage.browser("alice").get(path).text for path in pages)
    for word in ("/deals/new", "/hubspot/connect", "/plan/upgrade", "/people/invite", "/remove"):
        assert word in alice and word not in vera


def test_a_form_that_was_made_for_another_tenant_changes_nothing(
    stage: Stage, northwind: Tenant, bikes: Tenant
) -> None:
    stage.control.roles["alice@example.com", bikes.id] = Role.OWNER
    alice = stage.browser("alice", chosen=northwind)
    assert f'name="workspace" value="{northwind.id}"' in alice.get("/deals/new").text
    fields = {"workspace": str(northwind.id), "title": "For Northwind", "stage": "Qualified"}
    assert alice.send("/workspaces", at="/workspaces", tenant_id=bikes.id).status_code == 303
    answer = alice.send("/deals/new", at="/deals/new", **fields)
    assert answer.status_code == 409 and "another workspace" in answer.text
    assert "For Northwind" not in alice.get("/deals").text


def test_a_form_of_another_site_is_refused(stage: Stage, northwind: Tenant) -> None:
    alice = stage.browser("alice")
    answer = alice.client.post("/deals/new", data={"title": "x", "stage": "Qualified"})
    assert answer.status_code == 403
    foreign = alice.client.post("/deals/new", data={}, headers={"Origin": "http://evil.example"})
    assert foreign.status_code == 403


@pytest.mark.parametrize("state", [TenantState.SUSPENDED, TenantState.DELETED])
def test_a_closed_tenant_is_closed(stage: Stage, northwind: Tenant, state: TenantState) -> None:
    northwind.state = state
    answer = stage.browser("alice").get("/deals")
    assert answer.status_code == (403 if state == "suspended" else 410)
    assert str(state) in answer.text


def test_a_pending_tenant_goes_on_with_its_sign_up(stage: Stage, northwind: Tenant) -> None:
    northwind.state, northwind.placement = TenantState.PENDING, None
    for path in ("/", "/deals", "/hubspot"):
        assert stage.browser("alice").get(path).headers["location"] == "/sign-up"


def test_a_paid_tenants_person_is_handed_over_to_its_host_once(stage: Stage, paulas: Tenant) -> None:
    paula = stage.browser("paula")
    handed = paula.get("/plan?x=1").headers["location"]
    assert handed.startswith("http://paula.localhost:8000/handover?ticket=")
    arrived = stage.visitor("paula.localhost:8000")
    answer = arrived.get(handed.removeprefix("http://paula.localhost:8000"))
    assert answer.status_code == 303 and answer.headers["location"] == "/plan?x=1"
    assert arrived.get("/plan").status_code == 200
    again = stage.visitor("paula.localhost:8000").get(handed.removeprefix("http://paula.localhost:8000"))
    assert again.status_code == 410


def test_nobody_is_signed_in_as_somebody_else_without_being_asked(stage: Stage, paulas: Tenant) -> None:
    stage.control.roles["bob@example.com", paulas.id] = Role.MEMBER
    stage.control.add_account("bob@example.com")
    bob = stage.browser("bob", "paula.localhost:8000")
    before = bob.session
    stage.control.tickets["t"] = ("paula@example.com", paulas.id)
    link = "/handover?ticket=t&next=/plan"
    asked = bob.get(link)
    assert (asked.status_code, bob.session) == (409, before)
    assert "bob@example.com" in asked.text and "paula@example.com" in asked.text
    assert bob.client.post("/handover", data={"ticket": "t"}).status_code == 403, "only by our own form"
    answer = bob.send("/handover", at=link, ticket="t", next="/plan")
    assert (answer.status_code, answer.headers["location"]) == (303, "/plan")
    assert bob.session != before and "paula@example.com" in str(bob.session)


def test_who_is_signed_in_as_themselves_is_handed_over_silently(stage: Stage, paulas: Tenant) -> None:
    stage.control.tickets["t"] = ("paula@example.com", paulas.id)
    answer = stage.browser("paula", "paula.localhost:8000").get("/handover?ticket=t&next=/plan")
    assert answer.headers["location"] == "/plan"


def test_a_handover_leads_nowhere_else(stage: Stage, paulas: Tenant) -> None:
    stage.control.tickets["t"] = ("paula@example.com", paulas.id)
    answer = stage.visitor("paula.localhost:8000").get("/handover?ticket=t&next=//evil.example/")
    assert answer.headers["location"] == "/"


def test_a_form_on_the_old_host_says_where_the_workspace_is(stage: Stage, northwind: Tenant) -> None:
    alice = stage.browser("alice")
    page = alice.get("/deals/new").text
    northwind.tier = Tier.PAID
    for kept in stage.app.state.parts.contexts._kept.values():
        kept.asked_at -= 60
    token = page.split('name="csrf_token" value="')[1].split('"')[0]
    answer = alice.client.post("/deals/new", data={"csrf_token": token, "title": "x", "stage": "Qualified"})
    assert answer.status_code == 409 and "northwind.localhost:8000" in answer.text
    piece = alice.get("/hubspot/progress", fragment=True)
    assert piece.status_code == 200 and "data-reload" in piece.text


def test_a_tenant_that_gets_its_own_host_while_a_page_is_made_is_followed_there(
    stage: Stage, northwind: Tenant, engine: EngineName, pool_url: str
) -> None:
    alice, placement = stage.browser("alice"), northwind.placement
    assert alice.get("/deals").status_code == 200 and placement is not None
    server = open_server(engine, pool_url)
    server.claim(placement.schema, 1)
    server.set_fence(placement.schema, 1, mode=FenceMode.RW, epoch=2)
    northwind.tier, northwind.placement = Tier.PAID, replace(placement, epoch=2)
    again = alice.get("/deals?stage=Qualified")
    assert again.headers["location"] == "/deals?stage=Qualified"
    assert alice.after(again).headers["location"].startswith("http://northwind.localhost:8000/handover?ticket=")


def test_pages_go_on_while_the_central_api_is_silent_and_changes_of_deals_too(stage: Stage, northwind: Tenant) -> None:
    alice = stage.browser("alice")
    alice.get("/deals")
    stage.control.down = True
    saved = alice.send("/deals/new", at="/deals/new", title="While it was down", stage="Qualified")
    assert "While it was down" in alice.after(saved).text
    refused = alice.send("/plan/upgrade", at="/deals")
    assert refused.status_code == 503 and "does not answer" in refused.text


def test_nobody_gets_in_while_the_central_api_is_silent(stage: Stage, northwind: Tenant) -> None:
    stage.control.down = True
    assert stage.browser("alice").get("/deals").status_code == 503
    assert stage.visitor().get("/deals").headers["location"].startswith("/sign-in")


def test_a_page_in_a_tenant_that_the_database_does_not_serve_is_calm(stage: Stage, northwind: Tenant) -> None:
    northwind.placement = None
    answer = stage.browser("alice").get("/deals")
    assert answer.status_code == 503 and "Your data is kept" in answer.text and "Retry-After" in answer.headers


def _calls(dependant: Any) -> Iterator[Any]:
    for inner in dependant.dependencies:
        yield inner.call
        yield from _calls(inner)
