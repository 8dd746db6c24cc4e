"""A preview says what a sync would do, and does nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select

from awssome.database import Connection
from awssome.database.schema import DATA_TABLES, sync_issues
from awssome.database.tenant import deals as registrations
from awssome.database.tenant import mappings, syncs
from awssome.database.tenant.syncs import Sync
from awssome.domain import times
from awssome.domain.choices import StageMapping
from awssome.domain.syncs import PREVIEW_TOLD, IssueKind, SyncKind, SyncState
from awssome.domain.tenants import Tier
from awssome.workflows import hubspot_picks
from tests.hubspot.conftest import NORTHWIND, TAILSPIN, Sandbox
from tests.workflows.conftest import Workshop, first_ten

Workshops = Callable[..., Workshop]

OWN = {"sync_history", "sync_issues", "hubspot_accounts", "hubspot_tokens"}
"""What a preview may write: its row, what it has to tell, and what every run keeps fresh."""


def preview(workshop: Workshop) -> Sync:
    """Run one to its end."""
    email = workshop.tenancy.owner_email
    made = workshop.workspace.do(lambda connection: syncs.create(connection, email, SyncKind.PREVIEW))
    return workshop.sync(made.id)


def contents(workshop: Workshop) -> dict[str, list[Any]]:
    """Every row of every table that a preview has no business with."""

    def read(connection: Connection) -> dict[str, list[Any]]:
        return {
            table.name: sorted(map(repr, connection.execute(select(table))))
            for table in DATA_TABLES
            if table.name not in OWN
        }

    return workshop.workspace.do(read)


def edit(sandbox: Sandbox, deal_id: str, **properties: str) -> None:
    """Somebody changes the deal in HubSpot."""
    body = {"portal_id": TAILSPIN, "properties": properties}
    sandbox.http.patch(f"/_sandbox/deals/{deal_id}", json=body).raise_for_status()


def counts(run: Sync) -> tuple[int, ...]:
    return run.created, run.updated, run.unchanged, run.left_out, run.failed


@pytest.mark.parametrize("tier", [Tier.FREE, Tier.PAID])
def test_a_preview_tells_the_numbers_of_the_sync_that_follows_and_writes_nothing(
    workshop: Workshops, sandbox: Sandbox, tier: Tier
) -> None:
    alice = workshop(TAILSPIN, tier=tier)
    before = contents(alice)
    first = preview(alice)
    assert (first.state, first.kind) == (SyncState.DONE, SyncKind.PREVIEW)
    assert contents(alice) == before
    assert counts(first) == counts(alice.sync())
    named = [issue.deal_id for issue in alice.issues(first) if issue.kind is IssueKind.WOULD_CREATE]
    assert sorted(named) == sorted(alice.live())

    changed, gone = sorted(alice.live())[:2]
    edit(sandbox, changed, dealname=f"Renamed for {tier}", amount="77.5" if tier is Tier.FREE else "78.5")
    sandbox.order(f"deals/{gone}/archive", portal_id=TAILSPIN)
    before = contents(alice)
    second = preview(alice)
    assert contents(alice) == before
    assert (second.created, second.updated, second.archived) == (0, 2, 1)
    lines = {issue.deal_id: issue for issue in alice.issues(second) if issue.kind is IssueKind.WOULD_UPDATE}
    assert lines.keys() == {changed, gone}
    assert lines[changed].detail["title"][1] == f"Renamed for {tier}"
    assert lines[changed].detail["deal_amount"][1] in ("77.5", "78.5")
    assert "would be archived" in lines[gone].reason
    done = alice.sync()
    assert (done.created, done.updated, done.archived) == (0, 2, 1)


def test_a_picked_deal_that_the_mapping_leaves_out_counts_once(workshop: Workshops) -> None:
    alice = workshop(TAILSPIN)
    deals = alice.deals(TAILSPIN)
    alice.workspace.do(lambda connection: mappings.define(connection, TAILSPIN, [], [], at=times.now()))
    stage = (str(deals[0].properties["pipeline"]), str(deals[0].properties["dealstage"]))

    def leave_out(connection: Connection) -> None:
        version = mappings.chosen(connection).version
        mappings.save_stages(connection, TAILSPIN, version, {stage: StageMapping(None)}, "alice@example.com")

    alice.workspace.do(leave_out)
    hubspot_picks.change(alice.services, alice.id, [deals[0].id], [], limit=10, by="alice@example.com")
    told = preview(alice)
    assert (told.created, told.left_out) == (0, len(deals))
    assert counts(told) == counts(alice.sync())


def test_merged_and_restored_deals_are_told_as_a_sync_then_treats_them(workshop: Workshops, sandbox: Sandbox) -> None:
    paula = workshop(TAILSPIN, tier=Tier.PAID)
    paula.sync()
    back, one, other = sorted(paula.live())[:3]
    sandbox.order(f"deals/{back}/archive", portal_id=TAILSPIN)
    assert paula.sync().archived == 1
    sandbox.order(f"deals/{back}/restore", portal_id=TAILSPIN)
    survivor = sandbox.order("deals/merge", portal_id=TAILSPIN, ids=[one, other])["id"]
    before = contents(paula)
    told = preview(paula)
    assert contents(paula) == before
    reasons = {issue.deal_id: issue.reason for issue in paula.issues(told) if issue.kind is IssueKind.WOULD_UPDATE}
    assert "come back from the archive" in reasons[back]
    assert f"part of deal {survivor}" in reasons[other] + reasons.get(one, "")
    done = paula.sync()
    for name in ("created", "updated", "archived", "restored", "merged", "failed"):
        assert getattr(told, name) == getattr(done, name), name
    assert (done.restored, done.merged, done.created) == (1, 1, 0)


def test_a_preview_looks_at_picks_and_leaves_them_as_they_are(workshop: Workshops, sandbox: Sandbox) -> None:
    alice = workshop(TAILSPIN)
    rule = first_ten(alice.deals(TAILSPIN))
    one, other, gone = [deal.id for deal in alice.deals(TAILSPIN) if deal.id not in rule][:3]
    hubspot_picks.change(alice.services, alice.id, [one, gone], [], limit=10, by="mia@example.com")
    survivor = sandbox.order("deals/merge", portal_id=TAILSPIN, ids=[one, other])["id"]
    sandbox.order(f"deals/{gone}/archive", portal_id=TAILSPIN)
    before = contents(alice)
    told = preview(alice)
    assert contents(alice) == before
    comes = [issue.deal_id for issue in alice.issues(told) if issue.kind is IssueKind.WOULD_CREATE]
    assert comes == [survivor] and "deleted" in {issue.code for issue in alice.issues(told)}
    assert counts(alice.sync()) == counts(told)
    assert list(alice.live()) == [survivor]


def test_a_large_account_names_two_hundred_and_counts_the_rest(workshop: Workshops) -> None:
    alice = workshop(NORTHWIND)
    there = len(alice.deals())
    assert there > 210
    for run in (preview(alice), alice.sync()):
        left_out = [issue for issue in alice.issues(run) if issue.kind is IssueKind.LEFT_OUT]
        named = [issue for issue in left_out if issue.deal_id]
        assert run.left_out == there - 10 and len(named) == 190
        if run.kind is SyncKind.IMPORT:
            (summary,) = [issue for issue in left_out if not issue.deal_id]
            assert f"{there - 10} of {there} deals" in summary.reason
            assert run.calls <= 6


def test_what_a_user_has_edited_is_no_change(workshop: Workshops, sandbox: Sandbox) -> None:
    alice = workshop(TAILSPIN)
    alice.sync()
    deal_id, registration = sorted(alice.live().items())[0]
    row = registration.row
    alice.workspace.do(
        lambda connection: registrations.edit(connection, row.id, row.version, {"title": "Ours"}, "alice@example.com")
    )
    edit(sandbox, deal_id, dealname="Theirs")
    assert preview(alice).updated == 0
    assert not [issue for issue in alice.issues(preview(alice)) if issue.kind is IssueKind.WOULD_UPDATE]


def test_deals_that_have_no_room_are_named_with_the_reason(workshop: Workshops) -> None:
    alice = workshop(TAILSPIN)
    there = alice.deals(TAILSPIN)
    for run in (preview(alice), alice.sync()):
        told = [issue for issue in alice.issues(run) if issue.kind is IssueKind.LEFT_OUT and issue.deal_id]
        assert len(told) == run.left_out == len(there) - 10
        assert {issue.deal_id for issue in told}.isdisjoint(alice.live() if run.kind is SyncKind.IMPORT else ())
        assert all("The free plan imports 10 deals" in issue.reason and issue.title for issue in told)


def test_a_large_preview_counts_all_and_names_the_first(workshop: Workshops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("awssome.workflows.sync.preview.PREVIEW_TOLD", 5)
    paula = workshop(TAILSPIN, tier=Tier.PAID)
    done = preview(paula)
    assert done.created == len(paula.deals(TAILSPIN)) > 5
    assert len(paula.issues(done)) == 5 < PREVIEW_TOLD


def test_a_preview_that_was_interrupted_begins_anew_and_counts_once(
    workshop: Workshops,
) -> None:
    paula = workshop(NORTHWIND, tier=Tier.PAID)
    email = paula.tenancy.owner_email
    made = paula.workspace.do(lambda connection: syncs.create(connection, email, SyncKind.PREVIEW))
    with pytest.raises(Exception, match="goes on in a moment"):
        paula.sync(made.id, should_abort=lambda: paula.find(made.id).seen > 0)
    assert paula.find(made.id).open
    done = paula.sync(made.id)
    assert (done.created, done.seen) == (len(paula.deals()), len(paula.deals()))

    def told(connection: Connection) -> int:
        query = select(func.count()).select_from(sync_issues).where(sync_issues.c.kind == IssueKind.WOULD_CREATE)
        return int(connection.execute(query).scalar_one())

    assert paula.workspace.do(told) == min(done.created, PREVIEW_TOLD)


def test_a_run_that_was_ended_stops_at_its_next_page(workshop: Workshops) -> None:
    paula = workshop(NORTHWIND, tier=Tier.PAID)
    sync_id = paula.queue()

    def end_it() -> bool:
        run = paula.find(sync_id)
        if run.open and run.seen:
            paula.workspace.do(lambda connection: syncs.cancel(connection, sync_id, "mia@example.com"))
        return False

    with pytest.raises(Exception, match="goes on in a moment"):
        paula.sync(sync_id, should_abort=end_it)
    ended = paula.sync(sync_id)  # the job is tried again, and finds nothing to do
    assert (ended.state, ended.problem) == (SyncState.CANCELLED, "mia@example.com has ended this run.")
    assert 0 < ended.seen < len(paula.deals()) and len(paula.live()) == ended.created
    done = paula.sync()
    assert (done.state, done.imported) == (SyncState.DONE, len(paula.deals()))
