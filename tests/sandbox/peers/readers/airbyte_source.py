"""Airbyte's `source-hubspot`: deals with their associations, archived ones, and an incremental run by search."""

from __future__ import annotations

import logging

from airbyte_cdk.models import (
    AirbyteStateBlob,
    AirbyteStateMessage,
    AirbyteStateType,
    AirbyteStreamState,
    ConfiguredAirbyteCatalog,
    ConfiguredAirbyteStream,
    DestinationSyncMode,
    StreamDescriptor,
    SyncMode,
    Type,
)
from reading import arguments, redirect, tell
from source_hubspot import SourceHubspot

url, token = arguments()
redirect(url)
config = {
    "start_date": "2000-01-01T00:00:00Z",
    "credentials": {"credentials_title": "Private App Credentials", "access_token": token},
}
log = logging.getLogger("airbyte")


def extract(names, mode=SyncMode.full_refresh, state=None):
    streams = [
        ConfiguredAirbyteStream(
            stream=stream.as_airbyte_stream(), sync_mode=mode, destination_sync_mode=DestinationSyncMode.append
        )
        for stream in SourceHubspot(None, config, state).streams(config)
        if stream.name in names
    ]
    catalog = ConfiguredAirbyteCatalog(streams=streams)
    records = {name: [] for name in names}
    for message in SourceHubspot(catalog, config, state).read(log, config, catalog, state or []):
        if message.type is Type.RECORD:
            records[message.record.stream].append(message.record.data)
    return records


def values(records):
    return {
        record["id"]: {
            name.removeprefix("properties_"): value for name, value in record.items() if name.startswith("properties_")
        }
        for record in records
    }


full = extract(["deals", "deals_archived", "owners", "deal_pipelines"])
since = AirbyteStateMessage(
    type=AirbyteStateType.STREAM,
    stream=AirbyteStreamState(
        stream_descriptor=StreamDescriptor(name="deals"),
        stream_state=AirbyteStateBlob({"updatedAt": "2000-01-02T00:00:00.000000Z"}),
    ),
)
changed = extract(["deals"], SyncMode.incremental, [since])
tell(
    live=values(full["deals"]),
    archived=values(full["deals_archived"]),
    searched=values(changed["deals"]),
    contacts={deal["id"]: deal["contacts"] for deal in full["deals"] if deal.get("contacts")},
    stages=[stage["stageId"] for pipeline in full["deal_pipelines"] for stage in pipeline["stages"]],
    owners=[owner["email"] for owner in full["owners"]],
)
