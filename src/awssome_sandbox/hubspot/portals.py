"""HubSpot accounts ("portals") and their deals, in memory.

A deal keeps only what somebody entered; what HubSpot calculates (closed or not, the amount in the company's currency)
is calculated when it is read, so that it can never disagree. Live and archived deals are found by id through sorted
lists: a page costs the same in a portal of ten deals and in one of 100,000.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from awssome_sandbox.hubspot.changes import TESTER, Change, Source, What
from awssome_sandbox.hubspot.definitions import DOLLARS, PIPELINE_OF, PIPELINES, PROPERTIES, READ_ONLY, STAGES
from awssome_sandbox.hubspot.errors import InvalidValues, invalid, not_found, problem_of
from awssome_sandbox.hubspot.times import moment, now


@dataclass(slots=True)
class Deal:
    """One deal; `entered` holds the values that are not empty and not calculated."""

    id: int
    entered: dict[str, str]
    archived_at: str | None = None
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Person:
    """A user of a portal who owns deals or installs apps."""

    id: int
    user_id: int
    first_name: str
    last_name: str
    email: str


@dataclass
class Portal:
    """A HubSpot account.

    :ivar revision: grows with every change, so that what was computed from the deals can be kept until then.
    :ivar merged: id of a deal that was merged away -> id of the deal that it became part of.
    """

    id: int
    domain: str
    currency: str
    time_zone: str
    utc_offset: str
    people: tuple[Person, ...]
    deals: dict[int, Deal] = field(default_factory=dict)
    merged: dict[int, int] = field(default_factory=dict)
    revision: int = 0
    _live: list[int] = field(default_factory=list)
    _archived: list[int] = field(default_factory=list)
    _last_id: int = 18_000_000_000

    def load(self, deals: Iterable[Deal], merged: dict[int, int]) -> None:
        """Take over generated deals."""
        self.deals = {deal.id: deal for deal in deals}
        self.merged = dict(merged)
        self._live = sorted(deal.id for deal in self.deals.values() if not deal.archived_at)
        self._archived = sorted(deal.id for deal in self.deals.values() if deal.archived_at)
        self._last_id = max((*self.deals, *self.merged), default=18_000_000_000)
        self.revision += 1

    @property
    def live_ids(self) -> list[int]:
        """The ids of the deals that are not archived, ascending."""
        return self._live

    @property
    def archived_ids(self) -> list[int]:
        """The ids of the archived deals, ascending."""
        return self._archived

    def page(self, after: int, limit: int, *, archived: bool) -> tuple[list[Deal], int | None]:
        """The next deals by id, and where the page after them goes on.

        :param after: the last id of the page before, 0 for the first page.
        :returns: the deals, and the cursor of the next page or None at the end.
        """
        ids = self._archived if archived else self._live
        start = bisect_right(ids, after)
        found = ids[start : start + limit]
        more = start + limit < len(ids)
        return [self.deals[id_] for id_ in found], found[-1] if more else None

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
        stage = checked.get("dealstage")
        if stage and not checked.get("pipeline"):
            checked["pipeline"] = PIPELINE_OF[stage].id
        elif pipeline := checked.get("pipeline"):
            stages = [stage.id for known in PIPELINES if known.id == pipeline for stage in known.stages]
            if not deal and not stage:
                checked["dealstage"] = stages[0]
            elif (stage or (deal.entered.get("dealstage") if deal else None)) not in stages:
                raise InvalidValues([_wrong_stage(stage or "", pipeline, stages)])
        return checked

    def create(self, values: Mapping[str, object], by: Source = TESTER) -> Deal:
        """Add a live deal."""
        checked = self.check(values)
        deal = Deal(self._new_id(), {"createdate": (at := now())})
        self._enter(deal, {"pipeline": "default", "dealstage": "appointmentscheduled", **checked}, "created", at, by)
        self.deals[deal.id] = deal
        self._live.append(deal.id)
        return deal

    def edit(self, id_: int, values: Mapping[str, object], by: Source = TESTER) -> Deal:
        """Change a live deal's properties; None empties one."""
        deal = self._existing(id_, archived=False)
        self._enter(deal, self.check(values, deal), "edited", now(), by)
        return deal

    def archive(self, id_: int, by: Source = TESTER) -> Deal:
        """Delete a live deal: it stays readable as archived. Its hs_lastmodifieddate does not change."""
        deal = self._existing(id_, archived=False)
        deal.archived_at = now()
        deal.changes += (Change(deal.archived_at, "archived", by),)
        _remove(self._live, deal.id)
        insort(self._archived, deal.id)
        self.revision += 1
        return deal

    def restore(self, id_: int, by: Source = TESTER) -> Deal:
        """Bring an archived deal back."""
        deal = self._existing(id_, archived=True)
        deal.archived_at = None
        deal.changes += (Change(now(), "restored", by),)
        _remove(self._archived, deal.id)
        insort(self._live, deal.id)
        self.revision += 1
        return deal

    def delete(self, id_: int) -> None:
        """Take a deal away for good, live or archived, as the real service does 90 days after it was archived."""
        deal = self.find(id_, archived=False) or self._existing(id_, archived=True)
        _remove(self._archived if deal.archived_at else self._live, deal.id)
        del self.deals[deal.id]
        self.revision += 1

    def merge(self, primary_id: int, other_id: int, by: Source = TESTER) -> Deal:
        """Merge two live deals into a new one, which takes over the primary's values; the old ids lead to it."""
        primary, other = self._existing(primary_id, archived=False), self._existing(other_id, archived=False)
        if primary is other:
            raise invalid("A deal cannot be merged with itself.")
        at = now()
        earlier = [ids for deal in (primary, other) if (ids := deal.entered.get("hs_merged_object_ids"))]
        merged = ";".join([*earlier, str(primary.id), str(other.id)])
        entered = {**other.entered, **primary.entered, "hs_lastmodifieddate": at, "hs_merged_object_ids": merged}
        told = f"{primary.id} and {other.id}"
        survivor = Deal(self._new_id(), entered, changes=(*primary.changes, Change(at, "merged", by, told=told)))
        for old in (primary, other):
            self.merged[old.id] = survivor.id
            del self.deals[old.id]
            _remove(self._live, old.id)
        self.deals[survivor.id] = survivor
        self._live.append(survivor.id)
        self.revision += 1
        return survivor

    def _existing(self, id_: int, *, archived: bool) -> Deal:
        deal = self.find(id_, archived=archived)
        if deal is None:
            raise not_found(f"Portal {self.id} has no {'archived' if archived else 'live'} deal {id_}.")
        return deal

    def _new_id(self) -> int:
        self._last_id += 7
        return self._last_id

    def _enter(self, deal: Deal, values: Mapping[str, str | None], what: What, at: str, by: Source) -> None:
        before = deal.entered.get
        changed = {name: (before(name), value) for name, value in values.items() if before(name) != value}
        entered: dict[str, str | None] = {**deal.entered, **values, "hs_lastmodifieddate": at}
        deal.entered = {name: value for name, value in entered.items() if value}
        deal.changes += (Change(at, what, by, changed),)
        self.revision += 1

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
    try:
        if definition.type == "number":
            number = Decimal(value)
            if not number.is_finite():
                raise ValueError
        elif definition.type == "datetime":
            moment(value)
    except (ArithmeticError, OSError, ValueError):
        kind = "number" if definition.type == "number" else "date"
        return problem_of(name, f"{value} was not a valid {kind}.", f"INVALID_{kind.upper()}")
    return None


def _kept(name: str, value: object) -> str | None:
    """A value that has no problem as HubSpot keeps it: as it was given, save times, and nothing for an empty one."""
    if value in (None, ""):
        return None
    return moment(str(value)) if PROPERTIES[name].type == "datetime" else str(value)


def _wrong_stage(stage: str, pipeline: str, stages: list[str]) -> dict[str, Any]:
    told = f"{stage} is not a valid pipeline stage ID. Valid options are: pipelineId={pipeline} : [{', '.join(stages)}]"
    return problem_of("dealstage", told, "INVALID_OPTION")


def _remove(ids: list[int], id_: int) -> None:
    del ids[bisect_left(ids, id_)]
