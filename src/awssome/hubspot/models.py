"""What HubSpot answers, typed. Fields that are not named here survive in `model_extra`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic.alias_generators import to_camel

from awssome.hubspot.errors import Rejected
from awssome.hubspot.limits import SEARCH_FILTERS, SEARCH_PAGE

Operator = Literal[
    "EQ",
    "NEQ",
    "LT",
    "LTE",
    "GT",
    "GTE",
    "BETWEEN",
    "IN",
    "NOT_IN",
    "HAS_PROPERTY",
    "NOT_HAS_PROPERTY",
    "CONTAINS_TOKEN",
    "NOT_CONTAINS_TOKEN",
]


ModelT = TypeVar("ModelT", bound=BaseModel)


def parse(model: type[ModelT], answer: Any) -> ModelT:
    """HubSpot's answer as a model.

    :raises Rejected: when it does not fit, with the names of the fields that do not, and nothing of what they hold.
    """
    try:
        return model.model_validate(answer)
    except ValidationError as error:
        places = _places(error)
    # Raised out here so that the cause, which may quote the answer, is not chained.
    raise Rejected(f"HubSpot gave an answer that cannot be read: {places}.")


def parse_deals(answers: Iterable[Any]) -> tuple[tuple[Deal, ...], tuple[Unreadable, ...]]:
    """The deals of an answer, each read for itself, and those that cannot be read."""
    deals: list[Deal] = []
    unreadable: list[Unreadable] = []
    for answer in answers:
        try:
            deals.append(Deal.model_validate(answer))
        except ValidationError as error:
            id_ = answer.get("id") if isinstance(answer, dict) else None
            known = str(id_) if isinstance(id_, (str, int)) and is_id(str(id_)) else ""
            unreadable.append(
                Unreadable(id=known, reason=f"HubSpot's answer for this deal cannot be read: {_places(error)}.")
            )
    return tuple(deals), tuple(unreadable)


def is_id(text: str) -> bool:
    """Whether a text may be the id of a deal: HubSpot numbers them, and no number is as long as that."""
    return 0 < len(text) <= 32 and text.isascii() and text.isprintable()


def _places(error: ValidationError) -> str:
    """Up to three names of fields that do not fit, and nothing of what they hold."""
    places = {".".join(map(str, detail["loc"])) for detail in error.errors(include_input=False)}
    return ", ".join(place[:100] or "all of it" for place in sorted(places)[:3])


class Model(BaseModel):
    """Frozen, tolerant of fields to come, and silent about its input when it does not fit."""

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        alias_generator=to_camel,
        populate_by_name=True,
        coerce_numbers_to_str=True,
        hide_input_in_errors=True,
    )


class Deal(Model):
    """A deal; everything but its id may be missing in an answer.

    `properties` holds strings or None, as HubSpot keeps them: money and times are not converted here.
    """

    id: str
    properties: dict[str, str | None] = Field(default_factory=dict)
    created_at: datetime | None = None
    updated_at: datetime | None = None
    archived: bool = False
    archived_at: datetime | None = None
    url: str | None = None

    @field_validator("id")
    @classmethod
    def _is_id(cls, value: str) -> str:
        if not is_id(value):
            raise ValueError("not an id")
        return value

    @field_validator("properties", "archived", mode="before")
    @classmethod
    def _null_is_missing(cls, value: Any, field: ValidationInfo) -> Any:
        return value if value is not None else {} if field.field_name == "properties" else False


class Unreadable(Model):
    """A deal in an answer that does not fit, or that HubSpot could not read itself; the others are not harmed by it.

    :param id: its id, or "" when not even that can be read.
    :param reason: for the user: what is wrong, without what it holds.
    """

    id: str
    reason: str


class Page(Model):
    """One page of a list, and the cursor after it. Only a missing cursor is the end: a page may be short or empty.

    :param unreadable: the deals on the page that could not be read.
    :param request_id: what HubSpot's support asks for of the answer.
    """

    results: tuple[Deal, ...]
    unreadable: tuple[Unreadable, ...] = ()
    request_id: str = ""
    next: str | None = None


class SearchPage(Page):
    """One page of a search. `total` counts all matches, also beyond the 10,000 that a search gives."""

    total: int


class BatchResult(Model):
    """The answer to a batch read.

    :param results: the deals that exist. A deal that was merged into another comes as the survivor, under its id.
    :param unreadable: the deals that are there and could not be read.
    :param missing: the ids that are deleted or never were.
    :param merged: id that was asked for -> id of the survivor, as far as the survivor names it.
    :param request_id: what HubSpot's support asks for of the last answer.
    """

    results: tuple[Deal, ...]
    unreadable: tuple[Unreadable, ...]
    missing: tuple[str, ...]
    merged: dict[str, str]
    request_id: str = ""


class PipelineStage(Model):
    """A stage of a pipeline; deals name it by `id`, which is a number in text for stages that users made."""

    id: str
    label: str
    display_order: int = 0
    archived: bool = False
    metadata: dict[str, str | None] = Field(default_factory=dict)

    @property
    def closed(self) -> bool:
        """Whether deals in it are closed, won or lost."""
        return self.metadata.get("isClosed") == "true"

    @property
    def probability(self) -> Decimal | None:
        """The chance to win, 0 to 1, or None when HubSpot names none. 1 and closed: won."""
        try:
            return Decimal(self.metadata.get("probability") or "")
        except InvalidOperation:
            return None


class Pipeline(Model):
    """A pipeline of deals with its stages; the first one's id is `default`."""

    id: str
    label: str
    display_order: int = 0
    archived: bool = False
    stages: tuple[PipelineStage, ...] = ()


