"""One tenant at a time: what is exported is what comes back, whatever happens on the way, and nothing else changes."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from awssome.database import template
from awssome.database.registry import placements, restores
from awssome.database.registry.archives import Archive
from awssome.database.schema import sync_issues
from awssome.domain.archives import ArchiveKind, ArchiveState, RestoreState
from awssome.domain.tenants import PlacementState
from awssome.domain.times import now
from awssome.workflows import archives
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.workflows.moving import OLGA, Truth, add, evidence_of, fill, placement_of, rows_of


@pytest.fixture
def alice(services: WorkerServices, make_tenant: Callable[..., Tenancy]) -> Tenancy:
    """A tenant on the pool, with rows in every table."""
    tenancy = make_tenant("Northwind", "alice@northwind.example")
    fill(services, tenancy)
    return tenancy


def exported(services: WorkerServices, tenancy: Tenancy) -> Archive:
    """The tenant's archive, as a worker makes it."""
    return archives.export_now(services, tenancy.id, ArchiveKind.MANUAL, OLGA.name, None)


def restore(services: WorkerServices, tenancy: Tenancy, archive: Archive, **options: Any) -> UUID:
    """Ask for a restore; its id."""
    with services.registry.begin() as connection:
        return archives.request_restore(connection, services.queue, OLGA, str(tenancy.id), archive.id, **options)


def the_restore(services: WorkerServices, restore_id: UUID) -> Any:
    with services.registry.begin() as connection:
        return restores.row(connection, restore_id)


def test_an_archive_holds_every_row_and_proves_it(services: WorkerServices, alice: Tenancy) -> None:
    archive = exported(services, alice)
    rows = rows_of(placement_of(services, alice))
    assert (archive.state, archive.revision) == (ArchiveState.READY, template.head())
    assert archive.rows == sum(map(len, rows.values()))
    with services.archives.reading(archive.file) as file, zipfile.ZipFile(file) as found:
        manifest = json.loads(found.read("manifest.json"))
        assert manifest["tenant"]["id"] == str(alice.id)
        proven = {entry["name"]: (entry["rows"], entry["checksum"]) for entry in manifest["tables"]}
        assert proven == evidence_of(rows)
        tokens = json.loads(found.read("tables/hubspot_tokens.jsonl"))
        assert bytes(range(256)).hex() in tokens


def test_a_tenant_is_brought_back_as_it_was(services: WorkerServices, alice: Tenancy) -> None:
    truth, before = Truth.of(services, alice), placement_of(services, alice)
    archive = exported(services, alice)
    with services.sessions.open(before) as connection:
        connection.execute(sync_issues.delete())
        add(connection, "after the archive")
    restore_id = restore(services, alice, archive)
    assert archives.restorer(services).carry_on(restore_id) is RestoreState.DONE
    found = the_restore(services, restore_id)
    truth.holds_at(found.target_id)
    assert {name: entry["equal"] for name, entry in found.evidence["tables"].items()} == dict.fromkeys(truth.rows, True)
    after = placement_of(services, alice)
    assert (after.epoch, after.schema != before.schema) == (before.epoch + 1, True)
    with services.registry.begin() as connection:
        kept = {row.id: row for row in placements.of_tenant(connection, alice.id)}[before.placement_id]
    assert (kept.state, kept.retain_until > now() + timedelta(days=29)) == (PlacementState.RETAINED, True)
    assert archives.restorer(services).carry_on(restore_id) is RestoreState.DONE  # again: nothing to do
    truth.holds_at(found.target_id)
