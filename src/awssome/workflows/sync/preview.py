"""What a sync would do, found out by the same reading and the same plan, and told instead of done.

A preview writes its own row and what it has to tell, and nothing else. It is not resumed: whoever takes it up after an
interruption begins it anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from uuid import UUID

from awssome.database import Connection
from awssome.database.tenant import hubspot as stored
from awssome.database.tenant import imports, syncs
from awssome.database.tenant.deals import changes
from awssome.domain.imports import DealIssue, Known, Plan, SourceDeal, fitted
from awssome.domain.syncs import PREVIEW_TOLD, IssueKind, MappingState, SyncMode
from awssome.domain.times import now
from awssome.hubspot.limits import LIST_PAGE
from awssome.workflows.sync.reading import Answer, count, listed, look_up, one_ahead
from awssome.workflows.sync.running import Run
from awssome.workflows.sync.ten import choose
from awssome.workflows.sync.writing import planned


def preview_sync(run: Run) -> None:
    """To its end."""
    mode = SyncMode.FULL if run.sync.deal_limit is None else SyncMode.FIRST_TEN
    run.workspace.do(lambda connection: syncs.begin_anew(connection, run.sync, mode=mode))
    if run.sync.deal_limit is None:
        _all(_Telling(run))
    else:
        _some(_Telling(run), run.sync.deal_limit)


def would_be(made: Plan, deals: Sequence[SourceDeal]) -> list[DealIssue]:
    """The lines of a preview for what writing these deals would do; those without news have none."""
    titles = {deal.id: deal.properties.get("dealname") or f"Deal {deal.id}" for deal in deals}
    lines = [
        _line(IssueKind.WOULD_CREATE, one.deal_id, None, str(one.values["title"]), detail=changes({}, one.values))
        for one in made.created
    ]
    for one in made.changed:
        reason = "It is back in HubSpot, and would come back from the archive." if one.restored else ""
        detail = changes(one.before, one.after)
        title = titles.get(one.deal_id, "")
        lines.append(_line(IssueKind.WOULD_UPDATE, one.deal_id, one.registration_id, title, reason, detail))
    for known, survivor in made.merged:
        reason = f"It became part of deal {survivor} in HubSpot, and would be archived."
        lines.append(_line(IssueKind.WOULD_UPDATE, known.deal_id, known.registration_id, _title(known), reason))
    new = {one.registration_id for one in made.created}
    # A registration that is not there yet cannot be led to.
    lines += [replace(one, registration_id=None) if one.registration_id in new else one for one in made.issues]
    return lines


class _Telling:
    """What a preview has told so far."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.gained = 0
        self._lines = 0

    def tell(self, answer: Answer, room: int | None) -> None:
        """What writing these deals would do, in one transaction."""
        gained, lines = self.run.workspace.do(partial(self._tell, answer, room))
        self.gained += gained  # not in there: a transaction may be run again
        self._lines += lines

    def finish(self, available: int, left_out: int | None = None, told: Sequence[DealIssue] = ()) -> None:
        """The preview is done. :param left_out: None: as many as were counted."""
        run = self.run

        def work(connection: Connection) -> None:
            self._report(connection, told)
            here = imports.count_live(connection, run.portal_id)
            more = {} if left_out is None else {"left_out": left_out}
            syncs.finish(connection, run.sync, available=available, imported=here, **more, **run.spent)

        run.workspace.do(work)

    def _tell(self, answer: Answer, room: int | None, connection: Connection) -> tuple[int, int]:
        run = self.run
        made = planned(run, connection, answer.deals, room, now())
        gone = [
            known
            for known in imports.known(connection, run.portal_id, answer.missing).values()
            if known.state is MappingState.LIVE
        ]
        lines = [*would_be(made, answer.deals), *answer.failed, *map(_gone, gone)]
        self._report(connection, lines)
        counts = syncs.added(
            seen=len(answer.deals) + len(answer.failed) - len(made.no_room) + len(made.merged) + len(gone),
            created=len(made.created),
            updated=made.updated + len(gone),
            unchanged=made.unchanged,
            failed=len(made.failed) + len(answer.failed),
            left_out=len(made.skipped),
            archived=len(gone),
            restored=made.restored,
            merged=len(made.merged),
        )
        syncs.progress(connection, run.sync, **counts, **run.spent)
        return made.gained - len(gone), len(lines)

    def _report(self, connection: Connection, lines: Sequence[DealIssue]) -> None:
        imports.report(connection, self.run.sync.id, lines[: max(0, PREVIEW_TOLD - self._lines)])


def _all(telling: _Telling) -> None:
    """Every deal of the account, and the mapped ones that are not among them."""
    run = telling.run
    run.note(available=count(run.client))
    seen: set[str] = set()
    there = 0
    pages = run.client.iter_deals(None, LIST_PAGE, run.properties)
    with closing(one_ahead(pages, run.stopping)) as ahead:
        for page in ahead:
            answer = _fresh(listed(page), seen)
            there += len(answer.deals) + len(answer.failed)
            telling.tell(answer, None)
    _unseen(telling, (MappingState.LIVE,), seen, room=None)
    telling.finish(there)


def _some(telling: _Telling, limit: int) -> None:
    """The deals that are here, and those that would come in."""
    run = telling.run
    _unseen(telling, (MappingState.LIVE, MappingState.ARCHIVED), set(), room=0)
    room = max(0, limit - run.workspace.do(stored.imports))
    choice = choose(run, limit)
    telling.tell(Answer(choice.deals, choice.failed, []), room)
    here = run.workspace.do(lambda connection: imports.count_live(connection, run.portal_id)) + telling.gained
    available = max(here, choice.available)
    telling.finish(available, available - here, choice.left_out)


def _unseen(telling: _Telling, states: Sequence[MappingState], seen: set[str], *, room: int | None) -> None:
    run, after = telling.run, ""

    def asked_next(after: str, connection: Connection) -> list[str]:
        return imports.unseen(connection, run.portal_id, run.sync.id, states, after=after)

    while asked := run.workspace.do(partial(asked_next, after)):
        after = asked[-1]
        if rest := [deal_id for deal_id in asked if deal_id not in seen]:
            telling.tell(_fresh(look_up(run.client, rest, run.properties), seen), room)


def _fresh(answer: Answer, seen: set[str]) -> Answer:
    """What was not told of yet. A list that moves while it is read names a deal twice."""
    deals = [deal for deal in answer.deals if deal.id not in seen]
    for deal in deals:
        seen.update((deal.id, *deal.merged_ids))
    return Answer(deals, answer.failed, answer.missing)


def _gone(known: Known) -> DealIssue:
    reason = "It has been deleted in HubSpot, and would be archived."
    return _line(IssueKind.WOULD_UPDATE, known.deal_id, known.registration_id, _title(known), reason)


def _title(known: Known) -> str:
    return str(known.values["title"])


def _line(
    kind: IssueKind,
    deal_id: str,
    registration_id: UUID | None,
    title: str,
    reason: str = "",
    detail: Mapping[str, list[str | None]] | None = None,
) -> DealIssue:
    return fitted(DealIssue(kind, deal_id, registration_id, title, "", reason, "", detail=detail))
