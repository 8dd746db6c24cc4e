"""The pages of deals: list, one deal, forms, conflicts, archive, export."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta
from decimal import Decimal
from html import unescape
from typing import Any
from uuid import UUID

import pytest
from httpx2 import Response

from awssome.database.schema import deal_events, deal_registrations, hubspot_mappings
from awssome.database.sessions import Sessions
from awssome.database.tenant import deals
from awssome.domain.deals import Stage as DealStage
from awssome.domain.times import new_id, now
from awssome.portal.deal_csv import guarded
from awssome.portal.deal_form import Submitted
from awssome.web.formats import day
from tests.portal.conftest import Browser, Stage
from tests.portal.fake import Tenant

NEW = {"title": "Fabrikam data platform", "stage": "Qualified"}


@pytest.fixture
def alice(stage: Stage, northwind: Tenant) -> Browser:
    return stage.browser("alice")


def in_workspace(sessions: Sessions, tenant: Tenant, work: Any) -> Any:
    assert tenant.placement is not None
    with sessions.open(tenant.placement) as connection:
        return work(connection)


def add(sessions: Sessions, tenant: Tenant, **values: Any) -> UUID:
    full = {"title": "A deal", "stage": DealStage.QUALIFIED, **values}
    made = in_workspace(sessions, tenant, lambda connection: deals.create(connection, full, "mia@example.com"))
    assert isinstance(made, UUID)
    return made


def come_from_hubspot(sessions: Sessions, tenant: Tenant, deal_id: UUID, edited: list[str], **of_mapping: Any) -> None:
    """As a sync leaves it."""

    def work(connection: Any) -> None:
        mine = deal_registrations.c.id == deal_id
        connection.execute(deal_registrations.update().where(mine).values(source="hubspot", edited_fields=edited))
        connection.execute(
            hubspot_mappings.insert().values(
                portal_id=4128831,
                deal_id="9001",
                registration_id=deal_id,
                state="live",
                source_hash=b"0" * 32,
                created_at=now(),
                **{"first_sync_id": new_id(), "last_sync_id": new_id()} | of_mapping,
            )
        )

    in_workspace(sessions, tenant, work)


def form_of(page: str) -> dict[str, str]:
    """What a browser would send of the deal's form as it stands."""
    inputs = re.findall(r'<input(?![^>]*type="checkbox")[^>]* name="(\w+)"[^>]* value="([^"]*)"', page)
    fields = {name: unescape(value) for name, value in inputs}
    fields |= {name: unescape(text) for name, text in re.findall(r'<textarea[^>]* name="(\w+)"[^>]*>([^<]*)<', page)}
    for name, options in re.findall(r'<select[^>]* name="(\w+)"[^>]*>(.*?)</select>', page, re.S):
        chosen = re.search(r'value="([^"]*)" selected', options)
        fields[name] = unescape(chosen.group(1)) if chosen else ""
    return fields


def test_a_deal_is_written_shown_and_listed(alice: Browser) -> None:
    fields = {**NEW, "deal_amount": "1,250.50", "deal_currency": "EUR", "target_close_date": "2031-03-31"}
    page = alice.after(alice.send("/deals/new", at="/deals/new", **fields)).text
    for shown in ("Fabrikam data platform", "€1,250.50", "31 Mar 2031", "not submitted", "Written by hand", "Missing"):
        assert shown in page
    listed = alice.get("/deals").text
    assert "Fabrikam data platform" in listed and "1 deal" in listed and "Incomplete" in listed


