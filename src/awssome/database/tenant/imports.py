"""Mappings, and the registrations behind them: read for a page of HubSpot deals, and written as `domain.imports` plans.

A page is written with few statements whatever its size: rows go in batches, never one round trip for each deal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Row, Select, Update, bindparam, func, insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DataError, IntegrityError, StatementError

from awssome.database.schema import deal_events, deal_registrations, hubspot_mappings, sync_issues
from awssome.database.tenant import failures
from awssome.database.tenant.deals import changes
from awssome.domain.deals import FIELD, Source, as_text
from awssome.domain.errors import Code, Refused
from awssome.domain.imports import DealIssue, Known, Plan
from awssome.domain.syncs import IssueKind, MappingState
from awssome.domain.times import new_id

ACTOR = "HubSpot"
"""Who changes a deal in the name of a sync."""

BATCH = 100
"""Mapped deals that are looked up together."""

NAMED = 1_000
"""Keys that one statement names at most: with everything else, SQL Server takes 2,100 parameters."""

T = TypeVar("T")

_m, _r = hubspot_mappings.c, deal_registrations.c


class Unwritable(Exception):
    """The database refuses a row. Its transaction is of no more use, unless it was written in a savepoint."""


@contextmanager
def writing() -> Iterator[None]:
    """Tells a row that the database refuses from all else that may go wrong. :raises Unwritable: see there."""
    try:
        yield
    except (IntegrityError, DataError) as error:
        raise Unwritable from error
    except StatementError as error:
        if isinstance(error.orig, Refused) and error.orig.code is Code.INVALID:  # a value that its column cannot keep
            raise Unwritable from error
        raise


def refused_field(connection: Connection, values: Mapping[str, Any]) -> tuple[str, str]:
    """Which field of a registration its column cannot keep, and why; two empty texts if none can be named."""
    for name, value in values.items():
        process = _r[name].type.bind_processor(connection.dialect)
        try:
            if process is not None:
                process(value)
        except Refused as refused:
            return name, refused.message.removesuffix(" Nothing was changed.")
        except (ValueError, TypeError, ArithmeticError):
            return name, "The value has not the form that this field keeps."
    return "", ""


def known(
    connection: Connection, portal_id: int, deal_ids: Iterable[str], sync_id: UUID | None = None
) -> dict[str, Known]:
    """The mappings of these deals with their registrations, by deal id.

    Holds the registrations until the transaction ends: they are what users write, too, and write first.

    :param sync_id: the run that asks, to tell what it has come across before.
    """
    found: dict[str, Known] = {}
    for some in _parts(list(deal_ids)):
        rows = connection.execute(_KNOWN, {"portal": portal_id, "deals": some})
        found |= {row.deal_id: _known(row, sync_id) for row in rows}
    return found


def read_before(connection: Connection, portal_id: int, deal_ids: Iterable[str]) -> dict[str, datetime | None]:
    """The live mappings among these deals: when HubSpot had last changed each in the state that was read last."""
    query = select(_m.deal_id, _m.modified_at).where(_m.portal_id == portal_id, _m.state == MappingState.LIVE)
    rows = connection.execute(query.where(_m.deal_id.in_(list(deal_ids))))
    return {row.deal_id: row.modified_at for row in rows}


def unseen(
    connection: Connection,
    portal_id: int,
    sync_id: UUID,
    states: Sequence[MappingState],
    *,
    after: str = "",
    read_since: datetime | None = None,
) -> list[str]:
    """The next mapped deals in these states that the sync has not come across, by id.

    :param after: the last one of the batch before.
    :param read_since: only those that HubSpot told something of since then.
    """
    query = select(_m.deal_id).where(
        _m.portal_id == portal_id, _m.state.in_(states), _m.last_sync_id != sync_id, _m.deal_id > after
    )
    if read_since is not None:
        query = query.where(func.coalesce(_m.read_at, _m.created_at) >= read_since)
    return list(connection.scalars(query.order_by(_m.deal_id).limit(BATCH)))


def mapped(connection: Connection, portal_id: int, deal_ids: Iterable[str]) -> set[str]:
    """Which of these deals have a mapping."""
    query = select(_m.deal_id).where(_m.portal_id == portal_id, _m.deal_id.in_(list(deal_ids)))
    return set(connection.scalars(query))


def count_live(connection: Connection, portal_id: int, *, changed_before: datetime | None = None) -> int:
    """How many deals of the HubSpot account are here: the X of "Imported X of Y deals".

    :param changed_before: only those that, as far as is known, were last changed in HubSpot before this moment.
    """
    query = select(func.count()).select_from(hubspot_mappings)
    query = query.where(_m.portal_id == portal_id, _m.state == MappingState.LIVE)
    if changed_before is not None:
        query = query.where(_m.modified_at < changed_before)
    return connection.execute(query).scalar_one()


def count_unfollowed(connection: Connection) -> int:
    """How many deals are here that no sync looks at, because the plan has no room for them any more."""
    query = select(func.count()).select_from(hubspot_mappings).where(_m.state == MappingState.UNFOLLOWED)
    return connection.execute(query).scalar_one()


def follow(connection: Connection, portal_id: int, limit: int | None) -> None:
    """Have syncs look at as many of the deals that are here as the plan has room for, and at no others.

    Those stay that came in first, so that they stay the same ones. Their registrations are left as they are.

    :param limit: None: as many as there are.
    """
    if limit is None:
        back = update(hubspot_mappings).where(_m.portal_id == portal_id, _m.state == MappingState.UNFOLLOWED)
        connection.execute(back.values(state=MappingState.LIVE))
    elif count_live(connection, portal_id) > limit:
        live = select(_m.deal_id).where(_m.portal_id == portal_id, _m.state == MappingState.LIVE)
        first = list(connection.scalars(live.order_by(_m.created_at, _m.deal_id).limit(limit)))
        others = (_m.portal_id == portal_id, _m.state == MappingState.LIVE, _m.deal_id.not_in(first))
        connection.execute(update(hubspot_mappings).where(*others).values(state=MappingState.UNFOLLOWED))


def write(
    connection: Connection,
    plan: Plan,
    *,
    portal_id: int,
    sync_id: UUID,
    at: datetime,
) -> None:
    """Write everything that the plan holds, and report its issues under the sync.

    :param at: when HubSpot was read.
    :raises Unwritable: see there.
    """
    with writing():
        for old, new in plan.renamed:
            _set(connection, portal_id, [old], deal_id=new)
        _end(connection, portal_id, plan.merged, MappingState.MERGED, sync_id, at)
        if plan.created:
            _create(connection, plan, portal_id, sync_id, at)
        if plan.changed:
            _change(connection, plan, sync_id, at)
        if plan.reread:
            _reread(connection, plan, portal_id, sync_id, at)
        _set(connection, portal_id, plan.revived, state=MappingState.LIVE, last_sync_id=sync_id, read_at=at)
        fresh = {one.deal_id for one in plan.created} | {one.deal_id for one in plan.reread} | set(plan.revived)
        touch(connection, portal_id, [one for one in plan.touched if one not in fresh], sync_id=sync_id)
        report(connection, sync_id, plan.issues)
        failures.note(connection, portal_id, sync_id, failed(plan.issues), at)


def archive(connection: Connection, portal_id: int, deal_ids: Sequence[str], *, sync_id: UUID, at: datetime) -> int:
    """End the mappings of deals that were deleted in HubSpot and put their registrations away.

    :returns: how many were live until now.
    """
    if not deal_ids:
        return 0
    mappings = known(connection, portal_id, deal_ids).values()
    live = [(one, "") for one in mappings if one.state is MappingState.LIVE]
    _end(connection, portal_id, live, MappingState.ARCHIVED, sync_id, at)
    ended = {one.deal_id for one, _ in live}
    touch(connection, portal_id, [one.deal_id for one in mappings if one.deal_id not in ended], sync_id=sync_id)
    return len(live)


def touch(connection: Connection, portal_id: int, deal_ids: Sequence[str], *, sync_id: UUID) -> int:
    """Note that the sync has come across these deals. :returns: how many it had not come across before."""
    first_met = 0
    for some in _parts(deal_ids):
        where = (_m.portal_id == portal_id, _m.deal_id.in_(some), _m.last_sync_id != sync_id)
        first_met += connection.execute(update(hubspot_mappings).where(*where).values(last_sync_id=sync_id)).rowcount
    return first_met


def report(connection: Connection, sync_id: UUID, issues: Sequence[DealIssue]) -> None:
    """Add lines to the sync's report."""
    if issues:
        connection.execute(
            insert(sync_issues),
            [
                {
                    "id": new_id(),
                    "sync_id": sync_id,
                    "kind": issue.kind,
                    "deal_id": issue.deal_id,
                    "registration_id": issue.registration_id,
                    "title": issue.title,
                    "field": issue.field,
                    "reason": issue.reason,
                    "advice": issue.advice,
                    "code": issue.code or None,
                    "value": issue.value or None,
                    "detail": dict(issue.detail) if issue.detail else None,
                }
                for issue in issues
            ],
        )


