"""A deal as a line of a table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from awssome.database.tenant.deals import Deal
from awssome.domain.deals import Source, Stage


@dataclass(frozen=True)
class Row:
    """What a table of deals shows of one; the attributes have the names of the fields, which are also the sort keys."""

    id: UUID
    url: str
    title: str
    stage: str
    customer_company: str | None
    deal_amount: Decimal | None
    currency: str
    target_close_date: date | None
    ready: str
    source: str
    updated_at: datetime


def rows(found: Iterable[Deal]) -> list[Row]:
    """Deals as lines."""
    return [
        Row(
            id=deal.id,
            url=f"/deals/{deal.id}",
            title=deal.title,
            stage=deal.values["stage"],
            customer_company=deal.values["customer_company"],
            deal_amount=deal.values["deal_amount"],
            currency=deal.values["deal_currency"] or "",
            target_close_date=deal.values["target_close_date"],
            ready=_state(deal),
            source="HubSpot" if deal.source is Source.HUBSPOT else "You",
            updated_at=deal.updated_at,
        )
        for deal in found
    ]


def _state(deal: Deal) -> str:
    if deal.archived_at:
        return "archived"
    if deal.values["stage"] == Stage.CLOSED_LOST:
        return "not_for_aws"
    return "ready" if deal.ready else "incomplete"
