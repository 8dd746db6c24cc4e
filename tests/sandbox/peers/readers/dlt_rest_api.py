"""dlt's `rest_api` source, in its own words for HubSpot's paging."""

from __future__ import annotations

from dlt.sources.rest_api import rest_api_resources
from reading import arguments, tell

url, token = arguments()


def read(name, path, **more):
    endpoint = {"path": path, "data_selector": "results", **more}
    paging = {"type": "cursor", "cursor_path": "paging.next.after", "cursor_param": "after"}
    client = {"base_url": f"{url}/crm", "auth": {"type": "bearer", "token": token}, "paginator": paging}
    return list(rest_api_resources({"client": client, "resources": [{"name": name, "endpoint": endpoint}]})[0])


names = ",".join(definition["name"] for definition in read("properties", "properties/2026-03/deals"))


def deals(archived):
    query = {"limit": 100, "properties": names, "archived": archived}
    return {deal["id"]: deal["properties"] for deal in read("deals", "objects/2026-03/deals", params=query)}


tell(live=deals("false"), archived=deals("true"), owners=[o["email"] for o in read("owners", "owners/2026-03/")])
