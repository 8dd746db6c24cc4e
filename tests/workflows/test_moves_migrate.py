"""Moves while versions change: both ends have tables of one revision, or nothing is copied."""

from __future__ import annotations

from pathlib import Path

import pytest

from awssome.database import migrator, template
from awssome.database.registry import placements
from awssome.database.template import Beyond
from awssome.domain.errors import Code, Refused
from awssome.domain.moves import Phase
from awssome.domain.tenants import Placement
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.versions import EXPAND, NEXT, of_version, write_revision
from tests.workflows.moving import Truth, mover, placement_of, rollback, the_move, upgrade

pytestmark = pytest.mark.usefixtures("dedicated")


@pytest.fixture
def beyond(tmp_path: Path) -> Beyond:
    """The template of the version to come."""
    return write_revision(tmp_path / "to_come", EXPAND)


@pytest.fixture
def newer(services: WorkerServices, beyond: Beyond) -> WorkerServices:
    """A worker of the version to come."""
    return of_version(services, beyond)


def test_a_tenant_that_is_behind_is_migrated_before_it_is_moved(
    services: WorkerServices, newer: WorkerServices, alice: Tenancy, beyond: Beyond
) -> None:
    truth = Truth.of(services, alice)
    move_id = upgrade(services, alice)
    assert mover(newer).carry_on(move_id) is Phase.RETAINING
    truth.holds_at(the_move(services, move_id).target_id)
    assert _revisions(newer, alice) == [NEXT, NEXT]
    assert migrator.find_behind(services.registry, beyond=beyond) == []

    back = rollback(services, alice)
    assert mover(newer).carry_on(back) is Phase.RETAINING
    truth.holds_at(the_move(services, back).target_id)


def test_a_worker_moves_no_tenant_that_a_newer_version_has_migrated(
    services: WorkerServices, newer: WorkerServices, alice: Tenancy
) -> None:
    truth = Truth.of(services, alice)
    move_id = upgrade(services, alice)
    assert _migrate(newer, alice.placement)
    with pytest.raises(Refused) as refused:
        mover(services).carry_on(move_id)
    assert refused.value.code is Code.UNAVAILABLE
    assert f"at revision {NEXT}, which this version does not know" in refused.value.message
    truth.holds_at(the_move(services, move_id).source_id)
    assert the_move(services, move_id).problem == refused.value.message

    assert mover(newer).carry_on(move_id) is Phase.RETAINING  # a worker of the newer version takes it up
    truth.holds_at(the_move(services, move_id).target_id)


@pytest.mark.parametrize("step", ["prepare", "capture", "copy", "verify", "cut_over"])
def test_a_tenant_that_is_migrated_on_the_way_is_not_moved_by_halves(
    step: str, services: WorkerServices, newer: WorkerServices, alice: Tenancy
) -> None:
    truth = Truth.of(services, alice)
    move_id = upgrade(services, alice)
    begun: list[str] = []

    def migrate_at(name: str) -> None:
        if name == step:
            begun.append(name)
            assert _migrate(newer, alice.placement)

    with pytest.raises(Refused) as refused:
        mover(services, step=migrate_at).carry_on(move_id)
    assert (begun, refused.value.code) == ([step], Code.UNAVAILABLE)
    truth.holds_at(the_move(services, move_id).source_id)
    assert mover(newer).carry_on(move_id) is Phase.RETAINING
    truth.holds_at(the_move(services, move_id).target_id)
    assert _revisions(newer, alice) == [NEXT, NEXT]


def test_a_target_that_was_made_before_is_behind_once_the_tenant_lives_there(
    services: WorkerServices, newer: WorkerServices, alice: Tenancy, beyond: Beyond
) -> None:
    move_id = upgrade(services, alice)
    assert mover(services).carry_on(move_id) is Phase.RETAINING  # by a worker of the present version
    truth = Truth.of(services, alice)
    behind = migrator.find_behind(services.registry, beyond=beyond)
    assert {place.placement_id for place in behind} == {
        the_move(services, move_id).source_id,
        the_move(services, move_id).target_id,
    }
    assert {place.revision for place in behind} == {template.head()}
    told = list(migrator.migrate(services.registry, newer.open_server, behind, beyond=beyond))
    assert [one.problem for one in told] == [None, None]
    truth.holds_at(placement_of(services, alice).placement_id)


def _migrate(newer: WorkerServices, placement: Placement) -> bool:
    with newer.registry.begin() as connection:
        server = placements.server_of(connection, placement.placement_id)
    return newer.open_server(server).migrate([placement.schema])[0].problem is None


def _revisions(newer: WorkerServices, tenancy: Tenancy) -> list[str]:
    """What the fences of the tenant's placements say; the registry has to say the same."""
    with newer.registry.begin() as connection:
        known = placements.of_tenant(connection, tenancy.id)
        there = [newer.open_server(placements.server_of(connection, row.id)).fence(row.schema_name) for row in known]
    assert [row.revision for row in known] == [fence.revision for fence in there if fence is not None]
    return [row.revision for row in known]
