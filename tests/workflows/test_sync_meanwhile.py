"""What a sync hangs on changes while it is under way: the account, the mapping, the deals themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from awssome.database import Connection
from awssome.database.tenant import hubspot as stored
from awssome.database.tenant import mappings, syncs
from awssome.domain import times
from awssome.domain.choices import StageMapping
from awssome.domain.deals import Stage
from awssome.domain.mapping import Mapping
from awssome.domain.syncs import IssueKind, SyncMode, SyncState
from awssome.domain.tenants import Tier
from awssome.hubspot.client import Client
from awssome.hubspot.errors import Rejected
from awssome.hubspot.models import BatchResult, Deal
from awssome.workflows import hubspot_connection, sync
from awssome.workflows.sync import everything
from tests.hubspot.conftest import NORTHWIND, TAILSPIN, Sandbox
from tests.workflows.conftest import Workshop, first_ten

Workshops = Callable[..., Workshop]


def after_a_page(workshop: Workshop, sync_id: Any, then: Callable[[], Any]) -> Callable[[], bool]:
    """Does something once the sync has written a page; never asks it to stop."""
    done: list[bool] = []

    def look() -> bool:
        if not done and workshop.find(sync_id).seen:
            done.append(True)
            then()
        return False

    return look


def stopped_after_a_page(workshop: Workshop) -> Any:
    """A sync that was interrupted with a part of the deals here."""
    sync_id = workshop.queue()
    with pytest.raises(sync.NotNow):
        workshop.sync(sync_id, lambda: workshop.find(sync_id).seen > 0)
    assert workshop.find(sync_id).seen > 0
    return sync_id


def choose(workshop: Workshop, portal_id: int, stages: dict[tuple[str, str], StageMapping | None]) -> None:
    """Map stages. None: as by default."""

    def work(connection: Connection) -> None:
        version = mappings.chosen(connection).version
        mappings.save_stages(connection, portal_id, version, stages, "paula@example.com")

    workshop.workspace.do(work)


@pytest.mark.parametrize(("first", "then"), [(NORTHWIND, TAILSPIN), (TAILSPIN, NORTHWIND)])
def test_a_sync_that_was_interrupted_begins_anew_at_another_account(
    workshop: Workshops, monkeypatch: pytest.MonkeyPatch, first: int, then: int
) -> None:
    monkeypatch.setattr(everything, "LIST_PAGE", 20)
    monkeypatch.setattr(Mapping, "digest", b"the accounts define the same")
    paula = workshop(first, tier=Tier.PAID)
    sync_id = stopped_after_a_page(paula)
    hubspot_connection.disconnect(paula.services, paula.id)
    paula.connect(then)
    done = paula.sync(sync_id)
    there = {deal.id for deal in paula.deals(then)}
    assert done.state is SyncState.DONE
    assert there <= paula.live().keys()
    assert (done.mode, done.imported, done.available) == (SyncMode.FULL, len(there), len(there))


def test_disconnecting_ends_a_sync_although_another_workspace_keeps_the_app_installed(workshop: Workshops) -> None:
    paula, other = workshop(tier=Tier.PAID), workshop(company="Bob & Co", tier=Tier.PAID)
    sync_id = paula.queue()
    leave = after_a_page(paula, sync_id, lambda: hubspot_connection.disconnect(paula.services, paula.id))
    with pytest.raises(sync.NotNow):
        paula.sync(sync_id, leave)
    here = len(paula.live())
    assert 0 < here < len(paula.deals())
    ended = paula.sync(sync_id)
    assert (ended.state, len(paula.live())) == (SyncState.FAILED, here)
    assert ended.problem is not None
    assert "not connected" in ended.problem
    assert other.sync().state is SyncState.DONE


def test_a_mapping_that_is_changed_and_changed_back_leaves_no_trace(workshop: Workshops) -> None:
    paula = workshop(NORTHWIND, tier=Tier.PAID)
    paula.sync()
    before = {one.deal_id: one.row.stage for one in paula.registrations()}
    others = {("default", "closedwon"): Stage.PROSPECT, ("default", "appointmentscheduled"): Stage.LAUNCHED}
    choose(paula, NORTHWIND, {name: StageMapping(stage) for name, stage in others.items()})
    sync_id = stopped_after_a_page(paula)
    paula.workspace.do(lambda connection: syncs.cancel(connection, sync_id, "paula@example.com"))
    assert {one.deal_id: one.row.stage for one in paula.registrations()} != before
    choose(paula, NORTHWIND, dict.fromkeys(others))
    paula.sync()
    assert {one.deal_id: one.row.stage for one in paula.registrations()} == before
    assert paula.sync().mode is SyncMode.INCREMENTAL


def test_deals_that_the_mapping_leaves_out_take_none_of_the_ten_places(workshop: Workshops) -> None:
    alice = workshop(TAILSPIN)
    deals = {deal.id: deal for deal in alice.deals(TAILSPIN)}
    first = first_ten(list(deals.values()))
    (pipeline, stage), *_ = sorted(
        (str(deals[one].properties.get("pipeline") or "default"), str(deals[one].properties["dealstage"]))
        for one in first
    )
    stages = {(pipeline, stage): StageMapping(None)}
    alice.workspace.do(lambda connection: stored.keep_account(connection, TAILSPIN, "tailspin.example"))
    alice.workspace.do(lambda connection: mappings.define(connection, TAILSPIN, [], [], at=times.now()))
    choose(alice, TAILSPIN, stages)
    done = alice.sync()
    left = [one for one in deals.values() if one.properties["dealstage"] != stage]
    assert set(alice.live()) == set(first_ten(left))
    told = {one.deal_id for one in alice.issues(done) if one.kind is IssueKind.SKIPPED}
    assert told and told == deals.keys() - {one.id for one in left}
    assert (done.imported, done.left_out) == (10, len(deals) - 10)


def test_a_deal_that_cannot_be_read_even_by_itself_is_left_behind_by_itself(
    workshop: Workshops, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = workshop(TAILSPIN)
    alice.sync()
    poison, *others = alice.live()
    original = Client.batch_read_deals

    def forgetful(client: Client, *arguments: Any, **named: Any) -> BatchResult:
        answer = original(client, *arguments, **named)
        return answer.model_copy(update={"results": tuple(deal for deal in answer.results if deal.id != poison)})

    def refused(client: Client, deal_id: str, properties: Any = ()) -> Deal:
        raise Rejected("HubSpot gave an answer that cannot be read.")

    monkeypatch.setattr(Client, "batch_read_deals", forgetful)
    monkeypatch.setattr(Client, "get_deal", refused)
    done = alice.sync()
    assert (done.state, done.failed, done.unchanged) == (SyncState.DONE, 1, len(others))
    assert [issue.deal_id for issue in alice.issues(done) if issue.kind is IssueKind.FAILED] == [poison]
