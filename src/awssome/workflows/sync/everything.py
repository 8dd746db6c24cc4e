"""A paid tenant gets all deals: the list is followed to its end, then those that were not in it are looked up."""

from __future__ import annotations

from contextlib import closing

from awssome.domain.syncs import MappingState
from awssome.hubspot.limits import LIST_PAGE
from awssome.workflows.sync.reading import one_ahead, query, sources
from awssome.workflows.sync.reconciling import reconcile
from awssome.workflows.sync.running import Run
from awssome.workflows.sync.writing import write

_LISTED = "-"
"""Stands in `next_page` for: the list was followed to its end."""


def import_all(run: Run) -> None:
    """From where the run stands to its end."""
    if run.sync.available is None:
        run.note(available=run.client.search_deals(query(properties=run.properties, limit=1)).total)
    if run.sync.next_page != _LISTED:
        pages = run.client.iter_deals(run.sync.next_page, LIST_PAGE, run.properties)
        with closing(one_ahead(pages, run.stopping)) as ahead:
            for page in ahead:
                write(run, sources(page.results), next_page=page.next or _LISTED)
    reconcile(run, (MappingState.LIVE,))
    run.finish(None)
