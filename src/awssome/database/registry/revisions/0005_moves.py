"""Moves that tenants do not notice: leases, servers that AWS makes, host names, entitlements, archives of sources."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from awssome.database.types import Instant

revision = "0005"
down_revision = "0004"

_KINDS = ("manual", "scheduled", "dormant", "final", "uploaded", "retired")


def upgrade() -> None:
    """Only ever adds: the version before works on."""
    op.add_column("moves", sa.Column("lease_until", Instant()))
    op.create_index("moves_leased", "moves", ["lease_until"], postgresql_where=sa.text("lease_until IS NOT NULL"))
    op.drop_constraint(op.f("archives_kind"), "archives", type_="check")
    op.create_check_constraint(op.f("archives_kind"), "archives", f"kind IN {_KINDS}")
    _instances()
    _hosts()
    _entitlements()
    _last_syncs()


def _instances() -> None:
    op.create_table(
        "instances",
        sa.Column("server_id", sa.Uuid(), nullable=False),
        sa.Column("identifier", sa.Unicode(length=63), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("tags", JSONB(), nullable=False),
        sa.Column("ordered", JSONB()),
        sa.Column("secret", sa.Unicode(length=400)),
        sa.Column("snapshot", sa.Unicode(length=255)),
        sa.Column("requested_at", Instant(), nullable=False),
        sa.Column("available_at", Instant()),
        sa.Column("deleted_at", Instant()),
        sa.CheckConstraint(
            "state IN ('wanted', 'creating', 'preparing', 'available', 'failed', 'retiring', 'deleting', 'deleted')",
            name=op.f("instances_state"),
        ),
        sa.ForeignKeyConstraint(["server_id"], ["servers.id"], name=op.f("instances_server_id_fk")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("instances_tenant_id_fk")),
        sa.PrimaryKeyConstraint("server_id", name=op.f("instances_pk")),
        sa.UniqueConstraint("identifier", name=op.f("instances_identifier_key")),
    )


def _hosts() -> None:
    op.create_table(
        "hosts",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Unicode(length=255), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("change", sa.Unicode(length=100)),
        sa.Column("problem", sa.Unicode(length=1000)),
        sa.Column("asked_at", Instant(), nullable=False),
        sa.Column("settled_at", Instant()),
        sa.CheckConstraint("state IN ('wanted', 'pending', 'insync', 'removing')", name=op.f("hosts_state")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("hosts_tenant_id_fk")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("hosts_pk")),
    )


def _entitlements() -> None:
    op.create_table(
        "entitlements",
        sa.Column("product", sa.Unicode(length=255), nullable=False),
        sa.Column("customer", sa.Unicode(length=255), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("license", sa.Unicode(length=400)),
        sa.Column("dimension", sa.Unicode(length=255)),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("expires_at", Instant()),
        sa.Column("bound_at", Instant(), nullable=False),
        sa.Column("bound_by", sa.Unicode(length=254), nullable=False),
        sa.Column("verified_at", Instant()),
        sa.Column("problem", sa.Unicode(length=1000)),
        sa.CheckConstraint("state IN ('bound', 'active', 'ended')", name=op.f("entitlements_state")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("entitlements_tenant_id_fk")),
        sa.PrimaryKeyConstraint("product", "customer", name=op.f("entitlements_pk")),
    )
    op.create_index("entitlements_tenant", "entitlements", ["tenant_id"])


def _last_syncs() -> None:
    counts = ("imported", "created", "updated", "left_out", "failed", "calls")
    op.create_table(
        "last_syncs",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("sync_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Unicode(length=16), nullable=False),
        sa.Column("state", sa.Unicode(length=16), nullable=False),
        sa.Column("requested_at", Instant(), nullable=False),
        sa.Column("started_at", Instant()),
        sa.Column("finished_at", Instant()),
        sa.Column("resume_at", Instant()),
        sa.Column("available", sa.Integer()),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in counts),
        sa.Column("problem", sa.Unicode(length=1000)),
        sa.Column("told_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("last_syncs_tenant_id_fk")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("last_syncs_pk")),
        sa.UniqueConstraint("sync_id", name=op.f("last_syncs_sync_id_key")),
    )
