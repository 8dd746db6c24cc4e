"""Rows that checks put into scratch workspaces."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.engine import Connection

from awssome.database.schema import deal_events, deal_registrations, hubspot_tokens, tenant_keys
from awssome.domain.times import new_id, now


def registration(title: str, **values: Any) -> dict[str, Any]:
    """A row of `deal_registrations`: what must not be NULL, and the values given."""
    at = now()
    return {
        "id": new_id(),
        "source": "manual",
        "title": title,
        "stage": "Prospect",
        "edited_fields": [],
        "ready": False,
        "version": 1,
        "created_at": at,
        "updated_at": at,
        "updated_by": "verification",
    } | values


def event(registration_id: UUID, changes: dict[str, Any]) -> dict[str, Any]:
    """A row of `deal_events`."""
    return {
        "id": new_id(),
        "registration_id": registration_id,
        "at": now(),
        "kind": "created",
        "actor": "verification",
        "changes": changes,
    }


def furnish(connection: Connection, mark: str) -> None:
    """Put a deal, its event, tokens and a key into a workspace. :param mark: the deal's title."""
    deal = registration(mark)
    connection.execute(insert(deal_registrations).values(deal))
    connection.execute(insert(deal_events).values(event(deal["id"], {"title": mark})))
    connection.execute(insert(hubspot_tokens).values(token(access_token=mark.encode())))
    connection.execute(
        insert(tenant_keys).values(id=new_id(), key_id="k1", wrapped_key=mark.encode(), created_at=now())
    )


def token(**values: Any) -> dict[str, Any]:
    """A row of `hubspot_tokens`: what must not be NULL, and the values given."""
    return {
        "id": 1,
        "state": "connected",
        "portal_id": 1,
        "hub_domain": "example.com",
        "scopes": "",
        "connected_at": now(),
        "connected_by": "verification",
        "imports": 0,
    } | values
