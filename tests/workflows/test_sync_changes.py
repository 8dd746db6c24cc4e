"""Later syncs follow what has changed in HubSpot, and lose nothing of it, whatever its search tells late or never."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from sqlalchemy import func, select, update

from awssome.database.schema import deal_events, hubspot_accounts, hubspot_mappings, sync_history, sync_issues
from awssome.database.tenant import deals as registrations
from awssome.database.tenant import mappings, syncs, watermarks
from awssome.domain import times
from awssome.domain.choices import StageMapping
from awssome.domain.deals import Stage, parse_amount
from awssome.domain.syncs import IssueKind, MappingState, SyncMode, SyncState
from awssome.domain.tenants import Tier
from awssome.hubspot.client import Client
from awssome.hubspot.models import Deal, Page, Search, SearchPage, Unreadable
from awssome.workflows import sync
from awssome.workflows.sync import changes, everything, reading, running
from tests.hubspot.conftest import TAILSPIN, Sandbox
from tests.workflows.conftest import Workshop

Workshops = Callable[..., Workshop]

AMOUNTS = count(1_000_001)
"""No deal has had one of them before: the tests share a HubSpot."""


@pytest.fixture
def paula(workshop: Workshops) -> Workshop:
    """A paid tenant whose first sync is done."""
    found: Workshop = workshop(TAILSPIN, tier=Tier.PAID)
    assert found.sync().mode is SyncMode.FULL
    return found


def test_a_sync_without_news_costs_a_few_calls(paula: Workshop) -> None:
    done = paula.sync()
    assert (done.mode, done.created, done.updated, done.failed) == (SyncMode.INCREMENTAL, 0, 0, 0)
    assert done.calls <= 4
    assert (done.imported, done.available) == (len(paula.live()), len(paula.live()))
    assert done.window_from is not None
    assert done.window_from < done.window_to  # type: ignore[operator]


def test_all_that_changes_in_hubspot_comes_in(paula: Workshop, sandbox: Sandbox) -> None:
    edited, deleted, first, second, third = sorted(paula.live())[10:15]
    edit(sandbox, edited, amount="4711.25")
    sandbox.order(f"deals/{deleted}/archive", portal_id=TAILSPIN)
    survivor = sandbox.order("deals/merge", portal_id=TAILSPIN, ids=[first, second])["id"]
    last = sandbox.order("deals/merge", portal_id=TAILSPIN, ids=[survivor, third])["id"]
    fresh = sandbox.order("deals", portal_id=TAILSPIN, properties={"dealname": "Fresh"})["id"]
    done = paula.sync()
    assert done.mode is SyncMode.INCREMENTAL
    assert (done.created, done.archived, done.merged, done.failed) == (1, 1, 2, 0)
    assert done.seen == done.created + done.updated + done.unchanged
    assert done.updated >= 4
    assert str(paula.live()[edited].row.deal_amount) == "4711.2500"
    assert fresh in paula.live()
    assert last in paula.live()
    as_in_hubspot(paula)
    sandbox.order(f"deals/{deleted}/restore", portal_id=TAILSPIN)
    done = paula.sync()
    assert (done.mode, done.restored, done.created) == (SyncMode.INCREMENTAL, 1, 0)
    as_in_hubspot(paula)


def test_changes_of_every_kind_in_any_order_are_followed(
    paula: Workshop, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small pages, so that windows are cut, and searches with holes."""
    monkeypatch.setattr(changes, "SEARCH_PAGE", 4)
    monkeypatch.setattr(everything, "_FEW", 10_000)
    chance = random.Random(11)
    for turn in range(5):
        sandbox.order("faults", short_search_pages=turn % 2 == 1)
        live, gone = [deal.id for deal in paula.deals(TAILSPIN)], archived(paula)
        for _ in range(12):
            what = chance.choice(["edit", "edit", "archive", "restore", "merge", "create"])
            if what == "edit":
                edit(sandbox, chance.choice(live), amount=str(chance.randrange(1_000)))
            elif what == "archive":
                gone.append(live.pop(chance.randrange(len(live))))
                sandbox.order(f"deals/{gone[-1]}/archive", portal_id=TAILSPIN)
            elif what == "restore" and gone:
                live.append(gone.pop(chance.randrange(len(gone))))
                sandbox.order(f"deals/{live[-1]}/restore", portal_id=TAILSPIN)
            elif what == "merge":
                chance.shuffle(live)
                live.append(sandbox.order("deals/merge", portal_id=TAILSPIN, ids=[live.pop(), live.pop()])["id"])
            elif what == "create":
                live.append(sandbox.order("deals", portal_id=TAILSPIN, properties={"dealname": f"New {turn}"})["id"])
        done = paula.sync()
        assert (done.state, done.failed) == (SyncState.DONE, 0)
        as_in_hubspot(paula)
    sandbox.http.delete("/_sandbox/faults")


