"""HubSpot's error answers, in the shapes recorded from the real service."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any


class HubSpotError(Exception):
    """An answer that is not a success.

    :param status: the HTTP status.
    :param body: the JSON body; a `correlationId` is added.
    :param headers: headers beyond the usual ones.
    """

    def __init__(self, status: int, body: dict[str, Any], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(body.get("message", status))
        self.status = status
        self.body = {**body, "correlationId": str(uuid.uuid4())}
        self.headers = dict(headers or {})


class InvalidValues(HubSpotError):
    """Values that properties cannot take; the message ends with all the problems as JSON, as HubSpot's does.

    :ivar problems: what is wrong with each, made by `problem_of`.
    """

    def __init__(self, problems: Sequence[dict[str, Any]]) -> None:
        told = f"Property values were not valid: {json.dumps(list(problems), ensure_ascii=False)}"
        super().__init__(400, {"status": "error", "message": told, "category": "VALIDATION_ERROR"})
        self.problems = problems


def invalid(message: str, category: str = "VALIDATION_ERROR", status: int = 400) -> HubSpotError:
    """A request that HubSpot cannot make sense of."""
    return HubSpotError(status, {"status": "error", "message": message, "category": category})


def problem_of(name: str, message: str, error: str) -> dict[str, Any]:
    """What is wrong with one property's value, as HubSpot tells it within `InvalidValues`."""
    return {"isValid": False, "message": message, "error": error, "name": name}


def not_found(message: str = "resource not found") -> HubSpotError:
    """Nothing is at this address or under this id."""
    return invalid(message, "OBJECT_NOT_FOUND", 404)


def missing_deals(ids: Sequence[str]) -> dict[str, Any]:
    """What a batch's answer says in addition, with status 207, about ids under which there is no deal."""
    error = {
        "status": "error",
        "category": "OBJECT_NOT_FOUND",
        "message": "Could not get some DEAL objects, they may be deleted or not exist. Check that ids are valid.",
        "context": {"ids": list(ids)},
        "links": {},
        "errors": [],
    }
    return {"numErrors": 1, "errors": [error]}


def oauth(error: str, status: str, message: str) -> HubSpotError:
    """A refusal of the token endpoints: HubSpot answers in RFC 6749's shape and in its own at once."""
    return HubSpotError(400, {"error": error, "error_description": message, "status": status, "message": message})


def bad_refresh_token() -> HubSpotError:
    """The refresh token is over: the app was uninstalled, or its access was revoked."""
    return oauth("invalid_grant", "BAD_REFRESH_TOKEN", "refresh token is invalid, expired or revoked")


def no_credentials() -> HubSpotError:
    """No bearer token came along, or it belongs to an app that is no longer installed."""
    return invalid(
        "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find more details"
        " at https://developers.hubspot.com/docs/methods/auth/oauth-overview",
        "INVALID_AUTHENTICATION",
        401,
    )


def expired(at: float, now: float) -> HubSpotError:
    """The access token is over; an unknown token reads as one that expired at the epoch.

    :param at: when it expired, seconds since the epoch.
    :param now: seconds since the epoch.
    """
    age = max(0, int(now - at))
    told = f"{age // 86400} day(s)" if age >= 86400 else f"{age} second(s)"
    moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return HubSpotError(
        401,
        {
            "status": "error",
            "message": f"The OAuth token used to make this call expired {told} ago.",
            "category": "EXPIRED_AUTHENTICATION",
            "context": {"expire time": [moment]},
        },
    )


def missing_scopes(required: Sequence[str]) -> HubSpotError:
    """The token is good but was not granted what the call needs."""
    return HubSpotError(
        403,
        {
            "status": "error",
            "message": "This app hasn't been granted all required scopes to make this call. Read more about required"
            " scopes here: https://developers.hubspot.com/scopes.",
            "errors": [
                {
                    "message": "One or more of the following scopes are required.",
                    "context": {"requiredGranularScopes": list(required)},
                }
            ],
            "links": {"scopes": "https://developers.hubspot.com/scopes"},
            "category": "MISSING_SCOPES",
        },
    )


def banned() -> HubSpotError:
    """HubSpot has shut the app out."""
    return invalid("This app is not allowed to make this call.", "BANNED", 403)


def ten_secondly_limit(group: str, headers: Mapping[str, str]) -> HubSpotError:
    """Too many calls of one app in one portal within ten seconds."""
    return HubSpotError(
        429,
        {
            "status": "error",
            "message": "You have reached your ten_secondly_rolling limit.",
            "errorType": "RATE_LIMIT",
            "policyName": "TEN_SECONDLY_ROLLING",
            "groupName": group,
        },
        headers,
    )


def daily_limit(group: str, headers: Mapping[str, str]) -> HubSpotError:
    """The private apps of an account have used up the day's calls."""
    body = {
        "status": "error",
        "message": "You have reached your daily limit.",
        "errorType": "RATE_LIMIT",
        "policyName": "DAILY",
        "groupName": group,
    }
    error = HubSpotError(429, body, headers)
    error.body["requestId"] = error.body["correlationId"]
    return error


def secondly_limit() -> HubSpotError:
    """Too many searches in one portal within a second; neither headers nor a policy are told."""
    return invalid("You have reached your secondly limit.", "RATE_LIMITS", 429)
