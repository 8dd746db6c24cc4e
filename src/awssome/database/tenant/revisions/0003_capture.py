"""Writes are noted while a tenant is moved, so that a move carries over what was written since it began to copy."""

from alembic import op

from awssome.database.guard import guard_and_note, guard_outbox, note_writes

revision = "0003"
down_revision = "0002"

KEYS: dict[str, tuple[str, ...]] = {
    "deal_registrations": ("id",),
    "deal_events": ("id",),
    "hubspot_tokens": ("id",),
    "tenant_keys": ("id",),
    "hubspot_mappings": ("portal_id", "deal_id"),
    "field_mappings": ("field",),
    "stage_mappings": ("pipeline", "hubspot_stage"),
    "sync_history": ("id",),
    "sync_issues": ("id",),
    "hubspot_accounts": ("portal_id",),
    "hubspot_picks": ("portal_id", "deal_id"),
    "sync_failures": ("portal_id", "deal_id"),
}
"""The tables and their primary keys."""

TEXTS = ("deal_id", "field", "pipeline", "hubspot_stage")


def upgrade() -> None:
    """Only ever adds: the version before works on."""
    {"postgresql": _postgresql, "mssql": _sqlserver}[op.get_context().dialect.name]()


def _postgresql() -> None:
    for table, columns in KEYS.items():
        note_writes(table, *(_ESCAPED.format(name) if name in TEXTS else f"{name}::text" for name in columns))


def _sqlserver() -> None:
    guard_outbox()
    for table, columns in KEYS.items():
        guard_and_note(
            table,
            *(
                _ESCAPED_ON_SQL_SERVER.format(name) if name in TEXTS else f"LOWER(CAST({name} AS nvarchar(36)))"
                for name in columns
            ),
            append_only=table == "deal_events",
        )


# A backslash by its number: what it means in a literal is a setting of the session.
_ESCAPED = "replace(replace({}, chr(92), chr(92) || chr(92)), '|', chr(92) || '|')"

# In steps: what two backslashes mean where something is replaced by them, servers do not agree on.
_ESCAPED_ON_SQL_SERVER = (
    r"REPLACE(REPLACE(REPLACE(REPLACE({}, N'|', N'|p'), N'\', N'|b|b'), N'|b', N'\'), N'|p', N'\|')"
)
