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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from awssome_sandbox.hubspot import times
from awssome_sandbox.hubspot.changes import TESTER, Change, Source, What
from awssome_sandbox.hubspot.definitions import DOLLARS, PIPELINE_OF, PIPELINES, PROPERTIES, READ_ONLY, STAGES
from awssome_sandbox.hubspot.errors import InvalidValues, invalid, not_found, problem_of


@dataclass(frozen=True, slots=True)
class Deal:
    """One deal.

    :ivar entered: the values that are not empty and not calculated.
    :ivar changes: what happened to it, oldest first.
    :ivar companies: ids of the companies it hangs together with, the primary one first.
    """

    id: int
    entered: dict[str, str]
    archived_at: str | None = None
    changes: tuple[Change, ...] = ()
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
    _last_id: int = 18_000_000_000

    def load(self, deals: Iterable[Deal], merged: dict[int, int]) -> None:
        """Take over generated deals."""
        self.deals = {deal.id: deal for deal in deals}
        self.merged = dict(merged)
        self._live = sorted(deal.id for deal in self.deals.values() if not deal.archived_at)
        self._archived = sorted(deal.id for deal in self.deals.values() if deal.archived_at)
        self._last_id = max((*self.deals, *self.merged), default=self._last_id)

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

    def check(self, values: Mapping[str, object], deal: Deal | None = None) -> dict[str, str | None]:
        """The values as a deal would take them; a stage of another pipeline brings its pipeline along.

        :param deal: the deal that is to change; None for a new one.
        :raises HubSpotError: 400 that names every value which HubSpot would refuse.
        """
        problems = [problem for name, value in values.items() if (problem := _problem(name, value))]
        if problems:
            raise InvalidValues(problems)
        checked = {name: _kept(name, value) for name, value in values.items()}
        stage, pipeline = checked.get("dealstage"), checked.get("pipeline")
        if stage and not pipeline:
            checked["pipeline"] = PIPELINE_OF[stage].id
        elif pipeline:
            stages = [each.id for known in PIPELINES if known.id == pipeline for each in known.stages]
            wanted = stage or (deal.entered.get("dealstage", "") if deal else stages[0])
            if wanted not in stages:
                raise InvalidValues([_wrong_stage(wanted, pipeline, stages)])
            checked["dealstage"] = wanted
        return checked

    def create(
        self,
        values: Mapping[str, object],
        by: Source = TESTER,
        *,
        companies: tuple[int, ...] = (),
        contacts: tuple[int, ...] = (),
    ) -> Deal:
        """Add a live deal."""
        given = {name: value for name, value in self.check(values).items() if value}
        given = {"pipeline": "default", "dealstage": "appointmentscheduled", **given}
        now = times.now()
        deal = Deal(self._new_id(), {"createdate": now}, companies=companies, contacts=contacts)
        self._live.append(deal.id)
        return self._put(_changed(deal, given, now, "created", by))

    def edit(self, id_: int, values: Mapping[str, object], by: Source = TESTER) -> Deal:
        """Change a live deal's properties; None empties one."""
        deal = self._existing(id_, archived=False)
        return self._put(_changed(deal, self.check(values, deal), times.now(), "edited", by))

    def archive(self, id_: int, by: Source = TESTER) -> Deal:
        """Delete a live deal: it stays readable as archived. Its hs_lastmodifieddate does not change."""
        deal = self._existing(id_, archived=False)
        _remove(self._live, deal.id)
        insort(self._archived, deal.id)
        now = times.now()
        return self._put(replace(deal, archived_at=now, changes=(*deal.changes, Change(now, "archived", by))))

    def restore(self, id_: int, by: Source = TESTER) -> Deal:
        """Bring an archived deal back."""
        deal = self._existing(id_, archived=True)
        _remove(self._archived, deal.id)
        insort(self._live, deal.id)
        change = Change(times.now(), "restored", by)
        return self._put(replace(deal, archived_at=None, changes=(*deal.changes, change)))

    def delete(self, id_: int) -> None:
        """Take a deal away for good, live or archived, as the real service does 90 days after it was archived."""
        deal = self.find(id_, archived=False) or self._existing(id_, archived=True)
        self._take(deal)

    def merge(self, primary_id: int, other_id: int, by: Source = TESTER) -> Deal:
        """Merge two live deals into a new one, which takes over the primary's values; the old ids lead to it."""
        primary, other = self._existing(primary_id, archived=False), self._existing(other_id, archived=False)
        if primary is other:
            raise invalid("A deal cannot be merged with itself.")
        now = times.now()
        earlier = [ids for deal in (primary, other) if (ids := deal.entered.get("hs_merged_object_ids"))]
        olds = ";".join([*earlier, str(primary.id), str(other.id)])
        survivor = Deal(
            self._new_id(),
            {**other.entered, **primary.entered, "hs_lastmodifieddate": now, "hs_merged_object_ids": olds},
            changes=(*primary.changes, Change(now, "merged", by, told=f"{primary.id} and {other.id}")),
            companies=tuple(dict.fromkeys(primary.companies + other.companies)),
            contacts=tuple(dict.fromkeys(primary.contacts + other.contacts)),
        )
        for old in (primary, other):
            self.merged[old.id] = survivor.id
            self._take(old)
        self._live.append(survivor.id)
        return self._put(survivor)

    def _existing(self, id_: int, *, archived: bool) -> Deal:
        deal = self.find(id_, archived=archived)
        if deal is None:
            raise not_found(f"Portal {self.id} has no {'archived' if archived else 'live'} deal {id_}.")
        return deal

    def _new_id(self) -> int:
        self._last_id += 7
        return self._last_id

    def _take(self, deal: Deal) -> None:
        _remove(self._archived if deal.archived_at else self._live, deal.id)
        del self.deals[deal.id]
        self.unindexed.append((time.monotonic(), deal.id, None))

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


