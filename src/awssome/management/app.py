"""The management application: operators' pages, and the central API below /api/v1."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import Depends, FastAPI
from fastapi.responses import JSONResponse, Response

from awssome.control.messages import ErrorBody
from awssome.database.registry import alerts, watch
from awssome.domain.figures import Figure
from awssome.domain.times import now
from awssome.management.api import (
    archives,
    hubspot,
    lifecycle,
    mapping,
    marketplace,
    operators,
    people,
    syncs,
    tenant,
    watching,
)
from awssome.management.api.guard import metrics_call
from awssome.management.pages import routes
from awssome.web.metrics import Metrics
from awssome.workflows.services import Services


def create(services: Services) -> FastAPI:
    """The application over its services."""
    app = FastAPI(
        title="Awssome central API",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        responses={"default": {"model": ErrorBody, "description": "Why it was refused"}},
    )
    app.state.services = services
    rooms = (
        people.router,
        tenant.router,
        hubspot.router,
        marketplace.router,
        syncs.router,
        mapping.router,
        operators.router,
        lifecycle.router,
        watching.router,
    )
    for router in (*rooms, archives.router, archives.owners):
        app.include_router(router, prefix="/api/v1")
    metrics = Metrics(lambda: _figures(services))
    routes.install(app, services, metrics)

    @app.get("/healthz", include_in_schema=False)
    def health() -> JSONResponse:
        """Whether the application and its database answer."""
        with services.registry.begin():
            return JSONResponse({"status": "ok"})

    @app.get("/metrics", include_in_schema=False, dependencies=[Depends(metrics_call)])
    def figures() -> Response:
        """For Prometheus; needs a metrics token."""
        return metrics.response()

    return app


def _figures(services: Services) -> Iterator[Figure]:
    with services.registry.begin() as connection:
        yield from watch.figures(connection, now())
        yield from watch.queue_figures(connection)
        yield from alerts.figures(connection, now())
