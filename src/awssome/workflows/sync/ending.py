"""How an attempt at a sync ends before the sync is done: it waits for something that passes, or fails for good."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog

from awssome.database import Connection
from awssome.database.tenant import syncs
from awssome.database.tenant.syncs import Sync
from awssome.domain.errors import Code, Refused
from awssome.domain.syncs import Superseded
from awssome.domain.times import now
from awssome.hubspot.errors import HubSpotError
from awssome.workflows.workspace import Workspace

STUMBLES = 12
"""A sync that as many attempts ended by a defect fails; interruptions and outages never count."""

PATIENCE = timedelta(hours=24)
"""A sync that has not come any further for so long fails: HubSpot moves accounts for up to a day."""

_log = structlog.get_logger(__name__)

_DEFECT = "The sync stopped because of a defect in Awssome. What came in until then is here and safe."
_AGAIN = "Sync again. If it stops again, ask support."

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=30), timedelta(minutes=15)


class NotNow(Refused):
    """The sync has to wait, or another worker is on it: the job is to be tried again."""

    def __init__(self, message: str = "The sync goes on in a moment.", seconds: float = 2) -> None:
        super().__init__(Code.UNAVAILABLE, message, retry_after=seconds)


class Parked(NotNow):
    """The sync waits until a moment, on purpose. :ivar until: when the job is to be tried again."""

    def __init__(self, until: datetime) -> None:
        seconds = max(1.0, (until - now()).total_seconds())
        super().__init__(f"The sync waits until {until:%H:%M:%S} UTC.", seconds)
        self.until = until


def park(workspace: Workspace, sync: Sync, error: Refused, spent: Mapping[str, int]) -> None:
    """Something is in the way that passes by itself: the sync waits, longer each time, and fails after a day.

    :param spent: columns of the sync that count requests to HubSpot.
    :raises Parked: unless it fails.
    :raises NotNow: when another attempt has it by now, or our database does not answer.
    """
    until = None

    def work(connection: Connection) -> None:
        nonlocal until
        at, row = now(), syncs.find(connection, sync.id)
        position = dict(row.position) if row else {}
        since, times = _stuck(position.get("stuck"), at)
        if at - since > PATIENCE:
            message = f"{error.message} It has been so for a day, and the sync has stopped waiting."
            syncs.fail(connection, sync, message, "Sync again later. No deal comes in twice.", **spent)
            return
        until = _pause(error, times, at)
        position["stuck"] = {"since": since.isoformat(), "times": times + 1}
        syncs.park(connection, sync, until, error.message, "The sync goes on by itself.", position=position, **spent)

    _or_later(workspace, sync, work)
    if until is not None:
        raise Parked(until)


def fail(workspace: Workspace, sync: Sync, error: Refused, spent: Mapping[str, int]) -> None:
    """The sync ends without being done; what came in stays.

    :raises NotNow: when another attempt has it by now, or our database does not answer.
    """
    _or_later(workspace, sync, lambda connection: syncs.fail(connection, sync, error.message, error.advice, **spent))


def stumble(workspace: Workspace, sync: Sync, spent: Mapping[str, int]) -> None:
    """A defect has ended the attempt. It may be one that passes, so that is tried a few times, and then no more.

    Called while the defect is handled: it is logged with its trace, under a reference that the sync shows.

    :raises NotNow: when another attempt has it by now, or our database does not answer.
    """

    reference = secrets.token_hex(8)
    _log.exception("sync.stumbled", reference=reference, sync=str(sync.id))

    def work(connection: Connection) -> None:
        syncs.progress(connection, sync, **syncs.added(stumbles=1), reference=reference, **spent)
        if sync.stumbles + 1 >= STUMBLES:
            syncs.fail(connection, sync, _DEFECT, _AGAIN)

    _or_later(workspace, sync, work)


def leave(workspace: Workspace, sync: Sync, spent: Mapping[str, int]) -> None:
    """The attempt was interrupted; what it has spent is noted. :raises NotNow: always."""
    _or_later(workspace, sync, lambda connection: syncs.progress(connection, sync, **spent))
    raise NotNow


def give_up(workspace: Workspace, sync_id: UUID) -> None:
    """The row of the sync cannot be gone on with: the sync fails now, because it would be tried for ever.

    Called while the error is handled that says so: it is logged.

    :raises NotNow: when our database does not answer.
    """
    _log.exception("sync.given_up", sync=str(sync_id))
    try:
        workspace.do(lambda connection: syncs.abandon(connection, sync_id, _DEFECT, _AGAIN))
    except Refused:
        raise NotNow from None


def _or_later(workspace: Workspace, sync: Sync, work: Any) -> None:
    try:
        workspace.do(work)
    except (Superseded, Refused):
        raise NotNow from None
    except Exception:  # what was to be written, or lies there, cannot be: no attempt would ever come further
        give_up(workspace, sync.id)


def _stuck(kept: Any, at: datetime) -> tuple[datetime, int]:
    """Since when the sync has not come any further, and how often it has waited; what lies there may be anything."""
    try:
        since, times = datetime.fromisoformat(kept["since"]), int(kept["times"])
    except (ArithmeticError, KeyError, TypeError, ValueError):
        return at, 0
    return (min(since, at), max(times, 0)) if since.tzinfo else (at, 0)


def _pause(error: Refused, times: int, at: datetime) -> datetime:
    """When to go on: after a pause that doubles, and not before HubSpot says."""
    told = error.until if isinstance(error, HubSpotError) else None
    ours = at + min(FIRST_PAUSE * (1 << min(times, 10)), LONGEST_PAUSE)
    return max(told, ours) if told else ours
