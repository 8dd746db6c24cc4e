"""One attempt at a sync: taken up, counted, finished or failed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from awssome.database import Connection
from awssome.database.tenant import hubspot as stored
from awssome.database.tenant import imports, mappings, syncs
from awssome.database.tenant.syncs import Sync
from awssome.domain.errors import Code, Refused
from awssome.domain.imports import DealIssue
from awssome.domain.mapping import Mapping
from awssome.domain.syncs import IssueKind, Superseded
from awssome.hubspot.errors import HubSpotDown
from awssome.hubspot.transport import Patience
from awssome.workflows import hubspot_definitions
from awssome.workflows.hubspot_access import HubSpotAccess
from awssome.workflows.hubspot_calls import client_of
from awssome.workflows.services import Services
from awssome.workflows.sync.reading import MERGED_IDS
from awssome.workflows.workspace import Workspace

ATTEMPTS = 12
"""A sync that still meets an error at this attempt fails; interruptions alone never make it fail."""


class NotNow(Refused):
    """The sync has to wait, or another worker is on it: the job is to be tried again."""

    def __init__(self) -> None:
        super().__init__(Code.UNAVAILABLE, "The sync goes on in a moment.", retry_after=2)


class Run:
    """One attempt, with its client. A context: the client's thread ends with it.

    :ivar mapping: how deals become registrations; there from `know_the_account` on.
    :ivar stopping: set when a page that is being fetched ahead is no longer wanted.
    """

    mapping: Mapping

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

    def know_the_account(self) -> None:
        """Read the tenant's mapping, and before that what the HubSpot account defines, where that is not known."""
        hubspot_definitions.keep_fresh(self.client, self.workspace, self.portal_id)
        self.mapping = self.workspace.do(lambda connection: mappings.load(connection, self.portal_id))

    @property
    def properties(self) -> tuple[str, ...]:
        """The properties that are asked for with every deal."""
        return (*self.mapping.properties, MERGED_IDS)

    @property
    def calls(self) -> int:
        """Requests made to HubSpot by all attempts, as far as they are known."""
        return self.sync.calls + self.client.calls

    def note(self, **values: Any) -> None:
        """Set columns of the sync. :raises Superseded: see there."""
        self.workspace.do(lambda connection: syncs.progress(connection, self.sync, **values, calls=self.calls))

    def finish(self, available: int | None) -> None:
        """The sync is done.

        :param available: what HubSpot has; None: what was listed, which is exact where a search lags behind.
        """

        def work(connection: Connection) -> None:
            syncs.hold(connection, self.sync)
            here = imports.count_live(connection, self.portal_id)
            seen = syncs.find(connection, self.sync.id)
            there = max(here, available if available is not None else seen.seen if seen else 0)
            left_out = there - here if self.sync.deal_limit is not None else 0
            if left_out and self.sync.deal_limit is not None:
                imports.report(connection, self.sync.id, [_no_room(left_out, there, self.sync.deal_limit)])
            syncs.finish(connection, self.sync, available=there, imported=here, left_out=left_out, calls=self.calls)

        self.workspace.do(work)


def claim(connection: Connection, sync_id: UUID, deal_limit: int | None) -> Sync | None:
    """Take the sync up; None when it has ended. See `syncs.claim`."""
    known = stored.connection(connection)
    here = imports.count_live(connection, known.portal_id) if known else 0
    return syncs.claim(connection, sync_id, deal_limit=deal_limit, imported=here)


def fail(workspace: Workspace, sync: Sync, error: Refused) -> None:
    """The sync ends without being done; what came in stays.

    :raises NotNow: when another attempt has it by now.
    """

    def work(connection: Connection) -> None:
        syncs.hold(connection, sync)
        message, advice = error.message, error.advice
        so_far = syncs.find(connection, sync.id)
        if isinstance(error, HubSpotDown) and so_far is not None and so_far.created + so_far.updated:
            message = "HubSpot stopped answering. What came in until then is here and safe."
            advice = "Sync again in a few minutes. No deal comes in twice."
        syncs.fail(connection, sync, message, advice)

    try:
        workspace.do(work)
    except Superseded:
        raise NotNow from None


def _no_room(left_out: int, available: int, limit: int) -> DealIssue:
    return DealIssue(
        kind=IssueKind.LEFT_OUT,
        deal_id="",
        registration_id=None,
        title="Free tier",
        field="",
        reason=f"{left_out:,} of {available:,} deals were left out: the free tier imports {limit} deals.",
        advice="Upgrade to import all of them.",
    )
