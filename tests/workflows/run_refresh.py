"""A worker's process that takes the access token once it is told to, for tests of two of them: prints its digest."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from uuid import UUID

from awssome.aws.roles import Roles
from awssome.database.registry import Registry
from awssome.database.sessions import Sessions
from awssome.domain.addresses import Addresses
from awssome.domain.secrets import Keys
from awssome.hubspot.oauth import app_for
from awssome.workflows.archive_store import Directory
from awssome.workflows.hubspot_access import HubSpotAccess
from awssome.workflows.queue import Queue
from awssome.workflows.services import Services
from awssome.workflows.workspace import Workspace


def main() -> None:
    """Say that it is ready, wait for a line, take the token."""
    given = json.loads(sys.argv[1])
    services = Services(
        registry=Registry(given["registry"], connections=2),
        keys=Keys.from_text(given["secret_key"]),
        sessions=Sessions(budget=2),
        queue=Queue(),
        hubspot=app_for(given["hubspot"], given["client_id"], given["client_secret"], given["redirect_uri"]),
        roles=Roles(template_url="https://example.com/awssome-role.yaml"),
        addresses=Addresses("localhost", 8000, secure=False),
        archives=Directory(Path("/nonexistent")),
    )
    access = HubSpotAccess(services, Workspace(services, UUID(given["tenant_id"])))
    print("ready", flush=True)
    sys.stdin.readline()
    print(hashlib.sha256(access.token().encode()).hexdigest(), flush=True)


if __name__ == "__main__":
    main()
