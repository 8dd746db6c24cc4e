"""What all bodies share, and the one shape of an error."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """What all bodies share: unknown fields are refused in requests and never sent in answers."""

    model_config = ConfigDict(extra="forbid")


class Problem(Body):
    """Why a request was refused, in words for the user."""

    code: str
    message: str
    advice: str = ""
    fields: dict[str, str] = {}
    reference: str = ""


class ErrorBody(Body):
    """The one shape of an error."""

    error: Problem


class Accepted(Body):
    """The request was taken; nothing is told about whether the address was known."""

    message: str
