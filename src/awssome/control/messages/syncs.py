"""Syncs, and the deals of the HubSpot account that they are about."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from awssome.control.messages.base import Body
from awssome.domain.syncs import SyncKind

DealId = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,20}$")]


class StartSync(Body):
    """What kind of run. `deal_ids`: of a retry, which deals of the inbox; none: all that wait there."""

    kind: SyncKind = SyncKind.IMPORT
    deal_ids: list[Annotated[str, StringConstraints(min_length=1, max_length=32)]] | None = Field(None, max_length=500)


class SyncOut(Body):
    """A sync that was accepted, or the one that is open already. `kind`: the one that runs now."""

    sync_id: UUID
    kind: SyncKind = SyncKind.IMPORT


class DealRow(Body):
    """A deal as the list of HubSpot's deals shows it. `imported`: it is here already."""

    deal_id: str
    title: str
    stage: str
    amount: str | None
    currency: str | None
    created_at: datetime | None
    closed: bool
    imported: bool
    picked: bool


class DealPage(Body):
    """Deals of the HubSpot account, oldest first. `after`: continues the list; None: this is its end."""

    deals: list[DealRow]
    total: int
    after: str | None


class Picks(Body):
    """Deals to choose, after those that are chosen, and deals to choose no longer. `clear`: none; the rule decides."""

    add: list[DealId] = Field(default_factory=list, max_length=100)
    remove: list[DealId] = Field(default_factory=list, max_length=100)
    clear: bool = False
