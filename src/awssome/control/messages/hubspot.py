"""Connecting to HubSpot."""

from __future__ import annotations

from pydantic import Field

from awssome.control.messages.base import Body


class AuthorizeIn(Body):
    """Begin to connect. `return_url`: HubSpot's page, for somebody who began to install the app there."""

    return_url: str | None = None


class AuthorizeOut(Body):
    """Where to send the browser, to HubSpot's consent page or back to an installation there."""

    url: str


class CallbackIn(Body):
    """What HubSpot's redirect carried, without the code: only the state is checked here."""

    state: str


class CallbackOut(Body):
    """The host[:port] where the user started."""

    host: str


class ConnectIn(Body):
    """State and code, brought by the session that started. `return_url`: HubSpot's, for who began there."""

    state: str
    code: str
    return_url: str | None = None


class ConnectedOut(Body):
    """The account that is connected now. `return_url`: where HubSpot wants the browser back, if it began there."""

    portal_id: int
    hub_domain: str
    return_url: str | None = None


class DeclineIn(Body):
    """HubSpot sent the user back without a code. `error`: its word for why, as far as it is one."""

    state: str
    error: str = Field("", max_length=64)


class InstallIn(Body):
    """A code that came from HubSpot without a state of ours, and where it wants the browser back."""

    code: str = Field(min_length=1, max_length=2_000)
    return_url: str


class InstallRef(Body):
    """An installation that waits, by the token that its user's browser has."""

    install: str


class InstallOut(Body):
    """The HubSpot account of an installation that waits."""

    portal_id: int | None
    hub_domain: str
    return_url: str
