"""The tenant template: deals, HubSpot, sync, and the fence."""

import sqlalchemy as sa
from alembic import op

from awssome.database.template import TENANT
from awssome.database.types import Instant, Json

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
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("mode", sa.Unicode(length=16), nullable=False),
        sa.Column("mover", sa.BigInteger(), nullable=False),
        sa.Column("capture", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.Unicode(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="_fence_pk"),
        schema=TENANT,
    )
    op.create_table(
        "_outbox",
        sa.Column("seq", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("table_name", sa.Unicode(length=64), nullable=False),
        sa.Column("row_key", sa.Unicode(length=400), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="_outbox_pk"),
        schema=TENANT,
    )
    op.create_table(
        "deal_registrations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Unicode(length=16), nullable=False),
        sa.Column("title", sa.Unicode(length=255), nullable=False),
        sa.Column("stage", sa.Unicode(length=40), nullable=False),
        sa.Column("customer_company", sa.Unicode(length=120), nullable=True),
        sa.Column("customer_website", sa.Unicode(length=255), nullable=True),
        sa.Column("customer_industry", sa.Unicode(length=40), nullable=True),
        sa.Column("customer_country", sa.Unicode(length=2), nullable=True),
        sa.Column("customer_postal_code", sa.Unicode(length=20), nullable=True),
        sa.Column("business_problem", sa.Unicode(length=2000), nullable=True),
        sa.Column("use_case", sa.Unicode(length=120), nullable=True),
        sa.Column("opportunity_type", sa.Unicode(length=32), nullable=True),
        sa.Column("delivery_model", sa.Unicode(length=40), nullable=True),
        sa.Column("target_close_date", sa.Date(), nullable=True),
        sa.Column("deal_amount", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("deal_currency", sa.Unicode(length=3), nullable=True),
        sa.Column("expected_aws_spend", sa.Numeric(precision=19, scale=4), nullable=True),
        sa.Column("next_steps", sa.Unicode(length=255), nullable=True),
        sa.Column("edited_fields", Json(), nullable=False),
        sa.Column("ready", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("updated_by", sa.Unicode(length=254), nullable=False),
        sa.Column("archived_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="deal_registrations_pk"),
        schema=TENANT,
    )
    op.create_index(
        "deal_registrations_updated", "deal_registrations", ["updated_at", "id"], unique=False, schema=TENANT
    )
    op.create_table(
        "field_mappings",
        sa.Column("field", sa.Unicode(length=40), nullable=False),
        sa.Column("property", sa.Unicode(length=100), nullable=True),
        sa.Column("default_value", sa.Unicode(length=2000), nullable=True),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("field", name="field_mappings_pk"),
        schema=TENANT,
    )
    op.create_table(
        "hubspot_tokens",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("portal_id", sa.BigInteger(), nullable=False),
        sa.Column("hub_domain", sa.Unicode(length=255), nullable=False),
        sa.Column("scopes", sa.Unicode(length=1000), nullable=False),
        sa.Column("access_token", sa.LargeBinary(), nullable=True),
        sa.Column("refresh_token", sa.LargeBinary(), nullable=True),
        sa.Column("expires_at", Instant(), nullable=True),
        sa.Column("connected_at", Instant(), nullable=False),
        sa.Column("connected_by", sa.Unicode(length=254), nullable=False),
        sa.Column("refreshed_at", Instant(), nullable=True),
        sa.Column("imports", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="hubspot_tokens_pk"),
        schema=TENANT,
    )
    op.create_table(
        "stage_mappings",
        sa.Column("pipeline", sa.Unicode(length=64), nullable=False),
        sa.Column("hubspot_stage", sa.Unicode(length=64), nullable=False),
        sa.Column("stage", sa.Unicode(length=40), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("pipeline", "hubspot_stage", name="stage_mappings_pk"),
        schema=TENANT,
    )
    op.create_table(
        "sync_history",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("requested_by", sa.Unicode(length=254), nullable=False),
        sa.Column("deal_limit", sa.Integer(), nullable=True),
        sa.Column("next_page", sa.Unicode(length=255), nullable=True),
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
        sa.Column("problem", sa.Unicode(length=1000), nullable=True),
        sa.Column("advice", sa.Unicode(length=500), nullable=True),
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
        sa.Column("key_id", sa.Unicode(length=64), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="tenant_keys_pk"),
        schema=TENANT,
    )
    op.create_table(
        "deal_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("registration_id", sa.Uuid(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("kind", sa.Unicode(length=24), nullable=False),
        sa.Column("actor", sa.Unicode(length=254), nullable=False),
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
        sa.Column("portal_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("deal_id", sa.Unicode(length=32), nullable=False),
        sa.Column("registration_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("source_hash", sa.LargeBinary(length=32), nullable=False),
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
        sa.Column("kind", sa.Unicode(length=16), nullable=False),
        sa.Column("deal_id", sa.Unicode(length=32), nullable=False),
        sa.Column("registration_id", sa.Uuid(), nullable=True),
        sa.Column("title", sa.Unicode(length=255), nullable=False),
        sa.Column("field", sa.Unicode(length=40), nullable=False),
        sa.Column("reason", sa.Unicode(length=500), nullable=False),
        sa.Column("advice", sa.Unicode(length=500), nullable=False),
        sa.ForeignKeyConstraint(["sync_id"], [f"{TENANT}.sync_history.id"], name="sync_issues_sync_fk"),
        sa.PrimaryKeyConstraint("id", name="sync_issues_pk"),
        schema=TENANT,
    )
    op.create_index("sync_issues_sync", "sync_issues", ["sync_id", "id"], unique=False, schema=TENANT)
    if op.get_context().dialect.name == "postgresql":
        _postgresql()


def _postgresql() -> None:
    op.execute(f"GRANT USAGE ON SCHEMA {TENANT} TO {TENANT}")
    op.execute(f"GRANT SELECT ON {TENANT}._fence TO {TENANT}")
    for table in OPEN:
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {TENANT}.{table} TO {TENANT}")
    for table in APPEND_ONLY:
        op.execute(f"GRANT SELECT, INSERT ON {TENANT}.{table} TO {TENANT}")
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
    for table in (*OPEN, *APPEND_ONLY):
        op.execute(
            f"CREATE TRIGGER _guard BEFORE INSERT OR UPDATE OR DELETE ON {TENANT}.{table} "
            f"EXECUTE FUNCTION {TENANT}._guard()"
        )
