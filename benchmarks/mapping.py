"""What does it cost to map a page of deals, beside reading the page that HubSpot sent?

`python -m benchmarks.mapping`. A page is a hundred deals; the floor is what a sync does with them anyway: JSON into
models. Both in turn, medians.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import date
from statistics import median
from typing import Any

from awssome.domain.choices import FieldMapping
from awssome.domain.definitions import Account
from awssome.domain.mapping import Mapping, map_deal
from awssome.domain.readiness import readiness
from awssome.hubspot.models import Page, parse

ROUNDS = 40
TODAY = date(2026, 11, 26)
CHOSEN = {
    "customer_company": FieldMapping("buyer"),
    "customer_industry": FieldMapping("sector", values={"shops": "Retail", "banks": "Financial Services"}),
    "customer_country": FieldMapping("land"),
    "target_close_date": FieldMapping("closedate", "+30"),
}


def main() -> None:
    """Read, map by default, map by a mapping that was chosen, look at readiness."""
    page = json.dumps({"results": [_deal(number) for number in range(100)]})
    deals = parse(Page, json.loads(page)).results
    account = Account("USD", "US/Eastern")
    by_default, chosen = Mapping.of({}, {}, account, TODAY), Mapping.of(CHOSEN, {}, account, TODAY)
    mapped = [map_deal(deal.properties, chosen).values for deal in deals]
    questions: dict[str, Callable[[], Any]] = {
        "read the page into models (the floor)": lambda: parse(Page, json.loads(page)),
        "map it by default": lambda: [map_deal(deal.properties, by_default) for deal in deals],
        "map it by a mapping that was chosen": lambda: [map_deal(deal.properties, chosen) for deal in deals],
        "look at its readiness": lambda: [readiness(values, TODAY) for values in mapped],
    }
    times: dict[str, list[float]] = {question: [] for question in questions}
    for _ in range(ROUNDS):
        for question, answer in questions.items():
            began = time.perf_counter()
            answer()
            times[question].append((time.perf_counter() - began) * 1000)
    floor = median(next(iter(times.values())))
    print("\nA page of 100 deals")
    for question, taken in times.items():
        print(f"  {question:40} {median(taken):6.2f} ms {median(taken) / floor:6.2f} x")


def _deal(number: int) -> dict[str, Any]:
    at = "2026-11-22T14:05:09.123Z"
    properties = {
        "hs_object_id": str(18_000_000_000 + number),
        "dealname": f"Contoso Retail – data platform {number}",
        "amount": f"{number * 500}.5",
        "deal_currency_code": "USD" if number % 3 else None,
        "closedate": f"2027-{number % 12 + 1:02}-15T03:59:00.000Z",
        "createdate": at,
        "hs_lastmodifieddate": at,
        "dealstage": "qualifiedtobuy",
        "pipeline": "default",
        "dealtype": "newbusiness",
        "description": "Reports take a night to run; the customer needs them within minutes to steer its shops.",
        "hs_is_closed": "false",
        "buyer": "Contoso",
        "sector": "shops",
        "land": "Germany",
    }
    return {"id": properties["hs_object_id"], "properties": properties, "createdAt": at, "updatedAt": at}


if __name__ == "__main__":
    main()
