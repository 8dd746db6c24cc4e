"""What one tenant may take of what all share, by tier; and what visitors may, of whom no tenant is known.

The one table. Whoever holds a limit reads it here, and docs/security.md shows the same figures. Requests and
connections are counted by each process for itself: on the whole they are so many times as much as there are processes,
and a login's own limit of connections (`LOGIN_CONNECTIONS`) is what holds all processes together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from awssome.domain.tenants import Tier


@dataclass(frozen=True)
class Pace:
    """How fast requests may come.

    :ivar per_second: the sustained rate.
    :ivar burst: how many a rested caller may make at once.
    :ivar at_once: how many may be under way together.
    """

    per_second: float
    burst: int
    at_once: int


@dataclass(frozen=True)
class Limits:
    """What one tenant may take.

    :ivar requests: the pace of all its people together.
    :ivar connections: database connections of one process.
    :ivar statement_seconds: how long one statement may run in its database.
    :ivar export_rows: rows in one file for a spreadsheet; the rest comes in further files.
    """

    requests: Pace
    connections: int
    statement_seconds: int
    export_rows: int


# Ten open pages that poll each second are ten requests a second. A web process works on 16 requests at a time: no
# tenant gets more than a part of it, and none of its requests waits for a connection, which would take a thread.
LIMITS: Mapping[Tier, Limits] = {
    Tier.FREE: Limits(Pace(20, 60, 4), connections=4, statement_seconds=10, export_rows=10_000),
    Tier.PAID: Limits(Pace(60, 180, 6), connections=6, statement_seconds=30, export_rows=100_000),
}

VISITOR = Pace(per_second=10, burst=50, at_once=6)
"""One network address from which requests come without a session that is known: each may cost the central API one. It
cannot have all that visitors have at once."""

VISITORS = Pace(per_second=100, burst=200, at_once=12)
"""All such addresses together: a flood of made-up sessions does not become one on the central API."""

LONGEST_STATEMENT = max(limits.statement_seconds for limits in LIMITS.values())
"""Seconds; what a tenant's login has where nobody says which tier it is."""

TRANSACTION_SECONDS = 120
"""How long a tenant's transaction may stay open, busy or idle, before it is ended from outside."""

GRACE_SECONDS = 5
"""How much longer than its limit a statement has run when it is ended from outside: its own time limit comes first."""

SOONEST_ENDED = min(limits.statement_seconds for limits in LIMITS.values()) + GRACE_SECONDS
"""Seconds before which no tenant's statement or transaction is looked at."""


def is_too_long(tier: Tier, statement_seconds: float, transaction_seconds: float) -> bool:
    """Whether a session is to be ended from outside: a session may lift its own time limit.

    :param statement_seconds: since its statement began; 0 when none is running.
    :param transaction_seconds: since its transaction began.
    """
    longest = LIMITS[tier].statement_seconds + GRACE_SECONDS
    return statement_seconds > longest or transaction_seconds > TRANSACTION_SECONDS
