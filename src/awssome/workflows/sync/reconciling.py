"""Mapped deals that a sync has not come across: changed, deleted, merged or back again. HubSpot is asked by id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime
from functools import partial
from typing import Any

from awssome.database import Connection
from awssome.database.tenant import imports
from awssome.domain.syncs import MappingState
from awssome.workflows.sync.reading import Answer, look_up, one_ahead
from awssome.workflows.sync.running import Run
from awssome.workflows.sync.writing import settle


def reconcile(
    run: Run,
    states: Sequence[MappingState],
    *,
    room: int | None = 0,
    read_since: datetime | None = None,
    position: dict[str, Any] | None = None,
) -> None:
    """Look all of them up, a batch at a time, and write what HubSpot says.

    :param states: which mappings.
    :param room: how many mappings may be made for deals that they lead to; None: any number.
    :param read_since: only those that HubSpot told something of since then.
    :param position: kept with each batch, with the last deal of it as `after`, and where it begins.
    """

    def unseen(after: str, connection: Connection) -> list[str]:
        return imports.unseen(connection, run.portal_id, run.sync.id, states, after=after, read_since=read_since)

    def answers() -> Iterator[tuple[str, list[str], Answer]]:
        after = str(position.get("after") or "") if position else ""
        while asked := run.workspace.do(partial(unseen, after)):
            after = asked[-1]
            yield after, asked, look_up(run.client, asked, run.properties)

    with closing(one_ahead(answers(), run.stopping)) as ahead:
        for after, asked, answer in ahead:
            settle(
                run, answer, room=room, asked=asked, position=None if position is None else {**position, "after": after}
            )
