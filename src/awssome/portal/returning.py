"""Coming back: a workspace that nobody opened for long was archived, and is restored when somebody is there again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from awssome.domain.tenants import TenantState
from awssome.portal.context import TenantContext
from awssome.portal.guard import Looks, parts

router = APIRouter()

Returning = Annotated[TenantContext, Depends(Looks(returning=True, fresh=True))]


@router.get("/return")
def show(request: Request, me: Returning) -> Response:
    """That the workspace is being brought back, and how far it is."""
    if me.tenant.state is not TenantState.ARCHIVED:
        return RedirectResponse("/", 303)
    return parts(request).pages.render(request, "return.html", tenant=me.tenant)


@router.get("/return/progress")
def progress(request: Request, me: Returning) -> Response:
    """The same, as a piece of the page."""
    return parts(request).pages.render(request, "return_progress.html", tenant=me.tenant)
