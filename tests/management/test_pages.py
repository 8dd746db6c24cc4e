"""What operators see and do in a browser: real registry, real servers, real moves."""

from __future__ import annotations

import re
from collections.abc import Callable
from uuid import UUID

import pytest
from fastapi import FastAPI
from sqlalchemy import select, update

from awssome.database.mover import Mover
from awssome.database.registry import accounts, audit, instances, moves, placements, sessions, tenants
from awssome.database.registry import servers as registered
from awssome.database.registry.tables import audit_log
from awssome.database.schema import sync_history
from awssome.domain.instances import Blueprint
from awssome.domain.moves import Phase
from awssome.domain.tenants import POOL_LIMIT, EngineName, PlacementState, Role, TenantState, Tier
from awssome.domain.times import new_id, now
from awssome.workflows import watching
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.management.conftest import OLGA, PASSWORD, Desk, visit

MakeTenant = Callable[..., Tenancy]


# --- who may come in


def test_a_visitor_is_led_to_sign_in_and_back_to_the_page_they_asked_for(visitor: Desk, olga: UUID) -> None:
    away = visitor.get("/tenants?tier=paid")
    assert away.status_code == 303
    assert away.headers["location"] == "/sign-in?next=%2Ftenants%3Ftier%3Dpaid"
    form = away.headers["location"]
    back = visitor.send("/sign-in", at=form, email=OLGA.upper(), password=PASSWORD, next="/tenants?tier=paid")
    assert back.headers["location"] == "/tenants?tier=paid"
    assert "awssome_management=" in back.headers["set-cookie"]
    assert OLGA in visitor.after(back).text


def test_sign_in_leads_to_no_other_host(visitor: Desk, olga: UUID) -> None:
    there = visitor.send("/sign-in", at="/sign-in", email=OLGA, password=PASSWORD, next="//evil.example")
    assert there.headers["location"] == "/"


def test_a_wrong_password_opens_nothing_and_is_in_the_audit_log(
    visitor: Desk, olga: UUID, services: WorkerServices
) -> None:
    refused = visitor.send("/sign-in", at="/sign-in", email=OLGA, password="a wrong one, surely", next="/")
    assert refused.status_code == 401
    assert "do not belong to an operator" in refused.text
    assert OLGA in refused.text, "the address need not be typed again"
    assert "a wrong one" not in refused.text
    assert "access.denied" in _actions(services)
    assert visitor.get("/").status_code == 303


@pytest.mark.parametrize("application", ["portal", "management"])
def test_somebody_who_is_no_operator_is_refused_everywhere_and_that_is_in_the_audit_log(
    app: FastAPI, services: WorkerServices, person: Callable[[str], UUID], application: sessions.Application
) -> None:
    with services.registry.begin() as connection:
        token = sessions.create(connection, person("charlie@example.com"), application)
    charlie = visit(app, token)
    for path in _pages(app):
        assert charlie.get(path).status_code == 403, path
    with services.registry.begin() as connection:
        lines = [
            row for row in audit.page(connection, search="charlie", limit=99).rows if row.action == "access.denied"
        ]
    assert len(lines) == len(_pages(app))
    assert str(lines[0].address) == "127.0.0.1"


def test_every_page_and_every_form_needs_a_session(app: FastAPI, visitor: Desk, services: WorkerServices) -> None:
    assert len(_pages(app)) >= 13
    for path in _pages(app):
        assert visitor.get(path).headers["location"].startswith("/sign-in?next="), path
    forms = _forms(app) - {"/sign-in", "/sign-out"}
    assert len(forms) >= 13
    for path in forms:
        assert visitor.send(path, at="/sign-in").status_code == 401, path


def test_a_form_that_did_not_come_from_our_page_changes_nothing(
    desk: Desk, make_tenant: MakeTenant, services: WorkerServices
) -> None:
    tenancy = make_tenant()
    forged = desk.client.post(f"/tenants/{tenancy.slug}/suspend", data={"confirm": "Northwind Cloud"})
    assert forged.status_code == 403
    assert _tenant(services, tenancy).state is TenantState.ACTIVE


