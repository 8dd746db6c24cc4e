"""A free tenant gets its first deals, open ones first, by creation date, and keeps the same ones."""

from __future__ import annotations

from awssome.database.tenant import hubspot as stored
from awssome.database.tenant import imports
from awssome.domain.imports import SourceDeal
from awssome.domain.syncs import MappingState, SyncMode
from awssome.hubspot.models import Deal, Filter
from awssome.workflows.sync.reading import count, query, searched, sources
from awssome.workflows.sync.reconciling import reconcile
from awssome.workflows.sync.running import Run
from awssome.workflows.sync.writing import write


def import_first(run: Run, limit: int) -> None:
    """What is here is looked up; if there is room, the next deals come in. :param limit: of mappings ever made."""
    run.note(mode=SyncMode.FIRST_TEN, mapping_hash=run.mapping.digest)
    reconcile(run, (MappingState.LIVE, MappingState.ARCHIVED))
    room = max(0, limit - run.workspace.do(stored.imports))
    if room:
        fresh, available = _first_deals(run, limit, room)
        write(run, fresh, limit=limit, available=available)
    else:
        available = count(run.client)
    run.finish(available)


def _first_deals(run: Run, limit: int, room: int) -> tuple[list[SourceDeal], int]:
    """The deals that come in next, as many as there is room for, and how many HubSpot has.

    A search asks for `limit` deals: those that are mapped already may be among its first.
    """
    fresh: list[SourceDeal] = []
    available = 0
    for closed in ("false", "true"):
        wanted = limit if len(fresh) < room else 1
        search = query(Filter("hs_is_closed", "EQ", closed), properties=run.properties, limit=wanted, sort="createdate")
        found, total = searched(run.client, search, wanted)
        available += total
        fresh += sources(_unmapped(run, found)[: room - len(fresh)])
    return fresh, available


def _unmapped(run: Run, deals: list[Deal]) -> list[Deal]:
    ids = [deal.id for deal in deals]
    mapped = run.workspace.do(lambda connection: imports.mapped(connection, run.portal_id, ids))
    return [deal for deal in deals if deal.id not in mapped]