@pytest.mark.parametrize(
    ("field", "typed", "told"),
    [
        ("title", "", "Enter a title."),
        ("deal_amount", "12.34567", "at most 4 digits"),
        ("deal_amount", "a lot", "is not an amount"),
        ("target_close_date", "31.3.2027", "Use a date like"),
        ("customer_website", "javascript:alert(1)", "Use a web address"),
        ("customer_country", "Atlantis", "no country that AWS knows"),
        ("stage", "Won", "none of the values"),
        ("use_case", "Cloud", "none of the values"),
        ("sales_activities", "Talked", "none of the values"),
        ("contract_months", "145", "a whole number from 1 to 144"),
        ("customer_duns", "12345678", "looks like 123456789"),
        ("title", "x\x00y", "cannot be stored"),
    ],
)
def test_what_cannot_be_taken_is_told_beside_the_field_and_kept(
    alice: Browser, field: str, typed: str, told: str
) -> None:
    answer = alice.send("/deals/new", at="/deals/new", **{**NEW, "next_steps": "Call them", field: typed})
    assert answer.status_code == 422
    assert told in answer.text and f'href="#field-{field}"' in answer.text
    assert 'value="Call them"' in answer.text
    assert "0 deals" in alice.get("/deals").text


def test_what_people_type_is_shown_as_text(alice: Browser) -> None:
    evil = '<script>alert("x")</script>'
    page = alice.after(alice.send("/deals/new", at="/deals/new", **{**NEW, "title": evil, "next_steps": evil})).text
    assert evil not in page and "&lt;script&gt;" in page


def test_an_edit_changes_only_what_was_altered(
    stage: Stage, alice: Browser, northwind: Tenant, sessions: Sessions
) -> None:
    deal_id = add(
        sessions, northwind, business_problem="Two lines,\r\nas HubSpot has them.", deal_amount=Decimal("12.5")
    )
    come_from_hubspot(sessions, northwind, deal_id, [])
    form = form_of(alice.get(f"/deals/{deal_id}/edit").text)
    assert form["version"] == "1" and form["deal_amount"] == "12.5"
    # As browsers send it: every line end as CR LF.
    form["business_problem"] = form["business_problem"].replace("\r\n", "\n").replace("\n", "\r\n")
    form["next_steps"] = "Call them"
    page = alice.after(alice.client.post(f"/deals/{deal_id}/edit", data=form)).text
    assert "The deal is saved." in page and "Next steps: – → Call them" in page
    deal = in_workspace(sessions, northwind, lambda connection: deals.find(connection, deal_id))
    assert deal.edited_fields == ("next_steps",), "a later sync may write every other field"
    assert deal.updated_by == "alice@example.com"


def test_a_form_sent_back_unchanged_changes_nothing(alice: Browser, northwind: Tenant, sessions: Sessions) -> None:
    deal_id = add(sessions, northwind, business_problem="Two lines,\nof text.")
    form = form_of(alice.get(f"/deals/{deal_id}/edit").text)
    page = alice.after(alice.client.post(f"/deals/{deal_id}/edit", data=form)).text
    assert "nothing was changed" in page
    assert in_workspace(sessions, northwind, lambda connection: deals.find(connection, deal_id)).version == 1


def test_two_people_who_edit_at_once_lose_nothing(
    stage: Stage, alice: Browser, northwind: Tenant, sessions: Sessions
) -> None:
    deal_id = add(sessions, northwind, next_steps="Write to them", use_case="Networking")
    mia = stage.browser("mia")
    mine, hers = (form_of(who.get(f"/deals/{deal_id}/edit").text) for who in (alice, mia))
    mia.after(mia.client.post(f"/deals/{deal_id}/edit", data={**hers, "use_case": "Archiving", "next_steps": "Wait"}))
    conflict = alice.client.post(f"/deals/{deal_id}/edit", data={**mine, "next_steps": "Call them"})
    assert conflict.status_code == 409
    assert "mia@example.com has changed this deal" in conflict.text
    assert 'value="Call them"' in conflict.text and "Now: Wait" in conflict.text, "what was typed is kept beside theirs"
    assert 'value="Archiving"' in conflict.text, "what Alice did not touch is as Mia left it"
    alice.after(alice.client.post(f"/deals/{deal_id}/edit", data=form_of(conflict.text)))
    deal = in_workspace(sessions, northwind, lambda connection: deals.find(connection, deal_id))
    assert (deal.values["next_steps"], deal.values["use_case"]) == ("Call them", "Archiving")