def failed(issues: Iterable[DealIssue]) -> list[DealIssue]:
    """The issues that tell of deals which could not be imported."""
    return [issue for issue in issues if issue.kind is IssueKind.FAILED and issue.deal_id]


# Made once: to put so many columns together takes as long as to ask for them.
_KNOWN: Select[Any] = (
    select(_m.deal_id, _m.registration_id, _m.state, _m.source_hash, *(_r[name] for name in FIELD))
    .add_columns(_m.modified_at, _m.created_at, _m.last_sync_id, _m.held_back, _m.defaulted)
    .add_columns(_r.edited_fields, _r.archived_at, _r.archived_by, _r.updated_by)
    .join_from(hubspot_mappings, deal_registrations, _r.id == _m.registration_id)
    .where(_m.portal_id == bindparam("portal"), _m.deal_id.in_(bindparam("deals", expanding=True)))
    .with_for_update(of=deal_registrations)
    .with_hint(deal_registrations, "WITH (UPDLOCK)", "mssql")
)

_REREAD: Update = (
    update(hubspot_mappings)
    .where(_m.deal_id == bindparam("of_deal"))
    .values(
        source_hash=bindparam("new_hash"),
        modified_at=bindparam("new_modified_at"),
        request_id=bindparam("new_request_id"),
        held_back=bindparam("new_held_back"),
        defaulted=bindparam("new_defaulted"),
    )
)


