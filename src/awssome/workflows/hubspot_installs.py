"""Installing the app from HubSpot's side: in its Marketplace, and not with our button.

HubSpot sends the browser to our one redirect address, in one of two ways (docs: list apps, understand app install
flow). Either it asks who is there (`step=authorize`): the user signs in, chooses a workspace, and goes back with a
state like that of our own button (`hubspot_connection.authorize`). Or it comes with the code at once, and no state.
Such a code may be anybody's who has had the browser follow a link: it waits here, sealed, until somebody who is signed
in says that this HubSpot account is to be connected to this workspace.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from awssome.database import Connection
from awssome.database.registry import hubspot as registered
from awssome.domain.errors import Code, Refused
from awssome.domain.secrets import Keys, digest, new_token
from awssome.hubspot import oauth
from awssome.hubspot.errors import HubSpotError
from awssome.hubspot.oauth import App, Tokens
from awssome.workflows.hubspot_connection import Connected, keep_tokens
from awssome.workflows.services import Services


@dataclass(frozen=True)
class Waiting:
    """An installation that waits for somebody to say which workspace it is for.

    :ivar hub_domain: the account's name; "": HubSpot did not say.
    :ivar return_url: where HubSpot wants the browser back.
    """

    portal_id: int | None
    hub_domain: str
    return_url: str


def begin(connection: Connection, keys: Keys, app: App, *, code: str, return_url: str) -> str:
    """Keep a code that came without a state; the token by which its user finds it again.

    :param connection: of the registry.
    :raises Refused: INVALID when the address to return to is not HubSpot's.
    """
    oauth.check_return_url(app, return_url)
    token = new_token()
    sealed = keys.seal_install(json.dumps({"code": code}))
    registered.new_install(connection, digest(token), sealed=sealed, return_url=return_url)
    return token


def look(services: Services, token: str) -> Waiting:
    """Whose installation it is. The code is exchanged for that, because it does not live long; nothing is connected.

    :raises Refused: GONE for one that is unknown, too old or was used; what `oauth.exchange` raises.
    """
    with _alone(services, token) as install:
        tokens, hub_domain = _exchanged(services, token, install)
        return Waiting(tokens.hub_id, hub_domain, install.return_url)


def claim(services: Services, token: str, *, tenant_id: UUID, connected_by: str) -> Connected:
    """Connect the account to the tenant, as its user has said. It works once.

    :raises Refused: as `look` and `hubspot_connection.keep_tokens`; it can be claimed for another workspace then.
    """
    with _alone(services, token) as install:
        tokens, _ = _exchanged(services, token, install)
        connected = keep_tokens(services, tenant_id, connected_by, tokens, install.return_url)
        with services.registry.begin() as connection:
            registered.claim_install(connection, digest(token), tenant_id)
    return connected


@contextmanager
def _alone(services: Services, token: str) -> Iterator[registered.Install]:
    """The installation, for one at a time: a code works once."""
    with services.registry.holding(f"hubspot install:{digest(token).hex()}") as held:
        if not held:
            raise Refused(
                Code.UNAVAILABLE,
                "This installation is being worked on already. Nothing was changed.",
                "Load the page again in a few seconds.",
                retry_after=2,
            )
        with services.registry.begin() as connection:
            install = registered.find_install(connection, digest(token))
        yield install


def _exchanged(services: Services, token: str, install: registered.Install) -> tuple[Tokens, str]:
    """The tokens for its code, which are kept sealed in its place, and the account's name."""
    kept = json.loads(services.keys.unseal_install(install.sealed))
    if "tokens" in kept:
        return Tokens.model_validate(kept["tokens"]), kept["hub_domain"]
    tokens = oauth.exchange(services.hubspot, kept["code"])
    try:
        hub_domain = oauth.introspect(services.hubspot, tokens.access_token).hub_domain
    except HubSpotError:
        hub_domain = ""
    kept = {"tokens": tokens.model_dump(mode="json"), "hub_domain": hub_domain}
    with services.registry.begin() as connection:
        registered.keep_install(connection, digest(token), services.keys.seal_install(json.dumps(kept)))
    return tokens, hub_domain
