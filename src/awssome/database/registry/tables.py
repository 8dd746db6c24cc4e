"""The registry's tables: the control plane's truth about people, tenants, servers, placements and moves."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Uuid,
)
from sqlalchemy import (
    text as sql,
)
from sqlalchemy.dialects.postgresql import ARRAY, INET, JSONB

from awssome.database.types import Day, Instant, text

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s",
        "fk": "%(table_name)s_%(column_0_N_name)s_fk",
        "pk": "%(table_name)s_pk",
    }
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("email", text(254), nullable=False, unique=True),
    Column("name", text(120), nullable=False),
    Column("password_hash", text(255)),
    Column("operator", Boolean, nullable=False),
    Column("confirmed_at", Instant),
    Column("created_at", Instant, nullable=False),
    Column("disabled_at", Instant),
    CheckConstraint("email = lower(email)", name="email_lower"),
    Index("accounts_email_words", "email", postgresql_using="gin", postgresql_ops={"email": "gin_trgm_ops"}),
    Index("accounts_operators", "email", postgresql_where=sql("operator")),
)

tenants = Table(
    "tenants",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("slug", text(40), nullable=False, unique=True),
    Column("company", text(120), nullable=False),
    Column("tier", text(8), nullable=False),
    Column("state", text(16), nullable=False),
    Column("external_id", text(64), nullable=False, unique=True),
    Column("aws_choice", text(8), nullable=False, server_default="open"),
    Column("role_arn", text(600), unique=True),
    Column("role_verified_at", Instant),
    Column("placement_id", Uuid),
    Column("epoch", BigInteger, nullable=False),
    Column("hubspot_state", text(16), nullable=False, server_default="none"),
    Column("hubspot_portal_id", BigInteger),
    Column("hubspot_domain", text(255)),
    Column("upgrade_requested_at", Instant),
    Column("upgrade_requested_by", Uuid, ForeignKey("accounts.id")),
    Column("problem", text(500)),
    Column("created_at", Instant, nullable=False),
    Column("activated_at", Instant),
    Column("seen_at", Instant),
    Column("retain_until", Instant),
    Column("mover", BigInteger, nullable=False, server_default="0"),
    # The key that wraps the tenant's data key; NULL: the local one.
    Column("data_key_under", text(255)),
    CheckConstraint("tier IN ('free', 'paid')", name="tier"),
    CheckConstraint("state IN ('pending', 'active', 'suspended', 'archived', 'retained', 'deleted')", name="state"),
    Index("tenants_created", "created_at", "id"),
    Index("tenants_company", sql("lower(company)"), "id"),
    Index("tenants_tier", "tier", "id"),
    Index("tenants_state", "state", "id"),
    Index("tenants_data_key_under", "data_key_under", "id"),
    Index("tenants_company_words", "company", postgresql_using="gin", postgresql_ops={"company": "gin_trgm_ops"}),
    Index("tenants_slug_words", "slug", postgresql_using="gin", postgresql_ops={"slug": "gin_trgm_ops"}),
    Index(
        "tenants_upgrade_requested", "upgrade_requested_at", postgresql_where=sql("upgrade_requested_at IS NOT NULL")
    ),
    Index("tenants_troubled", "created_at", postgresql_where=sql("problem IS NOT NULL AND state = 'pending'")),
    Index(
        "tenants_one_free_by_portal",
        "hubspot_portal_id",
        unique=True,
        postgresql_where=sql("tier = 'free' AND hubspot_state <> 'none' AND state <> 'deleted'"),
    ),
)

memberships = Table(
    "memberships",
    metadata,
    Column("account_id", Uuid, ForeignKey("accounts.id"), primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), primary_key=True),
    Column("role", text(16), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("accepted_at", Instant),
    CheckConstraint("role IN ('owner', 'admin', 'member', 'viewer')", name="role"),
    Index("memberships_tenant", "tenant_id"),
)

email_links = Table(
    "email_links",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("account_id", Uuid, ForeignKey("accounts.id"), nullable=False),
    Column("tenant_id", Uuid, ForeignKey("tenants.id")),
    Column("purpose", text(16), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("used_at", Instant),
    CheckConstraint("purpose IN ('confirm', 'invite', 'reset')", name="purpose"),
    Index("email_links_account", "account_id"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("id", Uuid, nullable=False, unique=True),
    Column("account_id", Uuid, ForeignKey("accounts.id"), nullable=False),
    Column("application", text(16), nullable=False),
    Column("tenant_id", Uuid, ForeignKey("tenants.id")),
    Column("address", INET),
    Column("agent", text(255), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("revoked_at", Instant),
    CheckConstraint("application IN ('portal', 'management')", name="application"),
    Index("sessions_account", "account_id"),
)

handovers = Table(
    "handovers",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("account_id", Uuid, ForeignKey("accounts.id"), nullable=False),
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("used_at", Instant),
)

attempts = Table(
    "attempts",
    metadata,
    Column("subject", text(320), primary_key=True),
    Column("window_start", Instant, nullable=False),
    Column("count", Integer, nullable=False),
)

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("name", text(80), nullable=False, unique=True),
    Column("kind", text(16), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("revoked_at", Instant),
    CheckConstraint("kind IN ('service', 'operator', 'metrics')", name="kind"),
)

servers = Table(
    "servers",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", text(60), nullable=False, unique=True),
    Column("kind", text(16), nullable=False),
    Column("engine", text(16), nullable=False),
    Column("host", text(255), nullable=False),
    Column("port", Integer, nullable=False),
    Column("database", text(120), nullable=False),
    Column("admin_url", LargeBinary, nullable=False),
    Column("open", Boolean, nullable=False),
    Column("problem", text(500)),
    Column("capacity", Integer, nullable=False),
    Column("tenant_id", Uuid, ForeignKey("tenants.id")),
    Column("created_at", Instant, nullable=False),
    Column("silent_since", Instant),
    Column("silence", text(500)),
    # A drain is what operators want of a server: it goes on until no more tenants than `drain_to_count` live there.
    Column("drain_to_count", Integer),
    Column("drain_server_id", Uuid, ForeignKey("servers.id")),
    Column("drain_by", text(254)),
    Column("drain_since", Instant),
    Column("drain_problem", text(500)),
    CheckConstraint("kind IN ('pool', 'dedicated')", name="kind"),
    CheckConstraint("engine IN ('postgresql', 'sqlserver')", name="engine"),
)

placements = Table(
    "placements",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("server_id", Uuid, ForeignKey("servers.id"), nullable=False),
    Column("schema_name", text(32), nullable=False, unique=True),
    Column("secret_version", Integer, nullable=False),
    Column("key_id", text(16), nullable=False),
    Column("state", text(16), nullable=False),
    Column("revision", text(32)),
    Column("created_at", Instant, nullable=False),
    Column("retain_until", Instant),
    Column("problem", text(500)),
    CheckConstraint("state IN ('new', 'active', 'retained', 'dropped')", name="state"),
    Index("placements_tenant", "tenant_id"),
    Index("placements_server", "server_id", "state"),
    Index("placements_revision", "revision", "state"),
)

moves = Table(
    "moves",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("kind", text(16), nullable=False),
    Column("source_id", Uuid, ForeignKey("placements.id"), nullable=False),
    Column("target_id", Uuid, ForeignKey("placements.id"), nullable=False),
    Column("phase", text(16), nullable=False),
    Column("mover", BigInteger, nullable=False),
    Column("requested_by", text(254), nullable=False),
    Column("requested_at", Instant, nullable=False),
    Column("switched_at", Instant),
    Column("finished_at", Instant),
    Column("retain_until", Instant),
    Column("write_pause_ms", Integer),
    Column("evidence", JSONB, nullable=False),
    Column("problem", text(1000)),
    Column("cancel_requested", Boolean, nullable=False, server_default=sql("false")),
    # Set while writes pause, by the registry's clock: once it has passed, any worker carries the move on.
    Column("lease_until", Instant),
    Index("moves_leased", "lease_until", postgresql_where=sql("lease_until IS NOT NULL")),
    Index("moves_tenant", "tenant_id", "requested_at"),
    Index("moves_requested", "requested_at", "id"),
    Index(
        "moves_one_under_way",
        "tenant_id",
        unique=True,
        postgresql_where=sql(
            "phase IN ('requested', 'provisioning', 'copying', 'verifying', 'cutting_over', 'switched')"
        ),
    ),
)

# Servers that AWS makes for one tenant each, and takes away again.
instances = Table(
    "instances",
    metadata,
    Column("server_id", Uuid, ForeignKey("servers.id"), primary_key=True),
    Column("identifier", text(63), nullable=False, unique=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("state", text(16), nullable=False),
    # The tags by which it is known again, and what was ordered.
    Column("tags", JSONB, nullable=False),
    Column("ordered", JSONB),
    Column("secret", text(400)),
    Column("snapshot", text(255)),
    Column("requested_at", Instant, nullable=False),
    Column("available_at", Instant),
    Column("deleted_at", Instant),
    CheckConstraint(
        "state IN ('wanted', 'creating', 'preparing', 'available', 'failed', 'retiring', 'deleting', 'deleted')",
        name="state",
    ),
)

# How each tenant's newest run of a sync stands, as its worker tells: the runs themselves are in the tenants' schemas.
last_syncs = Table(
    "last_syncs",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), primary_key=True),
    Column("sync_id", Uuid, nullable=False, unique=True),
    Column("kind", text(16), nullable=False),
    Column("state", text(16), nullable=False),
    Column("requested_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("finished_at", Instant),
    Column("resume_at", Instant),
    Column("available", Integer),
    *(
        Column(name, Integer, nullable=False)
        for name in ("imported", "created", "updated", "left_out", "failed", "calls")
    ),
    Column("problem", text(1000)),
    Column("told_at", Instant, nullable=False),
)

# Names of paid tenants in DNS: a row until the name is gone again. They are a convenience; nothing waits for them.
hosts = Table(
    "hosts",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), primary_key=True),
    Column("name", text(255), nullable=False),
    Column("state", text(16), nullable=False),
    Column("change", text(100)),
    Column("problem", text(1000)),
    Column("asked_at", Instant, nullable=False),
    Column("settled_at", Instant),
    CheckConstraint("state IN ('wanted', 'pending', 'insync', 'removing')", name="state"),
)

# What AWS Marketplace says that a tenant has bought.
entitlements = Table(
    "entitlements",
    metadata,
    Column("product", text(255), primary_key=True),
    Column("customer", text(255), primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("license", text(400)),
    Column("dimension", text(255)),
    Column("state", text(16), nullable=False),
    Column("expires_at", Instant),
    Column("bound_at", Instant, nullable=False),
    Column("bound_by", text(254), nullable=False),
    Column("verified_at", Instant),
    Column("problem", text(1000)),
    CheckConstraint("state IN ('bound', 'active', 'ended')", name="state"),
    Index("entitlements_tenant", "tenant_id"),
)

archives = Table(
    "archives",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("placement_id", Uuid, ForeignKey("placements.id")),
    Column("kind", text(16), nullable=False),
    Column("state", text(16), nullable=False),
    Column("file", text(200), nullable=False, unique=True),
    Column("engine", text(16)),
    Column("revision", text(32)),
    Column("rows", BigInteger),
    Column("bytes", BigInteger),
    Column("sha256", LargeBinary),
    Column("requested_by", text(254), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("expires_at", Instant),
    Column("problem", text(500)),
    CheckConstraint("kind IN ('manual', 'scheduled', 'dormant', 'final', 'uploaded', 'retired')", name="kind"),
    CheckConstraint("state IN ('requested', 'ready', 'failed', 'expired')", name="state"),
    Index("archives_tenant", "tenant_id", "created_at"),
    Index("archives_expiry", "expires_at", postgresql_where=sql("state = 'ready'")),
    Index("archives_ended", "expires_at", postgresql_where=sql("state IN ('expired', 'failed')")),
)

restores = Table(
    "restores",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("archive_id", Uuid, ForeignKey("archives.id"), nullable=False),
    Column("source_id", Uuid, ForeignKey("placements.id")),
    Column("target_id", Uuid, ForeignKey("placements.id"), nullable=False),
    Column("beside", Boolean, nullable=False),
    Column("state", text(16), nullable=False),
    Column("mover", BigInteger, nullable=False),
    Column("requested_by", text(254), nullable=False),
    Column("requested_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("evidence", JSONB, nullable=False),
    Column("problem", text(1000)),
    CheckConstraint("state IN ('requested', 'loading', 'verified', 'done', 'failed')", name="state"),
    Index("restores_tenant", "tenant_id", "requested_at"),
    Index(
        "restores_one_under_way",
        "tenant_id",
        unique=True,
        postgresql_where=sql("state IN ('requested', 'loading', 'verified')"),
    ),
)

placement_usage = Table(
    "placement_usage",
    metadata,
    Column("placement_id", Uuid, ForeignKey("placements.id"), primary_key=True),
    Column("day", Day, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("connections", Integer, nullable=False),
    Column("statements", BigInteger),
    Column("statement_ms", Float),
    Column("counter", BigInteger),
    Column("counter_ms", Float),
    Index("placement_usage_largest", "day", "bytes"),
)

server_usage = Table(
    "server_usage",
    metadata,
    Column("server_id", Uuid, ForeignKey("servers.id"), primary_key=True),
    Column("at", Instant, primary_key=True),
    Column("tenants", Integer, nullable=False),
    Column("retained", Integer, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("connections", Integer, nullable=False),
    Column("connection_limit", Integer),
    Column("statements", BigInteger),
    Column("statement_ms", Float),
    Column("longest_s", Float),
    Column("longest_by", text(32)),
    Column("blocked", Integer, nullable=False),
    Column("blocked_by", text(32)),
)

server_logs = Table(
    "server_logs",
    metadata,
    Column("server_id", Uuid, ForeignKey("servers.id"), primary_key=True),
    Column("position", text(400), nullable=False),
    Column("read_at", Instant, nullable=False),
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("rule", text(40), nullable=False),
    Column("subject", text(120), nullable=False),
    Column("severity", text(16), nullable=False),
    Column("server_id", Uuid, ForeignKey("servers.id")),
    Column("tenant_id", Uuid, ForeignKey("tenants.id")),
    Column("message", text(500), nullable=False),
    Column("detail", JSONB, nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("cleared_at", Instant),
    Column("mailed_at", Instant),
    CheckConstraint("severity IN ('warning', 'error')", name="severity"),
    Index("alerts_one_open", "rule", "subject", unique=True, postgresql_where=sql("cleared_at IS NULL")),
    Index("alerts_opened", "opened_at", "id"),
)

oauth_states = Table(
    "oauth_states",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("session_id", Uuid, nullable=False),
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("host", text(255), nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("returned_at", Instant),
    Column("used_at", Instant),
    # Where the connection began: NULL: in the portal; "hubspot": there, and `return_url` leads back.
    Column("origin", text(16)),
    Column("return_url", text(2000)),
)

# Installs that began at HubSpot: the code is kept sealed until somebody says which workspace it is for.
hubspot_installs = Table(
    "hubspot_installs",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("return_url", text(2000), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("claimed_at", Instant),
    Column("claimed_by", Uuid, ForeignKey("tenants.id")),
)

hubspot_budgets = Table(
    "hubspot_budgets",
    metadata,
    Column("portal_id", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", text(16), primary_key=True),
    Column("next_at", Instant, nullable=False),
    # When the slot of each call is free again (`domain.budgets`).
    Column("slots", ARRAY(Instant)),
    # What HubSpot's answers have said of the limit, and how long no worker may call.
    Column("max_calls", Integer),
    Column("window_ms", Integer),
    Column("blocked_until", Instant),
    Column("limited", BigInteger),
    Column("day", Day),
    Column("day_calls", BigInteger),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", Instant, nullable=False),
    Column("actor", text(254), nullable=False),
    Column("action", text(60), nullable=False),
    Column("tenant_id", Uuid),
    Column("address", INET),
    Column("reference", text(40)),
    Column("detail", JSONB, nullable=False),
    Index("audit_log_tenant", "tenant_id", "id"),
    Index("audit_log_action", "action", "id"),
)

audit_seals = Table(
    "audit_seals",
    metadata,
    Column("last_id", BigInteger, primary_key=True, autoincrement=False),
    Column("first_id", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("sealed_at", Instant, nullable=False),
)
