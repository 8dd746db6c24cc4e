"""What happened to deals: one entry for each change, whoever made it and by whichever way.

A property's earlier values are read from these entries (`history`), so that the page of a deal and the API tell the
same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

What = Literal["created", "edited", "archived", "restored", "merged"]


@dataclass(frozen=True, slots=True)
class Source:
    """Who changed a deal, in HubSpot's words: `CRM_UI` a user, `INTEGRATION` the app with that id, `API` the tester."""

    type: str
    id: str | None = None


USER, TESTER = Source("CRM_UI"), Source("API")


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a deal.

    :ivar at: when, as HubSpot writes times.
    :ivar values: name of each property that changed -> its values before and after.
    :ivar told: the other deals of a merge, as a person reads it.
    """

    at: str
    what: What
    by: Source
    values: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)
    told: str = ""


@dataclass(frozen=True, slots=True)
class Version:
    """A value that a property had from a moment on."""

    value: str | None
    at: str
    by: Source
