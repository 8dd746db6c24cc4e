"""What a sync reads from HubSpot."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

from awssome.domain.imports import DealIssue, SourceDeal, unreadable, untold
from awssome.domain.mapping import modified_at
from awssome.domain.windows import milliseconds
from awssome.hubspot.client import Client
from awssome.hubspot.errors import Rejected
from awssome.hubspot.models import Deal, Filter, Page, Search, is_id

MERGED_IDS = "hs_merged_object_ids"
MODIFIED = "hs_lastmodifieddate"

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """What HubSpot says of some deals.

    :ivar deals: those that are there.
    :ivar failed: those that are there and cannot be read, and those of which it says nothing.
    :ivar missing: those that were asked for by id, and are deleted or never were.
    """

    deals: list[SourceDeal]
    failed: list[DealIssue]
    missing: list[str]


def one_ahead(parts: Iterator[T], stopping: threading.Event) -> Generator[T, None, None]:
    """The same parts; each is fetched by a thread while the one before it is being written. See `some_ahead`."""
    with closing(some_ahead(parts, stopping, 1)) as ahead:
        for (part,) in ahead:
            yield part


def some_ahead(parts: Iterator[T], stopping: threading.Event, most: int) -> Generator[list[T], None, None]:
    """The same parts, fetched by a thread while those before them are being written; together come those that are there
    by then, so that whoever writes more slowly than they come writes several at a time.

    :param stopping: set when it is closed early, until the fetch that is under way has ended, which it does at once.
    :param most: how many come together, and are fetched ahead, at most.
    """
    fetcher = ThreadPoolExecutor(1)
    coming = deque(fetcher.submit(next, parts, None) for _ in range(most))
    try:
        while (part := coming.popleft().result()) is not None:
            together = [part]
            while coming and coming[0].done() and not coming[0].exception() and (part := coming[0].result()):
                together.append(part)
                coming.popleft()
            coming.extend(fetcher.submit(next, parts, None) for _ in together)
            yield together
    except GeneratorExit:
        stopping.set()
        raise
    finally:
        fetcher.shutdown(cancel_futures=True)
        stopping.clear()


def listed(*pages: Page) -> Answer:
    """Pages of the list; a deal that is on two of them counts once, as it is on the later one, and not at all if a
    later one says that it became part of another."""
    deals: dict[str, SourceDeal] = {}
    for page in pages:
        fresh = sources(page.results, page.request_id)
        for old in (old for deal in fresh for old in deal.merged_ids):
            deals.pop(old, None)
        deals.update((deal.id, deal) for deal in fresh)
    failed = [unreadable(one.id, "", one.reason) for page in pages for one in page.unreadable]
    return Answer(list(deals.values()), failed, [])


def look_up(client: Client, deal_ids: Sequence[str], properties: tuple[str, ...]) -> Answer:
    """Ask for deals by their ids, and find out which others they became part of, also where HubSpot does not say so."""
    answer = client.batch_read_deals(deal_ids, properties)
    asked = set(deal_ids)
    told_of = sources(answer.results, answer.request_id)
    found = {one.id: one for one in told_of if one.id in asked or asked.intersection(one.merged_ids)}
    failed = [unreadable(one.id, "", one.reason) for one in answer.unreadable]
    missing = list(answer.missing)
    told = {*found, *missing, *(one.id for one in answer.unreadable)}
    told.update(old for one in found.values() for old in one.merged_ids)
    for deal_id in sorted(asked - told):  # perhaps merged, into a deal that does not name it: ask for it alone
        try:
            survivor = client.get_deal(deal_id, properties)
        except Rejected:
            failed.append(untold(deal_id))
            continue
        if survivor is None:
            missing.append(deal_id)
            continue
        (one,) = sources([survivor], "")
        merged_ids = () if one.id == deal_id else (deal_id,)
        known = found.setdefault(one.id, one)
        found[one.id] = replace(known, merged_ids=(*known.merged_ids, *merged_ids))
    return Answer(list(found.values()), failed, missing)


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


def newest_change(client: Client) -> datetime | None:
    """When HubSpot's search had last seen a change; None when there is no deal.

    Out of a page, because its order is not to be relied on. Too early is no harm: then more is read again.
    """
    search = Search(properties=(MODIFIED,), sort=MODIFIED, descending=True)
    for page in client.iter_searched_deals(search):
        if page.results:
            return max(filter(None, (modified_at(deal.properties) for deal in page.results)), default=None)
    return None


def count(client: Client, changed_before: datetime | None = None) -> int:
    """How many deals HubSpot's search finds in the account. :param changed_before: only those last changed before."""
    filters: tuple[Filter, ...] = ()
    if changed_before is not None:
        filters = (Filter(MODIFIED, "LT", str(milliseconds(changed_before))),)
    return client.search_deals(Search(filters, (MODIFIED,), limit=1)).total


def sources(deals: Sequence[Deal], request_id: str) -> list[SourceDeal]:
    """HubSpot's deals as the domain sees them. :param request_id: of the answer that they are from."""
    return [
        SourceDeal(
            deal.id,
            deal.properties,
            tuple(filter(is_id, (deal.properties.get(MERGED_IDS) or "").split(";"))),
            request_id,
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
