"""Archives and restores: their kinds, states and steps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class ArchiveKind(StrEnum):
    """Why an archive was made.

    `manual`: somebody asked for it. `scheduled`: its time had come. `dormant`: before a dormant tenant's workspace is
    dropped. `final`: before a deleted tenant's is. `uploaded`: brought from elsewhere to be restored. `retired`: before
    the source of a move is dropped, whose retention has ended.
    """

    MANUAL = "manual"
    SCHEDULED = "scheduled"
    DORMANT = "dormant"
    FINAL = "final"
    UPLOADED = "uploaded"
    RETIRED = "retired"


class ArchiveState(StrEnum):
    """`ready` when the file is whole; `expired` when it has been deleted, as its retention had ended."""

    REQUESTED = "requested"
    READY = "ready"
    FAILED = "failed"
    EXPIRED = "expired"


class RestoreState(StrEnum):
    """How far a restore is. `verified`: the data is at the target, proven, and the tenant may be there already."""

    REQUESTED = "requested"
    LOADING = "loading"
    VERIFIED = "verified"
    DONE = "done"
    FAILED = "failed"


RESTORES_UNDER_WAY = (RestoreState.REQUESTED, RestoreState.LOADING, RestoreState.VERIFIED)
"""In these states somebody works on the tenant; at most one such restore exists for a tenant, and no move with it."""

RESTORE_STEPS: tuple[tuple[str, str], ...] = (
    ("provision", "Make schema and login on the target"),
    ("load", "Load every table from the archive"),
    ("verify", "Compare counts and checksums with the archive"),
    ("migrate", "Bring the tables to the newest revision"),
    ("freeze", "Pause writes where the tenant is"),
    ("switch", "Switch the placement"),
    ("open", "Open the target"),
    ("retain", "Keep what was replaced"),
)
"""The steps as pages show them: key in the evidence, words. One beside ends after `migrate`."""


EXPORTS_A_DAY = 10
"""How often the people of a tenant may have it exported within 24 hours."""

LARGEST_UPLOAD = 1 << 30
"""Bytes of an archive that is sent to be restored from."""


@dataclass(frozen=True)
class ArchivePolicy:
    """When archives are made by themselves, and how long they are kept.

    :param export_hours: an active tenant's data is exported when the last scheduled archive is so old; 0: never.
    :param days: how long archives are kept that somebody asked for, or whose time had come.
    """

    export_hours: int = 24
    days: int = 14

    def expiry(self, at: datetime) -> datetime:
        """Until when an archive is kept that is made then."""
        return at + timedelta(days=self.days)
