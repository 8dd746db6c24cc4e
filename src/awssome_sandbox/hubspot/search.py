"""The CRM search: filters, words, sorts, cursors and their limits.

Matches are kept until the index learns something new, so that the pages of one search cost one search. Archived deals
are never found (save for the index's lag), and nothing can be read past the 10,000th match.
"""

from __future__ import annotations

import json
import random
from collections import OrderedDict
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from awssome_sandbox.hubspot import filters
from awssome_sandbox.hubspot.definitions import PROPERTIES
from awssome_sandbox.hubspot.errors import invalid
from awssome_sandbox.hubspot.index import Index
from awssome_sandbox.hubspot.portals import Deal, Portal

DEFAULT_LIMIT, MAX_LIMIT, MAX_MATCHES, MAX_BODY = 10, 200, 10_000, 3_000
_KEPT_SEARCHES = 64
_DISPLACED = 1_000
"""How many places a result can be away from its own when the order is unreliable: many more than a page has."""


@dataclass(frozen=True, slots=True)
class Matches:
    """One page of a search: the deals, how many match in all, the next cursor."""

    deals: list[Deal]
    total: int
    after: str | None


class Searches:
    """Runs searches over portals and keeps what recent ones found."""

    def __init__(self, portals: Iterable[Portal]) -> None:
        self._indexes = {portal.id: Index(portal) for portal in portals}
        self._kept: OrderedDict[tuple[int, int, bool, str], list[int]] = OrderedDict()

    def page(
        self, portal: Portal, query: dict[str, Any], *, lag: float, with_holes: bool = False, jumbled: bool = False
    ) -> Matches:
        """One page of the deals that match a search's body.

        :param lag: seconds until a change can be found.
        :param with_holes: let the cursor run over places without results, so that pages come short or empty with a
            next cursor, as the real service's sometimes do.
        :param jumbled: let results stand hundreds of places away from where the wanted order has them.
        :raises HubSpotError: 400 for a body that HubSpot would refuse, or a page past the 10,000th match.
        """
        limit, after = _limit(query), _after(query)
        if after + limit > MAX_MATCHES:
            raise invalid("Paging is limited to the first 10,000 results of a search.")
        index = self._indexes[portal.id]
        index.catch_up(lag)
        matches = self._matches(index, query, jumbled=jumbled)
        start, end = after, after + limit
        if with_holes:
            start, end = _without_holes(start, limit), _without_holes(end, limit)
        deals = [index.deals[id_] for id_ in matches[start:end]]
        return Matches(deals, len(matches), str(after + limit) if end < len(matches) else None)

    def _matches(self, index: Index, query: dict[str, Any], *, jumbled: bool) -> list[int]:
        asked = {name: query.get(name) for name in ("filterGroups", "filters", "sorts", "query")}
        canonical = json.dumps(asked, sort_keys=True)
        if len(canonical) > MAX_BODY:
            raise invalid("The request's filters exceed the maximum of 3,000 characters.")
        key = (index.portal.id, index.revision, jumbled, canonical)
        if key not in self._kept:
            found = _found(index, query)
            self._kept[key] = _jumbled(found, canonical) if jumbled else found
            while len(self._kept) > _KEPT_SEARCHES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


def _found(index: Index, query: dict[str, Any]) -> list[int]:
    sort = _sort(query.get("sorts") or [])
    words = str(query.get("query") or "").lower().split()
    if sort and not words and (ids := filters.passing_in_order(index, query, sort[0])) is not None:
        return ids[::-1] if sort[1] else ids.copy()
    passing = filters.passing(index, query)
    if words:
        with_words = index.with_words(words)
        passing = with_words if passing is None else passing & with_words
    return _sorted(index, index.deals.keys() if passing is None else passing, sort)


def _sorted(index: Index, ids: AbstractSet[int], sort: tuple[str, bool] | None) -> list[int]:
    name, descending = sort or ("hs_object_id", False)
    ordered = index.column(name).ids
    full = ordered.copy() if len(ids) == len(ordered) == len(index.deals) else [id_ for id_ in ordered if id_ in ids]
    if descending:
        full.reverse()
    return full if len(full) == len(ids) else full + sorted(ids - set(full))


def _sort(sorts: list[Any]) -> tuple[str, bool] | None:
    """The one sort that HubSpot takes: by which property, and whether descending. Empty values come last, and without a
    sort deals come in order of creation."""
    if not isinstance(sorts, list) or len(sorts) > 1:
        raise invalid("Only one sort is allowed.")
    if not sorts:
        return None
    sort = sorts[0]
    if isinstance(sort, str):
        name, descending = sort.removeprefix("-"), sort.startswith("-")
    elif isinstance(sort, dict):
        name, descending = str(sort.get("propertyName")), sort.get("direction") == "DESCENDING"
    else:
        raise invalid("A sort must be a property's name or an object.")
    if name not in PROPERTIES:
        raise invalid(f'There was a problem with the request: property "{name}" does not exist.')
    return name, descending


def _jumbled(ids: list[int], seed: str) -> list[int]:
    """The same ids, each up to a thousand places from its own; the same for every page of one search."""
    rng = random.Random(seed)
    places = {id_: place + rng.randrange(_DISPLACED) for place, id_ in enumerate(ids)}
    return sorted(ids, key=places.__getitem__)


def _limit(query: dict[str, Any]) -> int:
    limit = query.get("limit", DEFAULT_LIMIT)
    if not isinstance(limit, int) or isinstance(limit, bool) or not 0 <= limit <= MAX_LIMIT:
        raise invalid(f"The limit must be a number from 0 to {MAX_LIMIT}.")
    return limit


def _after(query: dict[str, Any]) -> int:
    after = query.get("after") or "0"
    if not str(after).isdigit():
        raise invalid(f'Invalid cursor "{after}": after must be an integer.')
    return int(after)


def _without_holes(place: int, limit: int) -> int:
    """How many results lie before a place when of each three pages the first one and a half are holes."""
    holes = limit + limit // 2
    block, rest = divmod(place, 3 * limit) if limit else (0, 0)
    return block * (3 * limit - holes) + max(0, rest - holes)
