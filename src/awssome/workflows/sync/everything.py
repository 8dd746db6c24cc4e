"""A paid tenant gets all deals: the first time, and from time to time, by reading all; in between by what has changed.

A full pass follows the list to its end, then looks up the mapped deals that were not in it. An incremental one follows
the changes, then the list of deleted deals, then looks up those that were deleted before and are not in it any more.
In the end numbers are compared. Each step ends with the position at which the next one begins.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from enum import StrEnum

from awssome.database import Connection
from awssome.database.tenant import imports, syncs, watermarks
from awssome.database.tenant.syncs import Sync
from awssome.domain.syncs import MappingState, SyncMode
from awssome.domain.times import now
from awssome.domain.windows import Watermark, instant, milliseconds, open_window, saved
from awssome.hubspot.limits import LIST_PAGE
from awssome.workflows.sync.changes import follow_changes
from awssome.workflows.sync.reading import MODIFIED, count, listed, newest_change, one_ahead, some_ahead
from awssome.workflows.sync.reconciling import reconcile
from awssome.workflows.sync.running import Run
from awssome.workflows.sync.writing import put_away, write

HUBSPOT_KEEPS = timedelta(days=91)
"""HubSpot keeps deleted deals for 90 days; until then they may come back."""

_FEW = 2_000
"""So many changes are always followed one by one."""

_TOGETHER = 4
"""So many pages of the list are written in one transaction at most: those that came while the ones before were being
written. Where HubSpot is the slower side, as it is under its limit, each page is written as it comes."""


class Step(StrEnum):
    """What a run does next, as its position has it."""

    LIST = "list"
    UNSEEN = "unseen"
    CHANGES = "changes"
    DELETED = "deleted"
    RESTORED = "restored"
    COUNT = "count"
    DONE = "done"


def import_all(run: Run) -> None:
    """From where the run stands to its end."""
    begun = "step" in run.position
    if begun and run.sync.mapping_hash != run.mapping.digest:  # half of it would be mapped in another way
        begin_full(run)
    elif not begun:
        _begin(run)
    while (step := Step(run.position["step"])) is not Step.DONE:
        _STEPS[step](run)
    run.finish(run.position["there"], _newest(run), beyond=run.position["beyond"])


def begin_full(run: Run) -> None:
    """From now on the run reads all deals."""
    newest = newest_change(run.client)
    began = now()
    run.workspace.do(lambda connection: syncs.tell_again(connection, run.sync))
    run.note(
        mode=SyncMode.FULL,
        mapping_hash=run.mapping.digest,
        window_from=None,
        window_to=None,
        position={"step": Step.LIST, "there": 0, "newest": _earlier(newest, began)},
    )


def _begin(run: Run) -> None:
    watermark = run.workspace.do(lambda connection: watermarks.find(connection, run.portal_id))
    if watermark is None or not watermark.suffices(run.mapping.digest, now()):
        begin_full(run)
    else:
        _begin_incremental(run, watermark)


def _begin_incremental(run: Run, watermark: Watermark) -> None:
    began = now()
    window = open_window(watermark.changed_until, began)
    run.note(
        mode=SyncMode.INCREMENTAL,
        mapping_hash=run.mapping.digest,
        window_from=instant(window.since),
        window_to=began,
        position={
            "step": Step.CHANGES,
            "windows": saved([window]),
            "began": milliseconds(began),
            "newest": milliseconds(watermark.changed_until),
        },
    )


def _list(run: Run) -> None:
    pages = run.client.iter_deals(run.position.get("after"), LIST_PAGE, run.properties)
    with closing(some_ahead(pages, run.stopping, _TOGETHER)) as ahead:
        for some in ahead:
            answer, following = listed(*some), some[-1].next
            there = run.position["there"] + len(answer.deals) + len(answer.failed)
            step = {"step": Step.LIST, "after": following} if following else {"step": Step.UNSEEN, "after": ""}
            write(run, answer.deals, failed=answer.failed, position={**run.position, **step, "there": there})


def _unseen(run: Run) -> None:
    reconcile(run, (MappingState.LIVE,), room=None, position=run.position)
    run.note(position={**run.position, "step": Step.COUNT})


def _changes(run: Run) -> None:
    bearable = max(_FEW, run.workspace.do(lambda connection: imports.count_live(connection, run.portal_id)) // 2)
    if not follow_changes(run, bearable):
        begin_full(run)
        return
    # A change that search tells late is looked for from here on; one that came meanwhile may hide an earlier one.
    newest = min(run.position["newest"], run.position["began"])
    run.note(position={"step": Step.DELETED, "newest": newest})


def _deleted(run: Run) -> None:
    pages = run.client.iter_deals(run.position.get("after"), LIST_PAGE, (MODIFIED,), archived=True)
    with closing(one_ahead(pages, run.stopping)) as ahead:
        for page in ahead:
            step = {"step": Step.DELETED, "after": page.next} if page.next else {"step": Step.RESTORED, "after": ""}
            gone = [deal.id for deal in page.results] + [one.id for one in page.unreadable if one.id]
            put_away(run, gone, {**run.position, **step})


def _restored(run: Run) -> None:
    reconcile(run, (MappingState.ARCHIVED,), room=None, read_since=now() - HUBSPOT_KEEPS, position=run.position)
    run.note(position={**run.position, "step": Step.COUNT})


def _count(run: Run) -> None:
    """Compare numbers. What changed without a trace shows in them: that a deal is gone, or one is back that never was
    here. Then all deals are read. One may also have been deleted just now: so that is looked for once more before."""
    newest = _newest(run)
    there = count(run.client)
    settled = count(run.client, newest) if newest else there

    def work(connection: Connection) -> tuple[int, int, Watermark | None, Sync | None]:
        return (
            imports.count_live(connection, run.portal_id),
            imports.count_live(connection, run.portal_id, changed_before=newest),
            watermarks.find(connection, run.portal_id),
            syncs.find(connection, run.sync.id),
        )

    here, settled_here, watermark, so_far = run.workspace.do(work)
    # How many are not here, at least and at most: deals that change just now are missing from one, new ones are in the
    # other.
    beyond, at_most = max(0, settled - settled_here), max(0, there - here)
    explained = so_far.left_out + so_far.failed if so_far else 0
    if run.sync.mode is SyncMode.INCREMENTAL and watermark:
        explained += watermark.beyond
        if here > there and "again" not in run.position:
            run.note(position={"step": Step.DELETED, "newest": run.position["newest"], "again": True})
            return
        if here > there or beyond > explained:
            begin_full(run)
            return
    else:
        there = run.position["there"]  # the list is exact, where a search may still count what was deleted a moment ago
    # No more than is explained: what a lagging search counts too many must not hide a deal that comes back.
    run.note(
        position={**run.position, "step": Step.DONE, "there": there, "beyond": min(max(beyond, at_most), explained)}
    )


def _newest(run: Run) -> datetime | None:
    newest = run.position["newest"]
    return instant(newest) if newest else None


def _earlier(newest: datetime | None, began: datetime) -> int | None:
    return milliseconds(min(newest, began)) if newest else None


_STEPS: dict[Step, Callable[[Run], None]] = {
    Step.LIST: _list,
    Step.UNSEEN: _unseen,
    Step.CHANGES: _changes,
    Step.DELETED: _deleted,
    Step.RESTORED: _restored,
    Step.COUNT: _count,
}
