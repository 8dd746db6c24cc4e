"""What a verification says: one finding for each question that it asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy.exc import StatementError

from awssome.domain.errors import Refused

Number = int | float


class Outcome(StrEnum):
    """`exposed`: not as closed as one would wish, known, and no way to a workspace's rows."""

    OK = "ok"
    FAILED = "not ok"
    EXPOSED = "exposed"


@dataclass(frozen=True)
class Finding:
    """The outcome of one question.

    :ivar about: what was looked at.
    :ivar told: what was done and found, in words.
    :ivar details: what was tried, one by one, with what came of it.
    :ivar figures: what was counted or measured, by name.
    """

    check: str
    about: str
    outcome: Outcome
    told: str
    details: tuple[str, ...] = ()
    figures: Mapping[str, Number] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing has to be done about it."""
        return self.outcome is not Outcome.FAILED

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"check": self.check, "about": self.about, "ok": self.ok} | asdict(self)


def outcome_of(well: bool) -> Outcome:
    """`OK`, or `FAILED`."""
    return Outcome.OK if well else Outcome.FAILED


def words_of(error: BaseException) -> str:
    """An error in one line. Values of a statement are never in it."""
    if isinstance(error, Refused):
        return error.whole
    cause = error.orig if isinstance(error, StatementError) and error.orig is not None else error
    line = " ".join(str(cause).split())
    return f"{type(cause).__name__}: {line[:_LONGEST]}" if line else type(cause).__name__


def few(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - _FEW
    return ", ".join(names[:_FEW]) + (f" and {more} more" if more > 0 else "")


_LONGEST = 300
_FEW = 5