def _create(connection: Connection, plan: Plan, portal_id: int, sync_id: UUID, at: datetime) -> None:
    # Most deals fill the same few fields: columns that are empty in all rows are not sent.
    filled = [name for name in FIELD if any(one.values.get(name) is not None for one in plan.created)]
    connection.execute(
        insert(deal_registrations),
        [
            {
                **{name: one.values.get(name) for name in filled},
                "id": one.registration_id,
                "source": Source.HUBSPOT,
                "edited_fields": [],
                "ready": one.ready,
                "version": 1,
                "created_at": at,
                "updated_at": at,
                "updated_by": ACTOR,
            }
            for one in plan.created
        ],
    )
    connection.execute(
        insert(hubspot_mappings),
        [
            {
                "portal_id": portal_id,
                "deal_id": one.deal_id,
                "registration_id": one.registration_id,
                "state": MappingState.LIVE,
                "source_hash": one.source_hash,
                "modified_at": one.modified_at,
                "first_sync_id": sync_id,
                "last_sync_id": sync_id,
                "created_at": at,
                "read_at": at,
                "request_id": one.request_id or None,
                "defaulted": sorted(one.defaulted) or None,
            }
            for one in plan.created
        ],
    )
    arrived: list[tuple[UUID, str, Any]] = [
        (
            one.registration_id,
            "imported",
            {
                name: [None, value if type(value) is str else as_text(value)]
                for name, value in one.values.items()
                if value is not None
            },
        )
        for one in plan.created
    ]
    _record(connection, arrived, sync_id, at)


