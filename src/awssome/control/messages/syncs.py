"""Syncs."""

from __future__ import annotations

from uuid import UUID

from awssome.control.messages.base import Body


class SyncOut(Body):
    """A sync that was accepted."""

    sync_id: UUID
