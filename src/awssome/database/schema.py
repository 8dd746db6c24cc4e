"""The tables of a tenant, declared once under the symbolic schema `tenant`.

`schema_translate_map` names the real schema when a statement runs, so that one compiled statement serves every tenant.
Columns of a deal registration follow an AWS ACE opportunity (`domain.deals`). Keys are UUIDv7 made by the client.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Uuid,
)
from sqlalchemy import (
    text as sql,
)

from awssome.database.types import Day, Instant, Json, amount, binary, text, whole

SYMBOL = "tenant"
"""The schema that stands for a tenant's in every statement."""

metadata = MetaData(schema=SYMBOL)

deal_registrations = Table(
    "deal_registrations",
    metadata,
    Column("id", Uuid, nullable=False),
    Column("source", text(16), nullable=False),
    Column("title", text(255), nullable=False),
    Column("stage", text(40), nullable=False),
    Column("customer_company", text(120)),
    Column("customer_website", text(255)),
    Column("customer_industry", text(40)),
    Column("customer_country", text(2)),
    Column("customer_postal_code", text(20)),
    Column("business_problem", text(2000)),
    Column("use_case", text(120)),
    Column("opportunity_type", text(32)),
    Column("delivery_model", text(40)),
    Column("target_close_date", Day),
    Column("deal_amount", amount()),
    Column("deal_currency", text(3)),
    Column("expected_aws_spend", amount()),
    Column("next_steps", text(255)),
    Column("edited_fields", Json, nullable=False),
    Column("ready", Boolean, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("updated_by", text(254), nullable=False),
    Column("archived_at", Instant),
    Column("archived_by", text(254)),
    Column("customer_street", text(255)),
    Column("customer_city", text(255)),
    Column("customer_state", text(255)),
    Column("customer_other_industry", text(255)),
    Column("customer_aws_account", text(12)),
    Column("customer_duns", text(9)),
    Column("national_security", text(3)),
    Column("sales_activities", Json),
    Column("primary_needs", Json),
    Column("closed_lost_reason", text(60)),
    Column("aws_spend_currency", text(3)),
    Column("contract_months", Integer),
    Column("involvement", text(24)),
    Column("visibility", text(16)),
    Column("solution_id", text(40)),
    Column("additional_comments", text(255)),
    PrimaryKeyConstraint("id", name="deal_registrations_pk"),
    Index("deal_registrations_updated", "updated_at", "id"),
)

deal_events = Table(
    "deal_events",
    metadata,
    Column("id", Uuid, nullable=False),
    Column("registration_id", Uuid, nullable=False),
    Column("at", Instant, nullable=False),
    Column("kind", text(24), nullable=False),
    Column("actor", text(254), nullable=False),
    Column("changes", Json, nullable=False),
    Column("sync_id", Uuid),
    PrimaryKeyConstraint("id", name="deal_events_pk"),
    ForeignKeyConstraint(["registration_id"], [f"{SYMBOL}.deal_registrations.id"], name="deal_events_registration_fk"),
    Index("deal_events_registration", "registration_id", "id"),
)

hubspot_tokens = Table(
    "hubspot_tokens",
    metadata,
    Column("id", Integer, nullable=False, autoincrement=False),
    Column("state", text(16), nullable=False),
    Column("portal_id", whole(), nullable=False),
    Column("hub_domain", text(255), nullable=False),
    Column("scopes", text(1000), nullable=False),
    Column("access_token", binary()),
    Column("refresh_token", binary()),
    Column("expires_at", Instant),
    Column("connected_at", Instant, nullable=False),
    Column("connected_by", text(254), nullable=False),
    Column("refreshed_at", Instant),
    Column("imports", Integer, nullable=False),
    Column("key_id", Uuid),
    Column("lost_reason", text(40)),
    Column("lost_at", Instant),
    PrimaryKeyConstraint("id", name="hubspot_tokens_pk"),
)

tenant_keys = Table(
    "tenant_keys",
    metadata,
    Column("id", Uuid, nullable=False),
    Column("key_id", text(64), nullable=False),
    Column("wrapped_key", binary(), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("kms_key", text(255)),
    Column("retired_at", Instant),
    PrimaryKeyConstraint("id", name="tenant_keys_pk"),
)

hubspot_mappings = Table(
    "hubspot_mappings",
    metadata,
    Column("portal_id", whole(), nullable=False, autoincrement=False),
    Column("deal_id", text(32), nullable=False),
    Column("registration_id", Uuid, nullable=False),
    Column("state", text(16), nullable=False),
    Column("source_hash", binary(32), nullable=False),
    Column("modified_at", Instant),
    Column("first_sync_id", Uuid, nullable=False),
    Column("last_sync_id", Uuid, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("merged_into", text(32)),
    Column("read_at", Instant),
    Column("request_id", text(64)),
    Column("held_back", Json),
    Column("defaulted", Json),
    PrimaryKeyConstraint("portal_id", "deal_id", name="hubspot_mappings_pk"),
    ForeignKeyConstraint(
        ["registration_id"], [f"{SYMBOL}.deal_registrations.id"], name="hubspot_mappings_registration_fk"
    ),
    Index("hubspot_mappings_registration", "registration_id", unique=True),
)

field_mappings = Table(
    "field_mappings",
    metadata,
    Column("field", text(40), nullable=False),
    Column("property", text(100)),
    Column("default_value", text(2000)),
    Column("updated_at", Instant, nullable=False),
    Column("value_map", Json),
    Column("updated_by", text(254)),
    PrimaryKeyConstraint("field", name="field_mappings_pk"),
)

stage_mappings = Table(
    "stage_mappings",
    metadata,
    Column("pipeline", text(64), nullable=False),
    Column("hubspot_stage", text(64), nullable=False),
    Column("stage", text(40), nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("action", text(16)),
    Column("updated_by", text(254)),
    PrimaryKeyConstraint("pipeline", "hubspot_stage", name="stage_mappings_pk"),
)

# `open_slot` is 1 while a sync is queued or running and NULL afterwards: its unique index allows one open sync.
sync_history = Table(
    "sync_history",
    metadata,
    Column("id", Uuid, nullable=False),
    Column("state", text(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("requested_by", text(254), nullable=False),
    Column("deal_limit", Integer),
    Column("next_page", text(255)),
    Column("available", Integer),
    Column("imported", Integer, nullable=False),
    Column("seen", Integer, nullable=False),
    Column("created", Integer, nullable=False),
    Column("updated", Integer, nullable=False),
    Column("unchanged", Integer, nullable=False),
    Column("left_out", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("calls", Integer, nullable=False),
    Column("requested_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("finished_at", Instant),
    Column("problem", text(1000)),
    Column("advice", text(500)),
    Column("open_slot", Integer),
    Column("kind", text(16)),
    Column("mode", text(16)),
    Column("portal_id", whole()),
    Column("position", Json),
    Column("window_from", Instant),
    Column("window_to", Instant),
    Column("resume_at", Instant),
    Column("stumbles", Integer),
    Column("retried", Integer),
    Column("rate_limited", Integer),
    Column("archived", Integer),
    Column("restored", Integer),
    Column("merged", Integer),
    Column("reference", text(64)),
    Column("mapping_hash", binary(32)),
    PrimaryKeyConstraint("id", name="sync_history_pk"),
    Index(
        "sync_history_one_open",
        "open_slot",
        unique=True,
        postgresql_where=sql("open_slot IS NOT NULL"),
        mssql_where=sql("open_slot IS NOT NULL"),
    ),
    Index("sync_history_requested", "requested_at"),
)

sync_issues = Table(
    "sync_issues",
    metadata,
    Column("id", Uuid, nullable=False),
    Column("sync_id", Uuid, nullable=False),
    Column("kind", text(16), nullable=False),
    Column("deal_id", text(32), nullable=False),
    Column("registration_id", Uuid),
    Column("title", text(255), nullable=False),
    Column("field", text(40), nullable=False),
    Column("reason", text(500), nullable=False),
    Column("advice", text(500), nullable=False),
    Column("code", text(40)),
    Column("value", text(255)),
    Column("detail", Json),
    PrimaryKeyConstraint("id", name="sync_issues_pk"),
    ForeignKeyConstraint(["sync_id"], [f"{SYMBOL}.sync_history.id"], name="sync_issues_sync_fk"),
    Index("sync_issues_sync", "sync_id", "id"),
)

# What HubSpot says of the account that is connected, and how far the syncs have followed it. Times are HubSpot's.
hubspot_accounts = Table(
    "hubspot_accounts",
    metadata,
    Column("portal_id", whole(), nullable=False, autoincrement=False),
    Column("hub_domain", text(255), nullable=False),
    Column("currency", text(3)),
    Column("time_zone", text(64)),
    Column("ui_domain", text(100)),
    Column("pipelines", Json),
    Column("properties", Json),
    Column("defined_at", Instant),
    Column("changed_until", Instant),
    Column("full_at", Instant),
    Column("beyond", Integer),
    Column("mapping_hash", binary(32)),
    Column("updated_at", Instant, nullable=False),
    PrimaryKeyConstraint("portal_id", name="hubspot_accounts_pk"),
)

# The deals that a user of the free tier has chosen, in the order in which they come in.
hubspot_picks = Table(
    "hubspot_picks",
    metadata,
    Column("portal_id", whole(), nullable=False, autoincrement=False),
    Column("deal_id", text(32), nullable=False),
    Column("place", Integer, nullable=False),
    Column("title", text(255), nullable=False),
    Column("picked_by", text(254), nullable=False),
    Column("picked_at", Instant, nullable=False),
    PrimaryKeyConstraint("portal_id", "deal_id", name="hubspot_picks_pk"),
)

# The inbox: deals that could not be imported, one row each, until a later run or a user is done with them.
sync_failures = Table(
    "sync_failures",
    metadata,
    Column("portal_id", whole(), nullable=False, autoincrement=False),
    Column("deal_id", text(32), nullable=False),
    Column("state", text(16), nullable=False),
    Column("title", text(255), nullable=False),
    Column("code", text(40), nullable=False),
    Column("field", text(40), nullable=False),
    Column("value", text(255)),
    Column("reason", text(500), nullable=False),
    Column("advice", text(500), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("registration_id", Uuid),
    Column("first_sync_id", Uuid, nullable=False),
    Column("last_sync_id", Uuid, nullable=False),
    Column("first_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    Column("next_try_at", Instant),
    Column("resolved_at", Instant),
    Column("resolved_by", text(254)),
    PrimaryKeyConstraint("portal_id", "deal_id", name="sync_failures_pk"),
    Index("sync_failures_state", "state", "last_at"),
)

fence = Table(
    "_fence",
    metadata,
    Column("id", Integer, nullable=False, autoincrement=False),
    Column("epoch", whole(), nullable=False),
    Column("mode", text(16), nullable=False),
    Column("mover", whole(), nullable=False),
    Column("capture", Boolean, nullable=False),
    Column("revision", text(32), nullable=False),
    PrimaryKeyConstraint("id", name="_fence_pk"),
)

outbox = Table(
    "_outbox",
    metadata,
    Column("seq", whole(), nullable=False, autoincrement=True),
    Column("table_name", text(64), nullable=False),
    Column("row_key", text(400), nullable=False),
    PrimaryKeyConstraint("seq", name="_outbox_pk"),
)

DATA_TABLES: tuple[Table, ...] = (
    deal_registrations,
    deal_events,
    hubspot_tokens,
    tenant_keys,
    hubspot_mappings,
    field_mappings,
    stage_mappings,
    sync_history,
    sync_issues,
    hubspot_accounts,
    hubspot_picks,
    sync_failures,
)
"""The tables that a move carries and verifies, parents before children."""
