"""What a HubSpot account defines about its deals: pipelines with their stages, properties, money and time."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from zoneinfo import ZoneInfo

PIPELINE = "default"
"""Id of the pipeline that every HubSpot account has."""


@dataclass(frozen=True)
class PipelineStage:
    """A stage as HubSpot defines it. :ivar probability: the chance to win, 0 to 1, where HubSpot names one."""

    id: str
    label: str
    closed: bool = False
    probability: Decimal | None = None


@dataclass(frozen=True)
class Pipeline:
    """A pipeline of deals as HubSpot defines it."""

    id: str
    label: str
    stages: tuple[PipelineStage, ...] = ()


@dataclass(frozen=True)
class Account:
    """What the mapping has to know of the HubSpot account.

    :ivar currency: the company's; of deals that name none.
    :ivar time_zone: the one in which HubSpot shows dates, by its IANA name.
    """

    currency: str | None = None
    time_zone: str | None = None
    pipelines: tuple[Pipeline, ...] = ()

    @cached_property
    def zone(self) -> ZoneInfo:
        """The time zone; UTC where HubSpot names none, or one that is not known here."""
        try:
            return ZoneInfo(self.time_zone or "UTC")
        except (OSError, ValueError, KeyError):  # no such zone, or nothing that is a name
            return ZoneInfo("UTC")


@dataclass(frozen=True)
class Property:
    """A property of deals as HubSpot defines it.

    :ivar type: HubSpot's word: string, number, date, datetime, enumeration, bool.
    :ivar options: of an enumeration: (value, label) of each.
    """

    name: str
    label: str
    type: str
    options: tuple[tuple[str, str], ...] = ()
