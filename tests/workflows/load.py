"""People at work while their tenant moves: processes that write and read as a portal does, and keep a journal.

Each thread says in the journal what it is about to do, and then what came of it: `done` (acknowledged), `refused` (the
database said that nothing was changed) or `unknown` (the answer was lost, or the process was killed before it came).
What was acknowledged is also counted in a page of shared memory, so that a reader in another process knows, before it
reads, what it has to find.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import struct
import threading
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import delete, insert, select, update

from awssome.database import Connection
from awssome.database.registry import Registry, placements
from awssome.database.schema import deal_events, deal_registrations, stage_mappings, sync_history
from awssome.database.sessions import Sessions
from awssome.domain.errors import Code, Refused
from awssome.domain.secrets import Keys
from awssome.domain.times import new_id, now
from awssome.hubspot.oauth import app_for
from awssome.workflows.workspace import Workspace
from tests.conftest import worker_services
from tests.deals import write_a_deal
from tests.engines import Raw

WRITERS, READERS = 4, 1
"""Threads of one process."""

SLOTS = 64
"""Writers in all processes together."""


@dataclass(frozen=True)
class Desk:
    """Where a process works: the registry, the tenant, and a folder for its journals.

    :ivar rate: writes a second, of the process.
    :ivar slot: the number of its first writer.
    :ivar raw: whether its writers use plain connections as the tenant's login, beside the product's sessions.
    """

    url: str
    secret_key: str
    tenant_id: UUID
    folder: Path
    slot: int
    rate: float = 100.0
    raw: bool = False
    patience: float = 60.0


def counter_of(slot: int) -> UUID:
    """The row that this writer counts in."""
    return UUID(int=0xC0DE << 64 | slot)


def prepare(connection: Connection, slots: int) -> None:
    """A row to count in for each writer, at 1."""
    columns = ("attempt", "seen", "created", "updated", "unchanged", "left_out", "failed", "calls", "imported")
    for slot in range(slots):
        connection.execute(
            insert(sync_history).values(
                id=counter_of(slot),
                state="done",
                requested_by="load@example.com",
                requested_at=now(),
                **dict.fromkeys(columns, 1),
            )
        )


def work(desk: Desk) -> None:
    """Write and read until SIGKILL, or until there is a file `stop` in the folder."""
    registry, keys = Registry(desk.url, connections=8), Keys.from_text(desk.secret_key)
    hubspot = app_for("http://127.0.0.1:9", "client", "secret", "http://localhost:8000/hubspot/callback")
    services = worker_services(registry, keys, Sessions(budget=12, each=12), hubspot)
    workspace = Workspace(services, desk.tenant_id, patience=desk.patience)
    threads = [threading.Thread(target=_Writer(desk, workspace, desk.slot + at).run) for at in range(WRITERS)]
    threads += [threading.Thread(target=_Reader(desk, workspace, f"r{desk.slot + at}").run) for at in range(READERS)]
    if desk.raw:
        threads += [threading.Thread(target=_RawWriter(desk, registry, keys).run)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class _Journal:
    """Lines that outlive a kill -9: a written line is the kernel's."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = os.open(folder / f"{name}-{os.getpid()}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(self, *words: Any) -> None:
        os.write(self._file, (json.dumps(words) + "\n").encode())


class _Board:
    """How often each writer was told that it has counted, seen by all processes."""

    def __init__(self, folder: Path) -> None:
        file = os.open(folder / "board", os.O_RDWR | os.O_CREAT)
        os.ftruncate(file, SLOTS * 8)
        self._page = mmap.mmap(file, SLOTS * 8)

    def told(self, slot: int) -> int:
        return int(struct.unpack_from("q", self._page, slot * 8)[0])

    def tell(self, slot: int) -> None:
        struct.pack_into("q", self._page, slot * 8, self.told(slot) + 1)


