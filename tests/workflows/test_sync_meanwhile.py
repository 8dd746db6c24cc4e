"""What a sync hangs on changes while it is under way: the account, the mapping, the deals themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from awssome.database import Connection
from awssome.database.registry import audit, refusals, tenants
from awssome.database.tenant import hubspot as stored
from awssome.database.tenant import mappings, syncs
from awssome.domain import times
from awssome.domain.choices import StageMapping
from awssome.domain.deals import Stage
from awssome.domain.mapping import Mapping
from awssome.domain.syncs import ConnectionState, IssueKind, SyncMode, SyncState
from awssome.domain.tenants import TenantState, Tier
from awssome.hubspot.client import Client
from awssome.hubspot.errors import Rejected
from awssome.hubspot.models import BatchResult, Deal
from awssome.workflows import hubspot_connection, provisioning, sync
from awssome.workflows.sync import everything
from tests.hubspot.conftest import NORTHWIND, TAILSPIN, Sandbox
from tests.workflows.conftest import Workshop, first_ten

Workshops = Callable[..., Workshop]


def after_a_page(workshop: Workshop, sync_id: UUID, then: Callable[[], Any]) -> Callable[[], bool]:
    """Does something once the sync has written a page; never asks it to stop."""
    done: list[bool] = []

    def look() -> bool:
        if not done and workshop.find(sync_id).seen:
            done.append(True)
            then()
        return False

    return look


def stopped_after_a_page(workshop: Workshop) -> UUID:
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


@pytest.mark.parametrize("shared", [False, True])
def test_disconnecting_ends_a_sync(workshop: Workshops, shared: bool) -> None:
    """Also where another workspace keeps the app installed, and with it the access token good."""
    paula = workshop(tier=Tier.PAID)
    other = workshop(company="Bob & Co") if shared else None
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
    assert paula.connection().state is ConnectionState.DISCONNECTED
    assert other is None or other.sync().state is SyncState.DONE


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


def test_a_sync_waits_while_its_tenant_is_suspended(workshop: Workshops) -> None:
    paula = workshop(TAILSPIN, tier=Tier.PAID)
    sync_id = stopped_after_a_page(paula)
    turn(paula, TenantState.SUSPENDED)
    with pytest.raises(sync.Parked):
        paula.sync(sync_id)
    assert not refused_rights(paula)
    turn(paula, TenantState.ACTIVE)
    assert paula.sync(sync_id).imported == len(paula.deals(TAILSPIN))


def turn(workshop: Workshop, state: TenantState) -> None:
    with workshop.services.registry.begin() as connection:
        tenants.turn(connection, workshop.id, state)
    provisioning.set_login(workshop.services, workshop.id)


def refused_rights(workshop: Workshop) -> list[Any]:
    with workshop.services.registry.begin() as connection:
        return [row for row in audit.page(connection, tenant_id=workshop.id).rows if row.action == refusals.ACTION]


def test_who_leaves_deals_out_reads_all_of_them_only_when_that_is_due(
    workshop: Workshops, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when a deal changes while the numbers are compared."""
    paula, original = workshop(TAILSPIN, tier=Tier.PAID), everything.count
    paula.workspace.do(lambda connection: stored.keep_account(connection, TAILSPIN, "tailspin.example"))
    paula.workspace.do(lambda connection: mappings.define(connection, TAILSPIN, [], [], at=times.now()))
    deals = paula.deals(TAILSPIN)
    stage = next(deal.properties["dealstage"] for deal in deals if deal.properties["pipeline"] == "default")
    choose(paula, TAILSPIN, {("default", str(stage)): StageMapping(None)})
    busy = [deal.id for deal in deals if deal.properties["dealstage"] != stage]

    def counting(client: Client, *arguments: Any) -> int:
        body = {"portal_id": TAILSPIN, "properties": {"amount": "12"}}
        sandbox.http.patch(f"/_sandbox/deals/{busy.pop()}", json=body).raise_for_status()
        return original(client, *arguments)

    monkeypatch.setattr(everything, "count", counting)
    done = paula.sync()
    assert (done.mode, done.left_out) == (SyncMode.FULL, len(deals) - done.imported)
    assert done.left_out > 0
    busy_one = paula.sync()
    monkeypatch.undo()
    assert [busy_one.mode, paula.sync().mode] == [SyncMode.INCREMENTAL] * 2
