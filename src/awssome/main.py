"""The composition root: builds management, portal and worker from the settings, and serves them.

Each function imports what it puts together: the command line answers at once, and the portal never loads the registry.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from awssome.config import Settings, load
from awssome.domain.errors import Code, Refused
from awssome.domain.tenants import ServerKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import FastAPI

    from awssome.database.engine import ServerLog
    from awssome.database.registry import Registry
    from awssome.database.servers import Opener
    from awssome.domain.secrets import Keys
    from awssome.domain.vault import Vault
    from awssome.workflows.archive_store import ArchiveStore
    from awssome.workflows.services import Services, WorkerServices

__all__ = ["Settings", "load"]

EMBEDDED = (("main", "pool-1", ServerKind.POOL), ("dedicated-1", "dedicated-1", ServerKind.DEDICATED))
"""The embedded clusters: directory below home, name as a server, kind. The first holds the control plane, too; the last
is left out where AWS makes dedicated servers."""


@dataclass(frozen=True)
class Plane:
    """The control plane, reached with its own role: never a part of the portal.

    :ivar logs: the logs of the servers that run here, by the server's name.
    """

    settings: Settings
    keys: Keys
    registry: Registry
    logs: Mapping[str, ServerLog]

    @cached_property
    def vault(self) -> Vault:
        """What wraps the tenants' data keys."""
        from awssome.aws.keys import Kms
        from awssome.domain.vault import Vault

        return Vault(self.keys, Kms(self.settings.kms_key, self.settings.previous_kms()))

    @property
    def open_server(self) -> Opener:
        """Opens servers with their administrators' rights."""
        from awssome.database import servers

        return servers.opener(self.registry, self.keys)


@contextmanager
def control_plane(settings: Settings, *, any_revision: bool = False, serving: bool = False) -> Iterator[Plane]:
    """The control plane, ready for use: embedded servers run as long as the block does, and everything is registered.

    :param any_revision: an external registry may also be at an older revision: for who only looks.
    :param serving: make the embedded dedicated server, too, if it is not there. Who only looks must not: a demo whose
        dedicated servers AWS makes has none, and one that came with a look would go with it.
    :raises Refused: UNAVAILABLE when a database cannot be had; CONFLICT when an external registry is to be migrated.
    """
    from procrastinate.schema import SchemaManager

    from awssome.database import migrate, servers
    from awssome.database.registry import Registry

    keys = settings.keys()
    with ExitStack() as stack:
        if settings.database_url:
            url = settings.database_url.get_secret_value()
            embedded_servers: list[_Embedded] = []
            if not any_revision:
                migrate.require_newest(url)
        else:
            url, embedded_servers = _start_embedded(settings, keys, stack, serving=serving)
            migrate.upgrade_registry(url, jobs_schema=SchemaManager.get_schema())
        registry = Registry(url, connections=settings.threads)
        stack.callback(registry.close)
        for each in embedded_servers:
            servers.register_embedded(registry, keys, each.name, each.kind, each.admin_url)
        yield Plane(settings, keys, registry, {each.name: each.log for each in embedded_servers})


def migrate_registry(settings: Settings) -> str:
    """Bring an external registry to its newest revision; an embedded one is brought there by every start.

    :returns: the revision reached.
    """
    from procrastinate.schema import SchemaManager

    from awssome.database import migrate

    if settings.database_url is None:
        return migrate.registry_head()
    return migrate.upgrade_registry(settings.database_url.get_secret_value(), jobs_schema=SchemaManager.get_schema())


def registry_revision(settings: Settings) -> str | None:
    """The revision that the registry is at, changing nothing; None: it is empty."""
    from awssome.database import migrate

    if settings.database_url is None:
        return migrate.registry_head()  # every start brings it there
    return migrate.registry_revision(settings.database_url.get_secret_value())


def serve_management(settings: Settings) -> None:
    """Serve the management portal and the central API until a signal comes."""
    from awssome.web import logs, serving

    serving.end_on_signals()
    logs.configure(json=settings.log_json, level=settings.log_level)
    bound = serving.bind(settings.listen, settings.management_port)
    with control_plane(settings, serving=True) as plane:
        _register_tokens(plane.registry, settings)
        settings.remember("management", serving.url_of(bound))
        serving.serve(
            build_management(plane), bound, threads=settings.threads, trusted_proxies=settings.trusted_proxies
        )


