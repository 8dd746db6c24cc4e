"""What a sync brings in, what it leaves alone, and that it can be interrupted anywhere."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from uuid import UUID

import pytest
from sqlalchemy import func, insert, select

from awssome.database import Connection
from awssome.database.mover import Mover
from awssome.database.registry import audit, placements
from awssome.database.schema import deal_events, deal_registrations, stage_mappings
from awssome.database.tenant import deals as registrations
from awssome.database.tenant import syncs
from awssome.domain.moves import Phase
from awssome.domain.syncs import ConnectionState, IssueKind, MappingState, SyncState
from awssome.domain.tenants import Tier
from awssome.domain.times import now
from awssome.workflows import hubspot_connection, moves, sync
from tests.hubspot.conftest import EMPTY, NORTHWIND, SECRET, TAILSPIN, WINGTIP, Sandbox
from tests.workflows.conftest import Workshop, first_ten

Workshops = Callable[..., Workshop]


def test_a_free_tenant_gets_the_ten_oldest_open_deals(workshop: Workshops) -> None:
    alice = workshop()
    there = alice.deals()
    done = alice.sync()
    assert (done.state, done.deal_limit) == (SyncState.DONE, 10)
    assert (done.imported, done.available, done.left_out) == (10, len(there), len(there) - 10)
    assert (done.created, done.updated, done.unchanged, done.failed, done.seen) == (10, 0, 0, 0, 10)
    assert done.finished_at is not None
    assert sorted(alice.live()) == sorted(first_ten(there))
    assert alice.connection().imports == 10
    summary = alice.issues(done)[0]
    assert (summary.kind, summary.title, summary.deal_id) == (IssueKind.LEFT_OUT, "Free tier", "")
    assert f"{len(there) - 10} of {len(there)} deals" in summary.reason


def test_closed_deals_fill_up_what_open_ones_leave_free(workshop: Workshops) -> None:
    alice = workshop(WINGTIP)
    there = alice.deals(WINGTIP)
    assert {deal.properties["hs_is_closed"] for deal in there} == {"true", "false"}
    done = alice.sync()
    assert (done.imported, done.available, done.left_out) == (len(there), len(there), 0)
    assert set(alice.live()) == {deal.id for deal in there}
    assert all(issue.kind is IssueKind.INCOMPLETE for issue in alice.issues(done))


def test_an_account_without_deals_is_imported_completely(workshop: Workshops) -> None:
    alice = workshop(EMPTY)
    done = alice.sync()
    assert (done.state, done.imported, done.available, done.left_out) == (SyncState.DONE, 0, 0, 0)


def test_short_and_empty_pages_of_a_search_lose_nothing(workshop: Workshops, sandbox: Sandbox) -> None:
    alice = workshop()
    sandbox.order("faults", short_search_pages=True)
    done = alice.sync()
    assert (done.imported, done.available) == (10, len(alice.deals()))


def test_the_ten_stay_the_same_ten(workshop: Workshops, sandbox: Sandbox) -> None:
    alice = workshop(TAILSPIN)
    alice.sync()
    ten = sorted(alice.live())
    again = alice.sync()
    assert sorted(alice.live()) == ten
    assert (again.created, again.unchanged, again.imported) == (0, 10, 10)

    gone = ten[3]
    sandbox.order(f"deals/{gone}/archive", portal_id=TAILSPIN)
    after = alice.sync()
    assert sorted(alice.live()) == [deal_id for deal_id in ten if deal_id != gone]
    assert (after.created, after.updated, after.imported) == (0, 1, 9)  # the place of a deleted deal is not free again
    assert after.left_out == after.available - 9  # type: ignore[operator]
    assert alice.connection().imports == 10

    sandbox.order(f"deals/{gone}/restore", portal_id=TAILSPIN)
    back = alice.sync()
    assert sorted(alice.live()) == ten
    assert (back.updated, back.imported) == (1, 10)
    assert not alice.live()[gone].archived
    assert [kind for kind, _ in alice.events(alice.live()[gone].row.id)] == ["imported", "archived", "restored"]


def test_connecting_another_account_gives_no_second_ten(workshop: Workshops) -> None:
    alice = workshop(TAILSPIN)
    alice.sync()
    hubspot_connection.disconnect(alice.services, alice.id)
    alice.connect(WINGTIP)
    done = alice.sync()
    assert (done.created, done.imported, done.available, done.left_out) == (0, 0, 7, 7)


def test_after_an_upgrade_all_deals_come_in(workshop: Workshops) -> None:
    paula = workshop(company="Paula Inc")
    paula.sync()
    ten = set(paula.live())
    paula.upgrade()
    done = paula.sync()
    there = paula.deals()
    assert (done.deal_limit, done.imported, done.available) == (None, len(there), len(there))
    assert (done.created, done.unchanged, done.left_out, done.failed) == (len(there) - 10, 10, 0, 0)
    assert set(paula.live()) == {deal.id for deal in there} > ten
    assert not [issue for issue in paula.issues(done) if issue.kind is not IssueKind.INCOMPLETE]
    again = paula.sync()
    assert (again.created, again.updated, again.failed) == (0, 0, 0)
    _each_deal_once(paula)


def test_values_arrive_as_they_are_in_hubspot(workshop: Workshops) -> None:
    paula = workshop(tier=Tier.PAID)
    paula.sync()
    live = paula.live()
    for deal in paula.deals():
        row, amount = live[deal.id].row, deal.properties["amount"]
        assert row.deal_amount == (Decimal(amount) if amount else None)
        name = " ".join((deal.properties["dealname"] or "").split()) or f"Deal {deal.id}"
        assert row.title == name or (len(name) > 255 and row.title == name[:254] + "…")
        assert row.archived_at is None


def test_what_a_user_has_set_is_never_overwritten(workshop: Workshops, sandbox: Sandbox) -> None:
    alice = workshop(TAILSPIN)
    alice.sync()
    deal_id, one = next(iter(alice.live().items()))
    _edit(alice, one.row.id, {"title": "Alice's own title", "next_steps": "Call on Monday"})
    _edit_in_hubspot(sandbox, deal_id, dealname="HubSpot's title", amount="4711.25")
    done = alice.sync()
    assert (done.updated, done.unchanged) == (1, 9)
    row = alice.live()[deal_id].row
    assert (row.title, row.next_steps, row.deal_amount) == ("Alice's own title", "Call on Monday", Decimal("4711.25"))
    assert sorted(row.edited_fields) == ["next_steps", "title"]
    assert alice.events(row.id)[-1] == ("updated", "HubSpot")
    assert alice.sync().unchanged == 10


def test_a_deal_that_a_user_archived_stays_archived_and_goes_on_to_be_refreshed(
    workshop: Workshops, sandbox: Sandbox
) -> None:
    alice = workshop(TAILSPIN)
    alice.sync()
    deal_id, one = next(iter(alice.live().items()))
    alice.workspace.do(lambda connection: registrations.archive(connection, [one.row.id], "alice@example.com"))
    _edit_in_hubspot(sandbox, deal_id, amount="12.5")
    done = alice.sync()
    assert (done.updated, done.imported) == (1, 10)
    assert (alice.live()[deal_id].archived, alice.live()[deal_id].row.deal_amount) == (True, Decimal("12.5"))


def test_the_tenants_own_stages_count(workshop: Workshops, sandbox: Sandbox) -> None:
    alice = workshop(TAILSPIN)
    deal_id = first_ten(alice.deals(TAILSPIN))[0]
    _edit_in_hubspot(sandbox, deal_id, pipeline="812704591", dealstage="1193847203")
    alice.sync()
    assert alice.live()[deal_id].row.stage == "Technical Validation", "its chance to win is 0.5"
    own = {"pipeline": "812704591", "hubspot_stage": "1193847203", "stage": "Committed"}
    alice.workspace.do(lambda connection: connection.execute(insert(stage_mappings).values(**own, updated_at=now())))
    alice.sync()
    assert alice.live()[deal_id].row.stage == "Committed"


def test_merged_deals_keep_one_registration(workshop: Workshops, sandbox: Sandbox) -> None:
    paula = workshop(TAILSPIN, tier=Tier.PAID)
    paula.sync()
    first, second = sorted(paula.live())[5:7]
    kept, put_away = paula.live()[first].row.id, paula.live()[second].row.id
    before = len(paula.registrations())
    _edit(paula, kept, {"title": "Paula's own title"})
    survivor = sandbox.order("deals/merge", portal_id=TAILSPIN, ids=[first, second])["id"]
    done = paula.sync()
    there = {deal.id for deal in paula.deals(TAILSPIN)}
    assert set(paula.live()) == there
    assert (done.imported, done.available, done.created) == (len(there), len(there), 0)
    assert len(paula.registrations()) == before
    assert (paula.live()[survivor].row.id, paula.live()[survivor].row.title) == (kept, "Paula's own title")
    gone = next(one for one in paula.registrations() if one.row.id == put_away)
    assert (gone.deal_id, gone.state, gone.archived) == (second, MappingState.MERGED, True)
    again = paula.sync()
    assert (again.created, again.updated, again.imported) == (0, 0, len(there))


def test_a_merge_with_one_of_the_ten_takes_no_new_place(workshop: Workshops, sandbox: Sandbox) -> None:
    alice = workshop(TAILSPIN)
    alice.sync()
    inside = sorted(alice.live())[0]
    outside = next(deal.id for deal in alice.deals(TAILSPIN) if deal.id not in alice.live())
    kept = alice.live()[inside].row.id
    survivor = sandbox.order("deals/merge", portal_id=TAILSPIN, ids=[outside, inside])["id"]
    done = alice.sync()
    assert (done.created, done.imported, alice.connection().imports) == (0, 10, 10)
    assert alice.live()[survivor].row.id == kept


def test_deals_deleted_in_hubspot_are_put_away_and_come_back(workshop: Workshops, sandbox: Sandbox) -> None:
    paula = workshop(TAILSPIN, tier=Tier.PAID)
    paula.sync()
    deal_id = sorted(paula.live())[9]
    sandbox.order(f"deals/{deal_id}/archive", portal_id=TAILSPIN)
    done = paula.sync()
    there = {deal.id for deal in paula.deals(TAILSPIN)}
    assert (done.imported, done.available, done.updated) == (len(there), len(there), 1)
    gone = next(one for one in paula.registrations() if one.deal_id == deal_id)
    assert (gone.state, gone.archived) == (MappingState.ARCHIVED, True)
    assert paula.sync().updated == 0
    sandbox.order(f"deals/{deal_id}/restore", portal_id=TAILSPIN)
    assert paula.sync().updated == 1
    assert not paula.live()[deal_id].archived


def test_a_worker_that_is_killed_leaves_a_sync_that_goes_on(
    workshop: Workshops, sandbox: Sandbox, registry_url: str, secret_key: str
) -> None:
    paula = workshop(tier=Tier.PAID)
    there = paula.deals()
    sync_id = paula.queue()
    sandbox.order("faults", latency_ms=300)
    settings = {
        "registry": registry_url,
        "secret_key": secret_key,
        "hubspot": sandbox.url,
        "client_id": "awssome-app",
        "client_secret": SECRET,
        "redirect_uri": paula.services.hubspot.redirect_uri,
        "tenant_id": str(paula.id),
        "sync_id": str(sync_id),
    }
    with subprocess.Popen([sys.executable, "-m", "tests.workflows.run_sync", json.dumps(settings)]) as worker:
        _wait(lambda: paula.find(sync_id).seen >= 100 or worker.poll() is not None)
        worker.kill()
        assert worker.wait(5) == -signal.SIGKILL
    killed = paula.find(sync_id)
    assert (killed.state, killed.attempt) == (SyncState.RUNNING, 1)
    assert killed.seen in (100, 200)
    assert len(paula.live()) == killed.seen
    sandbox.http.delete("/_sandbox/faults")
    _wait(lambda: _is_free(paula))
    done = paula.sync(sync_id)
    assert (done.state, done.attempt) == (SyncState.DONE, 2)
    # What was written is not fetched again; in the end numbers are compared, which takes two calls.
    assert done.calls - killed.calls == 3 - killed.seen // 100 + 2
    assert (done.created, done.seen, done.unchanged) == (len(there), len(there), 0)
    assert (done.imported, done.available, paula.connection().imports) == (len(there), len(there), len(there))
    _each_deal_once(paula)


@pytest.mark.parametrize(("tier", "portal_id"), [(Tier.FREE, TAILSPIN), (Tier.PAID, NORTHWIND)])
def test_a_sync_that_is_stopped_at_every_point_ends_complete(workshop: Workshops, tier: Tier, portal_id: int) -> None:
    alice = workshop(portal_id, tier=tier)
    there = len(alice.deals(portal_id))
    wanted = 10 if tier is Tier.FREE else there
    sync_id = alice.queue()
    stops = 0
    while True:
        try:
            done = alice.sync(sync_id, should_abort=_after(stops))
        except sync.NotNow:
            stops += 1
            assert alice.find(sync_id).state is SyncState.RUNNING
            continue
        break
    assert stops >= 2
    assert (done.state, done.attempt, done.created, done.seen) == (SyncState.DONE, stops + 1, wanted, wanted)
    assert (len(alice.live()), alice.connection().imports) == (wanted, wanted)
    _each_deal_once(alice)


def test_a_second_worker_leaves_a_sync_alone_that_is_under_way(workshop: Workshops) -> None:
    alice = workshop(TAILSPIN)
    sync_id = alice.queue()
    refused: list[int] = []

    def second_worker() -> bool:
        if not refused:
            with pytest.raises(sync.NotNow):
                alice.sync(sync_id)
            refused.append(alice.find(sync_id).attempt)
        return False

    done = alice.sync(sync_id, second_worker)
    assert (done.state, done.attempt, refused) == (SyncState.DONE, 1, [1])
    assert alice.sync(sync_id) == done  # a job too many changes nothing


def test_a_worker_that_was_overtaken_writes_nothing_more(workshop: Workshops) -> None:
    paula = workshop(tier=Tier.PAID)
    sync_id = paula.queue()
    overtaken: list[int] = []

    def overtake() -> bool:
        so_far = paula.find(sync_id)
        if so_far.seen and not overtaken:
            with paula.services.registry.begin():
                claimed = paula.workspace.do(
                    lambda connection: syncs.claim(
                        connection, sync_id, deal_limit=None, imported=so_far.imported, portal_id=so_far.portal_id
                    )
                )
            assert claimed is not None
            overtaken.append(claimed.attempt)
            overtaken.append(paula.find(sync_id).seen)
        return False

    with pytest.raises(sync.NotNow):
        paula.sync(sync_id, overtake)
    assert overtaken[0] == 2
    assert paula.find(sync_id).seen == overtaken[1] == len(paula.live())
    done = paula.sync(sync_id)
    assert (done.attempt, done.created) == (3, len(paula.deals()))
    _each_deal_once(paula)


def test_a_sync_follows_its_tenant_to_another_server(workshop: Workshops, dedicated: str) -> None:
    alice = workshop(TAILSPIN)
    mover = Mover(alice.services.registry, alice.services.keys, alice.services.open_server)
    moved: list[Phase] = []

    def move() -> bool:
        if not moved:
            with alice.services.registry.begin() as connection:
                queue = alice.services.queue
                move_id = moves.upgrade(connection, queue, audit.SYSTEM, str(alice.id), dedicated)
            moved.append(mover.carry_on(move_id))
        return False

    done = alice.sync(should_abort=move)
    assert moved == [Phase.RETAINING]
    with alice.services.registry.begin() as connection:
        placement = placements.current(connection, alice.services.keys, alice.id)
    assert (placement.port, placement.database) != (alice.tenancy.placement.port, alice.tenancy.placement.database)
    assert (done.state, done.deal_limit, done.created) == (SyncState.DONE, 10, 10)  # its limit is the one it began with
    there = len(alice.deals(TAILSPIN))
    assert (alice.sync().imported, len(alice.live())) == (there, there)


def test_a_revoked_connection_ends_the_sync_and_all_calls(workshop: Workshops, sandbox: Sandbox) -> None:
    paula = workshop(tier=Tier.PAID)

    def revoke() -> None:
        sandbox.order("tokens/revoke", portal_id=NORTHWIND)
        sandbox.order("tokens/expire")

    failed = paula.sync(should_abort=_once_seen(paula, revoke))
    assert failed.state is SyncState.FAILED
    assert failed.problem is not None
    assert "no longer accepts this connection" in failed.problem
    assert failed.advice == "Connect HubSpot again."
    assert 0 < failed.created == len(paula.live()) < len(paula.deals())
    assert (paula.connection().state, paula.registered()[0]) == (ConnectionState.RECONNECT, "reconnect")
    sandbox.http.delete("/_sandbox/stats")
    assert paula.sync().state is SyncState.FAILED
    assert sandbox.http.get("/_sandbox/stats").json()["calls"] == 0
    paula.connect()
    assert paula.sync().imported == len(paula.deals())


def test_a_permission_that_was_taken_away_is_named(workshop: Workshops, sandbox: Sandbox) -> None:
    alice = workshop(TAILSPIN)
    sandbox.order("uninstall", portal_id=TAILSPIN)
    failed = alice.sync()
    assert (failed.state, failed.advice) == (SyncState.FAILED, "Connect HubSpot again.")
    assert alice.registered()[0] == "reconnect"


def test_a_passing_fault_is_not_noticed(workshop: Workshops, sandbox: Sandbox) -> None:
    alice = workshop(TAILSPIN)
    sandbox.order("faults", drop=[{"when": "during", "times": 1, "endpoint": "deals.search"}])
    assert alice.sync().imported == 10


def test_a_tenant_has_one_open_sync(workshop: Workshops) -> None:
    alice = workshop(TAILSPIN)
    with ThreadPoolExecutor(4) as pressing:
        asked = list(pressing.map(lambda _: alice.queue(), range(8)))
    assert len(set(asked)) == 1
    assert alice.workspace.do(syncs.latest) == alice.find(asked[0])
    alice.sync(asked[0])
    assert alice.queue() != asked[0]
    assert len(alice.workspace.do(syncs.history)) == 2


def _after(checks: int) -> Callable[[], bool]:
    """Asks to stop from the next check on after so many."""
    left = iter(range(checks))
    return lambda: next(left, None) is None


def _once_seen(workshop: Workshop, act: Callable[[], object]) -> Callable[[], bool]:
    """Lets something happen once, as soon as the running sync has written a page. Never asks it to stop."""
    acted: list[bool] = []

    def check() -> bool:
        running = workshop.workspace.do(syncs.latest)
        if running is not None and running.seen and not acted:
            acted.append(True)
            act()
        return False

    return check


def _edit(workshop: Workshop, registration_id: UUID, values: dict[str, str]) -> None:
    def work(connection: Connection) -> bool:
        version = registrations.find(connection, registration_id).version
        return registrations.edit(connection, registration_id, version, values, "alice@example.com")

    assert workshop.workspace.do(work)


def _edit_in_hubspot(sandbox: Sandbox, deal_id: str, **properties: str) -> None:
    body = {"portal_id": TAILSPIN, "properties": properties}
    assert sandbox.http.patch(f"/_sandbox/deals/{deal_id}", json=body).status_code == 200


def _each_deal_once(workshop: Workshop) -> None:
    """As many registrations as mappings, and one event of arrival each."""
    found = workshop.registrations()
    assert len({one.row.id for one in found}) == len(found)
    count = workshop.workspace.do(
        lambda connection: connection.execute(select(func.count()).select_from(deal_registrations)).scalar_one()
    )
    assert count == len(found)
    arrivals = select(func.count()).select_from(deal_events).where(deal_events.c.kind == "imported")
    assert workshop.workspace.do(lambda connection: connection.execute(arrivals).scalar_one()) == len(found)


def _is_free(workshop: Workshop) -> bool:
    with workshop.services.registry.holding(f"sync:{workshop.id}") as held:
        return held


def _wait(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.02)
