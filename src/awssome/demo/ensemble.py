"""Everything that the demo runs, as child processes on loopback: three sandboxes, management, portal, worker."""

from __future__ import annotations

import json
import os
import select
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from awssome.domain.addresses import Addresses
from awssome.domain.errors import Code, Refused
from awssome.domain.secrets import new_token
from awssome.workflows.supervisor import Child, undisturbed

T = TypeVar("T")

PORTS = {"portal": 8000, "management": 8001, "hubspot": 8002, "aws": 8003, "mail": 8004, "smtp": 8025}
"""Where things are served, or on another port when that one is taken."""

PRINCIPAL = "arn:aws:iam::123456789012:root"
"""Whom customers' roles trust: the account that the AWS sandbox takes us for."""

SERVED_BY_DEMO = "AWSSOME_SERVED_BY_DEMO"
"""Set for the parts of a demo."""

RDS_SECONDS = 3
"""How long AWS takes to make a database server here; elsewhere it takes tens of minutes."""

_START_SECONDS = 120.0
_SANDBOXES = ("hubspot", "aws", "mail")


@dataclass(frozen=True)
class World:
    """Where everything is.

    :ivar portal: the address of the free tenants' pages; the others are base URLs.
    """

    addresses: Addresses
    portal: str
    management: str
    hubspot: str
    aws: str
    mail: str


class Ensemble:
    """The child processes. A context manager: at its end all have ended."""

    def __init__(self, home: Path, deals: int) -> None:
        self._claims = {name: _claim(port) for name, port in PORTS.items()}
        ports = {name: claim.getsockname()[1] for name, claim in self._claims.items()}
        self.logs = home / "logs"
        addresses = Addresses("localhost", ports["portal"], secure=False)
        urls = {name: f"http://localhost:{port}" for name, port in ports.items()}
        self.world = World(
            addresses=addresses,
            portal=addresses.url(addresses.shared(), ""),
            management=urls["management"],
            hubspot=urls["hubspot"],
            aws=urls["aws"],
            mail=urls["mail"],
        )
        self._children = {child.name: child for child in _children(home, self.logs, deals, ports, self.world)}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start everything, and wait until everything answers.

        :raises Refused: UNAVAILABLE when a part ends or does not answer in time, with the end of what it said.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        try:
            for child in self._children.values():
                child.start()
            for name in _SANDBOXES:
                self._announced(self._children[name])
            with httpx2.Client(trust_env=False, timeout=2) as http:
                for url in (self.world.management, self.world.addresses.url(self.world.addresses.bare())):
                    self.until(lambda url=url: _healthy(http, url), f"{url} to answer", seconds=_START_SECONDS)  # type: ignore[misc]
            yield
        finally:
            with undisturbed():
                # The portal first, so that nobody waits for what is gone; then all at once.
                for name in ("portal", "worker", "management", *_SANDBOXES):
                    self._children[name].ask_to_end()
                for child in self._children.values():
                    child.stop()
            for claim in self._claims.values():
                claim.close()

    def watch(self) -> None:
        """Start again what has ended and may be started again.

        :raises Refused: UNAVAILABLE when a sandbox has ended: what it remembered is gone.
        """
        for child in self._children.values():
            if child.ended() is None:
                continue
            if child.name in _SANDBOXES:
                raise self._ended(child)
            child.keep()

    def until(self, ask: Callable[[], T | None], what: str, *, seconds: float) -> T:
        """Ask again and again until there is an answer. :raises Refused: UNAVAILABLE when there is none in time."""
        end = time.monotonic() + seconds
        while True:
            answer = ask()
            if answer:
                return answer
            self.watch()
            if time.monotonic() > end:
                raise Refused(
                    Code.UNAVAILABLE,
                    f"The demo waited {seconds:.0f} s in vain for {what}.",
                    f"What each part said is in {self.logs}.",
                )
            time.sleep(0.1)

    def _announced(self, child: Child) -> dict[str, Any]:
        """What a sandbox says first, once it listens."""
        assert child.process is not None and child.process.stdout is not None  # noqa: S101 - it is piped
        ready, _, _ = select.select([child.process.stdout], [], [], _START_SECONDS)
        line = child.process.stdout.readline() if ready else ""
        if not line:
            raise self._ended(child)
        announced: dict[str, Any] = json.loads(line)
        return announced

    def _ended(self, child: Child) -> Refused:
        said = child.log.read_text(errors="replace").strip().splitlines() if child.log and child.log.exists() else []
        told = f" It said: {said[-1]}" if said else ""
        return Refused(
            Code.UNAVAILABLE, f"A part of the demo has ended: {child.name}.{told}", f"Its log is {child.log}."
        )


