"""Which hosts the portal answers: one for all free tenants, one for each paid tenant, the bare domain for HubSpot."""

from __future__ import annotations

import re
from ipaddress import ip_address

from starlette.datastructures import URL
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from awssome.domain.addresses import Addresses

CALLBACK = "/hubspot/callback"
"""HubSpot knows one redirect address; it is on the bare domain and nowhere else."""

_ANYWHERE = ("/healthz", "/metrics")

_LABEL = re.compile(r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?\Z")


class Hosts:
    """Sends the bare domain's visitors to the free tenants' host, and answers nothing on a host that is not ours."""

    def __init__(self, app: ASGIApp, addresses: Addresses) -> None:
        self.app = app
        self.addresses = addresses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not is_anywhere(scope["path"]):
            host = HTTPConnection(scope).headers.get("host", "")
            label = "" if _is_loopback(host) else self.addresses.label(host)
            if label is None or (label and not _LABEL.match(label)):
                raise HTTPException(404)
            if label and scope["path"] == CALLBACK:
                raise HTTPException(404)
            if not label and scope["path"] != CALLBACK:
                await self._send_on(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _send_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(404)
        here = URL(scope=scope)
        path = here.path + (f"?{here.query}" if here.query else "")
        await RedirectResponse(self.addresses.url(self.addresses.shared(), path), 302)(scope, receive, send)


def is_anywhere(path: str) -> bool:
    """Whether a path is no tenant's: answered on every host, and not counted."""
    return path in _ANYWHERE or path.startswith("/static/")


def _is_loopback(host: str) -> bool:
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