class _Writer:
    """Adds, deletes and counts at the pace that it was given."""

    def __init__(self, desk: Desk, workspace: Workspace, slot: int) -> None:
        self._desk, self._workspace, self._slot = desk, workspace, slot
        self._dice = random.Random(slot)
        self._journal, self._board = _Journal(desk.folder, f"w{slot}"), _Board(desk.folder)
        self._mine: list[str] = []

    def run(self) -> None:
        number, pause = 0, WRITERS / self._desk.rate
        due = time.monotonic()
        while not (self._desk.folder / "stop").exists():
            due = max(due + pause, time.monotonic() - 1.0)
            time.sleep(max(0.0, due - time.monotonic()))
            number += 1
            self._write(f"{self._slot}.{os.getpid()}.{number}")

    def _write(self, key: str) -> None:
        kind = self._dice.choice(("add", "add", "delete", "deal", "count"))
        if kind == "delete" and not self._mine:
            kind = "add"
        if kind == "delete":
            key = self._mine.pop(self._dice.randrange(len(self._mine)))
        if kind == "deal":
            key = str(new_id())
        if kind == "count":
            key = str(self._slot)
        self._journal.say("begin", kind, key)
        began = time.monotonic()
        try:
            self._workspace.do(lambda connection: self._do(connection, kind, key))
        except Refused as refused:
            self._journal.say("refused" if refused.code is Code.FENCED else "unknown", kind, key, refused.message)
            return
        except Exception as error:
            self._journal.say("unknown", kind, key, f"{type(error).__name__}: {error}"[:300])
            return
        if kind == "count":
            self._board.tell(self._slot)
        if kind == "add":
            self._mine.append(key)
        self._journal.say("done", kind, key, round((time.monotonic() - began) * 1000))

    def _do(self, connection: Connection, kind: str, key: str) -> None:
        if kind == "add":
            values = {"pipeline": key, "hubspot_stage": "", "stage": "", "updated_at": now()}
            connection.execute(insert(stage_mappings).values(values))
        elif kind == "delete":
            connection.execute(delete(stage_mappings).where(stage_mappings.c.pipeline == key))
        elif kind == "count":
            one_more = update(sync_history).where(sync_history.c.id == counter_of(self._slot))
            assert connection.execute(one_more.values(imported=sync_history.c.imported + 1)).rowcount == 1
        else:
            write_a_deal(connection, UUID(key), key)


class _Reader:
    """Reads as fast as a page is looked at, and knows what it has to find at least."""

    def __init__(self, desk: Desk, workspace: Workspace, name: str) -> None:
        self._desk, self._workspace = desk, workspace
        self._journal, self._board = _Journal(desk.folder, name), _Board(desk.folder)

    def run(self) -> None:
        query = select(sync_history.c.id, sync_history.c.imported).where(
            sync_history.c.requested_by == "load@example.com"
        )
        while not (self._desk.folder / "stop").exists():
            told = [self._board.told(slot) for slot in range(SLOTS)]
            began = time.monotonic()
            try:
                rows = self._workspace.do(lambda connection: connection.execute(query).all())
            except Exception as error:
                code = error.code if isinstance(error, Refused) else type(error).__name__
                self._journal.say("read failed", code, str(error)[:300])
                continue
            found = {row.id: row.imported for row in rows}
            old = [slot for slot in range(SLOTS) if told[slot] and found.get(counter_of(slot), 0) < 1 + told[slot]]
            if old:
                self._journal.say("read old", old)
            self._journal.say("read", round((time.monotonic() - began) * 1000))
            time.sleep(0.01)


class _RawWriter:
    """Any SQL as the tenant's own login, over one connection for as long as it lasts; no retry of a write."""

    def __init__(self, desk: Desk, registry: Registry, keys: Keys) -> None:
        self._desk, self._registry, self._keys = desk, registry, keys
        self._journal = _Journal(desk.folder, f"raw{desk.slot}")
        self._there: tuple[str, Raw] | None = None

    def run(self) -> None:
        number = 0
        while not (self._desk.folder / "stop").exists():
            time.sleep(0.02)
            with suppress(Refused, psycopg.Error):
                schema, raw = self._there or self._connected()
                number += 1
                self._write(schema, raw, f"raw{self._desk.slot}.{os.getpid()}.{number}")

    def _connected(self) -> tuple[str, Raw]:
        with self._registry.begin() as connection:
            placement = placements.current(connection, self._keys, self._desk.tenant_id)
        self._there = placement.schema, Raw(placement)
        return self._there

    def _write(self, schema: str, raw: Raw, key: str) -> None:
        self._journal.say("begin", "add", key)
        try:
            raw.rows(f"INSERT INTO {schema}.stage_mappings VALUES ('{key}', '', '', now())")
        except psycopg.Error as error:
            answered = error.sqlstate is not None and not error.sqlstate.startswith(("57", "08"))
            self._journal.say("refused" if answered else "unknown", "add", key, f"{error.sqlstate} {error}"[:200])
            self._there = None
            with suppress(psycopg.Error):
                raw.close()
            return
        self._journal.say("done", "add", key, 0)


