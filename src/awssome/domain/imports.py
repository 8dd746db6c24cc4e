"""What HubSpot deals change in a tenant's registrations: decided here, written by `database.tenant.imports`.

A user's edits are never overwritten; what HubSpot says in their place is kept beside them. A deal that came out of a
merge takes over the registration of the deal that it replaces, so that one deal never has two. A mapping is made once
and counts for ever. An older state of a deal never wins over a newer one, in whatever order they arrive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime
from typing import Any
from uuid import UUID

from awssome.domain.deals import as_text
from awssome.domain.mapping import Mapped, map_deal, modified_at
from awssome.domain.mapping import Mapping as DealMapping
from awssome.domain.readiness import is_ready
from awssome.domain.syncs import IssueKind, MappingState
from awssome.domain.texts import fitting
from awssome.domain.times import new_id

LONGEST_ID, LONGEST_TITLE, LONGEST_TEXT, LONGEST_VALUE = 32, 255, 500, 255

ASIDE = "-"
"""The id under which a mapping stands for a moment while two change places."""


@dataclass(frozen=True)
class SourceDeal:
    """A live deal of HubSpot's.

    :ivar merged_ids: the deals that became part of it.
    :ivar request_id: what HubSpot's support asks for of the answer that it is from.
    """

    id: str
    properties: Mapping[str, str | None]
    merged_ids: tuple[str, ...] = ()
    request_id: str = ""


@dataclass(frozen=True)
class Known:
    """A mapping with its registration.

    :ivar modified_at: when HubSpot had last changed the deal in the state that was read last.
    :ivar made_at: when the deal came in.
    :ivar edited: the fields that a user has set.
    :ivar values: every field of the registration.
    :ivar held_back: field -> HubSpot's text that a user's edit hides.
    :ivar defaulted: the fields that hold a default, or would, if no user had set them.
    :ivar archived: whether the registration is archived.
    :ivar put_away: whether it was a sync that archived it; what a user archived stays archived.
    :ivar met: whether the run has come across it before, and has counted it.
    """

    deal_id: str
    registration_id: UUID
    state: MappingState
    source_hash: bytes
    modified_at: datetime | None
    made_at: datetime
    edited: frozenset[str]
    values: Mapping[str, Any]
    held_back: Mapping[str, str | None]
    defaulted: frozenset[str]
    archived: bool
    put_away: bool
    met: bool = False


@dataclass(frozen=True)
class Created:
    """A registration to be made, with its mapping."""

    deal_id: str
    registration_id: UUID
    values: Mapping[str, Any]
    ready: bool
    source_hash: bytes
    modified_at: datetime | None
    request_id: str
    defaulted: frozenset[str]


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
    """A mapping whose deal is in another state than it was read last, or was renamed by a merge."""

    deal_id: str
    source_hash: bytes
    modified_at: datetime | None
    request_id: str
    held_back: Mapping[str, str | None]
    defaulted: frozenset[str]


@dataclass(frozen=True)
class DealIssue:
    """One line of the sync's report.

    :ivar code: names the reason for programs.
    :ivar value: what HubSpot has in place of something that could be taken.
    :ivar detail: of a preview: field -> [text as it is, text as it would be].
    """

    kind: IssueKind
    deal_id: str
    registration_id: UUID | None
    title: str
    field: str
    reason: str
    advice: str
    code: str = ""
    value: str = ""
    detail: Mapping[str, Any] | None = None


@dataclass
class Plan:
    """What to write for some deals.

    :ivar touched: every deal that has, or now gets, a mapping.
    :ivar revived: deals that were deleted in HubSpot and are back.
    :ivar renamed: (deal id of a mapping, id of the deal that takes it over), to be done one after the other.
    :ivar merged: (mapping that ends, id of the deal that its deal became part of).
    :ivar no_room: deals that would need a mapping beyond the plan's limit.
    :ivar skipped: deals that the tenant's mapping leaves out.
    :ivar unchanged: how many deals bring no news, those left out that the run has counted before.
    :ivar failed: deals that could not be read.
    """

    created: list[Created] = field(default_factory=list)
    changed: list[Changed] = field(default_factory=list)
    reread: list[Reread] = field(default_factory=list)
    touched: list[str] = field(default_factory=list)
    revived: list[str] = field(default_factory=list)
    renamed: list[tuple[str, str]] = field(default_factory=list)
    merged: list[tuple[Known, str]] = field(default_factory=list)
    issues: list[DealIssue] = field(default_factory=list)
    no_room: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    unchanged: int = 0
    failed: list[str] = field(default_factory=list)

    @property
    def updated(self) -> int:
        """How many registrations change, the archived ones included."""
        return len(self.changed) + len(self.merged)

    @property
    def restored(self) -> int:
        """How many of them come back from the archive."""
        return sum(one.restored for one in self.changed)

    @property
    def gained(self) -> int:
        """By how many the live mappings grow."""
        gone = sum(known.state is MappingState.LIVE for known, _ in self.merged)
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
        if here is not None and here.deal_id == deal.id and _is_older(deal, here):
            result.unchanged += not here.met
            result.touched.append(deal.id)
            continue
        try:
            mapped = _mapped(deal, mapping)
        except (ValueError, ArithmeticError):
            result.failed.append(deal.id)
            result.touched += [deal.id] if here else []
            result.issues.append(unreadable(deal.id, _title(deal), "", here.registration_id if here else None))
            continue
        if here is not None:
            _update(result, deal, mapped, here, today)
        elif mapped.skipped:
            result.skipped.append(deal.id)
            result.issues.append(_skipped(deal, mapped, None))
        elif room is None or len(result.created) < room:
            _create(result, deal, mapped, today)
        else:
            result.no_room.append(deal.id)
    return result


def joined(plans: Iterable[Plan]) -> Plan:
    """Several plans as one."""
    result = Plan()
    for one in plans:
        for each in fields(Plan):
            setattr(result, each.name, getattr(result, each.name) + getattr(one, each.name))
    return result


def unreadable(deal_id: str, title: str, reason: str, registration_id: UUID | None = None) -> DealIssue:
    """A deal of which HubSpot's answer cannot be read. :param reason: what is wrong with it, if that is known."""
    return fitted(
        DealIssue(
            kind=IssueKind.FAILED,
            deal_id=deal_id,
            registration_id=registration_id,
            title=title or f"Deal {deal_id or 'without an id'}",
            field="",
            reason=reason or "HubSpot's answer about this deal cannot be read.",
            advice="Look at the deal in HubSpot, then try it again.",
            code="unreadable",
        )
    )


