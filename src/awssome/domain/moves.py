"""Moves: their phases, and what may be done in each. The state lives in the registry and in the two `_fence` rows."""

from __future__ import annotations

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
    ("provision", "Make schema and login on the target"),
    ("freeze", "Pause writes"),
    ("copy", "Copy every table"),
    ("verify", "Compare counts and checksums"),
    ("switch", "Switch the placement"),
    ("open", "Open the target"),
    ("retain", "Keep the source for rollback"),
    ("drop", "Drop the source"),
)
"""The steps as pages show them: key in the evidence, words."""
