"""Moves: their phases, and what may be done in each. The state lives in the registry and in the two `_fence` rows."""

from __future__ import annotations

from collections.abc import Sequence
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

AT_ITS_TARGET = (Phase.RETAINING, Phase.DROPPING, Phase.DROPPED)
"""In these phases a move has brought the tenant where it was to go."""


class MoveState(StrEnum):
    """How a move stands, for those who look for one."""

    UNDER_WAY = "under_way"
    FAILED = "failed"
    KEPT = "kept"
    DROPPED = "dropped"
    CANCELLED = "cancelled"

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases of a move that stands so."""
        return _PHASES[self]


_PHASES: dict[MoveState, tuple[Phase, ...]] = {
    MoveState.UNDER_WAY: UNDER_WAY,
    MoveState.FAILED: (Phase.FAILED,),
    MoveState.KEPT: (Phase.RETAINING,),
    MoveState.DROPPED: (Phase.DROPPING, Phase.DROPPED),
    MoveState.CANCELLED: (Phase.CANCELLED,),
}

OWNERS = (MoveKind.UPGRADE, MoveKind.ROLLBACK, MoveKind.DOWNGRADE)
"""Moves that follow from what a tenant pays for: its owner may call them off. Others are the operators' business."""

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


USUAL_ROWS_A_SECOND = 20_000.0
"""How fast rows are copied and compared on an installation that has not moved anybody yet: a careful guess."""

LEAST_SECONDS = 5.0
"""What a move takes apart from its rows: connections, schema, login, the cut-over."""

_TELLING_ROWS = 1_000


def expected_seconds(rows: int, past: Sequence[tuple[int, float]]) -> float:
    """How long a move is going to take once its target server is there, as far as earlier ones tell.

    :param rows: how many the tenant has.
    :param past: rows and seconds of earlier moves; small ones say nothing of speed.
    """
    telling = [(moved, seconds) for moved, seconds in past if moved >= _TELLING_ROWS and seconds > 0]
    pace = USUAL_ROWS_A_SECOND
    if telling:
        pace = sum(moved for moved, _ in telling) / sum(seconds for _, seconds in telling)
    return LEAST_SECONDS + rows / pace


class NotYet(Exception):
    """What a move waits for takes long, and nobody waits in a thread.

    :ivar until: when to look again.
    :ivar message: what it waits for, for people.
    """

    def __init__(self, until: datetime, message: str) -> None:
        super().__init__(message)
        self.until, self.message = until, message
