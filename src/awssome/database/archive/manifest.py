"""What an archive says of itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Table

from awssome.database import shape
from awssome.database.canonical import type_name
from awssome.database.engine import TableSum
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import EngineName

FORMAT = 1
"""Version of the format. A reader refuses a newer one."""

NAME = "manifest.json"


@dataclass(frozen=True)
class Subject:
    """Whose archive it is."""

    tenant_id: UUID
    slug: str
    company: str
    tier: str


@dataclass(frozen=True)
class TableEntry:
    """One table: its columns as (name, type), how many rows, their checksum, and the member's bytes and SHA-256."""

    name: str
    columns: tuple[tuple[str, str], ...]
    sum: TableSum
    bytes: int
    sha256: str

    @property
    def member(self) -> str:
        """The file in the archive."""
        return f"tables/{self.name}.jsonl"


@dataclass(frozen=True)
class Manifest:
    """Whose data it is, of when, from where, of which revision of the template, and the tables."""

    subject: Subject
    made_at: datetime
    engine: EngineName
    revision: str
    epoch: int
    tables: tuple[TableEntry, ...]

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(entry.sum.rows for entry in self.tables)

    @property
    def sums(self) -> dict[str, TableSum]:
        """What `Server.sums` must find where the archive has been loaded."""
        return {entry.name: entry.sum for entry in self.tables}

    def shape(self) -> tuple[Table, ...]:
        """The tables that the archive fills, parents before children: all of its revision, and as they are there.

        :raises Refused: INVALID when the archive holds other ones; CONFLICT for a revision that is not known here.
        """
        tables = shape.tables(self.revision)
        if {table.name: columns_of(table) for table in tables} != {one.name: one.columns for one in self.tables}:
            raise damaged("its tables are not those of its revision")
        return tables

    def to_json(self) -> bytes:
        """As it stands in the archive."""
        found = {
            "format": FORMAT,
            "tenant": {
                "id": str(self.subject.tenant_id),
                "slug": self.subject.slug,
                "company": self.subject.company,
                "tier": self.subject.tier,
            },
            "made_at": self.made_at.isoformat(),
            "engine": self.engine,
            "revision": self.revision,
            "epoch": self.epoch,
            "tables": [
                {
                    "name": entry.name,
                    "columns": [{"name": name, "type": kind} for name, kind in entry.columns],
                    "rows": entry.sum.rows,
                    "checksum": entry.sum.checksum,
                    "bytes": entry.bytes,
                    "sha256": entry.sha256,
                }
                for entry in self.tables
            ],
        }
        return json.dumps(found, indent=1, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Manifest:
        """:raises Refused: INVALID when it is none; CONFLICT when it is of a newer format."""
        try:
            found = json.loads(text)
            version = int(found["format"])
            if version == FORMAT:
                return _manifest(found)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise damaged("its manifest cannot be read") from None
        raise Refused(
            Code.CONFLICT,
            f"The archive has format {version}, and this version of Awssome reads format {FORMAT}.",
            "Use the version that made it, or a newer one.",
        )


def columns_of(table: Table) -> tuple[tuple[str, str], ...]:
    """Columns as the manifest has them."""
    return tuple((column.name, type_name(column.type)) for column in table.columns)


def damaged(why: str) -> Refused:
    """The archive cannot be used."""
    return Refused(
        Code.INVALID,
        f"The archive is damaged, or was not made by Awssome: {why}. Nothing was restored.",
        "Use another archive.",
    )


def _manifest(found: Any) -> Manifest:
    tenant = found["tenant"]
    return Manifest(
        subject=Subject(UUID(tenant["id"]), str(tenant["slug"]), str(tenant["company"]), str(tenant["tier"])),
        made_at=datetime.fromisoformat(found["made_at"]),
        engine=EngineName(found["engine"]),
        revision=str(found["revision"]),
        epoch=int(found["epoch"]),
        tables=tuple(
            TableEntry(
                name=str(entry["name"]),
                columns=tuple((str(column["name"]), str(column["type"])) for column in entry["columns"]),
                sum=TableSum(int(entry["rows"]), str(entry["checksum"])),
                bytes=int(entry["bytes"]),
                sha256=str(entry["sha256"]),
            )
            for entry in found["tables"]
        ),
    )