def test_a_refused_edit_keeps_what_was_typed_and_the_version(
    alice: Browser, northwind: Tenant, sessions: Sessions
) -> None:
    deal_id = add(sessions, northwind)
    form = form_of(alice.get(f"/deals/{deal_id}/edit").text)
    answer = alice.client.post(f"/deals/{deal_id}/edit", data={**form, "title": "Another", "deal_amount": "much"})
    again = form_of(answer.text)
    assert answer.status_code == 422
    assert (again["title"], again["deal_amount"], again["version"]) == ("Another", "much", "1")
    saved = alice.client.post(f"/deals/{deal_id}/edit", data={**again, "deal_amount": "5"})
    assert "Another" in alice.after(saved).text


def test_several_choices_are_sent_and_kept_as_they_are(alice: Browser, northwind: Tenant, sessions: Sessions) -> None:
    chosen = ["Co-Sell - Deal Support", "Co-Sell - Support for Public Tender / RFx"]
    sent = {**NEW, "primary_needs": ["", *chosen]}
    page = alice.after(alice.send("/deals/new", at="/deals/new", **sent)).text
    assert "Co-Sell - Deal Support; Co-Sell - Support for Public Tender / RFx" in page
    (deal_id,) = re.findall(r'href="/deals/([0-9a-f-]{36})/edit"', page)[:1]
    form = form_of(alice.get(f"/deals/{deal_id}/edit").text)
    sent = {**form, "primary_needs": ["", chosen[1]], "sales_activities": ""}
    alice.client.post(f"/deals/{deal_id}/edit", data=sent)
    deal = in_workspace(sessions, northwind, lambda connection: deals.find(connection, UUID(deal_id)))
    assert (deal.values["primary_needs"], deal.values["sales_activities"]) == ([chosen[1]], None)


def test_a_stored_value_that_is_no_choice_is_shown_and_not_emptied_unseen(
    alice: Browser, northwind: Tenant, sessions: Sessions
) -> None:
    deal_id = add(sessions, northwind, use_case="Backup")
    assert "AWS does not know “Backup”" in alice.get(f"/deals/{deal_id}").text
    form = form_of(alice.get(f"/deals/{deal_id}/edit").text)
    alice.client.post(f"/deals/{deal_id}/edit", data={**form, "next_steps": "Call them"})
    assert in_workspace(sessions, northwind, lambda c: deals.find(c, deal_id)).values["use_case"] == "Backup"


def test_hubspots_value_stands_under_a_persons_and_can_be_taken_again(
    alice: Browser, northwind: Tenant, sessions: Sessions
) -> None:
    deal_id = add(sessions, northwind, next_steps="As HubSpot has it", deal_amount=Decimal("12.5"))
    come_from_hubspot(sessions, northwind, deal_id, [])
    form = form_of(alice.get(f"/deals/{deal_id}/edit").text)
    changed = {**form, "next_steps": "Mine", "deal_amount": "13"}
    page = alice.after(alice.client.post(f"/deals/{deal_id}/edit", data=changed)).text
    assert "HubSpot says: As HubSpot has it" in page and "HubSpot says: 12.5" in page
    taken = alice.send(f"/deals/{deal_id}/use-hubspot", at=f"/deals/{deal_id}", field="deal_amount", version=2)
    page = alice.after(taken).text
    assert "Deal amount is as HubSpot has it" in page and "HubSpot says: 12.5" not in page
    deal = in_workspace(sessions, northwind, lambda connection: deals.find(connection, deal_id))
    assert (deal.values["deal_amount"], deal.edited_fields) == (Decimal("12.5"), ("next_steps",))
    assert deal.hubspot is not None and deal.hubspot.held_back == {"next_steps": "As HubSpot has it"}
    stale = alice.send(f"/deals/{deal_id}/use-hubspot", at=f"/deals/{deal_id}", field="next_steps", version=2)
    unknown = alice.send(f"/deals/{deal_id}/use-hubspot", at=f"/deals/{deal_id}", field="title", version=3)
    none = alice.send(f"/deals/{deal_id}/use-hubspot", at=f"/deals/{deal_id}", field="nothing", version=3)
    assert (stale.status_code, unknown.status_code, none.status_code) == (409, 409, 422)


