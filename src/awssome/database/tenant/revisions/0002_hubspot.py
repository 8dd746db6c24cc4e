"""HubSpot that can be trusted: incremental syncs, previews, picks, an inbox of failures, mappings, keys that rotate."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from awssome.database.expand import AddColumns
from awssome.database.guard import protect
from awssome.database.template import TENANT
from awssome.database.types import Instant, Json, binary, text, whole

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Only ever adds, and no value is needed: the version before works on."""
    _columns()
    _accounts()
    _picks()
    _failures()
    for table in ("hubspot_accounts", "hubspot_picks", "sync_failures"):
        protect(table)


def _columns() -> None:
    _add(
        "deal_registrations",
        sa.Column("archived_by", text(254)),
        sa.Column("customer_street", text(255)),
        sa.Column("customer_city", text(255)),
        sa.Column("customer_state", text(255)),
        sa.Column("customer_other_industry", text(255)),
        sa.Column("customer_aws_account", text(12)),
        sa.Column("customer_duns", text(9)),
        sa.Column("national_security", text(3)),
        sa.Column("sales_activities", Json()),
        sa.Column("primary_needs", Json()),
        sa.Column("closed_lost_reason", text(60)),
        sa.Column("aws_spend_currency", text(3)),
        sa.Column("contract_months", sa.Integer()),
        sa.Column("involvement", text(24)),
        sa.Column("visibility", text(16)),
        sa.Column("solution_id", text(40)),
        sa.Column("additional_comments", text(255)),
    )
    _add("deal_events", sa.Column("sync_id", sa.Uuid()))
    _add(
        "hubspot_tokens",
        sa.Column("key_id", sa.Uuid()),
        sa.Column("lost_reason", text(40)),
        sa.Column("lost_at", Instant()),
    )
    _add("tenant_keys", sa.Column("kms_key", text(255)), sa.Column("retired_at", Instant()))
    _add(
        "hubspot_mappings",
        sa.Column("merged_into", text(32)),
        sa.Column("read_at", Instant()),
        sa.Column("request_id", text(64)),
        sa.Column("held_back", Json()),
        sa.Column("defaulted", Json()),
    )
    _add("field_mappings", sa.Column("value_map", Json()), sa.Column("updated_by", text(254)))
    _add("stage_mappings", sa.Column("action", text(16)), sa.Column("updated_by", text(254)))
    _add(
        "sync_history",
        sa.Column("kind", text(16)),
        sa.Column("mode", text(16)),
        sa.Column("portal_id", whole()),
        sa.Column("position", Json()),
        sa.Column("window_from", Instant()),
        sa.Column("window_to", Instant()),
        sa.Column("resume_at", Instant()),
        sa.Column("stumbles", sa.Integer()),
        sa.Column("retried", sa.Integer()),
        sa.Column("rate_limited", sa.Integer()),
        sa.Column("archived", sa.Integer()),
        sa.Column("restored", sa.Integer()),
        sa.Column("merged", sa.Integer()),
        sa.Column("reference", text(64)),
        sa.Column("mapping_hash", binary(32)),
    )
    _add("sync_issues", sa.Column("code", text(40)), sa.Column("value", text(255)), sa.Column("detail", Json()))


def _accounts() -> None:
    op.create_table(
        "hubspot_accounts",
        sa.Column("portal_id", whole(), autoincrement=False, nullable=False),
        sa.Column("hub_domain", text(255), nullable=False),
        sa.Column("currency", text(3), nullable=True),
        sa.Column("time_zone", text(64), nullable=True),
        sa.Column("ui_domain", text(100), nullable=True),
        sa.Column("pipelines", Json(), nullable=True),
        sa.Column("properties", Json(), nullable=True),
        sa.Column("defined_at", Instant(), nullable=True),
        sa.Column("changed_until", Instant(), nullable=True),
        sa.Column("full_at", Instant(), nullable=True),
        sa.Column("beyond", sa.Integer(), nullable=True),
        sa.Column("mapping_hash", binary(32), nullable=True),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("portal_id", name="hubspot_accounts_pk"),
        schema=TENANT,
    )


def _picks() -> None:
    op.create_table(
        "hubspot_picks",
        sa.Column("portal_id", whole(), autoincrement=False, nullable=False),
        sa.Column("deal_id", text(32), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("title", text(255), nullable=False),
        sa.Column("picked_by", text(254), nullable=False),
        sa.Column("picked_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("portal_id", "deal_id", name="hubspot_picks_pk"),
        schema=TENANT,
    )


def _failures() -> None:
    op.create_table(
        "sync_failures",
        sa.Column("portal_id", whole(), autoincrement=False, nullable=False),
        sa.Column("deal_id", text(32), nullable=False),
        sa.Column("state", text(16), nullable=False),
        sa.Column("title", text(255), nullable=False),
        sa.Column("code", text(40), nullable=False),
        sa.Column("field", text(40), nullable=False),
        sa.Column("value", text(255), nullable=True),
        sa.Column("reason", text(500), nullable=False),
        sa.Column("advice", text(500), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("registration_id", sa.Uuid(), nullable=True),
        sa.Column("first_sync_id", sa.Uuid(), nullable=False),
        sa.Column("last_sync_id", sa.Uuid(), nullable=False),
        sa.Column("first_at", Instant(), nullable=False),
        sa.Column("last_at", Instant(), nullable=False),
        sa.Column("next_try_at", Instant(), nullable=True),
        sa.Column("resolved_at", Instant(), nullable=True),
        sa.Column("resolved_by", text(254), nullable=True),
        sa.PrimaryKeyConstraint("portal_id", "deal_id", name="sync_failures_pk"),
        schema=TENANT,
    )
    op.create_index("sync_failures_state", "sync_failures", ["state", "last_at"], unique=False, schema=TENANT)


def _add(table: str, *columns: sa.Column[Any]) -> None:
    op.execute(AddColumns(table, *columns, schema=TENANT))
