"""Servers of the data plane."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import Field, SecretStr

from awssome.control.messages.base import Body
from awssome.domain.instances import InstanceState
from awssome.domain.tenants import EngineName, ServerKind


class DrainOut(Body):
    """A drain that is under way: until at most `keep` tenants live there; `problem`: why it does not go on."""

    keep: int
    to: str | None
    requested_by: str
    since: datetime
    problem: str | None


class ServerRow(Body):
    """A server with its load. A pool without a free place takes no tenants, though it is open."""

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
    free: int = Field(description="places for tenants to come; a copy that is kept for rollback takes one")
    fill_percent: float
    takes_tenants: bool = Field(description="open, not being drained, and with a place")
    drain: DrainOut | None = None
    drain_problem: str | None = Field(None, description="why the last drain ended before its goal")
    tenant: str | None = Field(None, description="company that a dedicated server belongs to")
    created_at: datetime
    silent_since: datetime | None = Field(None, description="since when it does not answer")
    instance: InstanceState | None = Field(None, description="how far AWS is with one that it makes, or takes away")
    instance_since: datetime | None = Field(None, description="when it was asked for")


class AddServer(Body):
    """A server to register; the URL is of its administrator and is kept encrypted."""

    name: str
    kind: ServerKind
    engine: EngineName
    url: SecretStr
    capacity: int | None = None
