"""Servers that AWS makes for one tenant each: what is ordered, how it is called, how far it is, what is in the way."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from awssome.domain.tenants import EngineName

USUAL = "10 to 40 minutes"
"""How long RDS takes to make an instance. AWS promises nothing; Terraform gives up after 40 minutes by default."""

BACKUP_DAYS = 7
"""How long RDS keeps its own backups of an instance, for a restore to any second of them."""


class InstanceState(StrEnum):
    """How far an instance is. Wanted: AWS is about to be asked, or has been, and nobody has written that down."""

    WANTED = "wanted"
    CREATING = "creating"
    PREPARING = "preparing"
    AVAILABLE = "available"
    FAILED = "failed"
    RETIRING = "retiring"
    DELETING = "deleting"
    DELETED = "deleted"


MAKING = (InstanceState.WANTED, InstanceState.CREATING, InstanceState.PREPARING, InstanceState.FAILED)
"""In these a tenant cannot be on it yet."""


@dataclass(frozen=True)
class Blueprint:
    """What every instance that is ordered looks like.

    :ivar engine: RDS's name of engine and edition: `postgres`, `sqlserver-web`, `sqlserver-se` or `sqlserver-ee`.
    :ivar size: the instance class, like `db.t3.large`.
    :ivar kms_key: encrypts storage, snapshots and the administrator's secret; "": the account's default keys.
    :ivar platform: which installation of the platform it belongs to, in its tags.
    """

    engine: str
    size: str
    storage_gb: int
    subnet_group: str = ""
    security_groups: tuple[str, ...] = ()
    kms_key: str = ""
    multi_az: bool = False
    platform: str = "localhost"

    @property
    def runs(self) -> EngineName:
        """The engine that tenants on it have."""
        return EngineName.POSTGRESQL if self.engine == "postgres" else EngineName.SQLSERVER

    def tags(self, tenant_id: UUID, server_id: UUID) -> dict[str, str]:
        """Who it is for, and by what we know it again. `awssome:tenant` is meant to be a cost allocation tag."""
        return {
            "awssome:platform": self.platform,
            "awssome:tenant": str(tenant_id),
            "awssome:server": str(server_id),
            "awssome:cost": "dedicated",
        }


def identifier(tenant_id: UUID, server_id: UUID) -> str:
    """What the instance is called, in AWS and as a server: always the same for the two, and nobody's name in it.

    At most 63 letters, digits and single hyphens, a letter first (RDS API Reference, "CreateDBInstance").
    """
    return f"awssome-{tenant_id.hex[-12:]}-{server_id.hex[-12:]}"


def final_snapshot(name: str) -> str:
    """What the last snapshot of an instance is called."""
    return f"{name}-final"


def look_again(waited: timedelta) -> timedelta:
    """When to look at an instance again that has been waited for so long: soon at first, each half minute later."""
    return min(max(waited / 10, timedelta(seconds=0.5)), timedelta(seconds=30))


def told(waited: timedelta) -> str:
    """That an instance is being made, for tenants and operators alike."""
    minutes = int(waited.total_seconds() // 60)
    so_far = "less than a minute" if minutes < 1 else "a minute" if minutes == 1 else f"{minutes:,} minutes"
    return f"AWS is making the database server: {so_far} so far, {USUAL} are usual. Work goes on where the data is now."


class Trouble(Exception):
    """AWS does not do what it was asked for. Nothing is lost by it: what was asked for can be asked for again.

    :ivar message: what happened, for operators.
    :ivar advice: what they can do.
    :ivar again: after which time it is worth another try by itself; None: somebody has to act first.
    """

    def __init__(self, message: str, advice: str = "", *, again: timedelta | None = None) -> None:
        super().__init__(message)
        self.message, self.advice, self.again = message, advice, again

    @property
    def whole(self) -> str:
        """Message and advice."""
        return f"{self.message} {self.advice}".strip()
