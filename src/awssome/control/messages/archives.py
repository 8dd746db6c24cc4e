"""Archives of one tenant, and restores from them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from awssome.control.messages.base import Body
from awssome.domain.archives import ArchiveKind, ArchiveState, RestoreState
from awssome.domain.tenants import EngineName


class ArchiveOut(Body):
    """An archive; what is not known before it is ready is null until then."""

    id: UUID
    tenant_id: UUID
    kind: ArchiveKind
    state: ArchiveState
    engine: EngineName | None
    revision: str | None
    rows: int | None
    bytes: int | None
    sha256: str | None = Field(description="of the file, in hex")
    requested_by: str
    created_at: datetime
    finished_at: datetime | None
    seconds: float | None = Field(description="from the request to the whole file")
    expires_at: datetime | None
    problem: str | None


class ArchivePage(Body):
    """One page of a tenant's archives, newest first."""

    archives: list[ArchiveOut]
    next: str | None
    previous: str | None = None


class StartRestore(Body):
    """Bring a tenant back from one of its archives.

    `server`: name of another server. `beside`: make a placement that nobody writes to, and leave the tenant as it is.
    """

    archive_id: UUID
    server: str | None = None
    beside: bool = False


class RestoreOut(Body):
    """A restore, with its evidence. `steps` are {key, label, state: done|now|todo|failed, seconds}."""

    id: UUID
    tenant_id: UUID
    archive_id: UUID
    archived_at: datetime
    state: RestoreState
    beside: bool
    server: str
    engine: EngineName
    placement_id: UUID
    schema_name: str
    requested_by: str
    requested_at: datetime
    finished_at: datetime | None
    retain_until: datetime | None = Field(description="beside: how long the placement is kept")
    write_pause_ms: int | None
    verified: bool
    steps: list[dict[str, Any]]
    tables: list[dict[str, Any]] = Field(
        description="{name, rows, source, target, equal} by table; the source is the archive"
    )
    rows: int
    problem: str | None