def _children(home: Path, logs: Path, deals: int, ports: dict[str, int], world: World) -> Iterator[Child]:
    client_id, client_secret = "awssome-demo", new_token()
    callback = world.addresses.url(world.addresses.bare(), "/hubspot/callback")
    base = {**_environment(), "AWSSOME_HOME": str(home)}
    ours = {
        **base,
        SERVED_BY_DEMO: "1",
        "AWSSOME_CONTROL_URL": world.management,
        "AWSSOME_PORTAL_PORT": str(ports["portal"]),
        "AWSSOME_MANAGEMENT_PORT": str(ports["management"]),
        "AWSSOME_SMTP_URL": f"smtp://127.0.0.1:{ports['smtp']}",
        "AWSSOME_HUBSPOT_BASE_URL": world.hubspot,
        "AWSSOME_HUBSPOT_CLIENT_ID": client_id,
        "AWSSOME_HUBSPOT_CLIENT_SECRET": client_secret,
        "AWSSOME_AWS_ROLE_TEMPLATE_URL": "https://awssome-templates.s3.amazonaws.com/tenant-role.yaml",
        "AWSSOME_AWS_PRINCIPAL_ARN": PRINCIPAL,
        "AWSSOME_AWS_CONSOLE_URL": f"{world.aws}/_sandbox/quick-create",
        "AWSSOME_RDS_ENGINE": "postgres",
        "AWSSOME_RDS_CLASS": "db.t3.medium",
        "AWS_ENDPOINT_URL": world.aws,
        "AWS_ACCESS_KEY_ID": "demo",
        "AWS_SECRET_ACCESS_KEY": "demo",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    database = [sys.executable, "-m", "awssome.cli", "serve", "database"]
    options = {
        "hubspot": ["--deals", str(deals), "--app", f"{client_id}:{client_secret}:{callback}"],
        "aws": ["--rds-seconds", str(RDS_SECONDS), "--database-command", shlex.join(database)],
        "mail": ["--smtp-port", str(ports["smtp"])],
    }
    for name in _SANDBOXES:
        command = [sys.executable, "-m", "awssome.cli", "sandbox", name, "--port", str(ports[name]), *options[name]]
        yield Child(name, command, base, log=logs / f"{name}.log", piped=True)
    for name in ("management", "worker", "portal"):
        command = [sys.executable, "-m", "awssome.cli", "serve", name]
        yield Child(name, command, ours, log=logs / f"{name}.log")


def _environment() -> dict[str, str]:
    """Ours, without settings of another installation and of a real AWS account; loopback is never proxied."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWSSOME_", "AWS_", "BOTO_"))}
    return {**kept, "NO_PROXY": "localhost,127.0.0.1", "no_proxy": "localhost,127.0.0.1"}


def _claim(port: int) -> socket.socket:
    """A claim on the port, or on another one when it is taken on loopback.

    The part that is to listen there needs a moment to start. Until then, and for as long as it is open, the UDP socket
    of the same number tells other demos that the port is taken.
    """
    while True:
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(claim.getsockname())
            return claim
        except OSError:
            claim.close()
            port = 0


def _healthy(http: httpx2.Client, url: str) -> bool:
    try:
        return http.get(f"{url.rstrip('/')}/healthz").is_success
    except httpx2.HTTPError:
        return False
