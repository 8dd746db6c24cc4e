"""Pages of deals, written with their counts and the run's position in one transaction each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from awssome.database import Connection
from awssome.database.tenant import hubspot as stored
from awssome.database.tenant import imports, syncs
from awssome.domain.imports import DealIssue, Plan, SourceDeal, plan
from awssome.domain.times import now
from awssome.workflows.sync.running import Run


def write(run: Run, deals: list[SourceDeal], *, limit: int | None = None, **position: Any) -> None:
    """One page: deals, counts and position in one transaction.

    :param limit: how many mappings may ever be made; None: any number.
    :param position: columns of the sync that say where it goes on.
    """

    def work(connection: Connection) -> None:
        syncs.hold(connection, run.sync)
        room = None
        if limit is not None:
            stored.lock(connection)
            room = max(0, limit - stored.imports(connection))
        made = _apply(run, connection, deals, room)
        if made.created:
            stored.add_imports(connection, len(made.created))
        counts = syncs.added(
            seen=len(deals) - len(made.no_room),
            created=len(made.created),
            updated=made.updated,
            unchanged=made.unchanged,
            failed=made.failed,
            imported=made.gained,
        )
        syncs.progress(connection, run.sync, **counts, **position, calls=run.calls)

    run.workspace.do(work)


def settle(
    run: Run,
    deals: list[SourceDeal],
    *,
    missing: list[str],
    untold: Sequence[DealIssue],
    asked: list[str],
) -> None:
    """What HubSpot said of deals that it was asked for by id: some changed, some are gone, some it said nothing of."""

    def work(connection: Connection) -> None:
        syncs.hold(connection, run.sync)
        made = _apply(run, connection, deals, room=0)
        gone = imports.archive(connection, run.portal_id, missing, sync_id=run.sync.id, at=now())
        imports.report(connection, run.sync.id, untold)
        imports.touch(connection, run.portal_id, asked, sync_id=run.sync.id)
        counts = syncs.added(
            seen=len(deals) + len(untold),
            updated=made.updated + gone,
            unchanged=made.unchanged,
            failed=made.failed + len(untold),
            imported=made.gained - gone,
        )
        syncs.progress(connection, run.sync, **counts, calls=run.calls)

    run.workspace.do(work)


def _apply(run: Run, connection: Connection, deals: list[SourceDeal], room: int | None) -> Plan:
    at = now()
    ids = {deal.id for deal in deals} | {old for deal in deals for old in deal.merged_ids}
    known = imports.known(connection, run.portal_id, ids)
    made = plan(deals, known, run.mapping, room, at.date())
    imports.write(connection, made, portal_id=run.portal_id, sync_id=run.sync.id, at=at)
    return made
