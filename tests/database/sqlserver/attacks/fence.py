"""Attacks on the fence: writes to her own tables that it has to stop."""

from __future__ import annotations

from tests.database.sqlserver.attacks import at_home, attack

NEW_ROW = (
    "INSERT INTO {alice}.stage_mappings (pipeline, hubspot_stage, stage, updated_at) "
    "VALUES ('p', 's', 't', SYSUTCDATETIME())"
)

LEVELS = (
    attack("snapshot", "SET TRANSACTION ISOLATION LEVEL SNAPSHOT", NEW_ROW),
    attack("snapshot in a transaction", "SET TRANSACTION ISOLATION LEVEL SNAPSHOT", "BEGIN TRANSACTION", NEW_ROW),
    attack(
        "read uncommitted", "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED", "DELETE FROM {alice}.field_mappings"
    ),
    attack("repeatable read", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "DELETE FROM {alice}.sync_issues"),
    attack("serializable", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "DELETE FROM {alice}.field_mappings"),
)
"""Writes under another isolation level than READ COMMITTED."""

MOVED = (
    at_home("insert", NEW_ROW),
    at_home("insert of nothing", "INSERT INTO {alice}.stage_mappings SELECT * FROM {alice}.stage_mappings WHERE 1 = 0"),
    at_home(
        "insert by exec",
        "EXEC(N'INSERT INTO {alice}.stage_mappings (pipeline, hubspot_stage, stage, updated_at) "
        "VALUES (''p'', ''s'', ''t'', SYSUTCDATETIME())')",
    ),
    at_home(
        "timeline",
        "INSERT INTO {alice}.deal_events (id, registration_id, at, kind, actor, changes) "
        "SELECT NEWID(), id, updated_at, 'x', 'y', '{}' FROM {alice}.deal_registrations",
    ),
    at_home("update", "UPDATE {alice}.deal_registrations SET title = N'moved'"),
    at_home("update of no row", "UPDATE {alice}.deal_registrations SET title = N'moved' WHERE 1 = 0"),
    at_home("update by an alias", "UPDATE d SET title = N'moved' FROM {alice}.deal_registrations d"),
    at_home("delete", "DELETE FROM {alice}.field_mappings"),
    at_home("delete of no row", "DELETE FROM {alice}.hubspot_tokens"),
    at_home("delete by a join", "DELETE m FROM {alice}.field_mappings m CROSS JOIN {alice}.deal_registrations d"),
    attack(
        "merge",
        "MERGE INTO {alice}.stage_mappings s USING {alice}.field_mappings f ON 1 = 0 "
        "WHEN NOT MATCHED THEN INSERT (pipeline, hubspot_stage, stage, updated_at) "
        "VALUES ('p', 's', 't', SYSUTCDATETIME());",
    ),
    at_home("in a transaction of several", "BEGIN TRANSACTION", "SELECT 1", NEW_ROW),
    at_home("in a transaction that goes on after errors", "SET XACT_ABORT OFF", "BEGIN TRANSACTION", NEW_ROW),
    at_home("in a transaction that nobody began", "SET IMPLICIT_TRANSACTIONS ON", NEW_ROW),
    at_home("with no rows counted", "SET NOCOUNT ON", NEW_ROW),
    at_home("with time to wait", "SET LOCK_TIMEOUT -1", NEW_ROW),
    attack(
        "committed when it is refused",
        f"BEGIN TRANSACTION; BEGIN TRY {NEW_ROW} END TRY BEGIN CATCH SELECT 1 END CATCH; COMMIT",
    ),
    attack(
        "back to a savepoint when it is refused",
        f"BEGIN TRANSACTION; SAVE TRANSACTION s; BEGIN TRY {NEW_ROW} END TRY "
        f"BEGIN CATCH ROLLBACK TRANSACTION s END CATCH; {NEW_ROW}; COMMIT",
    ),
    attack("holding the fence's row", "BEGIN TRANSACTION", "SELECT * FROM {alice}._fence WITH (HOLDLOCK)", NEW_ROW),
    attack(
        "under a snapshot that has ended",
        "SET TRANSACTION ISOLATION LEVEL SNAPSHOT",
        "BEGIN TRANSACTION",
        "SELECT 1 FROM {alice}.field_mappings",
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
        NEW_ROW,
    ),
    attack("as a guest", "EXECUTE AS USER = N'guest'", NEW_ROW),
    attack("with a word for the mover", "EXEC sp_set_session_context N'mover', 1", NEW_ROW),
)
"""Writes to her own tables while her workspace is somewhere else."""