def test_who_signs_out_is_out(desk: Desk) -> None:
    assert desk.get("/").status_code == 200
    out = desk.send("/sign-out")
    assert out.headers["location"] == "/sign-in"
    assert "You are signed out." in desk.after(out).text
    assert desk.get("/").status_code == 303


@pytest.mark.parametrize(
    "address",
    [
        "/tenants?q=%00",
        "/tenants/%00",
        "/tenants?after=x",
        "/tenants?tier=%00&state=%00",
        "/servers/%00",
        "/moves/x",
        "/moves?after=x",
        "/jobs?state=%00",
        "/jobs?after=99999999999999999999",
        "/audit?tenant=%00",
        "/audit?after=-1&before=x",
        "/palette?q=%00",
    ],
)
def test_an_address_that_nobody_was_given_is_refused_in_words(desk: Desk, address: str) -> None:
    answer = desk.get(address)
    assert answer.status_code in (404, 422)
    assert "<h1>" in answer.text
    assert OLGA in answer.text, "an error page is a page: the way on is there"


# --- tenants


def test_tenants_are_searched_filtered_sorted_and_paged_in_the_address(
    desk: Desk, services: WorkerServices, person: Callable[[str], UUID]
) -> None:
    owner = person("ada@zebra.example")
    with services.registry.begin() as connection:
        for number in range(60):
            made = tenants.create(connection, f"Company {number:02}")
            if number % 10 == 0:
                tenants.change(connection, made.id, tier=Tier.PAID)
            if number == 7:
                accounts.add_member(connection, owner, made.id, Role.OWNER)
    first = desk.get("/tenants?sort=company")
    assert "50 of 60" in first.text
    assert _companies(first.text) == [f"Company {number:02}" for number in range(50)]
    second = desk.get(_link(first.text, "after")).text
    assert _companies(second) == [f"Company {number:02}" for number in range(50, 60)]
    assert _companies(desk.get(_link(second, "before")).text) == _companies(first.text)
    assert _companies(desk.get("/tenants?tier=paid&sort=-company").text) == [
        f"Company {number}0" for number in (5, 4, 3, 2, 1)
    ] + ["Company 00"]
    assert _companies(desk.get("/tenants?q=zebra").text) == ["Company 07"]
    assert _companies(desk.get("/tenants?state=active").text) == []
    assert "No match" in desk.get("/tenants?q=nobody").text
    assert "No match" in desk.get("/tenants?q=%25").text, "a percent sign is a percent sign"


def test_a_name_with_markup_is_shown_as_it_is(desk: Desk, services: WorkerServices) -> None:
    with services.registry.begin() as connection:
        made = tenants.create(connection, "<script>alert(1)</script> & Söhne")
    for path in ("/tenants", f"/tenants/{made.slug}", "/palette?q=script"):
        page = desk.get(path).text
        assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; Söhne" in page, path
        assert "<script>alert" not in page, path


def test_a_tenants_page_tells_where_it_is_and_what_it_synced(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant
) -> None:
    tenancy = make_tenant("Northwind Cloud", email="alice@northwind.example")
    with services.sessions.open(tenancy.placement) as connection:
        connection.execute(sync_history.insert().values(_sync(available=250, imported=10)))
    page = desk.get(f"/tenants/{tenancy.slug}").text
    for words in ("Northwind Cloud", "alice@northwind.example", "pool-1", tenancy.placement.schema, "In use"):
        assert words in page
    assert "10 of 250" in page
    assert page == desk.get(f"/tenants/{tenancy.slug}").text or str(tenancy.id) in page
    assert desk.get(f"/tenants/{tenancy.id}").status_code == 200
    assert desk.get("/tenants/nobody-like-that").status_code == 404


def test_a_tenants_page_comes_although_its_server_is_down(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant
) -> None:
    tenancy = make_tenant()
    with services.registry.begin() as connection:
        registered.change(connection, registered.by_name(connection, "pool-1").id, port=9)
    page = desk.get(f"/tenants/{tenancy.slug}")
    assert page.status_code == 200
    assert "The syncs cannot be read now." in page.text


