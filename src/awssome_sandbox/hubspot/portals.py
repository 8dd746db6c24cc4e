"""HubSpot accounts ("portals") and their deals, in memory.

A deal keeps only what somebody entered; what HubSpot calculates (closed or not, the amount in the company's currency)
is calculated when it is read, so that it can never disagree. Live and archived deals are found by id through sorted
lists: a page costs the same in a portal of ten deals and in one of 100,000. Deals are never changed but replaced, so
that the search's index can go on showing what was before (`index`).
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from awssome_sandbox.hubspot import times
from awssome_sandbox.hubspot.definitions import DOLLARS, PROPERTIES, READ_ONLY, STAGES
from awssome_sandbox.hubspot.errors import invalid, not_found


@dataclass(frozen=True, slots=True)
class Change:
    """A property got a value, or lost it, at a moment."""

    name: str
    value: str | None
    at: str


@dataclass(frozen=True, slots=True)
class Deal:
    """One deal.

    :ivar entered: the values that are not empty and not calculated.
    :ivar past: the changes of those properties that have had more than one value, oldest first.
    :ivar companies: ids of the companies it hangs together with, the primary one first.
    """

    id: int
    entered: dict[str, str]
    archived_at: str | None = None
    past: tuple[Change, ...] = ()
    companies: tuple[int, ...] = ()
    contacts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Person:
    """A user of a portal who owns deals or installs apps."""

    id: int
    user_id: int
    first_name: str
    last_name: str
    email: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list: the deals, and the cursor of the page after them."""

    deals: list[Deal]
    after: str | None


@dataclass
class Portal:
    """A HubSpot account.

    :ivar merged: id of a deal that was merged away -> id of the deal that it became part of.
    :ivar unindexed: what the search's index has still to learn: when (`time.monotonic`), which deal, and what it is now
        (None when it is not live any more).
    """

    id: int
    domain: str
    currency: str
    time_zone: str
    utc_offset: str
    people: tuple[Person, ...]
    deals: dict[int, Deal] = field(default_factory=dict)
    merged: dict[int, int] = field(default_factory=dict)
    unindexed: deque[tuple[float, int, Deal | None]] = field(default_factory=deque)
    _live: list[int] = field(default_factory=list)
    _archived: list[int] = field(default_factory=list)

    def load(self, deals: Iterable[Deal], merged: dict[int, int]) -> None:
        """Take over generated deals."""
        self.deals = {deal.id: deal for deal in deals}
        self.merged = dict(merged)
        self._live = sorted(deal.id for deal in self.deals.values() if not deal.archived_at)
        self._archived = sorted(deal.id for deal in self.deals.values() if deal.archived_at)

    @property
    def live_ids(self) -> list[int]:
        """The ids of the deals that are not archived, ascending."""
        return self._live

    @property
    def archived_ids(self) -> list[int]:
        """The ids of the archived deals, ascending."""
        return self._archived

    def page(self, cursor: str, limit: int, *, archived: bool, with_holes: bool = False) -> Page:
        """The next deals by id.

        :param cursor: the last id of the page before, empty or 0 for the first page.
        :param with_holes: let pages come short or empty with a next cursor, so that only who follows the cursor to its
            end has everything. An empty page's cursor stands at the same place and says so ("18000000000-1").
        :raises HubSpotError: 400 for a cursor that no page gave.
        """
        text, _, again = (cursor or "0").partition("-")
        if not text.isdigit() or again not in ("", "1"):
            raise invalid(f'Invalid cursor "{cursor}".')
        ids = self._archived if archived else self._live
        start = bisect_right(ids, int(text))
        size = limit if again or not with_holes else _short(start, limit)
        found = ids[start : start + size]
        more = start + size < len(ids)
        if with_holes and (not found or not more):
            after = None if again and not found else f"{found[-1] if found else text}-1"
        else:
            after = str(found[-1]) if more else None
        return Page([self.deals[id_] for id_ in found], after)

    def find(self, id_: int, *, archived: bool) -> Deal | None:
        """The deal under an id, or the one it was merged into; None when there is none in that state."""
        while id_ in self.merged:
            id_ = self.merged[id_]
        deal = self.deals.get(id_)
        return deal if deal and bool(deal.archived_at) == archived else None

    def value(self, deal: Deal, name: str) -> str | None:
        """A property's value as HubSpot tells it: a string, or None when it is empty."""
        match name:
            case "hs_object_id":
                return str(deal.id)
            case "hs_is_closed":
                return "true" if self._closed(deal) else "false"
            case "hs_is_closed_won":
                return "true" if self._closed(deal) and self._probability(deal) == "1.0" else "false"
            case "hs_deal_stage_probability":
                return self._probability(deal)
            case "amount_in_home_currency":
                return self._home_amount(deal)
        return deal.entered.get(name)

    def create(self, values: dict[str, str | None]) -> Deal:
        """Add a live deal, as a user of HubSpot would."""
        now = times.now()
        last = max((*self.deals, *self.merged), default=18_000_000_000)
        given = {"pipeline": "default", "dealstage": "appointmentscheduled"}
        deal = Deal(last + 7, {**given, "createdate": now, "hs_lastmodifieddate": now})
        deal = replace(deal, entered=_entered(deal, values))
        self._live.append(deal.id)
        return self._put(deal)

    def edit(self, id_: int, values: dict[str, str | None]) -> Deal:
        """Change a live deal's properties; None empties one."""
        deal = self._existing(id_, archived=False)
        now = times.now()
        entered = _entered(deal, {**values}) | {"hs_lastmodifieddate": now}
        return self._put(replace(deal, entered=entered, past=(*deal.past, *_changes(deal, entered, now))))

    def archive(self, id_: int) -> Deal:
        """Delete a live deal: it stays readable as archived. Its hs_lastmodifieddate does not change."""
        deal = self._existing(id_, archived=False)
        _remove(self._live, deal.id)
        insort(self._archived, deal.id)
        return self._put(replace(deal, archived_at=times.now()))

    def restore(self, id_: int) -> Deal:
        """Bring an archived deal back."""
        deal = self._existing(id_, archived=True)
        _remove(self._archived, deal.id)
        insort(self._live, deal.id)
        return self._put(replace(deal, archived_at=None))

    def merge(self, primary_id: int, other_id: int) -> Deal:
        """Merge two live deals into a new one, which takes over the primary's values; the old ids lead to it."""
        primary, other = self._existing(primary_id, archived=False), self._existing(other_id, archived=False)
        if primary is other:
            raise invalid("A deal cannot be merged with itself.")
        survivor = self.create({})
        earlier = [ids for deal in (primary, other) if (ids := deal.entered.get("hs_merged_object_ids"))]
        olds = ";".join([*earlier, str(primary.id), str(other.id)])
        entered = {**other.entered, **primary.entered, "hs_lastmodifieddate": times.now(), "hs_merged_object_ids": olds}
        for old in (primary, other):
            self.merged[old.id] = survivor.id
            del self.deals[old.id]
            _remove(self._live, old.id)
            self.unindexed.append((time.monotonic(), old.id, None))
        return self._put(
            replace(
                survivor,
                entered=entered,
                past=primary.past,
                companies=tuple(dict.fromkeys(primary.companies + other.companies)),
                contacts=tuple(dict.fromkeys(primary.contacts + other.contacts)),
            )
        )

    def _existing(self, id_: int, *, archived: bool) -> Deal:
        deal = self.find(id_, archived=archived)
        if deal is None:
            raise not_found(f"Portal {self.id} has no {'archived' if archived else 'live'} deal {id_}.")
        return deal

    def _put(self, deal: Deal) -> Deal:
        self.deals[deal.id] = deal
        self.unindexed.append((time.monotonic(), deal.id, None if deal.archived_at else deal))
        return deal

    def _closed(self, deal: Deal) -> bool:
        stage = STAGES.get(deal.entered.get("dealstage", ""))
        return bool(stage and stage.closed)

    def _probability(self, deal: Deal) -> str | None:
        stage = STAGES.get(deal.entered.get("dealstage", ""))
        return stage.probability if stage else None

    def _home_amount(self, deal: Deal) -> str | None:
        amount = deal.entered.get("amount")
        currency = deal.entered.get("deal_currency_code", self.currency)
        if amount is None or currency == self.currency:
            return amount
        rate = Decimal(str(DOLLARS[currency])) / Decimal(str(DOLLARS[self.currency]))
        return format((Decimal(amount) * rate).quantize(Decimal("0.01")).normalize(), "f")