def test_changes_are_followed_on_from_where_a_worker_was_stopped(
    paula: Workshop, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "SEARCH_PAGE", 5)
    for deal_id in sorted(paula.live())[:30]:
        edit(sandbox, deal_id, amount="5")
    sandbox.order(f"deals/{sorted(paula.live())[40]}/archive", portal_id=TAILSPIN)
    sync_id, stops = paula.queue(), 0
    while True:
        left = iter(range(stops))
        try:
            done = paula.sync(sync_id, lambda left=left: next(left, None) is None)  # type: ignore[misc]
        except sync.NotNow:
            stops += 4
            assert stops < 400
            continue
        break
    assert (done.mode, done.state, done.archived) == (SyncMode.INCREMENTAL, SyncState.DONE, 1)
    assert stops >= 8
    as_in_hubspot(paula)


def test_when_most_deals_have_changed_all_are_read_at_once(
    paula: Workshop, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(everything, "_FEW", 5)
    for deal_id in sorted(paula.live())[:40]:
        edit(sandbox, deal_id, amount=str(next(AMOUNTS)))
    sync_id = paula.queue()
    done = paula.sync(sync_id)
    assert done.mode is SyncMode.FULL
    assert done.updated >= 39
    as_in_hubspot(paula)


def test_a_search_that_lags_behind_brings_nothing_back(
    paula: Workshop, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It still finds a deleted deal and the parts of a merged one, as they were, and a deal of which we know better."""
    deleted, first, second, edited = sorted(paula.live())[20:24]
    for deal_id in (deleted, first, second, edited):
        edit(sandbox, deal_id, amount="1")
    stale: list[Deal] = []
    original = Client.search_deals

    def lagging(client: Client, query: Search) -> SearchPage:
        page = original(client, query)
        if not query.filters:
            return page
        known = {deal.id: deal for deal in (*page.results, *stale)}
        return page.model_copy(update={"results": tuple(known.values()), "total": len(known)})

    with sandbox.client(TAILSPIN) as client:
        for deal_id in (deleted, first, second, edited):
            found = client.get_deal(deal_id, ("hs_lastmodifieddate", "amount"))
            assert found is not None
            stale.append(found)
    sandbox.order(f"deals/{deleted}/archive", portal_id=TAILSPIN)
    sandbox.order("deals/merge", portal_id=TAILSPIN, ids=[first, second])
    edit(sandbox, edited, amount="2")
    monkeypatch.setattr(Client, "search_deals", lagging)
    for _ in range(3):
        done = paula.sync()
        assert (done.mode, done.created, done.failed) == (SyncMode.INCREMENTAL, 0, 0)
        as_in_hubspot(paula)
        assert paula.live()[edited].row.deal_amount == 2


def test_a_change_that_search_tells_late_is_found_by_the_next_sync(
    paula: Workshop, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, early = sorted(paula.live())[30:32]
    edit(sandbox, late, amount="31")
    edit(sandbox, early, amount="32")
    original = Client.search_deals

    def lagging(client: Client, query: Search) -> SearchPage:
        page = original(client, query)
        results = tuple(deal for deal in page.results if deal.id != late)
        return page.model_copy(update={"results": results, "total": page.total - (len(page.results) - len(results))})

    with monkeypatch.context() as patch:
        patch.setattr(Client, "search_deals", lagging)
        paula.sync()
    assert (paula.live()[early].row.deal_amount, paula.live()[late].row.deal_amount != 31) == (32, True)
    paula.sync()
    assert paula.live()[late].row.deal_amount == 31


def test_a_deal_that_is_deleted_while_numbers_are_compared_costs_no_full_pass(
    paula: Workshop, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, original = sorted(paula.live())[33], everything.count
    deleted: list[str] = []

    def comparing(client: Client, *arguments: Any) -> int:
        if not deleted:
            deleted.append(gone)
            sandbox.order(f"deals/{gone}/archive", portal_id=TAILSPIN)
        return original(client, *arguments)

    monkeypatch.setattr(everything, "count", comparing)
    done = paula.sync()
    assert (done.mode, done.archived) == (SyncMode.INCREMENTAL, 1)
    as_in_hubspot(paula)


def test_a_deal_that_is_back_and_never_was_here_shows_in_the_numbers(
    workshop: Workshops, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    paula = workshop(TAILSPIN, tier=Tier.PAID)
    before = archived(paula)[0]
    paula.sync()
    sandbox.order(f"deals/{before}/restore", portal_id=TAILSPIN)
    edit(sandbox, sorted(paula.live())[0], amount=str(next(AMOUNTS)))
    original = Client.search_deals

    def silent(client: Client, query: Search) -> SearchPage:
        """No change tells of it; it only counts."""
        page = original(client, query)
        results = tuple(deal for deal in page.results if deal.id != before)
        told = 0 if query.limit == 1 else len(page.results) - len(results)
        return page.model_copy(update={"results": results, "total": page.total - told})

    monkeypatch.setattr(Client, "search_deals", silent)
    done = paula.sync()
    assert (done.mode, done.created) == (SyncMode.FULL, 1)
    as_in_hubspot(paula)
    counted = done.created + done.updated + done.unchanged + done.left_out + done.failed
    assert done.seen == counted == done.imported, "what was followed before all was read is counted once"


@pytest.mark.parametrize("chain", [False, True])
def test_a_merge_that_hubspot_does_not_name_leaves_one_registration(
    paula: Workshop, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, chain: bool
) -> None:
    monkeypatch.setattr(reading, "MERGED_IDS", "hs_unknown")
    first, second, third = sorted(paula.live())[5:8]
    kept = paula.live()[first].row.id
    set_title(paula, first, "Paula's own title")
    survivor = sandbox.order("deals/merge", portal_id=TAILSPIN, ids=[first, second])["id"]
    if chain:
        survivor = sandbox.order("deals/merge", portal_id=TAILSPIN, ids=[survivor, third])["id"]
    done = paula.sync()
    assert done.failed == 0
    as_in_hubspot(paula)
    assert (paula.live()[survivor].row.id, paula.live()[survivor].row.title) == (kept, "Paula's own title")
    assert not paula.live()[survivor].archived
    ended = {one.deal_id: one for one in paula.registrations() if one.state is MappingState.MERGED}
    assert ended.keys() >= {first, second} | ({third} if chain else set())
    assert all(one.archived for one in ended.values())
    into = select(hubspot_mappings.c.deal_id, hubspot_mappings.c.merged_into)
    told = dict(paula.workspace.do(lambda connection: connection.execute(into).all()))  # type: ignore[arg-type]
    assert {told[deal_id] for deal_id in ended} == {survivor}
    assert paula.sync().updated == 0


def test_a_merge_across_pages_makes_no_second_registration(
    paula: Workshop, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (everything,):
        monkeypatch.setattr(module, "LIST_PAGE", 7)
    live = sorted(paula.live())
    sandbox.order("deals/merge", portal_id=TAILSPIN, ids=[live[1], live[-1]])
    full_pass_is_due(paula)
    done = paula.sync()
    assert (done.mode, done.created, done.merged) == (SyncMode.FULL, 0, 1)
    as_in_hubspot(paula)


def test_what_a_user_archived_survives_changes_deletion_and_restoration(paula: Workshop, sandbox: Sandbox) -> None:
    deal_id = sorted(paula.live())[3]
    registration_id = paula.live()[deal_id].row.id
    paula.workspace.do(lambda connection: registrations.archive(connection, [registration_id], "paula@example.com"))
    edit(sandbox, deal_id, amount="99")
    paula.sync()
    sandbox.order(f"deals/{deal_id}/archive", portal_id=TAILSPIN)
    paula.sync()
    sandbox.order(f"deals/{deal_id}/restore", portal_id=TAILSPIN)
    done = paula.sync()
    assert (done.restored, done.imported) == (0, len(paula.deals(TAILSPIN)))
    assert paula.live()[deal_id].archived
    assert paula.live()[deal_id].row.archived_by == "paula@example.com"
    paula.workspace.do(lambda connection: registrations.restore(connection, [registration_id], "paula@example.com"))
    assert paula.live()[deal_id].row.archived_by is None


def test_a_change_of_the_mapping_reads_all_deals_again(paula: Workshop) -> None:
    def leave_out(connection: Any) -> None:
        version = mappings.chosen(connection).version
        stages = {("default", "closedwon"): StageMapping(Stage.LAUNCHED)}
        mappings.save_stages(connection, TAILSPIN, version, stages, "paula@example.com")

    paula.workspace.do(leave_out)
    done = paula.sync()
    assert (done.mode, done.created) == (SyncMode.FULL, 0)
    assert done.updated > 0
    assert paula.sync().mode is SyncMode.INCREMENTAL


def test_all_deals_are_read_once_a_week(paula: Workshop) -> None:
    full_pass_is_due(paula)
    assert paula.sync().mode is SyncMode.FULL
    assert paula.sync().mode is SyncMode.INCREMENTAL


def test_a_deal_that_cannot_be_read_goes_to_the_inbox_and_its_page_lives(
    workshop: Workshops, monkeypatch: pytest.MonkeyPatch
) -> None:
    paula = workshop(TAILSPIN, tier=Tier.PAID)
    original, unread = Client.list_deals, sorted(deal.id for deal in paula.deals(TAILSPIN))[4]

    def odd(client: Client, *arguments: Any, **named: Any) -> Page:
        page = original(client, *arguments, **named)
        rest = tuple(deal for deal in page.results if deal.id != unread)
        lost = (Unreadable(id=unread, reason="HubSpot's answer for this deal cannot be read: id."),)
        return page.model_copy(update={"results": rest, "unreadable": lost if len(rest) < len(page.results) else ()})

    monkeypatch.setattr(Client, "list_deals", odd)
    done = paula.sync()
    assert (done.state, done.failed, done.available) == (SyncState.DONE, 1, len(paula.live()) + 1)
    (issue,) = [one for one in paula.issues(done) if one.kind is IssueKind.FAILED]
    assert (issue.deal_id, issue.code) == (unread, "unreadable")


def test_a_registration_knows_where_it_comes_from(paula: Workshop, sandbox: Sandbox) -> None:
    deal_id = sorted(paula.live())[9]
    edit(sandbox, deal_id, amount="12")
    done = paula.sync()
    m, e = hubspot_mappings.c, deal_events.c
    query = select(m.portal_id, m.modified_at, m.read_at, m.first_sync_id, m.last_sync_id, m.registration_id)
    query = query.add_columns(m.request_id)
    row = paula.workspace.do(lambda connection: connection.execute(query.where(m.deal_id == deal_id)).one())
    there = next(deal for deal in paula.deals(TAILSPIN) if deal.id == deal_id)
    assert (row.portal_id, row.modified_at, row.last_sync_id) == (TAILSPIN, there.updated_at, done.id)
    assert row.first_sync_id != done.id
    assert len(row.request_id) == 36
    assert done.started_at <= row.read_at <= done.finished_at  # type: ignore[operator]
    events = select(e.kind, e.sync_id).where(e.registration_id == row.registration_id).order_by(e.at)
    found = paula.workspace.do(lambda connection: connection.execute(events).all())
    assert [tuple(one) for one in found] == [("imported", row.first_sync_id), ("updated", done.id)]


def test_what_an_edit_hides_is_kept_up_to_date(paula: Workshop, sandbox: Sandbox) -> None:
    deal_id = sorted(paula.live())[8]
    set_title(paula, deal_id, "Paula's own title")
    edit(sandbox, deal_id, dealname="HubSpot's title")
    paula.sync()
    found = paula.workspace.do(lambda connection: registrations.find(connection, paula.live()[deal_id].row.id))
    assert found.title == "Paula's own title"
    assert found.hubspot is not None
    assert found.hubspot.held_back == {"title": "HubSpot's title"}


def test_old_syncs_are_forgotten_in_small_steps(paula: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "KEPT", 3)
    monkeypatch.setattr(syncs, "_FORGOTTEN", 5)
    for _ in range(5):
        newest = paula.sync()
    kept = paula.workspace.do(syncs.history)
    assert len(kept) == 3
    assert kept[0].id == newest.id
    orphans = select(func.count()).select_from(sync_issues).where(sync_issues.c.sync_id.not_in(one.id for one in kept))
    assert paula.workspace.do(lambda connection: connection.execute(orphans).scalar_one()) == 0
    long_ago = times.now() - timedelta(days=91)
    age = update(sync_history).where(sync_history.c.id == kept[-1].id).values(requested_at=long_ago)
    paula.workspace.do(lambda connection: connection.execute(age))
    paula.sync()
    assert kept[-1].id not in {one.id for one in paula.workspace.do(syncs.history)}


def test_a_watermark_never_moves_back(paula: Workshop, sandbox: Sandbox) -> None:
    def mark() -> Any:
        return paula.workspace.do(lambda connection: watermarks.find(connection, TAILSPIN)).changed_until  # type: ignore[union-attr]

    reached = [mark()]
    for _ in range(3):
        edit(sandbox, sorted(paula.live())[0], amount="3")
        paula.sync()
        reached.append(mark())
        paula.sync()
        reached.append(mark())
    assert reached == sorted(reached)
    assert reached[-1] > reached[0]


def as_in_hubspot(workshop: Workshop) -> None:
    """Each live deal of HubSpot's has one registration with its values, and nothing else has a live one."""
    there = {deal.id: deal for deal in workshop.deals(TAILSPIN)}
    live = workshop.live()
    assert set(live) == set(there)
    found = workshop.registrations()
    assert len({one.row.id for one in found}) == len(found)
    for deal_id, deal in there.items():
        assert live[deal_id].row.deal_amount == amount_of(deal)


def amount_of(deal: Deal) -> Decimal | None:
    """As a registration has it; more than four digits after the point are not taken."""
    try:
        return parse_amount(deal.properties["amount"] or "")
    except ValueError:
        return None


def archived(workshop: Workshop) -> list[str]:
    """The deals that are deleted in HubSpot."""

    def pages() -> Iterator[Page]:
        with workshop.sandbox.client(TAILSPIN) as client:
            yield from client.iter_deals(archived=True)

    return [deal.id for page in pages() for deal in page.results]


def edit(sandbox: Sandbox, deal_id: str, **properties: str) -> None:
    body = {"portal_id": TAILSPIN, "properties": properties}
    assert sandbox.http.patch(f"/_sandbox/deals/{deal_id}", json=body).status_code == 200


def set_title(workshop: Workshop, deal_id: str, title: str) -> None:
    def work(connection: Any) -> None:
        found = registrations.find(connection, workshop.live()[deal_id].row.id)
        assert registrations.edit(connection, found.id, found.version, {"title": title}, "paula@example.com")

    workshop.workspace.do(work)


def full_pass_is_due(workshop: Workshop) -> None:
    long_ago = times.now() - timedelta(days=8)
    workshop.workspace.do(lambda connection: connection.execute(update(hubspot_accounts).values(full_at=long_ago)))