def test_suspending_needs_the_tenants_name_and_can_be_undone(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant
) -> None:
    tenancy = make_tenant("Northwind Cloud")
    page = f"/tenants/{tenancy.slug}"
    wrong = desk.send(f"{page}/suspend", at=page, confirm="Northwind")
    assert wrong.status_code == 422
    assert "Nothing was changed." in wrong.text
    assert _tenant(services, tenancy).state is TenantState.ACTIVE
    done = desk.after(desk.send(f"{page}/suspend", at=page, confirm="Northwind Cloud")).text
    assert "Northwind Cloud is suspended." in done
    assert _tenant(services, tenancy).state is TenantState.SUSPENDED
    again = desk.send(f"{page}/suspend", at=page, confirm="Northwind Cloud")
    assert again.status_code == 409
    desk.after(desk.send(f"{page}/resume", at=page))
    assert _tenant(services, tenancy).state is TenantState.ACTIVE
    assert {"tenant.suspended", "tenant.resumed"} <= _actions(services)


# --- moves


def test_an_upgrade_shows_its_progress_its_evidence_and_the_way_back(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant, dedicated: str
) -> None:
    tenancy = make_tenant("Northwind Cloud")
    with services.sessions.open(tenancy.placement) as connection:
        connection.execute(sync_history.insert().values(_sync(available=250, imported=10)))
    page = f"/tenants/{tenancy.slug}"
    assert "dedicated-1" in desk.get(page).text, "the dialog offers the free server"
    begun = desk.after(desk.send(f"{page}/upgrade", at=page, dedicated=dedicated)).text
    assert "Upgrade under way" in begun
    progress = re.search(r'data-poll="(/moves/([0-9a-f-]+)/progress)"', begun)
    assert progress is not None
    assert _tenant(services, tenancy).tier is Tier.PAID, "the grant lifts the limit at once"
    running = desk.get(progress.group(1), fragment=True)
    assert "data-poll" in running.text
    assert "<html" not in running.text
    twice = desk.send(f"{page}/move", at=page, server="pool-1")
    assert twice.status_code == 409

    move_id = UUID(progress.group(2))
    assert _mover(services).carry_on(move_id) is Phase.RETAINING

    settled = desk.get(progress.group(1), fragment=True).text
    assert "data-poll" not in settled
    assert "data-reload" in settled, "the open page loads once more, with what may be done now"
    shown = desk.get(f"/moves/{move_id}").text
    assert "pool-1 → dedicated-1" in shown
    assert "12 of 12 tables equal" in shown
    with services.registry.begin() as connection:
        evidence = moves.find(connection, move_id).evidence["tables"]
    assert evidence["sync_history"]["rows"] == 1
    for name, table in evidence.items():
        assert f"<code>{name}</code>" in shown
        assert shown.count(table["source"]) >= 2, "whole checksums are on the page, for paper"
    assert "Roll back…" in desk.get(page).text
    assert "dedicated-1" in _facts(desk.get(page).text)


def test_a_rollback_needs_the_name_and_takes_the_tenant_back(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant, dedicated: str
) -> None:
    tenancy = make_tenant("Northwind Cloud")
    page = f"/tenants/{tenancy.slug}"
    early = desk.send(f"{page}/rollback", at=page, confirm="Northwind Cloud")
    assert early.status_code == 409
    desk.send(f"{page}/upgrade", at=page)
    _carry_on(services, tenancy)
    wrong = desk.send(f"{page}/rollback", at=page, confirm="northwind cloud")
    assert wrong.status_code == 422
    assert "Type “Northwind Cloud” to go on." in wrong.text
    begun = desk.after(desk.send(f"{page}/rollback", at=page, confirm="Northwind Cloud")).text
    assert "Rollback under way" in begun
    _carry_on(services, tenancy)
    assert "pool-1" in _facts(desk.get(page).text)
    assert _tenant(services, tenancy).tier is Tier.PAID, "a rollback keeps the tier"
    assert desk.get("/moves").text.partition("<table")[2].count("Done, source kept") == 2


