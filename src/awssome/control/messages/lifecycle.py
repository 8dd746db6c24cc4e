"""What operators settle about the life of tenants and the load of servers."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from awssome.control.messages.base import Body


class StartRotation(Body):
    """Rotate the secrets of the next batch of tenants. `after`: the last one of the batch before."""

    after: UUID | None = None


class StartKeyRotation(Body):
    """Rotate the data keys of the next batch of tenants.

    `renew`: every tenant gets another data key; else those that something else wraps than what wraps now are wrapped
    anew.
    """

    after: UUID | None = None
    renew: bool = False


class RotationBatch(Body):
    """How many tenants were asked for. `next` continues with those behind; None: there are none."""

    asked: int
    next: UUID | None


class RotationProgress(Body):
    """Rotations that wait or run, and those that were given up."""

    left: int
    failed: int


class StartDrain(Body):
    """Move tenants off a pool until at most `keep` live there. `to`: the pool that takes them; None: the emptiest."""

    keep: int = Field(ge=0)
    to: str | None = None
    dry_run: bool = False


class PlannedMove(Body):
    """A tenant that a drain would move. `last_seen`: when somebody of it was there; `to`: None: nothing has room."""

    slug: str
    company: str
    last_seen: datetime
    to: str | None


class DrainPlan(Body):
    """What a drain would do, and by what order: those first at which nobody has looked for longest."""

    server: str
    keep: int
    order: Literal["longest unseen first"] = "longest unseen first"
    moves: list[PlannedMove]


class ChangeServer(Body):
    """Settings of a server."""

    capacity: int = Field(ge=1, le=100_000)
