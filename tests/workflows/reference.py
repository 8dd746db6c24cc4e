"""What a deal registration has to hold for a HubSpot deal: written a second time, from what docs and pages promise, so
that the product's own mapping is not judged by itself."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from tests.workflows.portals import Properties

FED = ("title", "stage", "deal_amount", "deal_currency", "target_close_date", "opportunity_type", "business_problem")
"""The fields that HubSpot feeds; all others stay empty until a user fills them."""

_STAGE = {
    "appointmentscheduled": "Prospect",
    "qualifiedtobuy": "Qualified",
    "presentationscheduled": "Technical Validation",
    "decisionmakerboughtin": "Business Validation",
    "contractsent": "Business Validation",
    "closedwon": "Committed",
    "closedlost": "Closed Lost",
}
_TYPE = {"newbusiness": "Net New Business", "existingbusiness": "Expansion"}


def registered(deal_id: str, deal: Properties) -> dict[str, Any]:
    """The fields that HubSpot feeds, for a deal with these properties."""
    name = " ".join((deal["dealname"] or "").split())
    amount = Decimal(deal["amount"]) if deal["amount"] and exact(deal["amount"]) else None
    problem = (deal["description"] or "").strip()
    return {
        "title": _fit(name, 255) or f"Deal {deal_id}",
        "stage": _STAGE.get(deal["dealstage"] or "", "Prospect"),
        "deal_amount": amount,
        "deal_currency": deal["deal_currency_code"],
        "target_close_date": date.fromisoformat(deal["closedate"][:10]) if deal["closedate"] else None,
        "opportunity_type": _TYPE.get(deal["dealtype"] or ""),
        "business_problem": _fit(problem, 2000) or None,
    }


def exact(amount: str) -> bool:
    """Whether an amount is held as it is: one with more than four digits after the point is left out, never rounded."""
    return len(amount.partition(".")[2]) <= 4


def _fit(text: str, units: int) -> str:
    """Cut to so many UTF-16 units, the last of which tells that it was cut; never through a character."""
    if len(text.encode("utf-16-le")) <= 2 * units:
        return text
    kept = text
    while len(kept.encode("utf-16-le")) > 2 * (units - 1):
        kept = kept[:-1]
    return kept + "…"
