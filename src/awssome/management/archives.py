"""Archives and restores as operators and owners see them; the central API and the pages both call these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import IO, Any
from uuid import UUID

from awssome.control import messages as m
from awssome.database import Connection
from awssome.database.registry import archives as registered
from awssome.database.registry import audit, restores, tenants
from awssome.database.registry.archives import Archive
from awssome.database.registry.audit import Actor
from awssome.database.registry.tenants import Tenant
from awssome.domain.archives import EXPORTS_A_DAY, RESTORE_STEPS, ArchiveKind, ArchiveState, RestoreState
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import EngineName
from awssome.domain.times import now
from awssome.workflows import archives
from awssome.workflows.services import Services

PAGE = 50

BLOCK = 1 << 20


def page(connection: Connection, ref: str, after: str = "", before: str = "", limit: int = PAGE) -> m.ArchivePage:
    """A tenant's archives, newest first."""
    tenant = tenants.by_ref(connection, ref)
    found = registered.of_tenant(connection, tenant.id, after=after, before=before, limit=limit)
    return m.ArchivePage(archives=[_archive(row) for row in found.rows], next=found.after, previous=found.before)


def archive(connection: Connection, archive_id: UUID, tenant_id: UUID | None = None) -> m.ArchiveOut:
    """One archive. :param tenant_id: it has to be of this tenant. :raises Refused: NOT_FOUND."""
    return _archive(registered.find(connection, archive_id, tenant_id))


def export(services: Services, connection: Connection, actor: Actor, ref: str) -> m.ArchiveOut:
    """Ask for an archive of the tenant as it is now."""
    expires_at = services.archive_policy.expiry(now())
    return _archive(archives.request(connection, services.queue, actor, ref, ArchiveKind.MANUAL, expires_at))


def export_own(services: Services, connection: Connection, actor: Actor, tenant: Tenant) -> m.ArchiveOut:
    """Ask for an archive of one's own tenant, or name the one that is being made.

    :raises Refused: LIMITED after so many in a day.
    """
    tenants.find(connection, tenant.id, lock=True)  # one after the other: they are counted
    lately = registered.asked_for(connection, tenant.id, since=now() - timedelta(days=1))
    if lately and lately[0].state is ArchiveState.REQUESTED:
        return _archive(lately[0])
    if len(lately) >= EXPORTS_A_DAY:
        raise Refused(
            Code.LIMITED,
            f"Your workspace was exported {EXPORTS_A_DAY} times within a day.",
            "Download one of those, or try again tomorrow.",
            retry_after=3600,
        )
    return export(services, connection, actor, str(tenant.id))


def download(
    services: Services, actor: Actor, archive_id: UUID, tenant_id: UUID | None = None
) -> tuple[Archive, Iterator[bytes]]:
    """The archive, and its file in pieces. Audited. :raises Refused: NOT_FOUND, GONE."""
    with services.registry.begin() as connection:
        found = registered.find(connection, archive_id, tenant_id)
        if found.state is not ArchiveState.READY:
            raise Refused(Code.GONE, f"This archive is {found.state}: there is no file.", "Export once more.")
        audit.record(connection, actor, "archive.downloaded", found.tenant_id, archive=found.id, kind=found.kind)
    opened = services.archives.reading(found.file)
    # It is opened before anything is sent, so that a refusal is still an answer.
    return found, _pieces(opened, opened.__enter__())


def take_in(services: Services, actor: Actor, ref: str, pieces: Iterable[bytes]) -> m.ArchiveOut:
    """Keep an archive that is sent, once all of it has been checked.

    :raises Refused: INVALID when it is damaged, or another tenant's; CONFLICT when it is of a newer version.
    """
    return _archive(archives.take_in(services, actor, ref, pieces))


def restore(services: Services, connection: Connection, actor: Actor, ref: str, body: m.StartRestore) -> m.RestoreOut:
    """Ask for the tenant to be brought back."""
    restore_id = archives.request_restore(
        connection, services.queue, actor, ref, body.archive_id, server=body.server or None, beside=body.beside
    )
    return the_restore(connection, restore_id)


def the_restore(connection: Connection, restore_id: UUID) -> m.RestoreOut:
    """One restore. :raises Refused: NOT_FOUND."""
    return _restore(restores.row(connection, restore_id))


def restores_of(connection: Connection, ref: str) -> list[m.RestoreOut]:
    """A tenant's restores, newest first."""
    return [_restore(row) for row in restores.of_tenant(connection, tenants.by_ref(connection, ref).id)]


def _pieces(opened: AbstractContextManager[IO[bytes]], file: IO[bytes]) -> Iterator[bytes]:
    try:
        while block := file.read(BLOCK):
            yield block
    finally:
        opened.__exit__(None, None, None)


def _archive(row: Any) -> m.ArchiveOut:
    return m.ArchiveOut(
        id=row.id,
        tenant_id=row.tenant_id,
        kind=ArchiveKind(row.kind),
        state=ArchiveState(row.state),
        engine=EngineName(row.engine) if row.engine else None,
        revision=row.revision,
        rows=row.rows,
        bytes=row.bytes,
        sha256=row.sha256.hex() if row.sha256 else None,
        requested_by=row.requested_by,
        created_at=row.created_at,
        finished_at=row.finished_at,
        seconds=(row.finished_at - row.created_at).total_seconds() if row.finished_at else None,
        expires_at=row.expires_at,
        problem=row.problem,
    )


def _restore(row: Any) -> m.RestoreOut:
    tables = [{"name": name, **evidence} for name, evidence in sorted(row.evidence["tables"].items())]
    return m.RestoreOut(
        id=row.id,
        tenant_id=row.tenant_id,
        archive_id=row.archive_id,
        archived_at=row.archived_at,
        state=RestoreState(row.state),
        beside=row.beside,
        server=row.server,
        engine=EngineName(row.engine),
        placement_id=row.target_id,
        schema_name=row.schema_name,
        requested_by=row.requested_by,
        requested_at=row.requested_at,
        finished_at=row.finished_at,
        retain_until=row.retain_until,
        write_pause_ms=row.evidence["steps"].get("write_pause_ms"),
        verified=bool(tables) and all(table["equal"] for table in tables),
        steps=_steps(row),
        tables=tables,
        rows=sum(table["rows"] for table in tables),
        problem=row.problem,
    )


def _steps(row: Any) -> list[dict[str, Any]]:
    begun = row.evidence["steps"]
    passed_over = {"freeze", "switch", "open", "retain"} if row.beside else set()
    if not row.beside and row.source_id is None:
        passed_over = {"freeze", "retain"}
    steps = []
    for key, label in RESTORE_STEPS:
        if key in passed_over:
            continue
        step = begun.get(key)
        state = "todo"
        if step is not None:
            unfinished = "failed" if row.state == RestoreState.FAILED else "now"
            state = "done" if "seconds" in step else unfinished
        steps.append({"key": key, "label": label, "state": state, "seconds": step.get("seconds") if step else None})
    return steps
