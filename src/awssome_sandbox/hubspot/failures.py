"""How ordered failures look: the shapes in which HubSpot, or what stands before it, refuses a call."""

from __future__ import annotations

import time

from starlette.responses import HTMLResponse, Response

from awssome_sandbox.hubspot import errors
from awssome_sandbox.hubspot.errors import HubSpotError
from awssome_sandbox.hubspot.faults import CATEGORIES, Failure

MIGRATION_SECONDS = 3600
_TOLD = {
    423: "This resource is locked. Wait 2 seconds before the next call.",
    477: "This account is being migrated to another hosting location.",
}
_PROXY = {
    414: "Request-URI Too Large",
    502: "Bad Gateway",
    504: "Gateway Time-out",
    520: "Web server returned an unknown error",
    521: "Web server is down",
    522: "Connection timed out",
    523: "Origin is unreachable",
    524: "A timeout occurred",
    530: "The authorization header is malformed",
}


def page(status: int) -> Response:
    """What a proxy before HubSpot answers: HTML."""
    told = f"{status} {_PROXY.get(status, 'Error')}"
    return HTMLResponse(
        f"<html><head><title>{told}</title></head><body><center><h1>{told}</h1></center></body></html>", status
    )


def failed(failure: Failure, endpoint: str) -> HubSpotError | Response:
    """The answer to a call of an endpoint that is ordered to fail."""
    headers = {} if failure.retry_after is None else {"Retry-After": str(failure.retry_after)}
    if failure.status in _PROXY:
        proxied = page(failure.status)
        proxied.headers.update(headers)
        return proxied
    if failure.status == 477:
        headers = headers or {"Retry-After": str(MIGRATION_SECONDS)}
    error = _shaped(failure, endpoint)
    error.headers.update(headers)
    return error


def _shaped(failure: Failure, endpoint: str) -> HubSpotError:
    category = failure.category or _usual(failure.status, endpoint)
    match category:
        case "INVALID_AUTHENTICATION":
            return errors.no_credentials()
        case "EXPIRED_AUTHENTICATION":
            return errors.expired(time.time() - 75, time.time())
        case "MISSING_SCOPES":
            return errors.missing_scopes(["crm.objects.deals.read"])
        case "BANNED":
            return errors.banned()
        case "TEN_SECONDLY_ROLLING":
            return errors.ten_secondly_limit("publicapi:ordered", {})
        case "SECONDLY":
            return errors.secondly_limit()
        case "DAILY":
            return errors.daily_limit("publicapi:ordered", {})
        case "BAD_REFRESH_TOKEN":
            return errors.bad_refresh_token()
        case "VALIDATION_ERROR":
            return errors.invalid("The request is not valid.")
    told = _TOLD.get(failure.status, "There was a problem with the request.")
    return HubSpotError(failure.status, {"status": "error", "message": told})


def _usual(status: int, endpoint: str) -> str | None:
    if status == 429 and endpoint == "deals.search":
        return "SECONDLY"
    return CATEGORIES[status][0] if status in CATEGORIES else None
