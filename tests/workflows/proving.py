"""A tenant whose syncs are proven: beside its tables stands what they have to hold, whatever happens to the workers."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess as Process
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from awssome.database import Connection
from awssome.database.schema import deal_events, deal_registrations
from awssome.database.tenant import deals as registrations
from awssome.database.tenant.syncs import Sync
from awssome.domain.deals import FIELD
from awssome.domain.syncs import MappingState, SyncState
from awssome.domain.tenants import Tier
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.engines import eventually
from tests.processes import processes
from tests.workflows import reference
from tests.workflows.conftest import Registration, Workshop
from tests.workflows.portals import Portal
from tests.workflows.run_sync import Given, carry_on, work

FREE = 10
"""Deals that a free tenant imports, ever."""

SECONDS = 120.0
"""A sync that is carried on by workers that die ends within this time, or never."""


@dataclass
class Proof:
    """The tenant, the account that it is connected to, and what has to be true of its registrations.

    :ivar given: the settings of worker processes.
    :ivar room: how many deals it may import, ever; None: all.
    :ivar chosen: the deals that a free tenant has imported, under the ids that they had then.
    :ivar edits: what a user has set, by registration.
    :ivar put_away: registrations that a user has archived.
    :ivar known: the registration of each deal as of the last look.
    :ivar killed: how many workers were killed until now.
    """

    workshop: Workshop
    portal: Portal
    given: Given
    room: int | None = FREE
    chosen: list[str] = field(default_factory=list)
    edits: dict[UUID, dict[str, Any]] = field(default_factory=dict)
    put_away: set[UUID] = field(default_factory=set)
    known: dict[str, UUID] = field(default_factory=dict)
    killed: int = 0

    @classmethod
    def begin(cls, services: WorkerServices, tenancy: Tenancy, portal: Portal, secret_key: str, tier: Tier) -> Proof:
        """A tenant that is connected to the account. There are no budgets, since its sandbox has no limits."""
        app = portal.sandbox.app()
        workshop = Workshop(replace(services, hubspot=app, hubspot_limits={}), portal.sandbox, tenancy)
        workshop.connect(portal.id)
        given: Given = {
            "registry": services.registry.url,
            "secret_key": secret_key,
            "hubspot": app.base_url,
            "client_id": app.client_id,
            "client_secret": app.client_secret,
            "redirect_uri": app.redirect_uri,
            "limited": False,
        }
        return cls(workshop, portal, given, FREE if tier is Tier.FREE else None)

    def upgrade(self) -> None:
        """From now on all deals come in."""
        self.workshop.upgrade()
        self.room = None

    def sync(self, dice: random.Random | None = None, *, workers: int = 1, kills: int = 0, latest: int = 60) -> Sync:
        """A sync, carried on by processes to its end; as it stands then.

        :param workers: how many carry it on at once.
        :param kills: how many of them are killed, unless it ends before; another one follows each.
        :param latest: the last moment (see `run_sync.carry_on`) at which one is killed.
        """
        sync_id = self.workshop.queue()
        moments = [(dice or random.Random(0)).randrange(1, latest) for _ in range(kills)]
        self.killed += run(self.given, self.workshop.id, sync_id, workers, moments)
        return self.workshop.find(sync_id)

    def sync_by_jobs(self, dice: random.Random, *, kills: int = 0, longest: float = 1.0) -> Sync:
        """A sync, done by two workers of the queue, as it stands when it has ended.

        :param kills: how many workers are killed; another one follows each.
        :param longest: seconds until the next one is killed, at most.
        """
        sync_id = self.workshop.queue()
        with self.workshop.services.registry.begin() as connection:
            self.workshop.services.queue.sync(connection, self.workshop.id, sync_id)
        running = [start_worker(self.given) for _ in range(2)]
        try:
            for _ in range(kills):
                time.sleep(dice.uniform(0.0, longest))
                victim = running.pop(dice.randrange(2))
                victim.kill()
                victim.join()
                running.append(start_worker(self.given))
            self.killed += kills
            eventually(lambda: not self.workshop.find(sync_id).open, SECONDS)
        finally:
            for worker in running:
                worker.kill()
                worker.join()
        return self.workshop.find(sync_id)

    def interfere(self, dice: random.Random, changes: int) -> None:
        """So many changes by a user: fields set, deals archived and brought back."""
        for number in range(changes):
            here = self.workshop.live()
            if not here:
                return
            one = here[dice.choice(sorted(here))]
            kind = dice.choice(("edit", "edit", "archive", "restore"))
            if kind == "edit" and not one.archived:
                self._edit(one, _own_values(dice, number))
            elif kind == "archive":
                self._do(registrations.archive, one)
                self.put_away.add(one.row.id)
            elif kind == "restore":
                self._do(registrations.restore, one)
                self.put_away.discard(one.row.id)

    def holds(self, done: Sync, *, lagging: bool = False) -> None:
        """After a sync: the registrations equal the truth value for value, each deal is there once, the counts add up.

        :param lagging: HubSpot's search did not know of all changes yet, so that nothing is to be equal.
        :raises AssertionError: with what differs.
        """
        assert (done.state, done.problem) == (SyncState.DONE, None)
        rows = self.workshop.registrations()
        self._each_once(rows)
        self._same_as_before(rows)
        self._adds_up(done, rows)
        if not lagging:
            wanted = self._wanted()
            self._equal(rows, wanted)
            assert (done.imported, done.available) == (len(wanted), len(self.portal.live))
            assert done.left_out == (0 if self.room is None else len(self.portal.live) - len(wanted))
        self.known = {one.deal_id: one.row.id for one in rows}

    def _wanted(self) -> list[str]:
        """The deals that have to be here, live."""
        if self.room is None:
            return sorted(self.portal.live)
        here = {self.portal.now(deal_id) for deal_id in self.chosen}
        free = self.room - len(self.chosen)
        self.chosen += [deal_id for deal_id in self.portal.in_order() if deal_id not in here][: max(0, free)]
        return sorted({self.portal.now(deal_id) for deal_id in self.chosen} & set(self.portal.live))

    def _each_once(self, rows: list[Registration]) -> None:
        """As many registrations as mappings, each with one arrival, and no mapping beside the truth."""
        ids = [one.row.id for one in rows]
        assert len(set(ids)) == len(ids)
        arrivals = select(deal_events.c.registration_id).where(deal_events.c.kind == "imported")
        arrived = self.workshop.workspace.do(lambda connection: list(connection.scalars(arrivals)))
        assert Counter(arrived) == Counter(ids)
        every = select(func.count()).select_from(deal_registrations)
        assert self.workshop.workspace.do(lambda connection: connection.scalar(every)) == len(ids)
        assert self.workshop.connection().imports == len(ids)
        for one in rows:
            if one.state is MappingState.MERGED:
                assert one.deal_id in self.portal.merged, f"{one.deal_id} is not merged"
            if one.state is MappingState.ARCHIVED:
                assert self.portal.now(one.deal_id) in self.portal.archived, f"{one.deal_id} is not deleted"
            if one.state is not MappingState.LIVE:
                assert one.archived, f"the registration of {one.deal_id} is not put away"

    def _equal(self, rows: list[Registration], wanted: list[str]) -> None:
        live = {one.deal_id: one for one in rows if one.state is MappingState.LIVE}
        missing, beyond = sorted(set(wanted) - set(live)), sorted(set(live) - set(wanted))
        assert (missing, beyond) == ([], []), f"{len(missing)} are missing, {len(beyond)} are here beyond the truth"
        differ = {deal_id: found for deal_id in wanted if (found := self._difference(live[deal_id]))}
        assert not differ, f"{len(differ)} of {len(wanted)} differ: {dict(list(differ.items())[:3])}"

    def _difference(self, one: Registration) -> dict[str, tuple[Any, Any]]:
        """Field -> what is there, and what has to be."""
        own = self.edits.get(one.row.id, {})
        told = reference.registered(self.portal, one.deal_id)
        has_to: Mapping[str, Any] = {**dict.fromkeys(FIELD), **told, **own}
        found = {name: (one.row._mapping[name], value) for name, value in has_to.items()}
        found["archived"] = (one.archived, one.row.id in self.put_away)
        found["edited_fields"] = (sorted(one.row.edited_fields), sorted(own))
        found["source"] = (one.row.source, "hubspot")
        return {name: pair for name, pair in found.items() if pair[0] != pair[1]}

    def _same_as_before(self, rows: list[Registration]) -> None:
        """A deal keeps its registration; one that came out of a merge has that of a deal that became part of it."""
        heirs: dict[str, set[UUID]] = defaultdict(set)
        for deal_id, registration_id in self.known.items():
            heirs[self.portal.now(deal_id)].add(registration_id)
        for one in rows:
            if one.deal_id in self.known and one.state is not MappingState.MERGED:
                assert one.row.id == self.known[one.deal_id]
            elif one.deal_id in heirs and one.state is MappingState.LIVE:
                assert one.row.id in heirs[one.deal_id], f"{one.deal_id} got a second registration"

    def _adds_up(self, done: Sync, rows: list[Registration]) -> None:
        assert done.created == len(rows) - len(self.known)
        assert done.failed == 0
        left_out = done.left_out if self.room is None else 0  # a free sync has not come across those that stay away
        assert done.seen == done.created + done.updated + done.unchanged + left_out + done.failed

    def _edit(self, one: Registration, values: dict[str, Any]) -> None:
        def work(connection: Connection) -> bool:
            version = registrations.find(connection, one.row.id).version
            return registrations.edit(connection, one.row.id, version, values, "alice@example.com")

        if self.workshop.workspace.do(work):
            before = {name: one.row._mapping[name] for name in values}
            changed = {name: value for name, value in values.items() if value != before[name]}
            self.edits.setdefault(one.row.id, {}).update(changed)

    def _do(self, act: Any, one: Registration) -> None:
        self.workshop.workspace.do(lambda connection: act(connection, [one.row.id], "alice@example.com"))


def run(given: Given, tenant_id: UUID, sync_id: UUID, workers: int, moments: list[int]) -> int:
    """Have processes carry a sync on until it has ended.

    :param workers: how many do so at once.
    :param moments: at which they are killed, one after the other; those that follow are left alone.
    :returns: how many were killed.
    """
    left, killed = iter(moments), 0
    running: dict[int, Process] = {}

    def start() -> None:
        process = processes.Process(target=carry_on, args=(given, tenant_id, sync_id, next(left, None)))
        process.start()
        running[process.sentinel] = process

    for _ in range(workers):
        start()
    try:
        while running:
            ended = wait(list(running), SECONDS)
            assert ended, "the sync does not end"
            for process in [running.pop(sentinel) for sentinel in ended if isinstance(sentinel, int)]:
                process.join()
                if process.exitcode == -signal.SIGKILL:
                    killed += 1
                    start()
                else:
                    assert process.exitcode == 0
    finally:
        for process in running.values():
            process.kill()
    return killed


def start_worker(given: Given) -> Process:
    """A worker of the queue of syncs."""
    process = processes.Process(target=work, args=(given,))
    process.start()
    return process


def _own_values(dice: random.Random, number: int) -> dict[str, Any]:
    some: dict[str, Any] = {
        "title": f"Alice's own {number}",
        "next_steps": "Call on Monday",
        "business_problem": "What Alice knows better than HubSpot does.",
        "customer_company": "Contoso",
        "opportunity_type": "Flat Renewal",
    }
    return {name: some[name] for name in dice.sample(sorted(some), dice.randrange(1, 3))}
