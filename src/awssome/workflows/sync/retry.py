"""Deals of the inbox are tried again: HubSpot is asked for them by id, and what can be imported now comes in."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from awssome.database import Connection
from awssome.database.tenant import failures, imports, syncs
from awssome.database.tenant import hubspot as stored
from awssome.domain.imports import untold
from awssome.workflows.sync.reading import Answer, look_up
from awssome.workflows.sync.running import Run
from awssome.workflows.sync.writing import settle


def retry_failed(run: Run) -> None:
    """From where the run stands to its end. A deal fails again, comes in, or is gone: then nothing is left to try."""
    limit = run.sync.deal_limit

    def asked_next(after: str, connection: Connection) -> tuple[list[str], int | None]:
        room = None if limit is None else max(0, limit - stored.imports(connection))
        return failures.to_retry(connection, run.portal_id, after=after), room

    while True:
        asked, room = run.workspace.do(partial(asked_next, str(run.position.get("after") or "")))
        if not asked:
            break
        settle(run, _answer(run, asked), room=room, position={"after": asked[-1]})
        run.workspace.do(partial(_settled, run, asked))

    def finish(connection: Connection) -> None:
        failures.reopen(connection, run.portal_id)  # what an interruption has kept from being settled
        imports.follow(connection, run.portal_id, limit)  # what was deleted may have come back
        here = imports.count_live(connection, run.portal_id)
        syncs.finish(connection, run.sync, imported=here, **run.spent)

    run.workspace.do(finish)


def _answer(run: Run, asked: list[str]) -> Answer:
    """What HubSpot says of them. It refuses a question with an id that cannot be one, so that is not asked."""
    answer = look_up(run.client, [one for one in asked if one.isdecimal()], run.properties)
    return replace(answer, failed=[*answer.failed, *(untold(one) for one in asked if not one.isdecimal())])


def _settled(run: Run, asked: list[str], connection: Connection) -> None:
    failures.settle(connection, run.portal_id, asked, by=imports.ACTOR)
