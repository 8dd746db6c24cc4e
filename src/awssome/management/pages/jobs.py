"""Background jobs by state."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from awssome.management import operations
from awssome.management.pages.guard import AtDesk
from awssome.web.tables import Listing

STATES = [
    ("", "All states"),
    ("failed", "Failed"),
    ("todo", "Waiting"),
    ("doing", "Running"),
    ("cancelled", "Cancelled"),
    ("aborted", "Stopped"),
]

router = APIRouter()


@router.get("/jobs")
def jobs(request: Request, desk: AtDesk, state: str = "", after: str = "", before: str = "") -> Response:
    """Jobs, newest first."""
    with desk.registry.begin() as connection:
        page = operations.jobs_page(connection, state, after, before)
    listing = Listing.of(request, page.jobs, after=page.next, before=page.previous)
    return desk.pages.render(request, "jobs.html", listing=listing, states=STATES)


@router.post("/jobs/{job_id}/retry")
def retry(request: Request, desk: AtDesk, job_id: Annotated[int, Path(ge=1, lt=2**63)]) -> Response:
    """Run a failed job once more."""
    with desk.registry.begin() as connection:
        operations.retry_job(connection, desk.actor, job_id)
    return desk.pages.redirect(request, "/jobs?state=failed", "success", f"Job {job_id} runs again.")
