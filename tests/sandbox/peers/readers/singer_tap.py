"""`tap-hubspot`, the first of the Singer taps: it reads deals by version 1."""

from __future__ import annotations

import contextlib
import io
import json

import tap_hubspot
from reading import arguments, redirect, tell

url, token = arguments()
redirect(url)
tap_hubspot.CONFIG.update(api_key=token, start_date="2000-01-01T00:00:00Z", select_fields_by_default=True)

streams = []
for stream in tap_hubspot.STREAMS:
    if stream.tap_stream_id in ("deals", "owners", "deal_pipelines"):
        schema, metadata = tap_hubspot.load_discovered_schema(stream)
        for entry in metadata:
            entry["metadata"]["selected"] = True
        name = stream.tap_stream_id
        streams.append({"stream": name, "tap_stream_id": name, "schema": schema, "metadata": metadata})
out = io.StringIO()
with contextlib.redirect_stdout(out):
    tap_hubspot.do_sync({}, {"streams": streams})
records = {stream["stream"]: [] for stream in streams}
for message in map(json.loads, out.getvalue().splitlines()):
    if message["type"] == "RECORD":
        records[message["stream"]].append(message["record"])


def values(deal):
    """What the tap tells of a deal; a value that it does not tell is empty."""
    return {
        name.removeprefix("property_"): value["value"]
        for name, value in deal.items()
        if name.startswith("property_") and value["value"] is not None
    }


tell(
    live={str(deal["dealId"]): values(deal) for deal in records["deals"]},
    contacts={
        str(deal["dealId"]): [str(id_) for id_ in deal["associations"]["associatedVids"]]
        for deal in records["deals"]
        if deal["associations"]["associatedVids"]
    },
    stages=[stage["stageId"] for pipeline in records["deal_pipelines"] for stage in pipeline["stages"]],
    owners=[owner["email"] for owner in records["owners"]],
)
