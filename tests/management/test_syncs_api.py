"""Runs as the central API starts, names and ends them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from awssome.database import Connection
from awssome.database.registry import audit, last_syncs, tenants
from awssome.database.tenant import failures, hubspot, syncs
from awssome.database.tenant.syncs import Sync
from awssome.domain.imports import untold
from awssome.domain.syncs import FailureState, SyncKind, SyncState
from awssome.domain.tenants import Tier
from awssome.domain.times import new_id, now
from awssome.workflows.services import WorkerServices
from awssome.workflows.workspace import Workspace
from tests.conftest import Tenancy
from tests.management.test_api import Api, api, signed_in  # noqa: F401 - fixtures

PORTAL = 4128831


@pytest.fixture
def alice(services: WorkerServices, make_tenant: Callable[..., Tenancy]) -> Tenancy:
    """A free tenant that is connected to HubSpot."""
    tenancy = make_tenant("Northwind")
    with services.registry.begin() as connection:
        tenants.change(connection, tenancy.id, hubspot_state="connected", hubspot_portal_id=PORTAL)
    sealed = {"access_token": b"sealed", "refresh_token": b"sealed too", "expires_at": now(), "key_id": new_id()}
    told = {"portal_id": PORTAL, "hub_domain": "northwind.example", "scopes": ["oauth"], "connected_by": "alice"}
    Workspace(services, tenancy.id).do(lambda connection: hubspot.store(connection, **told, **sealed))
    return tenancy


def test_a_run_of_each_kind_is_started_once_and_named_by_its_kind(
    api: Api,  # noqa: F811
    services: WorkerServices,
    alice: Tenancy,
    signed_in: Callable[..., str],  # noqa: F811
) -> None:
    session = signed_in(alice)
    first = api.portal("POST", "/syncs", {"kind": "preview"}, session=session)
    assert (first.status_code, first.json()["kind"]) == (202, "preview")
    again = api.portal("POST", "/syncs", None, session=session)  # what runs is shown, and nothing else is begun
    assert again.json() == first.json()
    run = _find(services, alice, UUID(first.json()["sync_id"]))
    assert (run.kind, run.state, run.requested_by) == (SyncKind.PREVIEW, SyncState.QUEUED, alice.owner_email)
    assert api.portal("POST", "/syncs", {"kind": "theft"}, session=session).status_code == 422


def test_a_run_is_ended_once_and_the_next_can_begin(
    api: Api,  # noqa: F811
    services: WorkerServices,
    alice: Tenancy,
    signed_in: Callable[..., str],  # noqa: F811
) -> None:
    session = signed_in(alice)
    sync_id = api.portal("POST", "/syncs", None, session=session).json()["sync_id"]
    assert api.portal("POST", f"/syncs/{sync_id}/cancel", session=session).status_code == 204
    run = _find(services, alice, UUID(sync_id))
    assert (run.state, run.problem) == (SyncState.CANCELLED, f"{alice.owner_email} has ended this run.")
    assert api.portal("POST", f"/syncs/{sync_id}/cancel", session=session).status_code == 409
    assert api.portal("POST", f"/syncs/{new_id()}/cancel", session=session).status_code == 404
    assert api.portal("POST", "/syncs", None, session=session).json()["sync_id"] != sync_id
    with services.registry.begin() as connection:
        told = [(line.action, line.detail.get("sync")) for line in audit.page(connection, tenant_id=alice.id).rows]
        known = [(str(row.sync_id), row.state, row.problem) for row in last_syncs.page(connection).rows]
    assert ("sync.cancelled", sync_id) in told
    assert known == [(sync_id, SyncState.CANCELLED, run.problem)], "operators see it, though no worker had it in hand"


def test_a_retry_takes_what_is_named_or_all_that_waits_and_nothing_is_refused(
    api: Api,  # noqa: F811
    services: WorkerServices,
    alice: Tenancy,
    signed_in: Callable[..., str],  # noqa: F811
) -> None:
    session, workspace = signed_in(alice), Workspace(services, alice.id)
    nothing = api.portal("POST", "/syncs", {"kind": "retry"}, session=session)
    assert (nothing.status_code, nothing.json()["error"]["message"]) == (409, "No deal waits to be tried again.")
    assert workspace.do(syncs.latest) is None  # a run that was refused leaves no row

    issues = [untold(deal_id) for deal_id in ("1", "2", "3")]
    workspace.do(lambda connection: failures.note(connection, PORTAL, new_id(), issues, now()))
    some = {"kind": "retry", "deal_ids": ["1"]}
    first = api.portal("POST", "/syncs", some, session=session).json()
    second = api.portal("POST", "/syncs", {"kind": "retry", "deal_ids": ["2"]}, session=session).json()
    assert first == second and _states(services, alice) == {"1": "retrying", "2": "retrying", "3": "open"}
    workspace.do(lambda connection: _claim(connection, UUID(first["sync_id"])))
    assert api.portal("POST", "/syncs", {"kind": "retry", "deal_ids": ["3"]}, session=session).status_code == 409
    api.portal("POST", f"/syncs/{first['sync_id']}/cancel", session=session)
    api.portal("POST", "/syncs", {"kind": "retry", "deal_ids": ["3"]}, session=session)
    assert _states(services, alice) == {"1": "open", "2": "open", "3": "retrying"}


def test_who_pays_has_nothing_to_pick(
    api: Api,  # noqa: F811
    services: WorkerServices,
    alice: Tenancy,
    signed_in: Callable[..., str],  # noqa: F811
) -> None:
    with services.registry.begin() as connection:
        tenants.change(connection, alice.id, tier=Tier.PAID)
    host = f"{alice.slug}.localhost:8000"
    answer = api.portal("POST", "/hubspot/picks", {"add": ["1"]}, session=signed_in(alice), host=host)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")


def _find(services: WorkerServices, tenancy: Tenancy, sync_id: UUID) -> Sync:
    found = Workspace(services, tenancy.id).do(lambda connection: syncs.find(connection, sync_id))
    assert found is not None
    return found


def _claim(connection: Connection, sync_id: UUID) -> Any:
    return syncs.claim(connection, sync_id, deal_limit=10, imported=0, portal_id=PORTAL)


def _states(services: WorkerServices, tenancy: Tenancy) -> dict[str, str]:
    found = Workspace(services, tenancy.id).do(lambda connection: failures.find(connection, PORTAL, list(FailureState)))
    return {one.deal_id: str(one.state) for one in found}


def test_nothing_is_started_while_hubspot_lets_nobody_in(
    api: Api,  # noqa: F811
    services: WorkerServices,
    alice: Tenancy,
    signed_in: Callable[..., str],  # noqa: F811
) -> None:
    for state, told in (("reconnect", "Press Reconnect"), ("none", "Connect HubSpot")):
        with services.registry.begin() as connection:
            tenants.change(connection, alice.id, hubspot_state=state)
        answer = api.portal("POST", "/syncs", None, session=signed_in(alice))
        assert (answer.status_code, told in answer.json()["error"]["advice"]) == (409, True)
    assert Workspace(services, alice.id).do(syncs.latest) is None