def _change(connection: Connection, plan: Plan, sync_id: UUID, at: datetime) -> None:
    rows = [
        {"of_id": one.registration_id, "new_ready": one.ready}
        | {f"new_{name}": value for name, value in one.after.items()}
        for one in plan.changed
    ]
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in plan.changed[0].after}
    connection.execute(
        update(deal_registrations)
        .where(_r.id == bindparam("of_id"))
        .values(**values, ready=bindparam("new_ready"), version=_r.version + 1, updated_at=at, updated_by=ACTOR),
        rows,
    )
    restored = [one.registration_id for one in plan.changed if one.restored]
    if restored:
        back = {"archived_at": None, "archived_by": None}
        connection.execute(update(deal_registrations).where(_r.id.in_(restored)).values(back))
    events: list[tuple[UUID, str, Any]] = [(who, "restored", {}) for who in restored]
    for one in plan.changed:
        if changed := changes(one.before, one.after):
            events.append((one.registration_id, "updated", changed))
    _record(connection, events, sync_id, at)


def _reread(connection: Connection, plan: Plan, portal_id: int, sync_id: UUID, at: datetime) -> None:
    rows = [
        {
            "of_deal": one.deal_id,
            "new_hash": one.source_hash,
            "new_modified_at": one.modified_at,
            "new_request_id": one.request_id or None,
            "new_held_back": dict(one.held_back) or None,
            "new_defaulted": sorted(one.defaulted) or None,
        }
        for one in plan.reread
    ]
    where_from = {"last_sync_id": sync_id, "read_at": at}
    connection.execute(_REREAD.where(_m.portal_id == portal_id).values(where_from), rows)


def _end(
    connection: Connection,
    portal_id: int,
    ended: Sequence[tuple[Known, str]],
    state: MappingState,
    sync_id: UUID,
    at: datetime,
) -> None:
    """End mappings, and put away those of their registrations that are not.

    :param ended: each with the id of the deal that took its deal up, or "".
    """
    for into in dict.fromkeys(survivor for _, survivor in ended):
        gone = [one.deal_id for one, survivor in ended if survivor == into]
        _set(connection, portal_id, gone, state=state, last_sync_id=sync_id, read_at=at, merged_into=into or None)
    away = [one.registration_id for one, _ in ended if not one.archived]
    for some in _parts(away):
        connection.execute(
            update(deal_registrations)
            .where(_r.id.in_(some))
            .values(archived_at=at, archived_by=ACTOR, version=_r.version + 1, updated_at=at, updated_by=ACTOR)
        )
    _record(connection, [(who, "archived", {}) for who in away], sync_id, at)


def _record(connection: Connection, events: Sequence[tuple[UUID, str, Any]], sync_id: UUID, at: datetime) -> None:
    if events:
        connection.execute(
            insert(deal_events),
            [
                {
                    "id": new_id(),
                    "registration_id": who,
                    "at": at,
                    "kind": kind,
                    "actor": ACTOR,
                    "changes": changed,
                    "sync_id": sync_id,
                }
                for who, kind, changed in events
            ],
        )


def _known(row: Row[Any], sync_id: UUID | None) -> Known:
    archived = row.archived_at is not None
    return Known(
        deal_id=row.deal_id,
        registration_id=row.registration_id,
        state=MappingState(row.state),
        source_hash=bytes(row.source_hash),
        modified_at=row.modified_at,
        made_at=row.created_at,
        edited=frozenset(row.edited_fields),
        values={name: row._mapping[name] for name in FIELD},
        held_back=row.held_back or {},
        defaulted=frozenset(row.defaulted or ()),
        archived=archived,
        # Archived before it was noted by whom: then by who has changed it last.
        put_away=archived and (row.archived_by or row.updated_by) == ACTOR,
        met=row.last_sync_id == sync_id,
    )


def _set(connection: Connection, portal_id: int, deal_ids: Sequence[str], **values: Any) -> None:
    for some in _parts(deal_ids):
        where = (_m.portal_id == portal_id, _m.deal_id.in_(some))
        connection.execute(update(hubspot_mappings).where(*where).values(**values))


def _parts(keys: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(keys), NAMED):
        yield keys[start : start + NAMED]
