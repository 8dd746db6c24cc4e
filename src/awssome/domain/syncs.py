"""Syncs, the connection to HubSpot, and the links between HubSpot deals and registrations: their states."""

from __future__ import annotations

from enum import StrEnum


class SyncState(StrEnum):
    """How far a sync is. An interrupted one stays `running`: its job goes on where it was."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    """A user has ended it; what came in until then stays."""


class SyncKind(StrEnum):
    """What a run is for."""

    IMPORT = "import"
    """Brings deals in."""

    PREVIEW = "preview"
    """Shows what an import would do, and writes no registration."""

    RETRY = "retry"
    """Tries the deals again that stand in the inbox."""


PREVIEW_TOLD = 500
"""Deals that a preview tells of one by one; the others are counted."""


class SyncMode(StrEnum):
    """Which deals an import looks at."""

    FIRST_TEN = "first_ten"
    """The few that the free tier has room for."""

    FULL = "full"
    """Every deal of the HubSpot account."""

    INCREMENTAL = "incremental"
    """What has changed in HubSpot since the last run."""


class IssueKind(StrEnum):
    """What a sync has to tell about a deal."""

    LEFT_OUT = "left_out"
    """Not imported, because the plan has no room for it. One issue tells of all of them."""

    FAILED = "failed"
    """Could not be imported."""

    INCOMPLETE = "incomplete"
    """Imported, but a value of HubSpot's could not be taken over."""

    SKIPPED = "skipped"
    """Left out, because the tenant's mapping says so."""

    WOULD_CREATE = "would_create"
    """A preview's: an import would make a registration of it."""

    WOULD_UPDATE = "would_update"
    """A preview's: an import would change its registration."""


class FailureState(StrEnum):
    """What has become of a deal that could not be imported."""

    OPEN = "open"
    RETRYING = "retrying"
    RESOLVED = "resolved"
    """A later run could import it, or it is gone."""

    DISMISSED = "dismissed"
    """A user does not want to be told of it."""


class ConnectionState(StrEnum):
    """The connection to HubSpot, as the tenant's schema has it."""

    CONNECTED = "connected"
    RECONNECT = "reconnect"
    """HubSpot no longer takes our tokens: somebody has to connect again."""

    DISCONNECTED = "disconnected"


class LostReason(StrEnum):
    """Why HubSpot no longer lets us in."""

    REVOKED = "revoked"
    """It no longer takes our refresh token: the access was withdrawn, or given to a newer consent."""

    UNINSTALLED = "uninstalled"
    """The app was removed from the HubSpot account."""

    SCOPES = "scopes"
    """The access lacks a permission that Awssome needs. The tokens are good, and kept to be given back."""


class MappingState(StrEnum):
    """The HubSpot end of a mapping."""

    LIVE = "live"
    ARCHIVED = "archived"
    """Deleted in HubSpot; the registration is archived."""

    MERGED = "merged"
    """Merged into another deal, which has the only live mapping."""

    UNFOLLOWED = "unfollowed"
    """The plan has no room for it any more: the registration stays as it is, and no sync looks at the deal."""


class Superseded(Exception):
    """Another worker has taken the sync up since, or it has ended: this one has to stop."""
