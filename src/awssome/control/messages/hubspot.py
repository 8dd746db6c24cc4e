"""Connecting to HubSpot."""

from __future__ import annotations

from awssome.control.messages.base import Body


class AuthorizeOut(Body):
    """Where to send the browser for HubSpot's consent page."""

    url: str


class CallbackIn(Body):
    """What HubSpot's redirect carried, without the code: only the state is checked here."""

    state: str


class CallbackOut(Body):
    """The host[:port] where the user started."""

    host: str


class ConnectIn(Body):
    """State and code, brought by the session that started."""

    state: str
    code: str
