"""Bringing a tenant back from an archive: provision, load, verify; then beside, or in place of where it is now.

The state of a restore is its row in the registry and the `_fence` rows, as with a move (`database.mover`), and so are
the rules: `carry_on` may be called at any time, each call takes the next mover number, which every transaction checks,
and the commit point is one transaction in the registry. Before it only what is replaced may be open; after it, only
the target. Writes are paused as late as that: what is loaded is an archive's, and does not change any more.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import IO
from uuid import UUID

from sqlalchemy import Table

from awssome.database import Connection, template
from awssome.database.archive import Archive, Manifest, damaged, opened
from awssome.database.engine import MoverLost, Server, Texts
from awssome.database.handover import admit, compared, freeze, leave, passes
from awssome.database.registry import Registry, archives, audit, hubspot, placements, restores, servers, tenants
from awssome.database.registry.restores import Restore
from awssome.database.registry.tenants import Tenant
from awssome.database.schema import hubspot_tokens, tenant_keys
from awssome.database.servers import Opener, match_login
from awssome.domain.archives import ArchiveKind, ArchiveState, RestoreState
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import FenceMode
from awssome.domain.secrets import Unopenable
from awssome.domain.syncs import ConnectionState
from awssome.domain.tenants import RETENTION_DAYS, Placement, PlacementState, TenantState
from awssome.domain.times import now
from awssome.domain.vault import Vault, Wrapped

BLOCK = 1 << 20

Files = Callable[[str], AbstractContextManager[IO[bytes]]]
"""Opens an archive's file by its name, to be read and sought in."""