def properties_of(portal: Portal, deal: Deal, names: Iterable[str]) -> dict[str, str | None]:
    """The wanted properties of a deal; names that HubSpot does not know are left out."""
    return {name: portal.value(deal, name) for name in names if name in PROPERTIES}


def deal_answer(portal: Portal, deal: Deal, names: Iterable[str]) -> dict[str, Any]:
    """A deal as the CRM API tells it."""
    answer: dict[str, Any] = {
        "id": str(deal.id),
        "properties": properties_of(portal, deal, names),
        "createdAt": deal.entered["createdate"],
        "updatedAt": deal.entered["hs_lastmodifieddate"],
        "archived": bool(deal.archived_at),
        "url": f"https://app.hubspot.com/contacts/{portal.id}/record/0-3/{deal.id}",
    }
    if deal.archived_at:
        answer["archivedAt"] = deal.archived_at
    return answer


def _short(start: int, limit: int) -> int:
    """How many deals a page has when pages come with holes: by turns half of what it could, none, and all."""
    return (limit // 2, 0, limit)[start // max(1, limit // 2) % 3]


def _entered(deal: Deal, values: dict[str, str | None]) -> dict[str, str]:
    for name, value in values.items():
        if name not in PROPERTIES or name in READ_ONLY:
            raise invalid(f'Property "{name}" does not exist or cannot be written.')
        _check(name, value)
    merged: dict[str, str | None] = {**deal.entered, **values}
    return {name: value for name, value in merged.items() if value}


def _changes(deal: Deal, entered: dict[str, str], now: str) -> list[Change]:
    """What an edit adds to a deal's past; a property that changes for the first time brings its first value along."""
    changes = []
    known = {change.name for change in deal.past}
    for name in {**deal.entered, **entered}:
        before, after = deal.entered.get(name), entered.get(name)
        if before == after:
            continue
        if name not in known and before is not None:
            changes.append(Change(name, before, deal.entered["createdate"]))
        changes.append(Change(name, after, now))
    return changes


def _check(name: str, value: object) -> None:
    definition = PROPERTIES[name]
    if value is None:
        return
    if not isinstance(value, str):
        raise invalid(f'The value of "{name}" must be a string or null.')
    if definition.options and value not in {option for option, _ in definition.options}:
        raise invalid(f'"{value}" was not one of the allowed options of "{name}".')
    try:
        if definition.type == "number" and not Decimal(value).is_finite():
            raise ValueError
        if definition.type == "datetime":
            datetime.fromisoformat(value)
    except (ArithmeticError, ValueError):
        raise invalid(f'"{value}" is no {definition.type} for "{name}".') from None


def _remove(ids: list[int], id_: int) -> None:
    del ids[bisect_left(ids, id_)]
