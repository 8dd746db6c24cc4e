"""A tenant's data as a job sees it: transactions that follow the tenant from server to server."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from awssome.database import Connection
from awssome.database.registry import placements
from awssome.database.troubles import Denied, Unsure
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import Placement
from awssome.workflows import refusals
from awssome.workflows.services import Services

T = TypeVar("T")


class Workspace:
    """Transactions in one tenant's schema, wherever it is by now. Threads may share it.

    :param patience: seconds to wait for a move's cut-over before giving up.
    :param should_stop: ends the waiting early.
    """

    def __init__(
        self,
        services: Services,
        tenant_id: UUID,
        *,
        patience: float = 20.0,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._services = services
        self.tenant_id = tenant_id
        self._patience = patience
        self._should_stop = should_stop
        self._placement: Placement | None = None

    def do(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction; from the start again, where the tenant is by then, when a fence refuses it.

        :raises Refused: FENCED when writes stay paused; UNAVAILABLE when the database does not answer; `Unsure` when
            it went away under the COMMIT of a change; what `work` raises.
        """
        give_up = time.monotonic() + self._patience
        pause = 0.02
        while True:
            placement = self._placement or self._look_up()
            try:
                with self._services.sessions.open(placement) as connection:
                    return work(connection)
            except Unsure:
                raise
            except Refused as refused:
                if refused.code not in (Code.FENCED, Code.UNAVAILABLE) or time.monotonic() >= give_up:
                    if isinstance(refused, Denied):
                        refusals.tell(self._services, self.tenant_id, placement.login)
                    raise
                # A closed login looks like a server that does not answer: only another placement is worth a try then.
                moved = self._look_up() != placement
                if not moved and (refused.code is Code.UNAVAILABLE or self._should_stop()):
                    raise
            self._services.sessions.forget(placement)
            if not moved:
                time.sleep(pause)
                pause = min(pause * 2, 0.5)

    def _look_up(self) -> Placement:
        with self._services.registry.begin() as connection:
            self._placement = placements.current(connection, self._services.keys, self.tenant_id)
        return self._placement
