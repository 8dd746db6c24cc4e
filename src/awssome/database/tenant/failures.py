"""The inbox: deals that could not be imported, until somebody or a later sync is done with them.

`find` to `dismiss` are what people do with them, `unresolved` to `resolve` what syncs do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, case, func, insert, select, update
from sqlalchemy.engine import Connection

from awssome.database.schema import sync_failures
from awssome.domain.imports import DealIssue
from awssome.domain.syncs import FailureState
from awssome.domain.times import now

WAITING = (FailureState.OPEN, FailureState.RETRYING)
"""What somebody has to look at."""

UNRESOLVED = (*WAITING, FailureState.DISMISSED)

_f = sync_failures.c


@dataclass(frozen=True)
class Failure:
    """A deal that could not be imported.

    :ivar field: the registration's field that is at fault, or empty.
    :ivar value: what HubSpot has there.
    :ivar attempts: how many runs could not import it.
    """

    portal_id: int
    deal_id: str
    state: FailureState
    title: str
    code: str
    field: str
    value: str | None
    reason: str
    advice: str
    attempts: int
    registration_id: UUID | None
    first_sync_id: UUID
    last_sync_id: UUID
    first_at: datetime
    last_at: datetime
    resolved_at: datetime | None
    resolved_by: str | None


def find(
    connection: Connection, portal_id: int, states: Sequence[FailureState], *, limit: int = 50, offset: int = 0
) -> list[Failure]:
    """Those in these states, the latest first."""
    query = (
        select(*_FAILURE)
        .where(_f.portal_id == portal_id, _f.state.in_(states))
        .order_by(_f.last_at.desc(), _f.deal_id)
        .limit(limit)
        .offset(offset)
    )
    return [_failure(row) for row in connection.execute(query)]


def count(
    connection: Connection, portal_id: int, states: Sequence[FailureState] = tuple(FailureState)
) -> dict[FailureState, int]:
    """How many there are in each of these states."""
    query = select(_f.state, func.count()).where(_f.portal_id == portal_id, _f.state.in_(states)).group_by(_f.state)
    found = {FailureState(state): number for state, number in connection.execute(query)}
    return {state: found.get(state, 0) for state in states}


def try_again(connection: Connection, portal_id: int, deal_ids: Sequence[str] | None) -> int:
    """Mark those that the retry that waits is for.

    :param deal_ids: which, dismissed ones included; None: all that wait.
    :returns: how many.
    """
    states = WAITING if deal_ids is None else (*WAITING, FailureState.DISMISSED)
    query = (
        update(sync_failures).where(_f.portal_id == portal_id, _f.state.in_(states)).values(state=FailureState.RETRYING)
    )
    if deal_ids is not None:
        query = query.where(_f.deal_id.in_(list(deal_ids)))
    return connection.execute(query).rowcount


def to_retry(connection: Connection, portal_id: int, *, after: str, limit: int = 100) -> list[str]:
    """Deals that are to be tried again, by id. :param after: the last one of the batch before."""
    query = (
        select(_f.deal_id)
        .where(_f.portal_id == portal_id, _f.state == FailureState.RETRYING, _f.deal_id > after)
        .order_by(_f.deal_id)
        .limit(limit)
    )
    return list(connection.scalars(query))


def settle(connection: Connection, portal_id: int, deal_ids: Sequence[str], *, by: str) -> None:
    """Those of these that were tried and have not failed again are done with: they came in, are gone, or have no
    room."""
    done = {"state": FailureState.RESOLVED, "resolved_at": now(), "resolved_by": by}
    mine = (_f.portal_id == portal_id, _f.state == FailureState.RETRYING, _f.deal_id.in_(list(deal_ids)))
    connection.execute(update(sync_failures).where(*mine).values(done))


def reopen(connection: Connection, portal_id: int) -> None:
    """What is marked to be tried again, and no retry is there that would, waits as before."""
    mine = (_f.portal_id == portal_id, _f.state == FailureState.RETRYING)
    connection.execute(update(sync_failures).where(*mine).values(state=FailureState.OPEN))


def dismiss(connection: Connection, portal_id: int, deal_ids: Sequence[str], by: str) -> int:
    """Nobody wants to be told of these any more, as long as they fail for the same reason."""
    query = (
        update(sync_failures)
        .where(_f.portal_id == portal_id, _f.deal_id.in_(list(deal_ids)), _f.state.in_(WAITING))
        .values(state=FailureState.DISMISSED, resolved_at=now(), resolved_by=by)
    )
    return connection.execute(query).rowcount


_FAILURE = [sync_failures.c[each.name] for each in fields(Failure)]


def unresolved(connection: Connection, portal_id: int) -> set[str]:
    """The deals of the account that could not be imported when they were tried last, the dismissed ones included."""
    query = select(_f.deal_id).where(_f.portal_id == portal_id, _f.state.in_(UNRESOLVED))
    return set(connection.scalars(query))


def note(connection: Connection, portal_id: int, sync_id: UUID, failed: Sequence[DealIssue], at: datetime) -> None:
    """These deals could not be imported. One that a user has dismissed stays so while the reason is the same."""
    for issue in {one.deal_id: one for one in failed}.values():
        told: dict[str, Any] = {
            "title": issue.title,
            "code": issue.code,
            "field": issue.field,
            "value": issue.value or None,
            "reason": issue.reason,
            "advice": issue.advice,
            "registration_id": issue.registration_id,
            "last_sync_id": sync_id,
            "last_at": at,
        }
        dismissed = (_f.state == FailureState.DISMISSED) & (_f.reason == issue.reason)
        again = (
            update(sync_failures)
            .where(_f.portal_id == portal_id, _f.deal_id == issue.deal_id)
            .values(
                **told,
                state=case((dismissed, FailureState.DISMISSED), else_=FailureState.OPEN),
                attempts=_f.attempts + 1,
                resolved_at=None,
                resolved_by=case((dismissed, _f.resolved_by), else_=None),
            )
        )
        if connection.execute(again).rowcount == 0:
            connection.execute(
                insert(sync_failures).values(
                    **told,
                    portal_id=portal_id,
                    deal_id=issue.deal_id,
                    state=FailureState.OPEN,
                    attempts=1,
                    first_sync_id=sync_id,
                    first_at=at,
                )
            )


def resolve(connection: Connection, portal_id: int, deal_ids: Iterable[str], *, by: str, at: datetime) -> None:
    """These deals could be imported, or are gone."""
    mine = (_f.portal_id == portal_id, _f.deal_id.in_(list(deal_ids)), _f.state.in_(UNRESOLVED))
    done = {"state": FailureState.RESOLVED, "resolved_at": at, "resolved_by": by}
    connection.execute(update(sync_failures).where(*mine).values(done))


def _failure(row: Row[tuple[object, ...]]) -> Failure:
    return Failure(**{**row._mapping, "state": FailureState(row.state)})