@dataclass(frozen=True)
class Restorer:
    """Carries restores on. Only workers have one.

    :param step: told the name of each step as it begins; tests kill the process there.
    """

    registry: Registry
    vault: Vault
    open_server: Opener
    files: Files
    step: Callable[[str], None] = lambda name: None

    def carry_on(self, restore_id: UUID) -> RestoreState:
        """Do what is left of a restore; returns the state it reached.

        :raises Refused: when a server, the archive's store or the registry does not answer. Where the tenant was is
            open again if it had not been switched yet; call again later.
        """
        with self.registry.begin() as connection:
            restore = restores.claim(connection, restore_id)
        try:
            if restore.state in (RestoreState.DONE, RestoreState.FAILED):
                return restore.state
            return self._travel(restore, self._trip(restore))
        except MoverLost:
            # Somebody else has the restore now; it is theirs to finish.
            with self.registry.begin() as connection:
                return restores.find(connection, restore_id).state

    def drop(self, restore_id: UUID) -> None:
        """Drop what a restore has left, and what has been kept long enough. Nothing where the tenant lives."""
        with self.registry.begin() as connection:
            restore = restores.claim(connection, restore_id)
            left = restores.left_by(connection, restore, now())
        for placement_id in left:
            with self.registry.begin() as connection:
                if tenants.find(connection, restore.tenant_id).placement_id == placement_id:
                    continue
                placement = placements.find(connection, self.vault.keys, placement_id)
                server_id = placements.server_of(connection, placement_id)
            self.open_server(server_id).drop(placement.schema, restore.mover)
            with self.registry.begin() as connection:
                restores.advance(connection, restore, restore.state)  # still ours
                _dropped(connection, restore, placement)

    def _travel(self, restore: Restore, trip: _Trip) -> RestoreState:
        if trip.tenant.placement_id == restore.target_id:
            return self._open(restore, trip)
        try:
            if not restore.beside and trip.tenant.placement_id != restore.source_id:
                raise _elsewhere()
            if trip.source is not None:
                trip.source.server.claim(trip.source.placement.schema, restore.mover)
                self._reopen(restore, trip)  # whoever was killed may have paused writes; loading takes its time
            self._load(restore, trip)
            if restore.beside:
                return self._lay_beside(restore)
            self._switch(restore, trip)
        except MoverLost:
            raise
        except BaseException as error:
            if not self._back_out(restore, trip, error):
                raise
            return RestoreState.FAILED
        return self._open(restore, trip)

    def _trip(self, restore: Restore) -> _Trip:
        """Both ends of the restore, and where the tenant is: read after the claim."""
        with self.registry.begin() as connection:
            tenant = tenants.find(connection, restore.tenant_id)
            ends = []
            for placement_id in (restore.target_id, restore.source_id):
                if placement_id is not None:
                    placement = placements.find(connection, self.vault.keys, placement_id)
                    ends.append((placement, placements.server_of(connection, placement_id)))
        target, *source = (_End(placement, self.open_server(server_id)) for placement, server_id in ends)
        switched = tenant.placement_id == restore.target_id
        return _Trip(tenant, target, source[0] if source else None, tenant.epoch - switched)

    def _load(self, restore: Restore, trip: _Trip) -> None:
        server, schema = trip.target.server, trip.target.placement.schema
        with self.registry.begin() as connection:
            row = archives.find(connection, restore.archive_id)
        with checked(self.files, row) as archive:
            manifest = archive.manifest
            with self._timed(restore, "provision", RestoreState.LOADING):
                # Whatever an earlier attempt left there was never open.
                server.drop(schema, restore.mover)
                server.provision(
                    schema,
                    trip.target.placement.password,
                    epoch=trip.epoch,
                    mode=FenceMode.STANDBY,
                    mover=restore.mover,
                    revision=manifest.revision,
                )
            with self._timed(restore, "load", RestoreState.LOADING):
                server.load(schema, restore.mover, ((table, archive.rows(table)) for table in manifest.shape()))
        with self._timed(restore, "verify", RestoreState.LOADING):
            self._verify(restore, server, schema, manifest)
        with self._timed(restore, "migrate", RestoreState.VERIFIED):
            (migrated,) = server.migrate([schema])
            if migrated.problem is not None:
                raise Refused(Code.CONFLICT, f"The tables cannot be brought to the newest revision. {migrated.problem}")
        with self.registry.begin() as connection:
            placements.note_revision(connection, restore.target_id, template.head(server.beyond))

    def _verify(self, restore: Restore, server: Server, schema: str, manifest: Manifest) -> None:
        after = server.sums(schema, manifest.shape())
        with self.registry.begin() as connection:
            for table, there in manifest.sums.items():
                restores.note(connection, restore, "tables", table, compared(there, after[table]))
        unequal = sorted(table for table, there in manifest.sums.items() if after[table] != there)
        if unequal:
            raise damaged(f"what was loaded differs from it in {', '.join(unequal)}")

    def _lay_beside(self, restore: Restore) -> RestoreState:
        with self.registry.begin() as connection:
            placements.mark(connection, restore.target_id, PlacementState.RETAINED, retain_until=_kept_until())
            self._done(connection, restore)
        return RestoreState.DONE

    def _switch(self, restore: Restore, trip: _Trip) -> None:
        connected = self._connected_to(trip.target)
        if trip.source is not None:
            with self._timed(restore, "freeze", RestoreState.VERIFIED):
                self._freeze(restore, trip.source, trip.epoch)
        with self._timed(restore, "switch", RestoreState.VERIFIED):
            trip.target.server.set_fence(
                trip.target.placement.schema, restore.mover, mode=FenceMode.STANDBY, epoch=trip.epoch + 1
            )
            with self.registry.begin() as connection:
                if trip.source is None:
                    settled = tenants.settle(connection, restore.tenant_id, restore.target_id, trip.epoch)
                else:
                    source_id = trip.source.placement.placement_id
                    settled = tenants.switch_placement(
                        connection, restore.tenant_id, source_id, restore.target_id, trip.epoch
                    )
                    placements.mark(connection, source_id, PlacementState.RETAINED, retain_until=_kept_until())
                if not settled:
                    raise _elsewhere()
                reached = template.head(trip.target.server.beyond)
                placements.mark(connection, restore.target_id, PlacementState.ACTIVE, revision=reached)
                if connected != trip.tenant.hubspot_portal_id:
                    hubspot.need_reconnect(connection, restore.tenant_id)
                restores.advance(connection, restore, RestoreState.VERIFIED)

    def _connected_to(self, end: _End) -> int | None:
        """The HubSpot account whose tokens lie there, and can still be opened."""
        with end.server.snapshot(end.placement.schema) as found:
            tokens, wrapped = (
                [_named(table, row) for row in found.rows(table)] for table in (hubspot_tokens, tenant_keys)
            )
        tenant_id = end.placement.tenant_id
        needed = {row["key_id"] or str(tenant_id) for row in tokens}
        try:
            for row in wrapped:
                if row["id"] in needed:
                    sealing = Wrapped(bytes.fromhex(row["wrapped_key"] or ""), row["key_id"] or "", row["kms_key"])
                    self.vault.unwrap(sealing, tenant_id)
        except Unopenable:
            return None
        stand = (row for row in tokens if row["refresh_token"] and row["state"] != ConnectionState.RECONNECT)
        return next((int(row["portal_id"]) for row in stand if row["portal_id"]), None)

    def _freeze(self, restore: Restore, source: _End, epoch: int) -> None:
        def asking() -> None:
            with self.registry.begin() as connection:
                restores.note(connection, restore, "steps", "paused_at", now().isoformat())

        freeze(source.server, source.placement.schema, restore.mover, epoch, asking)

    def _open(self, restore: Restore, trip: _Trip) -> RestoreState:
        schema, source = trip.target.placement.schema, trip.source
        with self._timed(restore, "open", RestoreState.VERIFIED):
            if source is not None:
                # As in a move: before anything is written here, whoever still reads there is sent to the registry.
                with suppress(Refused):
                    leave(source.server, source.placement.schema, restore.mover, trip.epoch + 1)
            trip.target.server.claim(schema, restore.mover)
            if not self._is_active(restore):
                match_login(self.registry, self.vault.keys, self.open_server, restore.tenant_id)
            admit(trip.target.server, schema, restore.mover, trip.epoch + 1)
            opened = now()
        if source is not None:
            with self.registry.begin() as connection:
                paused = restores.find(connection, restore.id).evidence["steps"].get("paused_at")
                if paused:
                    pause = int((opened - datetime.fromisoformat(paused)).total_seconds() * 1000)
                    restores.note(connection, restore, "steps", "write_pause_ms", pause)
            with self._timed(restore, "retain", RestoreState.VERIFIED):
                leave(source.server, source.placement.schema, restore.mover, trip.epoch + 1)
                source.server.close_login(source.placement.schema)
        with self.registry.begin() as connection:
            self._done(connection, restore)
        return RestoreState.DONE

    def _is_active(self, restore: Restore) -> bool:
        with self.registry.begin() as connection:
            return tenants.find(connection, restore.tenant_id).state is TenantState.ACTIVE

    def _reopen(self, restore: Restore, trip: _Trip) -> None:
        source = trip.source
        if source is not None:
            fence = source.server.fence(source.placement.schema)
            if fence is not None and fence.mover == restore.mover:
                admit(source.server, source.placement.schema, restore.mover, trip.epoch)

    def _back_out(self, restore: Restore, trip: _Trip, error: BaseException) -> bool:
        """Before the commit point every failure opens the source again. Whether the restore has failed for good."""
        with self.registry.begin() as connection:
            # The lock waits for a commit of ours whose answer was lost.
            if tenants.find(connection, restore.tenant_id, lock=True).placement_id == restore.target_id:
                return False
            problem = error.message if isinstance(error, Refused) else "The restore was interrupted."
            restores.advance(connection, restore, restore.state, problem=problem)
        if trip.source is not None and trip.tenant.placement_id == restore.source_id:
            self._reopen(restore, trip)
        if passes(error):
            return False
        trip.target.server.drop(trip.target.placement.schema, restore.mover)
        with self.registry.begin() as connection:
            restores.advance(connection, restore, RestoreState.FAILED, finished_at=now())
            _dropped(connection, restore, trip.target.placement)
            audit.record(
                connection, audit.SYSTEM, "restore.failed", restore.tenant_id, restore=restore.id, problem=problem
            )
        return isinstance(error, Refused)

    def _done(self, connection: Connection, restore: Restore) -> None:
        restores.advance(connection, restore, RestoreState.DONE, finished_at=now(), problem=None)
        audit.record(
            connection,
            audit.SYSTEM,
            "restore.completed",
            restore.tenant_id,
            restore=restore.id,
            archive=restore.archive_id,
            beside=restore.beside,
        )

    @contextmanager
    def _timed(self, restore: Restore, name: str, state: RestoreState) -> Iterator[None]:
        """Writes the state and the step's begin before it, and its length after it."""
        began, at = time.monotonic(), now().isoformat()
        with self.registry.begin() as connection:
            restores.advance(connection, restore, state)
            restores.note(connection, restore, "steps", name, {"at": at})
        self.step(name)
        yield
        with self.registry.begin() as connection:
            took = {"at": at, "seconds": round(time.monotonic() - began, 3)}
            restores.note(connection, restore, "steps", name, took)


