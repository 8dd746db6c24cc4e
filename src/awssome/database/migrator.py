"""Bringing every tenant's tables to the template's newest revision: in batches, over several connections a server.

Which are behind says a column of the registry; the truth is the fence of each schema, which changes in the transaction
that changes its tables. So a run that is killed goes on when it is called again, two at once do no harm, and a tenant
whose tables cannot be migrated keeps no other one back: the reason is noted on its placement.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import defaultdict, deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from awssome.database import template
from awssome.database.engine import Migrated, Server
from awssome.database.registry import Registry, audit, placements
from awssome.database.servers import Opener
from awssome.database.template import Beyond
from awssome.domain.errors import Refused
from awssome.domain.tenants import EngineName

CONNECTIONS = 4
"""To one server at once."""

LANES = 16
"""Connections to all servers at once."""

BATCH = 20
"""Schemas that are migrated in one transaction, at most."""

BATCH_SECONDS = 0.25
"""How long such a transaction should take: the first tenant in it waits for the last. Batches shrink to keep to it."""


@dataclass(frozen=True)
class Behind:
    """A placement whose tables are older than the template.

    :ivar tenant: the tenant's slug.
    :ivar server: the server's name.
    """

    placement_id: UUID
    tenant_id: UUID
    tenant: str
    schema: str
    revision: str
    server_id: UUID
    server: str
    engine: EngineName


@dataclass(frozen=True)
class Outcome:
    """What came of one placement.

    :ivar problem: why it is still behind; None: it is not.
    """

    of: Behind
    problem: str | None = None


def find_behind(
    registry: Registry, *, server: str | None = None, tenant: str | None = None, beyond: Beyond = ()
) -> list[Behind]:
    """The placements whose tables are older than the template, server by server; one query, whatever their number.

    :param server: only those on the server of this name.
    :param tenant: only those of the tenant with this slug or id.
    """
    with registry.begin() as connection:
        rows = placements.behind(connection, template.older(beyond), server=server, tenant=tenant)
    return [
        Behind(
            row.id,
            row.tenant_id,
            row.slug,
            row.schema_name,
            row.revision,
            row.server_id,
            row.server,
            EngineName(row.engine),
        )
        for row in rows
    ]


def migrate(
    registry: Registry,
    open_server: Opener,
    behind: Sequence[Behind],
    *,
    connections: int = CONNECTIONS,
    beyond: Beyond = (),
) -> Generator[Outcome]:
    """Migrate these placements; each yields its outcome when it is known. Those dropped meanwhile yield none.

    The run gets a line in the audit log. Closing the iterator lets the batches under way end, and begins no other one.

    :param connections: to each server, at most.
    """
    lines: dict[UUID, deque[Behind]] = defaultdict(deque)
    for place in behind:
        lines[place.server_id].append(place)
    lanes = [
        (server_id, line)
        for server_id, line in lines.items()
        for _ in range(min(max(1, connections), -(-len(line) // BATCH)))
    ]
    run = _Run(registry, open_server, beyond)
    try:
        with ThreadPoolExecutor(max_workers=LANES, thread_name_prefix="migrate") as pool:
            try:
                for server_id, line in lanes:
                    pool.submit(run.lane, server_id, line)
                yield from run.told(len(lanes))
            finally:
                run.stop.set()
    finally:
        run.audit()


@dataclass(frozen=True)
class _Ended:
    """A lane is at its end; `defect` is what it was not prepared for."""

    defect: BaseException | None = None


class _Run:
    """What lanes share: each works on a server's line, beside others, through a connection of its own."""

    def __init__(self, registry: Registry, open_server: Opener, beyond: Beyond) -> None:
        self._registry, self._open_server, self._beyond = registry, open_server, beyond
        self._told: queue.SimpleQueue[Outcome | _Ended] = queue.SimpleQueue()
        self._noted: list[Outcome] = []
        self.stop = threading.Event()

    def told(self, lanes: int) -> Iterator[Outcome]:
        """Outcomes as they become known, until so many lanes have ended."""
        while lanes:
            told = self._told.get()
            if isinstance(told, Outcome):
                yield told
                continue
            lanes -= 1
            if told.defect is not None:
                raise told.defect

    def lane(self, server_id: UUID, line: deque[Behind]) -> None:
        """Work until the line is empty; whatever a lane is not prepared for ends the run."""
        defect: BaseException | None = None
        try:
            try:
                server = self._open_server(server_id)
            except Refused as refused:
                self._give_up(line, [], refused)
            else:
                self._work(server, line)
        except BaseException as error:
            defect = error
        self._told.put(_Ended(defect))

    def audit(self) -> None:
        """One line for the run, if it came to anything."""
        if not self._noted:
            return
        failed = [outcome.of.schema for outcome in self._noted if outcome.problem is not None]
        with self._registry.begin() as connection:
            audit.record(
                connection,
                audit.SYSTEM,
                "tenants.migrated",
                revision=template.head(self._beyond),
                migrated=len(self._noted) - len(failed),
                failed=len(failed),
                schemas=failed[:20],
            )

    def _work(self, server: Server, line: deque[Behind]) -> None:
        size = BATCH
        while not self.stop.is_set() and (batch := _taken(line, size)):
            began = time.monotonic()
            try:
                told = server.migrate([place.schema for place in batch], batch[0].revision)
            except Refused as refused:
                self._give_up(line, batch, refused)
                return
            except Exception as error:  # whatever one's tables have, the others are not to wait for it
                if len(batch) > 1:
                    line.extendleft(reversed(batch))
                    size = 1
                    continue
                told = [Migrated(batch[0].schema, f"It met a {type(error).__name__}: a defect of ours.")]
            took = max(time.monotonic() - began, 0.001)
            self._note([Outcome(place, one.problem) for place, one in zip(batch, told, strict=True)])
            size = max(1, min(BATCH, 2 * len(batch), int(len(batch) * BATCH_SECONDS / took)))

    def _give_up(self, line: deque[Behind], batch: Sequence[Behind], refused: Refused) -> None:
        """The server does not answer, and nobody else in its line need ask."""
        rest = _taken(line, len(line), alike=False)
        self._note([Outcome(place, refused.message) for place in (*batch, *rest)])

    def _note(self, outcomes: Sequence[Outcome]) -> None:
        """Tell the registry, by one statement for those that are done and one for each problem."""
        older, failed = template.older(self._beyond), defaultdict(list)
        for outcome in outcomes:
            failed[outcome.problem].append(outcome.of.placement_id)
        done = failed.pop(None, [])
        with self._registry.begin() as connection:
            placements.note_migrated(connection, done, template.head(self._beyond), older)
            known = {*done}
            for problem, placement_ids in failed.items():
                known |= placements.note_problem(connection, placement_ids, str(problem), older)
        for outcome in outcomes:
            if outcome.of.placement_id in known:
                self._noted.append(outcome)
                self._told.put(outcome)


def _taken(line: deque[Behind], size: int, *, alike: bool = True) -> list[Behind]:
    """The next of a line that other lanes take from, too. :param alike: only those at the first one's revision."""
    taken: list[Behind] = []
    with suppress(IndexError):
        while len(taken) < size:
            place = line.popleft()
            if alike and taken and place.revision != taken[0].revision:
                line.appendleft(place)
                break
            taken.append(place)
    return taken
