"""What HubSpot deals change in a tenant's registrations: decided here, written by `database.tenant.imports`.

A user's edits are never overwritten. A deal that came out of a merge takes over the registration of the deal that it
replaces, so that one deal never has two. A mapping is made once and counts for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any
from uuid import UUID

from awssome.domain.mapping import Mapped, map_deal, modified_at
from awssome.domain.mapping import Mapping as DealMapping
from awssome.domain.readiness import readiness
from awssome.domain.syncs import IssueKind, MappingState
from awssome.domain.texts import fitting
from awssome.domain.times import new_id

LONGEST_ID, LONGEST_TITLE, LONGEST_TEXT = 32, 255, 500


@dataclass(frozen=True)
class SourceDeal:
    """A live deal of HubSpot's. :ivar merged_ids: the deals that became part of it."""

    id: str
    properties: Mapping[str, str | None]
    merged_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Known:
    """A mapping with its registration.

    :ivar edited: the fields that a user has set.
    :ivar values: every field of the registration.
    :ivar archived: whether the registration is archived.
    :ivar put_away: whether it was a sync that archived it; what a user archived stays archived.
    """

    deal_id: str
    registration_id: UUID
    state: MappingState
    source_hash: bytes
    edited: frozenset[str]
    values: Mapping[str, Any]
    archived: bool
    put_away: bool


@dataclass(frozen=True)
class Created:
    """A registration to be made, with its mapping."""

    deal_id: str
    registration_id: UUID
    values: Mapping[str, Any]
    ready: bool
    source_hash: bytes
    modified_at: datetime | None


@dataclass(frozen=True)
class Changed:
    """A registration to be changed.

    :ivar before: the fields that a deal feeds, as they are.
    :ivar after: the same fields as they are to be; those that a user has set are as before.
    :ivar restored: whether it comes back from the archive, because its deal is back in HubSpot.
    """

    deal_id: str
    registration_id: UUID
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    ready: bool
    restored: bool


@dataclass(frozen=True)
class Reread:
    """A mapping whose deal has another source hash or was renamed by a merge."""

    deal_id: str
    source_hash: bytes
    modified_at: datetime | None


@dataclass(frozen=True)
class DealIssue:
    """One line of the sync's report."""

    kind: IssueKind
    deal_id: str
    registration_id: UUID | None
    title: str
    field: str
    reason: str
    advice: str


@dataclass
class Plan:
    """What to write for some deals.

    :ivar touched: every deal that has, or now gets, a mapping.
    :ivar revived: deals that were deleted in HubSpot and are back.
    :ivar renamed: (deal id of a mapping, id of the deal that takes it over).
    :ivar merged: mappings that end, because their deals became part of others.
    :ivar no_room: deals that would need a mapping beyond the plan's limit.
    """

    created: list[Created] = field(default_factory=list)
    changed: list[Changed] = field(default_factory=list)
    reread: list[Reread] = field(default_factory=list)
    touched: list[str] = field(default_factory=list)
    revived: list[str] = field(default_factory=list)
    renamed: list[tuple[str, str]] = field(default_factory=list)
    merged: list[Known] = field(default_factory=list)
    issues: list[DealIssue] = field(default_factory=list)
    no_room: list[str] = field(default_factory=list)
    unchanged: int = 0
    failed: int = 0

    @property
    def updated(self) -> int:
        """How many registrations change, the archived ones included."""
        return len(self.changed) + len(self.merged)

    @property
    def gained(self) -> int:
        """By how many the live mappings grow."""
        gone = sum(known.state is MappingState.LIVE for known in self.merged)
        return len(self.created) + len(self.revived) - gone


