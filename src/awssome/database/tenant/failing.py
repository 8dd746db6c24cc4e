"""Deals that a sync could not import: one row each in `sync_failures`, until one can, or the deal is gone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import case, insert, select, update
from sqlalchemy.engine import Connection

from awssome.database.schema import sync_failures
from awssome.domain.imports import DealIssue
from awssome.domain.syncs import FailureState

UNRESOLVED = (FailureState.OPEN, FailureState.RETRYING, FailureState.DISMISSED)

_f = sync_failures.c


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
