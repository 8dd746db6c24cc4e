"""What happened to deals: one entry for each change, whoever made it and by whichever way.

A property's earlier values are read from these entries, so that the page of a deal and the API tell the same history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

What = Literal["created", "edited", "archived", "restored", "merged"]


@dataclass(frozen=True, slots=True)
class Source:
    """Who changed a deal, in HubSpot's words: `CRM_UI` with a user, `INTEGRATION` with an app, `API` for the tester."""

    type: str
    id: str | None = None


TESTER = Source("API")


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


def versions(changes: Sequence[Change], name: str, current: str | None, created: str) -> list[Version]:
    """The values of a property, newest first.

    :param current: what it is now, which is what it always was when no change names it.
    :param created: when the deal was created.
    """
    named = [change for change in changes if name in change.values]
    if not named:
        return [] if current is None else [Version(current, created, Source("CRM_UI"))]
    told = [Version(change.values[name][1], change.at, change.by) for change in reversed(named)]
    before = named[0].values[name][0]
    return told if before is None else [*told, Version(before, created, Source("CRM_UI"))]
