"""The tenant's deal registrations: listing, finding, changing.

Every change raises the row's version and writes a row of `deal_events`, in the transaction that changes the deal.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, Unicode, and_, case, func, insert, literal, or_, select, true, update
from sqlalchemy.engine import Connection

from awssome.database.functions import age, lowered, position
from awssome.database.keyset import Key, Keyset, Page
from awssome.database.schema import deal_events, deal_registrations, hubspot_mappings
from awssome.domain.deals import FIELD, Source, Stage, as_text, parse_value
from awssome.domain.errors import Code, Refused
from awssome.domain.readiness import is_ready
from awssome.domain.times import new_id, now

SORTS = (
    "title",
    "customer_company",
    "stage",
    "deal_amount",
    "target_close_date",
    "ready",
    "source",
    "created_at",
    "updated_at",
)
"""What a list can be sorted by; with a minus in front, the other way round."""


SEARCHED = 255
"""Characters of a search that count; no title is longer."""


@dataclass(frozen=True)
class Filters:
    """Which deals a list shows; what is not given does not matter.

    :ivar search: text that title or customer holds, in any case.
    :ivar ready: whether AWS would take the deal today. False: those that can become so; the lost ones never do.
    :ivar archived: archived deals instead of the others.
    """

    search: str = ""
    stage: Stage | None = None
    source: Source | None = None
    ready: bool | None = None
    archived: bool = False


@dataclass(frozen=True)
class Deal:
    """A deal registration.

    :ivar values: its fields by name (`domain.deals.FIELDS`): text, date, exact Decimal or None.
    :ivar edited_fields: the fields that a person has set; a sync leaves them alone.
    :ivar ready: whether AWS would take it today.
    :ivar version: grows with every change; an edit names the one it was made from.
    :ivar hubspot: where it is in HubSpot; None for a deal that was written here.
    """

    id: UUID
    source: Source
    values: Mapping[str, Any]
    edited_fields: tuple[str, ...]
    ready: bool
    version: int
    created_at: datetime
    updated_at: datetime
    updated_by: str
    archived_at: datetime | None
    hubspot: HubSpotDeal | None

    @property
    def title(self) -> str:
        """What the tenant calls the deal."""
        return str(self.values["title"])

    def origin(self, field: str) -> str | None:
        """Who set the field: `you` (a person of the tenant), `hubspot` or `default`; None when it is empty."""
        if self.values[field] is None:
            return None
        if field in self.edited_fields or self.source is Source.MANUAL:
            return "you"
        return "default" if self.hubspot is not None and field in self.hubspot.defaulted else "hubspot"

    def hidden(self, field: str) -> Hidden | None:
        """What HubSpot says of a field that a person has set; None where it is not known, or nobody has set it."""
        if self.hubspot is None or field not in self.edited_fields or field not in self.hubspot.held_back:
            return None
        return Hidden(self.hubspot.held_back[field], field in self.hubspot.defaulted)


@dataclass(frozen=True)
class Hidden:
    """What a sync would write, as text, if a person had not set the field.

    :ivar text: None: nothing.
    :ivar default: it is a default of the mapping, because HubSpot has nothing.
    """

    text: str | None
    default: bool


@dataclass(frozen=True)
class HubSpotDeal:
    """The HubSpot end of a deal, and where its values come from.

    :ivar state: as in `domain.syncs.MappingState`.
    :ivar modified_at: when HubSpot last changed the deal, by HubSpot's clock.
    :ivar read_at: when it was last read.
    :ivar first_sync_id: the sync that brought it in.
    :ivar last_sync_id: the last sync that came across it.
    :ivar held_back: fields that a person has set -> what HubSpot says, as text.
    :ivar defaulted: fields that hold a default of the mapping, or would if nobody had set them: HubSpot has nothing.
    """

    portal_id: int
    deal_id: str
    state: str
    modified_at: datetime | None
    read_at: datetime | None
    first_sync_id: UUID
    last_sync_id: UUID
    held_back: Mapping[str, str | None]
    defaulted: frozenset[str]


@dataclass(frozen=True)
class Event:
    """One line of a deal's timeline.

    :ivar changes: field -> [text before, text after].
    :ivar sync_id: the sync that did it, if one did.
    """

    at: datetime
    kind: str
    actor: str
    changes: Mapping[str, list[str | None]]
    sync_id: UUID | None


def list_deals(
    connection: Connection,
    filters: Filters,
    *,
    today: date,
    sort: str = "-updated_at",
    after: str = "",
    before: str = "",
    limit: int = 50,
) -> Page[Deal]:
    """One page of deals.

    :param after: the key of the page, as `Page.after` of the one before named it; `before` the other way.
    :raises Refused: INVALID for a key that belongs to no page of this order.
    """
    by = sort.removeprefix("-")
    if by not in SORTS:
        raise Refused(Code.INVALID, f"Deals cannot be sorted by “{by[:40]}”.", "Use the headings of the table.")
    keyset = Keyset(_sort_key(by, today), deal_registrations.c.id, descending=sort.startswith("-"))
    return keyset.page(
        connection, _select(today).where(*_conditions(filters, today)), _deal, after=after, before=before, limit=limit
    )


def count(connection: Connection, filters: Filters, *, today: date) -> int:
    """How many deals a list has over all its pages."""
    query = select(func.count()).select_from(deal_registrations).where(*_conditions(filters, today))
    return connection.execute(query).scalar_one()


def recent(connection: Connection, *, today: date, limit: int = 5) -> Sequence[Deal]:
    """The deals that changed last."""
    return list_deals(connection, Filters(), today=today, limit=limit).rows


def find(connection: Connection, deal_id: UUID, *, today: date | None = None) -> Deal:
    """The deal. :raises Refused: NOT_FOUND when this tenant has none with the id."""
    query = _select(today or now().date()).where(deal_registrations.c.id == deal_id)
    row = connection.execute(query).first()
    if row is None:
        raise Refused(Code.NOT_FOUND, "There is no such deal in your workspace.", "Look for it in the list of deals.")
    return _deal(row)


def find_by_hubspot(connection: Connection, portal_id: int, deal_id: str) -> Deal | None:
    """The registration of a HubSpot deal; None when it has none."""
    m = hubspot_mappings.c
    row = connection.execute(_select(now().date()).where(m.portal_id == portal_id, m.deal_id == deal_id)).first()
    return None if row is None else _deal(row)


def timeline(connection: Connection, deal_id: UUID, *, limit: int = 100) -> list[Event]:
    """What happened to the deal, newest first."""
    query = (
        select(deal_events.c.at, deal_events.c.kind, deal_events.c.actor, deal_events.c.changes, deal_events.c.sync_id)
        .where(deal_events.c.registration_id == deal_id)
        .order_by(deal_events.c.at.desc(), age(deal_events.c.id).desc())
        .limit(limit)
    )
    return [Event(row.at, row.kind, row.actor, row.changes, row.sync_id) for row in connection.execute(query)]


def create(connection: Connection, values: Mapping[str, Any], actor: str) -> UUID:
    """A deal that a person writes here; returns its id.

    :param values: fields by name, as `domain.deals.parse_form` gives them; `title` and `stage` are needed.
    """
    at, deal_id = now(), new_id()
    given = {name: values.get(name) for name in FIELD}
    connection.execute(
        insert(deal_registrations).values(
            id=deal_id,
            source=Source.MANUAL,
            edited_fields=sorted(name for name, value in given.items() if value is not None),
            ready=is_ready(given, at.date()),
            version=1,
            created_at=at,
            updated_at=at,
            updated_by=actor,
            **given,
        )
    )
    record(connection, deal_id, "created", actor, changes({}, given), at=at)
    return deal_id


def edit(connection: Connection, deal_id: UUID, version: int, values: Mapping[str, Any], actor: str) -> bool:
    """Set fields of a deal; each one that differs counts as edited by a person from now on, and syncs leave it alone.

    :param version: the version that the person saw.
    :returns: whether anything differed.
    :raises Refused: NOT_FOUND; CONFLICT when somebody else has changed the deal since, or when it is archived.
    """
    deal = _at_version(connection, deal_id, version)
    changed = changes(deal.values, {**deal.values, **values})
    if not changed:
        return False
    _write(connection, deal, {name: values[name] for name in changed}, {*deal.edited_fields, *changed}, "edited", actor)
    # What a sync brought in until now is what HubSpot says, until the next sync knows better.
    fresh = {name: before for name, (before, _) in changed.items() if name not in deal.edited_fields}
    if deal.hubspot is not None and fresh:
        _hold_back(connection, deal_id, lambda held_back: {**fresh, **held_back})
    return True


def use_hubspot(connection: Connection, deal_id: UUID, version: int, field: str, actor: str) -> None:
    """Take HubSpot's value in place of a person's; syncs write the field again from now on.

    :param version: the version that the person saw.
    :raises Refused: NOT_FOUND; CONFLICT as for `edit`, or when HubSpot's value is not known or does not fit any more.
    """
    deal = _at_version(connection, deal_id, version)
    hidden = deal.hidden(field)
    if hidden is None or deal.hubspot is None:
        raise Refused(
            Code.CONFLICT,
            "What HubSpot says of this field is not known here. Nothing was changed.",
            "Sync your deals, then try again.",
        )
    try:
        value = parse_value(FIELD[field], hidden.text) if hidden.text else None
    except ValueError as error:
        raise Refused(Code.CONFLICT, f"{error} Nothing was changed.", "Correct it in HubSpot, then sync.") from None
    _write(connection, deal, {field: value}, {*deal.edited_fields} - {field}, "edited", actor)
    _hold_back(connection, deal_id, lambda held_back: {name: held_back[name] for name in held_back if name != field})


def archive(connection: Connection, deal_ids: Sequence[UUID], actor: str) -> int:
    """Put deals away; returns how many were not archived before. Ids of no deal of this tenant count nothing."""
    return _put_away(connection, deal_ids, actor, "archived", now())


def restore(connection: Connection, deal_ids: Sequence[UUID], actor: str) -> int:
    """Bring archived deals back; returns how many were archived."""
    return _put_away(connection, deal_ids, actor, "restored", None)


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[str | None]]:
    """The fields that differ, as a timeline keeps them: field -> [text before, text after]."""
    return {
        name: [as_text(before.get(name)), as_text(value)] for name, value in after.items() if value != before.get(name)
    }


def record(
    connection: Connection, deal_id: UUID, kind: str, actor: str, changed: Mapping[str, Any], *, at: datetime
) -> None:
    """One line of the deal's timeline.

    :param kind: created, imported, edited, updated (by a sync), archived or restored.
    :param changed: as `changes` gives it.
    """
    connection.execute(
        insert(deal_events).values(
            id=new_id(), registration_id=deal_id, at=at, kind=kind, actor=actor, changes=dict(changed)
        )
    )


def ready_on(today: date) -> ColumnElement[bool]:
    """Readiness as of today: it was computed when the deal was written, and only the close date can run out since."""
    c = deal_registrations.c
    still = or_(c.stage.in_((Stage.LAUNCHED, Stage.CLOSED_LOST)), c.target_close_date >= today)
    return case((and_(c.ready == true(), still), True), else_=False)


_STAGE_ORDER = {stage: position for position, stage in enumerate(Stage)}


# By name: a column that a newer revision adds may not be there yet.
_READ = (
    "id",
    "source",
    *FIELD,
    "edited_fields",
    "version",
    "created_at",
    "updated_at",
    "updated_by",
    "archived_at",
)


_READ_OF_MAPPING = (
    "portal_id",
    "deal_id",
    "modified_at",
    "read_at",
    "first_sync_id",
    "last_sync_id",
    "held_back",
    "defaulted",
)


def _select(today: date) -> Select[Any]:
    c, m = deal_registrations.c, hubspot_mappings.c
    columns = [c[name] for name in _READ]
    return select(
        *columns,
        ready_on(today).label("ready"),
        *(m[name] for name in _READ_OF_MAPPING),
        m.state.label("mapping_state"),
    ).select_from(deal_registrations.outerjoin(hubspot_mappings, m.registration_id == c.id))


def _conditions(filters: Filters, today: date) -> list[ColumnElement[bool]]:
    c = deal_registrations.c
    found: list[ColumnElement[bool]] = [c.archived_at.is_not(None) if filters.archived else c.archived_at.is_(None)]
    if text := filters.search.replace("\x00", "")[:SEARCHED]:
        part = lowered(literal(text, Unicode()))
        found.append(or_(*(position(lowered(column), part) > 0 for column in (c.title, c.customer_company))))
    if filters.stage is not None:
        found.append(c.stage == filters.stage)
    if filters.source is not None:
        found.append(c.source == filters.source)
    if filters.ready is not None:
        found.append(ready_on(today) == filters.ready)
    if filters.ready is False:
        found.append(c.stage != Stage.CLOSED_LOST)
    return found


def _sort_key(by: str, today: date) -> Key:
    c = deal_registrations.c
    if by == "stage":
        return Key(case(_STAGE_ORDER, value=c.stage, else_=len(_STAGE_ORDER)), int)
    if by == "ready":
        return Key(case((ready_on(today) == true(), 0), else_=1), int)
    if by == "deal_amount":
        return Key(c.deal_amount, Decimal, nullable=True)
    if by == "target_close_date":
        return Key(c.target_close_date, date.fromisoformat, nullable=True)
    if by in ("created_at", "updated_at"):
        return Key(c[by], _instant)
    return Key(lowered(c[by]), str, nullable=by == "customer_company")


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("a time without zone")
    return at


def _deal(row: Row[Any]) -> Deal:
    linked = None
    if row.deal_id is not None:
        linked = HubSpotDeal(
            portal_id=row.portal_id,
            deal_id=row.deal_id,
            state=row.mapping_state,
            modified_at=row.modified_at,
            read_at=row.read_at,
            first_sync_id=row.first_sync_id,
            last_sync_id=row.last_sync_id,
            held_back=row.held_back or {},
            defaulted=frozenset(row.defaulted or ()),
        )
    return Deal(
        id=row.id,
        source=Source(row.source),
        values={name: row._mapping[name] for name in FIELD},
        edited_fields=tuple(row.edited_fields),
        ready=row.ready,
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
        updated_by=row.updated_by,
        archived_at=row.archived_at,
        hubspot=linked,
    )


def _at_version(connection: Connection, deal_id: UUID, version: int) -> Deal:
    deal = find(connection, deal_id)
    if deal.version != version:
        raise _outdated(deal)
    if deal.archived_at is not None:
        raise Refused(Code.CONFLICT, "This deal is archived. Nothing was changed.", "Restore it first, then change it.")
    return deal


def _write(
    connection: Connection, deal: Deal, values: Mapping[str, Any], edited: Collection[str], kind: str, actor: str
) -> None:
    """:raises Refused: CONFLICT when somebody else was quicker."""
    at, after = now(), {**deal.values, **values}
    written = connection.execute(
        update(deal_registrations)
        .where(deal_registrations.c.id == deal.id, deal_registrations.c.version == deal.version)
        .values(
            edited_fields=sorted(edited),
            ready=is_ready(after, at.date()),
            version=deal.version + 1,
            updated_at=at,
            updated_by=actor,
            **values,
        )
    )
    if written.rowcount != 1:
        raise _outdated(find(connection, deal.id))
    record(connection, deal.id, kind, actor, changes(deal.values, after), at=at)


def _hold_back(
    connection: Connection, deal_id: UUID, change: Callable[[Mapping[str, str | None]], Mapping[str, str | None]]
) -> None:
    """Change what is held back. The deal has been written before: a sync that is about to write it, too, waits."""
    m = hubspot_mappings.c
    now_there = connection.execute(select(m.held_back).where(m.registration_id == deal_id)).scalar_one()
    after = dict(change(now_there or {})) or None
    connection.execute(update(hubspot_mappings).where(m.registration_id == deal_id).values(held_back=after))


def _put_away(
    connection: Connection, deal_ids: Sequence[UUID], actor: str, kind: str, archived_at: datetime | None
) -> int:
    c = deal_registrations.c
    done, at = 0, now()
    for deal_id in dict.fromkeys(deal_ids):
        written = connection.execute(
            update(deal_registrations)
            .where(c.id == deal_id, c.archived_at.is_(None) if archived_at else c.archived_at.is_not(None))
            .values(
                archived_at=archived_at,
                archived_by=actor if archived_at else None,
                version=c.version + 1,
                updated_at=at,
                updated_by=actor,
            )
        )
        if written.rowcount:
            record(connection, deal_id, kind, actor, {}, at=at)
            done += 1
    return done


def _outdated(deal: Deal) -> Refused:
    return Refused(
        Code.CONFLICT,
        f"{deal.updated_by} has changed this deal since you opened it. Your changes are not saved yet.",
        "What you typed is kept below. Compare it with what the deal says now, then save again.",
    )
