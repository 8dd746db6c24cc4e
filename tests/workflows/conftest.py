"""Tenants with rows in every table; tenants that are connected to a HubSpot sandbox, and syncs of theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from awssome.database import Connection
from awssome.database.registry import hubspot as registered
from awssome.database.registry import tenants
from awssome.database.registry.audit import Actor
from awssome.database.schema import deal_events, deal_registrations, hubspot_mappings
from awssome.database.tenant import hubspot as stored
from awssome.database.tenant import syncs
from awssome.database.tenant.hubspot import HubSpotConnection
from awssome.database.tenant.syncs import Sync, SyncIssue
from awssome.domain.syncs import MappingState
from awssome.domain.tenants import Tier
from awssome.domain.times import new_id
from awssome.hubspot import oauth
from awssome.hubspot.models import Deal
from awssome.hubspot.oauth import App
from awssome.hubspot.transport import Patience
from awssome.workflows import hubspot_connection, moves, sync
from awssome.workflows.hubspot_connection import Connected
from awssome.workflows.services import WorkerServices
from awssome.workflows.sync import everything
from awssome.workflows.workspace import Workspace
from tests.conftest import Tenancy
from tests.hubspot.conftest import (  # noqa: F401
    EMPTY,
    NORTHWIND,
    TAILSPIN,
    WINGTIP,
    Sandbox,
    running_sandbox,
    sandbox,
    start_sandbox,
)
from tests.workflows.moving import fill

HOST = "freemium.localhost:8000"
READ = ("dealname", "amount", "createdate", "hs_is_closed", "pipeline", "dealstage", "hs_merged_object_ids")


@pytest.fixture
def alice(services: WorkerServices, make_tenant: Callable[..., Tenancy]) -> Tenancy:
    """A tenant on the pool, with rows in every table."""
    tenancy = make_tenant("Northwind", "alice@northwind.example")
    fill(services, tenancy)
    return tenancy


def never() -> bool:
    """Nobody asks the work to stop."""
    return False


@dataclass(frozen=True)
class Registration:
    """A registration that came from HubSpot, with its mapping."""

    deal_id: str
    state: MappingState
    row: Any

    @property
    def archived(self) -> bool:
        return self.row.archived_at is not None


@dataclass(frozen=True)
class Workshop:
    """A tenant at work with HubSpot."""

    services: WorkerServices
    sandbox: Sandbox
    tenancy: Tenancy

    @property
    def id(self) -> UUID:
        return self.tenancy.id

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.services, self.id)

    def consent(
        self, portal_id: int = NORTHWIND, session_id: UUID | None = None, decision: str = "allow"
    ) -> tuple[UUID, dict[str, str]]:
        """Begin, and consent on HubSpot's page: the session, and what comes back in the redirect."""
        session_id = session_id or new_id()
        with self.services.registry.begin() as connection:
            url = hubspot_connection.authorize(
                connection,
                self.services.keys,
                self.services.hubspot,
                session_id=session_id,
                tenant_id=self.id,
                host=HOST,
            )
        state = url.partition("state=")[2]
        assert url == oauth.authorize_url(self.services.hubspot, state)
        return session_id, self.sandbox.consent(portal_id, state, decision)

    def callback(self, state: str) -> str:
        """What the bare domain does with the redirect."""
        with self.services.registry.begin() as connection:
            return hubspot_connection.callback(connection, self.services.keys, state)

    def complete(self, session_id: UUID, back: dict[str, str], return_url: str | None = None) -> Connected:
        """What the session does that began."""
        return hubspot_connection.connect(
            self.services,
            session_id=session_id,
            tenant_id=self.id,
            connected_by=self.tenancy.owner_email,
            state=back["state"],
            code=back["code"],
            return_url=return_url,
        )

    def connect(self, portal_id: int = NORTHWIND) -> Connected:
        """The whole way of connecting."""
        session_id, back = self.consent(portal_id)
        assert self.callback(back["state"]) == HOST
        return self.complete(session_id, back)

    def connection(self) -> HubSpotConnection:
        found = self.workspace.do(stored.connection)
        assert found is not None
        return found

    def registered(self) -> tuple[str, int | None, str | None]:
        """State, portal and domain as the registry has them."""
        with self.services.registry.begin() as connection:
            tenant = tenants.find(connection, self.id)
        return tenant.hubspot_state, tenant.hubspot_portal_id, tenant.hubspot_domain

    def queue(self) -> UUID:
        """A sync that waits for a worker."""
        return self.workspace.do(lambda connection: syncs.create(connection, self.tenancy.owner_email)).id

    def sync(self, sync_id: UUID | None = None, should_abort: Callable[[], bool] = never) -> Sync:
        """Run a sync, a new one unless one is given; as it stands then."""
        sync_id = sync_id or self.queue()
        sync.run(self.services, self.id, sync_id, should_abort, patience=Patience(retries=1, seconds=1.5))
        return self.find(sync_id)

    def find(self, sync_id: UUID) -> Sync:
        found = self.workspace.do(lambda connection: syncs.find(connection, sync_id))
        assert found is not None
        return found

    def issues(self, done: Sync) -> list[SyncIssue]:
        return self.workspace.do(lambda connection: syncs.issues(connection, done.id, limit=1000))

    def upgrade(self) -> None:
        with self.services.registry.begin() as connection:
            tenants.change(connection, self.id, tier=Tier.PAID)

    def downgrade(self) -> None:
        """The tier goes down, and the job is done that goes with it."""
        with self.services.registry.begin() as connection:
            moves.downgrade(connection, self.services.queue, Actor("paula@example.com"), str(self.id))
        sync.keep_to_plan(self.services, self.id)

    def registrations(self) -> list[Registration]:
        """Everything that came from HubSpot, by deal id."""

        def work(connection: Connection) -> list[Registration]:
            query = (
                select(hubspot_mappings.c.deal_id, hubspot_mappings.c.state, *deal_registrations.columns)
                .join_from(hubspot_mappings, deal_registrations)
                .order_by(hubspot_mappings.c.deal_id)
            )
            return [Registration(row.deal_id, MappingState(row.state), row) for row in connection.execute(query)]

        return self.workspace.do(work)

    def live(self) -> dict[str, Registration]:
        """The live ones, by deal id."""
        return {one.deal_id: one for one in self.registrations() if one.state is MappingState.LIVE}

    def events(self, registration_id: UUID) -> list[tuple[str, str]]:
        """(kind, actor) of a registration's timeline."""
        query = select(deal_events.c.kind, deal_events.c.actor).where(deal_events.c.registration_id == registration_id)
        return self.workspace.do(
            lambda connection: [(row.kind, row.actor) for row in connection.execute(query.order_by(deal_events.c.at))]
        )

    def deals(self, portal_id: int = NORTHWIND) -> list[Deal]:
        """What HubSpot has now, asked past the product's tables."""
        with self.sandbox.client(portal_id) as client:
            return [deal for page in client.iter_deals(properties=READ) for deal in page.results]

    def others(self) -> int:
        with self.services.registry.begin() as connection:
            return len(registered.others_connected(connection, self.id, NORTHWIND))