def test_a_viewer_sees_hubspots_value_and_cannot_take_it(
    stage: Stage, alice: Browser, northwind: Tenant, sessions: Sessions
) -> None:
    deal_id = add(sessions, northwind, next_steps="Mine")
    come_from_hubspot(sessions, northwind, deal_id, ["next_steps"], held_back={"next_steps": None})
    vera = stage.browser("vera")
    page = vera.get(f"/deals/{deal_id}").text
    assert "HubSpot says: nothing" in page and "use-hubspot" not in page
    refused = vera.send(f"/deals/{deal_id}/use-hubspot", at="/account", field="next_steps", version=1)
    assert refused.status_code == 403


def test_a_deal_tells_where_and_when_it_was_read(alice: Browser, northwind: Tenant, sessions: Sessions) -> None:
    deal_id, first, last = add(sessions, northwind), new_id(), new_id()
    at = now() - timedelta(days=30)
    runs = {"first_sync_id": first, "last_sync_id": last, "modified_at": at, "read_at": at + timedelta(days=1)}
    come_from_hubspot(sessions, northwind, deal_id, [], **runs)
    line = {"id": new_id(), "registration_id": deal_id, "at": now(), "kind": "updated", "actor": "HubSpot"}
    event = deal_events.insert().values(**line, changes={"title": ["A", "B"]}, sync_id=last)
    in_workspace(sessions, northwind, lambda connection: connection.execute(event))
    page = alice.get(f"/deals/{deal_id}").text
    for shown in ("4128831", "9001", f"/hubspot/syncs/{first}", day(at.date()), day((at + timedelta(days=1)).date())):
        assert shown in page
    assert page.count(f"/hubspot/syncs/{last}") == 2, "in the panel, and in the timeline"


def test_a_lost_deal_is_not_asked_about(alice: Browser, northwind: Tenant, sessions: Sessions) -> None:
    deal_id = add(sessions, northwind, stage=DealStage.CLOSED_LOST)
    page = alice.get(f"/deals/{deal_id}").text
    assert "AWS takes no deal that was lost before it was submitted" in page and "Missing" not in page
    assert "No match" in alice.get("/deals?readiness=incomplete").text


def test_a_field_can_be_emptied(alice: Browser, northwind: Tenant, sessions: Sessions) -> None:
    deal_id = add(sessions, northwind, use_case="Backup")
    form = form_of(alice.get(f"/deals/{deal_id}/edit").text)
    alice.client.post(f"/deals/{deal_id}/edit", data={**form, "use_case": ""})
    assert in_workspace(sessions, northwind, lambda c: deals.find(c, deal_id)).values["use_case"] is None


def test_a_deal_tells_for_each_field_where_it_comes_from(alice: Browser, northwind: Tenant, sessions: Sessions) -> None:
    deal_id = add(sessions, northwind, customer_company="Fabrikam", involvement="Co-Sell")
    come_from_hubspot(sessions, northwind, deal_id, ["customer_company"], defaulted=["involvement"])
    page = alice.get(f"/deals/{deal_id}").text
    origins = dict(re.findall(r'<td class="title">([^<]+)</td>.*?<td class="aside quiet">([^<]+)</td>', page, re.S))
    assert (
        origins["Title"] == "HubSpot"
        and origins["Customer"] == "You"
        and origins["What you want from AWS"] == "Default"
    )
    assert "https://app.hubspot.com/contacts/4128831/record/0-3/9001" in page


