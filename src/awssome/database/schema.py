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
    PrimaryKeyConstraint("id", name="hubspot_tokens_pk"),
)

tenant_keys = Table(
    "tenant_keys",
    metadata,
    Column("id", Uuid, nullable=False),
    Column("key_id", text(64), nullable=False),
    Column("wrapped_key", binary(), nullable=False),
    Column("created_at", Instant, nullable=False),
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
    PrimaryKeyConstraint("field", name="field_mappings_pk"),
)

stage_mappings = Table(
    "stage_mappings",
    metadata,
    Column("pipeline", text(64), nullable=False),
    Column("hubspot_stage", text(64), nullable=False),
    Column("stage", text(40), nullable=False),
    Column("updated_at", Instant, nullable=False),
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
    PrimaryKeyConstraint("id", name="sync_issues_pk"),
    ForeignKeyConstraint(["sync_id"], [f"{SYMBOL}.sync_history.id"], name="sync_issues_sync_fk"),
    Index("sync_issues_sync", "sync_id", "id"),
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
)
"""The tables that a move carries and verifies, parents before children."""
