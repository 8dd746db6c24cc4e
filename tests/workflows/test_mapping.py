"""The mapping at work: what HubSpot defines is fetched, a changed mapping reaches the registrations, edits survive."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import update

from awssome.database import Connection
from awssome.database.schema import hubspot_accounts
from awssome.database.tenant import deals as registrations
from awssome.database.tenant import mappings
from awssome.database.tenant.mappings import Definitions
from awssome.domain.choices import FieldMapping, StageMapping
from awssome.domain.deals import FIELD, Stage
from awssome.domain.definitions import PIPELINE
from awssome.domain.errors import Code, Refused
from awssome.domain.mapping import map_deal
from awssome.domain.times import now
from awssome.workflows import hubspot_connection, hubspot_definitions
from tests.hubspot.conftest import EMPTY, TAILSPIN, WINGTIP, Sandbox
from tests.workflows.conftest import Workshop

Workshops = Callable[..., Workshop]


def defined(who: Workshop, portal_id: int = TAILSPIN) -> Definitions:
    found = who.workspace.do(lambda connection: mappings.definitions(connection, portal_id))
    assert found is not None
    return found


def choose(who: Workshop, fields: dict[str, FieldMapping], portal_id: int = TAILSPIN) -> list[str]:
    def work(connection: Connection) -> list[str]:
        version = mappings.chosen(connection).version
        return mappings.save_fields(connection, portal_id, version, fields, "adam@example.com")

    return who.workspace.do(work)


def age(who: Workshop, **ago: float) -> None:
    """Make what is known of the account older."""
    older = update(hubspot_accounts).values(defined_at=now() - timedelta(**ago))
    who.workspace.do(lambda connection: connection.execute(older))


def test_a_sync_learns_what_the_account_defines_once_a_day(workshop: Workshops) -> None:
    alice = workshop(WINGTIP)
    first = alice.sync()
    known = defined(alice, WINGTIP)
    assert (known.account.currency, known.account.time_zone) == ("EUR", "Europe/Berlin")
    assert known.account.pipelines[0].id == PIPELINE
    won = next(stage for stage in known.account.pipelines[1].stages if stage.label == "Won")
    assert won.closed and won.probability == 1
    assert {"dealname", "amount", "dealtype"} <= {each.name for each in known.properties}
    second = alice.sync()
    assert second.calls < first.calls
    assert defined(alice, WINGTIP).defined_at == known.defined_at
    age(alice, days=1.1)
    alice.sync()
    assert defined(alice, WINGTIP).defined_at > known.defined_at  # type: ignore[operator]


def test_amounts_without_a_currency_are_in_the_accounts(workshop: Workshops) -> None:
    alice = workshop(WINGTIP)
    there = {deal.id: deal for deal in alice.deals(WINGTIP)}
    alice.sync()
    live = alice.live()
    assert live and all("deal_currency_code" not in deal.properties for deal in there.values())
    for deal_id, one in live.items():
        assert one.row.deal_currency == ("EUR" if there[deal_id].properties["amount"] else None)


def test_a_changed_mapping_reaches_every_deal_with_the_next_sync_and_edits_survive(
    workshop: Workshops, sandbox: Sandbox
) -> None:
    alice = workshop(TAILSPIN)
    alice.sync()
    edited, other = list(alice.live().values())[:2]
    _edit(alice, edited.row.id, {"next_steps": "Mine"})
    fields = {"next_steps": FieldMapping("hs_object_id"), "title": FieldMapping("dealname")}
    assert choose(alice, fields) == ["next_steps"]
    done = alice.sync()
    assert done.updated == 9, "but for the one whose field a person has set"
    after = alice.live()
    assert after[edited.deal_id].row.next_steps == "Mine"
    assert after[other.deal_id].row.next_steps == other.deal_id
    assert alice.sync().updated == 0
    assert choose(alice, {"next_steps": FieldMapping()}) == ["next_steps"]
    alice.sync()
    after = alice.live()
    assert (after[edited.deal_id].row.next_steps, after[other.deal_id].row.next_steps) == ("Mine", None)


def test_what_is_tried_is_what_a_sync_then_writes(workshop: Workshops) -> None:
    alice = workshop(TAILSPIN)
    alice.sync()
    fields = {
        "next_steps": FieldMapping("description"),
        "use_case": FieldMapping(default="Database"),
        "target_close_date": FieldMapping("closedate", "+30"),
        "opportunity_type": FieldMapping("dealtype", "Flat Renewal", {"newbusiness": "Expansion"}),
    }
    choose(alice, fields)
    mapping = alice.workspace.do(lambda connection: mappings.load(connection, TAILSPIN))
    tried = {}
    for deal_id in alice.live():
        found = hubspot_definitions.read_deal(alice.services, alice.id, deal_id, mapping.properties)
        tried[deal_id] = map_deal(found.properties, mapping).values
    alice.sync()
    for deal_id, one in alice.live().items():
        assert {name: one.row._mapping[name] for name in FIELD} == tried[deal_id]


def test_who_saves_what_is_no_longer_true_is_told(workshop: Workshops) -> None:
    alice = workshop(TAILSPIN)
    hubspot_definitions.refresh(alice.services, alice.id)
    seen = alice.workspace.do(mappings.chosen).version
    stages = {("default", "closedwon"): StageMapping(Stage.LAUNCHED)}

    def save(connection: Connection) -> list[str]:
        return mappings.save_stages(connection, TAILSPIN, seen, stages, "adam@example.com")

    assert alice.workspace.do(save) == ["default/closedwon"]
    with pytest.raises(Refused) as refused:
        alice.workspace.do(save)
    assert refused.value.code is Code.CONFLICT
    late = alice.workspace.do(lambda connection: mappings.chosen(connection).stages)
    assert late == stages

    def take_back(connection: Connection) -> list[str]:
        now_there = mappings.chosen(connection).version
        return mappings.save_stages(connection, TAILSPIN, now_there, dict.fromkeys(stages), "adam@example.com")

    assert alice.workspace.do(take_back) == ["default/closedwon"]
    assert alice.workspace.do(mappings.chosen).version == seen, "as by default is as nothing chosen"


def test_of_two_who_save_at_once_one_is_told(workshop: Workshops) -> None:
    alice = workshop(TAILSPIN)
    hubspot_definitions.refresh(alice.services, alice.id)
    seen = alice.workspace.do(mappings.chosen).version
    start = threading.Barrier(4)

    def save(number: int) -> bool:
        def work(connection: Connection) -> list[str]:
            fields = {"next_steps": FieldMapping(default=f"Call number {number}")}
            return mappings.save_fields(connection, TAILSPIN, seen, fields, "adam@example.com")

        start.wait()
        try:
            return bool(alice.workspace.do(work))
        except Refused as refused:
            assert refused.code is Code.CONFLICT
            return False

    with ThreadPoolExecutor(4) as people:
        saved = list(people.map(save, range(4)))
    assert sum(saved) == 1
    chosen = alice.workspace.do(mappings.chosen).fields
    assert chosen["next_steps"].default == f"Call number {saved.index(True)}"


def test_a_field_that_is_given_back_follows_hubspot_again(workshop: Workshops, sandbox: Sandbox) -> None:
    alice = workshop(TAILSPIN)
    alice.sync()
    deal_id, one = next(iter(alice.live().items()))
    _edit(alice, one.row.id, {"next_steps": "Mine", "title": "Mine"})
    _rename_in_hubspot(sandbox, deal_id, "Theirs")
    alice.sync()
    deal = alice.workspace.do(lambda connection: registrations.find(connection, one.row.id))
    assert deal.hubspot is not None
    assert (deal.values["title"], deal.hubspot.held_back["title"]) == ("Mine", "Theirs")
    version = deal.version

    def give_back(connection: Connection) -> None:
        registrations.use_hubspot(connection, deal.id, version, "title", "alice@example.com")

    alice.workspace.do(give_back)
    _rename_in_hubspot(sandbox, deal_id, "Theirs again")
    alice.sync()
    assert alice.live()[deal_id].row.title == "Theirs again"
    assert alice.live()[deal_id].row.next_steps == "Mine"


def test_nothing_is_saved_before_hubspot_was_asked(workshop: Workshops) -> None:
    alice = workshop(EMPTY)
    with pytest.raises(Refused, match="Nothing is known yet"):
        choose(alice, {"use_case": FieldMapping(default="Database")}, EMPTY)


def test_a_deal_is_read_by_its_number_or_is_not_there(workshop: Workshops, sandbox: Sandbox) -> None:
    alice = workshop(TAILSPIN)
    first, second = sorted(deal.id for deal in alice.deals(TAILSPIN))[:2]
    found = hubspot_definitions.read_deal(alice.services, alice.id, first, ("dealname",))
    assert found.id == first and found.properties["dealname"]
    survivor = str(sandbox.order("deals/merge", portal_id=TAILSPIN, ids=[first, second])["id"])
    assert hubspot_definitions.read_deal(alice.services, alice.id, first, ("dealname",)).id == survivor
    with pytest.raises(Refused, match="has no deal 404"):
        hubspot_definitions.read_deal(alice.services, alice.id, "404", ("dealname",))
    hubspot_connection.disconnect(alice.services, alice.id)
    with pytest.raises(Refused, match="not connected"):
        hubspot_definitions.refresh(alice.services, alice.id)


def test_a_stage_that_is_left_out_says_so(workshop: Workshops) -> None:
    alice = workshop(TAILSPIN)
    alice.sync()
    stages = {("default", "qualifiedtobuy"): StageMapping(None)}

    def save(connection: Connection) -> list[str]:
        version = mappings.chosen(connection).version
        return mappings.save_stages(connection, TAILSPIN, version, stages, "adam@example.com")

    alice.workspace.do(save)
    mapping = alice.workspace.do(lambda connection: mappings.load(connection, TAILSPIN))
    found = map_deal({"dealname": "x", "pipeline": "default", "dealstage": "qualifiedtobuy"}, mapping)
    assert found.skipped == (
        "Your stage mapping leaves out deals in stage “Qualified To Buy” of pipeline “Sales Pipeline”."
    )


def _rename_in_hubspot(sandbox: Sandbox, deal_id: str, name: str) -> None:
    body = {"portal_id": TAILSPIN, "properties": {"dealname": name}}
    assert sandbox.http.patch(f"/_sandbox/deals/{deal_id}", json=body).status_code == 200


def _edit(who: Workshop, registration_id: UUID, values: dict[str, str]) -> None:
    def work(connection: Connection) -> None:
        deal = registrations.find(connection, registration_id)
        registrations.edit(connection, deal.id, deal.version, values, "alice@example.com")

    who.workspace.do(work)
