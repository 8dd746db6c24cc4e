"""Reading an archive in a stream. Nothing in it is believed before it is proven."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO
from uuid import UUID

from sqlalchemy import Table

from awssome.database.archive.manifest import NAME, Manifest, damaged
from awssome.database.engine import Texts
from awssome.domain.errors import Code, Refused

MANIFEST_BYTES = 1 << 20
"""A manifest is never longer."""

ROW_BYTES = 64 << 20
"""Nor is a row."""

STRANGE_RATIO, STRANGE_BYTES = 200, 64 << 20
"""An archive from elsewhere may unfold to so many times its size, or to so many bytes if that is more."""


@dataclass(frozen=True)
class Archive:
    """An archive that is open."""

    manifest: Manifest
    _zip: zipfile.ZipFile

    def rows(self, table: Table) -> Iterator[Texts]:
        """The rows of a table. The last one comes only when the whole member is what the manifest says.

        :raises Refused: INVALID when it is not, or a row is none of the table's.
        """
        entry = next(found for found in self.manifest.tables if found.name == table.name)
        width, count, size, digest = len(table.columns), 0, 0, hashlib.sha256()
        last: Texts | None = None
        try:
            with self._zip.open(entry.member) as member:
                while line := member.readline(min(ROW_BYTES, entry.bytes - size + 1)):
                    size += len(line)
                    count += 1
                    digest.update(line)
                    if size > entry.bytes or not line.endswith(b"\n"):
                        raise damaged(f"table {entry.name} is longer than its manifest says")
                    if last is not None:
                        yield last
                    last = _row(line, width, entry.name)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError):
            raise damaged(f"table {entry.name} cannot be read") from None
        if (count, size, digest.hexdigest()) != (entry.sum.rows, entry.bytes, entry.sha256):
            raise damaged(f"table {entry.name} is not what its manifest says")
        if last is not None:
            yield last

    def check(self) -> None:
        """Read all of it. :raises Refused: INVALID when any part is not what the manifest says."""
        for table in self.manifest.shape():
            for _ in self.rows(table):
                pass


@contextmanager
def opened(file: IO[bytes], tenant_id: UUID, *, strange: bool = False) -> Iterator[Archive]:
    """An archive of this tenant. Its manifest has been read and its members are those it names; rows are proven as
    they are read.

    :param file: can be sought in.
    :param strange: it was not made by this platform's own workers, and may unfold to a multiple of its size only.
    :raises Refused: INVALID when it is no archive, is damaged or another tenant's; CONFLICT when it is of a newer
        format or revision.
    """
    try:
        found = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise damaged("it is no ZIP file, or a part of one") from None
    with found:
        manifest = _manifest(found)
        _check_members(found, manifest, strange=strange)
        if manifest.subject.tenant_id != tenant_id:
            raise Refused(
                Code.INVALID,
                f"The archive is of another tenant: {manifest.subject.company[:120]}. Nothing was restored.",
                "Only its own tenant can be restored from it: its tokens open for nobody else.",
            )
        manifest.shape()
        yield Archive(manifest, found)


def _manifest(found: zipfile.ZipFile) -> Manifest:
    try:
        with found.open(NAME) as member:
            text = member.read(MANIFEST_BYTES + 1)
    except (KeyError, zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError):
        raise damaged("it has no manifest") from None
    if len(text) > MANIFEST_BYTES:
        raise damaged("its manifest is too long")
    return Manifest.from_json(text)


def _check_members(found: zipfile.ZipFile, manifest: Manifest, *, strange: bool) -> None:
    there = found.infolist()
    expected = {entry.member: entry.bytes for entry in manifest.tables}
    if sorted(member.filename for member in there) != sorted([NAME, *expected]):
        raise damaged("its members are not those that the manifest names")
    for member in there:
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
            raise damaged("a member is encrypted, or compressed in another way")
        if member.filename in expected and member.file_size != expected[member.filename]:
            raise damaged("a member has another size than the manifest says")
    packed = sum(member.compress_size for member in there)
    if strange and sum(expected.values()) > max(STRANGE_BYTES, packed * STRANGE_RATIO):
        raise damaged("it would unfold to more than any honest archive")


def _row(line: bytes, width: int, table: str) -> Texts:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, list) or len(row) != width or not all(value is None or type(value) is str for value in row):
        raise damaged(f"a row of table {table} is none")
    return row
