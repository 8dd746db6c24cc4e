"""The CRM search: filters, sorts, cursors and their limits.

Matches are computed by one scan and kept until the portal's deals change, so that the pages of one search cost one
scan. A comparison never matches an empty value, archived deals are never found, and nothing can be read past the
10,000th match.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from awssome_sandbox.hubspot.definitions import PROPERTIES
from awssome_sandbox.hubspot.errors import HubSpotError, invalid
from awssome_sandbox.hubspot.portals import Deal, Portal
from awssome_sandbox.hubspot.times import moment

DEFAULT_LIMIT, MAX_LIMIT, MAX_MATCHES = 10, 200, 10_000
MAX_GROUPS, MAX_FILTERS, MAX_FILTERS_IN_ALL, MAX_BODY = 5, 6, 18, 3_000
_KEPT_SEARCHES = 64
_MAX_VALUES = 100

_Comparable = Decimal | str
_Test = Callable[[Deal], bool]


@dataclass(frozen=True, slots=True)
class Matches:
    """One page of a search: the deals, how many match in all, the next cursor."""

    deals: list[Deal]
    total: int
    after: str | None


class Searches:
    """Runs searches over portals and keeps what recent ones found."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, int, str], list[Deal]] = OrderedDict()

    def page(self, portal: Portal, query: dict[str, Any], *, with_holes: bool = False) -> Matches:
        """One page of the deals that match a search's body.

        :param with_holes: let the cursor run over places without results, so that pages come short or empty with a
            next cursor, as the real service's sometimes do.
        :raises HubSpotError: 400 for a body that HubSpot would refuse, or a page past the 10,000th match.
        """
        limit, after = _limit(query), _after(query)
        if after + limit > MAX_MATCHES:
            raise invalid("Paging is limited to the first 10,000 results of a search.")
        matches = self._matches(portal, query)
        if not with_holes:
            more = after + limit < len(matches)
            return Matches(matches[after : after + limit], len(matches), str(after + limit) if more else None)
        start, end = _without_holes(after, limit), _without_holes(after + limit, limit)
        return Matches(matches[start:end], len(matches), str(after + limit) if end < len(matches) else None)

    def _matches(self, portal: Portal, query: dict[str, Any]) -> list[Deal]:
        asked = {name: query.get(name) for name in ("filterGroups", "filters", "sorts", "query")}
        canonical = json.dumps(asked, sort_keys=True)
        if len(canonical) > MAX_BODY:
            raise invalid("The request's filters exceed the maximum of 3,000 characters.")
        key = (portal.id, portal.revision, canonical)
        if key not in self._kept:
            self._kept[key] = _scan(portal, query)
            while len(self._kept) > _KEPT_SEARCHES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


def _scan(portal: Portal, query: dict[str, Any]) -> list[Deal]:
    tests = _tests(portal, query)
    words = str(query.get("query") or "").lower().split()
    found = []
    for id_ in portal.live_ids:
        deal = portal.deals[id_]
        if tests and not any(all(test(deal) for test in group) for group in tests):
            continue
        if words and not _contains(deal, words):
            continue
        found.append(deal)
    return _sorted(portal, found, query.get("sorts") or [])


def _tests(portal: Portal, query: dict[str, Any]) -> list[list[_Test]]:
    groups = query.get("filterGroups") or []
    if not groups and query.get("filters"):
        groups = [{"filters": query["filters"]}]
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise invalid("filterGroups must be a list of objects.")
    filters = [group.get("filters") or [] for group in groups]
    if len(groups) > MAX_GROUPS:
        raise invalid(f"The maximum number of filterGroups is {MAX_GROUPS}.")
    if any(len(group) > MAX_FILTERS for group in filters) or sum(map(len, filters)) > MAX_FILTERS_IN_ALL:
        raise invalid(f"The maximum is {MAX_FILTERS} filters in a group and {MAX_FILTERS_IN_ALL} in all.")
    return [[_test(portal, filter_) for filter_ in group] for group in filters]


