"""HubSpot's limits as data. Sources are pages of developers.hubspot.com."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["general", "search"]
"""The two budgets that a HubSpot account has for one app: search counts apart from everything else."""


@dataclass(frozen=True)
class Limit:
    """A rolling limit, and how much of it is used.

    :param allowed: calls that HubSpot takes in any window.
    :param window_seconds: the length of the window.
    :param rate_per_s: the sustained rate that we keep to.
    :param burst: calls that may go together after a rest.

    `burst + floor(window_seconds * rate_per_s)` stays at or below `allowed`: see `domain.budgets`.
    """

    allowed: int
    window_seconds: float
    rate_per_s: float
    burst: int


GENERAL = Limit(allowed=110, window_seconds=10, rate_per_s=10.5, burst=4)
"""A marketplace app under OAuth: 110 calls in 10 s for each account that installed it, whatever the account pays;
search does not count (docs: developer tooling, platform, usage guidelines). 10.5 a second are 95.4 % of it, and the
two calls in each window that are left free are room for calls that arrive closer together than they were sent."""

SEARCH = Limit(allowed=5, window_seconds=1, rate_per_s=4, burst=1)
"""CRM search: 5 calls a second for each account, shared by every app in it (docs: API reference, 2026-03, CRM, search
the CRM). We take 4, and leave one to the others."""

LIMITS: dict[Kind, Limit] = {"general": GENERAL, "search": SEARCH}


LIST_PAGE = 100
"""Deals on one page of the list, at most."""

SEARCH_PAGE = 200
"""Deals on one page of a search, at most (docs: search the CRM)."""

SEARCH_RESULTS = 10_000
"""Deals that one search gives over all its pages; asking beyond is an error 400 (docs: search the CRM)."""

SEARCH_FILTERS = 6
"""Filters in one group of a search, at most (docs: search the CRM). We use one group."""

BATCH = 100
"""Deals that one batch read takes, at most."""
