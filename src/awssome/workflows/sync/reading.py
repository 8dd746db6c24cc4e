"""What a sync reads from HubSpot."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from awssome.domain.imports import SourceDeal
from awssome.hubspot.client import Client
from awssome.hubspot.limits import SEARCH_PAGE
from awssome.hubspot.models import Deal, Filter, Page, Search

MERGED_IDS = "hs_merged_object_ids"


def one_ahead(pages: Iterator[Page], stopping: threading.Event) -> Generator[Page, None, None]:
    """The same pages; each is fetched by a thread while the one before it is being written.

    :param stopping: set when it is closed early, so that the fetch that is under way ends at once.
    """
    with ThreadPoolExecutor(1) as fetcher:
        try:
            coming = fetcher.submit(next, pages, None)
            while (page := coming.result()) is not None:
                coming = fetcher.submit(next, pages, None)
                yield page
        except GeneratorExit:
            stopping.set()
            raise


def query(*filters: Filter, properties: tuple[str, ...], limit: int, sort: str | None = None) -> Search:
    """A search for deals."""
    return Search(filters=filters, properties=properties, sort=sort, limit=min(limit, SEARCH_PAGE))


def searched(client: Client, search: Search, wanted: int) -> tuple[list[Deal], int]:
    """The first deals of a search by creation date, and how many match. Pages may be short, or empty."""
    found: list[Deal] = []
    total = 0
    for page in client.iter_searched_deals(search):
        found += page.results
        total = page.total
        if len(found) >= wanted:
            break
    return sorted(found, key=_age)[:wanted], total


def sources(deals: Sequence[Deal]) -> list[SourceDeal]:
    """HubSpot's deals as the domain sees them."""
    return [
        SourceDeal(
            deal.id,
            deal.properties,
            tuple(old for old in (deal.properties.get(MERGED_IDS) or "").split(";") if old),
        )
        for deal in deals
    ]


def _age(deal: Deal) -> tuple[datetime, int, str]:
    """Orders by creation date, then by number: HubSpot's own order is not to be relied on."""
    try:
        created = datetime.fromisoformat(deal.properties.get("createdate") or "")
    except ValueError:
        created = deal.created_at or datetime.max
    return created if created.tzinfo else created.replace(tzinfo=UTC), len(deal.id), deal.id