def test_an_upgrade_without_a_free_server_lifts_the_limit_and_says_that_no_move_has_begun(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant
) -> None:
    tenancy = make_tenant()
    page = f"/tenants/{tenancy.slug}"
    assert "No dedicated server is free." in desk.get(page).text
    told = desk.after(desk.send(f"{page}/upgrade", at=page)).text
    assert "The paid tier is granted, and the data stays where it is. No dedicated server is free." in told
    assert _tenant(services, tenancy).tier is Tier.PAID
    assert _moves(services, tenancy) == []
    again = desk.send(f"{page}/upgrade", at=page)
    assert again.status_code == 503
    assert tenancy.slug in again.text, "it is told on the tenant's own page"


def test_a_free_tenant_on_a_server_of_its_own_becomes_paid_where_it_is(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant, dedicated: str
) -> None:
    tenancy = make_tenant()
    page = f"/tenants/{tenancy.slug}"
    desk.send(f"{page}/upgrade", at=page)
    _carry_on(services, tenancy)
    with services.registry.begin() as connection:
        tenants.change(connection, tenancy.id, tier=Tier.FREE)
    told = desk.after(desk.send(f"{page}/upgrade", at=page)).text
    assert "The paid tier is granted" in told
    assert "has a dedicated server already." in told
    assert _tenant(services, tenancy).tier is Tier.PAID
    assert len(_moves(services, tenancy)) == 1


def test_a_move_can_be_called_off_before_the_switch(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant, dedicated: str
) -> None:
    tenancy = make_tenant()
    page = f"/tenants/{tenancy.slug}"
    desk.send(f"{page}/upgrade", at=page)
    move_id = _moves(services, tenancy)[0].id
    shown = desk.get(f"/moves/{move_id}").text
    assert f'action="/moves/{move_id}/cancel"' in shown
    desk.after(desk.send(f"/moves/{move_id}/cancel", at=page))
    assert _mover(services).carry_on(move_id) is Phase.CANCELLED
    assert "Cancelled" in desk.get(f"/moves/{move_id}").text
    late = desk.send(f"/moves/{move_id}/cancel", at=page)
    assert late.status_code == 409
    assert _tenant(services, tenancy).placement_id == tenancy.placement.placement_id


def test_a_failed_move_tells_why_and_is_tried_again(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant, dedicated: str
) -> None:
    tenancy = make_tenant("Northwind Cloud")
    page = f"/tenants/{tenancy.slug}"
    desk.send(f"{page}/upgrade", at=page)
    move_id = _moves(services, tenancy)[0].id
    with services.registry.begin() as connection:
        move = moves.claim(connection, move_id)
        moves.advance(connection, move, Phase.FAILED, problem="deal_events differs: 2 rows here, 1 there.")
    shown = desk.get(f"/moves/{move_id}").text
    assert "deal_events differs: 2 rows here, 1 there." in shown
    assert "The tenant is where it was" in shown
    home = desk.get("/").text
    assert "Failed move" in home
    assert f"/moves/{move_id}" in home
    desk.after(desk.send(f"/moves/{move_id}/retry", at=page))
    assert _mover(services).carry_on(move_id) is Phase.RETAINING
    assert "Failed move" not in desk.get("/").text


# --- servers


def test_servers_show_their_load_and_can_be_closed_and_opened(
    engine: EngineName, desk: Desk, services: WorkerServices, make_tenant: MakeTenant
) -> None:
    make_tenant("Northwind Cloud")
    listed = desk.get("/servers").text
    assert f"of {POOL_LIMIT[engine]:,}" in listed
    shown = desk.get("/servers/pool-1").text
    assert "Northwind Cloud" in shown
    closed = desk.after(desk.send("/servers/pool-1/close", at="/servers/pool-1")).text
    assert "pool-1 takes no new tenants." in closed
    with services.registry.begin() as connection:
        assert not registered.by_name(connection, "pool-1").open
    opening = desk.after(desk.send("/servers/pool-1/open", at="/servers/pool-1")).text
    assert "A worker checks pool-1 now and opens it." in opening
    assert _jobs(services, "check_server") == 1
    assert desk.get("/servers/nowhere").status_code == 404


