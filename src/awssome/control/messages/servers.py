"""Servers of the data plane."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import Field, SecretStr

from awssome.control.messages.base import Body
from awssome.domain.tenants import EngineName, ServerKind


class ServerRow(Body):
    """A server with its load."""

    id: UUID
    name: str
    kind: ServerKind
    engine: EngineName
    host: str
    port: int
    database: str
    open: bool
    problem: str | None
    capacity: int
    tenants: int
    retained: int
    tenant: str | None = Field(None, description="company that a dedicated server belongs to")
    created_at: datetime
    silent_since: datetime | None = Field(None, description="since when it does not answer")


class AddServer(Body):
    """A server to register; the URL is of its administrator and is kept encrypted."""

    name: str
    kind: ServerKind
    engine: EngineName
    url: SecretStr
    capacity: int | None = None
