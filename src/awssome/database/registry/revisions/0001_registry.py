"""The registry: accounts, tenants, servers, placements, moves, sessions, audit log."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import INET, JSONB

from awssome.database.types import Instant

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table of the registry, and make the audit log append-only."""
    op.execute(
        "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END$$"
    )
    op.create_table(
        "accounts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Unicode(length=254), nullable=False),
        sa.Column("name", sa.Unicode(length=120), nullable=False),
        sa.Column("password_hash", sa.Unicode(length=255), nullable=True),
        sa.Column("operator", sa.Boolean(), nullable=False),
        sa.Column("confirmed_at", Instant(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("disabled_at", Instant(), nullable=True),
        sa.CheckConstraint("email = lower(email)", name=op.f("accounts_email_lower")),
        sa.PrimaryKeyConstraint("id", name=op.f("accounts_pk")),
        sa.UniqueConstraint("email", name=op.f("accounts_email_key")),
    )
    op.create_table(
        "api_tokens",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Unicode(length=80), nullable=False),
        sa.Column("kind", sa.Unicode(length=16), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("revoked_at", Instant(), nullable=True),
        sa.CheckConstraint("kind IN ('service', 'operator')", name=op.f("api_tokens_kind")),
        sa.PrimaryKeyConstraint("digest", name=op.f("api_tokens_pk")),
        sa.UniqueConstraint("name", name=op.f("api_tokens_name_key")),
    )
    op.create_table(
        "attempts",
        sa.Column("subject", sa.Unicode(length=320), nullable=False),
        sa.Column("window_start", Instant(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("attempts_pk")),
    )
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("actor", sa.Unicode(length=254), nullable=False),
        sa.Column("action", sa.Unicode(length=60), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=True),
        sa.Column("address", INET(), nullable=True),
        sa.Column("reference", sa.Unicode(length=40), nullable=True),
        sa.Column("detail", JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_log_pk")),
    )
    op.create_index("audit_log_action", "audit_log", ["action", "id"], unique=False)
    op.create_index("audit_log_tenant", "audit_log", ["tenant_id", "id"], unique=False)
    op.create_table(
        "audit_seals",
        sa.Column("last_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_id", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("last_id", name=op.f("audit_seals_pk")),
    )
    op.create_table(
        "hubspot_budgets",
        sa.Column("portal_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Unicode(length=16), nullable=False),
        sa.Column("next_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("portal_id", "kind", name=op.f("hubspot_budgets_pk")),
    )
    op.create_table(
        "tenants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("slug", sa.Unicode(length=40), nullable=False),
        sa.Column("company", sa.Unicode(length=120), nullable=False),
        sa.Column("tier", sa.Unicode(length=8), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("external_id", sa.Unicode(length=64), nullable=False),
        sa.Column("aws_choice", sa.Unicode(length=8), server_default="open", nullable=False),
        sa.Column("role_arn", sa.Unicode(length=600), nullable=True),
        sa.Column("role_verified_at", Instant(), nullable=True),
        sa.Column("placement_id", sa.Uuid(), nullable=True),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("hubspot_state", sa.Unicode(length=16), server_default="none", nullable=False),
        sa.Column("hubspot_portal_id", sa.BigInteger(), nullable=True),
        sa.Column("hubspot_domain", sa.Unicode(length=255), nullable=True),
        sa.Column("upgrade_requested_at", Instant(), nullable=True),
        sa.Column("upgrade_requested_by", sa.Uuid(), nullable=True),
        sa.Column("problem", sa.Unicode(length=500), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("activated_at", Instant(), nullable=True),
        sa.CheckConstraint("state IN ('pending', 'active', 'suspended', 'deleted')", name=op.f("tenants_state")),
        sa.CheckConstraint("tier IN ('free', 'paid')", name=op.f("tenants_tier")),
        sa.ForeignKeyConstraint(
            ["upgrade_requested_by"], ["accounts.id"], name=op.f("tenants_upgrade_requested_by_fk")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("tenants_pk")),
        sa.UniqueConstraint("external_id", name=op.f("tenants_external_id_key")),
        sa.UniqueConstraint("role_arn", name=op.f("tenants_role_arn_key")),
        sa.UniqueConstraint("slug", name=op.f("tenants_slug_key")),
    )
    op.create_index("tenants_created", "tenants", ["created_at", "id"], unique=False)
    op.create_index(
        "tenants_one_free_by_portal",
        "tenants",
        ["hubspot_portal_id"],
        unique=True,
        postgresql_where=sa.text("tier = 'free' AND hubspot_state <> 'none' AND state <> 'deleted'"),
    )
    op.create_table(
        "email_links",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=True),
        sa.Column("purpose", sa.Unicode(length=16), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("used_at", Instant(), nullable=True),
        sa.CheckConstraint("purpose IN ('confirm', 'invite', 'reset')", name=op.f("email_links_purpose")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("email_links_account_id_fk")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("email_links_tenant_id_fk")),
        sa.PrimaryKeyConstraint("digest", name=op.f("email_links_pk")),
    )
    op.create_index("email_links_account", "email_links", ["account_id"], unique=False)
    op.create_table(
        "handovers",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("used_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("handovers_account_id_fk")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("handovers_tenant_id_fk")),
        sa.PrimaryKeyConstraint("digest", name=op.f("handovers_pk")),
    )
    op.create_table(
        "memberships",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Unicode(length=16), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("accepted_at", Instant(), nullable=True),
        sa.CheckConstraint("role IN ('owner', 'admin', 'member', 'viewer')", name=op.f("memberships_role")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("memberships_account_id_fk")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("memberships_tenant_id_fk")),
        sa.PrimaryKeyConstraint("account_id", "tenant_id", name=op.f("memberships_pk")),
    )
    op.create_index("memberships_tenant", "memberships", ["tenant_id"], unique=False)
    op.create_table(
        "oauth_states",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("host", sa.Unicode(length=255), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("returned_at", Instant(), nullable=True),
        sa.Column("used_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("oauth_states_tenant_id_fk")),
        sa.PrimaryKeyConstraint("digest", name=op.f("oauth_states_pk")),
    )
    op.create_table(
        "servers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Unicode(length=60), nullable=False),
        sa.Column("kind", sa.Unicode(length=16), nullable=False),
        sa.Column("engine", sa.Unicode(length=16), nullable=False),
        sa.Column("host", sa.Unicode(length=255), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("database", sa.Unicode(length=120), nullable=False),
        sa.Column("admin_url", sa.LargeBinary(), nullable=False),
        sa.Column("open", sa.Boolean(), nullable=False),
        sa.Column("problem", sa.Unicode(length=500), nullable=True),
        sa.Column("capacity", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.CheckConstraint("engine IN ('postgresql', 'sqlserver')", name=op.f("servers_engine")),
        sa.CheckConstraint("kind IN ('pool', 'dedicated')", name=op.f("servers_kind")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("servers_tenant_id_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("servers_pk")),
        sa.UniqueConstraint("name", name=op.f("servers_name_key")),
    )
    op.create_table(
        "sessions",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("application", sa.Unicode(length=16), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=True),
        sa.Column("address", INET(), nullable=True),
        sa.Column("agent", sa.Unicode(length=255), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("seen_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("revoked_at", Instant(), nullable=True),
        sa.CheckConstraint("application IN ('portal', 'management')", name=op.f("sessions_application")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("sessions_account_id_fk")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("sessions_tenant_id_fk")),
        sa.PrimaryKeyConstraint("digest", name=op.f("sessions_pk")),
        sa.UniqueConstraint("id", name=op.f("sessions_id_key")),
    )
    op.create_index("sessions_account", "sessions", ["account_id"], unique=False)
    op.create_table(
        "placements",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("server_id", sa.Uuid(), nullable=False),
        sa.Column("schema_name", sa.Unicode(length=32), nullable=False),
        sa.Column("secret_version", sa.Integer(), nullable=False),
        sa.Column("key_id", sa.Unicode(length=16), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("revision", sa.Unicode(length=32), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("retain_until", Instant(), nullable=True),
        sa.CheckConstraint("state IN ('new', 'active', 'retained', 'dropped')", name=op.f("placements_state")),
        sa.ForeignKeyConstraint(["server_id"], ["servers.id"], name=op.f("placements_server_id_fk")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("placements_tenant_id_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("placements_pk")),
        sa.UniqueConstraint("schema_name", name=op.f("placements_schema_name_key")),
    )
    op.create_index("placements_server", "placements", ["server_id", "state"], unique=False)
    op.create_index("placements_tenant", "placements", ["tenant_id"], unique=False)
    op.create_table(
        "moves",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Unicode(length=16), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("target_id", sa.Uuid(), nullable=False),
        sa.Column("phase", sa.Unicode(length=16), nullable=False),
        sa.Column("mover", sa.BigInteger(), nullable=False),
        sa.Column("requested_by", sa.Unicode(length=254), nullable=False),
        sa.Column("requested_at", Instant(), nullable=False),
        sa.Column("switched_at", Instant(), nullable=True),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.Column("retain_until", Instant(), nullable=True),
        sa.Column("write_pause_ms", sa.Integer(), nullable=True),
        sa.Column("evidence", JSONB(), nullable=False),
        sa.Column("problem", sa.Unicode(length=1000), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["placements.id"], name=op.f("moves_source_id_fk")),
        sa.ForeignKeyConstraint(["target_id"], ["placements.id"], name=op.f("moves_target_id_fk")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("moves_tenant_id_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("moves_pk")),
    )
    op.create_index(
        "moves_one_under_way",
        "moves",
        ["tenant_id"],
        unique=True,
        postgresql_where=sa.text(
            "phase IN ('requested', 'provisioning', 'copying', 'verifying', 'cutting_over', 'switched')"
        ),
    )
    op.create_index("moves_requested", "moves", ["requested_at", "id"], unique=False)
    op.create_index("moves_tenant", "moves", ["tenant_id", "requested_at"], unique=False)
    op.create_index("tenants_company", "tenants", [sa.text("lower(company)"), "id"])
    for table in ("audit_log", "audit_seals"):
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "EXECUTE FUNCTION refuse_change()"
        )
