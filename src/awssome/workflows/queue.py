"""Enqueuing jobs, inside the transaction of the change that they are about.

Queues have workers of their own, so that a long move never delays a sign-up. `lock` only orders jobs; what excludes a
frozen worker that wakes up are the run and mover numbers.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from procrastinate import App, SyncPsycopgConnector

from awssome.database import Connection
from awssome.database.registry import driver_connection, jobs

SIGN_UP, SYNC, MOVE, ARCHIVE, SWEEP, WATCH = "sign-up", "sync", "move", "archive", "sweep", "watch"

QUEUES: dict[str, int] = {SIGN_UP: 4, SYNC: 4, MOVE: 2, ARCHIVE: 2, SWEEP: 1, WATCH: 2}
"""Queue -> jobs at a time in one worker process."""


BULK = -1
"""Priority of work on all tenants at once: whatever else waits in its queue goes first."""


class Queue:
    """Enqueues by name: processes that only enqueue need not know the tasks."""

    def __init__(self) -> None:
        # The connector is never opened: every job goes through the caller's own connection.
        self._app = App(connector=SyncPsycopgConnector())

    def provision(self, connection: Connection, tenant_id: UUID) -> None:
        """Make the tenant's workspace."""
        self._defer(connection, SIGN_UP, "provision", f"tenant:{tenant_id}", tenant_id=str(tenant_id))

    def send_link(self, connection: Connection, account_id: UUID, tenant_id: UUID | None, purpose: str) -> None:
        """Mail a link; the worker makes it, so that no token lies in the queue."""
        tenant = str(tenant_id) if tenant_id else None
        self._defer(
            connection, SIGN_UP, "send_link", None, account_id=str(account_id), tenant_id=tenant, purpose=purpose
        )

    def sync(self, connection: Connection, tenant_id: UUID, sync_id: UUID) -> None:
        """Carry on a sync; nothing if that is under way already. One that waits for something goes on now."""
        # Not the lock alone: the job of a sync that has just ended does nothing for the next one.
        lock = f"sync:{tenant_id}"
        jobs.hurry(connection, lock)
        if not jobs.is_under_way(connection, lock, sync_id=str(sync_id)):
            self._defer(connection, SYNC, "sync", lock, tenant_id=str(tenant_id), sync_id=str(sync_id))

    def keep_to_plan(self, connection: Connection, tenant_id: UUID) -> None:
        """Have the tenant's syncs keep to the tier that it has now."""
        self._defer(connection, SYNC, "keep_to_plan", f"plan:{tenant_id}", tenant_id=str(tenant_id))

    def move(self, connection: Connection, move_id: UUID) -> None:
        """Carry on a move; one that waits for something looks at once whether it is there."""
        lock = f"move:{move_id}"
        jobs.hurry(connection, lock)
        self._defer(connection, MOVE, "move", lock, move_id=str(move_id))

    def export(self, connection: Connection, archive_id: UUID) -> None:
        """Make an archive that is requested."""
        self._defer(connection, ARCHIVE, "export", f"archive:{archive_id}", archive_id=str(archive_id))

    def expire(self, connection: Connection, archive_id: UUID) -> None:
        """Delete the file of an archive that has been kept long enough; nothing if that is about to be done."""
        lock = f"archive:{archive_id}"
        if not jobs.waits(connection, lock):
            self._defer(connection, ARCHIVE, "expire", lock, archive_id=str(archive_id))

    def restore(self, connection: Connection, restore_id: UUID) -> None:
        """Carry on a restore."""
        self._defer(connection, ARCHIVE, "restore", f"restore:{restore_id}", restore_id=str(restore_id))

    def drop_restored(self, connection: Connection, restore_id: UUID) -> None:
        """Drop what a restore has left and what has been kept long enough; nothing if that is about to be done."""
        lock = f"restore:{restore_id}"
        if not jobs.waits(connection, lock):
            self._defer(connection, ARCHIVE, "drop_restored", lock, restore_id=str(restore_id))

    def check_server(self, connection: Connection, server_id: UUID) -> None:
        """Check a new server, and open it."""
        self._defer(connection, SIGN_UP, "check_server", f"server:{server_id}", server_id=str(server_id))

    def set_login(self, connection: Connection, tenant_id: UUID) -> None:
        """Open or close the tenant's database login, as the tenant's state says."""
        self._defer(connection, SIGN_UP, "set_login", f"tenant:{tenant_id}", tenant_id=str(tenant_id))

    def mail_alerts(self, connection: Connection, alert_ids: list[UUID]) -> None:
        """Tell the operators of alerts, by one mail."""
        self._defer(connection, WATCH, "mail_alerts", None, alert_ids=[str(alert_id) for alert_id in alert_ids])

    def rotate(self, connection: Connection, placement_id: UUID, version: int, *, in_bulk: bool = False) -> None:
        """Give the placement's login the password of this version. :param in_bulk: whatever else waits goes first."""
        lock, priority = f"secret:{placement_id}", BULK if in_bulk else 0
        self._defer(
            connection, SWEEP, "rotate", lock, priority=priority, placement_id=str(placement_id), version=version
        )

    def rotate_data_key(self, connection: Connection, tenant_id: UUID, *, renew: bool) -> None:
        """Have the tenant's data key wrapped by what wraps now, behind all other work. :param renew: another key."""
        lock = f"data key:{tenant_id}"
        self._defer(connection, SWEEP, "rotate_data_key", lock, priority=BULK, tenant_id=str(tenant_id), renew=renew)

    def end_sessions(self, connection: Connection, placement_id: UUID, wait: timedelta) -> None:
        """End the sessions of the placement's login, after a while."""
        self._defer(connection, SWEEP, "end_sessions", None, wait=wait, placement_id=str(placement_id))

    def close_workspace(self, connection: Connection, tenant_id: UUID) -> None:
        """Close the workspace of a tenant that goes, and have it emptied then."""
        self._defer(connection, SIGN_UP, "close_workspace", f"tenant:{tenant_id}", tenant_id=str(tenant_id))

    def empty_workspace(self, connection: Connection, tenant_id: UUID) -> None:
        """Export and drop the workspace of a tenant that goes."""
        self._defer(connection, ARCHIVE, "empty_workspace", f"tenant:{tenant_id}", tenant_id=str(tenant_id))

    def reopen_workspace(self, connection: Connection, tenant_id: UUID) -> None:
        """Open the workspace of a tenant that has come back."""
        self._defer(connection, SIGN_UP, "reopen_workspace", f"reopen:{tenant_id}", tenant_id=str(tenant_id))

    def discard(self, connection: Connection, placement_id: UUID) -> None:
        """Drop what a placement that nobody lives on left on its server."""
        self._defer(connection, SIGN_UP, "discard", f"placement:{placement_id}", placement_id=str(placement_id))

    def drain(self, connection: Connection, server_id: UUID) -> None:
        """Start the next moves off a server that is being drained; nothing if that is about to be done."""
        lock, server = f"drain:{server_id}", str(server_id)
        if not jobs.waits(connection, lock):
            self._defer(connection, SWEEP, "drain", lock, server_id=server)

    def reseal(self, connection: Connection) -> None:
        """Seal what the registry keeps under the present secret key."""
        self._defer(connection, SWEEP, "reseal", "reseal")

    def _defer(
        self,
        connection: Connection,
        queue: str,
        task: str,
        lock: str | None,
        *,
        priority: int = 0,
        wait: timedelta | None = None,
        **arguments: Any,
    ) -> None:
        self._app.configure_task(
            f"awssome.{task}",
            queue=queue,
            lock=lock,
            priority=priority,
            schedule_in={"seconds": wait.total_seconds()} if wait else None,
            connection=driver_connection(connection),
        ).defer(**arguments)
