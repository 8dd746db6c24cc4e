"""Ten thousand tenants: archives and restores, use by tenant and server, alerts, more states of a tenant."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from awssome.database.types import Day, Instant

revision = "0003"
down_revision = "0002"

_STATES = ("pending", "active", "suspended", "archived", "retained", "deleted")


def upgrade() -> None:
    """Only ever adds: the version before works on."""
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")  # the database's owner may: it is a trusted extension
    op.drop_constraint(op.f("tenants_state"), "tenants", type_="check")
    op.create_check_constraint(op.f("tenants_state"), "tenants", f"state IN {_STATES}")
    op.add_column("tenants", sa.Column("seen_at", Instant()))
    op.add_column("tenants", sa.Column("retain_until", Instant()))
    op.add_column("tenants", sa.Column("mover", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute("UPDATE tenants SET seen_at = now()")  # nobody is dormant because nobody looked before
    op.add_column("placements", sa.Column("problem", sa.Unicode(length=500)))
    op.add_column("servers", sa.Column("silent_since", Instant()))
    op.add_column("servers", sa.Column("silence", sa.Unicode(length=500)))
    op.drop_constraint(op.f("api_tokens_kind"), "api_tokens", type_="check")
    op.create_check_constraint(op.f("api_tokens_kind"), "api_tokens", "kind IN ('service', 'operator', 'metrics')")
    op.create_index("placements_revision", "placements", ["revision", "state"])
    op.add_column("servers", sa.Column("drain_to_count", sa.Integer()))
    op.add_column("servers", sa.Column("drain_server_id", sa.Uuid()))
    op.add_column("servers", sa.Column("drain_by", sa.Unicode(length=254)))
    op.add_column("servers", sa.Column("drain_since", Instant()))
    op.add_column("servers", sa.Column("drain_problem", sa.Unicode(length=500)))
    op.create_foreign_key(op.f("servers_drain_server_id_fk"), "servers", "servers", ["drain_server_id"], ["id"])
    _indexes()
    _archives()
    _restores()
    _usage()
    _alerts()


def _indexes() -> None:
    """For the operators' lists and searches: none of them reads every tenant."""
    op.create_index("tenants_tier", "tenants", ["tier", "id"])
    op.create_index("tenants_state", "tenants", ["state", "id"])
    for table, column in (("tenants", "company"), ("tenants", "slug"), ("accounts", "email")):
        words = {column: "gin_trgm_ops"}
        op.create_index(f"{table}_{column}_words", table, [column], postgresql_using="gin", postgresql_ops=words)
    op.create_index(
        "tenants_upgrade_requested",
        "tenants",
        ["upgrade_requested_at"],
        postgresql_where=sa.text("upgrade_requested_at IS NOT NULL"),
    )
    op.create_index(
        "tenants_troubled",
        "tenants",
        ["created_at"],
        postgresql_where=sa.text("problem IS NOT NULL AND state = 'pending'"),
    )
    op.create_index("accounts_operators", "accounts", ["email"], postgresql_where=sa.text("operator"))