def plan(
    deals: Iterable[SourceDeal], known: Mapping[str, Known], mapping: DealMapping, room: int | None, today: date
) -> Plan:
    """What to write for live deals, in their order.

    :param known: the mappings of these deals and of those merged into them, by deal id.
    :param mapping: the tenant's.
    :param room: how many mappings may still be made; None: any number.
    :param today: for readiness.
    """
    result = Plan()
    left = dict(known)
    for deal in deals:
        here = _take_over(result, deal, left)
        try:
            mapped = _mapped(deal, mapping)
        except (ValueError, ArithmeticError):
            _fail(result, deal, here)
            continue
        if here is not None:
            _update(result, deal, mapped, here, today)
        elif room is None or len(result.created) < room:
            _create(result, deal, mapped, today)
        else:
            result.no_room.append(deal.id)
    return result


def _take_over(result: Plan, deal: SourceDeal, left: dict[str, Known]) -> Known | None:
    """The deal's mapping, taken over from a merged deal if need be; the other merged deals' mappings end."""
    here = left.pop(deal.id, None)
    heirs = [left.pop(old) for old in deal.merged_ids if old in left]
    heirs = [heir for heir in heirs if heir.state is not MappingState.MERGED]
    if here is None and heirs:
        here = next((heir for heir in heirs if heir.state is MappingState.LIVE), heirs[0])
        heirs.remove(here)
        result.renamed.append((here.deal_id, deal.id))
    result.merged += heirs
    return here


def _mapped(deal: SourceDeal, mapping: DealMapping) -> Mapped:
    if not 0 < len(deal.id) <= LONGEST_ID:
        raise ValueError("not the id of a deal")
    return map_deal(deal.properties, mapping)


def _create(result: Plan, deal: SourceDeal, mapped: Mapped, today: date) -> None:
    created = Created(
        deal_id=deal.id,
        registration_id=new_id(),
        values=mapped.values,
        ready=not readiness(mapped.values, today),
        source_hash=mapped.digest,
        modified_at=modified_at(deal.properties),
    )
    result.created.append(created)
    result.touched.append(deal.id)
    _report(result, deal, mapped, created.registration_id, frozenset())


def _update(result: Plan, deal: SourceDeal, mapped: Mapped, here: Known, today: date) -> None:
    digest = mapped.digest
    back = here.state is not MappingState.LIVE
    before = {name: here.values[name] for name in mapped.values}
    after = {name: before[name] if name in here.edited else value for name, value in mapped.values.items()}
    if digest == here.source_hash:
        after = before
    if digest != here.source_hash or here.deal_id != deal.id:
        result.reread.append(Reread(deal.id, digest, modified_at(deal.properties)))
    if back:
        result.revived.append(deal.id)
    restored = back and here.put_away
    if after != before or restored:
        ready = not readiness({**here.values, **after}, today)
        result.changed.append(Changed(deal.id, here.registration_id, before, after, ready, restored))
    else:
        result.unchanged += 1
    result.touched.append(deal.id)
    _report(result, deal, mapped, here.registration_id, here.edited)


def _report(result: Plan, deal: SourceDeal, mapped: Mapped, registration_id: UUID, edited: frozenset[str]) -> None:
    """The deal's issues, without those that a user has settled by setting the field."""
    for issue in mapped.issues:
        if issue.field not in edited:
            title = mapped.values["title"]
            line = DealIssue(
                IssueKind.INCOMPLETE, deal.id, registration_id, title, issue.field, issue.reason, issue.advice
            )
            result.issues.append(_fitting(line))


def _fail(result: Plan, deal: SourceDeal, here: Known | None) -> None:
    result.failed += 1
    if here is not None:
        result.touched.append(deal.id)
    line = DealIssue(
        kind=IssueKind.FAILED,
        deal_id=deal.id,
        registration_id=here.registration_id if here else None,
        title=deal.properties.get("dealname") or f"Deal {deal.id}",
        field="",
        reason="HubSpot's answer about this deal cannot be read.",
        advice="Look at the deal in HubSpot, then sync again.",
    )
    result.issues.append(_fitting(line))


def _fitting(line: DealIssue) -> DealIssue:
    return replace(
        line,
        deal_id=fitting(line.deal_id, LONGEST_ID),
        title=fitting(line.title, LONGEST_TITLE),
        reason=fitting(line.reason, LONGEST_TEXT),
        advice=fitting(line.advice, LONGEST_TEXT),
    )
