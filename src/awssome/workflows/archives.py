"""One tenant at a time: exporting its data into an archive, and bringing it back from one.

What is in an archive is `database.archive`, how a tenant is brought back `database.restorer`. Each function that does
work can be run twice, and after a kill -9.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import IO
from uuid import UUID

from awssome.database import Connection, archive
from awssome.database.archive import Manifest, Subject
from awssome.database.engine import Server
from awssome.database.registry import archives, audit, placements, restores, servers, tenants
from awssome.database.registry.archives import Archive
from awssome.database.registry.audit import Actor
from awssome.database.restorer import Restorer, checked
from awssome.domain.archives import LARGEST_UPLOAD, ArchiveKind, ArchivePolicy, ArchiveState
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import FenceMode
from awssome.domain.tenants import AWAY, TenantState
from awssome.domain.times import now
from awssome.workflows.queue import Queue
from awssome.workflows.services import Services, WorkerServices

AT_ONCE = 50
"""Scheduled exports, and deletions of files, that one sweep asks for: 3,000 an hour."""

FORGOTTEN = timedelta(minutes=10)
"""After so long an archive that is requested and that no job makes is given to one again."""


REMEMBERED = timedelta(days=90)
"""For so long the registry lists an archive whose file is gone; the audit log never forgets."""


def request(
    connection: Connection,
    queue: Queue,
    actor: Actor,
    ref: str,
    kind: ArchiveKind = ArchiveKind.MANUAL,
    expires_at: datetime | None = None,
) -> Archive:
    """Ask for an archive of the tenant's data as it is when a worker gets to it.

    :raises Refused: NOT_FOUND; CONFLICT when the tenant has no workspace.
    """
    tenant = tenants.by_ref(connection, ref)
    if tenant.placement_id is None or tenant.state is TenantState.PENDING:
        raise _no_workspace()
    made = archives.create(connection, tenant.id, kind, actor.name, expires_at)
    audit.record(connection, actor, "archive.requested", tenant.id, archive=made.id, kind=kind)
    queue.export(connection, made.id)
    return made


def export_now(
    services: WorkerServices,
    tenant_id: UUID,
    kind: ArchiveKind,
    requested_by: str,
    expires_at: datetime | None,
    placement_id: UUID | None = None,
) -> Archive:
    """Make an archive of the tenant's data, here and now; the row, in state ready.

    :param placement_id: of what is there, which is closed for writes; None: where the tenant is.
    :raises Refused: CONFLICT when the tenant has no workspace; UNAVAILABLE when its server, or where archives lie, does
        not answer: call again later.
    """
    with services.registry.begin() as connection:
        made = archives.create(connection, tenant_id, kind, requested_by, expires_at, placement_id)
    export(services, made.id)
    with services.registry.begin() as connection:
        return archives.find(connection, made.id)


def export(services: WorkerServices, archive_id: UUID) -> None:
    """Make an archive that is requested; nothing if it is made. What went wrong is on its row.

    :raises Refused: as `export_now`.
    """
    with services.registry.begin() as connection:
        row, left = archives.begin(connection, archive_id)
    if row.state is not ArchiveState.REQUESTED:
        return
    try:
        services.archives.delete(left)  # of an attempt that was killed
        _export(services, row)
    except Exception as error:
        problem = error.message if isinstance(error, Refused) else "The archive could not be made: a defect of ours."
        passing = isinstance(error, Refused) and error.code is Code.UNAVAILABLE
        with services.registry.begin() as connection:
            archives.trouble(connection, row, problem, ended=not passing)
        raise


def holds(services: WorkerServices, row: Archive, server: Server, schema: str) -> bool:
    """Whether the archive's file is whole, and holds what the tables hold, which take no writes.

    :raises Refused: UNAVAILABLE when the server, or where archives lie, does not answer.
    """
    if row.state is not ArchiveState.READY:
        return False
    try:
        with checked(services.archives.reading, row) as there:
            return server.sums(schema, there.manifest.shape()) == there.manifest.sums
    except Refused as refused:
        if refused.code is Code.UNAVAILABLE:
            raise
        return False


def take_in(services: Services, actor: Actor, ref: str, pieces: Iterable[bytes]) -> Archive:
    """Keep an archive of the tenant that is sent from elsewhere, once all of it has been checked; the row, ready.

    :raises Refused: INVALID when it is too large, damaged, or another tenant's; CONFLICT when it is of a newer version,
        or the tenant is deleted for good.
    """
    expires_at = services.archive_policy.expiry(now())
    with services.registry.begin() as connection:
        tenant = tenants.by_ref(connection, ref)
        if tenant.state is TenantState.DELETED:
            raise _deleted("nothing of it is kept")
        row = archives.create(connection, tenant.id, ArchiveKind.UPLOADED, actor.name, expires_at)
    try:
        with services.archives.writing(row.file) as file:
            _receive(file, pieces)
            size, digest = _measured(file)
            file.seek(0)
            with archive.opened(file, tenant.id, strange=True) as found:
                found.check()
                manifest = found.manifest
    except Exception as error:
        problem = error.message if isinstance(error, Refused) else "It did not arrive."
        with services.registry.begin() as connection:
            archives.trouble(connection, row, problem, ended=True)
            audit.record(connection, actor, "archive.refused", tenant.id, archive=row.id, problem=problem)
        raise
    if not _finished(services, actor, row, manifest, size, digest, None):
        services.archives.delete(row.file)
        raise _deleted("nothing of it is kept")
    with services.registry.begin() as connection:
        return archives.find(connection, row.id)


def request_restore(
    connection: Connection,
    queue: Queue,
    actor: Actor,
    ref: str,
    archive_id: UUID,
    *,
    server: str | None = None,
    beside: bool = False,
) -> UUID:
    """Ask for the tenant to be brought back from one of its archives; the id of the restore.

    :param server: name of the server; None: where it is, or the emptiest pool when it is nowhere.
    :param beside: make a placement that nobody writes to, beside the one that it has, and keep that.
    :raises Refused: NOT_FOUND; GONE for an archive that is not kept; CONFLICT while the tenant is moved or restored
        already, or when the server cannot take it.
    """
    tenant = tenants.by_ref(connection, ref, lock=True)
    if tenant.state is TenantState.PENDING:
        raise Refused(Code.CONFLICT, "The tenant's workspace is still being made.", "Wait until it is active.")
    if tenant.state is TenantState.DELETED:
        raise _deleted("it cannot be brought back")
    if tenant.state in AWAY and tenant.placement_id is not None:
        raise Refused(Code.CONFLICT, "The tenant's workspace is still being emptied.", "Bring it back as it is.")
    if tenant.state in AWAY and beside:
        raise Refused(
            Code.CONFLICT,
            "The tenant is away: it has no workspace beside which another one could be kept.",
            "Bring it back first.",
        )
    found = archives.find(connection, archive_id, tenant.id)
    if found.state is not ArchiveState.READY:
        raise Refused(Code.GONE, f"This archive is {found.state}: it cannot be restored.", "Name one that is ready.")
    if server is not None:
        server_id = servers.take(connection, server, tenant.id)
    elif tenant.placement_id is not None:
        server_id = placements.server_of(connection, tenant.placement_id)
    else:
        server_id = servers.emptiest_pool(connection)
    restore_id = restores.create(
        connection,
        tenant.id,
        archive_id,
        source=None if beside else tenant.placement_id,
        target=placements.create(connection, tenant.id, server_id),
        beside=beside,
        requested_by=actor.name,
    )
    audit.record(
        connection, actor, "restore.requested", tenant.id, restore=restore_id, archive=archive_id, beside=beside
    )
    queue.restore(connection, restore_id)
    return restore_id


def restorer(services: WorkerServices) -> Restorer:
    """Carries restores on."""
    return Restorer(services.registry, services.vault, services.open_server, services.archives.reading)


def expire(services: WorkerServices, archive_id: UUID) -> None:
    """Delete the file of an archive that has been kept long enough; the row stays, and says so."""
    with services.registry.begin() as connection:
        expired = archives.expire(connection, archive_id, now())
    if expired is not None:
        services.archives.delete(expired.file)


def sweep(connection: Connection, queue: Queue, policy: ArchivePolicy) -> None:
    """Ask for the exports whose time has come, delete what has been kept long enough, and take up what nobody does."""
    at = now()
    if policy.export_hours:
        for tenant_id in archives.due(connection, timedelta(hours=policy.export_hours), AT_ONCE):
            made = archives.create(connection, tenant_id, ArchiveKind.SCHEDULED, audit.SYSTEM.name, policy.expiry(at))
            queue.export(connection, made.id)
    for archive_id in archives.past_retention(connection, at, AT_ONCE):
        queue.expire(connection, archive_id)
    archives.forget(connection, at - REMEMBERED)
    for archive_id in archives.without_job(connection, at - FORGOTTEN):
        queue.export(connection, archive_id)
    for restore_id in restores.past_retention(connection, at):
        queue.drop_restored(connection, restore_id)
    for restore_id in restores.without_job(connection):
        queue.restore(connection, restore_id)


def _export(services: WorkerServices, row: Archive) -> None:
    with services.registry.begin() as connection:
        tenant = tenants.find(connection, row.tenant_id)
        placement_id = row.placement_id or tenant.placement_id
        if placement_id is None:
            raise _no_workspace()
        placement = placements.find(connection, services.keys, placement_id)
        server = services.open_server(placements.server_of(connection, placement_id))
    subject = Subject(tenant.id, tenant.slug, tenant.company, tenant.tier)
    with services.archives.writing(row.file) as file:
        with server.snapshot(placement.schema) as found:
            if row.placement_id is None and found.fence.epoch != placement.epoch:
                raise Refused(Code.UNAVAILABLE, "The tenant is being moved.", "It is tried again.", retry_after=2)
            if row.placement_id is not None and found.fence.mode is not FenceMode.MOVED:
                raise Refused(Code.CONFLICT, "What was to be archived takes writes.")
            manifest = archive.write(file, subject, server.engine, found)
        size, digest = _measured(file)
    if not _finished(services, audit.SYSTEM, row, manifest, size, digest, placement_id):
        services.archives.delete(row.file)


def _finished(
    services: Services,
    actor: Actor,
    row: Archive,
    manifest: Manifest,
    size: int,
    digest: bytes,
    placement_id: UUID | None,
) -> bool:
    with services.registry.begin() as connection:
        finished = archives.finish(
            connection,
            row,
            placement_id=placement_id,
            engine=manifest.engine,
            revision=manifest.revision,
            rows=manifest.rows,
            bytes=size,
            sha256=digest,
        )
        if finished:
            audit.record(
                connection,
                actor,
                "archive.made",
                row.tenant_id,
                archive=row.id,
                kind=row.kind,
                rows=manifest.rows,
                sha256=digest.hex(),
            )
    return finished


def _receive(file: IO[bytes], pieces: Iterable[bytes]) -> None:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > LARGEST_UPLOAD:
            raise Refused(Code.INVALID, f"An archive of more than {LARGEST_UPLOAD >> 20:,} MiB cannot be taken in.")
        file.write(piece)


def _measured(file: IO[bytes]) -> tuple[int, bytes]:
    """Size and SHA-256 of what was written: read again, since a ZIP file is not written from end to end."""
    file.seek(0)
    digest, size = hashlib.sha256(), 0
    while block := file.read(1 << 20):
        digest.update(block)
        size += len(block)
    return size, digest.digest()


def _deleted(so: str) -> Refused:
    return Refused(Code.CONFLICT, f"The tenant is deleted for good: {so}.")


def _no_workspace() -> Refused:
    return Refused(Code.CONFLICT, "The tenant has no workspace that could be exported.")
