"""What the search of a portal sees: its live deals as they were a few moments ago.

HubSpot's search reads an index that follows the deals with a delay. Until it has passed, a new deal is not found, an
edited one is found with its old values, and one that was archived or merged away is found as if nothing had happened.

Each property that was ever searched for has a column, sorted by value, so that a filter is a slice of it, and a search
among 100,000 deals takes milliseconds.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from decimal import Decimal

from awssome_sandbox.hubspot import times
from awssome_sandbox.hubspot.definitions import PROPERTIES
from awssome_sandbox.hubspot.portals import Deal, Portal

Comparable = Decimal | int | str

_WORDS_OF = ("dealname", "description", "dealtype")
_WARM = (
    "hs_object_id",
    "createdate",
    "hs_lastmodifieddate",
    "hs_is_closed",
    "closedate",
    "amount",
    "dealname",
    "pipeline",
    "dealstage",
)
"""The properties that are searched by as a rule: their columns are there from the start."""


class Column:
    """One property's values that are not empty, sorted, each with the id of its deal; equal ones by id."""

    def __init__(self, pairs: Iterable[tuple[Comparable, int]]) -> None:
        ordered = sorted(pairs)
        self.values = [value for value, _ in ordered]
        self.ids = [id_ for _, id_ in ordered]

    def among(self, low: Comparable, high: Comparable) -> list[int]:
        """The ids of the deals whose value is from `low` to `high`, both included."""
        return self.ids[bisect_left(self.values, low) : bisect_right(self.values, high)]

    def below(self, high: Comparable, *, included: bool) -> list[int]:
        """The ids of the deals whose value is less than `high`."""
        return self.ids[: bisect_right(self.values, high) if included else bisect_left(self.values, high)]

    def above(self, low: Comparable, *, included: bool) -> list[int]:
        """The ids of the deals whose value is greater than `low`."""
        return self.ids[bisect_left(self.values, low) if included else bisect_right(self.values, low) :]

    def replace(self, id_: int, old: Comparable | None, new: Comparable | None) -> None:
        """A deal's value changed; None stands for an empty one."""
        if old == new:
            return
        if old is not None:
            place = self._place(old, id_)
            del self.values[place], self.ids[place]
        if new is not None:
            place = self._place(new, id_)
            self.values.insert(place, new)
            self.ids.insert(place, id_)

    def _place(self, value: Comparable, id_: int) -> int:
        first, end = bisect_left(self.values, value), bisect_right(self.values, value)
        return bisect_left(self.ids, id_, first, end)


class Index:
    """The search's view of one portal.

    :ivar deals: what it knows, by id.
    :ivar revision: grows with everything that it learns.
    """

    def __init__(self, portal: Portal) -> None:
        self.portal = portal
        self.deals = {id_: portal.deals[id_] for id_ in portal.live_ids}
        self.revision = 0
        self._columns: dict[str, Column] = {}
        self._texts = {id_: _text(deal) for id_, deal in self.deals.items()}
        for name in _WARM:
            self.column(name)

    def catch_up(self, lag: float) -> None:
        """Learn what happened more than `lag` seconds ago."""
        waiting, due = self.portal.unindexed, time.monotonic() - lag
        while waiting and waiting[0][0] <= due:
            _, id_, deal = waiting.popleft()
            self._learn(id_, deal)

    def column(self, name: str) -> Column:
        """A property's sorted values."""
        if name not in self._columns:
            values = ((self.value(deal, name), id_) for id_, deal in self.deals.items())
            self._columns[name] = Column((value, id_) for value, id_ in values if value is not None)
        return self._columns[name]

    def value(self, deal: Deal | None, name: str) -> Comparable | None:
        """A deal's value in the form that compares rightly: numbers as numbers, times as text of one width."""
        value = self.portal.value(deal, name) if deal else None
        return None if value is None else comparable(name, value)

    def with_words(self, words: list[str]) -> set[int]:
        """The ids of the deals whose name, description or type has every word, given in lower case."""
        return {id_ for id_, text in self._texts.items() if all(word in text for word in words)}

    def _learn(self, id_: int, deal: Deal | None) -> None:
        before = self.deals.get(id_)
        for name, column in self._columns.items():
            column.replace(id_, self.value(before, name), self.value(deal, name))
        if deal:
            self.deals[id_], self._texts[id_] = deal, _text(deal)
        else:
            self.deals.pop(id_, None)
            self._texts.pop(id_, None)
        self.revision += 1


def comparable(name: str, value: str) -> Comparable:
    """A property's value, or a filter's, in the form in which columns keep it.

    :raises ValueError: or ArithmeticError, for a value that is none of the property's type.
    """
    match PROPERTIES[name].type:
        case "number":
            return int(value) if value.isdecimal() and value.isascii() else _number(value)
        case "datetime":
            return value if len(value) == times.LENGTH and value.endswith("Z") else times.parsed(value)
        case "string":
            return value.lower()
    return value


def _text(deal: Deal) -> str:
    return " ".join(deal.entered.get(name, "") for name in _WORDS_OF).lower()


def _number(value: str) -> Decimal:
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError(f"{value} is no number")
    return number
