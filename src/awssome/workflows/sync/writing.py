"""Pages of deals, written with their counts and the run's position in one transaction each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from awssome.database import Connection
from awssome.database.tenant import failures, imports, syncs
from awssome.database.tenant import hubspot as stored
from awssome.database.tenant.imports import Unwritable
from awssome.domain.deals import FIELD, as_text
from awssome.domain.imports import DealIssue, Plan, SourceDeal, joined, plan, unwritable
from awssome.domain.times import now
from awssome.workflows.sync.reading import Answer
from awssome.workflows.sync.running import Run

_REFUSED = "The database does not take this deal."


def write(
    run: Run,
    deals: Sequence[SourceDeal],
    *,
    failed: Sequence[DealIssue] = (),
    limit: int | None = None,
    position: dict[str, Any] | None = None,
    **columns: Any,
) -> None:
    """One page: deals, counts and position in one transaction.

    :param failed: deals of the page that HubSpot's answer could not be read of.
    :param limit: how many mappings may ever be made; None: any number.
    :param position: where the run goes on; None: it stays as it was.
    :param columns: of the sync.
    """
    answer = Answer(list(deals), list(failed), [])

    def work(connection: Connection, careful: bool) -> None:
        room = None
        if limit is not None:
            stored.lock(connection)
            room = max(0, limit - stored.imports(connection))
        made = _apply(run, connection, answer, room, careful=careful)
        _progress(run, connection, _counts(made), position, columns)

    _done(run, work, position)


def settle(
    run: Run,
    answer: Answer,
    *,
    room: int | None,
    asked: Sequence[str] = (),
    unchanged: Sequence[str] = (),
    position: dict[str, Any] | None = None,
) -> None:
    """What HubSpot said of deals that it was asked for by id: some changed, some are gone, some it said nothing of.

    :param room: how many mappings may be made; None: any number.
    :param asked: mapped deals that the sync has come across with this.
    :param unchanged: further mapped deals that it has come across, and had no need to ask for.
    :param position: where the run goes on; None: it stays as it was.
    """

    def work(connection: Connection, careful: bool) -> None:
        made = _apply(run, connection, answer, room, careful=careful)
        gone = imports.archive(connection, run.portal_id, answer.missing, sync_id=run.sync.id, at=now())
        _resolve(run, connection, answer.missing)
        told = {*made.touched, *answer.missing}
        imports.touch(connection, run.portal_id, [one for one in asked if one not in told], sync_id=run.sync.id)
        first_met = imports.touch(connection, run.portal_id, unchanged, sync_id=run.sync.id)
        _progress(run, connection, _counts(made, gone=gone, unchanged=first_met), position, {})

    _done(run, work, position)


def put_away(run: Run, deal_ids: Sequence[str], position: dict[str, Any]) -> None:
    """Deals that HubSpot names as deleted."""

    def work(connection: Connection, careful: bool) -> None:
        gone = imports.archive(connection, run.portal_id, deal_ids, sync_id=run.sync.id, at=now())
        _resolve(run, connection, deal_ids)
        _progress(run, connection, _counts(Plan(), gone=gone), position, {})

    _done(run, work, position)


def planned(run: Run, connection: Connection, deals: Sequence[SourceDeal], room: int | None, at: datetime) -> Plan:
    """What writing these deals would do."""
    ids = {deal.id for deal in deals} | {old for deal in deals for old in deal.merged_ids}
    known = imports.known(connection, run.portal_id, ids, run.sync.id)
    return plan(deals, known, run.mapping, room, at.date())


def _done(run: Run, work: Any, position: dict[str, Any] | None) -> None:
    try:
        run.workspace.do(lambda connection: work(connection, False))
    except Unwritable:
        run.workspace.do(lambda connection: work(connection, True))
    if position is not None:
        run.position = position


def _progress(
    run: Run, connection: Connection, counts: dict[str, int], position: dict[str, Any] | None, columns: dict[str, Any]
) -> None:
    """At the end of the transaction: another attempt undoes it, and none waits for this one meanwhile."""
    where = {} if position is None else {"position": position}
    syncs.progress(connection, run.sync, **syncs.added(**counts), **columns, **where, **run.spent)


def _apply(
    run: Run,
    connection: Connection,
    answer: Answer,
    room: int | None,
    *,
    careful: bool,
) -> Plan:
    """Plan and write. :param careful: each deal in a savepoint of its own, so that one refused row is the only one."""
    at = now()
    made = (_one_by_one if careful else _written)(run, connection, answer, room, at)
    if answer.failed:
        imports.report(connection, run.sync.id, answer.failed)
        failures.note(connection, run.portal_id, run.sync.id, [one for one in answer.failed if one.deal_id], at)
        made.failed += [one.deal_id for one in answer.failed]
    run.failing.update(made.failed)
    if made.created:
        stored.add_imports(connection, len(made.created))
    parts = [old for deal in answer.deals for old in deal.merged_ids]
    _resolve(run, connection, [*(one for one in made.touched if one not in made.failed), *made.skipped, *parts])
    return made


def _written(run: Run, connection: Connection, answer: Answer, room: int | None, at: datetime) -> Plan:
    made = planned(run, connection, answer.deals, room, at)
    imports.write(connection, made, portal_id=run.portal_id, sync_id=run.sync.id, at=at)
    return made


def _one_by_one(run: Run, connection: Connection, answer: Answer, room: int | None, at: datetime) -> Plan:
    plans: list[Plan] = []
    for deal in answer.deals:
        left = None if room is None else room - sum(len(one.created) for one in plans)
        try:
            with connection.begin_nested():
                plans.append(_written(run, connection, replace(answer, deals=[deal]), left, at))
        except Unwritable:
            plans.append(_refused(run, connection, deal, at))
    return joined(plans)


def _refused(run: Run, connection: Connection, deal: SourceDeal, at: datetime) -> Plan:
    would_be = planned(run, connection, [deal], None, at)
    values = next((one.values for one in would_be.created), None) or next((one.after for one in would_be.changed), {})
    name, reason = imports.refused_field(connection, values)
    label = FIELD[name].label if name else ""
    issue = unwritable(deal, name, label, as_text(values.get(name)) or "", reason or _REFUSED)
    imports.report(connection, run.sync.id, [issue])
    failures.note(connection, run.portal_id, run.sync.id, [issue], at)
    imports.touch(connection, run.portal_id, [deal.id], sync_id=run.sync.id)
    return Plan(failed=[deal.id])


def _resolve(run: Run, connection: Connection, deal_ids: Sequence[str]) -> None:
    """Deals that had failed before, and are well or gone now."""
    if well := run.failing.intersection(deal_ids):
        failures.resolve(connection, run.portal_id, well, by=imports.ACTOR, at=now())


def _counts(made: Plan, *, gone: int = 0, unchanged: int = 0) -> dict[str, int]:
    came_to = {
        "created": len(made.created),
        "updated": made.updated + gone,
        "unchanged": made.unchanged + unchanged,
        "failed": len(made.failed),
        "left_out": len(made.skipped),
    }
    return {
        **came_to,
        "seen": sum(came_to.values()),
        "archived": gone,
        "restored": made.restored,
        "merged": len(made.merged),
        "imported": made.gained - gone,
    }