def serve_portal(settings: Settings) -> None:
    """Serve the tenants' portal until a signal comes."""
    from awssome.web import logs, serving

    serving.end_on_signals()
    logs.configure(json=settings.log_json, level=settings.log_level)
    bound = serving.bind(settings.listen, settings.portal_port)
    settings.remember("portal", settings.addresses.url(settings.addresses.shared()))
    serving.serve(build_portal(settings), bound, threads=settings.threads, trusted_proxies=settings.trusted_proxies)


def supervise_worker(settings: Settings, queues: Sequence[str] = ()) -> None:
    """Run workers, one after the other, until a signal comes. :param queues: as for `serve_worker`."""
    from awssome.web import logs, serving
    from awssome.workflows.supervisor import Child, supervise

    serving.end_on_signals()
    logs.configure(json=settings.log_json, level=settings.log_level)
    chosen = [part for queue in queues for part in ("--queue", queue)]
    supervise(Child("worker", [sys.executable, "-m", "awssome.cli", "serve", "worker", "--unsupervised", *chosen]))


def serve_worker(settings: Settings, queues: Sequence[str] = ()) -> None:
    """Work on background jobs until a signal comes.

    :param queues: those of `workflows.queue.QUEUES` to work on; all if none is named.
    :raises Refused: INVALID for a queue that does not exist.
    """
    from awssome.web import logs, serving
    from awssome.workflows import tasks
    from awssome.workflows.queue import QUEUES

    serving.end_on_signals()
    logs.configure(json=settings.log_json, level=settings.log_level)
    unknown = set(queues) - set(QUEUES)
    if unknown:
        raise Refused(Code.INVALID, f"There is no queue {', '.join(sorted(unknown))}.", f"Use {', '.join(QUEUES)}.")
    with control_plane(settings, serving=True) as plane:
        services = worker_services(plane)
        app = tasks.build(services, plane.registry.url.replace("+psycopg", "", 1))
        asyncio.run(tasks.work(app, services, {queue: QUEUES[queue] for queue in queues} or None))
        serving.end_on_signals()  # the loop took them over


def serve_database(settings: Settings, home: Path, *, user: str, password: str, database: str) -> None:
    """Serve a fresh PostgreSQL like one of RDS until a signal comes, and delete it then.

    The first line of output is `{"host", "port"}`. A line `{"password"}` on standard input changes the master user's
    password, and is answered with `{"password": "changed"}`.

    :param home: a directory for its data.
    """
    from awssome.database import embedded, servers
    from awssome.web import serving

    serving.end_on_signals()
    try:
        with embedded.start(home, "server", binaries=settings.pgbin) as started:
            cluster = started.cluster
            servers.prepare_instance(cluster, user, password, database)
            print(json.dumps({"host": cluster.host, "port": cluster.port}), flush=True)
            for line in sys.stdin:
                servers.change_password(cluster, user, str(json.loads(line)["password"]))
                print(json.dumps({"password": "changed"}), flush=True)
            signal.pause()
    finally:
        embedded.remove(home, "server")


def build_management(plane: Plane) -> FastAPI:
    """The management application."""
    from awssome.management import app

    return app.create(services(plane))


def build_portal(settings: Settings) -> FastAPI:
    """The portal: a client of the central API, without a key or a database credential of its own."""
    from urllib.parse import urlsplit

    from awssome.control.client import Control
    from awssome.database.sessions import Sessions
    from awssome.portal import app

    hubspot = urlsplit(settings.hubspot_base_url or "https://app.hubspot.com")
    return app.create(
        app.Options(
            control=Control(settings.central_api, settings.service_secret()),
            sessions=Sessions(budget=settings.connection_budget),
            addresses=settings.addresses,
            hubspot_origin=f"{hubspot.scheme}://{hubspot.netloc}",
            metrics_token=settings.metrics_secret(),
        )
    )