def test_a_server_that_aws_makes_says_how_far_it_is_and_is_not_opened_by_hand(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant
) -> None:
    tenancy = make_tenant()
    with services.registry.begin() as connection:
        server_id = instances.order(connection, Blueprint("postgres", "db.t3.medium", 20), tenancy.id)
        name = registered.by_id(connection, server_id).name
    assert name in desk.get("/servers").text
    page = desk.get(f"/servers/{name}")
    assert "Asked for at AWS" in page.text
    assert "not there yet" in page.text
    assert "Open to new tenants" not in page.text
    refused = desk.send(f"/servers/{name}/open", at=f"/servers/{name}")
    assert refused.status_code == 409
    assert "is not there" in refused.text
    with services.registry.begin() as connection:
        instances.tell(connection, server_id, "The account may have no more instances of RDS. Ask AWS for more.")
        watching.settle(connection, services.queue)
    assert "no more instances of RDS" in desk.get("/alerts").text
    assert "AWS does not make a server" in desk.get(f"/servers/{name}").text


def test_a_server_is_added_with_its_secret_out_of_sight(desk: Desk, services: WorkerServices) -> None:
    url = "postgresql://admin:swordfish@10.0.3.18:5432/tenants"
    wrong = desk.send("/servers/new", at="/servers/new", name="", kind="pool", engine="oracle", url=url, capacity="x")
    assert wrong.status_code == 422
    assert "3 things need an answer." in wrong.text, "name, engine and capacity at once"
    assert "swordfish" not in wrong.text
    fields = {"name": "pool-2", "kind": "pool", "engine": "postgresql", "url": url, "capacity": "1,500"}
    for name in ("pool/../x", "Pool", "pool--2", "", "p" * 61, "pool\x00"):
        refused = desk.send("/servers/new", at="/servers/new", **{**fields, "name": name})
        assert refused.status_code == 422, name
        assert "Use a letter first" in refused.text
    added = desk.after(desk.send("/servers/new", at="/servers/new", **fields)).text
    assert "pool-2 is registered." in added
    assert "10.0.3.18:5432" in added
    assert "swordfish" not in added
    with services.registry.begin() as connection:
        row = registered.by_name(connection, "pool-2")
    assert (row.kind, row.capacity, row.open) == ("pool", 1500, False)
    again = desk.send("/servers/new", at="/servers/new", **fields)
    assert again.status_code == 409
    assert "There is a server named “pool-2” already." in again.text


def test_without_an_open_pool_somebody_is_needed(desk: Desk, services: WorkerServices) -> None:
    assert "Nothing needs you" in desk.get("/").text
    desk.send("/servers/pool-1/close")
    assert "Nobody can sign up until a pool is open." in desk.get("/").text


def test_a_pool_that_is_nearly_full_needs_somebody(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant
) -> None:
    tenancy = make_tenant()
    assert "Pool near its limit" not in desk.get("/").text
    with services.registry.begin() as connection:
        pool = registered.by_name(connection, "pool-1").id
        registered.change(connection, pool, capacity=10)
        for _ in range(8):
            kept = placements.create(connection, tenancy.id, pool, services.keys.key_id)
            placements.mark(connection, kept, PlacementState.RETAINED, retain_until=now())
    assert "Nearly full" in desk.get("/servers").text
    for path in ("/", "/servers/pool-1", "/alerts"):
        assert "Free places: 1 of 10." in desk.get(path).text, path
    with services.registry.begin() as connection:
        registered.change(connection, pool, capacity=9)
    assert "Free places: 0 of 9." in desk.get("/servers/pool-1").text
    assert "Nobody can sign up until a pool is open." in desk.get("/").text


# --- home, jobs, audit log, operators, palette


def test_home_says_that_nothing_needs_you_until_something_does(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant
) -> None:
    tenancy = make_tenant("Northwind Cloud", email="alice@northwind.example")
    assert "Nothing needs you" in desk.get("/").text
    with services.registry.begin() as connection:
        tenants.change(connection, tenancy.id, upgrade_requested_at=now(), upgrade_requested_by=tenancy.owner_id)
    home = desk.get("/").text
    assert "Nothing needs you" not in home
    assert "Upgrade requested" in home
    assert "asked by alice@northwind.example" in home
    assert "1 thing needs you" in home


