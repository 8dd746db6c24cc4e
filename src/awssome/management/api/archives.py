"""Exporting one tenant, and bringing it back: for operators, and for owners of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated
from uuid import UUID

from anyio import from_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse

from awssome.control import messages as m
from awssome.database.registry.archives import Archive
from awssome.domain.tenants import Role
from awssome.management import archives
from awssome.management.api.guard import OperatorCall, TenantCall, tenant_call

router = APIRouter(tags=["operators"])
owners = APIRouter(tags=["tenant"])

Owner = Annotated[TenantCall, Depends(tenant_call(Role.OWNER))]


@router.get("/tenants/{ref}/archives")
def archives_of(call: OperatorCall, ref: str, after: str = "") -> m.ArchivePage:
    """A tenant's archives, newest first."""
    with call.registry.begin() as connection:
        return archives.page(connection, ref, after)


@router.post("/tenants/{ref}/archives", status_code=202)
def export(call: OperatorCall, ref: str) -> m.ArchiveOut:
    """Export the tenant; the archive is ready when its state says so."""
    with call.registry.begin() as connection:
        return archives.export(call.services, connection, call.actor, ref)


@router.post(
    "/tenants/{ref}/archives/uploads",
    status_code=201,
    openapi_extra={"requestBody": {"content": {"application/zip": {}}, "required": True}},
)
def upload(call: OperatorCall, request: Request, ref: str) -> m.ArchiveOut:
    """Keep an archive from elsewhere, to restore the tenant from it. Who calls is known before any of it is read."""
    return archives.take_in(call.services, call.actor, ref, _body(request))


@router.get("/archives/{archive_id}")
def archive(call: OperatorCall, archive_id: UUID) -> m.ArchiveOut:
    """One archive."""
    with call.registry.begin() as connection:
        return archives.archive(connection, archive_id)


@router.get("/archives/{archive_id}/file", response_class=StreamingResponse)
def download(call: OperatorCall, archive_id: UUID) -> StreamingResponse:
    """The archive's file; audited."""
    return _file(*archives.download(call.services, call.actor, archive_id))


@router.get("/tenants/{ref}/restores")
def restores_of(call: OperatorCall, ref: str) -> list[m.RestoreOut]:
    """A tenant's restores, newest first."""
    with call.registry.begin() as connection:
        return archives.restores_of(connection, ref)


@router.post("/tenants/{ref}/restores", status_code=202)
def restore(call: OperatorCall, ref: str, body: m.StartRestore) -> m.RestoreOut:
    """Bring the tenant back from an archive, in place of what it has or beside it."""
    with call.registry.begin() as connection:
        return archives.restore(call.services, connection, call.actor, ref, body)


@router.get("/restores/{restore_id}")
def the_restore(call: OperatorCall, restore_id: UUID) -> m.RestoreOut:
    """One restore."""
    with call.registry.begin() as connection:
        return archives.the_restore(connection, restore_id)


@owners.post("/tenant/archives", status_code=202)
def export_own(caller: Owner) -> m.ArchiveOut:
    """Export everything of one's own tenant."""
    with caller.registry.begin() as connection:
        return archives.export_own(caller.services, connection, caller.actor, caller.tenant)


@owners.get("/tenant/archives/{archive_id}")
def own_archive(caller: Owner, archive_id: UUID) -> m.ArchiveOut:
    """One archive of one's own tenant."""
    with caller.registry.begin() as connection:
        return archives.archive(connection, archive_id, caller.tenant.id)


@owners.get("/tenant/archives/{archive_id}/file", response_class=StreamingResponse)
def download_own(caller: Owner, archive_id: UUID) -> StreamingResponse:
    """The file of one's own tenant's archive; audited."""
    return _file(*archives.download(caller.services, caller.actor, archive_id, caller.tenant.id))


def _file(found: Archive, pieces: Iterator[bytes]) -> StreamingResponse:
    headers = {"Content-Length": str(found.bytes), "Content-Disposition": f'attachment; filename="{found.id}.zip"'}
    return StreamingResponse(pieces, media_type="application/zip", headers=headers)


def _body(request: Request) -> Iterator[bytes]:
    """The body as it comes in: handlers are plain functions in threads, and it is received in the loop."""
    stream = request.stream()
    while True:
        try:
            yield from_thread.run(stream.__anext__)
        except StopAsyncIteration:
            return
