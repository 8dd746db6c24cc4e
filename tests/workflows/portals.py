"""A HubSpot account in the sandbox, and beside it what it holds: known from the file of truth that the sandbox wrote
when it was seeded, and from what was done to it since. The product has no part in it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tests.hubspot.conftest import NORTHWIND, Sandbox

Properties = dict[str, str | None]

STAGES = {
    "default": ("appointmentscheduled", "qualifiedtobuy", "contractsent", "closedwon", "closedlost"),
    "812704591": ("1193847201", "1193847203", "1193847205", "1193847206"),
    "812704777": ("1193850010", "1193850012", "1193850013"),
}
"""Some stages of each pipeline of the sandbox's."""


_PASSING: tuple[tuple[str, dict[str, Any]], ...] = (
    *(("fail", {"status": status}) for status in (500, 502, 503, 504, 521, 524)),
    *(("drop", {"when": when}) for when in ("before", "during", "after")),
    ("spoil", {"how": "late", "seconds": 0.2}),
    ("spoil", {"how": "malformed"}),
)
"""Faults that pass by themselves, and need no long rest."""


@dataclass
class Portal:
    """The account.

    :ivar currency: the company's.
    :ivar zone: in which HubSpot shows dates to its users.
    :ivar live: its deals by id, with every property.
    :ivar archived: those that were deleted.
    :ivar merged: id of a deal that became part of another -> id of that one.
    """

    sandbox: Sandbox
    id: int
    currency: str
    zone: ZoneInfo
    live: dict[str, Properties] = field(default_factory=dict)
    archived: dict[str, Properties] = field(default_factory=dict)
    merged: dict[str, str] = field(default_factory=dict)

    @classmethod
    def seeded(
        cls, start: Callable[..., Sandbox], deals: int, truth: Path, *options: str, portal_id: int = NORTHWIND
    ) -> Portal:
        """An account with so many live deals, in a sandbox of its own. The first one is tidy, the others are not."""
        sandbox = start(
            *("--portal", f"{portal_id}:{deals}", "--truth", f"{portal_id}:{truth}", "--rate-limit", "off"), *options
        )
        told = json.loads(truth.read_text(encoding="utf-8"))
        bearer = {"Authorization": f"Bearer {sandbox.connect(portal_id).access_token}"}
        account = sandbox.http.get("/account-info/2026-03/details", headers=bearer).raise_for_status().json()
        assert told["portal"]["id"] == account["portalId"] == portal_id
        found = cls(
            sandbox, portal_id, account["companyCurrency"], ZoneInfo(account["timeZone"]), merged=told["merged"]
        )
        for deal in told["deals"]:
            (found.archived if deal["archived"] else found.live)[deal["id"]] = deal["properties"]
        assert len(found.live) == deals
        return found

    def now(self, deal_id: str) -> str:
        """The id under which a deal is to be found by now, after all merges."""
        while deal_id in self.merged:
            deal_id = self.merged[deal_id]
        return deal_id

    def create(self, **properties: str | None) -> str:
        """A new deal; its id."""
        return self._take_over(self._order("deals", properties=properties), properties)

    def edit(self, deal_id: str, **properties: str | None) -> None:
        """Change a live deal."""
        body = {"portal_id": self.id, "properties": properties}
        answer = self.sandbox.http.patch(f"/_sandbox/deals/{deal_id}", json=body).raise_for_status().json()
        self._take_over(answer, properties)

    def archive(self, deal_id: str) -> None:
        """Delete a live deal."""
        self._order(f"deals/{deal_id}/archive")
        self.archived[deal_id] = self.live.pop(deal_id)

    def restore(self, deal_id: str) -> None:
        """Bring a deleted deal back."""
        self._order(f"deals/{deal_id}/restore")
        self.live[deal_id] = self.archived.pop(deal_id)

    def merge(self, primary: str, other: str) -> str:
        """Merge two live deals; the id of the one that comes out of it, with the primary's values."""
        kept = {
            name: self.live[primary][name] or self.live[other][name] for name in ("dealname", "amount", "closedate")
        }
        survivor = self._take_over(self._order("deals/merge", ids=[primary, other]), kept)
        for old in (primary, other):
            del self.live[old]
            self.merged[old] = survivor
        return survivor

    def disturb(self, dice: random.Random, changes: int) -> None:
        """So many changes of every kind, by chance."""
        for number in range(changes):
            kind = dice.choices(
                ("edit", "move", "create", "archive", "restore", "merge", "again"), (8, 4, 3, 2, 2, 2, 1)
            )[0]
            live = sorted(self.live)
            if kind == "create" or len(live) < 4:
                self.create(**{"dealname": f"New deal {number}", **_values(dice)})
            elif kind == "edit":
                self.edit(dice.choice(live), **_values(dice))
            elif kind == "move":
                pipeline = dice.choice(sorted(STAGES))
                self.edit(dice.choice(live), pipeline=pipeline, dealstage=dice.choice(STAGES[pipeline]))
            elif kind == "archive":
                self.archive(dice.choice(live))
            elif kind == "restore" and self.archived:
                self.restore(dice.choice(sorted(self.archived)))
            elif kind == "merge":
                self.merge(*dice.sample(live, 2))
            elif kind == "again":  # gone and back before anybody looks
                deal_id = dice.choice(live)
                self.archive(deal_id)
                self.restore(deal_id)

    def storm(self, dice: random.Random, faults: int, *, rotate: bool = False) -> None:
        """So many faults by chance at the calls to come, each of which a patient client survives; pages have holes,
        search keeps no order, and access tokens are expired.

        :param rotate: a refresh token is good for one refresh. Not for workers that are killed: one that dies between
            HubSpot's answer and its own commit takes the new token with it, and somebody has to connect again.
        """
        ends = ("deals.list", "deals.search", "deals.batch_read", None)
        kinds = [dice.choice(_PASSING) for _ in range(faults)]
        orders: dict[str, list[dict[str, Any]]] = {"fail": [], "drop": [], "spoil": []}
        for kind, order in kinds:
            orders[kind].append({**order, "times": 1, "endpoint": dice.choice(ends)})
        self.sandbox.order("faults", short_search_pages=True, short_list_pages=True, unreliable_order=True, **orders)
        self.sandbox.order("tokens/expire")
        self.sandbox.order("tokens/rotation", on=rotate)

    def calm(self) -> None:
        """No faults any more."""
        self.sandbox.http.delete("/_sandbox/faults")
        self.sandbox.order("tokens/rotation", on=False)

    def in_order(self) -> Iterator[str]:
        """The live deals as the free tier takes them: open ones first, by creation date, then by number."""
        return iter(sorted(self.live, key=self._rank))

    def _rank(self, deal_id: str) -> tuple[str, str, int]:
        properties = self.live[deal_id]
        return properties["hs_is_closed"] or "", properties["createdate"] or "", int(deal_id)

    def _order(self, path: str, **body: Any) -> dict[str, Any]:
        return self.sandbox.order(path, portal_id=self.id, **body)

    def _take_over(self, answer: dict[str, Any], given: Properties) -> str:
        """Keep what the deal is now; what was given has to be in it."""
        told: Properties = answer["properties"]
        assert {name: told[name] for name in given} == given
        self.live[answer["id"]] = told
        return str(answer["id"])


def _values(dice: random.Random) -> Properties:
    """Some properties that somebody enters, among them odd ones."""
    some: Properties = {
        "amount": dice.choice(("0", "1000.5", "99.9999", "1.5E7", "-12", "123456789012.34", None)),
        "deal_currency_code": dice.choice(("USD", "EUR", "JPY", None)),
        "closedate": dice.choice(
            ("2027-03-31T00:00:00.000Z", "2027-01-01T03:15:00.000Z", "2024-02-29T23:59:59.999Z", None)
        ),
        "dealtype": dice.choice(("newbusiness", "existingbusiness", None)),
        "description": dice.choice(("Ein Satz über Wolken, lang genug.", "short", "\U0001f680 " * 40, None)),
        "dealname": dice.choice(("Renamed", "株式会社青空  — 二", "x" * 400, "  spaces \t and\nlines ", None)),
    }
    return {name: some[name] for name in dice.sample(sorted(some), dice.randrange(1, 4))}