def test_a_failed_job_is_found_and_tried_again(desk: Desk, services: WorkerServices) -> None:
    with services.registry.begin() as connection:
        services.queue.provision(connection, new_id())
        connection.exec_driver_sql("UPDATE procrastinate_jobs SET status = 'failed'")
        job = connection.exec_driver_sql("SELECT id FROM procrastinate_jobs").scalar_one()
    assert "provision" in desk.get("/jobs?state=failed").text
    assert "No match" in desk.get("/jobs?state=doing").text
    assert "1 failed job" in desk.get("/").text
    desk.after(desk.send(f"/jobs/{job}/retry"))
    with services.registry.begin() as connection:
        assert connection.exec_driver_sql("SELECT status FROM procrastinate_jobs").scalar_one() == "todo"
    refused = desk.send(f"/jobs/{job}/retry")
    assert refused.status_code == 409


def test_the_audit_log_is_searched_narrowed_to_a_tenant_and_paged(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant
) -> None:
    tenancy = make_tenant("Northwind Cloud")
    with services.registry.begin() as connection:
        for number in range(60):
            audit.record(connection, audit.Actor("olga@awssome.example"), f"test.line_{number:02}", detail=number)
    first = desk.get("/audit").text
    assert first.count("test.line_") == 50
    older = desk.get(_link(first, "after")).text
    assert older.count("test.line_") == 10
    assert desk.get(_link(older, "before")).text.count("test.line_") == 50
    assert desk.get("/audit?q=line_42").text.count("test.line_") == 1
    narrowed = desk.get(f"/audit?tenant={tenancy.slug}").text
    assert "tenant.activated" in narrowed
    assert "test.line_" not in narrowed
    assert desk.get("/audit?after=nonsense").status_code == 422


def test_a_changed_line_of_the_audit_log_is_found(desk: Desk, services: WorkerServices) -> None:
    assert "Nothing is sealed yet" in desk.after(desk.send("/audit/verification")).text
    with services.registry.begin() as connection:
        audit.record(connection, audit.Actor("mallory"), "test.line")
    with services.registry.begin() as connection:
        assert audit.seal(connection) >= 1
    assert "Every seal holds" in desk.after(desk.send("/audit/verification")).text
    with services.registry.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE audit_log DISABLE TRIGGER USER")
        connection.execute(update(audit_log).where(audit_log.c.actor == "mallory").values(actor="olga"))
    assert "are not what was sealed" in desk.after(desk.send("/audit/verification")).text


def test_an_operator_changes_the_password_and_other_sessions_end(
    app: FastAPI, desk: Desk, services: WorkerServices, olga: UUID
) -> None:
    with services.registry.begin() as connection:
        other = visit(app, sessions.create(connection, olga, "management", agent="Another browser"))
    assert "Another browser" in desk.get("/operators").text
    wrong = desk.send("/operators/password", current="not this one", password="nine loud geese at noon")
    assert wrong.status_code == 422
    assert "This is not your present password." in wrong.text
    short = desk.send("/operators/password", current=PASSWORD, password="short")
    assert short.status_code == 422
    changed = desk.send("/operators/password", current=PASSWORD, password="nine loud geese at noon")
    assert "Your password is changed" in desk.after(changed).text
    assert other.get("/").status_code == 303
    assert desk.get("/").status_code == 200
    with services.registry.begin() as connection:
        assert accounts.password_fits(accounts.find(connection, olga), "nine loud geese at noon")


def test_an_operator_ends_one_of_the_sessions(
    app: FastAPI, desk: Desk, services: WorkerServices, olga: UUID, person: Callable[[str], UUID]
) -> None:
    with services.registry.begin() as connection:
        mine = sessions.create(connection, olga, "management")
        theirs = sessions.create(connection, person("bob@example.com"), "portal")
        own, foreign = sessions.find(connection, mine, "management"), sessions.find(connection, theirs, "portal")
    assert own is not None
    assert foreign is not None
    desk.after(desk.send(f"/operators/sessions/{own.id}/end"))
    assert visit(app, mine).get("/").status_code == 303
    assert desk.send(f"/operators/sessions/{foreign.id}/end").status_code == 404


