"""The whole platform in a home of its own: management, portal, worker and a mail server as separate processes.

A home that is kept (`--home`) keeps its tenants: filling one with 10,000 takes minutes.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
from sqlalchemy import func, select

from awssome import main
from awssome.config import Settings
from awssome.database.registry import accounts, servers
from awssome.database.registry import tenants as registered
from awssome.database.registry.tables import tenants
from awssome.domain.tenants import Role, TenantState
from awssome.workflows import provisioning
from awssome.workflows.services import WorkerServices
from awssome.workflows.supervisor import Child

CAPACITY = 20_000
"""Of the pool: above the limit at which it closes by default."""

FILLING = 2
"""Tenants made at a time while a home is filled; more sessions only spoil each other's catalog caches."""


@dataclass
class Platform:
    """A home with its control plane; `serve` starts the parts.

    :ivar services: what a worker works with.
    :ivar ports: of management, portal, bare, mail and smtp.
    """

    settings: Settings
    plane: main.Plane
    services: WorkerServices
    ports: dict[str, int]
    processes: dict[str, Child] = field(default_factory=dict)

    @property
    def management(self) -> str:
        """Where the central API is."""
        return f"http://127.0.0.1:{self.ports['management']}"

    @contextmanager
    def serve(self, *names: str, jobs: int = 4, **settings: str) -> Iterator[None]:
        """Run parts: management, portal, mail, worker; bare is the portal's page without the portal.

        :param jobs: sign-ups that the worker works on at a time.
        :param settings: more of the environment.
        """
        commands = {
            "management": ["awssome.cli", "serve", "management"],
            "portal": ["awssome.cli", "serve", "portal"],
            "worker": ["benchmarks.worker", str(jobs)],
            "bare": ["benchmarks.bare", str(self.ports["bare"])],
            "mail": ["awssome.cli", "sandbox", "mail", *self._mail_options()],
        }
        logs = self.settings.home / "logs"
        logs.mkdir(exist_ok=True)
        for name in names:
            command = [sys.executable, "-m", *commands[name]]
            self.processes[name] = Child(name, command, {**self._environment(), **settings}, log=logs / f"{name}.log")
        try:
            for name in names:
                self.processes[name].start()
            for name in {"management", "portal", "mail", "bare"} & set(names):
                until(lambda name=name: _listens(self.ports[name]), f"{name} to listen")  # type: ignore[misc]
            yield
        finally:
            for name in names:
                self.processes[name].ask_to_end()
            for name in names:
                self.processes.pop(name).stop()

    def operator(self) -> httpx2.Client:
        """A client of the central API, as the command line is one."""
        headers = {"Authorization": f"Bearer {self.settings.operator_secret()}"}
        return httpx2.Client(base_url=f"{self.management}/api/v1", headers=headers, trust_env=False, timeout=60)

    def active(self) -> int:
        """How many tenants are active."""
        with self.plane.registry.begin() as connection:
            query = select(func.count()).select_from(tenants).where(tenants.c.state == TenantState.ACTIVE)
            return int(connection.scalar(query) or 0)

    def create(self, count: int, prefix: str = "Northwind") -> float:
        """Ask for so many tenants over HTTP and wait until all are active; the seconds it took."""
        before, began = self.active(), time.perf_counter()
        with self.operator() as operator:
            for _ in range(count):
                name = os.urandom(5).hex()
                answer = operator.post("/tenants", json={"email": f"{name}@example.com", "company": f"{prefix} {name}"})
                answer.raise_for_status()
        until(lambda: self.active() >= before + count, f"{count} tenants to be active", seconds=600, pause=0.05)
        return time.perf_counter() - began

    def fill(self, count: int) -> None:
        """Have at least so many active tenants, made by the worker's own function, without the way there."""
        with self.plane.registry.begin() as connection:
            waiting = list(connection.scalars(select(tenants.c.id).where(tenants.c.state == TenantState.PENDING)))
        missing = count - self.active() - len(waiting)
        with ThreadPoolExecutor(FILLING) as threads:
            began = time.perf_counter()
            for done, _ in enumerate(threads.map(self._make, [*waiting, *[None] * missing]), 1):
                if done % 500 == 0:
                    print(
                        f"    filling: {done:,} more, {done / (time.perf_counter() - began):.0f} a second", flush=True
                    )

    def _make(self, tenant_id: UUID | None) -> None:
        if tenant_id is None:
            name = os.urandom(5).hex()
            with self.plane.registry.begin() as connection:
                tenant_id = registered.create(connection, f"Northwind {name}").id
                owner = accounts.create(connection, f"{name}@example.com", name, None, confirmed=True)
                accounts.add_member(connection, owner.id, tenant_id, Role.OWNER)
        provisioning.provision(self.services, tenant_id)

    def _mail_options(self) -> list[str]:
        return ["--port", str(self.ports["mail"]), "--smtp-port", str(self.ports["smtp"])]

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "AWSSOME_HOME": str(self.settings.home),
            "AWSSOME_CONTROL_URL": self.management,
            "AWSSOME_MANAGEMENT_PORT": str(self.ports["management"]),
            "AWSSOME_PORTAL_PORT": str(self.ports["portal"]),
            "AWSSOME_SMTP_URL": f"smtp://127.0.0.1:{self.ports['smtp']}",
            "AWSSOME_LOG_LEVEL": "WARNING",
        }


@contextmanager
def platform(home: Path | None = None) -> Iterator[Platform]:
    """The control plane and the embedded servers, running; with room for many tenants.

    :param home: a directory that is kept; else one that is thrown away.
    """
    with ExitStack() as stack:
        if home is None:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="awssome-bench-")))
            home.chmod(0o755)
        settings = Settings(home=home)
        plane = stack.enter_context(main.control_plane(settings))
        with plane.registry.begin() as connection:
            servers.change(connection, servers.by_name(connection, "pool-1").id, capacity=CAPACITY)
        ports = {name: _free_port() for name in ("management", "portal", "mail", "smtp", "bare")}
        yield Platform(settings, plane, main.worker_services(plane), ports)


def until(ask: Callable[[], Any], what: str, *, seconds: float = 60.0, pause: float = 0.02) -> None:
    """Wait for it. :raises TimeoutError: in vain."""
    end = time.monotonic() + seconds
    while not ask():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(pause)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