def services(plane: Plane) -> Services:
    """What the central API works with: no administrator's rights on any server."""
    from awssome.aws.entitlements import Marketplace
    from awssome.aws.roles import Roles
    from awssome.database.sessions import Sessions
    from awssome.domain.archives import ArchivePolicy
    from awssome.hubspot.limits import TIERS
    from awssome.hubspot.oauth import app_for
    from awssome.workflows.queue import Queue
    from awssome.workflows.services import Services

    settings = plane.settings
    addresses = settings.addresses
    return Services(
        registry=plane.registry,
        keys=plane.keys,
        sessions=Sessions(budget=settings.connection_budget),
        queue=Queue(),
        hubspot=app_for(
            settings.hubspot_base_url,
            settings.hubspot_client_id,
            settings.hubspot_client_secret.get_secret_value(),
            addresses.url(addresses.bare(), "/hubspot/callback"),
        ),
        hubspot_limits=TIERS[settings.hubspot_limits],
        roles=Roles(
            template_url=settings.aws_role_template_url,
            console_url=settings.aws_console_url,
            principal=settings.aws_principal_arn,
        ),
        addresses=addresses,
        archives=_archive_store(settings),
        archive_policy=ArchivePolicy(settings.export_hours, settings.archive_days),
        dormant_days=settings.dormant_days,
        kms=plane.vault.kms,
        blueprint=settings.blueprint,
        marketplace=Marketplace(settings.marketplace_product) if settings.marketplace_product else None,
    )


def worker_services(plane: Plane) -> WorkerServices:
    """What jobs work with."""
    from awssome.aws.dns import Zone
    from awssome.aws.metrics import Metrics
    from awssome.workflows.mail import Mailer
    from awssome.workflows.services import WorkerServices

    settings = plane.settings
    host, port, user, password = settings.mail_server
    return WorkerServices(
        **vars(services(plane)),
        open_server=plane.open_server,
        mailer=Mailer(host, port, settings.mail_from, user, password),
        metrics=Metrics(settings.cloudwatch_namespace),
        desk=settings.central_api.rstrip("/"),
        logs=plane.logs,
        zone=Zone(settings.dns_zone, settings.dns_target) if settings.dns_zone else None,
    )


def _archive_store(settings: Settings) -> ArchiveStore:
    """The bucket or the directory that archives lie in."""
    from awssome.workflows.archive_store import Directory

    if settings.archives.startswith("s3://"):
        from awssome.aws.archives import Bucket

        bucket, _, prefix = settings.archives.removeprefix("s3://").partition("/")
        return Bucket(bucket, prefix.strip("/"))
    return Directory(Path(settings.archives) if settings.archives else settings.home / "archives")


class _Embedded(NamedTuple):
    """An embedded server as it is registered, and its log."""

    name: str
    kind: ServerKind
    admin_url: str
    log: ServerLog


def _start_embedded(settings: Settings, keys: Keys, stack: ExitStack, *, serving: bool) -> tuple[str, list[_Embedded]]:
    """The control plane's URL, and the servers. Passwords follow from the key."""
    from awssome.database import embedded, servers
    from awssome.database.embedded_care import looked_after

    url, found, handles = "", [], []
    for directory, name, kind in EMBEDDED if settings.blueprint is None else EMBEDDED[:1]:
        if kind is ServerKind.DEDICATED and not serving and not os.path.lexists(settings.home / directory):
            continue
        handles.append(stack.enter_context(embedded.start(settings.home, directory, binaries=settings.pgbin)))
        cluster = handles[-1].cluster
        if not url:
            url = servers.prepare_control_plane(cluster, keys.signature("embedded", f"control of {directory}"))
        password = keys.signature("embedded", f"provisioner of {directory}")
        found.append(_Embedded(name, kind, servers.prepare_data_plane(cluster, password), cluster.log))
    stack.enter_context(looked_after(handles))
    return url, found


def _register_tokens(registry: Registry, settings: Settings) -> None:
    """Only who serves the central API says which tokens open it: a worker elsewhere must not lock the portal out."""
    from awssome.database.registry import sessions

    with registry.begin() as connection:
        sessions.register_token(connection, "portal", "service", settings.service_secret())
        sessions.register_token(connection, "command line", "operator", settings.operator_secret())
        sessions.register_token(connection, "metrics", "metrics", settings.metrics_secret())
