"""Figures of this process for Prometheus. There is no registry here: a token is compared with the one that is set."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import Response

from awssome.database.sessions import Sessions
from awssome.domain.errors import Code, Refused
from awssome.domain.figures import Figure
from awssome.web.metrics import Metrics


def metrics_of(sessions: Sessions) -> Metrics:
    """Requests, and connections to servers."""

    def figures() -> Iterator[Figure]:
        yield Figure("tenant_connections_held", "Connections to servers, in use or idle", sessions.held())

    return Metrics(figures)


def router(metrics: Metrics, token: str) -> APIRouter:
    """The route. :param token: who shows it may look; "" lets nobody look."""
    found = APIRouter()

    @found.get("/metrics")
    def show(authorization: Annotated[str, Header()] = "") -> Response:
        """:raises Refused: UNAUTHENTICATED without the token."""
        scheme, _, given = authorization.partition(" ")
        if not token or scheme.lower() != "bearer" or not hmac.compare_digest(given.encode(), token.encode()):
            raise Refused(Code.UNAUTHENTICATED, "This takes a metrics token.")
        return metrics.response()

    return found