def first_ten(deals: Sequence[Deal]) -> list[str]:
    """The ids that a free tenant gets: open deals first, by creation date, then by number."""
    in_order = sorted(
        deals, key=lambda deal: (deal.properties["hs_is_closed"], deal.properties["createdate"], int(deal.id))
    )
    return [deal.id for deal in in_order[:10]]


@pytest.fixture
def hubspot_app(request: pytest.FixtureRequest) -> App:
    """Our app at the sandbox for tests that use one; elsewhere nothing listens."""
    if "sandbox" in request.fixturenames:
        return request.getfixturevalue("sandbox").app()  # type: ignore[no-any-return]
    return oauth.app_for("http://127.0.0.1:9", "client", "secret", "http://localhost:8000/hubspot/callback")


@pytest.fixture
def workshop(
    services: WorkerServices,
    sandbox: Sandbox,  # noqa: F811
    make_tenant: Callable[..., Tenancy],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Workshop]:
    """Makes tenants, connected to a portal unless it is None. The sandbox has no limits, and their budgets none.

    Their syncs write each page by itself, so that a test can step in behind the first; those in processes of their own
    take several at a time, as they come.
    """
    services = replace(services, hubspot_limits={})
    monkeypatch.setattr(everything, "_TOGETHER", 1)

    def made(portal_id: int | None = NORTHWIND, *, company: str = "Alice & Co", tier: Tier = Tier.FREE) -> Workshop:
        found = Workshop(services, sandbox, make_tenant(company, tier=tier))
        if portal_id is not None:
            found.connect(portal_id)
        return found

    return made
