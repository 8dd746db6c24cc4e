"""What a deal registration has to hold for a HubSpot deal: written a second time, from what docs and pages promise, so
that the product's own mapping is not judged by itself. For a tenant that has left the mapping as it is."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from tests.workflows.portals import Portal

_STAGE = {
    "appointmentscheduled": "Prospect",
    "qualifiedtobuy": "Qualified",
    "presentationscheduled": "Technical Validation",
    "decisionmakerboughtin": "Business Validation",
    "contractsent": "Business Validation",
    "closedwon": "Committed",
    "closedlost": "Closed Lost",
    # Pipelines that users made go by the chance to win: 0.2, 0.4, 0.6 and above.
    "1193847201": "Prospect",
    "1193847202": "Qualified",
    "1193847203": "Technical Validation",
    "1193847204": "Business Validation",
    "1193847205": "Committed",
    "1193847206": "Closed Lost",
    "1193850010": "Business Validation",
    "1193850011": "Business Validation",
    "1193850012": "Committed",
    "1193850013": "Closed Lost",
}
_DONE = {
    "Prospect": ["Initialized discussions with customer"],
    "Qualified": ["Customer has shown interest in solution"],
    "Technical Validation": ["In evaluation / planning stage"],
    "Business Validation": ["Agreed on solution to Business Problem"],
    "Committed": ["SOW Signed"],
}
_TYPE = {"newbusiness": "Net New Business", "existingbusiness": "Expansion"}


def registered(portal: Portal, deal_id: str) -> dict[str, Any]:
    """The fields of the registration of a live deal; those that are not named are empty."""
    deal = portal.live[deal_id]
    stage = _STAGE[deal["dealstage"] or ""]
    amount = _amount(deal["amount"])
    lost = deal["closed_lost_reason"] if stage == "Closed Lost" else None
    return {
        "title": _fit(" ".join((deal["dealname"] or "").split()), 255) or f"Deal {deal_id}",
        "stage": stage,
        "target_close_date": _day(deal["closedate"], portal.zone) if deal["closedate"] else None,
        "closed_lost_reason": ("Price" if lost == "Price" else "Other") if lost else None,
        "deal_amount": amount,
        "deal_currency": deal["deal_currency_code"] or (portal.currency if amount is not None else None),
        "opportunity_type": _TYPE.get(deal["dealtype"] or ""),
        "business_problem": _fit((deal["description"] or "").strip(), 2000) or None,
        "sales_activities": _DONE.get(stage),
        "national_security": "No",
        "delivery_model": "SaaS or PaaS",
        "aws_spend_currency": "USD",
        "involvement": "Co-Sell",
        "visibility": "Full",
        "primary_needs": ["Co-Sell - Deal Support"],
    }


def _amount(text: str | None) -> Decimal | None:
    """Exact, or not at all: amounts with more than four decimals are left empty, and reported."""
    exact = Decimal(text) if text else None
    return exact if exact is None or exact == round(exact, 4) else None


def _day(instant: str, zone: ZoneInfo) -> date:
    """The day that HubSpot shows to a user of the account."""
    return datetime.fromisoformat(instant).astimezone(zone).date()


def _fit(text: str, units: int) -> str:
    """Cut to so many UTF-16 units, the last of which tells that it was cut; never through a character."""
    if len(text.encode("utf-16-le")) <= 2 * units:
        return text
    kept = text
    while len(kept.encode("utf-16-le")) > 2 * (units - 1):
        kept = kept[:-1]
    return kept + "…"
