"""The operators' desk: the management pages on a real registry, and Olga, who runs the platform."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response

from awssome.database.registry import accounts
from awssome.database.registry import sessions as registered
from awssome.management.app import create
from awssome.workflows.services import WorkerServices

OLGA = "olga@awssome.example"
PASSWORD = "seven quiet herons at dawn"

_TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


@dataclass(frozen=True)
class Desk:
    """A browser in which somebody may be signed in."""

    client: TestClient

    def get(self, path: str, fragment: bool = False) -> Response:
        """Open a page; redirects are not followed."""
        return self.client.get(path, headers={"X-Fragment": "1"} if fragment else {})

    def send(self, path: str, at: str = "/", **fields: str) -> Response:
        """Send a form that stands on the page `at`; redirects are not followed."""
        token = _TOKEN.search(self.get(at).text)
        assert token is not None, f"there is no form on {at}"
        return self.client.post(path, data={"csrf_token": token.group(1), **fields})

    def after(self, response: Response) -> Response:
        """The page that a form leads to."""
        assert response.status_code == 303, response.text
        return self.get(response.headers["location"])


@pytest.fixture
def app(services: WorkerServices) -> FastAPI:
    """The management application."""
    return create(services)


@pytest.fixture(scope="session")
def password_hash() -> str:
    """Of Olga's password, hashed once."""
    return accounts.hash_password(PASSWORD)


@pytest.fixture
def olga(services: WorkerServices, password_hash: str) -> UUID:
    """The account of an operator."""
    with services.registry.begin() as connection:
        return accounts.create(connection, OLGA, "Olga", password_hash, operator=True, confirmed=True).id


@pytest.fixture
def visitor(app: FastAPI) -> Desk:
    """A browser without a session."""
    return visit(app)


@pytest.fixture
def desk(app: FastAPI, services: WorkerServices, olga: UUID) -> Desk:
    """A browser in which Olga is signed in."""
    with services.registry.begin() as connection:
        return visit(app, registered.create(connection, olga, "management", address="127.0.0.1", agent="Tests"))


@pytest.fixture
def person(services: WorkerServices) -> Callable[[str], UUID]:
    """Makes an account that is no operator's."""

    def made(email: str) -> UUID:
        with services.registry.begin() as connection:
            return accounts.create(connection, email, email.partition("@")[0].title(), None, confirmed=True).id

    return made


def visit(app: FastAPI, session: str = "") -> Desk:
    """A browser on a loopback name, with a session's cookie if given."""
    client = TestClient(app, base_url="http://localhost", client=("127.0.0.1", 50_000), follow_redirects=False)
    if session:
        client.cookies.set("awssome_management", session, domain="localhost.local")
    return Desk(client)
