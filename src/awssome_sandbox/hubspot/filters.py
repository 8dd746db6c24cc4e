"""The filters of a search: each gives the ids of the deals that pass it, from the index's sorted columns.

A comparison never matches an empty value, the negative ones included.
"""

from __future__ import annotations

import re
from typing import Any

from awssome_sandbox.hubspot.definitions import PROPERTIES
from awssome_sandbox.hubspot.errors import invalid
from awssome_sandbox.hubspot.index import Column, Comparable, Index, comparable

MAX_GROUPS, MAX_FILTERS, MAX_FILTERS_IN_ALL, MAX_VALUES = 5, 6, 18, 100


def passing(index: Index, query: dict[str, Any]) -> set[int] | None:
    """The ids of the deals that pass all filters of one of the query's groups; None when there are no filters.

    :raises HubSpotError: 400 for filters that HubSpot would refuse.
    """
    groups = _groups(query)
    if not groups or not all(groups):
        return None
    found = []
    for group in groups:
        first, *rest = sorted((set(_passing(index, filter_)) for filter_ in group), key=len)
        found.append(first.intersection(*rest) if rest else first)
    return found[0].union(*found[1:]) if len(found) > 1 else found[0]


def passing_in_order(index: Index, query: dict[str, Any], name: str) -> list[int] | None:
    """The same, sorted by a property, for a query whose one filter asks for a range of that property, as a sync does:
    a slice of its column. None for any other query."""
    filters = [filter_ for group in _groups(query) for filter_ in group]
    if len(filters) != 1 or not isinstance(filters[0], dict) or filters[0].get("propertyName") != name:
        return None
    passed = _passing(index, filters[0])
    return passed if isinstance(passed, list) else None


def operand(name: str, given: object) -> Comparable:
    """A value that a filter compares with.

    :raises HubSpotError: 400 for one that is none of the property's type.
    """
    try:
        return comparable(name, str(given).lower() if isinstance(given, bool) else str(given))
    except (ValueError, ArithmeticError, OSError):
        kind = PROPERTIES[name].type
        raise invalid(f'There was a problem with the request: "{given}" is no {kind} for "{name}".') from None


def _groups(query: dict[str, Any]) -> list[list[Any]]:
    groups = query.get("filterGroups") or []
    if not groups and query.get("filters"):
        groups = [{"filters": query["filters"]}]
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise invalid("filterGroups must be a list of objects.")
    filters = [group.get("filters") or [] for group in groups]
    if not all(isinstance(group, list) for group in filters):
        raise invalid("filters must be a list of objects.")
    if len(groups) > MAX_GROUPS:
        raise invalid(f"The maximum number of filterGroups is {MAX_GROUPS}.")
    if any(len(group) > MAX_FILTERS for group in filters) or sum(map(len, filters)) > MAX_FILTERS_IN_ALL:
        raise invalid(f"The maximum is {MAX_FILTERS} filters in a group and {MAX_FILTERS_IN_ALL} in all.")
    return filters


def _passing(index: Index, filter_: dict[str, Any]) -> list[int] | set[int]:
    if not isinstance(filter_, dict):
        raise invalid("A filter must be an object.")
    name, operator = filter_.get("propertyName"), filter_.get("operator")
    if not isinstance(name, str) or name not in PROPERTIES:
        raise invalid(f'There was a problem with the request: property "{name}" does not exist.')
    column = index.column(name)

    def one(key: str = "value") -> Comparable:
        given = filter_.get(key)
        if given is None or isinstance(given, (list, dict)):
            raise invalid(f"The operator {operator} of {name} requires a {key}.")
        return operand(name, given)

    def several() -> list[Comparable]:
        given = filter_.get("values")
        if not isinstance(given, list) or not given or len(given) > MAX_VALUES:
            raise invalid(f"The operator {operator} of {name} requires values, {MAX_VALUES} at most.")
        return [operand(name, item) for item in given]

    match operator:
        case "HAS_PROPERTY":
            return column.ids
        case "NOT_HAS_PROPERTY":
            return index.deals.keys() - set(column.ids)
        case "EQ":
            return _equal(column, [one()])
        case "NEQ":
            return set(column.ids) - _equal(column, [one()])
        case "IN":
            return _equal(column, several())
        case "NOT_IN":
            return set(column.ids) - _equal(column, several())
        case "GT" | "GTE":
            return column.above(one(), included=operator == "GTE")
        case "LT" | "LTE":
            return column.below(one(), included=operator == "LTE")
        case "BETWEEN":
            return column.among(one(), one("highValue"))
        case "CONTAINS_TOKEN":
            return _with_tokens(column, str(one()))
        case "NOT_CONTAINS_TOKEN":
            return set(column.ids) - _with_tokens(column, str(one()))
    raise invalid(f'Invalid input JSON: "{operator}" is not one of the operators.')


def _equal(column: Column, wanted: list[Comparable]) -> set[int]:
    return {id_ for value in wanted for id_ in column.among(value, value)}


def _with_tokens(column: Column, wanted: str) -> set[int]:
    """The deals whose text has every wanted token; `*` in a token stands for any letters."""
    found = set(column.ids)
    for token in wanted.lower().split():
        rare = max(token.split("*"), key=len)
        pattern = re.compile(rf"(?<!\w){re.escape(token)}(?!\w)".replace(r"\*", r"\w*"))
        texts = zip(column.ids, (str(value).lower() for value in column.values), strict=True)
        found &= {id_ for id_, text in texts if rare in text and pattern.search(text)}
    return found