def _test(portal: Portal, filter_: dict[str, Any]) -> _Test:
    if not isinstance(filter_, dict):
        raise invalid("A filter must be an object.")
    name, operator = filter_.get("propertyName"), filter_.get("operator")
    if name not in PROPERTIES:
        raise invalid(f'There was a problem with the request: property "{name}" does not exist.')

    def value(deal: Deal) -> _Comparable | None:
        return _comparable(name, portal.value(deal, name))

    def operand(key: str = "value") -> _Comparable:
        given = filter_.get(key)
        if given is None or isinstance(given, (list, dict)):
            raise invalid(f"The operator {operator} of {name} requires a {key}.")
        return _operand(name, str(given))

    def operands() -> set[_Comparable]:
        given = filter_.get("values")
        if not isinstance(given, list) or not given or len(given) > _MAX_VALUES:
            raise invalid(f"The operator {operator} of {name} requires values, {_MAX_VALUES} at most.")
        return {_operand(name, str(item)) for item in given}

    match operator:
        case "HAS_PROPERTY":
            return lambda deal: portal.value(deal, name) is not None
        case "NOT_HAS_PROPERTY":
            return lambda deal: portal.value(deal, name) is None
        case "EQ":
            wanted = operand()
            return lambda deal: value(deal) == wanted
        case "NEQ":
            unwanted = operand()
            return lambda deal: value(deal) not in (None, unwanted)
        case "IN":
            among = operands()
            return lambda deal: value(deal) in among
        case "NOT_IN":
            barred = {None, *operands()}
            return lambda deal: value(deal) not in barred
        case "GT":
            floor = operand()
            return lambda deal: (found := value(deal)) is not None and found > floor  # type: ignore[operator]
        case "GTE":
            floor = operand()
            return lambda deal: (found := value(deal)) is not None and found >= floor  # type: ignore[operator]
        case "LT":
            ceiling = operand()
            return lambda deal: (found := value(deal)) is not None and found < ceiling  # type: ignore[operator]
        case "LTE":
            ceiling = operand()
            return lambda deal: (found := value(deal)) is not None and found <= ceiling  # type: ignore[operator]
        case "BETWEEN":
            low, high = operand(), operand("highValue")
            return lambda deal: (found := value(deal)) is not None and low <= found <= high  # type: ignore[operator]
    raise invalid(f'Invalid input JSON: "{operator}" is not one of the operators.')


def _comparable(name: str, value: str | None) -> _Comparable | None:
    """A stored value in the form that compares rightly: numbers as numbers, times as fixed-width text."""
    if value is None:
        return None
    match PROPERTIES[name].type:
        case "number":
            return Decimal(value)
        case "datetime":
            return value if len(value) == 24 else moment(value)
        case "string":
            return value.lower()
    return value


def _operand(name: str, given: str) -> _Comparable:
    """A filter's value in the same form; times come as milliseconds since the epoch or in ISO 8601."""
    kind = PROPERTIES[name].type
    try:
        if kind == "datetime":
            return moment(given)
        if kind == "number":
            return Decimal(given)
    except (ValueError, OverflowError, InvalidOperation):
        raise _bad_operand(name, given) from None
    return given.lower() if kind == "string" else given


def _bad_operand(name: str, given: str) -> HubSpotError:
    return invalid(f'There was a problem with the request: "{given}" is no {PROPERTIES[name].type} for "{name}".')


def _contains(deal: Deal, words: list[str]) -> bool:
    text = " ".join(deal.entered.get(name, "") for name in ("dealname", "description", "dealtype")).lower()
    return all(word in text for word in words)


def _sorted(portal: Portal, deals: list[Deal], sorts: list[Any]) -> list[Deal]:
    """By the one sort that HubSpot takes, empty values last; without one in order of creation."""
    if not isinstance(sorts, list) or len(sorts) > 1:
        raise invalid("Only one sort is allowed.")
    if not sorts:
        return deals
    sort = sorts[0]
    name, descending = (
        (sort, False) if isinstance(sort, str) else (sort.get("propertyName"), sort.get("direction") == "DESCENDING")
    )
    if isinstance(sort, str) and sort.startswith("-"):
        name, descending = sort[1:], True
    if name not in PROPERTIES:
        raise invalid(f'There was a problem with the request: property "{name}" does not exist.')
    keyed = [(_comparable(name, portal.value(deal, name)), deal) for deal in deals]
    full = sorted((pair for pair in keyed if pair[0] is not None), key=lambda pair: pair[0], reverse=descending)
    return [deal for _, deal in full] + [deal for key, deal in keyed if key is None]


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
