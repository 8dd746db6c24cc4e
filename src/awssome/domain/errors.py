"""The one error that a user may see, and its few codes.

A `Refused` carries three sentences in the user's language: what happened, what it means for the user's data where that
is not obvious, and what to do next. `web.errors` maps the code to an HTTP status and a page, `cli` maps it to an exit
status. Anything else that is raised is a defect: it is logged under a reference id, and only the id is shown.
"""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """What kind of refusal it is; each has exactly one HTTP status (`HTTP_STATUS`)."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    GONE = "gone"
    LIMITED = "limited"
    FENCED = "fenced"
    UPSTREAM = "upstream"
    UNAVAILABLE = "unavailable"


HTTP_STATUS: dict[Code, int] = {
    Code.INVALID: 422,
    Code.UNAUTHENTICATED: 401,
    Code.FORBIDDEN: 403,
    Code.NOT_FOUND: 404,
    Code.CONFLICT: 409,
    Code.GONE: 410,
    Code.LIMITED: 429,
    Code.FENCED: 409,
    Code.UPSTREAM: 502,
    Code.UNAVAILABLE: 503,
}


class Refused(Exception):
    """A request that is refused or cannot be done now, told in words for the user.

    :param code: the kind of refusal.
    :param message: what happened and what it means, one or two sentences, no secret in it.
    :param advice: what to do next; may be empty when the message says it.
    :param fields: for `INVALID`: form field -> what is wrong with it.
    :param retry_after: for `LIMITED` and `UNAVAILABLE`: seconds after which a retry makes sense.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        advice: str = "",
        *,
        fields: dict[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.advice = advice
        self.fields = fields or {}
        self.retry_after = retry_after

    @property
    def whole(self) -> str:
        """Message and advice, where there is one line for both."""
        return f"{self.message} {self.advice}".strip()

    @property
    def status(self) -> int:
        """The HTTP status of this refusal."""
        return HTTP_STATUS[self.code]
