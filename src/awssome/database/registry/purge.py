"""Taking out what has been useless for long: the registry must not grow with every visit."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, text
from sqlalchemy.engine import Connection

from awssome.database.registry import usage
from awssome.database.registry.tables import attempts, email_links, handovers, oauth_states, sessions
from awssome.domain.times import now

KEPT = timedelta(days=30)
"""How long ended sessions, links and failed jobs are kept for whoever has to find out what happened."""


def purge(connection: Connection) -> None:
    """Delete sessions, links, tickets, states, counts of attempts, failed jobs and figures that ended long ago."""
    at = now()
    for table in (sessions, email_links, handovers, oauth_states):
        connection.execute(delete(table).where(table.c.expires_at < at - KEPT))
    usage.purge(connection, at)
    connection.execute(delete(attempts).where(attempts.c.window_start < at - timedelta(days=1)))
    connection.execute(
        text(
            "DELETE FROM procrastinate_jobs j WHERE j.status IN ('failed', 'cancelled', 'aborted') AND "
            "(SELECT max(e.at) FROM procrastinate_events e WHERE e.job_id = j.id) < :before"
        ),
        {"before": at - KEPT},
    )
