"""The portal on real workspaces, in front of a fake client of the central API, and the cast's browsers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from html import unescape
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response

from awssome.database.servers import open_server
from awssome.database.sessions import Sessions
from awssome.domain.addresses import Addresses
from awssome.domain.moves import FenceMode
from awssome.domain.secrets import Keys
from awssome.domain.tenants import EngineName, Placement, Role, Tier, new_schema_name
from awssome.domain.times import new_id
from awssome.portal.app import Options, create
from awssome.portal.guard import SESSION_COOKIE
from tests.portal.fake import FakeControl, Tenant

ADDRESSES = Addresses("localhost", 8000, secure=False)
SHARED = ADDRESSES.shared()

_HIDDEN = re.compile(r'<input type="hidden" name="(csrf_token|workspace)" value="([^"]*)">')


@dataclass(frozen=True)
class Browser:
    """A browser at one host. Redirects are not followed."""

    client: TestClient

    def get(self, path: str, *, fragment: bool = False) -> Response:
        """Open a page, or fetch a piece of one as the script does."""
        return self.client.get(path, headers={"X-Fragment": "1"} if fragment else {})

    def send(self, path: str, at: str = "/", **fields: object) -> Response:
        """Send a form that stands on the page `at`, with the hidden fields that it has there."""
        page = self.get(at)
        hidden = {name: unescape(value) for name, value in _HIDDEN.findall(page.text)}
        assert "csrf_token" in hidden, f"there is no form on {at}: {page.status_code}"
        return self.client.post(path, data={**hidden, **fields})

    def after(self, response: Response) -> Response:
        """The page that a form leads to."""
        assert response.status_code == 303, response.text
        return self.get(response.headers["location"])

    @property
    def session(self) -> str | None:
        """The session's cookie."""
        return self.client.cookies.get(SESSION_COOKIE)


@dataclass(frozen=True)
class Stage:
    """The portal, and what its fake of the central API knows."""

    app: FastAPI
    control: FakeControl
    place: Callable[[], Placement]

    def tenant(self, slug: str, company: str = "", **values: object) -> Tenant:
        """A tenant with a workspace. Roles go by name: `alice=Role.OWNER`."""
        roles = {name: role for name, role in values.items() if isinstance(role, Role)}
        placement = self.place()
        found = Tenant(placement.tenant_id, slug, company or slug.title(), placement)
        for name, value in values.items():
            if name not in roles:
                setattr(found, name, value)
        return self.control.add_tenant(found, **roles)

    def visitor(self, host: str = SHARED) -> Browser:
        """Nobody yet."""
        return Browser(TestClient(self.app, base_url=f"http://{host}", follow_redirects=False))

    def browser(self, name: str, host: str = SHARED, chosen: Tenant | None = None) -> Browser:
        """Somebody of the cast, signed in."""
        visitor = self.visitor(host)
        token = self.control.session(f"{name}@example.com", chosen.id if chosen else None)
        visitor.client.cookies.set(SESSION_COOKIE, token, domain=host.partition(":")[0])
        return visitor


@pytest.fixture(scope="session")
def place(engine: EngineName, pool_url: str, keys: Keys) -> Callable[[], Placement]:
    """Makes workspaces: a schema with a login each."""
    server, where = open_server(engine, pool_url), urlsplit(pool_url)

    def made() -> Placement:
        tenant_id, schema = new_id(), new_schema_name()
        password = keys.login_password(tenant_id, "pool", schema, 1)
        server.provision(schema, password, epoch=1, mode=FenceMode.RW)
        return Placement(
            tenant_id=tenant_id,
            placement_id=new_id(),
            engine=engine,
            host=where.hostname or "",
            port=where.port or 0,
            database=where.path.lstrip("/"),
            schema=schema,
            epoch=1,
            secret_version=1,
            password=password,
        )

    return made


@pytest.fixture
def placement(place: Callable[[], Placement]) -> Placement:
    """A workspace."""
    return place()


@pytest.fixture
def stage(place: Callable[[], Placement], sessions: Sessions) -> Stage:
    """The portal. Alice, Adam, Mia and Vera share a free tenant in different roles; Bob and Paula have theirs."""
    control = FakeControl(ADDRESSES)
    app = create(Options(control=control.control, sessions=sessions, addresses=ADDRESSES))
    control.add_account("charlie@example.com")
    return Stage(app, control, place)


@pytest.fixture
def northwind(stage: Stage) -> Tenant:
    """Alice's tenant, free: Adam is an admin, Mia a member, Vera a viewer."""
    roles = {"alice": Role.OWNER, "adam": Role.ADMIN, "mia": Role.MEMBER, "vera": Role.VIEWER}
    return stage.tenant("northwind", "Northwind Cloud", **roles)


@pytest.fixture
def bikes(stage: Stage) -> Tenant:
    """Bob's tenant, free, on the same server."""
    return stage.tenant("bikes", "Bob's Bikes", bob=Role.OWNER)


@pytest.fixture
def paulas(stage: Stage) -> Tenant:
    """Paula's tenant, paid: it has a host of its own."""
    return stage.tenant("paula", "Paula Paid", tier=Tier.PAID, paula=Role.OWNER)
