"""A worker's process that runs one sync, for tests that kill it: settings come as one JSON object in the argument."""

from __future__ import annotations

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
from awssome.workflows import sync
from awssome.workflows.archive_store import Directory
from awssome.workflows.queue import Queue
from awssome.workflows.services import Services


def main() -> None:
    """Run it to its end."""
    given = json.loads(sys.argv[1])
    services = Services(
        registry=Registry(given["registry"], connections=4),
        keys=Keys.from_text(given["secret_key"]),
        sessions=Sessions(budget=4),
        queue=Queue(),
        hubspot=app_for(given["hubspot"], given["client_id"], given["client_secret"], given["redirect_uri"]),
        roles=Roles(template_url="https://example.com/awssome-role.yaml"),
        addresses=Addresses("localhost", 8000, secure=False),
        archives=Directory(Path("/nonexistent")),
    )
    sync.run(services, UUID(given["tenant_id"]), UUID(given["sync_id"]), lambda: False)


if __name__ == "__main__":
    main()
