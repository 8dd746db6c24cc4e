"""What a page of a table needs to know: columns, order, the filters in its address, the keys of the pages beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal, TypeVar
from urllib.parse import urlencode

from markupsafe import Markup
from starlette.requests import Request

Word = TypeVar("Word", bound=StrEnum)

Kind = Literal["text", "code", "number", "money", "bytes", "duration", "percent", "time", "day", "state", "custom"]
Phone = Literal["title", "aside", "line", "hide"]

RIGHT_ALIGNED = frozenset({"number", "money", "bytes", "duration", "percent"})
_PAGE_PARAMETERS = ("after", "before")


@dataclass(frozen=True)
class Column:
    """One column of a table.

    :param key: attribute or item of a row that is shown; also the value of `?sort=`.
    :param kind: decides alignment and format; `custom` cells are rendered by the table's caller.
    :param sort: whether the heading sorts.
    :param href: attribute of a row that holds the address this cell links to.
    :param currency: for money: attribute of a row that holds the currency.
    :param phone: place on a phone's card: its title, beside the title, a labelled line, or nowhere.
    :param quiet: shown in the quiet colour.
    """

    key: str
    label: str
    kind: Kind = "text"
    sort: bool = False
    href: str | None = None
    currency: str = "currency"
    phone: Phone = "line"
    quiet: bool = False

    @property
    def right(self) -> bool:
        """Whether the column is aligned to the right, as figures are."""
        return self.kind in RIGHT_ALIGNED

    @cached_property
    def attributes(self) -> Markup:
        """The HTML attributes of each of its cells."""
        names: list[str] = [self.phone]
        names += ["num"] if self.right else []
        names += ["fix"] if self.kind in ("day", "state") else []
        names += ["quiet"] if self.quiet else []
        label = Markup(' data-label="{}"').format(self.label) if self.phone == "line" else ""
        return Markup('class="{}"').format(" ".join(names)) + label


@dataclass(frozen=True)
class Choice:
    """One filter: a select whose value is the address' parameter of that name; the empty value means all."""

    name: str
    label: str
    options: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Order:
    """By which column a listing is sorted, and which way."""

    key: str
    descending: bool = False

    @classmethod
    def of(cls, request: Request, allowed: Collection[str], default: str) -> Order:
        """The order that the address asks for (`?sort=amount`, `?sort=-amount`); the default if it is not allowed."""
        asked = request.query_params.get("sort", default)
        if asked.removeprefix("-") not in allowed:
            asked = default
        return cls(asked.removeprefix("-"), asked.startswith("-"))

    def __str__(self) -> str:
        return f"-{self.key}" if self.descending else self.key


@dataclass(frozen=True)
class Listing:
    """A page of rows with everything around it; make it with `Listing.of`.

    :param total: how many rows there are over all pages, if that is known.
    :param after: key of the next page, None on the last one.
    :param before: key of the previous page, None on the first one.
    """

    rows: Sequence[Any]
    path: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    order: Order | None = None
    total: int | None = None
    after: str | None = None
    before: str | None = None

    @classmethod
    def of(
        cls,
        request: Request,
        rows: Sequence[Any],
        *,
        order: Order | None = None,
        total: int | None = None,
        after: str | None = None,
        before: str | None = None,
    ) -> Listing:
        """The listing at this request's address."""
        return cls(rows, request.url.path, dict(request.query_params), order, total, after, before)

    @property
    def filtered(self) -> bool:
        """Whether a search or a filter is in force, so that no rows means *no match* instead of *nothing yet*."""
        return any(value for name, value in self.parameters.items() if name not in ("sort", *_PAGE_PARAMETERS))

    def value(self, name: str) -> str:
        """A parameter of the address, or an empty string."""
        return self.parameters.get(name, "")

    def address(self, **changes: str | None) -> str:
        """The listing's address with some parameters changed; None takes one away. Keys of pages do not survive."""
        kept = {name: value for name, value in self.parameters.items() if name not in _PAGE_PARAMETERS}
        merged = {name: value for name, value in (kept | changes).items() if value}
        return f"{self.path}?{urlencode(merged)}" if merged else self.path

    def sorted_by(self, column: Column) -> str | None:
        """`ascending` or `descending` if the listing is sorted by that column (the words of aria-sort), else None."""
        if self.order is None or self.order.key != column.key:
            return None
        return "descending" if self.order.descending else "ascending"

    def sort_address(self, column: Column) -> str:
        """Where the column's heading leads: figures and times start with the largest, words with A; then it turns."""
        current = self.sorted_by(column)
        if current is not None:
            return self.address(sort=str(Order(column.key, current == "ascending")))
        return self.address(sort=str(Order(column.key, column.right or column.kind in ("time", "day"))))


def picked(words: type[Word], text: str) -> Word | None:
    """Which word a filter in the address names; None, as for all of them, when it names none."""
    return next((word for word in words if word == text), None)


def money_in_full(rows: Sequence[Any], columns: Sequence[Column]) -> frozenset[str]:
    """Keys of the money columns that show minor units in every row, because one row has some: so the points line up."""
    return frozenset(
        column.key
        for column in columns
        if column.kind == "money" and any(_has_minor_units(_item(row, column.key)) for row in rows)
    )


def _item(row: Any, key: str) -> Any:
    return row[key] if isinstance(row, Mapping) else getattr(row, key)


def _has_minor_units(amount: Decimal | int | None) -> bool:
    return amount is not None and amount != int(amount)
