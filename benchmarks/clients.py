"""Writers and a reader of one tenant, in a process of their own, through the product's sessions.

`python -m benchmarks.clients HOME TENANT RATE THREADS NUMBER` says `ready`, works until its input ends, looks up every
write that was acknowledged, and prints what came of it as JSON. A move meanwhile is not to be noticed, but for its
pause.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, delete, insert, select, update

from awssome import main as composition
from awssome.config import Settings
from awssome.database import Connection
from awssome.database.schema import deal_events, deal_registrations, hubspot_picks
from awssome.domain.times import new_id, now
from awssome.workflows.workspace import Workspace

PORTAL, COUNTED, AT_ONCE, READ_PAUSE = 4712, 4, 1_000, 0.01


@dataclass
class Seen:
    """What one thread did: `calls` are (begin, seconds), begin by the machine's monotonic clock."""

    calls: list[tuple[float, float]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    counts: dict[UUID, int] = field(default_factory=dict)
    deals: list[UUID] = field(default_factory=list)
    events: list[UUID] = field(default_factory=list)
    picks: set[str] = field(default_factory=set)
    unpicked: set[str] = field(default_factory=set)


class Writer:
    """Edits with a line in the timeline, new deals, picks and picks taken back: one transaction each, at a steady pace.

    Each writer counts up rows of its own, so that a count tells how many of its edits are there.
    """

    def __init__(self, workspace: Workspace, number: int, pause: float, rows: list[Any]) -> None:
        self._workspace, self._pause = workspace, pause
        self._dice = random.Random(number)
        self.seen = Seen(counts={row.id: row.version for row in rows})
        self._counted = list(self.seen.counts)

    def work(self, over: threading.Event) -> None:
        """Write until it is over."""
        due = time.monotonic() + self._dice.random() * self._pause
        while not over.wait(max(0.0, due - time.monotonic())):
            _timed(self.seen, self._dice.choices((self._edit, self._add, self._pick, self._unpick), (5, 2, 2, 1))[0])
            due = max(due + self._pause, time.monotonic() - 1)

    def _edit(self) -> None:
        deal, event = self._dice.choice(self._counted), new_id()

        def change(connection: Connection) -> None:
            connection.execute(
                update(deal_registrations)
                .where(deal_registrations.c.id == deal)
                .values(version=deal_registrations.c.version + 1, updated_at=now())
            )
            connection.execute(insert(deal_events).values(_event(event, deal, "edited")))

        self._workspace.do(change)
        self.seen.counts[deal] += 1
        self.seen.events.append(event)

    def _add(self) -> None:
        deal, event = new_id(), new_id()

        def change(connection: Connection) -> None:
            connection.execute(insert(deal_registrations).values(_deal(deal)))
            connection.execute(insert(deal_events).values(_event(event, deal, "created")))

        self._workspace.do(change)
        self.seen.deals.append(deal)
        self.seen.events.append(event)

    def _pick(self) -> None:
        deal = f"a|b\\{new_id().hex[-24:]}"
        values = {"deal_id": deal, "place": 1, "title": "Zoë’s | \\ pick", "picked_by": "alice", "picked_at": now()}
        self._workspace.do(
            lambda connection: connection.execute(insert(hubspot_picks).values(portal_id=PORTAL, **values))
        )
        self.seen.picks.add(deal)

    def _unpick(self) -> None:
        if self.seen.picks:
            deal = self._dice.choice(sorted(self.seen.picks))
            self._workspace.do(
                lambda connection: connection.execute(
                    delete(hubspot_picks).where(hubspot_picks.c.portal_id == PORTAL, hubspot_picks.c.deal_id == deal)
                )
            )
            self.seen.picks.remove(deal)
            self.seen.unpicked.add(deal)


def main() -> None:
    """Write, read, look up, tell. Of several such processes each has a number."""
    home, tenant, rate = Path(sys.argv[1]), UUID(sys.argv[2]), float(sys.argv[3])
    threads, process = int(sys.argv[4]), int(sys.argv[5])
    with composition.control_plane(Settings(home=home)) as plane:
        workspace, over, reads = Workspace(composition.services(plane), tenant), threading.Event(), Seen()
        rows = workspace.do(lambda connection: connection.execute(_some(threads * COUNTED, process)).all())
        writers = [
            Writer(workspace, number, threads / rate, rows[number * COUNTED : (number + 1) * COUNTED])
            for number in range(threads)
        ]
        works = [*[writer.work for writer in writers], lambda over: _read(workspace, reads, over)]
        working = [threading.Thread(target=work, args=[over]) for work in works]
        for thread in working:
            thread.start()
        print("ready", flush=True)
        sys.stdin.read()
        over.set()
        for thread in working:
            thread.join()
        lost = sum(_lost(workspace, writer.seen) for writer in writers)
    told = {
        "writes": [call for writer in writers for call in writer.seen.calls],
        "write_errors": [error for writer in writers for error in writer.seen.errors],
        "reads": reads.calls,
        "read_errors": reads.errors,
        "lost": lost,
    }
    print(json.dumps(told), flush=True)


def _timed(seen: Seen, work: Callable[[], object]) -> None:
    began = time.monotonic()
    try:
        work()
    except Exception:  # a client that was refused: counted, and shown
        seen.errors.append(traceback.format_exc(limit=-2, chain=False))
    else:
        seen.calls.append((began, time.monotonic() - began))


def _read(workspace: Workspace, seen: Seen, over: threading.Event) -> None:
    """The newest of the deals, as their list shows them."""
    newest = select(deal_registrations.c.title).order_by(deal_registrations.c.updated_at.desc()).limit(25)
    while not over.wait(READ_PAUSE):
        _timed(seen, lambda: workspace.do(lambda connection: connection.execute(newest).all()))


def _lost(workspace: Workspace, seen: Seen) -> int:
    """How many acknowledged writes are not there, or there more often than they were made."""

    def look(connection: Connection) -> int:
        version, deal = deal_registrations.c, hubspot_picks.c
        counts = connection.execute(select(version.id, version.version).where(version.id.in_(seen.counts)))
        wrong = sum(abs(row.version - seen.counts[row.id]) for row in counts)
        wrong += len(set(seen.deals) - _there(connection, version.id, seen.deals))
        wrong += len(set(seen.events) - _there(connection, deal_events.c.id, seen.events))
        picks = _there(connection, deal.deal_id, [*seen.picks, *seen.unpicked])
        return wrong + len(picks ^ seen.picks)

    return workspace.do(look)


def _there(connection: Connection, key: ColumnElement[Any], wanted: Sequence[Any]) -> set[Any]:
    found: set[Any] = set()
    for start in range(0, len(wanted), AT_ONCE):
        found.update(connection.scalars(select(key).where(key.in_(wanted[start : start + AT_ONCE]))))
    return found


def _some(count: int, process: int) -> Select[Any]:
    """Registrations that no other process counts up."""
    deals = deal_registrations.c
    return select(deals.id, deals.version).order_by(deals.id).limit(count).offset(count * process)


def _deal(deal: UUID) -> dict[str, Any]:
    at = now()
    return {
        "id": deal,
        "source": "manual",
        "title": "Zoë’s Ünïcode – 日本語 🚀",
        "stage": "Prospect",
        "customer_company": "~,3:abc, GmbH",
        "business_problem": "tab\tnewline\nbackslash\\N" + "x" * 200,
        "edited_fields": ["title"],
        "ready": False,
        "version": 1,
        "created_at": at,
        "updated_at": at,
        "updated_by": "alice@northwind.example",
    }


def _event(event: UUID, deal: UUID, kind: str) -> dict[str, Any]:
    changes = {"title": [None, "Zoë’s Ünïcode"]}
    return {"id": event, "registration_id": deal, "at": now(), "kind": kind, "actor": "alice", "changes": changes}


if __name__ == "__main__":
    main()
