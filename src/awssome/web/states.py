"""The words of state that pages show, each with its tone and icon, so that the same state looks the same everywhere."""

from __future__ import annotations

from typing import Literal, NamedTuple

Tone = Literal["neutral", "accent", "good", "warn", "bad"]


class State(NamedTuple):
    """How a state is shown. The tone never stands alone: there is always the word."""

    word: str
    tone: Tone = "neutral"
    icon: str = "dot"


STATES: dict[str, State] = {
    # tenants, accounts, servers
    "pending": State("Pending", "warn", "clock"),
    "provisioning": State("Being set up", "accent", "running"),
    "active": State("Active", "good", "check"),
    "suspended": State("Suspended", "bad", "pause"),
    "deleted_kept": State("Deleted, kept", "neutral", "archive"),
    "moving": State("Moving", "accent", "running"),
    "draining": State("Being drained", "accent", "running"),
    "closed": State("Closed", "neutral", "lock"),
    "open": State("Open", "good", "check"),
    "deleted": State("Deleted", "neutral", "cross"),
    "healthy": State("Healthy", "good", "check"),
    "degraded": State("Degraded", "warn", "warning"),
    "down": State("Down", "bad", "cross"),
    "unknown": State("Unknown", "neutral", "clock"),
    # syncs, jobs, moves
    "queued": State("Queued", "neutral", "clock"),
    "running": State("Running", "accent", "running"),
    "paused": State("Paused", "warn", "pause"),
    "done": State("Done", "good", "check"),
    "succeeded": State("Succeeded", "good", "check"),
    "failed": State("Failed", "bad", "cross"),
    "interrupted": State("Interrupted", "warn", "warning"),
    "cancelled": State("Cancelled", "neutral", "cross"),
    "rolled_back": State("Rolled back", "warn", "back"),
    # connections, readiness, evidence
    "connected": State("Connected", "good", "check"),
    "disconnected": State("Not connected", "neutral", "cross"),
    "ready": State("Ready", "good", "check"),
    "incomplete": State("Needs an answer", "warn", "warning"),
    "not_submitted": State("Not submitted", "neutral", "clock"),
    "equal": State("Equal", "good", "check"),
    "different": State("Different", "bad", "cross"),
    "archived": State("Archived", "neutral", "archive"),
    # tiers
    "free": State("Free", "neutral", "dot"),
    "paid": State("Paid", "accent", "dot"),
}
