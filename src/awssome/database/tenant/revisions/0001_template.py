"""The tenant template: deals, HubSpot, sync, and the fence."""

import sqlalchemy as sa
from alembic import op

from awssome.database.guard import after_write, protect
from awssome.database.template import TENANT
from awssome.database.types import Day, Instant, Json, amount, binary, text, whole

revision = "0001"
down_revision = None

OPEN = (
    "deal_registrations",
    "hubspot_tokens",
    "tenant_keys",
    "hubspot_mappings",
    "field_mappings",
    "stage_mappings",
    "sync_history",
    "sync_issues",
)
APPEND_ONLY = ("deal_events",)


def upgrade() -> None:
    """Make the tables, grant the tenant's login what it needs by table, and put the fence in front of every write."""
    op.create_table(
        "_fence",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", whole(), nullable=False),
        sa.Column("mode", text(16), nullable=False),
        sa.Column("mover", whole(), nullable=False),
        sa.Column("capture", sa.Boolean(), nullable=False),
        sa.Column("revision", text(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="_fence_pk"),
        schema=TENANT,
    )
    op.create_table(
        "_outbox",
        sa.Column("seq", whole(), autoincrement=True, nullable=False),
        sa.Column("table_name", text(64), nullable=False),
        sa.Column("row_key", text(400), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="_outbox_pk"),
        schema=TENANT,
    )
    op.create_table(
        "deal_registrations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source", text(16), nullable=False),
        sa.Column("title", text(255), nullable=False),
        sa.Column("stage", text(40), nullable=False),
        sa.Column("customer_company", text(120), nullable=True),
        sa.Column("customer_website", text(255), nullable=True),
        sa.Column("customer_industry", text(40), nullable=True),
        sa.Column("customer_country", text(2), nullable=True),
        sa.Column("customer_postal_code", text(20), nullable=True),
        sa.Column("business_problem", text(2000), nullable=True),
        sa.Column("use_case", text(120), nullable=True),
        sa.Column("opportunity_type", text(32), nullable=True),
        sa.Column("delivery_model", text(40), nullable=True),
        sa.Column("target_close_date", Day(), nullable=True),
        sa.Column("deal_amount", amount(), nullable=True),
        sa.Column("deal_currency", text(3), nullable=True),
        sa.Column("expected_aws_spend", amount(), nullable=True),
        sa.Column("next_steps", text(255), nullable=True),
        sa.Column("edited_fields", Json(), nullable=False),
        sa.Column("ready", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("updated_by", text(254), nullable=False),
        sa.Column("archived_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="deal_registrations_pk"),
        schema=TENANT,
    )
    op.create_index(
        "deal_registrations_updated", "deal_registrations", ["updated_at", "id"], unique=False, schema=TENANT
    )
    op.create_table(
        "field_mappings",
        sa.Column("field", text(40), nullable=False),
        sa.Column("property", text(100), nullable=True),
        sa.Column("default_value", text(2000), nullable=True),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("field", name="field_mappings_pk"),
        schema=TENANT,
    )
    op.create_table(
        "hubspot_tokens",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", text(16), nullable=False),
        sa.Column("portal_id", whole(), nullable=False),
        sa.Column("hub_domain", text(255), nullable=False),
        sa.Column("scopes", text(1000), nullable=False),
        sa.Column("access_token", binary(), nullable=True),
        sa.Column("refresh_token", binary(), nullable=True),
        sa.Column("expires_at", Instant(), nullable=True),
        sa.Column("connected_at", Instant(), nullable=False),
        sa.Column("connected_by", text(254), nullable=False),
        sa.Column("refreshed_at", Instant(), nullable=True),
        sa.Column("imports", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="hubspot_tokens_pk"),
        schema=TENANT,
    )
    op.create_table(
        "stage_mappings",
        sa.Column("pipeline", text(64), nullable=False),
        sa.Column("hubspot_stage", text(64), nullable=False),
        sa.Column("stage", text(40), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("pipeline", "hubspot_stage", name="stage_mappings_pk"),
        schema=TENANT,
    )
    op.create_table(
        "sync_history",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("state", text(16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("requested_by", text(254), nullable=False),
        sa.Column("deal_limit", sa.Integer(), nullable=True),
        sa.Column("next_page", text(255), nullable=True),
        sa.Column("available", sa.Integer(), nullable=True),
        sa.Column("imported", sa.Integer(), nullable=False),
        sa.Column("seen", sa.Integer(), nullable=False),
        sa.Column("created", sa.Integer(), nullable=False),
        sa.Column("updated", sa.Integer(), nullable=False),
        sa.Column("unchanged", sa.Integer(), nullable=False),
        sa.Column("left_out", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("requested_at", Instant(), nullable=False),
        sa.Column("started_at", Instant(), nullable=True),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.Column("problem", text(1000), nullable=True),
        sa.Column("advice", text(500), nullable=True),
        sa.Column("open_slot", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="sync_history_pk"),
        schema=TENANT,
    )
    op.create_index(
        "sync_history_one_open",
        "sync_history",
        ["open_slot"],
        unique=True,
        schema=TENANT,
        postgresql_where=sa.text("open_slot IS NOT NULL"),
        mssql_where=sa.text("open_slot IS NOT NULL"),
    )
    op.create_index("sync_history_requested", "sync_history", ["requested_at"], unique=False, schema=TENANT)
    op.create_table(
        "tenant_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("key_id", text(64), nullable=False),
        sa.Column("wrapped_key", binary(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="tenant_keys_pk"),
        schema=TENANT,
    )
    op.create_table(
        "deal_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("registration_id", sa.Uuid(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("kind", text(24), nullable=False),
        sa.Column("actor", text(254), nullable=False),
        sa.Column("changes", Json(), nullable=False),
        sa.ForeignKeyConstraint(
            ["registration_id"], [f"{TENANT}.deal_registrations.id"], name="deal_events_registration_fk"
        ),
        sa.PrimaryKeyConstraint("id", name="deal_events_pk"),
        schema=TENANT,
    )
    op.create_index("deal_events_registration", "deal_events", ["registration_id", "id"], unique=False, schema=TENANT)
    op.create_table(
        "hubspot_mappings",
        sa.Column("portal_id", whole(), autoincrement=False, nullable=False),
        sa.Column("deal_id", text(32), nullable=False),
        sa.Column("registration_id", sa.Uuid(), nullable=False),
        sa.Column("state", text(16), nullable=False),
        sa.Column("source_hash", binary(32), nullable=False),
        sa.Column("modified_at", Instant(), nullable=True),
        sa.Column("first_sync_id", sa.Uuid(), nullable=False),
        sa.Column("last_sync_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["registration_id"], [f"{TENANT}.deal_registrations.id"], name="hubspot_mappings_registration_fk"
        ),
        sa.PrimaryKeyConstraint("portal_id", "deal_id", name="hubspot_mappings_pk"),
        schema=TENANT,
    )
    op.create_index(
        "hubspot_mappings_registration", "hubspot_mappings", ["registration_id"], unique=True, schema=TENANT
    )
    op.create_table(
        "sync_issues",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("sync_id", sa.Uuid(), nullable=False),
        sa.Column("kind", text(16), nullable=False),
        sa.Column("deal_id", text(32), nullable=False),
        sa.Column("registration_id", sa.Uuid(), nullable=True),
        sa.Column("title", text(255), nullable=False),
        sa.Column("field", text(40), nullable=False),
        sa.Column("reason", text(500), nullable=False),
        sa.Column("advice", text(500), nullable=False),
        sa.ForeignKeyConstraint(["sync_id"], [f"{TENANT}.sync_history.id"], name="sync_issues_sync_fk"),
        sa.PrimaryKeyConstraint("id", name="sync_issues_pk"),
        schema=TENANT,
    )
    op.create_index("sync_issues_sync", "sync_issues", ["sync_id", "id"], unique=False, schema=TENANT)
    op.execute(f"GRANT SELECT ON {TENANT}._fence TO {TENANT}")
    {"postgresql": _postgresql, "mssql": _sqlserver}[op.get_context().dialect.name]()
    for table in OPEN:
        protect(table)
    for table in APPEND_ONLY:
        protect(table, append_only=True)


def _postgresql() -> None:
    op.execute(f"GRANT USAGE ON SCHEMA {TENANT} TO {TENANT}")
    # The guard holds ROW SHARE on _fence until the writer commits; a mover's EXCLUSIVE waits for it and keeps later
    # writers out. Only READ COMMITTED sees the row as it is now: an older snapshot could write past a cut-over.
    # Inside the function current_user is its owner, the mover: the mover itself passes.
    op.execute(
        f"""
        CREATE FUNCTION {TENANT}._guard() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
        BEGIN
            IF session_user = current_user THEN
                RETURN NULL;
            END IF;
            IF current_setting('transaction_isolation') <> 'read committed' THEN
                RAISE EXCEPTION 'fenced: writes need READ COMMITTED' USING ERRCODE = 'AW001';
            END IF;
            LOCK TABLE {TENANT}._fence IN ROW SHARE MODE;
            IF NOT EXISTS (SELECT FROM {TENANT}._fence WHERE id = 1 AND mode = 'rw') THEN
                RAISE EXCEPTION 'fenced' USING ERRCODE = 'AW001';
            END IF;
            RETURN NULL;
        END $$
        """
    )


def _sqlserver() -> None:
    # The lock that writers share and a mover takes alone. Every login may take any lock whose name it knows, and only
    # the tenant and the mover can read this one.
    op.add_column("_fence", sa.Column("lock_name", text(64), nullable=False), schema=TENANT)
    # The tenant has no right to write these. Should a server look at rights less closely, they stay closed.
    for table in ("_fence", "_outbox"):
        after_write(table, "THROW 51003, N'denied', 1;")
