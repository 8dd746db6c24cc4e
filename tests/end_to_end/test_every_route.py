"""Every route, tried as the wrong person. The routes come from the routers: a new one cannot be forgotten.

Portal and central API run as they do in earnest: two applications that speak HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.testclient import TestClient
from sqlalchemy import text

from awssome.control.client import Control
from awssome.database.registry import accounts, sessions
from awssome.database.sessions import Sessions
from awssome.domain.tenants import Role, Tier
from awssome.management.app import create as create_management
from awssome.management.pages.guard import SESSION_COOKIE as MANAGEMENT_COOKIE
from awssome.portal.app import Options
from awssome.portal.app import create as create_portal
from awssome.portal.guard import SESSION_COOKIE as PORTAL_COOKIE
from awssome.portal.guard import Looks, signed_in
from awssome.web.security import FormToken
from awssome.workflows.services import WorkerServices
from tests.conftest import Tenancy
from tests.serving import served

SERVICE, OPERATOR = "service-token-of-the-tests", "operator-token-of-the-tests"
SHARED = "freemium.localhost:8000"

# What one address is refused is written down only so often a minute: each request has an address of its own.
_ADDRESSES = (f"198.18.{number // 250}.{number % 250}" for number in count())

OPEN_TO_ALL = {
    "GET /healthz",
    "GET /",
    "GET /sign-up",
    "POST /sign-up",
    "POST /sign-up/resend",
    "GET /sign-in",
    "POST /sign-in",
    "POST /sign-out",
    "GET /forgot",
    "POST /forgot",
    "GET /link",
    "POST /link",
    "GET /handover",
    "POST /handover",
    "GET /hubspot/callback",
    "POST /api/marketplace",
}
"""Portal routes that a visitor needs before there is a session."""

OPEN_TO_OPERATORS = {"GET /healthz", "GET /sign-in", "POST /sign-in", "POST /sign-out"}

FOR_A_METRICS_TOKEN = {"GET /metrics"}
"""Routes of both applications that look at no session."""


@dataclass(frozen=True)
class Stage:
    """Both applications, and the cast."""

    services: WorkerServices
    portal: FastAPI
    management: FastAPI
    bob: Tenancy
    paula: Tenancy

    def session(self, account_id: Any, application: Any = "portal", tenant_id: Any = None) -> str:
        with self.services.registry.begin() as connection:
            return sessions.create(connection, account_id, application, tenant_id=tenant_id)

    def denials(self) -> int:
        with self.services.registry.begin() as connection:
            return int(connection.scalar(text("SELECT count(*) FROM audit_log WHERE action = 'access.denied'")) or 0)


@pytest.fixture
def stage(services: WorkerServices, make_tenant: Callable[..., Tenancy]) -> Iterator[Stage]:
    with services.registry.begin() as connection:
        sessions.register_token(connection, "portal", "service", SERVICE)
        sessions.register_token(connection, "command line", "operator", OPERATOR)
    management = create_management(services)
    own = Sessions(budget=10)
    bob = make_tenant("Bob's Bikes", "bob@bikes.example")
    paula = make_tenant("Paula Paid", "paula@paid.example", tier=Tier.PAID)
    with served(management) as port:
        control = Control(f"http://127.0.0.1:{port}", SERVICE)
        portal = create_portal(Options(control=control, sessions=own, addresses=services.addresses))
        yield Stage(services, portal, management, bob, paula)
        control.close()
    own.close()


def test_the_portal_refuses_nobody_charlie_and_another_tenants_owner_everywhere(stage: Stage) -> None:
    with stage.services.registry.begin() as connection:
        charlie = accounts.create(connection, "charlie@nowhere.example", "Charlie", None, confirmed=True)
    people = {
        "nobody": ("", SHARED),
        "charlie": (stage.session(charlie.id), SHARED),
        "charlie at Paula's": (stage.session(charlie.id), f"{stage.paula.slug}.localhost:8000"),
        "bob at Paula's": (stage.session(stage.bob.owner_id), f"{stage.paula.slug}.localhost:8000"),
    }
    walked = 0
    for method, path, route in _walk(stage.portal, OPEN_TO_ALL | FOR_A_METRICS_TOKEN):
        assert _needed_role(route) is not None or _needs_session(route), f"{method} {path} asks nobody who they are"
        for who, (session, host) in people.items():
            before = stage.denials()
            status, location = _send(stage.portal, method, path, host, PORTAL_COOKIE, session)
            seen = f"{method} {path} as {who}: {status} {location}"
            if who == "nobody":
                assert status == 401 or (status == 303 and location.startswith("/sign-in")), seen
            elif who == "charlie" and _needed_role(route) is None and status in (200, 303, 404):
                continue  # what belongs to the person: the account, the choice of a tenant
            else:
                assert status == 403, seen
            assert stage.denials() > before, f"{seen}: not in the audit log"
            walked += 1
    assert walked > 60


def test_a_viewer_changes_nothing(stage: Stage) -> None:
    with stage.services.registry.begin() as connection:
        viewer = accounts.create(connection, "viewer@bikes.example", "Vera", None, confirmed=True)
        accounts.add_member(connection, viewer.id, stage.bob.id, Role.VIEWER)
    session = stage.session(viewer.id, tenant_id=stage.bob.id)
    refused = 0
    for method, path, route in _walk(stage.portal, OPEN_TO_ALL | FOR_A_METRICS_TOKEN):
        role = _needed_role(route)
        before = stage.denials()
        status, location = _send(stage.portal, method, path, SHARED, PORTAL_COOKIE, session)
        seen = f"{method} {path}: {status} {location}"
        if role is not None and role is not Role.VIEWER:
            assert status == 403, seen
            assert stage.denials() > before, f"{seen}: not in the audit log"
            refused += 1
        else:
            assert status not in (401, 403, 500), seen
            if method != "GET":
                session = stage.session(viewer.id, tenant_id=stage.bob.id)  # signing out is theirs to do
    assert refused > 15


def test_the_operators_desk_refuses_everybody_else(stage: Stage) -> None:
    people = {
        "nobody": "",
        "Bob with his portal session": stage.session(stage.bob.owner_id),
        "Bob with a session of the desk": stage.session(stage.bob.owner_id, "management"),
    }
    walked = list(_walk(stage.management, OPEN_TO_OPERATORS | FOR_A_METRICS_TOKEN, api=False))
    assert len(walked) > 20
    for method, path, _ in walked:
        for who, session in people.items():
            before = stage.denials()
            status, location = _send(stage.management, method, path, "localhost", MANAGEMENT_COOKIE, session)
            seen = f"{method} {path} as {who}: {status} {location}"
            expected = (401, 303) if who == "nobody" else (403,)
            assert status in expected and (status != 303 or location.startswith("/sign-in")), seen
            assert stage.denials() > before, f"{seen}: not in the audit log"


@pytest.mark.parametrize("token", ["", "made-up", "the other kind"])
def test_the_central_api_refuses_programs_without_the_right_token(stage: Stage, token: str) -> None:
    with TestClient(stage.management, base_url="http://localhost", client=(next(_ADDRESSES), 4711)) as client:
        walked = list(_walk(stage.management, set(), api=True))
        assert len(walked) > 30
        for method, path, route in walked:
            given = token
            if token == "the other kind":
                given = SERVICE if "operators" in route.tags else OPERATOR
            before = stage.denials()
            answer = client.request(method, path, headers={"Authorization": f"Bearer {given}"}, json={})
            assert answer.status_code == 401, f"{method} {path}: {answer.status_code}"
            assert answer.json()["error"]["code"] == "unauthenticated"
            assert stage.denials() > before, f"{method} {path}: not in the audit log"


@pytest.mark.parametrize("token", ["", "made-up", SERVICE, OPERATOR])
def test_figures_are_shown_to_nobody_without_a_metrics_token(stage: Stage, token: str) -> None:
    sessions_of = {
        stage.portal: (SHARED, PORTAL_COOKIE, stage.session(stage.bob.owner_id)),
        stage.management: ("localhost", MANAGEMENT_COOKIE, stage.session(stage.bob.owner_id, "management")),
    }
    for app, (host, cookie, session) in sessions_of.items():
        client = TestClient(app, base_url=f"http://{host}", client=(next(_ADDRESSES), 4711))
        headers = {"Cookie": f"{cookie}={session}"} | ({"Authorization": f"Bearer {token}"} if token else {})
        before = stage.denials()
        answer = client.get("/metrics", headers=headers, follow_redirects=False)
        assert answer.status_code == 401
        assert "awssome_request_seconds" not in answer.text
        assert app is stage.portal or stage.denials() > before, "not in the audit log"


def _walk(app: FastAPI, open_to_all: set[str], *, api: bool | None = None) -> Iterator[tuple[str, str, Any]]:
    for route in iter_route_contexts(app.routes):
        if not isinstance(route.original_route, APIRoute):
            continue
        if api is not None and str(route.path).startswith("/api/") is not api:
            continue
        path = str(route.path)
        for name in re.findall(r"{(\w+)}", path):
            path = path.replace("{" + name + "}", "1" if name in ("job_id", "name", "ref") else str(uuid4()))
        for method in sorted((route.methods or set()) - {"HEAD"}):
            if f"{method} {route.path}" not in open_to_all:
                yield method, path, route


def _send(app: FastAPI, method: str, path: str, host: str, cookie: str, session: str) -> tuple[int, str]:
    """As a browser does it: session cookie, and for a form its token."""
    client = TestClient(app, base_url=f"http://{host}", client=(next(_ADDRESSES), 4711), raise_server_exceptions=False)
    names = {cookie: session} if session else {f"{cookie}_form": "a-visitors-cookie"}
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in names.items())}
    data = None
    if method != "GET":
        token = FormToken(session or None, None if session else "a-visitors-cookie")
        headers |= {"Origin": f"http://{host}"}
        data = {"csrf_token": str(token)}
    answer = client.request(method, path, headers=headers, data=data, follow_redirects=False)
    return answer.status_code, answer.headers.get("location", "")


def _needed_role(route: Any) -> Role | None:
    return next((call.role for call in _calls(route.dependant) if isinstance(call, Looks)), None)


def _needs_session(route: Any) -> bool:
    return any(call is signed_in for call in _calls(route.dependant))


def _calls(dependant: Any) -> Iterator[Any]:
    for inner in dependant.dependencies:
        yield inner.call
        yield from _calls(inner)