def unwritable(deal: SourceDeal, field: str, label: str, value: str, reason: str) -> DealIssue:
    """A deal that the database refuses. :param field: the registration's field that it refuses, or "" if unknown."""
    return fitted(
        DealIssue(
            kind=IssueKind.FAILED,
            deal_id=deal.id,
            registration_id=None,
            title=_title(deal),
            field=field,
            reason=reason,
            advice=f"Change {label or 'the deal'} in HubSpot, then try it again.",
            code="unwritable",
            value=value,
        )
    )


def untold(deal_id: str) -> DealIssue:
    """A deal that HubSpot was asked for, and said nothing of."""
    return DealIssue(
        kind=IssueKind.FAILED,
        deal_id=deal_id,
        registration_id=None,
        title=f"Deal {deal_id}",
        field="",
        reason="HubSpot was asked for this deal and said nothing about it. It is unchanged here.",
        advice="Look at the deal in HubSpot, then try it again.",
        code="untold",
    )


def fitted(line: DealIssue) -> DealIssue:
    """The line, cut to what its columns hold."""
    return replace(
        line,
        deal_id=fitting(line.deal_id, LONGEST_ID),
        title=fitting(line.title, LONGEST_TITLE),
        reason=fitting(line.reason, LONGEST_TEXT),
        advice=fitting(line.advice, LONGEST_TEXT),
        value=fitting(line.value, LONGEST_VALUE),
    )


def _take_over(result: Plan, deal: SourceDeal, left: dict[str, Known]) -> Known | None:
    """The deal's mapping, taken over from a merged deal if need be; the other merged deals' mappings end.

    If a deal came in before HubSpot told that it replaces others, it has a registration of its own. Then the one that
    was here before it, with what users have made of it, takes its place.
    """
    here = left.pop(deal.id, None)
    heirs = [left.pop(old) for old in deal.merged_ids if old in left]
    heirs = [heir for heir in heirs if heir.state is not MappingState.MERGED]
    oldest = min(heirs, key=lambda heir: (heir.state is not MappingState.LIVE, heir.made_at), default=None)
    if oldest is not None and here is None:
        heirs.remove(oldest)
        result.renamed.append((oldest.deal_id, deal.id))
        here = oldest
    elif oldest is not None and here is not None and _gives_way(here, oldest):
        heirs.remove(oldest)
        result.renamed += [(deal.id, ASIDE), (oldest.deal_id, deal.id), (ASIDE, oldest.deal_id)]
        heirs.append(replace(here, deal_id=oldest.deal_id))
        here = oldest
    result.merged += [(heir, deal.id) for heir in heirs]
    return here


