"""Real parts for every test: an embedded PostgreSQL, a registry cloned from a template database, a prepared pool."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
import structlog
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser, sync_playwright
from procrastinate.schema import SchemaManager
from psycopg import sql
from sqlalchemy.engine import make_url

from awssome.aws.roles import Roles
from awssome.database import embedded, migrate, servers
from awssome.database.embedded import Cluster
from awssome.database.registry import Registry, accounts, placements, tenants
from awssome.database.registry import servers as registered
from awssome.database.sessions import Sessions
from awssome.domain.addresses import Addresses
from awssome.domain.secrets import Keys, new_secret_key
from awssome.domain.tenants import EngineName, Placement, Role, ServerKind, Tier
from awssome.hubspot.oauth import App, app_for
from awssome.web import pages
from awssome.workflows import provisioning
from awssome.workflows.archive_store import Directory
from awssome.workflows.mail import Mailer
from awssome.workflows.queue import Queue
from awssome.workflows.services import WorkerServices
from tests.compiled import Compiled
from tests.engines import SQLSERVER_URL, eventually, sqlserver_database
from tests.registries import Registries

# How long an example takes says something of the machine, and asserts nothing.
settings.register_profile("awssome", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("awssome")

CONTROL_PASSWORD, PROVISIONER_PASSWORD = "control-of-the-tests", "provisioner-of-the-tests"
TEMPLATE = "registry_template"


@dataclass(frozen=True)
class Tenancy:
    """A tenant that was made for a test, with its owner."""

    id: UUID
    slug: str
    owner_id: UUID
    owner_email: str
    placement: Placement


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without a SQL Server its tests are left out; `pytest_terminal_summary` says so."""
    if SQLSERVER_URL:
        return
    calls = {item: getattr(item, "callspec", None) for item in items}
    out = [item for item, call in calls.items() if call and call.params.get("engine") is EngineName.SQLSERVER]
    config.hook.pytest_deselected(items=out)
    items[:] = [item for item in items if item not in set(out)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say aloud what was not tried."""
    if not SQLSERVER_URL:
        terminalreporter.section("SQL Server: skipped", yellow=True)
        terminalreporter.line(
            "AWSSOME_TEST_SQLSERVER_URL is not set. Every test of a tenant's data ran on PostgreSQL alone; the same "
            "tests on SQL Server, and those of SQL Server itself, were skipped. docs/testing.md tells how to run them."
        )


@pytest.fixture(scope="session", autouse=True)
def plain_traces() -> None:
    """Where no log is set up, structlog paints a trace with all its variables, which takes it half a second."""
    structlog.configure(processors=[structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)])


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    """Tests make hundreds of applications; each template is compiled once for all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "Environment", partial(pages.Environment, bytecode_cache=Compiled()))
        yield


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """One embedded PostgreSQL for the whole run (one for each process when tests run in parallel)."""
    with _home() as home, embedded.start(home, "tests") as handle:
        _hurry(handle.cluster)
        yield handle.cluster


@pytest.fixture(scope="session")
def second_cluster() -> Iterator[Cluster]:
    """Another server, to move tenants to."""
    with _home() as home, embedded.start(home, "second") as handle:
        _hurry(handle.cluster)
        yield handle.cluster


@pytest.fixture(scope="session", params=list(EngineName), ids=str)
def engine(request: pytest.FixtureRequest) -> EngineName:
    """The engine of the data plane: whatever touches a tenant's data is tried on each."""
    engine: EngineName = request.param
    return engine


@pytest.fixture(scope="session")
def pool_url(engine: EngineName, request: pytest.FixtureRequest) -> Iterator[str]:
    """The administrator's URL of a pool."""
    if engine is EngineName.POSTGRESQL:
        yield servers.prepare_data_plane(request.getfixturevalue("cluster"), PROVISIONER_PASSWORD)
    else:
        with sqlserver_database() as url:
            yield url


@pytest.fixture(scope="session")
def dedicated_url(engine: EngineName, request: pytest.FixtureRequest) -> Iterator[str]:
    """The administrator's URL of a dedicated server."""
    if engine is EngineName.POSTGRESQL:
        yield servers.prepare_data_plane(request.getfixturevalue("second_cluster"), PROVISIONER_PASSWORD)
    else:
        with sqlserver_database() as url:
            yield url


@pytest.fixture(scope="session")
def registry_template(cluster: Cluster) -> str:
    """A migrated registry that each test gets a copy of; the control role's URL for it."""
    url = make_url(servers.prepare_control_plane(cluster, CONTROL_PASSWORD))
    with superuser(cluster) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER awssome_control").format(sql.Identifier(TEMPLATE)))
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(TEMPLATE)))
    url = url.set(database=TEMPLATE)
    migrate.upgrade_registry(url.render_as_string(hide_password=False), jobs_schema=SchemaManager.get_schema())
    return url.render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def registries(cluster: Cluster, registry_template: str) -> Registries:
    """Where registries for tests come from."""
    return Registries(partial(superuser, cluster), registry_template)


@pytest.fixture
def registry_url(registries: Registries) -> Iterator[str]:
    """A registry of this test's own."""
    with registries.one() as url:
        yield url


@pytest.fixture
def registry(registry_url: str) -> Iterator[Registry]:
    """The registry, open."""
    opened = Registry(registry_url, connections=8)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def secret_key() -> str:
    """AWSSOME_SECRET_KEY of the tests."""
    return new_secret_key()


