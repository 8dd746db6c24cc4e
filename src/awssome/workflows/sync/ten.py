"""A free tenant gets a few deals and keeps the same ones: those that its people have picked, or else the oldest open
ones. The others are named with the reason, as many as one page of a search tells of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from awssome.database import Connection
from awssome.database.tenant import hubspot as stored
from awssome.database.tenant import imports, picks, syncs
from awssome.database.tenant.picks import Pick
from awssome.domain.imports import DealIssue, SourceDeal, fitted, plan
from awssome.domain.syncs import IssueKind, MappingState, SyncMode
from awssome.domain.times import now
from awssome.hubspot.limits import SEARCH_PAGE
from awssome.hubspot.models import Deal, Filter, Search
from awssome.workflows.sync.reading import Answer, look_up, searched, sources
from awssome.workflows.sync.reconciling import reconcile
from awssome.workflows.sync.running import Run
from awssome.workflows.sync.writing import write


@dataclass(frozen=True)
class Choice:
    """Which deals come in next.

    :ivar deals: those, as many as there is room for.
    :ivar failed: those of them that cannot be read.
    :ivar gone: what was picked, and HubSpot has deleted.
    :ivar merged: (what was picked, the deal that it has become part of).
    :ivar left_out: why other deals stay in HubSpot, as many as can be named.
    :ivar available: how many deals HubSpot has.
    """

    deals: list[SourceDeal]
    failed: list[DealIssue]
    gone: list[Pick]
    merged: list[tuple[str, str]]
    left_out: list[DealIssue]
    available: int


def import_first(run: Run, limit: int) -> None:
    """What is here is looked up; if there is room, the next deals come in. :param limit: of mappings ever made."""
    if run.sync.mode not in (None, SyncMode.FIRST_TEN):  # begun while all of them were paid for
        run.workspace.do(lambda connection: syncs.tell_again(connection, run.sync))
    run.note(mode=SyncMode.FIRST_TEN, mapping_hash=run.mapping.digest)
    reconcile(run, (MappingState.LIVE, MappingState.ARCHIVED))
    choice = choose(run, limit)
    if choice.gone or choice.merged:
        run.workspace.do(lambda connection: _follow(run, connection, choice))
    if choice.deals or choice.failed:
        write(run, choice.deals, failed=choice.failed, limit=limit, available=choice.available)
    run.finish(choice.available, told=choice.left_out)


def choose(run: Run, limit: int) -> Choice:
    """Which deals come in next, and which do not. Nothing is written.

    :param limit: of mappings ever made.
    """

    def read(connection: Connection) -> tuple[list[Pick], int]:
        return picks.find(connection, run.portal_id), max(0, limit - stored.imports(connection))

    chosen, room = run.workspace.do(read)
    found, available = _oldest(run)
    if not chosen:
        # Those that the mapping leaves out take no place, nor do those that failed before, as long as there are others.
        made = plan(sources(found, ""), {}, run.mapping, 0, now().date())
        could = sorted((deal for deal in found if deal.id in made.no_room), key=lambda deal: deal.id in run.failing)
        # Asked for by id, too: a search still finds what was deleted or merged a moment ago.
        first = [deal.id for deal in could[:room]]
        oldest = look_up(run.client, first, run.properties) if first else Answer([], [], [])
        why = f"The free plan imports {limit} deals: open ones first, oldest first. This one is not among them."
        advice = "Upgrade to import it, or pick it while there are places."
        left_out = [_left_out(deal, why, advice) for deal in could[room:]]
        return Choice(oldest.deals, oldest.failed, [], [], made.issues + left_out, available)
    waiting = [pick for pick in chosen if not pick.imported][:room]
    answer = look_up(run.client, [pick.deal_id for pick in waiting], run.properties) if waiting else None
    deals = _in_order(waiting, answer.deals) if answer else []
    gone = [pick for pick in waiting if answer and pick.deal_id in answer.missing]
    merged = [(old, deal.id) for deal in deals for old in deal.merged_ids if any(old == one.deal_id for one in waiting)]
    coming = {deal.id for deal in deals}
    why = f"The free plan imports {limit} deals, and you have picked others."
    advice = "Pick it, or upgrade to import all of your deals." if len(waiting) < room else "Upgrade to import it."
    left_out = [_left_out(deal, why, advice) for deal in found if deal.id not in coming]
    told = [_gone(pick) for pick in gone]
    return Choice(deals, answer.failed if answer else [], gone, merged, told + left_out, available)


def _oldest(run: Run) -> tuple[list[Deal], int]:
    """Deals that are not here, open ones first, by creation date; and how many HubSpot has.

    As many as one page of a search holds: order is not to be relied on, and whoever is left out is told so by name.
    """
    found: list[Deal] = []
    available = 0
    for closed in ("false", "true"):
        wanted = max(1, SEARCH_PAGE - len(found))
        search = Search((Filter("hs_is_closed", "EQ", closed),), run.properties, sort="createdate", limit=wanted)
        some, total = searched(run.client, search, wanted)
        available += total
        found += some
    ids = [deal.id for deal in found]
    mapped = run.workspace.do(lambda connection: imports.mapped(connection, run.portal_id, ids))
    return [deal for deal in found if deal.id not in mapped], available


def _in_order(waiting: Sequence[Pick], found: Sequence[SourceDeal]) -> list[SourceDeal]:
    """The deals in the order in which they, or what became part of them, were picked."""
    place = {pick.deal_id: number for number, pick in enumerate(waiting)}
    last = len(place)
    return sorted(found, key=lambda deal: min(place.get(one, last) for one in (deal.id, *deal.merged_ids)))


def _follow(run: Run, connection: Connection, choice: Choice) -> None:
    for old, survivor in choice.merged:
        picks.follow(connection, run.portal_id, old, survivor)
    picks.drop(connection, run.portal_id, [pick.deal_id for pick in choice.gone])


def _left_out(deal: Deal, reason: str, advice: str) -> DealIssue:
    return fitted(
        DealIssue(
            kind=IssueKind.LEFT_OUT,
            deal_id=deal.id,
            registration_id=None,
            title=deal.properties.get("dealname") or f"Deal {deal.id}",
            field="",
            reason=reason,
            advice=advice,
            code="no_room",
        )
    )


def _gone(pick: Pick) -> DealIssue:
    return DealIssue(
        kind=IssueKind.LEFT_OUT,
        deal_id=pick.deal_id,
        registration_id=None,
        title=pick.title,
        field="",
        reason="You picked this deal, and it has been deleted in HubSpot.",
        advice="Its place is free: pick another one.",
        code="deleted",
    )
