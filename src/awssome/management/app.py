"""The management application: operators' pages, and the central API below /api/v1."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from awssome.control.messages import ErrorBody
from awssome.management.api import archives, operators, people, tenant
from awssome.management.pages import routes
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
    for router in (people.router, tenant.router, operators.router, archives.router, archives.owners):
        app.include_router(router, prefix="/api/v1")
    routes.install(app, services)

    @app.get("/healthz", include_in_schema=False)
    def health() -> JSONResponse:
        """Whether the application and its database answer."""
        with services.registry.begin():
            return JSONResponse({"status": "ok"})

    return app
