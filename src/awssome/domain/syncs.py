"""Syncs, the connection to HubSpot, and the links between HubSpot deals and registrations: their states."""

from __future__ import annotations

from enum import StrEnum


class SyncState(StrEnum):
    """How far a sync is. An interrupted one stays `running`: its job goes on where it was."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class IssueKind(StrEnum):
    """What a sync has to tell about a deal."""

    LEFT_OUT = "left_out"
    """Not imported, because the plan has no room for it. One issue tells of all of them."""

    FAILED = "failed"
    """Could not be imported."""

    INCOMPLETE = "incomplete"
    """Imported, but a value of HubSpot's could not be taken over."""


class ConnectionState(StrEnum):
    """The connection to HubSpot, as the tenant's schema has it."""

    CONNECTED = "connected"
    RECONNECT = "reconnect"
    """HubSpot no longer takes our tokens: somebody has to connect again."""

    DISCONNECTED = "disconnected"


class MappingState(StrEnum):
    """The HubSpot end of a mapping."""

    LIVE = "live"
    ARCHIVED = "archived"
    """Deleted in HubSpot; the registration is archived."""

    MERGED = "merged"
    """Merged into another deal, which has the only live mapping."""


class Superseded(Exception):
    """Another worker has taken the sync up since, or it has ended: this one has to stop."""
