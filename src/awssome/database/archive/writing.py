"""Writing an archive from a snapshot, in a stream: what is in memory at a time is some rows."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable
from typing import IO

from sqlalchemy import Table

from awssome.database import shape
from awssome.database.archive.manifest import NAME, Manifest, Subject, TableEntry, columns_of
from awssome.database.canonical import Sum
from awssome.database.engine import Snapshot, Texts
from awssome.domain.tenants import EngineName
from awssome.domain.times import now

BLOCK = 1 << 16
"""Bytes that are compressed at a time."""

LEVEL = 5
"""Of deflate: a tenth larger than the best, in a third of the time."""


def write(file: IO[bytes], subject: Subject, engine: EngineName, snapshot: Snapshot) -> Manifest:
    """Write a tenant's tables and their manifest to a file. :raises Refused: what reading the snapshot raises."""
    made_at = now()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as archive:
        tables = shape.tables(snapshot.fence.revision)
        entries = tuple(_write_table(archive, table, snapshot.rows(table)) for table in tables)
        manifest = Manifest(subject, made_at, engine, snapshot.fence.revision, snapshot.fence.epoch, entries)
        archive.writestr(_member(NAME), manifest.to_json())
    return manifest


def _write_table(archive: zipfile.ZipFile, table: Table, rows: Iterable[Texts]) -> TableEntry:
    found, digest, size = Sum(), hashlib.sha256(), 0
    block = bytearray()
    with archive.open(_member(f"tables/{table.name}.jsonl"), "w", force_zip64=True) as member:
        for row in rows:
            found.add(row)
            block += json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
            if len(block) >= BLOCK:
                digest.update(block)
                size += member.write(block)
                block.clear()
        digest.update(block)
        size += member.write(block)
    return TableEntry(table.name, columns_of(table), found.reached(), size, digest.hexdigest())


def _member(name: str) -> zipfile.ZipInfo:
    """Without the time and rights of any machine: the same rows make the same member."""
    member = zipfile.ZipInfo(name)
    member.compress_type = zipfile.ZIP_DEFLATED
    return member