def test_a_deal_of_another_tenant_is_not_there_and_the_try_is_reported(
    stage: Stage, alice: Browser, bikes: Tenant, sessions: Sessions
) -> None:
    foreign = add(sessions, bikes, title="Bob's secret")
    tries = [
        alice.get(f"/deals/{foreign}"),
        alice.get(f"/deals/{foreign}/edit"),
        alice.send(f"/deals/{foreign}/edit", at="/deals/new", version=1, **NEW),
        alice.send(f"/deals/{foreign}/archive", at="/deals/new"),
        alice.send(f"/deals/{foreign}/restore", at="/deals/new"),
    ]
    for answer in tries:
        assert answer.status_code == 404 and "secret" not in answer.text
    assert [action for _, action in stage.control.denials] == [
        "GET /deals/{deal_id}",
        "GET /deals/{deal_id}/edit",
        "POST /deals/{deal_id}/edit",
        "POST /deals/{deal_id}/archive",
        "POST /deals/{deal_id}/restore",
    ]
    alice.send("/deals/archive", at="/deals/new", selected=str(foreign))
    assert in_workspace(sessions, bikes, lambda connection: deals.find(connection, foreign)).archived_at is None


def test_what_is_no_id_is_no_page(alice: Browser) -> None:
    for path in ("/deals/1", "/deals/x/edit", f"/deals/{new_id()}x", f"/hubspot/syncs/{new_id()}"):
        assert alice.get(path).status_code == 404


def test_archive_and_restore_one_and_many(alice: Browser, northwind: Tenant, sessions: Sessions) -> None:
    first, second, third = (add(sessions, northwind, title=title) for title in ("One", "Two", "Three"))
    page = alice.after(alice.send(f"/deals/{first}/archive", at=f"/deals/{first}")).text
    assert "The deal is archived." in page and "/restore" in page and f"/deals/{first}/edit" not in page
    back = "/deals?stage=Qualified"
    many = alice.send("/deals/archive", at=back, selected=[str(second), str(third)], back=back)
    assert many.headers["location"] == back
    assert "2 deals archived." in alice.after(many).text
    archived = alice.get("/deals?archived=yes").text
    assert all(title in archived for title in ("One", "Two", "Three"))
    alice.send("/deals/restore", at="/deals?archived=yes", selected=str(second), back="//evil.example")
    assert "Two" in alice.get("/deals").text and "One" not in alice.get("/deals").text
    none = alice.send("/deals/archive", at="/deals")
    assert "0 deals archived." in alice.after(none).text


def test_an_archived_deal_is_not_edited(alice: Browser, northwind: Tenant, sessions: Sessions) -> None:
    deal_id = add(sessions, northwind)
    form = form_of(alice.get(f"/deals/{deal_id}/edit").text)
    alice.send(f"/deals/{deal_id}/archive", at=f"/deals/{deal_id}")
    answer = alice.client.post(f"/deals/{deal_id}/edit", data={**form, "version": "2", "title": "No"})
    assert answer.status_code == 409 and "archived" in answer.text


def test_the_address_of_a_list_filters_sorts_and_pages(alice: Browser, northwind: Tenant, sessions: Sessions) -> None:
    def fill(connection: Any) -> None:
        for number in range(60):
            values = {"title": f"Deal {number:02}", "stage": DealStage.QUALIFIED, "deal_amount": Decimal(number)}
            deals.create(connection, values, "mia@example.com")

    in_workspace(sessions, northwind, fill)
    first = alice.get("/deals?sort=title&q=deal")
    assert titles(first.text) == [f"Deal {number:02}" for number in range(50)]
    assert "50 of 60" in first.text
    following = unescape(re.findall(r'href="(/deals\?[^"]*after=[^"]*)"', first.text)[0])
    second = alice.get(following)
    assert titles(second.text) == [f"Deal {number:02}" for number in range(50, 60)]
    back = unescape(re.findall(r'href="(/deals\?[^"]*before=[^"]*)"', second.text)[0])
    assert titles(alice.get(back).text) == titles(first.text)
    assert titles(alice.get("/deals?sort=-deal_amount&q=deal 5").text)[0] == "Deal 59"
    assert titles(alice.get("/deals?stage=Committed").text) == []
    assert "No match" in alice.get("/deals?readiness=ready").text
    assert len(titles(alice.get("/deals?stage=nonsense&source=x&sort=nonsense").text)) == 50
    assert alice.get("/deals?after=broken").status_code == 422


