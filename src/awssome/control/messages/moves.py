"""Moves, with their evidence."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from awssome.control.messages.base import Body
from awssome.domain.instances import InstanceState
from awssome.domain.moves import MoveKind, Phase
from awssome.domain.tenants import ServerKind


class Making(Body):
    """A target server that AWS is making, as far as the platform knows."""

    state: InstanceState
    since: datetime
    stuck: bool = Field(description="something is in AWS's way")
    problem: str | None = Field(None, description="what, in words for operators; a tenant's own people get none")


class MoveOut(Body):
    """A move, with its evidence.

    `steps` are {key, label, state: done|now|todo|failed, seconds, at} and what the step has noted beside.
    """

    id: UUID
    tenant_id: UUID
    company: str
    kind: MoveKind
    phase: Phase
    source: str
    source_kind: ServerKind
    target: str
    target_kind: ServerKind
    requested_by: str
    requested_at: datetime
    switched_at: datetime | None
    finished_at: datetime | None
    retain_until: datetime | None
    write_pause_ms: int | None
    verified: bool
    steps: list[dict[str, Any]]
    tables: list[dict[str, Any]] = Field(description="{name, rows, source, target, equal} by table")
    rows: int
    problem: str | None
    actions: list[str] = Field(description="what may be done now: cancel, retry, rollback, release")
    cancel_requested: bool = Field(False, description="it is called off at its next step")
    confirmed: bool | None = Field(
        None, description="whether the frozen source was summed once more and is what was compared; None: not yet"
    )
    making: Making | None = Field(None, description="the target server, while AWS is making it")
    expected_rows: int | None = Field(None, description="rows of the tenant when they were counted last")
    expected_seconds: float | None = Field(
        None, description="what it takes once the target server is there; None when it is not under way"
    )


class WayBack(Body):
    """The move that can be taken back now: not the newest one, where that failed or was called off."""

    kind: MoveKind
    source: str
    source_kind: ServerKind
    target: str
    target_kind: ServerKind
    until: datetime


class StartMove(Body):
    """Move a tenant; without a server the platform chooses."""

    server: str | None = None


class MovePage(Body):
    """One page of moves, newest first."""

    moves: list[MoveOut]
    next: str | None
    previous: str | None = None
