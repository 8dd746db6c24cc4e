"""A figure of the platform, as systems that collect figures take it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Unit(StrEnum):
    """What a figure counts."""

    COUNT = "count"
    BYTES = "bytes"
    SECONDS = "seconds"


@dataclass(frozen=True)
class Figure:
    """One figure at this moment.

    :ivar name: words with underscores, its unit last: `tenant_bytes`.
    :ivar meaning: in a few words, the same wherever the name is.
    :ivar labels: what it is the figure of. Their values are few: tiers, servers, queues, the heaviest tenants.
    """

    name: str
    meaning: str
    value: float
    unit: Unit = Unit.COUNT
    labels: Mapping[str, str] = field(default_factory=dict)


HEAVIEST = 10
"""So many tenants have figures of their own: each one is paid for where figures are kept."""