def test_export_holds_every_deal_of_the_list(alice: Browser, northwind: Tenant, sessions: Sessions) -> None:
    for number in range(3):
        add(sessions, northwind, title=f"Deal {number}", deal_amount=Decimal("-1.50"), stage=list(DealStage)[number])
    answer = alice.get("/deals.csv?q=deal")
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    rows = lines(answer)
    assert [row["Title"] for row in rows] == ["Deal 0", "Deal 1", "Deal 2"]
    assert {row["Deal amount"] for row in rows} == {"-1.5"}
    assert [row["Title"] for row in lines(alice.get("/deals.csv?stage=Qualified"))] == ["Deal 1"]
    assert '/deals.csv?stage=Qualified"' in alice.get("/deals?stage=Qualified&sort=title").text


def test_an_export_in_pieces_is_whole(
    alice: Browser, northwind: Tenant, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("awssome.portal.deal_csv._PAGE", 2)
    for number in range(5):
        add(sessions, northwind, title=f"Deal {number}")
    assert [row["Title"] for row in lines(alice.get("/deals.csv"))] == [f"Deal {number}" for number in range(5)]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "=cmd|' /C calc'!A0"])
def test_no_cell_of_an_export_is_a_formula(alice: Browser, northwind: Tenant, sessions: Sessions, text: str) -> None:
    assert guarded(text) == "'" + text
    add(sessions, northwind, title=text)
    assert [row["Title"] for row in lines(alice.get("/deals.csv"))] == ["'" + text]


def test_the_home_page_says_what_to_do_next(alice: Browser, northwind: Tenant, sessions: Sessions) -> None:
    assert "Connect HubSpot to bring in your deals" in alice.get("/").text
    soon = (now() + timedelta(days=40)).date()
    add(sessions, northwind, deal_amount=Decimal("120000"), deal_currency="USD", target_close_date=soon)
    add(sessions, northwind, deal_amount=Decimal("7"), deal_currency="CHF", stage=DealStage.COMMITTED)
    page = alice.get("/").text
    assert "$120,000" in page and "CHF\u00a07" in page and "Deals by stage" in page and "Value by month" in page
    assert "of 10 deals" in page and 'href="/deals?stage=Committed"' in page


@pytest.mark.parametrize(
    ("typed", "shown", "present", "altered"),
    [
        ({"title": "A"}, {"title": "A"}, {"title": "B"}, {}),
        ({"title": "A"}, {"title": "B"}, {"title": "A"}, {"title": "A"}),
        ({"title": "A"}, {}, {"title": "A"}, {}),
        ({"title": " A "}, {}, {"title": "A"}, {}),
        ({"next_steps": "a\r\nb"}, {"next_steps": "a\nb"}, {}, {}),
        ({"use_case": ""}, {"use_case": "x"}, {}, {"use_case": ""}),
    ],
)
def test_what_somebody_meant_to_change(
    typed: dict[str, str], shown: dict[str, str], present: dict[str, str], altered: dict[str, str]
) -> None:
    assert Submitted(typed, shown).altered(present) == altered


def titles(page: str) -> list[str]:
    return re.findall(r'<td class="title"><a [^>]*>([^<]+)</a>', page)


def lines(answer: Response) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))