class PropertyOption(Model):
    """A value that an enumeration may have."""

    value: str
    label: str
    hidden: bool = False


class Property(Model):
    """The definition of a deal's property, for the field mapping."""

    name: str
    label: str
    type: str
    options: tuple[PropertyOption, ...] = ()
    hidden: bool | None = None
    archived: bool | None = None


class Account(Model):
    """The HubSpot account: its id (HubSpot's word is portal or hub), money, time and where its pages are, as far as it
    says."""

    portal_id: int
    currency: str | None = Field(None, alias="companyCurrency")
    timezone: str | None = Field(None, alias="timeZone")
    ui_domain: str | None = None


@dataclass(frozen=True)
class Filter:
    """One condition of a search. Times are milliseconds since 1970 in text.

    :param value: what to compare with, for operators that compare with one value; the lower end for `BETWEEN`.
    :param high_value: the upper end, for `BETWEEN`.
    :param values: for `IN` and `NOT_IN`.
    """

    property: str
    operator: Operator
    value: str | None = None
    high_value: str | None = None
    values: tuple[str, ...] = ()

    def body(self) -> dict[str, Any]:
        """The filter as HubSpot takes it."""
        body: dict[str, Any] = {"propertyName": self.property, "operator": self.operator}
        if self.value is not None:
            body["value"] = self.value
        if self.high_value is not None:
            body["highValue"] = self.high_value
        if self.values:
            body["values"] = list(self.values)
        return body


@dataclass(frozen=True)
class Search:
    """A search for deals that are not archived; all filters must match. New deals are found a few moments late.

    :param sort: the property to sort by; HubSpot takes one.
    :param limit: deals on a page, 1 to 200.
    :param after: the cursor of a page before, or None for the first page.
    :param words: what a deal's title or description has to hold, too.
    """

    filters: tuple[Filter, ...] = ()
    properties: tuple[str, ...] = ()
    sort: str | None = None
    descending: bool = False
    limit: int = SEARCH_PAGE
    after: str | None = None
    words: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= SEARCH_PAGE:
            raise ValueError(f"a page of a search has 1 to {SEARCH_PAGE} deals")
        if len(self.filters) > SEARCH_FILTERS:
            raise ValueError(f"a search has at most {SEARCH_FILTERS} filters")

    def body(self) -> dict[str, Any]:
        """The search as HubSpot takes it."""
        body: dict[str, Any] = {"limit": self.limit, "properties": list(self.properties)}
        if self.filters:
            body["filterGroups"] = [{"filters": [condition.body() for condition in self.filters]}]
        if self.words:
            body["query"] = self.words
        if self.sort:
            direction = "DESCENDING" if self.descending else "ASCENDING"
            body["sorts"] = [{"propertyName": self.sort, "direction": direction}]
        if self.after is not None:
            body["after"] = self.after
        return body

    def starting(self, after: str | None) -> Search:
        """The same search from another cursor on."""
        return replace(self, after=after)
