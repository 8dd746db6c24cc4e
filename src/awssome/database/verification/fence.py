"""Whether a closed fence holds, and a capture notes: no acknowledged write is lost, none comes late or unnoticed."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import insert

from awssome.database.engine import FenceBusy
from awssome.database.schema import DATA_TABLES, field_mappings
from awssome.database.verification.engines import statements_for
from awssome.database.verification.finding import Finding, few, outcome_of, words_of
from awssome.database.verification.scratch import MOVER, Effort, Scratch
from awssome.database.verification.statements import OldTransaction, Statements
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import Placement
from awssome.domain.times import now

CHECK = "fence"

WRITERS = 4
REST_SECONDS = 0.005
"""How long a writer thinks between two transactions."""

BEGIN_SECONDS, END_SECONDS = 30, 60
"""How long writers may take to write for the first time, and to end."""

PATIENCE = 5
"""How often the fence is tried to be closed while writers keep it busy."""


def examine(scratch: Scratch, effort: Effort) -> Iterator[Finding]:
    """Cut-overs under load, every way to write behind a closed fence, and what a capture notes. Raises what the server
    raises."""
    yield _under_load(scratch, effort)
    yield _every_table(scratch)
    yield _old_transactions(scratch)
    yield _captured(scratch)


@dataclass
class _Load:
    """What writers and the one who closes the fence tell each other.

    :ivar epoch: the epoch at which the workspace is open, or was last.
    :ivar acknowledged: key of each row whose transaction has committed -> when it began.
    :ivar refused: writes that were refused by the fence.
    :ivar unavailable: refusals of another kind, which a user would see as "try again".
    :ivar defects: errors that mean nothing to a user.
    :ivar over: writers have to end.
    """

    epoch: int = 1
    acknowledged: dict[str, float] = field(default_factory=dict)
    refused: int = 0
    unavailable: list[str] = field(default_factory=list)
    defects: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


@dataclass
class _CutOvers:
    pauses: list[float] = field(default_factory=list)
    late: set[str] = field(default_factory=set)
    idle: int = 0
    busy: int = 0


def _under_load(scratch: Scratch, effort: Effort) -> Finding:
    placement, load, seen = scratch.workspace(), _Load(), _CutOvers()
    with _reader(scratch, placement) as keys, _writers(scratch, placement, load):
        for _ in range(effort.rounds):
            seen.idle += not _written(load, effort.seconds)
            _cut_over(scratch, placement, load, seen, keys, effort.after)
        load.over.set()
    with _reader(scratch, placement) as keys:
        present = keys()
    lost = load.acknowledged.keys() - present
    return _told(load, seen, len(lost), len(present - load.acknowledged.keys()), effort.rounds)


def _written(load: _Load, seconds: float) -> bool:
    """Let writers write for some time; whether they did. A slow server gets longer for the first write."""
    before, begun = len(load.acknowledged), time.monotonic()
    time.sleep(seconds)
    while len(load.acknowledged) == before and time.monotonic() < begun + BEGIN_SECONDS:
        time.sleep(0.05)
    return len(load.acknowledged) > before


def _cut_over(scratch: Scratch, placement: Placement, load: _Load, seen: _CutOvers, keys: Any, after: float) -> None:
    """Close the fence as a move does, look twice whether rows still come, and open it at the next epoch."""
    for left in reversed(range(PATIENCE)):
        begun = time.monotonic()
        try:
            scratch.server.set_fence(placement.schema, MOVER, mode=FenceMode.MOVED, epoch=load.epoch + 1)
            break
        except FenceBusy:
            seen.busy += 1
            if not left:
                raise
    closed = time.monotonic()
    seen.pauses.append((closed - begun) * 1000)
    at_once = keys()
    time.sleep(after)
    seen.late |= keys() - at_once
    seen.late |= {key for key, began in dict(load.acknowledged).items() if began > closed}
    scratch.server.set_fence(placement.schema, MOVER, mode=FenceMode.RW, epoch=load.epoch + 1)
    load.epoch += 1


def _told(load: _Load, seen: _CutOvers, lost: int, unacknowledged: int, rounds: int) -> Finding:
    median, worst = statistics.median(seen.pauses), max(seen.pauses)
    told = (
        f"{rounds} cut-overs with {WRITERS} writers: {len(load.acknowledged):,} writes acknowledged, {lost:,} lost, "
        f"{len(seen.late):,} late; closing took {median:.1f} ms (median), {worst:.1f} ms (worst)."
    )
    if seen.idle:
        told += f" Before {seen.idle} of them nothing was written, so that they prove nothing."
    if not load.refused:
        told += " No write met the closed fence, so that it proves nothing."
    if load.unavailable:
        told += f" {len(load.unavailable):,} writes had to be tried again: {few(sorted(set(load.unavailable)))}"
    if load.defects:
        told += f" {len(load.defects):,} writes failed: {few(sorted(set(load.defects)))}"
    well = not (lost or seen.late or seen.idle or load.defects) and load.refused > 0
    figures = {
        "rounds": rounds,
        "acknowledged": len(load.acknowledged),
        "lost": lost,
        "late": len(seen.late),
        "unacknowledged": unacknowledged,
        "refused_by_fence": load.refused,
        "tried_again": len(load.unavailable),
        "fence_busy": seen.busy,
        "pause_ms_median": round(median, 2),
        "pause_ms_worst": round(worst, 2),
    }
    return Finding(CHECK, "cut-overs under load", outcome_of(well), told, figures=figures)


@contextmanager
def _writers(scratch: Scratch, placement: Placement, load: _Load) -> Iterator[None]:
    """Threads that write until the load is over, and have ended when the block has."""
    threads = [
        threading.Thread(target=_write, args=(scratch, placement, load, str(number)), daemon=True)
        for number in range(WRITERS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        load.over.set()
        for thread in threads:
            thread.join(END_SECONDS)


def _write(scratch: Scratch, placement: Placement, load: _Load, label: str) -> None:
    """Short transactions, one row each. A writer who is refused tries with the epoch that comes next, too: behind a
    closed fence it must not be the epoch alone that holds."""
    ahead = number = 0
    while not load.over.is_set():
        number += 1
        key, began = f"{label}-{number}", time.monotonic()
        try:
            with scratch.sessions.open(replace(placement, epoch=load.epoch + ahead)) as connection:
                connection.execute(insert(field_mappings).values(field=key, updated_at=now()))
        except Refused as refused:
            if refused.code is Code.FENCED:
                load.refused += 1
                ahead = 1 - ahead
            else:
                load.unavailable.append(refused.message)
        except Exception as error:  # the thread has nobody above it
            load.defects.append(words_of(error))
        else:
            load.acknowledged[key] = began
        load.over.wait(REST_SECONDS)


@contextmanager
def _reader(scratch: Scratch, placement: Placement) -> Iterator[Any]:
    """A connection that is open already when it is asked which rows are there."""
    statements = statements_for(scratch.server.engine)
    with closing(statements.connect(placement)) as connection:
        statements.begin_by_itself(connection, True)

        def keys() -> set[str]:
            found = statements.run(connection, f"SELECT field FROM {placement.schema}.field_mappings")
            connection.rollback()
            return {row[0] for row in found}

        yield keys


def _every_table(scratch: Scratch) -> Finding:
    """Past the product's own session code, only the template's triggers are left to refuse a write."""
    statements, placement = statements_for(scratch.server.engine), scratch.workspace()
    schema = placement.schema
    met = {}
    with closing(statements.connect(placement)) as connection:
        statements.begin_by_itself(connection, True)
        scratch.server.set_fence(schema, MOVER, mode=FenceMode.MOVED, epoch=2)
        for table in DATA_TABLES:
            write = f"INSERT INTO {schema}.{table.name} SELECT * FROM {schema}.{table.name} WHERE 1 = 0"
            met[table.name] = _refusal(statements, connection, write)
            connection.rollback()
    return _refusals("every table, without the product's own code", met)


def _old_transactions(scratch: Scratch) -> Finding:
    """A snapshot from before the fence closed still shows it open; it must not write past it."""
    statements, placement = statements_for(scratch.server.engine), scratch.workspace()
    met = {old.name: _old(scratch, placement, statements, old) for old in statements.old_transactions}
    return _refusals("transactions that began before", met)


def _old(scratch: Scratch, placement: Placement, statements: Statements, old: OldTransaction) -> _Refusal | None:
    schema = placement.schema
    with closing(statements.connect(placement)) as connection:
        statements.begin_by_itself(connection, True)
        refusal = _refusal(statements, connection, old.level)
        connection.commit()  # the level counts from the next transaction on
        if refusal is not None:
            return refusal
        statements.run(connection, f"SELECT field FROM {schema}.field_mappings")
        scratch.server.set_fence(schema, MOVER, mode=FenceMode.MOVED, epoch=2)
        try:
            between = (old.between or "").replace("{own}", schema)
            write = f"INSERT INTO {schema}.field_mappings (field, updated_at) VALUES ('late', CURRENT_TIMESTAMP)"
            return _refusal(statements, connection, *filter(None, (between, write)))
        finally:
            connection.rollback()
            scratch.server.set_fence(schema, MOVER, mode=FenceMode.RW, epoch=1)


def _captured(scratch: Scratch) -> Finding:
    """What a tenant writes while it is moved is noted by triggers, in a table that it has no right to."""
    statements, placement, told = statements_for(scratch.server.engine), scratch.workspace(), "what a capture notes"
    schema = placement.schema
    table = f"{schema}.field_mappings"
    scratch.server.capture(schema, MOVER, on=True)
    with closing(statements.connect(placement)) as connection:
        statements.begin_by_itself(connection, True)
        written = _refusal(
            statements,
            connection,
            f"INSERT INTO {table} (field, updated_at) VALUES ('gone', CURRENT_TIMESTAMP), ('kept', CURRENT_TIMESTAMP)",
            f"UPDATE {table} SET field = 'other' WHERE field = 'kept'",
            f"DELETE FROM {table} WHERE field = 'gone'",
        )
        connection.commit()
        own = _refusal(statements, connection, f"INSERT INTO {schema}._outbox (table_name, row_key) VALUES ('x', 'y')")
        connection.rollback()
    with scratch.server.snapshot(schema) as found:
        rows = found.changes(100).rows.get("field_mappings", {})
    noted = {key: row is not None for key, row in rows.items()}
    if written is not None:
        return Finding(CHECK, told, outcome_of(False), f"With a capture on, a tenant's writes are {written.told}.")
    if own is None:
        return Finding(CHECK, told, outcome_of(False), "The tenant can write to what the capture notes.")
    well = noted == {"gone": False, "kept": False, "other": True}
    return Finding(
        CHECK, told, outcome_of(well), "Every key was noted." if well else f"Noted were {few(sorted(noted)) or 'none'}."
    )


@dataclass(frozen=True)
class _Refusal:
    """How a write was refused. :ivar expected: by the fence, or by rights."""

    told: str
    expected: bool


def _refusal(statements: Statements, connection: Any, *texts: str) -> _Refusal | None:
    """How one of the statements is refused; None: they were all executed."""
    try:
        for text in texts:
            statements.run(connection, text)
    except statements.error as error:
        connection.rollback()
        code = statements.code(error)
        expected = code in statements.denials
        return _Refusal(f"refused ({code})" if expected else f"refused ({code}): {words_of(error)}", expected)
    return None


def _refusals(about: str, met: dict[str, _Refusal | None]) -> Finding:
    through = [name for name, refusal in met.items() if refusal is None]
    odd = [name for name, refusal in met.items() if refusal is not None and not refusal.expected]
    told = f"{len(met)} writes behind the closed fence were refused."
    if through:
        told = f"{len(through)} of {len(met)} writes passed the closed fence: {few(through)}."
    if odd:
        told += f" {len(odd)} met another error than the fence's; look at them: {few(odd)}."
    details = tuple(f"{name}: {refusal.told if refusal else 'written'}" for name, refusal in met.items())
    return Finding(CHECK, about, outcome_of(not through), told, details)