def _archives() -> None:
    op.create_table(
        "archives",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("placement_id", sa.Uuid()),
        sa.Column("kind", sa.Unicode(length=16), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("file", sa.Unicode(length=200), nullable=False),
        sa.Column("engine", sa.Unicode(length=16)),
        sa.Column("revision", sa.Unicode(length=32)),
        sa.Column("rows", sa.BigInteger()),
        sa.Column("bytes", sa.BigInteger()),
        sa.Column("sha256", sa.LargeBinary()),
        sa.Column("requested_by", sa.Unicode(length=254), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("finished_at", Instant()),
        sa.Column("expires_at", Instant()),
        sa.Column("problem", sa.Unicode(length=500)),
        sa.CheckConstraint(
            "kind IN ('manual', 'scheduled', 'dormant', 'final', 'uploaded')", name=op.f("archives_kind")
        ),
        sa.CheckConstraint("state IN ('requested', 'ready', 'failed', 'expired')", name=op.f("archives_state")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("archives_tenant_id_fk")),
        sa.ForeignKeyConstraint(["placement_id"], ["placements.id"], name=op.f("archives_placement_id_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("archives_pk")),
        sa.UniqueConstraint("file", name=op.f("archives_file_key")),
    )
    op.create_index("archives_tenant", "archives", ["tenant_id", "created_at"])
    op.create_index("archives_expiry", "archives", ["expires_at"], postgresql_where=sa.text("state = 'ready'"))
    op.create_index(
        "archives_ended", "archives", ["expires_at"], postgresql_where=sa.text("state IN ('expired', 'failed')")
    )


def _restores() -> None:
    op.create_table(
        "restores",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("archive_id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid()),
        sa.Column("target_id", sa.Uuid(), nullable=False),
        sa.Column("beside", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("mover", sa.BigInteger(), nullable=False),
        sa.Column("requested_by", sa.Unicode(length=254), nullable=False),
        sa.Column("requested_at", Instant(), nullable=False),
        sa.Column("finished_at", Instant()),
        sa.Column("evidence", JSONB(), nullable=False),
        sa.Column("problem", sa.Unicode(length=1000)),
        sa.CheckConstraint(
            "state IN ('requested', 'loading', 'verified', 'done', 'failed')", name=op.f("restores_state")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("restores_tenant_id_fk")),
        sa.ForeignKeyConstraint(["archive_id"], ["archives.id"], name=op.f("restores_archive_id_fk")),
        sa.ForeignKeyConstraint(["source_id"], ["placements.id"], name=op.f("restores_source_id_fk")),
        sa.ForeignKeyConstraint(["target_id"], ["placements.id"], name=op.f("restores_target_id_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("restores_pk")),
    )
    op.create_index("restores_tenant", "restores", ["tenant_id", "requested_at"])
    op.create_index(
        "restores_one_under_way",
        "restores",
        ["tenant_id"],
        unique=True,
        postgresql_where=sa.text("state IN ('requested', 'loading', 'verified')"),
    )


def _usage() -> None:
    op.create_table(
        "placement_usage",
        sa.Column("placement_id", sa.Uuid(), nullable=False),
        sa.Column("day", Day(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("connections", sa.Integer(), nullable=False),
        sa.Column("statements", sa.BigInteger()),
        sa.Column("statement_ms", sa.Float()),
        sa.Column("counter", sa.BigInteger()),
        sa.Column("counter_ms", sa.Float()),
        sa.ForeignKeyConstraint(["placement_id"], ["placements.id"], name=op.f("placement_usage_placement_id_fk")),
        sa.PrimaryKeyConstraint("placement_id", "day", name=op.f("placement_usage_pk")),
    )
    op.create_index("placement_usage_largest", "placement_usage", ["day", "bytes"])
    op.create_table(
        "server_usage",
        sa.Column("server_id", sa.Uuid(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("tenants", sa.Integer(), nullable=False),
        sa.Column("retained", sa.Integer(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("connections", sa.Integer(), nullable=False),
        sa.Column("connection_limit", sa.Integer()),
        sa.Column("statements", sa.BigInteger()),
        sa.Column("statement_ms", sa.Float()),
        sa.Column("longest_s", sa.Float()),
        sa.Column("longest_by", sa.Unicode(length=32)),
        sa.Column("blocked", sa.Integer(), nullable=False),
        sa.Column("blocked_by", sa.Unicode(length=32)),
        sa.ForeignKeyConstraint(["server_id"], ["servers.id"], name=op.f("server_usage_server_id_fk")),
        sa.PrimaryKeyConstraint("server_id", "at", name=op.f("server_usage_pk")),
    )
    op.create_table(
        "server_logs",
        sa.Column("server_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Unicode(length=400), nullable=False),
        sa.Column("read_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["server_id"], ["servers.id"], name=op.f("server_logs_server_id_fk")),
        sa.PrimaryKeyConstraint("server_id", name=op.f("server_logs_pk")),
    )


def _alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("rule", sa.Unicode(length=40), nullable=False),
        sa.Column("subject", sa.Unicode(length=120), nullable=False),
        sa.Column("severity", sa.Unicode(length=16), nullable=False),
        sa.Column("server_id", sa.Uuid()),
        sa.Column("tenant_id", sa.Uuid()),
        sa.Column("message", sa.Unicode(length=500), nullable=False),
        sa.Column("detail", JSONB(), nullable=False),
        sa.Column("opened_at", Instant(), nullable=False),
        sa.Column("seen_at", Instant(), nullable=False),
        sa.Column("cleared_at", Instant()),
        sa.Column("mailed_at", Instant()),
        sa.CheckConstraint("severity IN ('warning', 'error')", name=op.f("alerts_severity")),
        sa.ForeignKeyConstraint(["server_id"], ["servers.id"], name=op.f("alerts_server_id_fk")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("alerts_tenant_id_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("alerts_pk")),
    )
    op.create_index(
        "alerts_one_open", "alerts", ["rule", "subject"], unique=True, postgresql_where=sa.text("cleared_at IS NULL")
    )
    op.create_index("alerts_opened", "alerts", ["opened_at", "id"])
