"""The job queue's own tables, in the same database as the registry, so that a job commits with what it is about."""

from alembic import context, op

from awssome.database.registry import driver_connection

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Run the SQL that procrastinate ships; the composition root hands it in, since this room does not import it."""
    driver_connection(op.get_bind()).execute(context.config.attributes["jobs_schema"])
