"""Moves: their phases, and what may be done in each. The state lives in the registry and in the two `_fence` rows."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum


class MoveKind(StrEnum):
    """Why a tenant moves. The mechanism is the same for all."""

    UPGRADE = "upgrade"
    ROLLBACK = "rollback"
    DOWNGRADE = "downgrade"
    REBALANCE = "rebalance"


class Phase(StrEnum):
    """How far a move is. Written before the step of that name begins; each step can be done again."""

    REQUESTED = "requested"
    PROVISIONING = "provisioning"
    COPYING = "copying"
    VERIFYING = "verifying"
    CUTTING_OVER = "cutting_over"
    SWITCHED = "switched"
    RETAINING = "retaining"
    DROPPING = "dropping"
    DROPPED = "dropped"
    CANCELLED = "cancelled"
    FAILED = "failed"


class FenceMode(StrEnum):
    """What a schema allows: `rw` is open, `standby` a target that is not open yet, `moved` a frozen source."""

    STANDBY = "standby"
    RW = "rw"
    MOVED = "moved"


UNDER_WAY = (
    Phase.REQUESTED,
    Phase.PROVISIONING,
    Phase.COPYING,
    Phase.VERIFYING,
    Phase.CUTTING_OVER,
    Phase.SWITCHED,
)
"""In these phases a mover works on the tenant; at most one such move exists for a tenant."""

CANCELLABLE = (Phase.REQUESTED, Phase.PROVISIONING, Phase.COPYING, Phase.VERIFYING, Phase.FAILED)
"""Before the registry has switched, a move can be called off: the source is opened again, the target dropped."""

STEPS: tuple[tuple[str, str], ...] = (
    ("claim", "Claim the tenant"),
    ("server", "Get the target server ready"),
    ("prepare", "Make schema and login on the target"),
    ("capture", "Note every write from here on"),
    ("copy", "Copy every table"),
    ("catch_up", "Carry over what was written meanwhile"),
    ("verify", "Compare counts and checksums"),
    ("cut_over", "Pause writes and switch"),
    ("open", "Open the target"),
    ("confirm", "Compare the frozen source once more"),
    ("retain", "Keep the source for rollback"),
    ("drop", "Archive and drop the source"),
)
"""The steps as pages show them, 0 to 11: key in the evidence, words."""


class NotYet(Exception):
    """What a move waits for takes long, and nobody waits in a thread.

    :ivar until: when to look again.
    :ivar message: what it waits for, for people.
    """

    def __init__(self, until: datetime, message: str) -> None:
        super().__init__(message)
        self.until, self.message = until, message
