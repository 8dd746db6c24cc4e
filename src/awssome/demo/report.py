"""What the story leaves behind: the evidence of a run, as `--json` prints it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from awssome.control.messages import MoveOut


@dataclass(frozen=True)
class SyncResult:
    """What a page says of a sync; without a limit the tier is paid."""

    imported: int
    available: int
    limit: int | None


@dataclass(frozen=True)
class Report:
    """A story that was played to its end. Times are in seconds."""

    tenant: str
    signup_seconds: float
    first_sync: SyncResult
    upgrade: MoveOut
    upgrade_seconds: float
    second_sync: SyncResult
    rollback: MoveOut
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """The object as scripts know it."""
        return {
            "tenant": self.tenant,
            "signup": {"seconds": round(self.signup_seconds, 3)},
            "first_sync": asdict(self.first_sync),
            "upgrade": {
                "write_pause_ms": self.upgrade.write_pause_ms,
                "seconds": round(self.upgrade_seconds, 3),
                "verified": self.upgrade.verified,
                "tables": {
                    table["name"]: {"rows": table["rows"], "checksum": table["target"]} for table in self.upgrade.tables
                },
            },
            "second_sync": asdict(self.second_sync),
            "rollback": {"verified": self.rollback.verified, "write_pause_ms": self.rollback.write_pause_ms},
            "seconds": round(self.seconds, 3),
        }
