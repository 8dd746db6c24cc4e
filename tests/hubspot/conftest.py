"""The HubSpot sandbox as a process of its own, and a client that talks to it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from awssome.domain.budgets import Told
from awssome.hubspot import oauth
from awssome.hubspot.client import Answered, Client
from awssome.hubspot.oauth import App, Tokens

REDIRECT = "http://localhost:8000/hubspot/callback"
NORTHWIND, TAILSPIN, WINGTIP, EMPTY = 4128831, 5203377, 6117042, 7390265
DEALS = 250
SECRET = "s3cret-of-the-app"


@dataclass
class Sandbox:
    """A running sandbox, and its control API."""

    url: str
    http: httpx2.Client

    def order(self, path: str, **body: Any) -> dict[str, Any]:
        """POST to the control API."""
        return dict(self.http.post(f"/_sandbox/{path}", json=body).raise_for_status().json())

    def statuses(self, endpoint: str) -> dict[str, int]:
        """How often an endpoint answered with each status since the test began."""
        return dict(self.http.get("/_sandbox/stats").json()["endpoints"].get(endpoint, {}))

    def app(self, secret: str = SECRET) -> App:
        """Our app, as it is registered here."""
        return oauth.app_for(self.url, "awssome-app", secret, REDIRECT)

    def consent(self, portal_id: int, state: str = "state-1", decision: str = "allow") -> dict[str, str]:
        """Consent as a user does, on the page that `authorize_url` leads to: what comes back in the redirect."""
        address = oauth.authorize_url(self.app(), state)
        assert self.http.get(address).status_code == 200
        form = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        page = address.partition("?")[0]
        answer = self.http.post(page, data={**form, "portal_id": str(portal_id), "decision": decision})
        assert answer.status_code == 303
        back = urlsplit(answer.headers["location"])
        assert f"{back.scheme}://{back.netloc}{back.path}" == REDIRECT
        return {name: values[0] for name, values in parse_qs(back.query).items()}

    def connect(self, portal_id: int = NORTHWIND) -> Tokens:
        """Tokens of a portal."""
        return oauth.exchange(self.app(), self.consent(portal_id)["code"])

    def client(self, portal_id: int = NORTHWIND, **settings: Any) -> Client:
        """A client of a portal, without a budget and without refreshing unless `settings` say so."""
        token = self.connect(portal_id).access_token
        defaults = {"access_token": lambda *, force=False: token, "budget": Spending(), "should_stop": lambda: False}
        return Client(self.url, **{**defaults, **settings})


class Spending:
    """A budget that never ends, and remembers what was taken and told."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.told: list[Told | None] = []
        self.rests: list[float | None] = []
        self.closed = False

    def take(self, kind: str) -> Answered:
        self.taken.append(kind)
        return self._answered

    def _answered(self, told: Told | None, rest: float | None) -> None:
        self.told.append(told)
        self.rests.append(rest)

    def close(self) -> None:
        self.closed = True


@contextmanager
def sandboxes() -> Iterator[Callable[..., Sandbox]]:
    """Starts sandboxes, with more options if need be, that end with the block."""
    processes: list[subprocess.Popen[str]] = []
    clients: list[httpx2.Client] = []

    def start(*options: str) -> Sandbox:
        app = f"awssome-app:{SECRET}:{REDIRECT}"
        command = [sys.executable, "-m", "awssome_sandbox.hubspot", "--port", "0", "--seed", "7", "--app", app]
        process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout
        url = json.loads(process.stdout.readline())["url"]
        clients.append(httpx2.Client(base_url=url, trust_env=False))
        return Sandbox(url, clients[-1])

    try:
        yield start
    finally:
        for client in clients:
            client.close()
        for process in processes:
            process.terminate()
    for process in processes:
        assert process.wait(10) == 0
        assert process.stdout
        process.stdout.close()


@pytest.fixture(scope="session")
def start_sandbox() -> Iterator[Callable[..., Sandbox]]:
    """Starts sandboxes that end with the session."""
    with sandboxes() as start:
        yield start


@pytest.fixture(scope="session")
def running_sandbox(start_sandbox: Callable[..., Sandbox]) -> Sandbox:
    return start_sandbox("--deals", str(DEALS), "--rate-limit", "off")


@pytest.fixture
def sandbox(running_sandbox: Sandbox) -> Sandbox:
    """A sandbox without rate limits, without faults and with counts at zero."""
    running_sandbox.http.delete("/_sandbox/faults")
    running_sandbox.http.delete("/_sandbox/stats")
    running_sandbox.order("tokens/rotation", on=False)
    return running_sandbox
