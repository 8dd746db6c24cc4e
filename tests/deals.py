"""A deal registration as tests write it that look at the database below the queries."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import insert

from awssome.database import Connection
from awssome.database.schema import deal_events, deal_registrations
from awssome.domain.times import now

ACTOR = "bob@example.com"


def write_a_deal(connection: Connection, deal_id: UUID, title: str) -> None:
    """A registration with its event, which has the same id: both or none."""
    connection.execute(
        insert(deal_registrations).values(
            id=deal_id,
            source="manual",
            title=title,
            stage="Prospect",
            edited_fields=[],
            ready=False,
            version=1,
            created_at=now(),
            updated_at=now(),
            updated_by=ACTOR,
        )
    )
    connection.execute(
        insert(deal_events).values(
            id=deal_id, registration_id=deal_id, at=now(), kind="created", actor=ACTOR, changes={"title": title}
        )
    )
