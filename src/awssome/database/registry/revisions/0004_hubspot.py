"""HubSpot that can be trusted: budgets that answers correct, installs that begin at HubSpot, keys that rotate."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

from awssome.database.types import Day, Instant

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Only ever adds: the version before works on."""
    op.add_column("hubspot_budgets", sa.Column("slots", ARRAY(Instant())))
    op.add_column("hubspot_budgets", sa.Column("max_calls", sa.Integer()))
    op.add_column("hubspot_budgets", sa.Column("window_ms", sa.Integer()))
    op.add_column("hubspot_budgets", sa.Column("blocked_until", Instant()))
    op.add_column("hubspot_budgets", sa.Column("limited", sa.BigInteger()))
    op.add_column("hubspot_budgets", sa.Column("day", Day()))
    op.add_column("hubspot_budgets", sa.Column("day_calls", sa.BigInteger()))
    op.add_column("oauth_states", sa.Column("origin", sa.Unicode(length=16)))
    op.add_column("oauth_states", sa.Column("return_url", sa.Unicode(length=2000)))
    op.create_table(
        "hubspot_installs",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("return_url", sa.Unicode(length=2000), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("claimed_at", Instant()),
        sa.Column("claimed_by", sa.Uuid()),
        sa.ForeignKeyConstraint(["claimed_by"], ["tenants.id"], name=op.f("hubspot_installs_claimed_by_fk")),
        sa.PrimaryKeyConstraint("digest", name=op.f("hubspot_installs_pk")),
    )
    op.add_column("tenants", sa.Column("data_key_under", sa.Unicode(length=255)))
    op.create_index("tenants_data_key_under", "tenants", ["data_key_under", "id"])