def _gives_way(here: Known, heir: Known) -> bool:
    return heir.state is MappingState.LIVE and heir.made_at < here.made_at and not here.edited


def _is_older(deal: SourceDeal, here: Known) -> bool:
    at = modified_at(deal.properties)
    return at is not None and here.modified_at is not None and at < here.modified_at


def _mapped(deal: SourceDeal, mapping: DealMapping) -> Mapped:
    if not 0 < len(deal.id) <= LONGEST_ID or deal.id == ASIDE:
        raise ValueError("not the id of a deal")
    return map_deal(deal.properties, mapping)


def _create(result: Plan, deal: SourceDeal, mapped: Mapped, today: date) -> None:
    created = Created(
        deal_id=deal.id,
        registration_id=new_id(),
        values=mapped.values,
        ready=is_ready(mapped.values, today),
        source_hash=_digest(mapped),
        modified_at=modified_at(deal.properties),
        request_id=deal.request_id,
        defaulted=mapped.defaulted,
    )
    result.created.append(created)
    result.touched.append(deal.id)
    _report(result, deal, mapped, created.registration_id, frozenset())


def _update(result: Plan, deal: SourceDeal, mapped: Mapped, here: Known, today: date) -> None:
    digest = _digest(mapped)
    news = digest != here.source_hash
    back = here.state is not MappingState.LIVE
    before = {name: here.values[name] for name in mapped.values}
    after, held_back, defaulted = before, here.held_back, here.defaulted
    if news and not mapped.skipped:  # what is here is not taken away because others like it are left out
        after = {name: before[name] if name in here.edited else value for name, value in mapped.values.items()}
        held_back = {
            name: as_text(value)
            for name, value in mapped.values.items()
            if name in here.edited and value != before[name]
        }
        defaulted = mapped.defaulted
    at = modified_at(deal.properties)
    if news or here.deal_id != deal.id or (at is not None and at != here.modified_at):
        result.reread.append(Reread(deal.id, digest, at, deal.request_id, held_back, defaulted))
    if back:
        result.revived.append(deal.id)
    restored = back and here.put_away
    if after != before or restored:
        ready = is_ready({**here.values, **after}, today)
        result.changed.append(Changed(deal.id, here.registration_id, before, after, ready, restored))
    else:
        result.unchanged += not here.met
    result.touched.append(deal.id)
    if news and mapped.skipped:
        result.issues.append(_skipped(deal, mapped, here.registration_id))
    elif news:
        _report(result, deal, mapped, here.registration_id, here.edited)


def _digest(mapped: Mapped) -> bytes:
    """Equal when HubSpot brought nothing new, neither for the registration nor for the report."""
    if not mapped.issues:
        return mapped.digest
    told = "\n".join(f"{issue.field}: {issue.reason}" for issue in mapped.issues)
    return hashlib.sha256(mapped.digest + told.encode()).digest()


def _report(result: Plan, deal: SourceDeal, mapped: Mapped, registration_id: UUID, edited: frozenset[str]) -> None:
    """The deal's issues, without those that a user has settled by setting the field."""
    result.issues += [
        fitted(
            DealIssue(
                kind=IssueKind.INCOMPLETE,
                deal_id=deal.id,
                registration_id=registration_id,
                title=mapped.values["title"],
                field=issue.field,
                reason=issue.reason,
                advice=issue.advice,
                code=issue.code,
                value=issue.value,
            )
        )
        for issue in mapped.issues
        if issue.field not in edited
    ]


def _skipped(deal: SourceDeal, mapped: Mapped, registration_id: UUID | None) -> DealIssue:
    advice = "Change what the stage becomes under HubSpot, Mapping, Stages, if you want it."
    if registration_id is not None:
        advice = "It came in before, and stays as it was."
    return fitted(
        DealIssue(
            kind=IssueKind.SKIPPED,
            deal_id=deal.id,
            registration_id=registration_id,
            title=_title(deal),
            field="stage",
            reason=mapped.skipped,
            advice=advice,
            code="skipped",
        )
    )


def _title(deal: SourceDeal) -> str:
    return deal.properties.get("dealname") or f"Deal {deal.id}"