@contextmanager
def checked(files: Files, row: archives.Archive) -> Iterator[Archive]:
    """The archive of a row of the registry, open, if its file is still what it was when it was written down.

    :raises Refused: GONE when it is not kept any more; INVALID when it is damaged.
    """
    if row.state is not ArchiveState.READY:
        raise Refused(Code.GONE, "This archive is not to be had: it was never finished, or is not kept any more.")
    with files(row.file) as file:
        digest = hashlib.sha256()
        while block := file.read(BLOCK):
            digest.update(block)
        if digest.digest() != row.sha256:
            raise damaged("its file is not the one that was written")
        file.seek(0)
        with opened(file, row.tenant_id, strange=row.kind is ArchiveKind.UPLOADED) as archive:
            yield archive


@dataclass(frozen=True)
class _End:
    placement: Placement
    server: Server


@dataclass(frozen=True)
class _Trip:
    """The epoch is the tenant's before the switch."""

    tenant: Tenant
    target: _End
    source: _End | None
    epoch: int


def _named(table: Table, row: Texts) -> dict[str, str | None]:
    return dict(zip(table.columns.keys(), row, strict=True))


def _dropped(connection: Connection, restore: Restore, placement: Placement) -> None:
    """Nothing is left of the placement."""
    placements.mark(connection, placement.placement_id, PlacementState.DROPPED)
    servers.release(connection, placement.placement_id)
    audit.record(
        connection, audit.SYSTEM, "placement.dropped", restore.tenant_id, restore=restore.id, schema=placement.schema
    )


def _elsewhere() -> Refused:
    return Refused(Code.CONFLICT, "The tenant has another workspace since. Nothing was restored.")


def _kept_until() -> datetime:
    return now() + timedelta(days=RETENTION_DAYS)