def test_the_palette_finds_pages_tenants_servers_and_moves(
    desk: Desk, services: WorkerServices, make_tenant: MakeTenant, dedicated: str
) -> None:
    tenancy = make_tenant("Northwind Cloud")
    desk.send(f"/tenants/{tenancy.slug}/upgrade")
    assert 'href="/audit"' in desk.get("/palette?q=audit", fragment=True).text
    found = desk.get("/palette?q=northwind", fragment=True).text
    assert f'href="/tenants/{tenancy.slug}"' in found
    assert f'href="/moves/{_moves(services, tenancy)[0].id}"' in found
    assert 'href="/servers/dedicated-1"' in desk.get("/palette?q=dedi", fragment=True).text
    for name in (tenancy.placement.schema, str(tenancy.id)):
        assert f'href="/tenants/{tenancy.slug}"' in desk.get(f"/palette?q={name}", fragment=True).text
    assert "Nothing is called" in desk.get("/palette?q=zzz", fragment=True).text


# --- reading what came of it


def _pages(app: FastAPI) -> set[str]:
    return _paths(app, "GET") - {"/sign-in"}


def _forms(app: FastAPI) -> set[str]:
    return _paths(app, "POST")


def _paths(app: FastAPI, method: str) -> set[str]:
    """Every address of the pages, with something in place of the parameters."""
    found = set()
    for path, operations in app.openapi()["paths"].items():
        if method.lower() in operations and not path.startswith("/api/"):
            found.add(re.sub(r"\{(move_id|session_id)\}", str(new_id()), path).replace("{job_id}", "1"))
    return {re.sub(r"\{\w+\}", "nobody", path) for path in found}


def _companies(page: str) -> list[str]:
    return re.findall(r'<td class="title"><a href="/tenants/[^"]+">([^<]+)</a>', page)


def _link(page: str, key: str) -> str:
    """The address of the page after or before."""
    found = re.search(rf'href="([^"]+[?;]{key}=[^"]+)"', page)
    assert found is not None
    return found.group(1).replace("&amp;", "&")


def _facts(page: str) -> str:
    return page[page.index('<dl class="facts">') : page.index("</dl>", page.index('<dl class="facts">'))]


def _tenant(services: WorkerServices, tenancy: Tenancy) -> tenants.Tenant:
    with services.registry.begin() as connection:
        return tenants.find(connection, tenancy.id)


def _moves(services: WorkerServices, tenancy: Tenancy) -> list[moves.Move]:
    with services.registry.begin() as connection:
        return [moves.find(connection, row.id) for row in moves.page(connection, tenant_id=tenancy.id).rows]


def _mover(services: WorkerServices) -> Mover:
    return Mover(services.registry, services.keys, services.open_server)


def _carry_on(services: WorkerServices, tenancy: Tenancy) -> None:
    assert _mover(services).carry_on(_moves(services, tenancy)[0].id) is Phase.RETAINING


def _actions(services: WorkerServices) -> set[str]:
    with services.registry.begin() as connection:
        return set(connection.execute(select(audit_log.c.action)).scalars())


def _jobs(services: WorkerServices, task: str) -> int:
    with services.registry.begin() as connection:
        query = "SELECT count(*) FROM procrastinate_jobs WHERE task_name = %s"
        return int(connection.exec_driver_sql(query, (f"awssome.{task}",)).scalar_one())


def _sync(**values: int) -> dict[str, object]:
    counts = dict.fromkeys(("imported", "seen", "created", "updated", "unchanged", "left_out", "failed", "calls"), 0)
    row = {"id": new_id(), "state": "done", "attempt": 1, "requested_by": "alice@northwind.example"}
    return {**row, **counts, "requested_at": now(), "started_at": now(), "finished_at": now(), **values}
