"""Deals that failed are tried again when somebody asks for it, and by every later sync."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from awssome.database import Connection
from awssome.database.tenant import failures, syncs
from awssome.database.tenant.failures import Failure
from awssome.database.tenant.syncs import Sync
from awssome.domain.errors import Refused
from awssome.domain.imports import untold
from awssome.domain.mapping import Mapped, map_deal
from awssome.domain.mapping import Mapping as DealMapping
from awssome.domain.syncs import FailureState, SyncKind, SyncState
from awssome.domain.tenants import Tier
from awssome.domain.times import new_id, now
from tests.hubspot.conftest import NORTHWIND, TAILSPIN, Sandbox
from tests.workflows.conftest import Workshop

Workshops = Callable[..., Workshop]


def failed(workshop: Workshop, *deal_ids: str, portal_id: int = TAILSPIN) -> None:
    """As a sync leaves it."""
    issues = [untold(deal_id) for deal_id in deal_ids]
    workshop.workspace.do(lambda connection: failures.note(connection, portal_id, new_id(), issues, now()))


def inbox(workshop: Workshop, portal_id: int = TAILSPIN) -> dict[str, Failure]:
    everything = list(FailureState)
    found = workshop.workspace.do(lambda connection: failures.find(connection, portal_id, everything, limit=1000))
    return {one.deal_id: one for one in found}


def retry(workshop: Workshop, deal_ids: list[str] | None = None) -> Sync:
    def begin(connection: Connection) -> Sync:
        failures.reopen(connection, TAILSPIN)
        made = syncs.create(connection, workshop.tenancy.owner_email, SyncKind.RETRY)
        assert failures.try_again(connection, TAILSPIN, deal_ids) > 0
        return made

    return workshop.sync(workshop.workspace.do(begin).id)


def test_what_can_be_imported_now_comes_in_and_is_resolved(workshop: Workshops) -> None:
    paula = workshop(TAILSPIN, tier=Tier.PAID)
    one, other, third = [deal.id for deal in paula.deals(TAILSPIN)][:3]
    failed(paula, one, other, third)
    done = retry(paula, [one, other])
    assert (done.state, done.kind, done.created, done.failed) == (SyncState.DONE, SyncKind.RETRY, 2, 0)
    assert set(paula.live()) == {one, other} and done.imported == 2
    states = {deal_id: one.state for deal_id, one in inbox(paula).items()}
    assert states == {one: FailureState.RESOLVED, other: FailureState.RESOLVED, third: FailureState.OPEN}
    assert retry(paula).created == 1
    again = paula.sync()
    assert (again.imported, again.created) == (len(paula.deals(TAILSPIN)), len(paula.deals(TAILSPIN)) - 3)


def test_what_fails_again_waits_again_with_one_attempt_more(workshop: Workshops, sandbox: Sandbox) -> None:
    paula = workshop(TAILSPIN, tier=Tier.PAID)
    bad, good = [deal.id for deal in paula.deals(TAILSPIN)][:2]
    failed(paula, bad, good)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            "awssome.domain.imports.map_deal", lambda properties, mapping: _refuse(bad, properties, mapping)
        )
        done = retry(paula)
    assert (done.created, done.failed) == (1, 1)
    waiting = inbox(paula)[bad]
    assert (waiting.state, waiting.attempts, waiting.code) == (FailureState.OPEN, 2, "unreadable")
    assert inbox(paula)[good].state is FailureState.RESOLVED
    paula.sync()  # a later sync that can import it is as good as a retry
    assert inbox(paula)[bad].state is FailureState.RESOLVED and bad in paula.live()


def test_a_deal_that_is_gone_or_has_become_part_of_another_is_done_with(workshop: Workshops, sandbox: Sandbox) -> None:
    paula = workshop(TAILSPIN, tier=Tier.PAID)
    gone, merging, other = [deal.id for deal in paula.deals(TAILSPIN)][:3]
    failed(paula, gone, merging, "no-number")  # as an answer that cannot be read may name a deal
    sandbox.order(f"deals/{gone}/archive", portal_id=TAILSPIN)
    survivor = sandbox.order("deals/merge", portal_id=TAILSPIN, ids=[merging, other])["id"]
    done = retry(paula)
    strange = inbox(paula).pop("no-number")
    assert (strange.state, strange.attempts, done.failed) == (FailureState.OPEN, 2, 1)
    assert {inbox(paula)[one].state for one in (gone, merging)} == {FailureState.RESOLVED}
    assert set(paula.live()) == {survivor}


def test_a_free_tenant_gets_no_eleventh_deal_by_a_retry(workshop: Workshops) -> None:
    alice = workshop(TAILSPIN)
    alice.sync()
    eleventh = next(deal.id for deal in alice.deals(TAILSPIN) if deal.id not in alice.live())
    failed(alice, eleventh)
    assert retry(alice).created == 0
    assert len(alice.live()) == 10 and inbox(alice)[eleventh].state is FailureState.RESOLVED


def test_a_retry_that_did_not_come_to_its_end_leaves_nothing_behind(workshop: Workshops) -> None:
    paula = workshop(TAILSPIN, tier=Tier.PAID)
    one, other = [deal.id for deal in paula.deals(TAILSPIN)][:2]
    failed(paula, one, other)

    def begin(connection: Connection) -> Sync:
        assert failures.try_again(connection, TAILSPIN, [one]) == 1
        return syncs.create(connection, "mia@example.com", SyncKind.RETRY)

    begun = paula.workspace.do(begin)
    assert inbox(paula)[one].state is FailureState.RETRYING
    paula.workspace.do(lambda connection: syncs.cancel(connection, begun.id, "mia@example.com"))
    assert retry(paula, [other]).created == 1
    assert inbox(paula)[one].state is FailureState.OPEN


def test_a_retry_that_is_interrupted_goes_on_and_tries_each_deal_once(workshop: Workshops) -> None:
    paula = workshop(NORTHWIND, tier=Tier.PAID)
    there = [deal.id for deal in paula.deals()]
    failed(paula, *there, portal_id=NORTHWIND)

    def begin(connection: Connection) -> Sync:
        assert failures.try_again(connection, NORTHWIND, None) == len(there)
        return syncs.create(connection, "mia@example.com", SyncKind.RETRY)

    begun = paula.workspace.do(begin)
    with pytest.raises(Refused, match="goes on in a moment"):
        paula.sync(begun.id, should_abort=lambda: paula.find(begun.id).seen > 0)
    assert 0 < len(paula.live()) < len(there)
    done = paula.sync(begun.id)
    assert (done.state, done.created, done.seen) == (SyncState.DONE, len(there), len(there))
    assert {one.state for one in inbox(paula, NORTHWIND).values()} == {FailureState.RESOLVED}


def test_a_dismissed_deal_is_tried_again_only_by_name(workshop: Workshops) -> None:
    paula = workshop(TAILSPIN, tier=Tier.PAID)
    one, other = [deal.id for deal in paula.deals(TAILSPIN)][:2]
    failed(paula, one, other)
    assert paula.workspace.do(lambda connection: failures.dismiss(connection, TAILSPIN, [one], "mia@example.com")) == 1
    assert retry(paula).created == 1 and one not in paula.live()
    assert inbox(paula)[one].state is FailureState.DISMISSED
    assert retry(paula, [one]).created == 1 and one in paula.live()


def _refuse(bad: str, properties: Mapping[str, str | None], mapping: DealMapping) -> Mapped:
    if properties["hs_object_id"] == bad:
        raise ValueError("unreadable")
    return map_deal(properties, mapping)
