"""Sandboxes as they run for everybody: processes of their own, reached over HTTP."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

CLIENT_ID, SECRET, REDIRECT = "app-one", "secret-one", "http://localhost:9001/hubspot/callback"
SCOPES = "oauth crm.objects.deals.read"
APP = f"{CLIENT_ID}:{SECRET}:{REDIRECT}"
DEALS = "/crm/objects/2026-03/deals"
NORTHWIND, TAILSPIN, WINGTIP, EMPTY = 4128831, 5203377, 6117042, 7390265


@contextmanager
def running(module: str, *arguments: str) -> Iterator[dict[str, Any]]:
    """A sandbox's process; gives what its first line of output says, and expects a clean end."""
    command = [sys.executable, "-m", f"awssome_sandbox.{module}", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            yield json.loads(line)
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)  # database servers behind it end first
    assert (process.returncode, errors) == (0, "")


@dataclass
class HubSpot:
    """A client of a HubSpot sandbox that plays the person, the app and the tester."""

    http: httpx2.Client

    def consent(
        self, portal_id: int = NORTHWIND, *, scope: str = SCOPES, client_id: str = CLIENT_ID, **more: str
    ) -> str:
        """Allow the app as a person does; the address that the browser is sent to."""
        form = {"client_id": client_id, "redirect_uri": REDIRECT, "scope": scope, "state": "the state", **more}
        answer = self.http.post("/oauth/authorize", data={"portal_id": str(portal_id), "decision": "allow", **form})
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    def code(self, portal_id: int = NORTHWIND, **more: str) -> str:
        return parse_qs(urlsplit(self.consent(portal_id, **more)).query)["code"][0]

    def token(self, version: str = "2026-03", /, **form: str) -> httpx2.Response:
        """Ask the token endpoint, as the app unless told otherwise."""
        fields = {"client_id": CLIENT_ID, "client_secret": SECRET, **form}
        return self.http.post(f"/oauth/{version}/token", data={k: v for k, v in fields.items() if v})

    def exchange(self, code: str, **more: str) -> httpx2.Response:
        return self.token(grant_type="authorization_code", code=code, redirect_uri=REDIRECT, **more)

    def refresh(self, refresh_token: str) -> httpx2.Response:
        return self.token(grant_type="refresh_token", refresh_token=refresh_token)

    def connect(self, portal_id: int = NORTHWIND, **more: str) -> dict[str, Any]:
        """Consent and exchange: the token answer."""
        answer = self.exchange(self.code(portal_id, **more))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def bearer(self, portal_id: int = NORTHWIND, **more: str) -> dict[str, str]:
        """The header of a freshly connected portal."""
        return {"Authorization": f"Bearer {self.connect(portal_id, **more)['access_token']}"}

    def control(self, method: str, path: str, body: object = None) -> Any:
        answer = self.http.request(method, f"/_sandbox/{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json()


Start = Callable[..., HubSpot]


@pytest.fixture(scope="module")
def start_hubspot() -> Iterator[Start]:
    """Starts HubSpot sandboxes that live as long as the module's tests."""
    with ExitStack() as stack:

        def start(*arguments: str) -> HubSpot:
            url = stack.enter_context(running("hubspot", "--app", APP, *arguments))["url"]
            return HubSpot(stack.enter_context(httpx2.Client(base_url=url, timeout=10)))

        yield start


def point_aws_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The AWS SDK finds the sandbox by its own settings."""
    for name, value in {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
