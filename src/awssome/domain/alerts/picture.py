"""The platform at a moment, as far as rules look at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from awssome.domain.instances import InstanceState
from awssome.domain.tenants import ServerKind


@dataclass(frozen=True)
class TenantRef:
    """A tenant, as far as an alert names it."""

    id: UUID
    slug: str
    company: str


@dataclass(frozen=True)
class ServerNow:
    """A server as it was seen last.

    :ivar open: whether it takes new tenants.
    :ivar taken: places taken, kept copies with them.
    :ivar full_on: when it will be full; see `domain.forecast`.
    :ivar silent_since: since when it does not answer; `silence` says how.
    :ivar seen_at: when figures were collected last.
    :ivar instance: how far one is that AWS makes; None for any other.
    :ivar busiest: the tenant with the most connections, and how many.
    :ivar longest_by: the tenant that runs the longest statement; `longest_s` seconds so far.
    :ivar blocked_by: the tenant for whom most of the `blocked` sessions wait.
    """

    id: UUID
    name: str
    kind: ServerKind
    open: bool
    capacity: int
    taken: int
    created_at: datetime
    problem: str | None = None
    full_on: date | None = None
    silent_since: datetime | None = None
    silence: str | None = None
    seen_at: datetime | None = None
    connections: int = 0
    connection_limit: int | None = None
    busiest: tuple[TenantRef, int] | None = None
    longest_s: float | None = None
    longest_by: TenantRef | None = None
    blocked: int = 0
    blocked_by: TenantRef | None = None
    instance: InstanceState | None = None

    @property
    def there(self) -> bool:
        """Whether one can connect to it: AWS is neither making it nor taking it away."""
        return self.instance in (None, InstanceState.AVAILABLE)


@dataclass(frozen=True)
class MoveNow:
    """A move that has failed, or is under way."""

    id: UUID
    tenant: TenantRef
    route: str
    failed: bool
    requested_at: datetime
    problem: str | None


@dataclass(frozen=True)
class QueueNow:
    """A queue of jobs: how many failed within a day, and how long the oldest has been waiting that could run."""

    name: str
    failed: int
    waiting_s: float


@dataclass(frozen=True)
class Picture:
    """The platform at a moment, as far as rules look at it.

    :ivar kept: moves whose source was not dropped in its time, and is to be looked at.
    :ivar subscriptions: tenants whose subscription in AWS Marketplace is in doubt, and why.
    """

    at: datetime
    servers: Sequence[ServerNow] = ()
    moves: Sequence[MoveNow] = ()
    kept: Sequence[MoveNow] = ()
    queues: Sequence[QueueNow] = ()
    reconnects: Sequence[TenantRef] = ()
    stuck: Sequence[tuple[TenantRef, str]] = ()
    subscriptions: Sequence[tuple[TenantRef, str]] = ()
    unsealed_s: float = 0.0
