"""Archives and restores at the desk and through the central API."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from awssome.database.registry import accounts, restores, sessions
from awssome.database.registry.tables import audit_log
from awssome.domain.archives import LARGEST_UPLOAD, ArchiveKind, RestoreState
from awssome.domain.tenants import Role, ServerKind
from awssome.domain.times import new_id
from awssome.workflows import archives
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy, register_server
from tests.engines import only_postgresql
from tests.management.conftest import Desk
from tests.workflows.moving import fill, placement_of, rows_of

SERVICE, OPERATOR = "service-token-of-the-tests", "operator-token-of-the-tests"
SHARED = "freemium.localhost:8000"

Call = Callable[..., Any]


@pytest.fixture
def alice(services: WorkerServices, make_tenant: Callable[..., Tenancy]) -> Tenancy:
    """A tenant on the pool, with rows in every table."""
    tenancy = make_tenant("Northwind Cloud", "alice@northwind.example")
    fill(services, tenancy)
    return tenancy


@pytest.fixture
def operator(app: FastAPI, services: WorkerServices) -> Iterator[Call]:
    """Calls as the command line does."""
    with services.registry.begin() as connection:
        sessions.register_token(connection, "command line", "operator", OPERATOR)
    with TestClient(app, base_url="http://localhost", headers={"Authorization": f"Bearer {OPERATOR}"}) as client:
        yield lambda method, path, **options: client.request(method, f"/api/v1{path}", **options)


@pytest.fixture
def portal(app: FastAPI, services: WorkerServices) -> Iterator[Call]:
    """Calls as the portal does, on behalf of an account."""
    with services.registry.begin() as connection:
        sessions.register_token(connection, "portal", "service", SERVICE)
    with TestClient(app, base_url="http://localhost", headers={"Authorization": f"Bearer {SERVICE}"}) as client:

        def call(method: str, path: str, account_id: UUID) -> Any:
            with services.registry.begin() as connection:
                token = sessions.create(connection, account_id, "portal")
            headers = {"X-Awssome-Session": token, "X-Awssome-Host": SHARED}
            return client.request(method, f"/api/v1{path}", headers=headers)

        yield call


def made(services: WorkerServices, tenancy: Tenancy) -> str:
    """The id of an archive that is ready."""
    return str(archives.export_now(services, tenancy.id, ArchiveKind.MANUAL, "olga@awssome.example", None).id)


def actions(services: WorkerServices) -> list[str]:
    """What the audit log says was done with archives."""
    with services.registry.begin() as connection:
        found = connection.scalars(select(audit_log.c.action).order_by(audit_log.c.id))
        return [action for action in found if action.startswith(("archive.", "restore."))]


def test_an_archive_is_asked_for_fetched_and_sent_back_whole(
    operator: Call, services: WorkerServices, alice: Tenancy
) -> None:
    asked = operator("POST", f"/tenants/{alice.slug}/archives")
    assert (asked.status_code, asked.json()["state"]) == (202, "requested")
    assert operator("GET", f"/archives/{asked.json()['id']}/file").status_code == 410  # not yet
    archives.export(services, UUID(asked.json()["id"]))
    found = operator("GET", f"/archives/{asked.json()['id']}").json()
    content = operator("GET", f"/archives/{found['id']}/file").content
    assert (hashlib.sha256(content).hexdigest(), len(content)) == (found["sha256"], found["bytes"])
    sent = operator("POST", f"/tenants/{alice.slug}/archives/uploads", content=content)
    assert (sent.status_code, sent.json()["kind"], sent.json()["sha256"]) == (201, "uploaded", found["sha256"])
    listed = operator("GET", f"/tenants/{alice.slug}/archives").json()["archives"]
    assert [row["id"] for row in listed] == [sent.json()["id"], found["id"]]
    started = operator("POST", f"/tenants/{alice.slug}/restores", json={"archive_id": found["id"], "beside": True})
    assert (started.status_code, started.json()["state"]) == (202, "requested")
    archives.restorer(services).carry_on(UUID(started.json()["id"]))
    done = operator("GET", f"/restores/{started.json()['id']}").json()
    assert (done["state"], done["verified"], done["rows"]) == ("done", True, found["rows"])
    assert [step["state"] for step in done["steps"]] == ["done"] * 4
    assert operator("GET", f"/tenants/{alice.slug}/restores").json() == [done]
    login = operator("GET", f"/tenants/{alice.slug}/credentials", params={"placement": done["placement_id"]}).json()
    assert login["schema"] == done["schema_name"]
    assert operator("GET", f"/tenants/{alice.slug}/credentials?placement={new_id()}").status_code == 404
    assert actions(services) == [
        "archive.requested",
        "archive.made",
        "archive.downloaded",
        "archive.made",
        "restore.requested",
        "restore.completed",
    ]


@only_postgresql
def test_what_is_sent_is_limited_and_what_is_damaged_is_not_kept(
    operator: Call, services: WorkerServices, alice: Tenancy
) -> None:
    where = f"/tenants/{alice.slug}/archives/uploads"
    announced = operator("POST", where, content=b"PK", headers={"Content-Length": str(LARGEST_UPLOAD + 2)})
    assert announced.status_code == 413
    damaged = operator("POST", where, content=b"PK\x03\x04" + b"x" * 2_000_000)
    assert (damaged.status_code, damaged.json()["error"]["code"]) == (422, "invalid")
    (row,) = operator("GET", f"/tenants/{alice.slug}/archives").json()["archives"]
    assert (row["state"], "ZIP" in row["problem"]) == ("failed", True)
    assert actions(services) == ["archive.refused"]
    # Elsewhere the limit of a body is what it was.
    assert operator("POST", f"/tenants/{alice.slug}/move", content=b"x" * 2_000_000).status_code == 413


@only_postgresql
def test_owners_get_their_own_archives_and_nobody_elses(
    portal: Call, services: WorkerServices, alice: Tenancy, make_tenant: Callable[..., Tenancy]
) -> None:
    bob = make_tenant("Bob's Bikes", "bob@bikes.example")
    with services.registry.begin() as connection:
        mia = accounts.create(connection, "mia@northwind.example", "Mia", None, confirmed=True)
        accounts.add_member(connection, mia.id, alice.id, Role.ADMIN)
    assert portal("POST", "/tenant/archives", mia.id).status_code == 403
    asked = portal("POST", "/tenant/archives", alice.owner_id).json()
    archives.export(services, UUID(asked["id"]))
    file = f"/tenant/archives/{asked['id']}/file"
    got = portal("GET", file, alice.owner_id)
    assert (got.status_code, got.content[:2]) == (200, b"PK")
    for path in (file, f"/tenant/archives/{asked['id']}"):
        assert portal("GET", path, bob.owner_id).status_code == 404
        assert portal("GET", path, mia.id).status_code == 403


def test_a_tenant_is_exported_and_restored_from_its_page(desk: Desk, services: WorkerServices, alice: Tenancy) -> None:
    page = f"/tenants/{alice.slug}"
    assert "No archives yet." in desk.get(page).text
    shown = desk.after(desk.send(f"{page}/export", at=page)).text
    assert "The export is under way." in shown
    archive_id = made(services, alice)
    shown = desk.get(page).text
    assert f'href="/archives/{archive_id}/file"' in shown
    assert desk.get(f"/archives/{archive_id}/file").content[:2] == b"PK"
    wrong = desk.send(f"{page}/restore", at=page, archive=archive_id, confirm="Northwind")
    assert wrong.status_code == 422
    before = rows_of(placement_of(services, alice))
    for how in ("beside", "replace"):
        sent = desk.send(f"{page}/restore", at=page, archive=archive_id, how=how, confirm="Northwind Cloud")
        restore_id = UUID(sent.headers["location"].rpartition("/")[2])
        assert "data-poll" in desk.after(sent).text
        assert archives.restorer(services).carry_on(restore_id) is RestoreState.DONE
        assert "data-reload" in desk.get(f"/restores/{restore_id}/progress", fragment=True).text
        shown = desk.get(f"/restores/{restore_id}").text
        assert len(re.findall(r"Equal", shown)) >= len(before)
        assert ("--placement" in shown) is (how == "beside")
        assert f"/restores/{restore_id}" in desk.get(page).text
    assert rows_of(placement_of(services, alice)) == before
    with services.registry.begin() as connection:
        assert [row.state for row in restores.of_tenant(connection, alice.id)] == ["done", "done"]


@only_postgresql
def test_every_field_of_a_tenants_dialogs_has_a_label_of_its_own(
    desk: Desk, services: WorkerServices, alice: Tenancy, dedicated_url: str
) -> None:
    register_server(services, "pool-2", ServerKind.POOL, dedicated_url)
    desk.send(f"/tenants/{alice.slug}/export", at=f"/tenants/{alice.slug}")
    made(services, alice)
    ids = re.findall(r' id="([^"]+)"', desk.get(f"/tenants/{alice.slug}").text)
    assert {"field-server", "restore-server"} <= set(ids), "moving and restoring both ask for a server"
    assert len(ids) == len(set(ids))


@only_postgresql
def test_a_restore_that_is_refused_or_fails_says_why(desk: Desk, services: WorkerServices, alice: Tenancy) -> None:
    page, archive_id = f"/tenants/{alice.slug}", made(services, alice)
    nothing = desk.send(f"{page}/restore", at=page, archive="", confirm="Northwind Cloud")
    assert (nothing.status_code, "No archive was chosen." in nothing.text) == (422, True)
    sent = desk.send(f"{page}/restore", at=page, archive=archive_id, confirm="Northwind Cloud")
    restore_id = UUID(sent.headers["location"].rpartition("/")[2])
    again = desk.send(f"{page}/restore", at=page, archive=archive_id, confirm="Northwind Cloud")
    assert (again.status_code, "being restored already" in again.text) == (409, True)
    with services.registry.begin() as connection:
        file = archives.archives.find(connection, UUID(archive_id)).file
    services.archives.delete(file)
    assert archives.restorer(services).carry_on(restore_id) is RestoreState.FAILED
    shown = desk.get(f"/restores/{restore_id}").text
    assert "The restore stopped." in shown
    assert "is not there any more" in shown
