"""Faults on order: what the control API can make go wrong, by endpoint, a number of times or at a rate.

Orders with `times` befall the next calls; orders with a `rate` befall that share of all calls until they are cleared.
Whether a call is hit hangs on the seed, the endpoint and how many calls that endpoint has had since the seed was set,
so that two runs with one seed suffer the same. `mix` is a rate as well: of faults that pass by themselves, one of many
kinds each time.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar, get_args

from awssome_sandbox.hubspot.errors import invalid

When = Literal["before", "during", "after"]
How = Literal["late", "hang", "slow_body", "malformed", "missing_fields", "null_fields"]

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
        "associations",
        "pipelines",
        "properties",
        "owners",
        "account",
        "legacy",
        "others",
        "unknown",
    }
)
"""What a fault can be ordered for; "unknown" is every address that is none of the others."""

CATEGORIES = {
    400: ("VALIDATION_ERROR", "BAD_REFRESH_TOKEN"),
    401: ("INVALID_AUTHENTICATION", "EXPIRED_AUTHENTICATION"),
    403: ("MISSING_SCOPES", "BANNED"),
    429: ("TEN_SECONDLY_ROLLING", "SECONDLY", "DAILY"),
}
"""The shapes in which a status comes; the first is the usual one, save that a search is limited SECONDLY."""


@dataclass
class Order:
    """What all orders have.

    :ivar times: how many calls it still befalls; None when it goes by its rate.
    :ivar endpoint: one of `ENDPOINTS`; None for all.
    :ivar rate: the share of calls that it befalls.
    """

    times: int | None = None
    endpoint: str | None = None
    rate: float | None = None

    def __post_init__(self) -> None:
        if self.rate is None and self.times is None:
            self.times = 1
        if self.times is not None and (type(self.times) is not int or self.times < 1 or self.rate is not None):
            raise ValueError("times is 1 or more, and either times or rate is given")
        if self.rate is not None and not (isinstance(self.rate, (int, float)) and 0 <= self.rate <= 1):
            raise ValueError("rate is from 0 to 1")
        if self.endpoint is not None and self.endpoint not in ENDPOINTS:
            raise ValueError(f"endpoint is one of {', '.join(sorted(ENDPOINTS))}")


@dataclass
class Failure(Order):
    """Answer with a status instead of doing the call.

    :ivar category: which of a status's shapes, see `CATEGORIES`.
    :ivar retry_after: seconds for the header of that name.
    """

    status: int = 0
    category: str | None = None
    retry_after: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.status) is not int or not 400 <= self.status < 600:
            raise ValueError("status is from 400 to 599")
        shapes = CATEGORIES.get(self.status, ())
        if self.category is not None and self.category not in shapes:
            raise ValueError(f"the category of {self.status} is one of {', '.join(shapes) or 'none'}")


@dataclass
class Drop(Order):
    """Cut the connection: before the call is done, during its answer, or after it is done and without any answer."""

    when: When = "before"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.when not in get_args(When):
            raise ValueError(f"when is one of {', '.join(get_args(When))}")


@dataclass
class Spoiling(Order):
    """Do the call and spoil its answer.

    `late` answers after `seconds`, `hang` never (it cuts the connection after `seconds`), `slow_body` spreads the body
    over `seconds`, `malformed` breaks the JSON off in the middle, `missing_fields` leaves `fields` out of the answer
    and of its results, `null_fields` sets them to null.

    :ivar ids: the ids of the results that lose their fields; None for all.
    """

    how: How = "malformed"
    seconds: float = 5
    fields: list[str] = field(default_factory=lambda: ["updatedAt", "createdAt"])
    ids: list[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.how not in get_args(How):
            raise ValueError(f"how is one of {', '.join(get_args(How))}")
        if not isinstance(self.seconds, (int, float)) or not 0 <= self.seconds <= 600:
            raise ValueError("seconds are from 0 to 600")
        for given in (self.fields, self.ids or []):
            if not isinstance(given, list) or not all(isinstance(item, str) for item in given):
                raise ValueError("fields and ids are lists of strings")


_Order = TypeVar("_Order", Failure, Drop, Spoiling)

_PASSING: tuple[Failure | Drop | Spoiling, ...] = (
    Drop(when="before"),
    Drop(when="during"),
    Drop(when="after"),
    Failure(status=429),
    Failure(status=423),
    Failure(status=500),
    Failure(status=502),
    Failure(status=503),
    Failure(status=504),
    Failure(status=521),
    Failure(status=524),
    Spoiling(how="late", seconds=0.5),
    Spoiling(how="slow_body", seconds=0.5),
    Spoiling(how="malformed"),
)
"""What `mix` draws from."""


@dataclass(frozen=True, slots=True)
class Hit:
    """What befalls one call."""

    failure: Failure | None = None
    drop: Drop | None = None
    spoiling: Spoiling | None = None


@dataclass
class Faults:
    """The faults in force.

    :ivar latency_ms: delay of each answer.
    :ivar index_lag_ms: until the search sees a change; None leaves it as the sandbox was started.
    :ivar short_search_pages: let searches answer short and empty pages with a next cursor.
    :ivar short_list_pages: the same for the list.
    :ivar unreliable_order: let search results stand away from where the wanted order has them.
    :ivar mix: the share of calls that suffer one of many passing faults.
    :ivar seed: on which it hangs which calls are hit.
    """

    latency_ms: float = 0
    index_lag_ms: float | None = None
    short_search_pages: bool = False
    short_list_pages: bool = False
    unreliable_order: bool = False
    mix: float = 0
    seed: int = 0
    fail: list[Failure] = field(default_factory=list)
    drop: list[Drop] = field(default_factory=list)
    spoil: list[Spoiling] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._calls: Counter[str] = Counter()

    def order(self, wanted: Any) -> None:
        """Take orders over from JSON; what is not named stays, lists are added to. Naming the seed begins it anew.

        :raises HubSpotError: 400 for an order that is not understood; then nothing is taken over.
        """
        if not isinstance(wanted, dict):
            raise invalid("No such order: faults are a JSON object")
        unknown = set(wanted) - {known.name for known in fields(self)}
        try:
            if unknown:
                raise ValueError(f"{', '.join(sorted(unknown))} is none of {', '.join(asdict(self))}")
            taken = {name: _switch(name, value) for name, value in wanted.items() if name not in _LISTS}
            lists = {name: [kind(**order) for order in wanted[name]] for name, kind in _LISTS.items() if name in wanted}
        except (TypeError, ValueError) as error:
            raise invalid(f"No such order: {error}") from None
        for name, value in taken.items():
            setattr(self, name, value)
        for name, orders in lists.items():
            getattr(self, name).extend(orders)
        if "seed" in wanted:
            self._calls.clear()

    def hit(self, endpoint: str) -> Hit:
        """What befalls the next call of an endpoint; it counts as used."""
        self._calls[endpoint] += 1
        if not (self.mix or self.fail or self.drop or self.spoil):
            return Hit()
        chance = random.Random(f"{self.seed}/{endpoint}/{self._calls[endpoint]}")
        drop, failure = _use(self.drop, endpoint, chance), _use(self.fail, endpoint, chance)
        hit = Hit(failure, drop, _use(self.spoil, endpoint, chance))
        if hit != Hit() or chance.random() >= self.mix:
            return hit
        fault = chance.choice(_PASSING)
        return Hit(
            fault if isinstance(fault, Failure) else None,
            fault if isinstance(fault, Drop) else None,
            fault if isinstance(fault, Spoiling) else None,
        )


_LISTS: dict[str, type[Failure] | type[Drop] | type[Spoiling]] = {"fail": Failure, "drop": Drop, "spoil": Spoiling}


def _use(orders: list[_Order], endpoint: str, chance: random.Random) -> _Order | None:
    for order in orders:
        if order.endpoint not in (None, endpoint):
            continue
        if order.rate is not None:
            if chance.random() < order.rate:
                return order
        elif order.times is not None:
            order.times -= 1
            if order.times <= 0:
                orders.remove(order)
            return order
    return None


def _switch(name: str, value: Any) -> float | bool | int | None:
    if name in ("short_search_pages", "short_list_pages", "unreliable_order"):
        if not isinstance(value, bool):
            raise ValueError(f"{name} is true or false")
        return value
    if name == "index_lag_ms" and value is None:
        return None
    if name == "seed":
        return int(value)
    number = float(value)
    most = 1 if name == "mix" else 600_000
    if not 0 <= number <= most:
        raise ValueError(f"{name} is from 0 to {most}")
    return number
