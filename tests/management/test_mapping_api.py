"""Saving the mapping through the central API: who may, what is refused, what the audit log says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from awssome.database.registry import accounts, audit, sessions
from awssome.database.tenant import hubspot, mappings
from awssome.domain.choices import FieldMapping, StageMapping
from awssome.domain.definitions import Pipeline, PipelineStage
from awssome.domain.tenants import Role
from awssome.domain.times import new_id, now
from awssome.management.app import create
from awssome.workflows.services import WorkerServices
from awssome.workflows.workspace import Workspace
from tests.conftest import Tenancy
from tests.management.test_api import SERVICE, Api

PORTAL = 4128831
INDUSTRY = {"field": "customer_industry", "property": "sector", "values": {"shops": "Retail"}}
LEAVE_OUT = {"pipeline": "default", "stage": "closedwon", "becomes": "skip"}


SignedIn = Callable[..., str]


@pytest.fixture
def central(services: WorkerServices) -> Iterator[Api]:
    """The central API, as the portal calls it."""
    with services.registry.begin() as connection:
        sessions.register_token(connection, "portal", "service", SERVICE)
    with TestClient(create(services), base_url="http://localhost") as client:
        yield Api(client)


@pytest.fixture
def signed_in(services: WorkerServices) -> SignedIn:
    """A portal session of the tenant's owner, or of a new member in the given role."""

    def made(tenancy: Tenancy, role: Role | None = None) -> str:
        with services.registry.begin() as connection:
            account_id = tenancy.owner_id
            if role is not None:
                account_id = accounts.create(connection, f"{role}@bikes.example", role, None, confirmed=True).id
                accounts.add_member(connection, account_id, tenancy.id, role)
            return sessions.create(connection, account_id, "portal", tenant_id=tenancy.id)

    return made


@pytest.fixture
def bob(services: WorkerServices, make_tenant: Callable[..., Tenancy]) -> Tenancy:
    """A tenant whose HubSpot account is known."""
    made = make_tenant("Bob's Bikes", "bob@bikes.example")
    told: dict[str, Any] = {"portal_id": PORTAL, "hub_domain": "bikes.example", "scopes": ["oauth"]}
    sealed: dict[str, Any] = {"access_token": b"a", "refresh_token": b"r", "key_id": new_id(), "expires_at": now()}

    def work(connection: Any) -> None:
        hubspot.store(connection, **told, **sealed, connected_by="bob@bikes.example")
        hubspot.keep_account(connection, PORTAL, "bikes.example", currency="EUR")
        stages = (PipelineStage("closedwon", "Won", closed=True),)
        mappings.define(connection, PORTAL, [Pipeline("default", "Sales", stages)], [], at=now())

    Workspace(services, made.id).do(work)
    return made


@pytest.fixture
def version(services: WorkerServices, bob: Tenancy) -> str:
    """Of the mapping as it is at first."""
    return Workspace(services, bob.id).do(mappings.chosen).version


def test_fields_and_stages_are_saved_and_written_down(
    central: Api,
    signed_in: SignedIn,
    services: WorkerServices,
    bob: Tenancy,
    version: str,
) -> None:
    session = signed_in(bob)
    body = {"version": version, "fields": [INDUSTRY, {"field": "use_case"}]}
    saved = central.portal("PUT", "/hubspot/mapping/fields", body, session=session)
    assert (saved.status_code, saved.json()) == (200, {"changed": ["customer_industry"]})
    chosen = Workspace(services, bob.id).do(mappings.chosen)
    assert chosen.fields == {"customer_industry": FieldMapping("sector", None, {"shops": "Retail"})}
    body = {"version": chosen.version, "stages": [LEAVE_OUT]}
    saved = central.portal("PUT", "/hubspot/mapping/stages", body, session=session)
    assert (saved.status_code, saved.json()) == (200, {"changed": ["default/closedwon"]})
    assert Workspace(services, bob.id).do(mappings.chosen).stages == {("default", "closedwon"): StageMapping(None)}
    lines = audited(services)
    assert lines["mapping.fields_changed"].detail == {"fields": ["customer_industry"]}
    assert lines["mapping.stages_changed"].detail == {"stages": ["default/closedwon"]}
    assert lines["mapping.fields_changed"].actor == "bob@bikes.example"


def test_who_was_overtaken_changes_nothing(
    central: Api,
    signed_in: SignedIn,
    services: WorkerServices,
    bob: Tenancy,
    version: str,
) -> None:
    session = signed_in(bob)
    for path, body in (("fields", {"fields": [INDUSTRY]}), ("stages", {"stages": [LEAVE_OUT]})):
        first = central.portal("PUT", "/hubspot/mapping/fields", {"version": version, "fields": []}, session=session)
        assert first.json() == {"changed": []}
        late = central.portal("PUT", f"/hubspot/mapping/{path}", {"version": "0" * 32, **body}, session=session)
        assert late.status_code == 409 and "Somebody else" in late.json()["error"]["message"]
    chosen = Workspace(services, bob.id).do(mappings.chosen)
    assert (chosen.fields, chosen.stages) == ({}, {})
    assert not [action for action in audited(services) if action.startswith("mapping.")]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER])
def test_only_admins_change_it(
    central: Api,
    signed_in: SignedIn,
    bob: Tenancy,
    version: str,
    role: Role,
) -> None:
    session = signed_in(bob, role)
    for path, body in (("fields", {"fields": [INDUSTRY]}), ("stages", {"stages": [LEAVE_OUT]})):
        answer = central.portal("PUT", f"/hubspot/mapping/{path}", {"version": version, **body}, session=session)
        assert answer.status_code == 403
    for path, body in (("/hubspot/definitions", None), ("/hubspot/deals/read", {"deal_id": "1", "properties": []})):
        answer = central.portal("POST", path, body, session=session)
        assert (answer.status_code == 403) is (role is Role.VIEWER), "HubSpot itself does not answer here"


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ({"field": "stage", "property": "dealstage"}, "no such field"),
        ({"field": "visibility", "default": "Some"}, "none of the values"),
        ({"field": "visibility", "property": "x", "values": {"a": "Some"}}, "none of the values"),
    ],
)
def test_what_cannot_be_is_refused_whatever_the_portal_says(
    central: Api,
    signed_in: SignedIn,
    bob: Tenancy,
    version: str,
    field: Any,
    told: str,
) -> None:
    body = {"version": version, "fields": [field]}
    answer = central.portal("PUT", "/hubspot/mapping/fields", body, session=signed_in(bob))
    assert answer.status_code == 422 and told in answer.json()["error"]["fields"][field["field"]]


@pytest.mark.parametrize("odd", ["", "x" * 65, "a\x00b"])
def test_a_stage_that_cannot_be_is_refused(
    central: Api,
    signed_in: SignedIn,
    bob: Tenancy,
    version: str,
    odd: str,
) -> None:
    body = {"version": version, "stages": [{**LEAVE_OUT, "pipeline": odd}]}
    assert central.portal("PUT", "/hubspot/mapping/stages", body, session=signed_in(bob)).status_code == 422


def audited(services: WorkerServices) -> dict[str, Any]:
    with services.registry.begin() as connection:
        return {row.action: row for row in audit.page(connection).rows}