def _changed(deal: Deal, values: Mapping[str, str | None], now: str, what: What, by: Source) -> Deal:
    """The deal with other values, and with an entry about those that differ."""
    before = deal.entered.get
    differing = {name: (before(name), value) for name, value in values.items() if before(name) != value}
    entered: dict[str, str | None] = {**deal.entered, **values, "hs_lastmodifieddate": now}
    return replace(
        deal,
        entered={name: value for name, value in entered.items() if value},
        changes=(*deal.changes, Change(now, what, by, differing)),
    )


def _problem(name: str, value: object) -> dict[str, Any] | None:
    """What HubSpot has against a value, in its words; None when it takes it."""
    definition = PROPERTIES.get(name)
    if definition is None:
        return problem_of(name, f'Property "{name}" does not exist', "PROPERTY_DOESNT_EXIST")
    if name in READ_ONLY:
        return problem_of(name, f'"{name}" is a read only property; its value cannot be set.', "READ_ONLY_VALUE")
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        return problem_of(name, f"{value} was not a string", "INVALID_STRING")
    if definition.options and value not in {option for option, _ in definition.options}:
        return problem_of(name, f"{value} was not one of the allowed options", "INVALID_OPTION")
    kind = {"number": "number", "datetime": "date"}.get(definition.type)
    try:
        if kind == "number" and not Decimal(value).is_finite():
            raise ValueError
        if kind == "date":
            times.parsed(value)
    except (ArithmeticError, OSError, ValueError):
        return problem_of(name, f"{value} was not a valid {kind}.", f"INVALID_{str(kind).upper()}")
    return None


def _kept(name: str, value: object) -> str | None:
    """A value that has no problem as HubSpot keeps it: as it was given, save times, and nothing for an empty one."""
    if value in (None, ""):
        return None
    return times.parsed(str(value)) if PROPERTIES[name].type == "datetime" else str(value)


def _wrong_stage(stage: str, pipeline: str, stages: list[str]) -> dict[str, Any]:
    told = f"{stage} is not a valid pipeline stage ID. Valid options are: pipelineId={pipeline} : [{', '.join(stages)}]"
    return problem_of("dealstage", told, "INVALID_OPTION")


def _remove(ids: list[int], id_: int) -> None:
    del ids[bisect_left(ids, id_)]
