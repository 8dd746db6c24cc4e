"""What can go wrong with HubSpot, in words for the user. No message ever holds a token, a code or a secret."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx2

from awssome.domain.errors import Code, Refused
from awssome.domain.times import now

MALFORMED_TOKEN = 530
"""What stands before HubSpot's servers answers so to a token that it cannot take apart."""


class HubSpotError(Refused):
    """Anything that HubSpot refused or could not do.

    :ivar transient: whether the same work may well succeed later, without anybody doing anything about it.
    :ivar until: before this moment another try is pointless; None: nobody knows such a moment.
    """

    def __init__(
        self, code: Code, message: str, advice: str, *, transient: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(code, message, advice, retry_after=retry_after)
        self.transient = transient
        self.until: datetime | None = None if retry_after is None else now() + timedelta(seconds=retry_after)


class HubSpotDown(HubSpotError):
    """HubSpot does not answer, or answers with a failure of its own, and went on doing so through all retries."""

    def __init__(
        self,
        message: str = "HubSpot does not answer. Your deals here are safe.",
        *,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(Code.UPSTREAM, message, "Try again in a few minutes.", transient=True, retry_after=retry_after)


class RateLimited(HubSpotError):
    """HubSpot's limit for this account stayed used up through all retries, or it is a limit for the day."""

    def __init__(self, retry_after: float | None = None) -> None:
        super().__init__(
            Code.LIMITED,
            "HubSpot takes no more requests for this account at the moment. Your deals here are safe.",
            "Try again in a few minutes.",
            transient=True,
            retry_after=retry_after,
        )


class TokenRefused(HubSpotError):
    """HubSpot refuses an access token that it has only just granted.

    The connection is not over for that: HubSpot says so when it is asked to renew the token (`NeedsReconnect`), and
    its own pages call a 401 no valid sign of anything (docs: usage guidelines).
    """

    def __init__(self) -> None:
        super().__init__(
            Code.UPSTREAM,
            "HubSpot refuses this connection at the moment, although it has just renewed it. Your deals here are safe.",
            "Try again in a few minutes. If it stays so, connect HubSpot again.",
            transient=True,
            retry_after=60,
        )


class Rejected(HubSpotError):
    """HubSpot refuses a request that it should take, or its answer cannot be read: a defect or a wrong setting.

    :param problem: what HubSpot said, if it said anything.
    :param transient: it is one of the answers that HubSpot itself calls no valid sign of anything.
    """

    def __init__(
        self, message: str, advice: str = "", problem: Problem | None = None, *, transient: bool = False
    ) -> None:
        if problem is not None:
            message = f"{message} (HubSpot says {problem.label})"
        advice = advice or "Your deals here are safe. Ask support if it stays so."
        super().__init__(Code.UPSTREAM, message, advice, transient=transient)
        self.problem = problem


class NeedsReconnect(HubSpotError):
    """The connection is over: the refresh token is dead, or the app is uninstalled."""

    def __init__(self) -> None:
        super().__init__(
            Code.CONFLICT,
            "HubSpot no longer accepts this connection. The app may have been uninstalled in HubSpot. "
            "Your deals here are safe.",
            "Connect HubSpot again.",
        )


class MissingScopes(HubSpotError):
    """The connection lives, and lacks a permission. Its tokens are still good, for instance to uninstall the app.

    :param scopes: the permissions that are missing, as far as HubSpot names them.
    """

    def __init__(self, scopes: tuple[str, ...]) -> None:
        super().__init__(
            Code.CONFLICT,
            f"The connection to HubSpot lacks a permission{': ' if scopes else ''}{', '.join(scopes)}. "
            "Your deals here are safe.",
            "Connect HubSpot again, and allow what it asks for.",
        )
        self.scopes = scopes


class BadCode(HubSpotError):
    """The code that HubSpot's consent page gave was used before, expired or never existed."""

    def __init__(self) -> None:
        super().__init__(
            Code.INVALID,
            "HubSpot did not complete the connection: the code it gave has expired or was used before.",
            "Connect HubSpot again.",
        )


class Cancelled(Refused):
    """The work was told to stop while it called HubSpot or waited for it."""

    def __init__(self) -> None:
        super().__init__(Code.UNAVAILABLE, "The work with HubSpot was stopped.", "It goes on where it was.")


@dataclass(frozen=True)
class Problem:
    """What an error answer says, as far as it says anything: every field of it is optional.

    :param status: the HTTP status.
    :param code: HubSpot's name for the error: `category` in the CRM, `status` in OAuth, `error` in OAuth's standard.
    :param message: HubSpot's sentence; for deciding, not for showing.
    :param policy: the limit that was hit, in an answer 429 of the general limit.
    :param correlation_id: what HubSpot's support asks for.
    :param scopes: the permissions that the call would need.
    """

    status: int
    code: str = ""
    message: str = ""
    policy: str = ""
    correlation_id: str = ""
    scopes: tuple[str, ...] = ()

    @property
    def told(self) -> bool:
        """Whether it is HubSpot's own answer, and not one of something in between."""
        return bool(self.code or self.message)

    @property
    def label(self) -> str:
        """For a message: HTTP status, code and correlation id."""
        reference = f", correlation id {self.correlation_id}" if self.correlation_id else ""
        return f"{self.status} {self.code}".strip() + reference


def problem_of(response: httpx2.Response) -> Problem:
    """What an error answer says; an answer that is not HubSpot's JSON says only its status."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return Problem(response.status_code)
    status = body.get("status")
    code = body.get("category") or (status if status != "error" else "") or body.get("errorType") or body.get("error")
    return Problem(
        status=response.status_code,
        code=_word(code),
        message=str(body.get("message") or body.get("error_description") or ""),
        policy=_word(body.get("policyName")),
        correlation_id=_word(body.get("correlationId")),
        scopes=_scopes(body),
    )


def failure(response: httpx2.Response) -> HubSpotError:
    """The error for an answer of the CRM that is neither a success nor worth a retry."""
    problem = problem_of(response)
    if problem.status in (401, MALFORMED_TOKEN):
        return TokenRefused()
    if problem.status == 403 and problem.code == "MISSING_SCOPES":
        return MissingScopes(problem.scopes)
    return Rejected("HubSpot refused a request.", problem=problem)


def _word(value: Any) -> str:
    """A short name out of an answer. Anything longer than a name could be an echo of what was sent."""
    return value if isinstance(value, str) and len(value) <= 64 and value.isprintable() else ""


def _scopes(body: dict[str, Any]) -> tuple[str, ...]:
    found: list[str] = []
    details = body.get("errors")
    for detail in details if isinstance(details, list) else []:
        context = detail.get("context") if isinstance(detail, dict) else None
        names = context.get("requiredGranularScopes") if isinstance(context, dict) else None
        found += [name for name in map(_word, names if isinstance(names, list) else []) if name]
    return tuple(dict.fromkeys(found))
