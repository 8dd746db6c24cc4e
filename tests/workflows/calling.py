"""A worker's process that calls HubSpot within an account's budget; settings come as one JSON object."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor

from awssome.database.registry import Registry
from awssome.hubspot.client import Client
from awssome.hubspot.limits import LIMITS
from awssome.hubspot.models import Search
from awssome.workflows.hubspot_budgets import Share


def main() -> None:
    """List and search at the same time, as often as asked; say how many calls that took and how many failed."""
    given = json.loads(sys.argv[1])
    client = Client(
        given["hubspot"],
        access_token=lambda *, force=False: given["token"],
        budget=Share(Registry(given["registry"], connections=2), LIMITS, given["portal_id"]),
        should_stop=lambda: False,
    )
    with client, ThreadPoolExecutor(2) as threads:
        lists = threads.submit(lambda: [client.list_deals(limit=1) for _ in range(given["lists"])])
        searches = threads.submit(lambda: [client.search_deals(Search(limit=1)) for _ in range(given["searches"])])
        lists.result(), searches.result()
    print(json.dumps({"calls": client.calls, "failed": client.failed}))


if __name__ == "__main__":
    main()
