"""How HubSpot's deals become registrations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from awssome.control.messages.base import Body
from awssome.domain.choices import FieldMapping, StageMapping
from awssome.domain.deals import Stage

_ID = r"^[^\x00-\x1f]{1,64}$"


class FieldIn(Body):
    """Where a registration field comes from."""

    field: str = Field(max_length=40)
    property: str | None = Field(None, max_length=100)
    default: str | None = Field(None, max_length=2000)
    values: dict[str, str] = Field(default_factory=dict, max_length=1000)

    def mapping(self) -> FieldMapping:
        """The domain's value."""
        return FieldMapping(self.property, self.default, self.values)


class SaveFields(Body):
    """The mapping of these fields. `version`: of the mapping that the person saw."""

    version: str = Field(max_length=64)
    fields: list[FieldIn] = Field(max_length=100)


class StageIn(Body):
    """What a stage of a pipeline becomes; None: as by default; `skip`: its deals are left out."""

    pipeline: str = Field(pattern=_ID)
    stage: str = Field(pattern=_ID)
    becomes: Stage | Literal["skip"] | None

    def mapping(self) -> StageMapping | None:
        """The domain's value."""
        if self.becomes is None:
            return None
        return StageMapping(None if self.becomes == "skip" else Stage(self.becomes))


class SaveStages(Body):
    """The mapping of these stages. `version`: of the mapping that the person saw."""

    version: str = Field(max_length=64)
    stages: list[StageIn] = Field(max_length=2000)


class MappingSaved(Body):
    """What is mapped otherwise than before: fields, or stages as "pipeline/stage"."""

    changed: list[str]


class ReadDeal(Body):
    """A deal in HubSpot, and the properties to read of it."""

    deal_id: str = Field(pattern=r"^[0-9]{1,20}$")
    properties: list[Annotated[str, Field(max_length=100)]] = Field(max_length=200)


class DealOut(Body):
    """A deal as HubSpot has it now. `deal_id` is another one than asked for when the deal was merged."""

    deal_id: str
    properties: dict[str, str | None]
