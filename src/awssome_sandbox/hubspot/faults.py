"""Faults on order: what the control API can make go wrong, by endpoint and a number of times."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeVar, get_args

from awssome_sandbox.hubspot.errors import invalid

When = Literal["before", "during", "after"]

ENDPOINTS = frozenset(
    {
        "oauth.token",
        "oauth.introspect",
        "oauth.revoke",
        "uninstall",
        "deals.list",
        "deals.get",
        "deals.batch_read",
        "deals.search",
        "deals.create",
        "deals.update",
        "deals.archive",
        "deals.merge",
        "deals.batch_create",
        "deals.batch_update",
        "deals.batch_archive",
        "pipelines",
        "properties",
        "owners",
        "account",
        "unknown",
    }
)
"""What a fault can be ordered for; "unknown" is every address that is none of the others."""


@dataclass
class Failure:
    """Answer the next `times` calls with a status instead of doing them."""

    status: int
    times: int = 1
    endpoint: str | None = None
    retry_after: int | None = None


@dataclass
class Drop:
    """Cut the connection of the next `times` calls: before the call is done, during its answer, or after it is done and
    without any answer."""

    when: When
    times: int = 1
    endpoint: str | None = None


_Order = TypeVar("_Order", Failure, Drop)


@dataclass
class Faults:
    """The faults in force.

    :ivar latency_ms: delay of each answer.
    :ivar short_search_pages: let searches answer short and empty pages with a next cursor.
    """

    latency_ms: float = 0
    short_search_pages: bool = False
    fail: list[Failure] = field(default_factory=list)
    drop: list[Drop] = field(default_factory=list)

    def order(self, wanted: dict[str, Any]) -> None:
        """Take orders over from JSON; what is not named stays, lists are added to.

        :raises HubSpotError: 400 for an order that is not understood; then nothing is taken over.
        """
        try:
            fail = [Failure(**order) for order in wanted.get("fail", [])]
            drop = [Drop(**order) for order in wanted.get("drop", [])]
            latency = float(wanted.get("latency_ms", self.latency_ms))
            short = bool(wanted.get("short_search_pages", self.short_search_pages))
        except (TypeError, ValueError) as error:
            raise invalid(f"No such order: {error}") from None
        unknown = set(wanted) - set(asdict(self))
        if unknown or any(order.when not in get_args(When) for order in drop):
            raise invalid(f"No such order: {sorted(unknown) or 'when is before, during or after'}")
        if any(not isinstance(order.status, int) or not 400 <= order.status < 600 for order in fail):
            raise invalid("No such order: status is from 400 to 599")
        orders: list[Failure | Drop] = [*fail, *drop]
        for order in orders:
            if not isinstance(order.times, int) or order.times < 1:
                raise invalid("No such order: times is 1 or more")
            if order.endpoint is not None and order.endpoint not in ENDPOINTS:
                raise invalid(f"No such order: endpoint is one of {', '.join(sorted(ENDPOINTS))}")
        self.latency_ms, self.short_search_pages = latency, short
        self.fail += fail
        self.drop += drop

    def next_failure(self, endpoint: str) -> Failure | None:
        """The failure that this call has to answer, if any; it counts as used."""
        return _use(self.fail, endpoint)

    def next_drop(self, endpoint: str) -> Drop | None:
        """The cut that this call has to suffer, if any; it counts as used."""
        return _use(self.drop, endpoint)


def _use(orders: list[_Order], endpoint: str) -> _Order | None:
    for order in orders:
        if order.endpoint in (None, endpoint):
            order.times -= 1
            if order.times <= 0:
                orders.remove(order)
            return order
    return None
