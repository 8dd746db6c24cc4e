"""HubSpot's limits as data. Sources are pages of developers.hubspot.com."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from awssome.domain.budgets import Limit, Told

Kind = Literal["general", "search"]
"""The two budgets that a HubSpot account has for one app: search counts apart from everything else."""

TierName = Literal["oauth", "free", "professional", "enterprise", "off"]
"""How our app is known to HubSpot: `oauth` as a marketplace app; the others as an app that is distributed privately,
whose limits depend on what the account pays; `off`: no budget, for load tests against a sandbox without limits."""


GENERAL = Limit(allowed=110, window_seconds=10, kept=2, slice=10)
"""A marketplace app under OAuth: 110 calls in 10 s for each account that installed it, whatever the account pays; no
limit for the day, and search does not count (docs: developer tooling, platform, usage guidelines)."""

SEARCH = Limit(allowed=4, window_seconds=1)
"""CRM search: 5 calls a second for each account, shared by every app in it (docs: API reference, 2026-03, CRM, search
the CRM). We take 4, and leave one to the others."""

LIMITS: Mapping[Kind, Limit] = {"general": GENERAL, "search": SEARCH}


def _private(allowed: int, a_day: int) -> Mapping[Kind, Limit]:
    general = Limit(allowed, window_seconds=10, kept=2, slice=10, a_day=a_day)
    return {"general": general, "search": Limit(SEARCH.allowed, SEARCH.window_seconds, a_day=a_day)}


TIERS: Mapping[TierName, Mapping[Kind, Limit]] = {
    "oauth": LIMITS,
    "free": _private(100, 250_000),
    "professional": _private(190, 625_000),
    "enterprise": _private(190, 1_000_000),
    "off": {},
}
"""The budgets by how our app is known (docs: usage guidelines, limits by tier)."""


def told_by(headers: Mapping[str, str]) -> Told | None:
    """The general limit as an answer's headers tell it; None when they do not, as for searches and errors."""
    allowed, remaining, interval, a_day, day_remaining = (
        _whole(headers.get(f"X-HubSpot-RateLimit-{name}"))
        for name in ("Max", "Remaining", "Interval-Milliseconds", "Daily", "Daily-Remaining")
    )
    if not allowed or remaining is None or not interval:
        return None
    day_calls = a_day - day_remaining if a_day is not None and day_remaining is not None else None
    return Told(allowed, min(remaining, allowed), interval / 1000, day_calls)


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() and len(text) <= 9 else None


LIST_PAGE = 100
"""Deals on one page of the list, at most."""

LONGEST_URL = 2_000
"""Characters of an address that every server and proxy on the way takes; beyond, HubSpot may answer 414."""

SEARCH_PAGE = 200
"""Deals on one page of a search, at most (docs: search the CRM)."""

SEARCH_RESULTS = 10_000
"""Deals that one search gives over all its pages; asking beyond is an error 400 (docs: search the CRM)."""

SEARCH_FILTERS = 6
"""Filters in one group of a search, at most (docs: search the CRM). We use one group."""

BATCH = 100
"""Deals that one batch read takes, at most."""
