"""One attempt at a sync: taken up, counted, finished."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from awssome.database import Connection
from awssome.database.tenant import failures, imports, mappings, syncs, watermarks
from awssome.database.tenant import hubspot as stored
from awssome.database.tenant.syncs import Sync
from awssome.domain.imports import DealIssue
from awssome.domain.mapping import Mapping
from awssome.domain.syncs import IssueKind, SyncKind, SyncMode
from awssome.domain.times import now
from awssome.hubspot.transport import Patience
from awssome.workflows import hubspot_definitions
from awssome.workflows.hubspot_access import HubSpotAccess
from awssome.workflows.hubspot_calls import client_of
from awssome.workflows.services import Services
from awssome.workflows.sync.reading import MERGED_IDS
from awssome.workflows.workspace import Workspace

KEPT = 200
KEPT_FOR = timedelta(days=90)
"""How many syncs are kept with what they had to tell, and for how long."""

_FORGETTING = 20
"""Small transactions that one sync spends on deleting what old ones had to tell."""


class Run:
    """One attempt, with its client. A context: the client's thread ends with it.

    :ivar mapping: how deals become registrations; there once it was entered.
    :ivar failing: deals that could not be imported when they were tried last; there once it was entered.
    :ivar position: how far the sync has come.
    :ivar stopping: set when a page that is being fetched ahead is no longer wanted.
    """

    mapping: Mapping
    failing: set[str]

    def __init__(
        self,
        services: Services,
        workspace: Workspace,
        access: HubSpotAccess,
        sync: Sync,
        should_abort: Callable[[], bool],
        patience: Patience,
    ) -> None:
        self.workspace = workspace
        self.sync = sync
        self.portal_id = access.portal_id
        self.position = {name: value for name, value in sync.position.items() if name != "stuck"}
        self.stopping = threading.Event()
        self.client = client_of(
            services, access, should_stop=lambda: self.stopping.is_set() or should_abort(), patience=patience
        )

    def __enter__(self) -> Self:
        self.client.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.__exit__(kind, error, trace)

    def prepare(self) -> None:
        """Find out what has to be known before deals are read. :raises HubSpotError: what the client raises."""
        hubspot_definitions.keep_fresh(self.client, self.workspace, self.portal_id)

        def work(connection: Connection) -> tuple[Mapping, set[str]]:
            mapping = mappings.load(connection, self.portal_id)
            if self.sync.kind is not SyncKind.PREVIEW:
                watermarks.doubt(connection, self.portal_id, mapping.digest)
            return mapping, failures.unresolved(connection, self.portal_id)

        self.mapping, self.failing = self.workspace.do(work)

    @property
    def properties(self) -> tuple[str, ...]:
        """The properties that are asked for with every deal."""
        return (*self.mapping.properties, MERGED_IDS)

    @property
    def spent(self) -> dict[str, int]:
        """Requests made to HubSpot by all attempts, as far as they are known."""
        return {
            "calls": self.sync.calls + self.client.calls,
            "retried": self.sync.retried + self.client.failed,
            "rate_limited": self.sync.rate_limited + self.client.rate_limited,
        }

    def note(self, **columns: Any) -> None:
        """Set columns of the sync. :raises Superseded: see there."""

        def work(connection: Connection) -> Sync | None:
            syncs.progress(connection, self.sync, **columns, **self.spent)
            return syncs.find(connection, self.sync.id)

        calls, retried, rate_limited = self.sync.calls, self.sync.retried, self.sync.rate_limited
        found = self.workspace.do(work)
        if found is not None:
            self.sync = replace(found, calls=calls, retried=retried, rate_limited=rate_limited)
        self.position = columns.get("position", self.position)

    def finish(
        self,
        available: int,
        changed_until: datetime | None = None,
        *,
        beyond: int = 0,
        told: Sequence[DealIssue] = (),
    ) -> None:
        """The sync is done.

        :param available: how many deals HubSpot has.
        :param changed_until: no change in HubSpot before this moment is missing; None: nothing is known of that.
        :param beyond: how many deals HubSpot counts that are not here.
        :param told: why deals stay in HubSpot.
        """

        def work(connection: Connection) -> None:
            imports.follow(connection, self.portal_id, self.sync.deal_limit)  # what was deleted may have come back
            here = imports.count_live(connection, self.portal_id)
            there = max(here, available)
            left_out = {}
            if self.sync.deal_limit is not None:
                left_out = {"left_out": there - here}
                imports.report(connection, self.sync.id, told)
                if there > here:
                    kept = imports.count_unfollowed(connection)
                    line = _no_room(there - here, there, self.sync.deal_limit, kept)
                    imports.report(connection, self.sync.id, [line])
            if self.sync.mode is SyncMode.FULL:
                full = {"full_at": self.sync.started_at, "mapping_hash": self.sync.mapping_hash}
                watermarks.advance(connection, self.portal_id, changed_until, beyond=beyond, **full)
            elif self.sync.mode is SyncMode.INCREMENTAL:
                watermarks.advance(connection, self.portal_id, changed_until, beyond=beyond)
            syncs.finish(connection, self.sync, available=there, imported=here, **left_out, **self.spent)

        self.workspace.do(work)
        for _ in range(_FORGETTING):
            if not self.workspace.do(
                lambda connection: syncs.forget_old(connection, before=now() - KEPT_FOR, keep=KEPT)
            ):
                break


def claim(connection: Connection, sync_id: UUID, deal_limit: int | None) -> Sync | None:
    """Take the sync up; None when it has ended. See `syncs.claim`, `imports.follow`. :raises Meaningless: see there."""
    with syncs.reading():
        known = stored.connection(connection)
        portal_id = known.portal_id if known else None
        if portal_id is not None:
            imports.follow(connection, portal_id, deal_limit)
        here = imports.count_live(connection, portal_id) if portal_id is not None else 0
        return syncs.claim(connection, sync_id, deal_limit=deal_limit, imported=here, portal_id=portal_id)


def _no_room(left_out: int, available: int, limit: int, kept: int) -> DealIssue:
    told = f"{left_out:,} of {available:,} deals were left out: the free tier imports {limit} deals."
    if kept:
        told += f" {kept:,} that came in before stay here as they are, and no longer follow HubSpot."
    return DealIssue(
        kind=IssueKind.LEFT_OUT,
        deal_id="",
        registration_id=None,
        title="Free tier",
        field="",
        reason=told,
        advice="Upgrade to import all of them.",
    )