@pytest.fixture(scope="session")
def keys(secret_key: str) -> Keys:
    """The keys derived from it."""
    return Keys.from_text(secret_key)


@pytest.fixture
def sessions() -> Iterator[Sessions]:
    """Tenant sessions under a small budget."""
    opened = Sessions(budget=20)
    yield opened
    opened.close()


@pytest.fixture
def hubspot_app() -> App:
    """Our app at HubSpot; nothing listens there. Tests of HubSpot override it."""
    return app_for("http://127.0.0.1:9", "client", "secret", "http://localhost:8000/hubspot/callback")


@pytest.fixture
def services(
    registry: Registry, keys: Keys, sessions: Sessions, hubspot_app: App, pool_url: str, tmp_path: Path
) -> WorkerServices:
    """What jobs and the central API work with, with one open pool registered."""
    made = worker_services(registry, keys, sessions, hubspot_app, tmp_path / "archives")
    register_server(made, "pool-1", ServerKind.POOL, pool_url)
    return made


@pytest.fixture
def dedicated(services: WorkerServices, dedicated_url: str) -> str:
    """The name of a registered dedicated server that nobody has."""
    register_server(services, "dedicated-1", ServerKind.DEDICATED, dedicated_url)
    return "dedicated-1"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The system's Chromium; its tests are skipped, and say so, where there is none and none is required."""
    path = find_chromium()
    if path is None:
        if os.environ.get("AWSSOME_REQUIRE_BROWSER"):
            pytest.fail("no Chromium on this machine, and AWSSOME_REQUIRE_BROWSER is set")
        pytest.skip("no Chromium on this machine: pages were not looked at in a browser")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=str(path), args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def make_tenant(services: WorkerServices) -> Callable[..., Tenancy]:
    """Makes active tenants: `make_tenant("Northwind", email="alice@northwind.example", tier=Tier.FREE)`."""

    return partial(active_tenant, services)


def worker_services(
    registry: Registry, keys: Keys, sessions: Sessions, hubspot: App, archives: Path = Path("/nonexistent")
) -> WorkerServices:
    """What jobs and the central API work with; nothing answers at HubSpot or at the mail server."""
    return WorkerServices(
        registry=registry,
        keys=keys,
        sessions=sessions,
        queue=Queue(),
        hubspot=hubspot,
        roles=Roles(template_url="https://example.com/awssome-role.yaml"),
        addresses=Addresses("localhost", 8000, secure=False),
        archives=Directory(archives),
        open_server=servers.opener(registry, keys),
        mailer=Mailer("127.0.0.1", 9, "awssome@example.com"),
    )


def active_tenant(
    services: WorkerServices, company: str = "Northwind Cloud", email: str = "", tier: Tier = Tier.FREE
) -> Tenancy:
    """A provisioned tenant with an owner."""
    email = email or f"owner-{secrets.token_hex(4)}@example.com"
    with services.registry.begin() as connection:
        tenant = tenants.create(connection, company)
        owner = accounts.by_email(connection, email) or accounts.create(
            connection, email, email.partition("@")[0].title(), None, confirmed=True
        )
        accounts.add_member(connection, owner.id, tenant.id, Role.OWNER)
        tenants.change(connection, tenant.id, tier=tier)
    provisioning.provision(services, tenant.id)
    with services.registry.begin() as connection:
        placement = placements.current(connection, services.keys, tenant.id)
    return Tenancy(tenant.id, tenant.slug, owner.id, email, placement)


def register_server(services: WorkerServices, name: str, kind: ServerKind, url: str) -> UUID:
    """Register a prepared server, open."""
    parsed = make_url(url)
    with services.registry.begin() as connection:
        return registered.register(
            connection,
            services.keys,
            name=name,
            kind=kind,
            engine=EngineName.POSTGRESQL if parsed.drivername.startswith("postgresql") else EngineName.SQLSERVER,
            host=parsed.host or "",
            port=parsed.port or 0,
            database=parsed.database or "",
            admin_url=url,
            open_now=True,
        )


@contextmanager
def _home() -> Iterator[Path]:
    """A folder that the server's own user can reach too; pytest's are closed to it.

    A tenant is some 40 files: to take away those of hundreds takes seconds, and nobody waits for it.
    """
    home = Path(tempfile.mkdtemp(prefix="awssome-tests-"))
    home.chmod(0o755)
    try:
        yield home
    finally:
        os.posix_spawnp("rm", ["rm", "-rf", str(home)], os.environ)


def find_chromium() -> Path | None:
    """Debian's Chromium, for tests marked `browser`."""
    return next((path for path in map(Path, ("/usr/bin/chromium", "/usr/bin/chromium-browser")) if path.exists()), None)


def superuser(cluster: Cluster, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
    """A connection of the cluster's superuser, which no part of the platform has."""
    return psycopg.connect(
        host=cluster.host,
        port=cluster.port,
        user=cluster.superuser,
        password=cluster.password,
        dbname=database,
        autocommit=True,
    )


def settle_log(cluster: Cluster) -> None:
    """Wait until the server's log has everything that it was told until now: lines are written in their order."""
    mark, position = secrets.token_hex(8), cluster.log.end()
    with superuser(cluster) as connection:
        connection.execute(sql.SQL("DO {}").format(f"BEGIN RAISE LOG '{mark}'; END"))
    eventually(lambda: any(mark in message for message in cluster.log.messages(position)))


def _hurry(cluster: Cluster) -> None:
    """No test pulls the plug of the machine: the disk need not keep up. Stopping takes 2 s instead of 30."""
    with superuser(cluster) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