@dataclass
class Told:
    """What the journals say together.

    :ivar done, refused, unknown: (kind, key) -> how often.
    :ivar slowest_ms: the longest that an acknowledged write took.
    """

    done: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    unknown: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    slowest_ms: int = 0
    reads: int = 0
    slowest_read_ms: int = 0
    failed_reads: list[Any] = field(default_factory=list)
    old_reads: list[Any] = field(default_factory=list)

    @classmethod
    def by(cls, folder: Path) -> Told:
        """Read every journal of the folder. What has begun and has no end is unknown."""
        told = cls()
        for path in folder.glob("*.jsonl"):
            open_: Counter[tuple[str, str]] = Counter()
            for line in path.read_text().splitlines():
                told._take(json.loads(line), open_)
            told.unknown += +open_
        return told

    def _take(self, words: list[Any], open_: Counter[tuple[str, str]]) -> None:
        what = words[0]
        if what == "read":
            self.reads += 1
            self.slowest_read_ms = max(self.slowest_read_ms, words[1])
        elif what == "read failed":
            self.failed_reads.append(words[1:])
        elif what == "read old":
            self.old_reads.append(words[1:])
        elif what == "begin":
            open_[words[1], words[2]] += 1
        else:
            kind, key, last = words[1:]
            open_[kind, key] -= 1
            {"done": self.done, "refused": self.refused, "unknown": self.unknown}[what][kind, key] += 1
            if what == "done":
                self.slowest_ms = max(self.slowest_ms, last)
            else:
                self.reasons[f"{what}: {last}"] += 1

    def kinds(self) -> Counter[str]:
        """Why writes were refused or are unknown, by the beginning of the reason; failed reads with them."""
        reasons: Counter[str] = Counter()
        for reason, count in self.reasons.items():
            reasons[reason.splitlines()[0][:140]] += count
        reasons.update(f"read failed: {code}: {words}"[:140] for code, words in self.failed_reads)
        return reasons

    @property
    def acknowledged(self) -> int:
        return self.done.total()

    def wrong(self, connection: Connection) -> list[str]:
        """Every acknowledged write that is not there, and every refused one that is."""
        keys = {row.pipeline for row in connection.execute(select(stage_mappings.c.pipeline))}
        deals = {str(row.id) for row in connection.execute(select(deal_registrations.c.id))}
        events = {str(row.registration_id) for row in connection.execute(select(deal_events.c.registration_id))}
        counted = {
            row.id: row.imported for row in connection.execute(select(sync_history.c.id, sync_history.c.imported))
        }
        return [*self._wrong_keys(keys), *self._wrong_deals(deals, events), *self._wrong_counts(counted)]

    def _wrong_keys(self, there: set[str]) -> list[str]:
        by_key: dict[str, dict[str, str]] = defaultdict(dict)
        for name, said in (("done", self.done), ("refused", self.refused), ("unknown", self.unknown)):
            for kind, key in said:
                if kind in ("add", "delete"):
                    by_key[key][kind] = name
        wrong = []
        for key, told in by_key.items():
            added, deleted = told.get("add"), told.get("delete", "refused")
            if added == "done" and deleted == "refused" and key not in there:
                wrong.append(f"lost: {key}")
            if key in there and (added == "refused" or deleted == "done"):
                wrong.append(f"there, though {told}: {key}")
        return wrong

    def _wrong_deals(self, deals: set[str], events: set[str]) -> list[str]:
        wrong = []
        for kind, key in {*self.done, *self.refused, *self.unknown}:
            if kind != "deal":
                continue
            if (key in deals) != (key in events):
                wrong.append(f"half there: {key}")
            if (kind, key) in self.done and key not in deals:
                wrong.append(f"lost: {key}")
            if (kind, key) in self.refused and key in deals:
                wrong.append(f"there, though refused: {key}")
        return wrong

    def _wrong_counts(self, counted: dict[UUID, int]) -> list[str]:
        wrong = []
        for slot in range(SLOTS):
            done, unknown = self.done["count", str(slot)], self.unknown["count", str(slot)]
            found = counted.get(counter_of(slot))
            if found is not None and not 1 + done <= found <= 1 + done + unknown:
                wrong.append(f"counter {slot} is {found}: {done} acknowledged, {unknown} unknown")
        return wrong
