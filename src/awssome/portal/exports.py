"""Export everything: the owner's archive of the workspace, made in the background and then downloaded."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from awssome.domain.archives import ArchiveState
from awssome.domain.tenants import Role
from awssome.portal.context import TenantContext
from awssome.portal.guard import ActingOwner, Looks, parts

router = APIRouter()

Owner = Annotated[TenantContext, Depends(Looks(Role.OWNER))]


@router.post("/people/export")
def export(request: Request, me: ActingOwner) -> Response:
    """Ask for the archive, or come to the one that is being made."""
    asked = parts(request).control.export_own(me.person.caller)
    return RedirectResponse(f"/people/export/{asked.id}", 303)


@router.get("/people/export/{archive_id}")
def show(request: Request, me: Owner, archive_id: UUID) -> Response:
    """Whether it is ready."""
    return parts(request).pages.render(request, "export.html", **_view(request, me, archive_id))


@router.get("/people/export/{archive_id}/progress")
def progress(request: Request, me: Owner, archive_id: UUID) -> Response:
    """The same as a piece of the page."""
    return parts(request).pages.render(request, "export_progress.html", polled=True, **_view(request, me, archive_id))


@router.get("/people/export/{archive_id}/file")
def download(request: Request, me: Owner, archive_id: UUID) -> Response:
    """The file."""
    pieces = parts(request).control.download_own(me.person.caller, archive_id)
    headers = {"Content-Disposition": f'attachment; filename="{me.tenant.slug}-{archive_id}.zip"'}
    return StreamingResponse(pieces, media_type="application/zip", headers=headers)


def _view(request: Request, me: TenantContext, archive_id: UUID) -> dict[str, Any]:
    found = parts(request).control.own_archive(me.person.caller, archive_id)
    return {"archive": found, "making": found.state is ArchiveState.REQUESTED}
