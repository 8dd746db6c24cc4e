"""Mappings, and the registrations behind them: read for a page of HubSpot deals, and written as `domain.imports` plans.

A page is written with few statements whatever its size: rows go in batches, never one round trip for each deal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Update, bindparam, func, insert, select, update
from sqlalchemy.engine import Connection

from awssome.database.schema import deal_events, deal_registrations, hubspot_mappings, sync_issues
from awssome.database.tenant.deals import changes
from awssome.domain.deals import FIELD, Source
from awssome.domain.imports import DealIssue, Known, Plan
from awssome.domain.syncs import MappingState
from awssome.domain.times import new_id

ACTOR = "HubSpot"
"""Who changes a deal in the name of a sync."""

_m, _r = hubspot_mappings.c, deal_registrations.c


def known(connection: Connection, portal_id: int, deal_ids: Iterable[str]) -> dict[str, Known]:
    """The mappings of these deals with their registrations, by deal id. Holds the rows until the transaction ends."""
    query = (
        select(_m.deal_id, _m.registration_id, _m.state, _m.source_hash, *(_r[name] for name in FIELD))
        .add_columns(_r.edited_fields, _r.archived_at, _r.updated_by)
        .join_from(hubspot_mappings, deal_registrations, _r.id == _m.registration_id)
        .where(_m.portal_id == portal_id, _m.deal_id.in_(list(deal_ids)))
        .with_for_update()
        .with_hint(deal_registrations, "WITH (UPDLOCK)", "mssql")
    )
    return {row.deal_id: _known(row) for row in connection.execute(query)}


def unseen(connection: Connection, portal_id: int, sync_id: UUID, states: Sequence[MappingState]) -> list[str]:
    """Up to a hundred mapped deals in these states that the sync has not come across."""
    query = (
        select(_m.deal_id)
        .where(_m.portal_id == portal_id, _m.state.in_(states), _m.last_sync_id != sync_id)
        .order_by(_m.deal_id)
        .limit(100)
    )
    return list(connection.scalars(query))


def mapped(connection: Connection, portal_id: int, deal_ids: Iterable[str]) -> set[str]:
    """Which of these deals have a mapping."""
    query = select(_m.deal_id).where(_m.portal_id == portal_id, _m.deal_id.in_(list(deal_ids)))
    return set(connection.scalars(query))


def count_live(connection: Connection, portal_id: int) -> int:
    """How many deals of the HubSpot account are here: the X of "Imported X of Y deals"."""
    query = select(func.count()).select_from(hubspot_mappings)
    return connection.execute(query.where(_m.portal_id == portal_id, _m.state == MappingState.LIVE)).scalar_one()


def write(connection: Connection, plan: Plan, *, portal_id: int, sync_id: UUID, at: datetime) -> None:
    """Write everything that the plan holds, and report its issues under the sync."""
    for old, new in plan.renamed:
        _set(connection, portal_id, [old], deal_id=new)
    _end(connection, portal_id, plan.merged, MappingState.MERGED, sync_id, at)
    if plan.created:
        _create(connection, plan, portal_id, sync_id, at)
    if plan.changed:
        _change(connection, plan, at)
    if plan.reread:
        rows = [
            {"of_deal": one.deal_id, "new_hash": one.source_hash, "new_modified_at": one.modified_at}
            for one in plan.reread
        ]
        connection.execute(_REREAD.where(_m.portal_id == portal_id), rows)
    _set(connection, portal_id, plan.revived, state=MappingState.LIVE)
    _set(connection, portal_id, plan.touched, last_sync_id=sync_id)
    report(connection, sync_id, plan.issues)


def archive(connection: Connection, portal_id: int, deal_ids: Sequence[str], *, sync_id: UUID, at: datetime) -> int:
    """End the mappings of deals that were deleted in HubSpot and put their registrations away.

    :returns: how many were live until now.
    """
    mappings = known(connection, portal_id, deal_ids).values()
    live = [one for one in mappings if one.state is MappingState.LIVE]
    _end(connection, portal_id, live, MappingState.ARCHIVED, sync_id, at)
    _set(connection, portal_id, deal_ids, last_sync_id=sync_id)
    return len(live)


def touch(connection: Connection, portal_id: int, deal_ids: Sequence[str], *, sync_id: UUID) -> None:
    """Note that the sync has come across these deals."""
    _set(connection, portal_id, deal_ids, last_sync_id=sync_id)


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
                }
                for issue in issues
            ],
        )


_REREAD: Update = (
    update(hubspot_mappings)
    .where(_m.deal_id == bindparam("of_deal"))
    .values(source_hash=bindparam("new_hash"), modified_at=bindparam("new_modified_at"))
)


def _create(connection: Connection, plan: Plan, portal_id: int, sync_id: UUID, at: datetime) -> None:
    empty = dict.fromkeys(FIELD)
    connection.execute(
        insert(deal_registrations),
        [
            {
                **empty,
                **one.values,
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
            }
            for one in plan.created
        ],
    )
    _record(connection, [(one.registration_id, "imported", changes({}, one.values)) for one in plan.created], at)


def _change(connection: Connection, plan: Plan, at: datetime) -> None:
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
        connection.execute(update(deal_registrations).where(_r.id.in_(restored)).values(archived_at=None))
    events: list[tuple[UUID, str, Any]] = [(who, "restored", {}) for who in restored]
    for one in plan.changed:
        if changed := changes(one.before, one.after):
            events.append((one.registration_id, "updated", changed))
    _record(connection, events, at)


def _end(
    connection: Connection,
    portal_id: int,
    ended: Sequence[Known],
    state: MappingState,
    sync_id: UUID,
    at: datetime,
) -> None:
    """End mappings, and put away those of their registrations that are not."""
    _set(connection, portal_id, [one.deal_id for one in ended], state=state, last_sync_id=sync_id)
    gone = [one.registration_id for one in ended if not one.archived]
    if gone:
        connection.execute(
            update(deal_registrations)
            .where(_r.id.in_(gone))
            .values(archived_at=at, version=_r.version + 1, updated_at=at, updated_by=ACTOR)
        )
    _record(connection, [(who, "archived", {}) for who in gone], at)


def _record(connection: Connection, events: Sequence[tuple[UUID, str, Any]], at: datetime) -> None:
    if events:
        connection.execute(
            insert(deal_events),
            [
                {"id": new_id(), "registration_id": who, "at": at, "kind": kind, "actor": ACTOR, "changes": changed}
                for who, kind, changed in events
            ],
        )


def _known(row: Row[Any]) -> Known:
    archived = row.archived_at is not None
    return Known(
        deal_id=row.deal_id,
        registration_id=row.registration_id,
        state=MappingState(row.state),
        source_hash=bytes(row.source_hash),
        edited=frozenset(row.edited_fields),
        values={name: row._mapping[name] for name in FIELD},
        archived=archived,
        put_away=archived and row.updated_by == ACTOR,
    )


def _set(connection: Connection, portal_id: int, deal_ids: Sequence[str], **values: Any) -> None:
    if deal_ids:
        where = (_m.portal_id == portal_id, _m.deal_id.in_(deal_ids))
        connection.execute(update(hubspot_mappings).where(*where).values(**values))
