"""`awssome tenant export`, `archives` and `restore`: one tenant's data in one file, and back."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.live import Live

from awssome.cli.central import central, steps_table, until_back
from awssome.cli.output import Json, Ref, poll, print_facts, print_json, print_table, status, waiting
from awssome.cli.tenant_facts import print_tenant
from awssome.control.client import Control
from awssome.control.messages import ArchiveOut, RestoreOut, StartRestore
from awssome.domain.archives import ArchiveState, RestoreState
from awssome.domain.errors import Code, Refused

EXPORT_SECONDS, RESTORE_SECONDS = 3600.0, 3600.0


def export(
    ref: Ref,
    to: Annotated[
        Path | None, typer.Option(help="Download the archive into this file, which must not exist.", dir_okay=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Export the tenant's data into an archive: tokens stay encrypted, checksums prove every table."""
    if to is not None and to.exists():
        raise Refused(Code.CONFLICT, f"{to} is there already. Nothing was exported.", "Name another file.")
    with central() as api:
        archive = _until_ready(api, api.export(ref))
        if to is not None:
            _download(api, archive, to)
    if as_json:
        print_json({**archive.model_dump(mode="json"), "file": str(to) if to else None})
        return
    print_facts(
        [
            ("Archive", archive.id),
            ("Rows", archive.rows),
            ("Bytes", archive.bytes),
            ("Seconds", f"{archive.seconds:.3f}"),
            ("SHA-256", archive.sha256),
            ("Kept until", archive.expires_at),
            ("File", str(to) if to else None),
        ]
    )


def list_archives(ref: Ref, as_json: Json = False) -> None:
    """List the tenant's archives, newest first."""
    found: list[ArchiveOut] = []
    with central() as api:
        after: str | None = ""
        while after is not None:
            page = api.archives(ref, after)
            found += page.archives
            after = page.next
    if as_json:
        print_json(found)
        return
    print_table(
        ("Archive", "Made", "Kind", "State", "Rows", "Bytes", "Revision", "Kept until", "Problem"),
        [
            (str(a.id), a.created_at, a.kind, a.state, a.rows, a.bytes, a.revision, a.expires_at, a.problem)
            for a in found
        ],
        empty="There are no archives of this tenant.",
    )


def restore(
    ref: Ref,
    archive: Annotated[UUID | None, typer.Option(help="An archive of the tenant, by its id.")] = None,
    file: Annotated[
        Path | None, typer.Option("--from", help="An archive in a file.", exists=True, dir_okay=False)
    ] = None,
    server: Annotated[
        str | None, typer.Option(help="Where to, whatever its engine; where the tenant is if not given.")
    ] = None,
    beside: Annotated[
        bool, typer.Option("--beside", help="Leave the tenant as it is, and make a placement that nobody writes to.")
    ] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait for the restore to end.")] = False,
    as_json: Json = False,
) -> None:
    """Bring the tenant back as it was in an archive; what it has now is kept for 30 days.

    One that was deleted, or archived because nobody came, is brought back as it was then: name no archive.
    """
    if archive is not None and file is not None:
        raise typer.BadParameter("Give one of --archive and --from.")
    with central() as api:
        if archive is None and file is None:
            returned = api.bring_back(ref, server)
            print_tenant(returned if no_wait else until_back(api, ref), as_json)
            return
        if file is not None:
            with waiting("Sending the archive"), file.open("rb") as content:
                archive = api.upload(ref, content).id
        started = api.start_restore(ref, StartRestore(archive_id=archive, server=server, beside=beside))
        _show(started if no_wait else _until_restored(api, started.id), as_json)


def _until_ready(api: Control, asked: ArchiveOut) -> ArchiveOut:
    """Wait for an archive. :raises Refused: CONFLICT when it failed; UNAVAILABLE when nobody makes it."""
    with waiting("Exporting"):
        found = poll(
            lambda: api.archive(asked.id),
            lambda archive: archive.state is not ArchiveState.REQUESTED,
            seconds=EXPORT_SECONDS,
            every=0.1,
        )
    if found is None or found.state is not ArchiveState.READY:
        problem = (found or api.archive(asked.id)).problem or "No worker has taken it up."
        raise Refused(
            Code.UNAVAILABLE if found is None else Code.CONFLICT, f"The archive is not there. {problem}", "Try again."
        )
    return found


def _download(api: Control, archive: ArchiveOut, to: Path) -> None:
    """The file appears whole and proven, or not at all. :raises Refused: UNAVAILABLE when it did not come as it is."""
    part = to.with_name(f".{to.name}.{secrets.token_hex(8)}")
    digest = hashlib.sha256()
    try:
        with (
            waiting("Downloading"),
            os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file,
        ):
            for piece in api.download(archive.id):
                digest.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != archive.sha256:
            raise Refused(
                Code.UNAVAILABLE, "The archive did not arrive as it is kept. Nothing was saved.", "Try again."
            )
        part.rename(to)
    except OSError as error:
        raise Refused(Code.UNAVAILABLE, f"{to} cannot be written. {error.strerror}.", "Name another file.") from None
    finally:
        part.unlink(missing_ok=True)


def _until_restored(api: Control, restore_id: UUID) -> RestoreOut:
    """Wait for the end of a restore, with its steps on the terminal.

    :raises Refused: CONFLICT when it failed; UNAVAILABLE when it has not ended within an hour.
    """
    to = status()
    with Live(console=to, refresh_per_second=4, transient=True) as live:

        def ask() -> RestoreOut:
            found = api.restore(restore_id)
            if to.is_terminal:
                live.update(steps_table(f"Restore to {found.server}", found.steps, found.problem))
            return found

        ended = (RestoreState.DONE, RestoreState.FAILED)
        found = poll(ask, lambda restore: restore.state in ended, seconds=RESTORE_SECONDS)
    if found is None:
        raise Refused(
            Code.UNAVAILABLE,
            "The restore has not ended within an hour. It goes on.",
            "The tenant's page in the management portal shows it.",
        )
    if found.state is RestoreState.FAILED:
        raise Refused(Code.CONFLICT, found.problem or "The restore has failed.", "The tenant is where it was.")
    return found


def _show(restore: RestoreOut, as_json: bool) -> None:
    if as_json:
        print_json(restore)
        return
    print_facts(
        [
            ("Restore", restore.id),
            ("Archive", f"{restore.archive_id} of {restore.archived_at:%Y-%m-%d %H:%M:%S} UTC"),
            ("State", restore.state),
            ("Server", restore.server),
            ("Schema", restore.schema_name),
            ("Placement", restore.placement_id),
            ("Beside", restore.beside),
            ("Kept until", restore.retain_until if restore.beside else None),
            ("Write pause", None if restore.write_pause_ms is None else f"{restore.write_pause_ms:,} ms"),
            ("Verified", restore.verified),
            ("Problem", restore.problem),
        ]
    )
    if restore.tables:
        print_table(
            ("Table", "Rows", "Archive", "Restored", "Equal"),
            [(t["name"], t["rows"], t["source"], t["target"], t["equal"]) for t in restore.tables],
            empty="",
        )
